"""nf_tables -> Ruleset, of the calling thread's namespace. GET requests only. Source: linux/netfilter/nf_tables.h."""

import errno
import os
import struct
from collections import defaultdict
from collections.abc import Sequence
from typing import Literal

from netdoctor.model import expression as e
from netdoctor.model.firewall import Backend, Chain, Rule, Ruleset, Set, SetElement, Table, TableFamily
from netdoctor.model.unknown import Unknown
from netdoctor.netlink.wire import (
    NETLINK_NETFILTER,
    Interrupted,
    Reader,
    attribute,
    attributes,
    be32,
    be64,
    each,
    text,
)
from netdoctor.walk.netfilter.compat import compat_of

from . import nft_attributes as small
from .nft_attributes import EMPTY, ZERO
from .nft_expressions import decode_expressions, nested, verdict_of
from .xt_ipset import read_ipsets
from .xtables import read_legacy_tables

SUBSYSTEM = 10 << 8
GET_TABLE, GET_CHAIN, GET_RULE, GET_SET, GET_ELEMENT = (SUBSYSTEM | number for number in (1, 4, 7, 10, 13))
FAMILIES: dict[int, TableFamily] = {1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}
FAMILY_NUMBERS: dict[str, int] = {name: number for number, name in FAMILIES.items()}
HOOKS = ("prerouting", "input", "forward", "output", "postrouting", "ingress")
HOOKS_OF = {"arp": ("input", "output", "forward"), "netdev": ("ingress", "egress")}
SET_FLAGS = ("anonymous", "constant", "interval", "map", "timeout", "eval", "object", "concat", "expr")
NOTHING_THERE = (errno.ENOENT, errno.EOPNOTSUPP, errno.EPROTONOSUPPORT, errno.EINVAL, errno.EAFNOSUPPORT)
NOTHING = memoryview(bytes(8))
GENERATION = struct.Struct("!H")
TRIES = 3
IPTABLES_PRIORITIES = {"raw": -300, "mangle": -150, "filter": 0, "security": 150}
"""As iptables-nft writes them: its security table runs later than the legacy one (at 50)."""


def read_ruleset() -> Ruleset:
    """Tables, chains and set headers of nf_tables without their rules, and the legacy tables with them.

    tables is Unknown without CAP_NET_ADMIN, or when the ruleset kept changing.
    """
    try:
        tables = read_nft_tables()
        legacy = read_legacy_tables()
    except PermissionError:
        return Ruleset(tables=Unknown("no permission to read rulesets (needs CAP_NET_ADMIN)"))
    except Interrupted:
        return Ruleset(tables=Unknown("changing while read"))
    found = tables + legacy
    return Ruleset(tables=found, ipsets=read_ipsets() if found else ())


def read_nft_tables() -> tuple[Table, ...]:
    """The tables of nf_tables; none where the kernel has no nf_tables. Raises PermissionError, Interrupted."""
    if not nf_tables_present():
        return ()
    try:
        with Reader(NETLINK_NETFILTER) as reader:
            for _ in range(TRIES):
                tables, steady = _read_tables(reader)
                if steady:
                    return tables
    except OSError as error:
        if error.errno in NOTHING_THERE:
            return ()
        raise
    raise Interrupted(errno.EINTR, "changing while read")


def nf_tables_present() -> bool:
    """False when nf_tables is a module that nobody has loaded: asking would load it."""
    if not os.path.exists("/proc/modules") or os.path.isdir("/sys/module/nf_tables"):
        return True
    try:
        with open(f"/lib/modules/{os.uname().release}/modules.dep", encoding="utf-8") as listing:
            return "/nf_tables.ko" not in listing.read()
    except OSError:
        return True


def _read_tables(reader: Reader) -> tuple[tuple[Table, ...], bool]:
    """The tables, and whether all of it is of one generation of the ruleset."""
    tables = reader.dump(GET_TABLE, bytes(4))
    if not tables:
        return (), True
    chain_messages, set_messages = reader.dump(GET_CHAIN, bytes(4)), reader.dump(GET_SET, bytes(4))
    chains: defaultdict[tuple[int, str], list[Chain]] = defaultdict(list)
    sets: defaultdict[tuple[int, str], list[Set]] = defaultdict(list)
    for message in chain_messages:
        owner, chain = _chain(message)
        chains[owner].append(chain)
    for message in set_messages:
        owner, found = _set(message)
        sets[owner].append(found)
    generations = {GENERATION.unpack_from(message, 2)[0] for message in (*tables, *chain_messages, *set_messages)}
    return tuple(_table(message, chains, sets) for message in tables), len(generations) == 1


def _table(
    message: memoryview, chains: dict[tuple[int, str], list[Chain]], sets: dict[tuple[int, str], list[Set]]
) -> Table:
    parts = attributes(message[4:])
    family, name = FAMILIES[message[0]], text(parts[1])
    mine = tuple(chains.get((message[0], name), ()))
    return Table(
        backend=_backend(family, name, mine), family=family, name=name, handle=be64(parts.get(4, NOTHING)),
        dormant=bool(be32(parts.get(2, NOTHING)) & 1), chains=mine, sets=tuple(sets.get((message[0], name), ())),
    )  # fmt: skip


def _backend(family: TableFamily, name: str, chains: tuple[Chain, ...]) -> Backend:
    """iptables-nft's tables have the legacy names and the legacy built-in chains as base chains."""
    if family not in ("ip", "ip6") or name not in (*IPTABLES_PRIORITIES, "nat"):
        return "nft"
    return "iptables-nft" if all(_is_builtin(name, chain) for chain in chains if chain.hook) else "nft"


def _is_builtin(table: str, chain: Chain) -> bool:
    if table == "nat":
        priority, kind = (-100 if chain.hook in ("prerouting", "output") else 100), "nat"
    else:
        priority = IPTABLES_PRIORITIES[table]
        kind = "route" if (table, chain.hook) == ("mangle", "output") else "filter"
    return (chain.name, chain.priority, chain.type) == (chain.hook.upper(), priority, kind)


def _chain(message: memoryview) -> tuple[tuple[int, str], Chain]:
    parts = attributes(message[4:])
    owner = message[0], text(parts[1])
    name, handle = text(parts[3]), be64(parts.get(2, NOTHING))
    if 4 not in parts:
        return owner, Chain(name=name, handle=handle)
    hook = attributes(parts[4])
    hooks = HOOKS_OF.get(FAMILIES[message[0]], HOOKS)
    number = be32(hook[1])
    devices = tuple(text(value) for _, value in each(hook[4])) if 4 in hook else (text(hook[3]),) if 3 in hook else ()
    return owner, Chain(
        name=name, handle=handle, hook=hooks[number] if number < len(hooks) else f"hook-{number}",
        type=text(parts.get(7, NOTHING)), priority=int.from_bytes(hook[2], "big", signed=True),
        policy="drop" if 5 in parts and be32(parts[5]) == 0 else "accept", devices=devices,
    )  # fmt: skip


def _set(message: memoryview) -> tuple[tuple[int, str], Set]:
    parts = attributes(message[4:])
    flags = be32(parts.get(3, NOTHING))
    description = attributes(parts[9]) if 9 in parts else {}
    fields = tuple(be32(attributes(field)[1]) for _, field in each(description[2])) if 2 in description else ()
    return (message[0], text(parts[1])), Set(
        name=text(parts[2]), handle=be64(parts.get(16, NOTHING)), key_type=be32(parts.get(4, NOTHING)),
        key_length=be32(parts.get(5, NOTHING)), value_type=be32(parts.get(6, NOTHING)),
        value_length=be32(parts.get(7, NOTHING)), fields=fields,
        flags=tuple(name for bit, name in enumerate(SET_FLAGS) if flags >> bit & 1),
    )  # fmt: skip


def read_chains(family: str, table: str, chains: Sequence[str]) -> dict[str, tuple[Rule, ...]]:
    """The rules of just these chains. The kernel gives a chain that is not there no rules. Raises OSError."""
    found: dict[str, tuple[Rule, ...]] = {}
    seen: dict[bytes, e.AnyExpression] = {}
    head = struct.pack("!BBH", FAMILY_NUMBERS[family], 0, 0) + attribute(1, table.encode() + b"\0")
    with Reader(NETLINK_NETFILTER) as reader:
        for chain in chains:
            try:
                messages = reader.dump(GET_RULE, head + attribute(2, chain.encode() + b"\0"))
            except FileNotFoundError:
                continue
            found[chain] = tuple(_rule(bytes(message), line, seen) for line, message in enumerate(messages, 1))
    return found


def _rule(message: bytes, line: int, seen: dict[bytes, e.AnyExpression]) -> Rule:
    """One rule message; written out without `attributes` because chains can hold thousands."""
    handle, raw, userdata, compat = 0, b"", b"", b""
    offset, end = 4, len(message)
    while offset + 4 <= end:
        length = message[offset] | message[offset + 1] << 8
        kind = message[offset + 2]
        if kind == 3:
            handle = int.from_bytes(message[offset + 4 : offset + length], "big")
        elif kind == 4:
            raw = message[offset + 4 : offset + length]
        elif kind == 5:
            compat = message[offset + 4 : offset + length]
        elif kind == 7:
            userdata = message[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    expressions = decode_expressions(raw, seen)
    packets, octets, comment = _annotations(expressions, userdata)
    return Rule(
        handle=handle, line=line, expressions=expressions, comment=comment, packets=packets, bytes=octets, raw=raw,
        userdata=userdata, compat=compat or compat_of(expressions),
    )  # fmt: skip


def _annotations(
    expressions: tuple[e.AnyExpression, ...], userdata: bytes
) -> tuple[int | None, int | None, str]:  # fmt: skip
    """Packets, bytes and the comment: nft keeps it in the user data (type 0), iptables in a match."""
    packets: int | None = None
    octets: int | None = None
    comment = userdata_comment(userdata)
    for expression in expressions:
        kind = type(expression)
        if kind is e.Counter:
            packets, octets = expression.packets, expression.bytes  # type: ignore[union-attr]
        elif kind is e.XtMatch and expression.name == "comment":  # type: ignore[union-attr]
            comment = expression.info.split(b"\0", 1)[0].decode("utf-8", "backslashreplace")  # type: ignore[union-attr]
    return packets, octets, comment


def userdata_comment(userdata: bytes) -> str:
    """The comment in a run of (type, length, value) bytes as libnftnl writes them."""
    offset = 0
    while offset + 2 <= len(userdata):
        kind, length = userdata[offset], userdata[offset + 1]
        if kind == 0:
            value = userdata[offset + 2 : offset + 2 + length]
            return value.split(b"\0", 1)[0].decode("utf-8", "backslashreplace")
        offset += 2 + length
    return ""


def read_set(family: str, table: str, name: str) -> Set:
    """One set with all its elements. Raises OSError (ENOENT: there is none)."""
    head = struct.pack("!BBH", FAMILY_NUMBERS[family], 0, 0)
    with Reader(NETLINK_NETFILTER) as reader:
        asked = attribute(1, table.encode() + b"\0") + attribute(2, name.encode() + b"\0")
        _, found = _set(reader.get(GET_SET, head + asked))
        messages = reader.dump(GET_ELEMENT, head + asked)
    elements = tuple(
        _element(bytes(element))
        for message in messages
        for _, element in each(attributes(message[4:]).get(3, NOTHING[:0]))
    )  # fmt: skip
    return Set(
        name=found.name, handle=found.handle, flags=found.flags, key_type=found.key_type, key_length=found.key_length,
        value_type=found.value_type, value_length=found.value_length, fields=found.fields, elements=elements,
    )  # fmt: skip


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
