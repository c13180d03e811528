"""xtables' matches on connections: conntrack (revisions 1 to 3), state, connmark (linux/netfilter/xt_conntrack.h)."""

import struct

import msgspec

from netdoctor.model.expression import XtMatch
from netdoctor.model.network import ConntrackTuple
from netdoctor.model.unknown import Unknown
from netdoctor.walk.packet import ICMP, ICMP6, ConntrackView, Packet

from .conntrack_view import has_entry, port_doubt, state_of, status_bits, tuple_of
from .headers import packed
from .state import Outcome, State
from .xt_header import address_matches

STATES = {"invalid": 1, "established": 2, "related": 4, "new": 8, "snat": 64, "dnat": 128, "untracked": 256}
STATE, PROTOCOL, ADDRESSES, STATUS, EXPIRES, PORTS, DIRECTION, ALIAS = 1, 2, 4, 64, 128, 256, 4096, 8192


ANSWERED_BY = {8: 0, 0: 8, 13: 14, 14: 13, 15: 16, 16: 15, 17: 18, 18: 17, 128: 129, 129: 128, 139: 140, 140: 139}


class ConntrackInfo(msgspec.Struct, frozen=True):
    """struct xt_conntrack_mtinfo3: four addresses with masks (original source and destination, reply source and
    destination), four port ranges in the same order, what is asked and what is inverted."""

    addresses: tuple[tuple[bytes, bytes], ...]
    ports: tuple[tuple[int, int], ...]
    protocol: int
    asked: int
    invert: int
    states: int
    status: int
    expires: tuple[int, int]


def conntrack_info(match: XtMatch) -> ConntrackInfo:
    """Reads the match's struct. Raises struct.error when it is too short."""
    info = match.info
    expires_min, expires_max, protocol, *ports, asked, invert = struct.unpack_from("=2I7H", info, 128)
    states, status = struct.unpack_from("=2B" if match.revision == 1 else "=2H", info, 150)
    highs = struct.unpack_from("=4H", info, 154) if match.revision == 3 else tuple(ports)
    pairs = tuple((info[start : start + 16], info[start + 16 : start + 32]) for start in range(0, 128, 32))
    return ConntrackInfo(
        addresses=pairs, ports=tuple(zip(ports, highs, strict=True)), protocol=protocol, asked=asked, invert=invert,
        states=states, status=status, expires=(expires_min, expires_max),
    )  # fmt: skip


def conntrack(state: State, match: XtMatch) -> Outcome:
    """conntrack_mt in net/netfilter/xt_conntrack.c: every asked condition, each inverted by its own bit."""
    if match.revision == 0:
        return Unknown("conntrack match revision 0 is not modelled")
    info, packet = conntrack_info(match), state.packet
    if why := state.doubt("conntrack"):
        return why
    view = packet.conntrack if has_entry(packet) else None
    if info.asked & STATE and bool(_state_bits(packet) & info.states) == bool(info.invert & STATE):
        return False
    if view is None:
        return bool(info.asked & STATE)
    if info.asked & DIRECTION and (view.direction == "original") == bool(info.invert & DIRECTION):
        return False
    tuples = _tuples(packet, info)
    if not isinstance(tuples, bool):
        return tuples
    return tuples and _status(info, view)


def _state_bits(packet: Packet) -> int:
    bits = STATES[state_of(packet)]
    if packet.conntrack and has_entry(packet):
        bits |= sum(STATES[name] for name in packet.conntrack.status if name in ("snat", "dnat"))
    return bits


def _status(info: ConntrackInfo, view: ConntrackView) -> bool | Unknown:
    if info.asked & STATUS and bool(status_bits(view) & info.status) == bool(info.invert & STATUS):
        return False
    return Unknown("when the connection expires is not modelled") if info.asked & EXPIRES else True


def _tuples(packet: Packet, info: ConntrackInfo) -> bool | Unknown:
    """Addresses, protocol and ports of both directions. Port bits: original source and destination, reply likewise."""
    original = tuple_of(packet, 0)
    protocol = packet.protocol if isinstance(original, Unknown) else original.protocol
    if info.asked & PROTOCOL and (protocol == info.protocol) == bool(info.invert & PROTOCOL):
        return False
    doubt: Unknown | None = None
    for index in range(4):
        side = tuple_of(packet, index // 2)
        address_bit, port_bit = ADDRESSES << index, PORTS << index
        if not info.asked & (address_bit | port_bit):
            continue
        if isinstance(side, Unknown):
            doubt = side
            continue
        address = packed(side.destination if index % 2 else side.source)
        port = _second(packet, side, index // 2) if index % 2 else _first(packet, side, index // 2)
        fits = address_matches(address, *info.addresses[index])
        if info.asked & address_bit and fits == bool(info.invert & address_bit):
            return False
        low, high = info.ports[index]
        if info.asked & port_bit and isinstance(port, Unknown):
            doubt = port
        elif (
            info.asked & port_bit
            and not isinstance(port, Unknown)
            and (low <= port <= high) == bool(info.invert & port_bit)
        ):
            return False
    return doubt or True


def _first(packet: Packet, side: ConntrackTuple, direction: int) -> int | Unknown:
    """The source port of a tuple, of ICMP the id."""
    field = "icmp_id" if side.protocol in (ICMP, ICMP6) else "source_port"
    why = port_doubt(packet, direction, field)
    return Unknown(why) if why else side.source_port


def _second(packet: Packet, side: ConntrackTuple, direction: int) -> int | Unknown:
    """The destination port of a tuple; of ICMP its type and code (nf_conntrack_proto_icmp.c)."""
    view = packet.conntrack
    if side.protocol not in (ICMP, ICMP6):
        why = port_doubt(packet, direction, "destination_port")
        return Unknown(why) if why else side.destination_port
    if packet.protocol != side.protocol or view is None or view.state == "related":
        return Unknown("the type of the ICMP message that began the connection is not known")
    same = (view.direction == "reply") == bool(direction)
    kind = packet.icmp_type if same else ANSWERED_BY.get(packet.icmp_type, packet.icmp_type)
    return kind << 8 | packet.icmp_code


def conntrack_state(state: State, match: XtMatch) -> Outcome:
    """The old state match: bit 64 is untracked there."""
    (mask,) = struct.unpack_from("=I", match.info)
    bits = {"invalid": 1, "established": 2, "related": 4, "new": 8, "untracked": 64}
    return state.doubt("conntrack") or bool(bits[state_of(state.packet)] & mask)


def connmark(state: State, match: XtMatch) -> Outcome:
    """Packets without a connection never match, inverted or not."""
    want, mask, invert = struct.unpack_from("=2IB", match.info)
    view = state.packet.conntrack
    if view is None or not has_entry(state.packet):
        return False
    return state.doubt("conntrack") or ((view.mark & mask) == want) != bool(invert)
