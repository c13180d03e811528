"""The packet while it walks: headers and the metadata that routing and netfilter look at."""

from typing import Literal

import msgspec

from netdoctor.model.network import ConntrackTuple, Family

ICMP, TCP, UDP, ICMP6 = 1, 6, 17, 58
PROTOCOL_NAMES = {ICMP: "icmp", TCP: "tcp", UDP: "udp", ICMP6: "icmpv6"}

TOS_PRIORITIES = (0, 2, 6, 4)
"""ip_tos2prio, by the type of service's bits 3 and 4."""

ConntrackState = Literal["new", "established", "related", "invalid", "untracked"]


class ConntrackView(msgspec.Struct, frozen=True, kw_only=True):
    """What conntrack says of this packet: `status` holds the bits snat, dnat, seen-reply, assured, confirmed.

    helper: the name of the helper that watches the connection, empty for none, None when not known.
    unsure: parts of the tuples that nobody can tell, as "reply destination_port" -> why.
    """

    state: ConntrackState
    direction: Literal["original", "reply"] = "original"
    status: tuple[str, ...] = ()
    mark: int = 0
    zone: int = 0
    helper: str | None = None
    original: ConntrackTuple | None = None
    reply: ConntrackTuple | None = None
    unsure: tuple[tuple[str, str], ...] = ()


class Packet(msgspec.Struct, frozen=True, kw_only=True):
    """One packet at one place. Device fields are interface names, empty where there is none ("" out at prerouting).

    in_port/out_port: the bridge ports under in_device/out_device when br_netfilter passes a bridged frame (physdev).
    link_type: whom its last frame was for, as PACKET_HOST, _BROADCAST, _MULTICAST or _OTHERHOST (linux/if_packet.h);
    None: no frame was followed.
    conntrack is None before conntrack has seen it. unsure: fields that a rule gave a value nobody can tell -> why.
    tcp_options: the segment's options, padded to whole words; tcp_mss: what their MSS option says, 0 without one, when
    that alone is known; payload: what follows the transport header. None: not known.
    """

    family: Family
    source: str
    destination: str
    protocol: int
    source_port: int = 0
    destination_port: int = 0
    icmp_type: int = 0
    icmp_code: int = 0
    icmp_id: int = 0
    tcp_flags: int = 0
    ttl: int = 64
    length_bytes: int = 84
    tos: int = 0
    dont_fragment: bool = False
    mark: int = 0
    priority: int = 0
    in_device: str = ""
    out_device: str = ""
    in_port: str = ""
    out_port: str = ""
    source_mac: str = ""
    destination_mac: str = ""
    ether_type: int = 0x0800
    user_id: int | None = None
    group_id: int | None = None
    conntrack: ConntrackView | None = None
    arp_operation: int = 0
    link_type: int | None = None
    unsure: tuple[tuple[str, str], ...] = ()
    tcp_options: bytes | None = None
    tcp_mss: int | None = None
    payload: bytes | None = None

    def __str__(self) -> str:
        name = PROTOCOL_NAMES.get(self.protocol, str(self.protocol))
        if self.protocol in (TCP, UDP):
            left, right = _with_port(self.source, self.source_port), _with_port(self.destination, self.destination_port)
            return f"{left} -> {right} {name}"
        return f"{self.source} -> {self.destination} {name}"


def with_priority_of_tos(packet: Packet) -> Packet:
    """The packet with the queueing priority that its type of service asks for (rt_tos2priority), as unsure as that is."""
    kept = tuple(pair for pair in packet.unsure if pair[0] != "priority")
    unsure = (*kept, *(("priority", why) for field, why in kept if field == "tos"))
    return msgspec.structs.replace(packet, priority=TOS_PRIORITIES[packet.tos >> 3 & 3], unsure=unsure)


def _with_port(address: str, port: int) -> str:
    if not port:
        return address
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
