"""The packet's headers as bytes, with the bits that the model does not carry marked hidden."""

import struct
from ipaddress import ip_address

from netdoctor.walk.packet import ICMP, ICMP6, TCP, UDP, Packet

from .registers import Bits, hidden_bits

DONT_FRAGMENT = 0x4000
SYN, ACK = 0x02, 0x10
WITH_PORTS = (33, 132, 136)
"""Protocols besides TCP and UDP whose headers begin with two ports: DCCP, SCTP, UDP-Lite."""
ETHERTYPE_ARP = 0x0806
ARP_REQUEST = 1


def packed(address: str) -> bytes:
    """The address as it stands in a header."""
    return ip_address(address).packed


def mac_bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))


def network_header(packet: Packet) -> Bits:
    """The IPv4 header without options, the IPv6 header, or the whole ARP packet."""
    if packet.ether_type == ETHERTYPE_ARP:
        return _arp(packet)
    if packet.family == 6:
        return _ipv6(packet)
    fragment = DONT_FRAGMENT if packet.dont_fragment else 0
    value = struct.pack(
        "!BBHHHBBH", 0x45, packet.tos, packet.length_bytes, 0, fragment, packet.ttl, packet.protocol, 0
    )  # fmt: skip
    hidden = bytearray(20)
    hidden[4:6] = hidden[10:12] = b"\xff\xff"
    why = "the packet's id and checksum are not modelled"
    return Bits(value + packed(packet.source) + packed(packet.destination), bytes(hidden), why)


def _ipv6(packet: Packet) -> Bits:
    first = 0x60000000 | packet.tos << 20
    value = struct.pack("!IHBB", first, max(packet.length_bytes - 40, 0), packet.protocol, packet.ttl)
    hidden = b"\x00\x0f\xff\xff" + bytes(36)
    why = "the packet's flow label is not modelled"
    return Bits(value + packed(packet.source) + packed(packet.destination), hidden, why)


def _arp(packet: Packet) -> Bits:
    """RFC 826 for Ethernet and IPv4. In a request the target's MAC address is zero; an answer goes to its target."""
    mac = mac_bytes(packet.source_mac) if packet.source_mac else bytes(6)
    value = struct.pack("!HHBBH", 1, 0x0800, 6, 4, packet.arp_operation) + mac + packed(packet.source)
    target = packet.destination_mac if packet.arp_operation != ARP_REQUEST else ""
    value += (mac_bytes(target) if target else bytes(6)) + packed(packet.destination)
    hidden = bytes(8) + (bytes(6) if packet.source_mac else b"\xff" * 6) + bytes(14)
    return Bits(value, hidden, "the sender's MAC address is not known")


def transport_header(packet: Packet) -> Bits:
    """The TCP (with its options), UDP or ICMP header; of other protocols at most the ports are known."""
    ports = struct.pack("!HH", packet.source_port, packet.destination_port)
    if packet.protocol == TCP:
        return _tcp(packet, ports)
    if packet.protocol == UDP:
        length = max(packet.length_bytes - network_length(packet), 8)
        return Bits(ports + struct.pack("!HH", length, 0), bytes(6) + b"\xff\xff", "the checksum is not modelled")
    if packet.protocol in (ICMP, ICMP6):
        value = struct.pack("!BBHHH", packet.icmp_type, packet.icmp_code, 0, packet.icmp_id, 0)
        return Bits(value, b"\0\0\xff\xff\0\0\xff\xff", "the checksum and sequence number are not modelled")
    why = f"the header of protocol {packet.protocol} is not modelled"
    if packet.protocol in WITH_PORTS:
        return Bits(ports + bytes(60), bytes(4) + b"\xff" * 60, why)
    return hidden_bits(64, why)


def _tcp(packet: Packet, ports: bytes) -> Bits:
    """Without known options only how long the header may be is known; a segment of 20 bytes has none."""
    options = tcp_options(packet)
    offset = 5 + len(options or b"") // 4 << 4
    acknowledged = b"\xff" * 4 if (packet.tcp_flags or SYN) & ACK else bytes(4)
    hidden = (
        bytes(4) + b"\xff" * 4 + acknowledged + (b"\xf0\x00" if options is None else bytes(2)) + b"\xff" * 4 + bytes(2)
    )
    value = ports + bytes(8) + bytes([0 if options is None else offset, packet.tcp_flags or SYN]) + bytes(6)
    why = "sequence numbers, window and options of the segment are not modelled"
    return Bits(value + (options or b""), hidden + bytes(len(options or b"")), why)


def tcp_options(packet: Packet) -> bytes | None:
    """The segment's options; None when they are not known."""
    if packet.tcp_options is not None:
        return packet.tcp_options
    return b"" if packet.length_bytes <= network_length(packet) + 20 else None


def network_length(packet: Packet) -> int:
    return 20 if packet.family == 4 else 40


def packet_bytes(packet: Packet) -> Bits:
    """The whole packet from its network header on, as long as its length says."""
    head, transport = network_header(packet), transport_header(packet)
    payload = packet.payload
    known = payload is not None and packet.protocol in (TCP, UDP, ICMP, ICMP6)
    if packet.protocol == TCP and tcp_options(packet) is None:
        known = False
    tail = payload if payload is not None and known else b""
    value = (head.value + transport.value + tail)[: packet.length_bytes]
    hidden = head.hidden.ljust(len(head.value), b"\0") + transport.hidden.ljust(len(transport.value), b"\0")
    hidden = (hidden + bytes(len(tail)))[: packet.length_bytes]
    missing = packet.length_bytes - len(value)
    why = "; ".join(each for each in (head.why, transport.why, "" if known else "the payload is not known") if each)
    return Bits(value + bytes(missing), hidden + b"\xff" * missing, why)


def link_header(packet: Packet) -> Bits | None:
    """The Ethernet header; None on packets that came from no device and so have none yet."""
    if not packet.source_mac and not packet.destination_mac:
        return hidden_bits(14, "the frame's MAC addresses are not known") if packet.in_device else None
    value, hidden = b"", b""
    for mac in (packet.destination_mac, packet.source_mac):
        value += mac_bytes(mac) if mac else bytes(6)
        hidden += bytes(6) if mac else b"\xff" * 6
    return Bits(value + struct.pack("!H", packet.ether_type), hidden + bytes(2), "a MAC address is not known")
