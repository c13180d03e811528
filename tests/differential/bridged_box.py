"""A host that switches between three containers and routes to a pretend internet: frames go in at any port.

ns1, ns2, ns3 eth0 -- p1, p2, p3 of the host's br0;  host right, other -- eth0, eth1 inet.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from lab import World
from lab.topology import Topology

from netdoctor.walk.packet import ICMP, ICMP6, Packet

from .box import OUTGOING, Box, _all_of, _mac
from .packets import Seen, _packed, _shown, datagram, foreseen, read, tag_of

ARP = struct.Struct("!HHBBH6s4s6s4s")
ARP_ETHER_TYPE = 0x0806
REFUSALS = ((ICMP, 3), (ICMP6, 1), (ICMP6, 137))
"""ICMP errors and redirects end in what they quote."""
BROADCAST = "ff:ff:ff:ff:ff:ff"
PORTS_OF_ROLES = {"ns1": "p1", "ns2": "p2", "ns3": "p3"}
TOPOLOGY = Topology(
    title="A bridge with three containers in a host that also routes, without rules",
    roles=("ns1", "ns2", "ns3", "host", "inet"),
    cables=("host:p1 ns1:eth0", "host:p2 ns2:eth0", "host:p3 ns3:eth0", "host:right inet:eth0", "host:other inet:eth1"),
    bridges=("host br0 p1 p2 p3",),
    addresses=(
        "ns1 eth0 10.5.0.2/24", "ns2 eth0 10.5.0.3/24", "ns3 eth0 10.5.0.4/24", "host br0 10.5.0.1/24",
        "host right 10.2.0.1/24", "host other 10.3.0.1/24", "inet eth0 10.2.0.2/24", "inet eth1 10.3.0.2/24",
        "ns1 eth0 fd05::2/64", "ns2 eth0 fd05::3/64", "ns3 eth0 fd05::4/64", "host br0 fd05::1/64",
        "host right fd02::1/64", "host other fd03::1/64", "inet eth0 fd02::2/64", "inet eth1 fd03::2/64",
    ),
    routes=("host 10.2.0.0/24 via 10.3.0.2 table 99", "host fd02::/64 via fd03::2 table 99"),
    sysctls=(
        "host net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.br0.rp_filter=0",
        "host net.ipv4.conf.right.rp_filter=0 net.ipv4.conf.other.rp_filter=0 net.ipv6.conf.all.forwarding=1",
        "host net.ipv4.icmp_echo_ignore_all=1 net.ipv6.icmp.echo_ignore_all=1 net.ipv4.conf.all.send_redirects=0",
        "host net.ipv4.conf.br0.send_redirects=0 net.ipv4.conf.right.send_redirects=0 net.ipv4.conf.br0.arp_ignore=8",
        "host net.ipv4.conf.all.arp_ignore=8 net.ipv4.conf.other.send_redirects=0",
    ),
    setup="""
ip link set br0 type bridge mcast_snooping 0
ip rule add fwmark 2/2 lookup 99
ip -6 rule add fwmark 2/2 lookup 99
know() {
  mac=$($1 ip -o link show "$2" | sed -E 's/.*link.ether ([0-9a-f:]+) .*/\\1/')
  for address in "${@:4}"; do ip neigh replace "$address" dev "$3" lladdr "$mac" nud permanent; done
}
number=2
for role in ns1 ns2 ns3; do
  know $role eth0 br0 10.5.0.$number fd05::$number
  bridge fdb replace "$mac" dev p$((number - 1)) master static
  number=$((number + 1))
done
know inet eth0 right 10.2.0.2 10.2.0.3 fd02::2 fd02::3
know inet eth1 other 10.3.0.2 fd03::2
""",
)  # fmt: skip


class Frame(NamedTuple):
    """What is put on a wire: an IP or ARP packet with its MACs, and where."""

    wire: str
    packet: Packet
    sequence: int = 1000
    acknowledged: int = 0

    def __str__(self) -> str:
        packet = self.packet
        kind = f"arp {packet.arp_operation} " if packet.ether_type == ARP_ETHER_TYPE else ""
        return f"by {self.wire}: {packet.source_mac} > {packet.destination_mac} {kind}{packet} mark {packet.mark}"


class BridgedBox(Box):
    """The world with its sockets, one injector at each end of each cable."""

    wires = {
        "p1": ("ns1", "eth0"), "p2": ("ns2", "eth0"), "p3": ("ns3", "eth0"),
        "right": ("inet", "eth0"), "other": ("inet", "eth1"),
    }  # fmt: skip

    def __init__(self, world: World) -> None:
        super().__init__(world, ("ns1", "ns2", "ns3", "inet"))
        self.bridge_mac = _mac(world, "host", "br0")
        self.disturbed = False

    def mac(self, role: str) -> str:
        """The MAC of a container's end."""
        return self.macs[PORTS_OF_ROLES[role]][0]

    def put(self, frame: Frame, tag: int) -> None:
        """Sends the frame from the far end of the wire."""
        packet = frame.packet
        if packet.ether_type == ARP_ETHER_TYPE:
            body = _arp(packet) + struct.pack("!Q", tag)
        else:
            body = datagram(packet, tag, frame.sequence, frame.acknowledged)
        front = _mac_bytes(packet.destination_mac) + _mac_bytes(packet.source_mac)
        self.injectors[frame.wire].send(front + struct.pack("!H", packet.ether_type) + body)

    def met(self) -> Iterator[tuple[int, Seen]]:
        """As a box has it, and ARP: its operation is the kind there. Errors are left out, but noted as `disturbed`."""
        for role, tap in self.taps.items():
            for raw, address in _all_of(tap):
                seen = _read(raw, f"{role}:{address[0]}", address[1])
                if address[2] == OUTGOING or seen is None:
                    continue
                if (seen.protocol, seen.kind) in REFUSALS:
                    self.disturbed = True
                    continue
                yield tag_of(raw), seen
        taps, self.taps = self.taps, {}
        yield from super().met()
        self.taps = taps


def _read(raw: bytes, place: str, ether_type: int) -> Seen | None:
    if ether_type != ARP_ETHER_TYPE:
        return read(raw, place)
    if len(raw) < ARP.size:
        return None
    *_, operation, _, source, _, destination = ARP.unpack_from(raw)
    return Seen(place, _shown(source), _shown(destination), 0, 0, 0, operation, 0, 0)


def foreseen_frame(packet: Packet, place: str) -> Seen:
    """What the model says will be seen of a frame."""
    if packet.ether_type != ARP_ETHER_TYPE:
        return foreseen(packet, place)
    return Seen(place, packet.source, packet.destination, 0, 0, 0, packet.arp_operation, 0, 0)


def _arp(packet: Packet) -> bytes:
    """RFC 826; a reply names its target's MAC."""
    target = bytes(6) if packet.arp_operation == 1 else _mac_bytes(packet.destination_mac)
    sender = _mac_bytes(packet.source_mac)
    addresses = _packed(packet.source), _packed(packet.destination)
    return ARP.pack(1, 0x0800, 6, 4, packet.arp_operation, sender, addresses[0], target, addresses[1])


def _mac_bytes(mac: str) -> bytes:
    return bytes.fromhex(mac.replace(":", ""))
