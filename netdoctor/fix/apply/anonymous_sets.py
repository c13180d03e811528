"""Anonymous sets of nft rules, "tcp dport { 80, 443 }": they vanish with their rule, so they are kept and made again.

Numbers: linux/netfilter/nf_tables.h, enum nft_set_attributes.
"""

import struct

from netdoctor.fix.journal import RawSet
from netdoctor.model.change import ChainRef
from netdoctor.model.firewall import Rule
from netdoctor.netlink.wire import NETLINK_NETFILTER, Reader, attribute, each

from .nftables import FAMILIES
from .writer import F_CREATE, NFNL_SUBSYS_NFTABLES, Request

ANONYMOUS = ("__set", "__map")
NEWSET, GETSET, NEWSETELEM, GETSETELEM = 9, 10, 12, 13
SET_TABLE, SET_NAME, SET_ID, SET_HANDLE, SET_TYPE, SET_COUNT = 1, 2, 10, 16, 19, 20
ELEM_TABLE, ELEM_SET, ELEM_ELEMENTS = 1, 2, 3
NESTED = 0x8000
KEPT_NESTED = (9, 17, 18)


def names_in(rule: Rule) -> tuple[str, ...]:
    """The anonymous sets a rule looks into, each once."""
    found = (str(getattr(expression, "set", "")) for expression in rule.expressions)
    return tuple(dict.fromkeys(name for name in found if name.startswith(ANONYMOUS)))


def read_raw(at: ChainRef, names: tuple[str, ...]) -> tuple[RawSet, ...]:
    """These sets of a table, from the calling thread's namespace. Raises OSError."""
    if not names:
        return ()
    header = struct.pack("!BBH", FAMILIES[at.family], 0, 0)
    found = []
    with Reader(NETLINK_NETFILTER) as reader:
        for name in names:
            where = attribute(1, at.table.encode() + b"\0") + attribute(2, name.encode() + b"\0")
            definition = reader.get(NFNL_SUBSYS_NFTABLES << 8 | GETSET, header + where)
            lists = reader.dump(NFNL_SUBSYS_NFTABLES << 8 | GETSETELEM, header + where)
            payloads = [bytes(value) for message in lists for kind, value in each(message[4:]) if kind == ELEM_ELEMENTS]
            found.append(RawSet(name=name, definition=bytes(definition[4:]), elements=tuple(payloads)))
    return tuple(found)


def remaking(at: ChainRef, sets: tuple[RawSet, ...]) -> list[Request]:
    """The requests that make the sets again, to go before the rule in its batch."""
    header = struct.pack("!BBH", FAMILIES[at.family], 0, 0)
    requests = []
    for number, kept in enumerate(sets, 1):
        body = header + attribute(SET_ID, struct.pack("!I", number))
        for kind, value in each(memoryview(kept.definition)):
            if kind not in (SET_ID, SET_HANDLE, SET_TYPE, SET_COUNT):
                body += attribute(kind | NESTED if kind in KEPT_NESTED else kind, bytes(value))
        requests.append(Request(NEWSET, body, F_CREATE))
        table = attribute(ELEM_TABLE, at.table.encode() + b"\0") + attribute(ELEM_SET, kept.name.encode() + b"\0")
        for payload in kept.elements:
            elements = table + attribute(ELEM_ELEMENTS | NESTED, payload) + attribute(4, struct.pack("!I", number))
            requests.append(Request(NEWSETELEM, header + elements, F_CREATE))
    return requests
