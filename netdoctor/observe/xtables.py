"""Legacy xtables -> Table, of the calling thread's namespace, by getsockopt on a raw socket.

Source: linux/netfilter_ipv4/ip_tables.h, linux/netfilter_ipv6/ip6_tables.h. Only tables the kernel lists are opened:
opening another one creates it.
"""

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from netdoctor.model.expression import AnyExpression, Verdict, VerdictCode, XtHeader, XtMatch, XtTarget
from netdoctor.model.firewall import Chain, Rule, Table
from netdoctor.model.unknown import UNREAD, Unknown
from netdoctor.netlink.wire import Interrupted

Family = Literal["ip", "ip6"]
GET_INFO, GET_ENTRIES = 64, 65
INFO = struct.Struct("=32sI5I5III")
ENTRIES_HEADER_BYTES = 40
HOOKS = ("prerouting", "input", "forward", "output", "postrouting")
PRIORITIES = {"raw": -300, "mangle": -150, "filter": 0, "security": 50}
VERDICTS: dict[int, VerdictCode] = {-1: "drop", -2: "accept", -4: "queue", -5: "return"}
GOTO = {"ip": 0x02, "ip6": 0x04}
TRIES = 5
FEW_ENTRIES = 200
"""Tables up to this size are read whole at once: asking for their chains one by one would cost more."""


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


class Span(NamedTuple):
    """One chain of a blob: where its first entry is and where its last, which is no rule (policy, or final return)."""

    name: str
    hook: str
    first: int
    last: int


class Blob(NamedTuple):
    """One table as getsockopt gave it, at one moment, and where its chains are in it; the rules are read when asked for.

    names: the offset of a user chain's first entry, where jumps lead -> its name. entries: how many there are.
    """

    family: Family
    table: str
    content: bytes
    spans: dict[str, Span]
    names: dict[int, str]
    entries: int


class Entry(NamedTuple):
    """One struct ipt_entry: where it stands in the blob, its bytes, and where its target is in them."""

    offset: int
    raw: bytes
    target: int


Kept = dict[tuple[str, str], Blob]
"""(family, table) -> the blob whose chains were not read yet."""


def read_legacy_tables(kept: Kept | None = None) -> tuple[Table, ...]:
    """Every legacy table there is. Raises PermissionError without CAP_NET_ADMIN.

    kept: takes the blobs of large tables, whose chains then come without rules: `chain_rules` reads those of one.
    """
    families: tuple[Family, ...] = ("ip", "ip6")
    tables = []
    for family in families:
        for name in table_names(family):
            blob = _read_blob(family, name)
            if blob is None:
                continue
            later = kept is not None and blob.entries > FEW_ENTRIES
            if kept is not None and later:
                kept[family, name] = blob
            tables.append(_table(blob, later=later))
    return tuple(tables)


def read_legacy_counters(family: str, table: str, chains: Sequence[str]) -> dict[str, dict[int, tuple[int, int]]]:
    """Chain -> line -> packets and bytes; line 0 is a built-in chain's policy. A table that is not there is not opened.

    Raises OSError.
    """
    if family not in LAYOUTS or table not in table_names(family):
        return {}
    blob = _read_blob(family, table)
    if blob is None:
        return {}
    place, found = LAYOUTS[blob.family].counters, dict[str, dict[int, tuple[int, int]]]()
    for span in (blob.spans[chain] for chain in chains if chain in blob.spans):
        entries = enumerate(_entries(blob.content, LAYOUTS[blob.family], span.first, span.last), 1)
        found[span.name] = {line: struct.unpack_from("=2Q", entry.raw, place) for line, entry in entries}
        if span.hook:
            found[span.name][0] = struct.unpack_from("=2Q", blob.content, span.last + place)
    return found


def table_names(family: Family) -> tuple[str, ...]:
    """The tables that exist; none where the family's xtables is not loaded."""
    try:
        with open(f"/proc/thread-self/net/{family}_tables_names", encoding="ascii") as names:
            return tuple(names.read().split())
    except FileNotFoundError:
        return ()


def _read_blob(family: Family, name: str) -> Blob | None:
    """One table; None when it has gone meanwhile. Raises OSError; Interrupted when it kept changing its size."""
    layout = LAYOUTS[family]
    with socket.socket(layout.domain, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_RAW) as raw:
        for _ in range(TRIES):
            try:
                info = _ask(raw, layout.level, GET_INFO, name.encode().ljust(INFO.size, b"\0"))
                _, hooks, *rest = INFO.unpack(info)
                heads = {rest[number]: number for number in range(5) if hooks >> number & 1}
                size = rest[11]
                head = name.encode().ljust(32, b"\0") + struct.pack("=II", size, 0)
                content = _ask(raw, layout.level, GET_ENTRIES, head + bytes(size))[ENTRIES_HEADER_BYTES:]
            except FileNotFoundError:
                return None
            except OSError as error:
                if error.errno == errno.EAGAIN:
                    continue
                raise
            return find_chains(family, name, heads, content)
    raise Interrupted(errno.EAGAIN, "changing while read")


def _ask(raw: socket.socket, level: int, option: int, question: bytes) -> bytes:
    """getsockopt(2) with an argument, which socket.getsockopt cannot pass."""
    buffer = ctypes.create_string_buffer(question, len(question))
    length = ctypes.c_uint32(len(question))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.getsockopt(raw.fileno(), level, option, buffer, ctypes.byref(length)) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return buffer.raw


def find_chains(family: Family, table: str, heads: dict[int, int], content: bytes) -> Blob:
    """The chains of a blob by the headers of its entries. heads: where built-in chains start -> their hook's number.

    A user chain starts behind an entry whose target is ERROR and bears its name; the last such entry ends the blob.
    """
    layout, sizes = LAYOUTS[family], struct.Struct("=2H").unpack_from
    offset, previous, entries = 0, 0, 0
    begun: list[tuple[str, str, int]] = []
    spans: dict[str, Span] = {}
    names: dict[int, str] = {}

    def end_chain() -> None:
        if begun and previous >= begun[-1][2]:
            spans[begun[-1][0]] = Span(*begun[-1], previous)

    while offset + layout.elements <= len(content):
        target, size = sizes(content, offset + layout.offsets)
        if size < layout.elements:
            break
        at = offset + target
        if content[at + 2 : at + 8] == b"ERROR\0":
            end_chain()
            name = names[offset + size] = _text(content[at + 32 : at + 64])
            begun.append((name, "", offset + size))
        elif offset in heads:
            end_chain()
            hook = HOOKS[heads[offset]]
            begun.append((hook.upper(), hook, offset))
        previous, offset, entries = offset, offset + size, entries + 1
    end_chain()
    return Blob(family, table, content, spans, names, entries)


def _table(blob: Blob, *, later: bool) -> Table:
    chains = tuple(
        _chain(blob, span, UNREAD if later else chain_rules(blob, span.name)) for span in blob.spans.values()
    )
    return Table(backend="iptables-legacy", family=blob.family, name=blob.table, chains=chains)


def _chain(blob: Blob, span: Span, rules: tuple[Rule, ...] | Unknown) -> Chain:
    if not span.hook:
        return Chain(name=span.name, rules=rules)
    (target,) = struct.unpack_from("=H", blob.content, span.last + LAYOUTS[blob.family].offsets)
    (verdict,) = struct.unpack_from("=i", blob.content, span.last + target + 32)
    nat = blob.table == "nat"
    priority = (-100 if span.hook in ("prerouting", "output") else 100) if nat else PRIORITIES.get(blob.table, 0)
    return Chain(
        name=span.name, hook=span.hook, type="nat" if nat else "filter", priority=priority,
        policy=VERDICTS.get(verdict, "accept"), rules=rules,
    )  # fmt: skip


def chain_rules(blob: Blob, chain: str) -> tuple[Rule, ...]:
    """The rules of one chain; none of one that is not there."""
    span = blob.spans.get(chain)
    if span is None:
        return ()
    entries = _entries(blob.content, LAYOUTS[blob.family], span.first, span.last)
    return tuple(_rule(blob.family, entry, line, blob.names) for line, entry in enumerate(entries, 1))


def _entries(content: bytes, layout: Layout, offset: int, end: int) -> Iterator[Entry]:
    while offset < end:
        target, size = struct.unpack_from("=2H", content, offset + layout.offsets)
        yield Entry(offset, content[offset : offset + size], target)
        offset += size


def _text(value: bytes) -> str:
    return value.split(b"\0", 1)[0].decode("utf-8", "backslashreplace")


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
