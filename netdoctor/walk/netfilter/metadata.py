"""What `meta` loads about the packet, by key (net/netfilter/nft_meta.c, net/bridge/netfilter/nft_meta_bridge.c)."""

import struct
from ipaddress import ip_address

from netdoctor.model.expression import Meta
from netdoctor.model.network import Link
from netdoctor.model.unknown import Unknown
from netdoctor.walk.packet import ICMP, ICMP6, TCP, Packet

from .headers import ACK, SYN, mac_bytes
from .registers import Bits, hidden_bits, u32
from .state import Outcome, State

NFPROTO = {"ip": 2, "arp": 3, "netdev": 5, "bridge": 7, "ip6": 10}
IP_TYPES = (0x0800, 0x86DD)
IFNAMSIZ = 16
ETHERNET_BYTES = 14
HOST, BROADCAST, MULTICAST, OTHER_HOST = 0, 1, 2, 3
UNKNOWN_META = {
    "cgroup": 4, "prandom": 4, "cpu": 4, "rtclassid": 4, "secmark": 4, "time": 8, "day": 1, "hour": 4,
    "bri_iifpvid": 2, "bri_iifvproto": 2,
}  # fmt: skip
SOCKET_KEYS = ("skuid", "skgid", "cgroup")
LENGTHS = {"l4proto": 1, "nfproto": 1, "protocol": 2, "pkttype": 1, "secpath": 1, "iiftype": 2, "oiftype": 2}
NAMES = ("iifname", "oifname", "bri_iifname", "bri_oifname", "sdifname", "iifkind", "oifkind")


def meta(state: State, expression: Meta) -> Outcome:
    """Stores a piece of metadata; False (the rule breaks off) where the kernel has no device or socket to ask."""
    bits = _meta(state, expression.key)
    if bits is None:
        return False
    if why := state.uncertain.get(expression.key):
        bits = hidden_bits(len(bits.value), why)
    state.registers.store(expression.register, bits)
    return True


def _meta(state: State, key: str) -> Bits | None:
    packet = state.packet
    match key:
        case "iifname" | "oifname":
            return _name(packet.out_device if key == "oifname" else packet.in_device)
        case "l4proto":
            return Bits(bytes([packet.protocol])) if packet.ether_type in IP_TYPES else None
        case "nfproto":
            family = state.base.table.family
            return Bits(bytes([(10 if packet.family == 6 else 2) if family == "inet" else NFPROTO[family]]))
        case "protocol":
            return Bits(struct.pack("!H", packet.ether_type))
        case "len":
            return u32(packet.length_bytes + (ETHERNET_BYTES if state.base.hook == "egress" else 0))
        case "mark":
            return u32(packet.mark)
        case "priority":
            return u32(packet.priority)
        case "secpath":
            ipsec = state.facts.ipsec
            return hidden_bits(1, ipsec.why) if isinstance(ipsec, Unknown) else Bits(bytes([ipsec]))
        case "pkttype":
            return packet_type(state)
    if key in SOCKET_KEYS:
        return _of_socket(state, key)
    if key == "rtclassid" and state.base.hook == "prerouting" and not _is_loopback(state):
        return None
    if key in UNKNOWN_META:
        return hidden_bits(UNKNOWN_META[key], f"meta {key} cannot be told beforehand")
    return _of_device(state, key)


def _name(name: str) -> Bits:
    return Bits(name.encode()[: IFNAMSIZ - 1].ljust(IFNAMSIZ, b"\0"))


def _is_loopback(state: State) -> bool:
    link = state.facts.links.get(state.packet.in_device)
    return link is not None and link.loopback


def _of_socket(state: State, key: str) -> Bits | None:
    """Packets from outside belong to no socket, but that early demultiplexing may find an established one for input."""
    packet, hook = state.packet, state.base.hook
    first = packet.protocol in (ICMP, ICMP6) or (packet.protocol == TCP and packet.tcp_flags & (SYN | ACK) == SYN)
    if packet.in_device and (hook != "input" or first):
        return None
    owner = {"skuid": packet.user_id, "skgid": packet.group_id}.get(key)
    return hidden_bits(4, "the packet's owner is not known") if owner is None or hook == "input" else u32(owner)


def _of_device(state: State, key: str) -> Bits | None:
    """iif, oif and what hangs on them; the kernel gives index 0 for no device and breaks off for the rest.

    iiftype is that of the device the packet is at, which on its way out is the one it leaves by.
    """
    links = state.facts.links
    if key in ("sdif", "sdifname"):
        return _slave(state, key)
    outward = key.startswith(("o", "bri_o"))
    name = state.packet.out_device if outward else state.packet.in_device
    if key == "iiftype" and not name:
        if state.base.hook == "output" and state.base.table.family in ("ip", "ip6", "inet"):
            return hidden_bits(2, "whether a packet of this host's own has a device yet is not known")
        name = state.packet.out_device
    if not name:
        return u32(0) if key in ("iif", "oif") else None
    link = links.get(name)
    if link is None:
        return hidden_bits(IFNAMSIZ if key in NAMES else LENGTHS.get(key, 4), f"nothing is known of interface {name}")
    match key.removeprefix("bri_")[1:]:
        case "if":
            return u32(link.index)
        case "iftype" | "ftype":
            return Bits(struct.pack("=H", link.hardware))
        case "ifgroup" | "fgroup":
            return u32(link.group)
        case "ifkind" | "fkind":
            return _name(link.kind) if link.kind else None
        case "ifname" | "fname":
            master = next((each for each in links.values() if each.index == link.master), None)
            return _name(master.name) if master is not None and master.kind == "bridge" else None
    return hidden_bits(LENGTHS.get(key, 4), f"meta {key} is not modelled")


def _slave(state: State, key: str) -> Bits:
    """The device under a VRF the packet came in by; none without a VRF."""
    if any(link.kind == "vrf" for link in state.facts.links.values()):
        return hidden_bits(IFNAMSIZ if key == "sdifname" else 4, "packets that pass a VRF device are not modelled here")
    return _name("") if key == "sdifname" else u32(0)


def packet_type(state: State) -> Bits:
    """PACKET_HOST, _BROADCAST, _MULTICAST, _OTHERHOST. br_netfilter shows frames for others as its host's own."""
    packet = state.packet
    if packet.link_type is not None:
        return Bits(bytes([packet.link_type]))
    if not packet.in_device and not packet.in_port:
        return Bits(bytes([HOST]))
    if state.base.table.family in ("bridge", "netdev") or packet.in_port:
        return _frame_type(state, packet)
    if ip_address(packet.destination).is_multicast:
        return Bits(bytes([MULTICAST]))
    return Bits(bytes([BROADCAST if packet.destination == "255.255.255.255" else HOST]))


def _frame_type(state: State, packet: Packet) -> Bits:
    """By the frame's MAC address (eth_type_trans); a bridge takes what is for itself as for the host (br_handle_frame)."""
    if not packet.destination_mac:
        return hidden_bits(1, "whom a frame is addressed to is not known")
    mac = mac_bytes(packet.destination_mac)
    if mac[0] & 1:
        return Bits(bytes([BROADCAST if mac == b"\xff" * 6 else MULTICAST]))
    if state.base.table.family not in ("bridge", "netdev"):
        return Bits(bytes([HOST]))
    link = state.facts.links.get(packet.in_device)
    if link is None:
        return hidden_bits(1, f"nothing is known of interface {packet.in_device}")
    own = {each.mac for each in _with_master(state, link)}
    return Bits(bytes([HOST if packet.destination_mac in own else OTHER_HOST]))


def _with_master(state: State, link: Link) -> list[Link]:
    """At ingress hooks the bridge has not looked at the frame yet."""
    if state.base.table.family == "netdev":
        return [link]
    return [link, *(each for each in state.facts.links.values() if each.index == link.master)]
