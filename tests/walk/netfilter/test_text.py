"""Rule texts against the tools' own listings, and what is read must survive being saved."""

from pathlib import Path

import msgspec
import pytest
from lab import World
from lab.topology import Topology
from walk.netfilter.forwarding import whole_ruleset
from walk.netfilter.inside import call_inside

from netdoctor.model.expression import XtMatch, XtTarget
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
        compare_with_save(world, backend, family, tool)


def compare_with_save(world: World, backend: str, family: str, tool: str) -> int:
    """How many rules there are; each reads as the tool's own listing has it."""
    saved = world.run("host", f"{tool}-{backend.removeprefix('iptables-')}-save")
    ruleset = call_inside(world.name("host"), whole_ruleset)
    ours = [rule_text(table, chain, rule, ruleset) for table, chain, rule in rules(ruleset, backend, family)]
    assert sorted(ours) == sorted(line for line in saved.split("\n") if line.startswith("-A"))
    return len(ours)


@pytest.mark.parametrize(("backend", "family", "tool"), BACKENDS)
def test_every_extension_as_iptables_save_prints_it(backend: str, family: str, tool: str) -> None:
    """Each match and target that this kernel has, each of its options, inverted and not."""
    restore = f"{tool}-{backend.removeprefix('iptables-')}-restore"
    with World(EMPTY) as world:
        world.sh(f"ipset restore < {HERE / 'rules' / 'extensions.ipsets'}")
        for name in ("extensions", f"extensions-{family}"):
            world.sh(f"{restore} --noflush < {HERE / 'rules' / name}.rules")
        assert compare_with_save(world, backend, family, tool) > 300


@pytest.mark.parametrize(("backend", "family", "tool"), BACKENDS)
def test_protocols_by_name_or_number(backend: str, family: str, tool: str) -> None:
    every = "\n".join(f"-A FORWARD -p {number}" for number in range(1, 256))
    restore = f"{tool}-{backend.removeprefix('iptables-')}-restore"
    with World(EMPTY) as world:
        world.sh(f"{restore} 2>/dev/null <<'X'\n*filter\n{every}\nCOMMIT\nX")
        assert compare_with_save(world, backend, family, tool) == 255


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


def test_what_is_not_understood_is_shown_as_it_is() -> None:
    martian = XtMatch(name="martian", revision=7, info=b"\x01\x02\x00\x00")
    rule = Rule(expressions=(martian, XtTarget(name="PHASER", info=b"\xff")))
    table = Table(backend="iptables-nft", family="ip", name="filter")
    text = rule_text(table, Chain(name="FORWARD"), rule)
    assert text == "-A FORWARD -m martian [opaque martian revision 7 0102] -j PHASER [opaque PHASER revision 0 ff]"
