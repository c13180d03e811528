"""What nobody can foresee of a rule: the walk follows every world it leaves open and says what the fate depends on."""

from collections.abc import Iterator

import pytest
from lab import World

from netdoctor import question
from netdoctor.examination import Examination, Examined, Options
from netdoctor.model.journey import RoundTrip
from netdoctor.netlink.inside import Worker
from netdoctor.target import resolve
from netdoctor.walk.choices import Choices

RANDOM = "-m statistic --mode random --probability 0.5"
TWO_SERVERS = """
nft -f - <<'RULES'
table ip lb {{
  chain prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    ip daddr 7.7.7.7 dnat to {picked} map {{ 0 : 8.8.8.8, 1 : {second} }}
  }}
}}
RULES
"""


@pytest.fixture(scope="module")
def shared() -> Iterator[World]:
    with World("veth") as world:
        yield world


@pytest.fixture
def lab_world(shared: World) -> Iterator[World]:
    yield shared
    shared.sh(
        "iptables-nft -F; iptables-nft -t mangle -F; nft delete table ip lb || true; ip rule del fwmark 7 || true"
    )


def examined(world: World, dest: str = "8.8.8.8", *, probe: bool = False, port: str = "") -> Examined:
    asked = question.parse(world.name("ns1"), dest, port)

    def act() -> Examined:
        with Examination(asked, Options(probe=probe)) as examination:
            return examination.run()

    worker, host = Worker(), resolve(world.name("host"))
    try:
        return worker.run(host.fd, act)
    finally:
        worker.close()
        host.close()


def walked(world: World, dest: str = "8.8.8.8", port: str = "") -> RoundTrip:
    return examined(world, dest, port=port).case.legs[0].trip


def test_every_leaf_of_a_tree_of_choices_once() -> None:
    seen = []
    choices: Choices | None = Choices()
    while choices is not None:
        first = choices.choose(3)
        seen.append((first, choices.choose(2)) if first else (first,))
        choices = choices.following()
    assert seen == [(0,), (1, 0), (1, 1), (2, 0), (2, 1)]


def test_a_limit_that_only_logs_changes_nothing(lab_world: World) -> None:
    lab_world.sh("iptables-nft -A FORWARD -m limit --limit 5/min -j LOG")
    trip = walked(lab_world)
    assert trip.arrives and not trip.doubts


def test_a_random_drop_is_what_it_depends_on(lab_world: World) -> None:
    lab_world.sh(f"iptables-nft -A FORWARD {RANDOM} -j DROP")
    trip = walked(lab_world)
    assert trip.fatal is None and trip.arrives
    [doubt] = trip.doubts[:1]
    assert (doubt.kind, doubt.cause, doubt.facts["line"]) == ("hook", "rule-drops", "1")
    assert "statistic" in doubt.facts["rule"] and "may drop it" in doubt.summary


def test_either_way_accepted_is_accepted(lab_world: World) -> None:
    lab_world.sh(f"iptables-nft -A FORWARD {RANDOM} -j ACCEPT; iptables-nft -A FORWARD -j ACCEPT")
    assert not walked(lab_world).doubts


def test_either_way_dropped_is_dropped(lab_world: World) -> None:
    lab_world.sh(f"iptables-nft -A FORWARD {RANDOM} -j DROP; iptables-nft -A FORWARD -j DROP")
    trip = walked(lab_world)
    assert trip.fatal is not None and trip.fatal.cause == "rule-drops"


def test_a_mark_set_by_chance_is_followed_into_policy_routing(lab_world: World) -> None:
    lab_world.sh(f"iptables-nft -t mangle -A PREROUTING {RANDOM} -j MARK --set-mark 7; ip rule add fwmark 7 blackhole")
    trip = walked(lab_world)
    assert trip.fatal is None
    doubt = trip.doubts[0]
    assert doubt.kind == "route" and "depends on rule 1 of mangle PREROUTING" in doubt.summary
    assert "if it takes the packet" in doubt.summary


def test_two_servers_that_both_answer_are_no_doubt(lab_world: World) -> None:
    lab_world.sh(TWO_SERVERS.format(picked="numgen inc mod 2", second="9.9.9.9"))
    trip = walked(lab_world, "7.7.7.7")
    assert trip.arrives and not trip.doubts


def test_one_dead_server_of_two_is_what_it_depends_on(lab_world: World) -> None:
    lab_world.sh(TWO_SERVERS.format(picked="numgen random mod 2", second="10.0.0.77"))
    trip = walked(lab_world, "7.7.7.7")
    assert trip.fatal is None and trip.doubts
    assert "10.0.0.77" in trip.doubts[0].summary


def test_a_chance_nobody_needs_is_not_multiplied(lab_world: World) -> None:
    lab_world.sh(f"for n in $(seq 40); do iptables-nft -A FORWARD {RANDOM} -j ACCEPT; done")
    assert not walked(lab_world).doubts
