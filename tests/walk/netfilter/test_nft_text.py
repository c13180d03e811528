"""Native rules in the words of nft list ruleset, verbatim: every expression and option, in every family."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import World
from lab.topology import Topology
from walk.netfilter.forwarding import whole_ruleset
from walk.netfilter.inside import call_inside

from netdoctor.model import expression as e
from netdoctor.model.firewall import Chain, Rule, Ruleset, Table
from netdoctor.model.unknown import Unknown
from netdoctor.walk.netfilter import rule_text

RULES = Path(__file__).parent / "rules"
EMPTY = Topology(title="A lone namespace", roles=("host",))
FILES = ("expressions.nft", "native.nft", "quirks.nft")


@pytest.fixture
def world() -> Iterator[World]:
    with World(EMPTY) as made:
        yield made


def listed(text: str) -> dict[tuple[str, str], list[str]]:
    """The rules of each chain as nft lists them, by family and chain; a rule may take several lines."""
    found: dict[tuple[str, str], list[str]] = {}
    family = chain = open_line = ""
    for line in text.splitlines():
        words = line.strip()
        if line.startswith("table"):
            family = words.split()[1]
        elif line.startswith("\tchain"):
            chain = words.split()[1]
            found[family, chain] = []
        elif line.startswith("\t}"):
            chain = ""
        elif chain and line.startswith("\t\t") and not words.startswith("type "):
            open_line = f"{open_line} {words}".strip()
            if open_line.count("{") == open_line.count("}"):
                found[family, chain].append(open_line)
                open_line = ""
    return found


def texts(ruleset: Ruleset) -> dict[tuple[str, str], list[str]]:
    assert not isinstance(ruleset.tables, Unknown)
    found = {}
    for table in ruleset.tables:
        for chain in table.chains:
            assert not isinstance(chain.rules, Unknown)
            found[table.family, chain.name] = [
                rule_text(table, chain, rule, ruleset, {1: "lo"}) for rule in chain.rules
            ]
    return found


@pytest.mark.parametrize("name", FILES)
def test_as_nft_lists_it(world: World, name: str) -> None:
    world.run("host", "nft", "-f", str(RULES / name))
    nft = listed(world.run("host", "nft", "-y", "list", "ruleset"))
    ours = texts(call_inside(world.name("host"), whole_ruleset))
    assert sorted(ours) == sorted(nft)
    for place, lines in nft.items():
        assert [pair for pair in zip(ours[place], lines, strict=True) if pair[0] != pair[1]] == []


def text_of(*expressions: e.AnyExpression, family: str = "inet") -> str:
    table = Table(backend="nft", family=family, name="t", chains=())  # type: ignore[arg-type]
    return rule_text(table, Chain(name="c"), Rule(expressions=expressions))


@pytest.mark.parametrize(
    ("expressions", "words"),
    [
        ((e.Queue(number=1, total=3, flags=3),), "queue flags bypass,fanout to 1-3"),
        ((e.Queue(),), "queue to 0"),
        (
            (e.Numgen(mode="inc", modulus=3, register=1), e.Queue(flags=1, register=1)),
            "queue flags bypass to numgen inc mod 3",
        ),
        ((e.FlowOffload(table="ft"),), "flow add @ft"),
        ((e.Objref(kind=3, name="ftp-std"),), 'ct helper set "ftp-std"'),
        (
            (e.Meta(key="bri_iifname", register=1), e.Cmp(operator="eq", register=1, value=b"br0\0")),
            'meta ibrname "br0"',
        ),
        ((e.Meta(key="bri_iifpvid", register=1), e.Cmp(operator="eq", register=1, value=b"\x0a\0")), "meta ibrpvid 10"),
        ((e.Opaque(name="inner"),), "[opaque inner]"),
        ((e.XtMatch(name="u32"),), 'xt match "u32"'),
        ((e.Log(prefix="a\x1b[2Jb"),), 'log prefix "a\\x1b[2Jb"'),
    ],
)
def test_what_this_kernel_may_lack(expressions: tuple[e.AnyExpression, ...], words: str) -> None:
    assert text_of(*expressions) == words


def test_a_reject_of_a_bridge_names_its_family() -> None:
    tested = (
        e.Payload(base="link", offset=12, length=2, register=1),
        e.Cmp(operator="eq", register=1, value=b"\x08\0"),
    )
    assert text_of(*tested, e.Reject(kind=0, code=1), family="bridge") == "reject with icmp host-unreachable"
    assert text_of(e.Reject(kind=2, code=1), family="bridge") == "reject"


def test_the_listing_of_the_other_tool_agrees(world: World) -> None:
    """nft -j shows the same rules: the stored file really holds one rule a line."""
    world.run("host", "nft", "-f", str(RULES / "expressions.nft"))
    shown = json.loads(world.run("host", "nft", "-j", "list", "ruleset"))["nftables"]
    ours = texts(call_inside(world.name("host"), whole_ruleset))
    assert sum("rule" in each for each in shown) == sum(map(len, ours.values()))
