"""nf_tables -> Ruleset, of the calling thread's namespace. GET requests only. Source: linux/netfilter/nf_tables.h."""

import errno
import os
import struct
from collections import defaultdict
from collections.abc import Sequence

from netdoctor.model import expression as e
from netdoctor.model.firewall import Backend, Chain, Rule, Ruleset, Set, Table, TableFamily
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

from . import ebtables
from .nft_attributes import userdata_comment
from .nft_expressions import decode_expressions
from .nft_sets import FAMILIES, FAMILY_NUMBERS, GET_SET, NOTHING, decode_set
from .xt_ipset import read_ipsets
from .xtables import Kept, read_legacy_tables

SUBSYSTEM = 10 << 8
GET_TABLE, GET_CHAIN, GET_RULE, GET_GENERATION = (SUBSYSTEM | number for number in (1, 4, 7, 16))
HOOKS = ("prerouting", "input", "forward", "output", "postrouting", "ingress")
HOOKS_OF = {"arp": ("input", "output", "forward"), "netdev": ("ingress", "egress")}
NOTHING_THERE = (errno.ENOENT, errno.EOPNOTSUPP, errno.EPROTONOSUPPORT, errno.EINVAL, errno.EAFNOSUPPORT)
TRIES = 3
FEW_CHAINS = 64
CHANGING = "changing while read"
IPTABLES_PRIORITIES = {"raw": -300, "mangle": -150, "filter": 0, "security": 150}
"""As iptables-nft writes them: its security table runs later than the legacy one (at 50)."""


def read_ruleset() -> Ruleset:
    """Tables, chains and set headers of nf_tables without their rules, and the legacy tables with them.

    tables is Unknown without CAP_NET_ADMIN, or when the ruleset kept changing.
    """
    return ruleset_and_generation(None)[0]


def ruleset_and_generation(kept: Kept | None) -> tuple[Ruleset, int]:
    """`read_ruleset`, with the generation of nf_tables it is of.

    kept: takes large legacy tables, whose chains then come without rules (see read_legacy_tables).
    """
    try:
        tables, number = read_nft_tables()
        legacy = read_legacy_tables(kept) + ebtables.possible_tables()
    except PermissionError:
        return Ruleset(tables=Unknown("no permission to read rulesets (needs CAP_NET_ADMIN)")), 0
    except Interrupted:
        return Ruleset(tables=Unknown(CHANGING)), 0
    found = tables + legacy
    return Ruleset(tables=found, ipsets=read_ipsets() if found else ()), number


def read_nft_tables() -> tuple[tuple[Table, ...], int]:
    """The tables of nf_tables and the generation they are of; none, of generation 0, where the kernel has no nf_tables.

    Raises PermissionError, Interrupted.
    """
    if not nf_tables_present():
        return (), 0
    try:
        with Reader(NETLINK_NETFILTER) as reader:
            for _ in range(TRIES):
                before = generation(reader)
                tables = _read_tables(reader)
                if before == generation(reader):
                    return tables, before
    except OSError as error:
        if error.errno in NOTHING_THERE:
            return (), 0
        raise
    raise Interrupted(errno.EINTR, CHANGING)


def generation(reader: Reader) -> int:
    """The number of the last change of this namespace's nf_tables."""
    return be32(attributes(reader.get(GET_GENERATION, bytes(4))[4:])[1])


def nf_tables_present() -> bool:
    """False when nf_tables is a module that nobody has loaded: asking would load it."""
    if not os.path.exists("/proc/modules") or os.path.isdir("/sys/module/nf_tables"):
        return True
    try:
        with open(f"/lib/modules/{os.uname().release}/modules.dep", encoding="utf-8") as listing:
            return "/nf_tables.ko" not in listing.read()
    except OSError:
        return True


def _read_tables(reader: Reader) -> tuple[Table, ...]:
    tables = reader.dump(GET_TABLE, bytes(4))
    if not tables:
        return ()
    chains: defaultdict[tuple[int, str], list[Chain]] = defaultdict(list)
    sets: defaultdict[tuple[int, str], list[Set]] = defaultdict(list)
    for message in reader.dump(GET_CHAIN, bytes(4)):
        owner, chain = _chain(message)
        chains[owner].append(chain)
    for message in reader.dump(GET_SET, bytes(4)):
        owner, found = decode_set(message)
        sets[owner].append(found)
    return tuple(_table(message, chains, sets) for message in tables)


def _table(
    message: memoryview, chains: dict[tuple[int, str], list[Chain]], sets: dict[tuple[int, str], list[Set]]
) -> Table:
    parts = attributes(message[4:])
    family, name = FAMILIES[message[0]], text(parts[1])
    mine = tuple(chains.get((message[0], name), ()))
    return Table(
        backend=_backend(family, name, mine), family=family, name=name, handle=be64(parts.get(4, NOTHING)),
        dormant=bool(be32(parts.get(2, NOTHING)) & 1), owned=bool(be32(parts.get(2, NOTHING)) & 2), chains=mine, sets=tuple(sets.get((message[0], name), ())),
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


def read_chains(family: str, table: str, chains: Sequence[str]) -> dict[str, tuple[Rule, ...]]:
    """The rules of just these chains. The kernel gives a chain that is not there no rules. Raises OSError."""
    with Reader(NETLINK_NETFILTER) as reader:
        return rules_of(reader, family, table, chains)


def rules_of(reader: Reader, family: str, table: str, chains: Sequence[str]) -> dict[str, tuple[Rule, ...]]:
    """`read_chains` on an open socket; many chains of one table come in one dump of the table."""
    seen: dict[bytes, e.AnyExpression] = {}
    head = struct.pack("!BBH", FAMILY_NUMBERS[family], 0, 0) + attribute(1, table.encode() + b"\0")
    if len(chains) > FEW_CHAINS:
        return _rules_of_table(reader, head, chains, seen)
    found: dict[str, tuple[Rule, ...]] = {}
    for chain in chains:
        try:
            messages = reader.dump(GET_RULE, head + attribute(2, chain.encode() + b"\0"))
        except FileNotFoundError:
            continue
        found[chain] = tuple(_rule(bytes(message), line, seen) for line, message in enumerate(messages, 1))
    return found


def _rules_of_table(
    reader: Reader, head: bytes, chains: Sequence[str], seen: dict[bytes, e.AnyExpression]
) -> dict[str, tuple[Rule, ...]]:
    """The rules of a whole table, given to their chains. Chain names come padded and NUL-terminated."""
    found: dict[bytes, list[Rule]] = {chain.encode(): [] for chain in chains}
    try:
        messages = reader.dump(GET_RULE, head)
    except FileNotFoundError:
        return {}
    for message in messages:
        raw = bytes(message)
        place = 4 + (raw[4] + 3 & ~3)
        rules = found.get(raw[place + 4 : place + raw[place] - 1])
        if rules is not None:
            rules.append(_rule(raw, len(rules) + 1, seen))
    return {chain: tuple(found[chain.encode()]) for chain in chains}


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
    if not compat and (b"match\0" in raw or b"target\0" in raw):
        compat = compat_of(expressions)
    return Rule(
        handle=handle, line=line, expressions=expressions, comment=comment, packets=packets, bytes=octets, raw=raw,
        userdata=userdata, compat=compat,
    )  # fmt: skip


def _annotations(
    expressions: tuple[e.AnyExpression, ...], userdata: bytes
) -> tuple[int | None, int | None, str]:  # fmt: skip
    """Packets, bytes and the comment: nft keeps it in the user data (type 0), iptables in a match."""
    packets: int | None = None
    octets: int | None = None
    comment = userdata_comment(userdata) if userdata else ""
    for expression in expressions:
        kind = type(expression)
        if kind is e.Counter:
            packets, octets = expression.packets, expression.bytes  # type: ignore[union-attr]
        elif kind is e.XtMatch and expression.name == "comment":  # type: ignore[union-attr]
            comment = expression.info.split(b"\0", 1)[0].decode("utf-8", "backslashreplace")  # type: ignore[union-attr]
    return packets, octets, comment
