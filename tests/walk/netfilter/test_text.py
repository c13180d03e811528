"""Rule texts against the tools' own listings, and what is read must survive being saved."""

from pathlib import Path

import msgspec
import pytest
from lab import World
from lab.topology import Topology
from walk.netfilter.forwarding import whole_ruleset
from walk.netfilter.inside import call_inside

from netdoctor.model.firewall import Chain, Rule, Ruleset, Table
from netdoctor.model.unknown import Unknown
from netdoctor.walk.netfilter import rule_text

HERE = Path(__file__).parent
EMPTY = Topology(title="A lone namespace", roles=("host",))
BACKENDS = (("iptables-nft", "ip", "iptables"), ("iptables-legacy", "ip", "iptables"), ("iptables-nft", "ip6", "ip6tables"),
            ("iptables-legacy", "ip6", "ip6tables"))  # fmt: skip


def rules(ruleset: Ruleset, backend: str, family: str = "") -> list[tuple[Table, Chain, Rule]]:
    assert not isinstance(ruleset.tables, Unknown)
    found = []
    for table in ruleset.tables:
        for chain in table.chains if table.backend == backend and family in ("", table.family) else ():
            assert not isinstance(chain.rules, Unknown)
            found += [(table, chain, rule) for rule in chain.rules]
    return found


@pytest.mark.parametrize(("backend", "family", "tool"), BACKENDS)
def test_as_iptables_save_prints_it(backend: str, family: str, tool: str) -> None:
    kind = backend.removeprefix("iptables-")
    with World(EMPTY) as world:
        world.sh(f"{tool}-{kind}-restore < {HERE / 'rules' / tool}.rules")
        saved = world.run("host", f"{tool}-{kind}-save")
        ruleset = call_inside(world.name("host"), whole_ruleset)
    ours = [rule_text(table, chain, rule, ruleset) for table, chain, rule in rules(ruleset, backend, family)]
    assert sorted(ours) == sorted(line for line in saved.splitlines() if line.startswith("-A"))


def test_as_nft_prints_it() -> None:
    with World(EMPTY) as world:
        world.sh(f"nft -f {HERE / 'rules' / 'native.nft'}")
        listed = [line.strip() for line in world.run("host", "nft", "-y", "list", "ruleset").splitlines()]
        ruleset = call_inside(world.name("host"), whole_ruleset)
    texts = [rule_text(table, chain, rule, ruleset, {1: "lo"}) for table, chain, rule in rules(ruleset, "nft")]
    assert [text for text in texts if text not in listed] == []


def test_a_ruleset_survives_being_saved() -> None:
    with World(EMPTY) as world:
        world.sh(
            f"nft -f {HERE / 'rules' / 'native.nft'}; iptables-legacy-restore < {HERE / 'rules' / 'iptables.rules'}"
        )
        ruleset = call_inside(world.name("host"), whole_ruleset)
    assert msgspec.json.decode(msgspec.json.encode(ruleset), type=Ruleset) == ruleset


def test_what_is_not_understood_says_so() -> None:
    with World(EMPTY) as world:
        world.sh("iptables-nft -A FORWARD -m u32 --u32 '0&0xff=1' -j DROP")
        ruleset = call_inside(world.name("host"), whole_ruleset)
    table, chain, rule = rules(ruleset, "iptables-nft")[0]
    assert rule_text(table, chain, rule) == "-A FORWARD -m u32 [opaque u32] -j DROP"
