"""struct ipt_entry, ip6t_entry and arpt_entry -> Rule.

Source: linux/netfilter_ipv4/ip_tables.h, linux/netfilter_ipv6/ip6_tables.h, linux/netfilter_arp/arp_tables.h.
"""

import socket
import struct
from collections.abc import Iterator
from typing import Literal, NamedTuple

from netdoctor.model.expression import AnyExpression, Opaque, Verdict, VerdictCode, XtHeader, XtMatch, XtTarget
from netdoctor.model.firewall import Rule

Family = Literal["ip", "ip6", "arp"]
VERDICTS: dict[int, VerdictCode] = {-1: "drop", -2: "accept", -4: "queue", -5: "return"}
GOTO = {"ip": 0x02, "ip6": 0x04, "arp": 0}
IP_HOOKS = ("prerouting", "input", "forward", "output", "postrouting")
ARP_HOOKS = ("input", "output", "forward")
ELEMENT = struct.Struct("=H29sB")
SIZES = struct.Struct("=2H")
COUNTERS = struct.Struct("=2Q")
VERDICT = struct.Struct("=i")
HEADERS: dict[str, struct.Struct] = {
    "ip": struct.Struct("=4s4s4s4s16s16s16s16sH3B"),
    "ip6": struct.Struct("=16s16s16s16s16s16s16s16sH3B"),
}
SMALL_BYTES = 96
"""Matches up to this size are often alike; larger ones (comments) hardly ever."""


class Layout(NamedTuple):
    """Where the fields of struct ipt_entry, ip6t_entry or arpt_entry are; which getsockopt asks, from which on."""

    level: int
    domain: socket.AddressFamily
    header_bytes: int
    offsets: int
    counters: int
    elements: int
    option: int = 64
    hooks: tuple[str, ...] = IP_HOOKS


LAYOUTS: dict[Family, Layout] = {
    "ip": Layout(socket.IPPROTO_IP, socket.AF_INET, 85, 88, 96, 112),
    "ip6": Layout(socket.IPPROTO_IPV6, socket.AF_INET6, 133, 140, 152, 168),
    "arp": Layout(socket.IPPROTO_IP, socket.AF_INET, 162, 164, 176, 192, 96, ARP_HOOKS),
}


def offsets_of(content: bytes, layout: Layout, offset: int, end: int) -> Iterator[int]:
    """Where the entries between two places start."""
    while offset < end:
        yield offset
        offset += SIZES.unpack_from(content, offset + layout.offsets)[1]


def text(value: bytes) -> str:
    return value.split(b"\0", 1)[0].decode("utf-8", "backslashreplace")


class EntryReader:
    """The rules of one table. names: the offset of a user chain's first entry, where jumps lead -> its name.

    What rules have alike is made once.
    """

    def __init__(self, family: Family, names: dict[int, str]) -> None:
        self.family: Family = family
        self.layout = LAYOUTS[family]
        self.names = names
        self._headers: dict[bytes, XtHeader | Opaque | None] = {}
        self._matches: dict[bytes, XtMatch] = {}

    def rules(self, content: bytes, first: int, last: int) -> tuple[Rule, ...]:
        """The rules whose entries stand between the two offsets."""
        offsets = offsets_of(content, self.layout, first, last)
        return tuple(self._rule(content, offset, line) for line, offset in enumerate(offsets, 1))

    def _rule(self, content: bytes, offset: int, line: int) -> Rule:
        layout = self.layout
        target, size = SIZES.unpack_from(content, offset + layout.offsets)
        raw = content[offset : offset + size]
        plain = raw[: layout.header_bytes]
        if plain not in self._headers:
            self._headers[plain] = self._arp_header(plain) if self.family == "arp" else self._header(plain)
        header = self._headers[plain]
        expressions: list[AnyExpression] = [] if header is None else [header]
        comment, place = "", layout.elements
        while place < target:
            match, length = self._match(raw, place)
            expressions.append(match)
            comment = comment or (text(match.info) if match.name == "comment" else "")
            place += length
        verdict = self._target(raw, target, offset, header.flags if isinstance(header, XtHeader) else 0)
        if verdict is not None:
            expressions.append(verdict)
        packets, octets = COUNTERS.unpack_from(raw, layout.counters)
        return Rule(
            line=line, expressions=tuple(expressions), comment=comment, packets=packets, bytes=octets, raw=raw
        )  # fmt: skip

    def _header(self, raw: bytes) -> XtHeader:
        """struct ipt_ip: addresses, masks, devices, their masks, protocol, flags. ip6t_ip6 has a tos between."""
        source, destination, source_mask, destination_mask, in_name, out_name, in_mask, out_mask, protocol, *rest = (
            HEADERS[self.family].unpack(raw)
        )
        tos, flags, invert = (0, rest[0], rest[1]) if self.family == "ip" else rest
        return XtHeader(
            family="ip" if self.family == "ip" else "ip6", source=source, source_mask=source_mask, destination=destination,
            destination_mask=destination_mask, in_device=_device(in_name, in_mask),
            out_device=_device(out_name, out_mask), protocol=protocol, tos=tos, flags=flags, invert=invert,
        )  # fmt: skip

    @staticmethod
    def _arp_header(raw: bytes) -> Opaque | None:
        """struct arpt_arp: None where it tests nothing; what it tests is not modelled."""
        return Opaque(name="arptables header", raw=raw) if any(raw) else None

    def _match(self, raw: bytes, place: int) -> tuple[XtMatch, int]:
        """The match at this place, and how long it is."""
        size, name, revision = ELEMENT.unpack_from(raw, place)
        length = max(size, 32)
        whole = raw[place : place + length] if size <= SMALL_BYTES else b""
        match = self._matches.get(whole)
        if match is None:
            match = XtMatch(name=text(name), revision=revision, info=raw[place + 32 : place + size])
            if whole:
                self._matches[whole] = match
        return match, length

    def _target(self, raw: bytes, at: int, offset: int, flags: int) -> Verdict | XtTarget | None:
        """A standard target is a verdict, or a jump to an offset: the next entry's (the rule only counts) or a chain's."""
        size, name, revision = ELEMENT.unpack_from(raw, at)
        if name[0]:
            return XtTarget(name=text(name), revision=revision, info=raw[at + 32 : at + size])
        (verdict,) = VERDICT.unpack_from(raw, at + 32)
        if verdict < 0:
            return Verdict(code=VERDICTS.get(verdict, "accept"))
        if verdict == offset + len(raw):
            return None
        chain = self.names.get(verdict, f"offset {verdict}")
        return Verdict(code="goto" if flags & GOTO[self.family] else "jump", chain=chain)


def _device(packed: bytes, mask: bytes) -> str:
    """The name; with "+" when its mask stops before the terminating NUL."""
    length = len(mask.rstrip(b"\0"))
    if not length:
        return ""
    name = packed.split(b"\0", 1)[0]
    return text(name) if length > len(name) else text(name[:length]) + "+"
