"""Our search of a set's elements as dumped, held to the kernel's own answer for the same key (NFT_MSG_GETSETELEM)."""

import random
import struct
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import NamedTuple

import pytest
from lab import World
from lab.topology import Topology
from walk.netfilter.inside import call_inside

from netdoctor.model.firewall import SetElement
from netdoctor.model.unknown import Unknown
from netdoctor.netlink.wire import NETLINK_NETFILTER, Reader
from netdoctor.observe.nft_sets import read_element, read_set
from netdoctor.walk.netfilter.registers import Bits, hidden_bits
from netdoctor.walk.netfilter.sets import find

EMPTY = Topology(title="A lone namespace", roles=("host",))
KEYS = 1500
SEED = 20261124


class Kind(NamedTuple):
    """What the set is declared as, its elements as nft takes them, and a key as a packet would look it up.

    clashing: the kernel refuses some elements beside others, so they are added one by one.
    """

    declared: str
    elements: Callable[[random.Random], list[str]]
    key: Callable[[random.Random], bytes]
    clashing: bool = False


def address(rng: random.Random) -> int:
    """Close together, so that keys fall into elements, beside them and on their edges; seldom at the ends."""
    return rng.choice((0, 0xFFFFFFFF)) if rng.random() < 0.02 else 0x0A000000 + rng.randrange(1 << 10)


def ipv4(rng: random.Random) -> str:
    return str(IPv4Address(address(rng)))


def spans(rng: random.Random, base: int, show: Callable[[int], str]) -> list[str]:
    """Ranges that do not overlap: each in 16 numbers of its own, now and then up to the very next one."""
    found = []
    for block in rng.sample(range(base, base + 1024, 16), 40):
        low = block + (0 if rng.random() < 0.3 else rng.randrange(12))
        high = block + 15 if rng.random() < 0.3 else rng.randrange(low, block + 16)
        found.append(show(low) if low == high else f"{show(low)}-{show(high)}")
    return found


def ipv4_spans(rng: random.Random) -> list[str]:
    ends = ["0.0.0.0-0.0.0.9", "255.255.255.250-255.255.255.255"] if rng.random() < 0.5 else []
    return spans(rng, 0x0A000000, lambda number: str(IPv4Address(number))) + ends


def ipv4_span(rng: random.Random) -> str:
    low = 0x0A000000 + rng.randrange(1 << 10)
    if rng.random() < 0.3:
        return str(IPv4Network((low, rng.randrange(22, 32)), strict=False))
    return f"{IPv4Address(low)}-{IPv4Address(low + 1 + rng.randrange(64))}"


def port_span(rng: random.Random) -> str:
    low = port(rng)
    return f"{low}-{low + 1 + rng.randrange(64)}"


def port_spans(rng: random.Random) -> list[str]:
    return spans(rng, 1, str)


def port(rng: random.Random) -> int:
    return rng.randrange(1, 1100)


def packed4(rng: random.Random) -> bytes:
    return struct.pack("!I", address(rng))


def packed_port(rng: random.Random) -> bytes:
    return struct.pack("!H", port(rng))


def ipv6(rng: random.Random) -> IPv6Address:
    return IPv6Address(0x20010DB8 << 96 | rng.randrange(1 << 9))


def device(rng: random.Random) -> str:
    return rng.choice(("eth", "veth", "br-", "cali", "e")) + "".join(
        rng.choice("01ab") for _ in range(rng.randrange(4))
    )


def verdict(rng: random.Random) -> str:
    return rng.choice(("accept", "drop", "return", "jump one", "goto two", "continue"))


def many(draw: Callable[[random.Random], str], count: int = 60) -> Callable[[random.Random], list[str]]:
    return lambda rng: list(dict.fromkeys(draw(rng) for _ in range(count)))


def mapped(
    keys: Callable[[random.Random], list[str]], value: Callable[[random.Random], object]
) -> Callable[[random.Random], list[str]]:
    return lambda rng: [f"{key} : {value(rng)}" for key in keys(rng)]


def near(rng: random.Random) -> tuple[IPv4Address, int]:
    return IPv4Address(0x0A000000 + rng.randrange(16)), 1 + rng.randrange(16)


def concatenated(rng: random.Random) -> bytes:
    return packed4(rng) + packed_port(rng) + b"\0\0"


def device_key(rng: random.Random) -> bytes:
    return device(rng).encode().ljust(16, b"\0")


def device_patterns(rng: random.Random) -> list[str]:
    return ['"eth*"', '"veth0"', '"cali1*"', '"br-a"', '"br-b*"', '"e"'] + (['"vethb*"'] if rng.random() < 0.5 else [])


KINDS = {
    "hash": Kind("set s { type ipv4_addr;", many(ipv4, 200), packed4),
    "bitmap": Kind("set s { type inet_service;", many(lambda rng: str(port(rng)), 200), packed_port),
    "intervals": Kind("set s { type ipv4_addr; flags interval;", ipv4_spans, packed4),
    "port intervals": Kind("set s { type inet_service; flags interval;", port_spans, packed_port),
    "merged": Kind("set s { type ipv4_addr; flags interval; auto-merge;", many(ipv4_span, 6), packed4),
    "six": Kind("set s { type ipv6_addr;", many(lambda rng: str(ipv6(rng)), 100), lambda rng: ipv6(rng).packed),
    "six intervals": Kind(
        "set s { type ipv6_addr; flags interval; auto-merge;",
        many(lambda rng: str(IPv6Network((int(ipv6(rng)), rng.randrange(122, 129)), strict=False)), 20),
        lambda rng: ipv6(rng).packed,
    ),
    "timeouts": Kind(
        "set s { type ipv4_addr; flags timeout;",
        lambda rng: [f"{one} timeout {rng.randrange(60, 900)}s" for one in many(ipv4)(rng)],
        packed4,
    ),
    "concatenation": Kind(
        "set s { type ipv4_addr . inet_service;",
        many(lambda rng: "{} . {}".format(*near(rng))),
        lambda rng: near(rng)[0].packed + struct.pack("!H2x", near(rng)[1]),
    ),
    "concatenated ranges": Kind(
        "set s { type ipv4_addr . inet_service; flags interval;",
        many(lambda rng: f"{ipv4_span(rng)} . {port_span(rng)}", 120),
        concatenated,
        clashing=True,
    ),
    "devices": Kind("set s { type ifname;", many(lambda rng: f'"{device(rng)}"', 20), device_key),
    "device wildcards": Kind("set s { type ifname; flags interval;", device_patterns, device_key),
    "marks in intervals": Kind(
        "set s { type mark; flags interval;", port_spans, lambda rng: struct.pack("!I", port(rng))
    ),
    "map": Kind("map s { type ipv4_addr : inet_service;", mapped(many(ipv4), port), packed4),
    "interval map": Kind("map s { type ipv4_addr : mark; flags interval;", mapped(ipv4_spans, port), packed4),
    "verdict map": Kind("map s { type ipv4_addr : verdict;", mapped(many(ipv4), verdict), packed4),
    "verdict map of intervals": Kind(
        "map s { type inet_service : verdict; flags interval;", mapped(port_spans, verdict), packed_port
    ),
    "concatenated map of ranges": Kind(
        "map s { type ipv4_addr . inet_service : verdict; flags interval;",
        mapped(many(lambda rng: f"{ipv4_span(rng)} . {port_span(rng)}"), verdict),
        concatenated,
        clashing=True,
    ),
}


@pytest.fixture(scope="module")
def host() -> Iterator[World]:
    with World(EMPTY) as world:
        yield world


def fill(world: World, table: str, kind: Kind, rng: random.Random, catchall: str) -> None:
    """A table with the set."""
    elements = kind.elements(rng) + ([catchall] if catchall else [])
    first = "" if kind.clashing else f"elements = {{ {', '.join(elements)} }};"
    more = "\n".join(f"add element ip {table} s {{ {one} }}" for one in (elements if kind.clashing else ()))
    made = f"table ip {table} {{ chain one {{ }}; chain two {{ }}; {kind.declared} {first} }}; }}"
    world.sh(f"nft -i >/dev/null 2>&1 <<'LINES'\n{made}\n{more}\nquit\nLINES")


def answer(found: SetElement | Unknown | None) -> object:
    """What a rule gets to know of an element: that there is one, and what it maps to."""
    return (found.value, found.verdict, found.chain) if isinstance(found, SetElement) else found


@pytest.mark.parametrize("catchall", [False, True], ids=["", "catchall"])
@pytest.mark.parametrize("name", KINDS)
def test_the_search_finds_what_the_kernel_finds(host: World, name: str, catchall: bool) -> None:
    kind, rng = KINDS[name], random.Random(f"{SEED} {name} {catchall}")
    table = f"t{list(KINDS).index(name)}{'c' if catchall else ''}"
    value = " : 7" if ": inet_service" in kind.declared or ": mark" in kind.declared else ""
    value = " : drop" if "verdict" in kind.declared else value
    fill(host, table, kind, rng, f"*{value}" if catchall else "")
    keys = [kind.key(rng) for _ in range(KEYS)]

    def ask() -> list[tuple[SetElement, ...]]:
        with Reader(NETLINK_NETFILTER) as reader:
            return [read_element(reader, "ip", table, "s", key) for key in keys]

    whole = call_inside(host.name("host"), lambda: read_set("ip", table, "s"))
    assert not isinstance(whole.elements, Unknown)
    told = call_inside(host.name("host"), ask)
    hits = overlaps = 0
    for key, kernel in zip(keys, told, strict=True):
        found = find(whole, whole.elements, Bits(key))
        theirs = kernel[0] if kernel else None
        if isinstance(found, Unknown) and "map of ranges" in name:
            assert "overlapping" in found.why
            overlaps += 1
        else:
            assert answer(found) == answer(theirs), f"{name}: key {key.hex()} (seed {SEED})"
        hits += theirs is not None and not theirs.catchall
    assert overlaps < 0.1 * KEYS
    assert 0.02 * KEYS < hits < 0.98 * KEYS, "the keys must fall both into and beside the elements"


@pytest.mark.parametrize("name", KINDS)
def test_a_key_nobody_knows_is_not_told_for_sure(host: World, name: str) -> None:
    kind, table = KINDS[name], f"t{list(KINDS).index(name)}"
    whole = call_inside(host.name("host"), lambda: read_set("ip", table, "s"))
    assert not isinstance(whole.elements, Unknown)
    length = len(kind.key(random.Random(1)))
    assert find(whole, whole.elements, hidden_bits(length, "nobody knows")) == Unknown("nobody knows")


def test_a_set_that_is_gone_is_no_miss(host: World) -> None:
    def ask() -> tuple[SetElement, ...]:
        with Reader(NETLINK_NETFILTER) as reader:
            return read_element(reader, "ip", "none", "s", bytes(4))

    with pytest.raises(FileNotFoundError):
        call_inside(host.name("host"), ask)
