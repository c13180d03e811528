"""Expressions that load a register: meta, payload, rt, socket, fib, numgen, exthdr ... (net/netfilter/nft_*.c)."""

import struct
from ipaddress import ip_address

from netdoctor.model.expression import Exthdr, Fib, Hash, Immediate, Meta, Numgen, Osf, Payload, Rt, SocketLookup, Xfrm
from netdoctor.model.unknown import Unknown
from netdoctor.walk.packet import TCP, Packet

from .headers import SYN, link_header, network_header, transport_header
from .registers import Bits, hidden_bits
from .state import Outcome, State

NFPROTO = {"ip": 2, "arp": 3, "netdev": 5, "bridge": 7, "ip6": 10}
ROUTE_TYPES = (
    "unspec", "unicast", "local", "broadcast", "anycast", "multicast", "blackhole", "unreachable", "prohibit", "throw",
    "nat",
)  # fmt: skip
IFNAMSIZ = 16
FEW = 16
"""How many values of a number nobody can tell are worth a world each."""
HOST, BROADCAST, MULTICAST = 0, 1, 2
UNKNOWN_META = {"cgroup": 4, "prandom": 4, "cpu": 4, "rtclassid": 4, "secmark": 4, "time": 8, "day": 1, "hour": 4}


def u32(number: int) -> Bits:
    """A number as the kernel keeps it in a register."""
    return Bits(struct.pack("=I", number & 0xFFFFFFFF))


def immediate(state: State, expression: Immediate) -> Outcome:
    state.registers.store(expression.register, Bits(expression.value))
    return True


def payload(state: State, expression: Payload) -> Outcome:
    header = _header(state.packet, expression.base)
    if header is None:
        return False
    header = header.cut(expression.offset, expression.length)
    if len(header.value) < expression.length:
        header = hidden_bits(expression.length, "what follows the packet's headers is not modelled")
    for field in ("source", "destination", "tos", "ttl") if expression.base == "network" else ():
        if why := state.uncertain.get(field):
            header = hidden_bits(expression.length, why)
    state.registers.store(expression.register, header)
    return True


def _header(packet: Packet, base: str) -> Bits | None:
    match base:
        case "link":
            return link_header(packet)
        case "network":
            return network_header(packet)
        case "transport":
            return transport_header(packet)
    return hidden_bits(0, "")


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
        case "iifname" | "oifname" | "bri_iifname" | "bri_oifname" | "sdifname":
            return Bits(_device(packet, key).encode()[: IFNAMSIZ - 1].ljust(IFNAMSIZ, b"\0"))
        case "l4proto":
            return Bits(bytes([packet.protocol]))
        case "nfproto":
            family = state.base.table.family
            return Bits(bytes([(10 if packet.family == 6 else 2) if family == "inet" else NFPROTO[family]]))
        case "protocol":
            return Bits(struct.pack("!H", packet.ether_type))
        case "len":
            return u32(packet.length_bytes)
        case "mark":
            return u32(packet.mark)
        case "priority":
            return u32(packet.priority)
        case "secpath":
            return _secpath(state)
        case "skuid" | "skgid":
            return _owner(state, packet.user_id if key == "skuid" else packet.group_id)
        case "pkttype":
            return packet_type(packet)
        case "nftrace" | "sdif":
            return u32(0)
    if key in UNKNOWN_META:
        return hidden_bits(UNKNOWN_META[key], f"meta {key} cannot be told beforehand")
    return _link_meta(state, key)


def _device(packet: Packet, key: str) -> str:
    match key:
        case "oifname":
            return packet.out_device
        case "sdifname":
            return ""
        case "iifname":
            return packet.in_device
    return packet.in_port if key == "bri_iifname" else packet.out_port


def _link_meta(state: State, key: str) -> Bits | None:
    """iif, oif and what hangs on them; the kernel gives index 0 for no device and breaks off for the rest."""
    name = state.packet.out_device if key.startswith("o") else state.packet.in_device
    what = key[1:]
    if not name:
        return u32(0) if what == "if" else None
    link = state.facts.links.get(name)
    if link is None:
        return hidden_bits(IFNAMSIZ if what == "ifkind" else 4, f"nothing is known of interface {name}")
    match what:
        case "if":
            return u32(link.index)
        case "iftype" | "ftype":
            return Bits(struct.pack("=H", link.hardware))
        case "ifgroup":
            return u32(link.group)
        case "ifkind":
            return Bits(link.kind.encode().ljust(IFNAMSIZ, b"\0")) if link.kind else None
    return hidden_bits(4, f"meta {key} is not modelled")


def _secpath(state: State) -> Bits:
    ipsec = state.facts.ipsec
    return hidden_bits(1, ipsec.why) if isinstance(ipsec, Unknown) else Bits(bytes([ipsec]))


def _owner(state: State, owner: int | None) -> Bits | None:
    """Forwarded packets belong to no socket; of locally made ones the owner may not be known."""
    if state.base.hook == "forward":
        return None
    return hidden_bits(4, "the packet's owner is not known") if owner is None else u32(owner)


def packet_type(packet: Packet) -> Bits:
    """PACKET_HOST, _BROADCAST, _MULTICAST by destination. A unicast frame flooded to a bridge could be for others."""
    if packet.in_port:
        return hidden_bits(1, "whom a bridged frame is addressed to is not known")
    address = ip_address(packet.destination)
    if not packet.in_device:
        return Bits(bytes([HOST]))
    if address.is_multicast:
        return Bits(bytes([MULTICAST]))
    return Bits(bytes([BROADCAST if packet.destination == "255.255.255.255" else HOST]))


def rt(state: State, expression: Rt) -> Outcome:
    if expression.key == "ipsec":
        state.registers.store(expression.register, _secpath(state))
        return True
    state.registers.store(expression.register, hidden_bits(16, f"rt {expression.key} is not modelled"))
    return True


def socket_lookup(state: State, expression: SocketLookup) -> Outcome:
    found = state.facts.has_listener(state.packet)
    if found is False:
        return False
    why = found.why if isinstance(found, Unknown) else "the socket's own options are not modelled"
    state.registers.store(expression.register, hidden_bits(8, why))
    return True


def xfrm(state: State, expression: Xfrm) -> Outcome:
    """Breaks off for packets that pass through no transform (nft_xfrm.c)."""
    ipsec = state.facts.ipsec
    if ipsec is False:
        return False
    why = ipsec.why if isinstance(ipsec, Unknown) else "what IPsec transform the packet passes is not modelled"
    state.registers.store(expression.register, hidden_bits(16 if expression.key.endswith("in6") else 4, why))
    return True


def osf(state: State, expression: Osf) -> Outcome:
    """Only a SYN is looked at (nft_osf.c)."""
    packet = state.packet
    if packet.protocol != TCP or not packet.tcp_flags & SYN:
        return False
    why = "what operating system the SYN looks like is not modelled"
    state.registers.store(expression.register, hidden_bits(16, why))
    return True


def numgen(state: State, expression: Numgen | Hash) -> Outcome:
    """inc and random numbers, hashes: only a modulus of one is foreseeable; of several worlds each has its number."""
    if expression.modulus == 1:
        state.registers.store(expression.register, u32(expression.offset))
        return True
    if state.choices is not None and expression.modulus <= FEW:
        state.registers.store(expression.register, u32(expression.offset + state.choices.choose(expression.modulus)))
        return True
    kind = f"numgen {expression.mode}" if isinstance(expression, Numgen) else expression.mode
    why = f"`{kind} mod {expression.modulus}` differs from packet to packet"
    state.registers.store(expression.register, hidden_bits(4, why))
    return True


def exthdr(state: State, expression: Exthdr) -> Outcome:
    """Modelled packets carry no IP options or extension headers; TCP options they do, but unknown ones."""
    if expression.source:
        return True
    if expression.operation == 1:
        if state.packet.protocol != TCP:
            return False
        bits = hidden_bits(max(expression.length, 1), "TCP options are not modelled")
        state.registers.store(expression.register, bits)
        return True
    if expression.flags & 1:
        state.registers.store(expression.register, Bits(b"\0"))
        return True
    return False


def fib(state: State, expression: Fib) -> Outcome:
    """Route lookups from a rule: reverse path tests and address types (net/ipv4/netfilter/nft_fib_ipv4.c)."""
    packet = state.packet
    address = packet.source if "saddr" in expression.flags else packet.destination
    if expression.result == "type":
        flags = expression.flags
        device = packet.in_device if "iif" in flags else packet.out_device if "oif" in flags else ""
        kind = state.facts.address_type(address, device)
        bits = hidden_bits(4, kind.why) if isinstance(kind, Unknown) else u32(ROUTE_TYPES.index(kind))
        state.registers.store(expression.register, bits)
        return True
    state.registers.store(expression.register, _fib_device(state, expression, address))
    return True


def _fib_device(state: State, expression: Fib, address: str) -> Bits:
    packet = state.packet
    length = IFNAMSIZ if expression.result == "oifname" else 4
    device = reverse_path(state, address, packet.mark if "mark" in expression.flags else 0)
    if isinstance(device, Unknown):
        return hidden_bits(1 if "present" in expression.flags else length, device.why)
    if "iif" in expression.flags and device != packet.in_device:
        device = ""
    if "oif" in expression.flags and device != packet.out_device:
        device = ""
    if "present" in expression.flags:
        return Bits(bytes([bool(device)]))
    if expression.result == "oifname":
        return Bits(device.encode().ljust(IFNAMSIZ, b"\0"))
    link = state.facts.links.get(device)
    if device and link is None:
        return hidden_bits(4, f"nothing is known of interface {device}")
    return u32(link.index if link else 0)


def reverse_path(state: State, address: str, mark: int) -> str | Unknown:
    """The device a packet to `address` leaves by; packets that come in by loopback are taken as they are."""
    link = state.facts.links.get(state.packet.in_device)
    if link is not None and link.loopback:
        return link.name
    return state.facts.fib_device(address, mark, state.packet.in_device)
