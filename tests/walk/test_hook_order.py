"""Chains of one priority in several tables: a doubt only where their order makes a difference."""

import pytest
from lab import World

FIRST = "table inet one {{ chain c {{ type filter hook forward priority filter; policy accept; {}; }}; }}"
SECOND = "table ip two {{ chain c {{ type filter hook forward priority filter; policy accept; {}; }}; }}"
SETS = "counter meta mark set 7"
DROPS_MARKED = "meta mark 7 drop"


def loaded(world: World, *texts: str) -> None:
    for text in texts:
        world.sh(f"nft -f - <<'E'\n{text}\nE")


@pytest.mark.parametrize(
    ("rules", "alive"),
    [
        ((FIRST.format(SETS), SECOND.format("meta mark 8 drop")), True),
        ((FIRST.format("counter accept"), SECOND.format("ip daddr 192.0.2.1 drop")), True),
        ((FIRST.format("counter"), SECOND.format("ip daddr 8.8.8.8 drop")), False),
    ],
)
def test_no_doubt_where_every_order_comes_to_the_same(world: World, rules: tuple[str, ...], alive: bool) -> None:
    loaded(world, *rules)
    said = world.netdoctor("check", "ns1", "--no-probe")
    assert said.report["verdict"] == ("pass" if alive else "fail"), said.report["summary"]


@pytest.mark.parametrize("turned", [False, True])
def test_a_drop_in_one_of_the_orders_is_a_doubt(world: World, turned: bool) -> None:
    rules = FIRST.format(SETS), SECOND.format(DROPS_MARKED)
    loaded(world, *(reversed(rules) if turned else rules))
    said = world.netdoctor("check", "ns1", "--no-probe")
    assert said.report["verdict"] == "undetermined"
    assert "have the same priority" in said.report["summary"]


@pytest.mark.parametrize("turned", [False, True])
def test_the_kernel_runs_the_youngest_first(world: World, turned: bool) -> None:
    """What the doubt is about: the order in which they were made decides, and the tables look the same afterwards."""
    rules = FIRST.format(SETS), SECOND.format(DROPS_MARKED)
    loaded(world, *(reversed(rules) if turned else rules))
    assert world.probe("ping 8.8.8.8") is not turned
    said = world.netdoctor("check", "ns1")
    assert said.report["verdict"] == ("fail" if turned else "pass")
    if turned:
        assert said.report["root_causes"][0]["id"] == "rule-drops"
