"""Expressions that are read by position come out as those that are read attribute by attribute."""

from collections.abc import Iterator

import pytest
from lab import World
from lab.topology import Topology
from walk.netfilter.inside import call_inside

from netdoctor.observe.nft_attributes import attributes
from netdoctor.observe.nft_expressions import decode, decode_expressions
from netdoctor.observe.rulesets import RulesetReader

EMPTY = Topology(title="A lone namespace", roles=("host",))


@pytest.fixture(scope="module")
def rules() -> Iterator[list[bytes]]:
    with World(EMPTY) as world:
        world.sh(
            'iptables-nft -A FORWARD -s 10.0.0.0/8 -i eth+ -m comment --comment "one" -p tcp --dport 80; '
            "iptables-nft -A FORWARD -m comment --comment two -m mark --mark 1 -j DROP; ip6tables-nft -A FORWARD -d fd00::1; "
            "nft 'table inet t { chain c { iifname \"eth*\" tcp dport != 80 counter packets 7 bytes 9; ct mark 1; }; }'"
        )

        def read() -> list[bytes]:
            reader = RulesetReader()
            tables = reader.whole(reader.begin()).tables
            return [rule.raw for table in tables for chain in table.chains for rule in chain.rules]  # type: ignore[union-attr]

        yield call_inside(world.name("host"), read)


def elements(payload: bytes) -> list[bytes]:
    found, offset = [], 0
    while offset + 4 <= len(payload):
        length = payload[offset] | payload[offset + 1] << 8
        found.append(payload[offset + 4 : offset + length])
        offset += (length + 3) & ~3
    return found


def test_they_are_the_same(rules: list[bytes]) -> None:
    names = set()
    for payload in rules:
        each = elements(payload)
        names |= {attributes(one)[1] for one in each}
        assert decode_expressions(payload, {}) == tuple(decode(one) for one in each)
    assert {b"cmp\0", b"counter\0", b"match\0", b"payload\0"} <= names


def test_bytes_cut_short_never_crash(rules: list[bytes]) -> None:
    for payload in rules:
        for one in elements(payload):
            for end in range(len(one)):
                cut = one[:end]
                framed = (len(cut) + 4).to_bytes(2, "little") + b"\x01\0" + cut
                assert len(decode_expressions(framed, {})) == 1
