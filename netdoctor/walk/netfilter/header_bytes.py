"""Loads from the packet's bytes, and writes to them (net/netfilter/nft_payload.c)."""

import struct
from ipaddress import ip_address

from netdoctor.model.expression import Payload, PayloadBase, PayloadSet
from netdoctor.walk.packet import ICMP, ICMP6, TCP, UDP, Packet

from .headers import ETHERTYPE_ARP, link_header, network_header, network_length, packet_bytes, tcp_options
from .registers import Bits, hidden_bits
from .state import Outcome, State

IP_TYPES = (0x0800, 0x86DD)
FIELDS: dict[tuple[str, int], dict[str, tuple[int, int]]] = {
    ("network", 4): {"tos": (1, 1), "ttl": (8, 1), "source": (12, 4), "destination": (16, 4)},
    ("network", 6): {"tos": (0, 2), "ttl": (7, 1), "source": (8, 16), "destination": (24, 16)},
    ("transport", TCP): {"source_port": (0, 2), "destination_port": (2, 2), "tcp_flags": (13, 1)},
    ("transport", UDP): {"source_port": (0, 2), "destination_port": (2, 2)},
    ("transport", ICMP): {"icmp_type": (0, 1), "icmp_code": (1, 1), "icmp_id": (4, 2)},
    ("transport", ICMP6): {"icmp_type": (0, 1), "icmp_code": (1, 1), "icmp_id": (4, 2)},
    ("link", 0): {"destination_mac": (0, 6), "source_mac": (6, 6)},
}
"""Where the fields that the model carries stand in a header: offset and length."""
ETHERNET_BYTES, UDP_BYTES, TCP_BYTES = 14, 8, 20


def payload(state: State, expression: Payload) -> Outcome:
    """Breaks off where there is no such header or the packet is too short."""
    length = expression.length
    header = header_of(state.packet, expression.base)
    if header is None or expression.offset + length > _room(state.packet, expression.base):
        return False
    part = header.cut(expression.offset, length)
    known, dark = len(part.value), part.hidden.ljust(len(part.value), b"\0")
    why = part.why if any(dark) else ""
    if known < length:
        why = why or "what follows the packet's headers is not modelled"
        dark += b"\xff" * (length - known)
    hidden = bytearray(dark)
    for field, (start, size) in fields_of(state.packet, expression.base).items():
        if doubt := state.uncertain.get(field):
            first, last = max(start - expression.offset, 0), min(start + size - expression.offset, length)
            hidden[first:last] = b"\xff" * max(last - first, 0)
            why = doubt if last > first else why
    state.registers.store(expression.register, Bits(part.value.ljust(length, b"\0"), bytes(hidden), why))
    return True


def fields_of(packet: Packet, base: PayloadBase) -> dict[str, tuple[int, int]]:
    if base == "network":
        return FIELDS[base, packet.family] if packet.ether_type in IP_TYPES else {}
    return FIELDS.get((base, packet.protocol if base == "transport" else 0), {})


def header_of(packet: Packet, base: PayloadBase) -> Bits | None:
    """The header's bytes; None where the kernel has no such header of this packet."""
    match base:
        case "link":
            return link_header(packet)
        case "network" if packet.ether_type == ETHERTYPE_ARP:
            return network_header(packet)
        case "network" if packet.ether_type in IP_TYPES:
            return packet_bytes(packet)
        case "network":
            return hidden_bits(0, f"packets of ether type {packet.ether_type:#06x} are not modelled")
        case "transport":
            start = network_length(packet)
            return packet_bytes(packet).cut(start, packet.length_bytes) if packet.ether_type in IP_TYPES else None
        case "inner" if packet.protocol in (TCP, UDP) and packet.ether_type in IP_TYPES:
            return _inner(packet)
    return None


def _inner(packet: Packet) -> Bits:
    """What follows the transport header, whose length only TCP options can leave open."""
    options = tcp_options(packet) if packet.protocol == TCP else b""
    if options is None:
        return hidden_bits(0, "how long the segment's header is, is not known")
    start = network_length(packet) + (UDP_BYTES if packet.protocol == UDP else TCP_BYTES + len(options))
    return packet_bytes(packet).cut(start, packet.length_bytes)


def _room(packet: Packet, base: PayloadBase) -> int:
    """How many bytes the packet has from this header on."""
    head = 40 if packet.family == 6 else 20
    match base:
        case "link":
            return packet.length_bytes + ETHERNET_BYTES
        case "network":
            return packet.length_bytes
        case "transport":
            return packet.length_bytes - head
    options = tcp_options(packet) if packet.protocol == TCP else b""
    return packet.length_bytes - head - (UDP_BYTES if packet.protocol == UDP else TCP_BYTES + len(options or b""))


def payload_set(state: State, expression: PayloadSet) -> Outcome:
    """Rewrites header bytes; what the model carries of them is read back."""
    packet = state.packet
    header = header_of(packet, expression.base)
    end = expression.offset + expression.length
    if header is None or end > _room(packet, expression.base):
        return False
    bits = state.registers.load(expression.register, expression.length)
    hidden = bits.hidden.ljust(expression.length, b"\0")
    value = header.value.ljust(end, b"\0")
    value = value[: expression.offset] + bits.value + value[end:]
    for field, (start, size) in fields_of(packet, expression.base).items():
        first, last = max(start, expression.offset), min(start + size, end)
        if first >= last:
            continue
        if any(hidden[first - expression.offset : last - expression.offset]):
            state.uncertain[field] = bits.why
            continue
        new = _read(field, packet.family, value[start : start + size])
        if new != getattr(packet, field) or field in state.uncertain:
            state.change(field, new)
    return True


def _read(field: str, family: int, value: bytes) -> str | int:
    match field:
        case "source" | "destination":
            return str(ip_address(value))
        case "source_mac" | "destination_mac":
            return value.hex(":")
        case "tos" if family == 6:
            return int(struct.unpack("!H", value)[0] >> 4 & 0xFF)
    return int.from_bytes(value, "big")
