"""Legacy xtables -> Table, of the calling thread's namespace, by getsockopt on a raw socket.

Source: linux/netfilter_ipv4/ip_tables.h, linux/netfilter_ipv6/ip6_tables.h. Only tables the kernel lists are opened:
opening another one creates it.
"""

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Iterator
from typing import Literal, NamedTuple

from netdoctor.model.expression import AnyExpression, Verdict, VerdictCode, XtHeader, XtMatch, XtTarget
from netdoctor.model.firewall import Chain, Rule, Table

Family = Literal["ip", "ip6"]
GET_INFO, GET_ENTRIES = 64, 65
INFO = struct.Struct("=32sI5I5III")
ENTRIES_HEADER_BYTES = 40
HOOKS = ("prerouting", "input", "forward", "output", "postrouting")
PRIORITIES = {"raw": -300, "mangle": -150, "filter": 0, "security": 50}
VERDICTS: dict[int, VerdictCode] = {-1: "drop", -2: "accept", -4: "queue", -5: "return"}
GOTO = {"ip": 0x02, "ip6": 0x04}


class Layout(NamedTuple):
    """Where the fields of struct ipt_entry or ip6t_entry are."""

    level: int
    domain: socket.AddressFamily
    address: int
    protocol: int
    offsets: int
    counters: int
    elements: int


LAYOUTS: dict[Family, Layout] = {
    "ip": Layout(socket.IPPROTO_IP, socket.AF_INET, 4, 80, 88, 96, 112),
    "ip6": Layout(socket.IPPROTO_IPV6, socket.AF_INET6, 16, 128, 140, 152, 168),
}


class Builtin(NamedTuple):
    """The built-in chains: a bit per hook, and per hook where its chain starts and where its policy rule is."""

    hooks: int
    heads: tuple[int, ...]
    policies: tuple[int, ...]


class Entry(NamedTuple):
    """One struct ipt_entry: where it stands in the blob, its bytes, and where its target is in them."""

    offset: int
    raw: bytes
    target: int


def read_legacy_tables() -> tuple[Table, ...]:
    """Every legacy table there is. Raises PermissionError without CAP_NET_ADMIN."""
    families: tuple[Family, ...] = ("ip", "ip6")
    found = [_read_table(family, name) for family in families for name in table_names(family)]
    return tuple(table for table in found if table is not None)


def table_names(family: Family) -> tuple[str, ...]:
    """The tables that exist; none where the family's xtables is not loaded."""
    try:
        with open(f"/proc/thread-self/net/{family}_tables_names", encoding="ascii") as names:
            return tuple(names.read().split())
    except FileNotFoundError:
        return ()


def _read_table(family: Family, name: str) -> Table | None:
    """One table; None when it has gone meanwhile."""
    layout = LAYOUTS[family]
    with socket.socket(layout.domain, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_RAW) as raw:
        for _ in range(3):
            try:
                info = _ask(raw, layout.level, GET_INFO, name.encode().ljust(INFO.size, b"\0"))
                _, hooks, *rest = INFO.unpack(info)
                builtin, size = Builtin(hooks, tuple(rest[:5]), tuple(rest[5:10])), rest[11]
                head = name.encode().ljust(32, b"\0") + struct.pack("=II", size, 0)
                blob = _ask(raw, layout.level, GET_ENTRIES, head + bytes(size))[ENTRIES_HEADER_BYTES:]
            except FileNotFoundError:
                return None
            except OSError as error:
                if error.errno == errno.EAGAIN:
                    continue
                raise
            return decode_table(family, name, builtin, blob)
    return None


def _ask(raw: socket.socket, level: int, option: int, question: bytes) -> bytes:
    """getsockopt(2) with an argument, which socket.getsockopt cannot pass."""
    buffer = ctypes.create_string_buffer(question, len(question))
    length = ctypes.c_uint32(len(question))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.getsockopt(raw.fileno(), level, option, buffer, ctypes.byref(length)) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return buffer.raw


def decode_table(family: Family, name: str, builtin: Builtin, blob: bytes) -> Table:
    """The chains of a table's blob."""
    layout = LAYOUTS[family]
    heads = {builtin.heads[number]: number for number in range(5) if builtin.hooks >> number & 1}
    groups: list[tuple[str, int | None, list[Entry]]] = []
    names: dict[int, str] = {}
    for entry in _entries(blob, layout):
        error = _error_name(entry)
        if error is not None:
            groups.append((error, None, []))
            names[entry.offset + len(entry.raw)] = error
            continue
        if entry.offset in heads:
            number = heads[entry.offset]
            groups.append((HOOKS[number].upper(), number, []))
        groups[-1][2].append(entry)
    chains = tuple(_chain(family, name, group, names) for group in groups if group[2])
    return Table(backend="iptables-legacy", family=family, name=name, chains=chains)


def _entries(blob: bytes, layout: Layout) -> Iterator[Entry]:
    offset = 0
    while offset + layout.elements <= len(blob):
        target, size = struct.unpack_from("=2H", blob, offset + layout.offsets)
        if size < layout.elements:
            return
        yield Entry(offset, blob[offset : offset + size], target)
        offset += size


def _error_name(entry: Entry) -> str | None:
    """The name of the user chain that an ERROR target heads."""
    raw, at = entry.raw, entry.target
    if raw[at + 2 : at + 8] != b"ERROR\0":
        return None
    return _text(raw[at + 32 : at + 64])


def _text(value: bytes) -> str:
    return value.split(b"\0", 1)[0].decode("utf-8", "backslashreplace")


def _chain(family: Family, table: str, group: tuple[str, int | None, list[Entry]], names: dict[int, str]) -> Chain:
    """A built-in chain ends with its policy, a user chain with a return: neither is a rule."""
    name, number, entries = group
    rules = tuple(_rule(family, entry, line, names) for line, entry in enumerate(entries[:-1], 1))
    if number is None:
        return Chain(name=name, rules=rules)
    last = entries[-1]
    (verdict,) = struct.unpack_from("=i", last.raw, last.target + 32)
    hook = HOOKS[number]
    priority = (-100 if hook in ("prerouting", "output") else 100) if table == "nat" else PRIORITIES.get(table, 0)
    return Chain(
        name=name, hook=hook, type="nat" if table == "nat" else "filter", priority=priority,
        policy=VERDICTS.get(verdict, "accept"), rules=rules,
    )  # fmt: skip


def _rule(family: Family, entry: Entry, line: int, names: dict[int, str]) -> Rule:
    layout = LAYOUTS[family]
    header = _header(family, layout, entry.raw)
    matches = tuple(_matches(entry, layout))
    target = _target(family, entry, header.flags, names)
    packets, octets = struct.unpack_from("=2Q", entry.raw, layout.counters)
    comment = next((_text(match.info) for match in matches if match.name == "comment"), "")
    expressions: tuple[AnyExpression, ...] = (header, *matches) if target is None else (header, *matches, target)
    return Rule(line=line, expressions=expressions, comment=comment, packets=packets, bytes=octets, raw=entry.raw)


def _header(family: Family, layout: Layout, raw: bytes) -> XtHeader:
    """struct ipt_ip: addresses, masks, devices, their masks, protocol, flags. ip6t_ip6 has a tos between."""
    size = layout.address
    source, destination, source_mask, destination_mask = (raw[i * size : (i + 1) * size] for i in range(4))
    at = 4 * size
    protocol, first, second, third = struct.unpack_from("=H3B", raw, layout.protocol)
    tos, flags, invert = (0, first, second) if family == "ip" else (first, second, third)
    return XtHeader(
        family=family, source=source, source_mask=source_mask, destination=destination,
        destination_mask=destination_mask, in_device=_device(raw, at), out_device=_device(raw, at + 16),
        protocol=protocol, tos=tos, flags=flags, invert=invert,
    )  # fmt: skip


def _device(raw: bytes, at: int) -> str:
    """The name; with "+" when its mask stops before the terminating NUL."""
    name, mask = raw[at : at + 16].split(b"\0", 1)[0], raw[at + 32 : at + 48]
    length = len(mask.rstrip(b"\0"))
    if not length:
        return ""
    return _text(name) if length > len(name) else _text(name[:length]) + "+"


def _matches(entry: Entry, layout: Layout) -> Iterator[XtMatch]:
    offset = layout.elements
    while offset < entry.target:
        size, name, revision = struct.unpack_from("=H29sB", entry.raw, offset)
        yield XtMatch(name=_text(name), revision=revision, info=entry.raw[offset + 32 : offset + size])
        offset += max(size, 32)


def _target(family: Family, entry: Entry, flags: int, names: dict[int, str]) -> Verdict | XtTarget | None:
    """A standard target is a verdict, or a jump to an offset: the next entry's (the rule only counts) or a chain's."""
    raw, at = entry.raw, entry.target
    size, packed_name, revision = struct.unpack_from("=H29sB", raw, at)
    name = _text(packed_name)
    if name:
        return XtTarget(name=name, revision=revision, info=raw[at + 32 : at + size])
    (verdict,) = struct.unpack_from("=i", raw, at + 32)
    if verdict < 0:
        return Verdict(code=VERDICTS.get(verdict, "accept"))
    if verdict == entry.offset + len(raw):
        return None
    return Verdict(code="goto" if flags & GOTO[family] else "jump", chain=names.get(verdict, f"offset {verdict}"))
