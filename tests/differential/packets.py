"""Packets as bytes: a model Packet becomes a datagram, and what a wire shows becomes what can be compared with one."""

import socket
import struct
from typing import NamedTuple

from msgspec.structs import replace

from netdoctor.walk.packet import ICMP, ICMP6, TCP, UDP, Packet

TAG = struct.Struct("!Q")
NETWORK_BYTES = {4: 20, 6: 40}
TRANSPORT_BYTES = {TCP: 20, UDP: 8, ICMP: 8, ICMP6: 8}


class Seen(NamedTuple):
    """A packet as it was met at `place` ("inet:eth0", "ns1:eth0", "host"). Of echoes source_port is the id."""

    place: str
    source: str
    destination: str
    protocol: int
    source_port: int
    destination_port: int
    kind: int
    ttl: int
    tos: int


def minimum_bytes(family: int, protocol: int) -> int:
    """The shortest datagram that still holds a tag."""
    return NETWORK_BYTES[family] + TRANSPORT_BYTES[protocol] + TAG.size


def datagram(packet: Packet, tag: int, sequence: int = 1000, acknowledged: int = 0, quoted: bytes = b"") -> bytes:
    """The packet with its headers and checksums right, ending in the tag; `quoted`: what an ICMP error carries."""
    head, size = NETWORK_BYTES[packet.family], packet.length_bytes - NETWORK_BYTES[packet.family]
    body = _transport(packet, size, sequence, acknowledged) + quoted
    body = body[: size - TAG.size].ljust(size - TAG.size, b"\0") + TAG.pack(tag) if not quoted else body
    source, destination = _packed(packet.source), _packed(packet.destination)
    place = {TCP: 16, UDP: 6, ICMP: 2, ICMP6: 2}[packet.protocol]
    pseudo = (
        b"" if packet.protocol == ICMP else source + destination + struct.pack("!IxxxB", len(body), packet.protocol)
    )
    total = checksum(pseudo + body) or 0xFFFF
    body = body[:place] + struct.pack("!H", total) + body[place + 2 :]
    if packet.family == 6:
        words = 0x60000000 | packet.tos << 20
        return struct.pack("!IHBB", words, len(body), packet.protocol, packet.ttl) + source + destination + body
    fragment = 0x4000 if packet.dont_fragment else 0
    front = struct.pack(
        "!BBHHHBB", 0x45, packet.tos, head + len(body), tag & 0xFFFF, fragment, packet.ttl, packet.protocol
    )
    addresses = source + destination
    return front + struct.pack("!H", checksum(front + b"\0\0" + addresses)) + addresses + body


def whole(packet: Packet, raw: bytes) -> Packet:
    """The packet with what follows its transport header, as it will be sent; segments carry no options."""
    payload = raw[NETWORK_BYTES[packet.family] + TRANSPORT_BYTES[packet.protocol] :]
    return replace(packet, payload=payload, tcp_options=b"" if packet.protocol == TCP else None)


def _transport(packet: Packet, size: int, sequence: int, acknowledged: int) -> bytes:
    ports = struct.pack("!HH", packet.source_port, packet.destination_port)
    if packet.protocol == TCP:
        return ports + struct.pack("!IIBBHHH", sequence, acknowledged, 0x50, packet.tcp_flags, 4000, 0, 0)
    if packet.protocol == UDP:
        return ports + struct.pack("!HH", size, 0)
    return struct.pack("!BBHHH", packet.icmp_type, packet.icmp_code, 0, packet.icmp_id, 1)


def read(raw: bytes, place: str) -> Seen | None:
    """What an IP datagram says; None for other things on the wire."""
    version = raw[0] >> 4
    if version not in NETWORK_BYTES or len(raw) < NETWORK_BYTES[version] + 8:
        return None
    head = NETWORK_BYTES[version]
    if version == 4:
        tos, ttl, protocol, source, destination = raw[1], raw[8], raw[9], raw[12:16], raw[16:20]
    else:
        tos = int.from_bytes(raw[:2], "big") >> 4 & 0xFF
        ttl, protocol, source, destination = raw[7], raw[6], raw[8:24], raw[24:40]
    first, second = struct.unpack_from("!HH", raw, head)
    echo = protocol in (ICMP, ICMP6)
    if echo:
        (first,), second = struct.unpack_from("!H", raw, head + 4), 0
    return Seen(
        place, _shown(source), _shown(destination), protocol, first, second, raw[head] if echo else 0, ttl, tos
    )  # fmt: skip


def foreseen(packet: Packet, place: str) -> Seen:
    """What the model says will be seen."""
    echo = packet.protocol in (ICMP, ICMP6)
    return Seen(
        place, packet.source, packet.destination, packet.protocol, packet.icmp_id if echo else packet.source_port,
        0 if echo else packet.destination_port, packet.icmp_type if echo else 0, packet.ttl, packet.tos,
    )  # fmt: skip


def tag_of(raw: bytes) -> int:
    """The tag a datagram ends with."""
    return int(TAG.unpack_from(raw, len(raw) - TAG.size)[0]) if len(raw) >= TAG.size else 0


def checksum(raw: bytes) -> int:
    raw += b"\0" * (len(raw) % 2)
    total = sum(struct.unpack(f"!{len(raw) // 2}H", raw))
    while total >> 16:
        total = (total >> 16) + (total & 0xFFFF)
    return ~total & 0xFFFF


def _packed(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def _shown(value: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(value) == 4 else socket.AF_INET6, value)
