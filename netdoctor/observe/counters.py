"""Rule and policy counters of a few chains, read again: what moved between two readings is what packets met.

Source: linux/netfilter/nf_tables.h (NFTA_CHAIN_COUNTERS, the counter expression); the counters of struct ipt_entry.
"""

import errno
import struct
from collections.abc import Callable, Iterable
from typing import NamedTuple

from netdoctor.model.firewall import Backend, TableFamily
from netdoctor.model.unknown import Unknown
from netdoctor.netlink.wire import NETLINK_NETFILTER, Reader, attribute, attributes, be64

from .nft_sets import FAMILY_NUMBERS
from .nftables import GET_CHAIN, GET_RULE
from .xtables import read_legacy_counters

COUNTER = b"counter\0"
GONE = (errno.ENOENT, errno.EINVAL, errno.EAFNOSUPPORT)


class ChainKey(NamedTuple):
    """Which chain of which backend."""

    backend: Backend
    family: TableFamily
    table: str
    chain: str


class CounterKey(NamedTuple):
    """Whose counter: `number` is a rule's handle, in legacy tables its line; 0 is the chain's policy."""

    backend: Backend
    family: TableFamily
    table: str
    chain: str
    number: int


class Count(NamedTuple):
    packets: int
    bytes: int


Counts = dict[CounterKey, Count]


def read_counters(chains: Iterable[ChainKey]) -> dict[ChainKey, Counts | Unknown]:
    """Chain -> its counters, in the calling thread's namespace. Rules without a counter are not in it, chains that are
    gone have none. Changes nothing: counters are never reset by reading."""
    wanted = dict.fromkeys(chains)
    found: dict[ChainKey, Counts | Unknown] = {}
    native = [key for key in wanted if key.backend != "iptables-legacy"]
    if native:
        try:
            with Reader(NETLINK_NETFILTER) as reader:
                found.update((key, _known(lambda key=key: _read_nft(reader, key))) for key in native)  # type: ignore[misc]
        except OSError as error:
            found.update(dict.fromkeys(native, _why(error)))
    for family, table in dict.fromkeys((key.family, key.table) for key in wanted if key not in found):
        mine = [key for key in wanted if key not in found and (key.family, key.table) == (family, table)]
        found.update(_read_legacy(family, table, mine))
    return found


def _known(read: Callable[[], Counts]) -> Counts | Unknown:
    try:
        return read()
    except OSError as error:
        return _why(error)


def _why(error: OSError) -> Unknown:
    denied = isinstance(error, PermissionError)
    return Unknown(f"counters: {'permission denied' if denied else error.strerror or error}")


def _read_nft(reader: Reader, key: ChainKey) -> Counts:
    table, chain = (attribute(kind, name.encode() + b"\0") for kind, name in ((1, key.table), (3, key.chain)))
    head = struct.pack("!BBH", FAMILY_NUMBERS[key.family], 0, 0)
    counts: Counts = {}
    try:
        parts = attributes(reader.get(GET_CHAIN, head + table + chain)[4:])
        if 8 in parts:
            held = attributes(parts[8])
            counts[CounterKey(*key, 0)] = Count(be64(held[2]), be64(held[1]))
        for message in reader.dump(GET_RULE, head + table + attribute(2, key.chain.encode() + b"\0")):
            rule = attributes(message[4:])
            count = _count_of(bytes(rule[4])) if 4 in rule else None
            if count is not None:
                counts[CounterKey(*key, be64(rule[3]))] = count
    except OSError as error:
        if error.errno not in GONE:
            raise
    return counts


def _count_of(expressions: bytes) -> Count | None:
    """The last counter expression's numbers; NFTA_LIST_ELEM > NFTA_EXPR_NAME "counter", NFTA_EXPR_DATA."""
    if COUNTER not in expressions:
        return None
    found = None
    for element in _elements(expressions):
        if element[4:12] == COUNTER:
            held = attributes(attributes(memoryview(element))[2])
            found = Count(be64(held[2]), be64(held[1]))
    return found


def _elements(expressions: bytes) -> Iterable[bytes]:
    offset, end = 0, len(expressions)
    while offset + 4 <= end:
        length = expressions[offset] | expressions[offset + 1] << 8
        if length < 4:
            return
        yield expressions[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def _read_legacy(family: TableFamily, table: str, keys: list[ChainKey]) -> dict[ChainKey, Counts | Unknown]:
    """Of a table that is there: asking for another would make it."""
    try:
        held = read_legacy_counters(family, table, [key.chain for key in keys])
    except OSError as error:
        return dict.fromkeys(keys, _why(error))
    return {
        key: {CounterKey(*key, number): Count(*count) for number, count in held.get(key.chain, {}).items()}
        for key in keys
    }
