"""Sets and maps of nf_tables: headers, elements, and the kernel's own answer to a key. GET requests only.

Source: linux/netfilter/nf_tables.h; nf_tables_getsetelem and nft_lookup_eval.
"""

import struct
from collections.abc import Iterable
from typing import Literal

from msgspec.structs import replace

from netdoctor.model import expression as e
from netdoctor.model.firewall import Set, SetElement, TableFamily
from netdoctor.netlink.wire import NETLINK_NETFILTER, Reader, attribute, attributes, be32, be64, each, text

from . import nft_attributes as small
from .nft_attributes import EMPTY, ZERO, userdata_comment
from .nft_expressions import nested, verdict_of

GET_SET, GET_ELEMENT = 10 << 8 | 10, 10 << 8 | 13
FAMILIES: dict[int, TableFamily] = {1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}
FAMILY_NUMBERS: dict[str, int] = {name: number for number, name in FAMILIES.items()}
SET_FLAGS = ("anonymous", "constant", "interval", "map", "timeout", "eval", "object", "concat", "expr")
NOTHING = memoryview(bytes(8))
NESTED, CATCHALL = 0x8000, 2


def decode_set(message: memoryview) -> tuple[tuple[int, str], Set]:
    """A set's header, and which table it is in."""
    parts = attributes(message[4:])
    flags = be32(parts.get(3, NOTHING))
    description = attributes(parts[9]) if 9 in parts else {}
    fields = tuple(be32(attributes(field)[1]) for _, field in each(description[2])) if 2 in description else ()
    return (message[0], text(parts[1])), Set(
        name=text(parts[2]), handle=be64(parts.get(16, NOTHING)), key_type=be32(parts.get(4, NOTHING)),
        key_length=be32(parts.get(5, NOTHING)), value_type=be32(parts.get(6, NOTHING)),
        value_length=be32(parts.get(7, NOTHING)), fields=fields, object_type=be32(parts.get(15, NOTHING)),
        size=be32(description.get(1, NOTHING)),
        expressions=nested({kind: bytes(parts[kind]) for kind in (17, 18) if kind in parts}, 17, 18),
        flags=tuple(name for bit, name in enumerate(SET_FLAGS) if flags >> bit & 1),
    )  # fmt: skip


def read_set(family: str, table: str, name: str) -> Set:
    """One set with all its elements. Raises OSError (ENOENT: there is none)."""
    with Reader(NETLINK_NETFILTER) as reader:
        _, found = decode_set(reader.get(GET_SET, _set_head(family, table, name)))
        return replace(found, elements=elements_of(reader, family, table, name))


def elements_of(reader: Reader, family: str, table: str, name: str) -> tuple[SetElement, ...]:
    """All elements of a set. Raises OSError (ENOENT: there is none)."""
    return _elements(reader.dump(GET_ELEMENT, _set_head(family, table, name)))


def read_element(reader: Reader, family: str, table: str, name: str, key: bytes) -> tuple[SetElement, ...]:
    """What the kernel finds in the set for this key as a packet's lookup would: one element or none.

    A set's catchall element takes what no other does (nft_lookup_eval). Raises OSError; ENOENT when the set is gone.
    """
    asked = _set_head(family, table, name)
    for element in (attribute(1, attribute(1, key)), attribute(3, struct.pack("!I", CATCHALL))):
        try:
            answer = reader.get(GET_ELEMENT, asked + attribute(NESTED | 3, attribute(NESTED | 1, element)))
        except FileNotFoundError:
            continue
        return _elements([answer])
    reader.get(GET_SET, asked)
    return ()


def _set_head(family: str, table: str, name: str) -> bytes:
    head = struct.pack("!BBH", FAMILY_NUMBERS[family], 0, 0)
    return head + attribute(1, table.encode() + b"\0") + attribute(2, name.encode() + b"\0")


def _elements(messages: Iterable[memoryview]) -> tuple[SetElement, ...]:
    return tuple(
        _element(bytes(element))
        for message in messages
        for _, element in each(attributes(message[4:]).get(3, NOTHING[:0]))
    )


def _element(body: bytes) -> SetElement:
    parts = small.attributes(body)
    flags = small.be32(parts.get(3, ZERO))
    data = small.attributes(parts[2]) if 2 in parts else {}
    code: e.VerdictCode | Literal[""] = ""
    chain = ""
    if 2 in data:
        code, chain = verdict_of(data[2])
    return SetElement(
        key=small.attributes(parts[1])[1] if 1 in parts else b"",
        key_end=small.attributes(parts[10])[1] if 10 in parts else b"",
        interval_end=bool(flags & 1), catchall=bool(flags & 2), value=data.get(1, EMPTY), verdict=code,
        chain=chain, object=small.text(parts.get(9, EMPTY)), timeout_ms=small.be64(parts.get(4, ZERO)),
        expires_ms=small.be64(parts.get(5, ZERO)), comment=userdata_comment(parts.get(6, EMPTY)),
        expressions=nested(parts, 7, 11),
    )  # fmt: skip
