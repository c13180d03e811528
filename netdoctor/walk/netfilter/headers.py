"""The packet's headers as bytes, with the bits that the model does not carry marked hidden."""

import struct
from ipaddress import ip_address

from netdoctor.walk.packet import ICMP, ICMP6, TCP, UDP, Packet

from .registers import Bits, hidden_bits

DONT_FRAGMENT = 0x4000
SYN = 0x02
ETHERTYPE_ARP = 0x0806


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
    """RFC 826 for Ethernet and IPv4. In a request the target's MAC address is zero."""
    mac = mac_bytes(packet.source_mac) if packet.source_mac else bytes(6)
    value = struct.pack("!HHBBH", 1, 0x0800, 6, 4, packet.arp_operation) + mac + packed(packet.source)
    value += bytes(6) + packed(packet.destination)
    hidden = bytes(8) + (bytes(6) if packet.source_mac else b"\xff" * 6) + bytes(14)
    return Bits(value, hidden, "the sender's MAC address is not known")


def transport_header(packet: Packet) -> Bits:
    """The TCP, UDP or ICMP header; of other protocols nothing is known."""
    ports = struct.pack("!HH", packet.source_port, packet.destination_port)
    if packet.protocol == TCP:
        hidden = bytes(4) + b"\xff" * 8 + b"\xff\x00" + b"\xff" * 4 + bytes(2)
        value = ports + bytes(9) + bytes([packet.tcp_flags or SYN]) + bytes(6)
        return Bits(value, hidden, "sequence numbers, window and options of the segment are not modelled")
    if packet.protocol == UDP:
        length = max(packet.length_bytes - (20 if packet.family == 4 else 40), 8)
        return Bits(ports + struct.pack("!HH", length, 0), bytes(6) + b"\xff\xff", "the checksum is not modelled")
    if packet.protocol in (ICMP, ICMP6):
        value = struct.pack("!BBHHH", packet.icmp_type, packet.icmp_code, 0, packet.icmp_id, 0)
        return Bits(value, b"\0\0\xff\xff\0\0\xff\xff", "the checksum and sequence number are not modelled")
    return hidden_bits(64, f"the header of protocol {packet.protocol} is not modelled")


def link_header(packet: Packet) -> Bits | None:
    """The Ethernet header; None on packets that came from no device and so have none yet."""
    if not packet.source_mac and not packet.destination_mac:
        return hidden_bits(14, "the frame's MAC addresses are not known") if packet.in_device else None
    value, hidden = b"", b""
    for mac in (packet.destination_mac, packet.source_mac):
        value += mac_bytes(mac) if mac else bytes(6)
        hidden += bytes(6) if mac else b"\xff" * 6
    return Bits(value + struct.pack("!H", packet.ether_type), hidden + bytes(2), "a MAC address is not known")
