"""Every nf_tables expression: read, encoded again, taken by the kernel as the same; garbled bytes stay opaque."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import World
from lab.topology import Topology
from walk.netfilter.forwarding import whole_ruleset
from walk.netfilter.inside import call_inside

from netdoctor.fix.apply.nftables import edit_nftables
from netdoctor.model import expression as e
from netdoctor.model.change import ChainRef, InsertRule
from netdoctor.model.firewall import Rule, Table
from netdoctor.model.unknown import Unknown
from netdoctor.observe.nft_expressions import decode, decode_expressions
from netdoctor.observe.nftables import read_chains
from netdoctor.walk.netfilter import rule_text
from netdoctor.walk.netfilter.encode import attribute, encode, encode_expressions, nest, text, u32

RULES = Path(__file__).parents[1] / "walk" / "netfilter" / "rules" / "expressions.nft"
EMPTY = Topology(title="A lone namespace", roles=("host",))
ABSENT: tuple[e.AnyExpression, ...] = (
    e.Queue(number=3, total=2, flags=3),
    e.Queue(flags=1, register=1),
    e.FlowOffload(table="ft"),
    e.Bitwise(source=1, destination=2, length=4, operation="xor", second=3),
    e.Bitwise(source=1, destination=1, length=4, operation="and", second=9),
    e.Last(),
    e.SocketLookup(key="cgroupv2", register=1, level=2),
    e.Objref(kind=3, name="helper"),
    e.Meta(key="bri_iifpvid", register=1),
    e.Dynset(set="s", operation="add", key=1, expressions=(e.Counter(), e.Connlimit(count=3, over=True))),
)
"""What not every kernel has."""


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with World(EMPTY) as made:
        made.run("host", "nft", "-f", str(RULES))
        yield made


@pytest.fixture(scope="module")
def tables(world: World) -> tuple[Table, ...]:
    found = call_inside(world.name("host"), whole_ruleset).tables
    assert not isinstance(found, Unknown)
    return found


def rules_of(tables: tuple[Table, ...]) -> list[tuple[Table, str, Rule]]:
    found = []
    for table in tables:
        for chain in table.chains:
            assert not isinstance(chain.rules, Unknown)
            found += [(table, chain.name, rule) for rule in chain.rules]
    return found


def test_every_expression_is_read(tables: tuple[Table, ...]) -> None:
    read = [each for _, _, rule in rules_of(tables) for each in rule.expressions]
    assert [each for each in read if isinstance(each, e.Opaque)] == []
    assert len({type(each) for each in read}) >= 36


def test_every_expression_encoded_reads_the_same(tables: tuple[Table, ...]) -> None:
    for _, _, rule in rules_of(tables):
        assert decode_expressions(encode_expressions(rule.expressions), {}) == rule.expressions


@pytest.mark.parametrize("expression", ABSENT, ids=lambda each: str(each)[:30])
def test_what_this_kernel_may_lack_reads_the_same_too(expression: e.AnyExpression) -> None:
    assert decode(encode(expression)) == expression


def test_the_kernel_takes_what_is_encoded(world: World, tables: tuple[Table, ...]) -> None:
    """Rules with sets of their own are left out: such a set belongs to one rule only."""
    written = 0
    for table in tables:
        for chain in table.chains:
            assert not isinstance(chain.rules, Unknown)
            ours = [rule for rule in chain.rules if not has_anonymous_set(rule)]
            written += len(ours)
            assert call_inside(world.name("host"), lambda: rewritten(table, chain.name, ours)) == [  # noqa: B023
                rule.expressions for rule in ours
            ]
    assert written > 700


def rewritten(table: Table, chain: str, rules: list[Rule]) -> list[tuple[e.AnyExpression, ...]]:
    """Each rule appended from our own encoding, as the kernel shows it afterwards."""
    at = ChainRef(backend="nft", family=table.family, table=table.name, chain=chain)
    before = len(read_chains(table.family, table.name, [chain])[chain])
    for rule in rules:
        again = Rule(raw=encode_expressions(rule.expressions), compat=rule.compat)
        try:
            edit_nftables(InsertRule(namespace="host", at=at, rule=again, line=0))
        except OSError as error:
            raise AssertionError(f"{rule.expressions}: {error}") from error
    return [rule.expressions for rule in read_chains(table.family, table.name, [chain])[chain][before:]]


def has_anonymous_set(rule: Rule) -> bool:
    named = [each.set for each in rule.expressions if isinstance(each, e.Lookup | e.Objref)]
    return any(name.startswith("__") for name in named)


def test_garbled_bytes_never_break_reading_or_printing(tables: tuple[Table, ...]) -> None:
    choice = random.Random(7)
    for table, chain, rule in rules_of(tables):
        raw = bytearray(rule.raw)
        for _ in range(choice.choice((1, 3))):
            raw[choice.randrange(len(raw))] = choice.randrange(256)
        cut = bytes(raw[: choice.randrange(len(raw))]) if choice.random() < 0.3 else bytes(raw)
        read = decode_expressions(cut, {})
        whole = table.chain(chain)
        assert whole is not None
        assert isinstance(rule_text(table, whole, Rule(expressions=read)), str)


@pytest.mark.parametrize(
    "raw",
    [
        nest(2, u32(1, 1), u32(2, 9), nest(3, attribute(1, b"a"))),
        nest(2, u32(1, 200), u32(2, 0), nest(3, attribute(1, b"a"))),
        nest(2, u32(1, 1), u32(2, 0), nest(3, attribute(1, b""))),
        nest(2),
    ],
)
def test_a_comparison_that_cannot_be_is_opaque(raw: bytes) -> None:
    assert isinstance(decode(text(1, "cmp") + raw), e.Opaque)
