"""Legacy xtables -> Table, of the calling thread's namespace, by getsockopt on a raw socket.

Source: linux/netfilter_ipv4/ip_tables.h, linux/netfilter_ipv6/ip6_tables.h. Only tables the kernel lists are opened:
opening another one creates it.
"""

import ctypes
import errno
import os
import socket
import struct
from collections.abc import Sequence
from typing import NamedTuple

from netdoctor.model.firewall import Chain, Rule, Table
from netdoctor.model.unknown import UNREAD, Unknown
from netdoctor.netlink.wire import Interrupted

from .xt_entries import LAYOUTS, VERDICTS, EntryReader, Family, offsets_of, text

NAME_BYTES = 32
ENTRIES_HEADER_BYTES = 40
PRIORITIES = {"raw": -300, "mangle": -150, "filter": 0, "security": 50}
TRIES = 5
FEW_ENTRIES = 200
"""Tables up to this size are read whole at once: asking for their chains one by one would cost more."""


class Span(NamedTuple):
    """One chain of a blob: where its first entry is and where its last, which is no rule (policy, or final return)."""

    name: str
    hook: str
    first: int
    last: int


class Blob(NamedTuple):
    """One table as getsockopt gave it, at one moment, and where its chains are in it; the rules are read when asked for.

    entries: how many there are.
    """

    family: Family
    table: str
    content: bytes
    spans: dict[str, Span]
    entries: int
    entry_reader: EntryReader


Kept = dict[tuple[str, str], Blob]
"""(family, table) -> the blob whose chains were not read yet."""


def read_legacy_tables(kept: Kept | None = None) -> tuple[Table, ...]:
    """Every legacy table there is. Raises PermissionError without CAP_NET_ADMIN.

    kept: takes the blobs of large tables, whose chains then come without rules: `chain_rules` reads those of one.
    """
    families: tuple[Family, ...] = ("ip", "ip6", "arp")
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
        offsets = enumerate(offsets_of(blob.content, LAYOUTS[blob.family], span.first, span.last), 1)
        found[span.name] = {line: struct.unpack_from("=2Q", blob.content, offset + place) for line, offset in offsets}
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
    count = len(layout.hooks)
    length = NAME_BYTES + 4 * (2 * count + 3)
    with socket.socket(layout.domain, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.IPPROTO_RAW) as raw:
        for _ in range(TRIES):
            try:
                info = _ask(raw, layout.level, layout.option, name.encode().ljust(length, b"\0"))
                _, hooks, *rest = struct.unpack(f"={NAME_BYTES}sI{2 * count + 2}I", info)
                heads = {rest[number]: number for number in range(count) if hooks >> number & 1}
                size = rest[2 * count + 1]
                head = name.encode().ljust(32, b"\0") + struct.pack("=II", size, 0)
                content = _ask(raw, layout.level, layout.option + 1, head + bytes(size))[ENTRIES_HEADER_BYTES:]
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
            name = names[offset + size] = text(content[at + 32 : at + 64])
            begun.append((name, "", offset + size))
        elif offset in heads:
            end_chain()
            hook = layout.hooks[heads[offset]]
            begun.append((hook.upper(), hook, offset))
        previous, offset, entries = offset, offset + size, entries + 1
    end_chain()
    return Blob(family, table, content, spans, entries, EntryReader(family, names))


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
    return blob.entry_reader.rules(blob.content, span.first, span.last)
