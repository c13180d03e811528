"""Rulesets that change while they are read, that may not be read, and backends that only partly can be."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import World
from lab.topology import Topology
from walk.netfilter.inside import call_inside

from netdoctor.model.expression import Opaque, Verdict
from netdoctor.model.firewall import Rule, Ruleset, Table
from netdoctor.model.unknown import UNREAD, Unknown
from netdoctor.observe import ebtables
from netdoctor.observe.nftables import CHANGING, read_ruleset
from netdoctor.observe.rulesets import RESTARTS, RulesetReader
from netdoctor.walk.netfilter import HookFacts, base_chains, evaluate
from netdoctor.walk.packet import Packet

EMPTY = Topology(title="A lone namespace", roles=("host",))
TWINS = "table ip t { chain one { }; chain two { }; set s { type mark; }; }"
NEXT = "nft 'flush table ip t; add rule ip t one meta mark N; add rule ip t two meta mark N; flush set ip t s; add element ip t s { N }'"


@pytest.fixture
def host() -> Iterator[World]:
    with World(EMPTY) as world:
        yield world


def tables(ruleset: Ruleset) -> tuple[Table, ...]:
    assert not isinstance(ruleset.tables, Unknown)
    return ruleset.tables


def change(world: World, number: int) -> None:
    world.sh(NEXT.replace(" N", f" {number}"))


def numbers(table: Table) -> set[str]:
    """Which change the two chains and the set are of."""
    found = set()
    for chain in table.chains:
        assert not isinstance(chain.rules, Unknown), chain
        found |= {expression.value.hex() for rule in chain.rules for expression in rule.expressions[1:]}  # type: ignore[union-attr]
    for one in table.sets:
        assert not isinstance(one.elements, Unknown)
        found |= {element.key.hex() for element in one.elements}
    return found


def test_a_change_between_two_pieces_begins_the_reading_anew(host: World) -> None:
    host.sh(f"nft '{TWINS}'")
    change(host, 1)
    reader = RulesetReader()

    def inside(call: object) -> Ruleset:
        return call_inside(host.name("host"), call)  # type: ignore[arg-type]

    ruleset = inside(lambda: reader.chains(reader.begin(), "ip", "t", ("one",)))
    change(host, 2)
    again = inside(lambda: reader.chains(ruleset, "ip", "t", ("two",)))
    assert {chain.rules for chain in tables(again)[0].chains} == {UNREAD}, "nothing old is kept beside the new"
    assert numbers(tables(inside(lambda: reader.whole(again)))[0]) == {"02000000"}
    for number in range(3, 3 + RESTARTS):
        change(host, number)
        again = inside(lambda before=again: reader.element(before, "ip", "t", "s", "02000000"))
    assert tables(again)[0].sets[0].answers == {"02000000": Unknown(CHANGING)}
    reader.close()


def test_what_is_read_under_change_is_of_one_state_or_unknown(host: World) -> None:
    host.sh(f"nft '{TWINS}'")
    change(host, 1)
    loop = "while true; do for n in 1 2 3 4; do " + NEXT.replace(" N", " $n").replace("'", '"') + "; done; done"
    writer = subprocess.Popen(["ip", "netns", "exec", host.name("host"), "sh", "-c", loop])
    sure = 0
    try:
        for _ in range(60):

            def read() -> Ruleset:
                reader = RulesetReader()
                try:
                    return reader.whole(reader.begin())
                finally:
                    reader.close()

            found = call_inside(host.name("host"), read).tables
            if isinstance(found, Unknown):
                assert found.why == CHANGING
                continue
            parts = [chain.rules for chain in found[0].chains] + [one.elements for one in found[0].sets]
            if any(isinstance(part, Unknown) for part in parts):
                assert {part.why for part in parts if isinstance(part, Unknown)} == {CHANGING}
                continue
            sure += 1
            assert len(numbers(found[0])) == 1, "pieces of two states"
    finally:
        writer.kill()
        writer.wait()
    assert sure, "never once read whole"


def test_a_legacy_table_is_of_one_moment_however_late_its_chains_are_asked_for(host: World) -> None:
    lines = "\n".join(f"-A FORWARD -m mark --mark {number}" for number in range(300))
    host.sh(f"printf '*filter\n:X -\n-A X -j DROP\n{lines}\nCOMMIT\n' | iptables-legacy-restore")
    reader = RulesetReader()
    ruleset = call_inside(host.name("host"), reader.begin)
    assert {chain.name: chain.rules for chain in tables(ruleset)[0].chains}["X"] == UNREAD
    host.sh("iptables-legacy -F")
    ruleset = call_inside(host.name("host"), lambda: reader.legacy_chains(ruleset, "ip", "filter", ("FORWARD", "X")))
    forward, own = tables(ruleset)[0].chain("FORWARD"), tables(ruleset)[0].chain("X")
    assert forward is not None and own is not None
    assert (len(forward.rules), len(own.rules)) == (300, 1)  # type: ignore[arg-type]


def test_arptables_rules_are_there_and_in_doubt(host: World) -> None:
    host.sh("arptables-legacy -A INPUT -s 10.9.9.9 -j DROP; arptables-legacy -P OUTPUT DROP")
    found = call_inside(host.name("host"), read_ruleset)
    (table,) = tables(found)
    assert (table.backend, table.family, table.name) == ("iptables-legacy", "arp", "filter")
    assert {chain.name: chain.policy for chain in table.chains} == {
        "INPUT": "accept",
        "OUTPUT": "drop",
        "FORWARD": "accept",
    }
    entering, leaving = table.chain("INPUT"), table.chain("OUTPUT")
    assert entering is not None and leaving is not None
    assert [tuple(type(each) for each in rule.expressions) for rule in entering.rules] == [(Opaque, Verdict)]  # type: ignore[union-attr]
    (base,) = base_chains(found, "arp", "input")
    packet = Packet(family=4, source="10.9.9.9", destination="10.9.9.1", protocol=0, ether_type=0x0806, arp_operation=1)
    result = evaluate(base, packet, HookFacts())
    assert (result.verdict, result.otherwise, result.doubts[0].verdict) == ("unknown", "accept", "drop")


def test_ebtables_tables_that_may_be_there_are_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ebtables, "MODULES", str(tmp_path))
    assert ebtables.possible_tables() == ()
    (tmp_path / "ebtable_filter").mkdir()
    (table,) = ebtables.possible_tables()
    assert (table.family, table.name, [chain.name for chain in table.chains]) == (
        "bridge", "filter", ["INPUT", "FORWARD", "OUTPUT"],
    )  # fmt: skip
    (base,) = base_chains(Ruleset(tables=(table,)), "bridge", "forward")
    result = evaluate(base, Packet(family=4, source="10.0.0.1", destination="10.0.0.2", protocol=1), HookFacts())
    assert result.verdict == "unknown"
    assert "ebtables-legacy" in result.doubts[0].why


def test_without_rights_every_piece_is_unknown(host: World, monkeypatch: pytest.MonkeyPatch) -> None:
    host.sh(f"nft '{TWINS}'")
    change(host, 1)
    reader = RulesetReader()
    ruleset = call_inside(host.name("host"), reader.begin)

    def refuse(*_: object) -> Rule:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("netdoctor.observe.nftables.generation", refuse)
    found = call_inside(host.name("host"), lambda: reader.whole(ruleset))
    assert {chain.rules for chain in tables(found)[0].chains} == {Unknown("firewall rules: permission denied")}
    assert tables(found)[0].sets[0].elements == Unknown("set elements: permission denied")
