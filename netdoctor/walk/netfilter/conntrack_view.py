"""What rules can ask of conntrack: the ct expression, and the pieces that xtables' conntrack match shares with it."""

import struct

import msgspec

from netdoctor.model.expression import Ct, CtSet
from netdoctor.model.network import ConntrackTuple
from netdoctor.model.unknown import Unknown
from netdoctor.walk.packet import ConntrackView, Packet

from .headers import packed
from .registers import Bits, hidden_bits
from .state import Outcome, State

STATE_BITS = {"invalid": 1, "established": 2, "related": 4, "new": 8, "untracked": 64}
STATUS_BITS = {
    "expected": 1, "seen-reply": 2, "assured": 4, "confirmed": 8, "snat": 16, "dnat": 32, "seq-adjust": 64,
    "snat-done": 128, "dnat-done": 256, "dying": 512, "fixed-timeout": 1024, "template": 2048, "helper": 8192,
}  # fmt: skip
LENGTHS = {"mark": 4, "secmark": 4, "expiration": 4, "helper": 16, "labels": 16, "packets": 8, "bytes": 8, "avgpkt": 8}


def state_of(packet: Packet) -> str:
    """A packet conntrack has not seen counts as invalid, as the kernel has it."""
    return packet.conntrack.state if packet.conntrack else "invalid"


def has_entry(packet: Packet) -> bool:
    return packet.conntrack is not None and packet.conntrack.state not in ("invalid", "untracked")


def status_bits(view: ConntrackView) -> int:
    return sum(STATUS_BITS.get(name, 0) for name in view.status)


def tuple_of(packet: Packet, direction: int) -> ConntrackTuple | Unknown:
    """The connection's tuple of one direction (0 original, 1 reply)."""
    view = packet.conntrack
    found = None if view is None else view.reply if direction else view.original
    return found or Unknown("the connection's tuples are not known")


def ct(state: State, expression: Ct) -> Outcome:
    """Loads a piece of the connection; without an entry only its state can be asked (net/netfilter/nft_ct.c)."""
    packet = state.packet
    if why := state.uncertain.get("conntrack"):
        bits = hidden_bits(16, why)
    elif expression.key == "state":
        bits = Bits(struct.pack("=I", STATE_BITS[state_of(packet)]))
    elif packet.conntrack is None or not has_entry(packet):
        return False
    else:
        bits = _of_entry(packet, packet.conntrack, expression)
    state.registers.store(expression.register, bits)
    return True


def _of_entry(packet: Packet, view: ConntrackView, expression: Ct) -> Bits:
    match expression.key:
        case "direction":
            return Bits(bytes([view.direction == "reply"]))
        case "status":
            return Bits(struct.pack("=I", status_bits(view)))
        case "mark":
            return Bits(struct.pack("=I", view.mark))
        case "zone":
            return Bits(struct.pack("=H", view.zone))
        case "protocol":
            return Bits(bytes([packet.protocol]))
        case "l3protocol":
            return Bits(bytes([2 if packet.family == 4 else 10]))
    if expression.key in ("src", "dst", "src_ip", "dst_ip", "src_ip6", "dst_ip6", "proto_src", "proto_dst"):
        return _of_tuple(packet, expression)
    return hidden_bits(LENGTHS.get(expression.key, 16), f"ct {expression.key} is not modelled")


def _of_tuple(packet: Packet, expression: Ct) -> Bits:
    side = tuple_of(packet, expression.direction or 0)
    if isinstance(side, Unknown):
        return hidden_bits(16, side.why)
    if expression.key.startswith("proto"):
        return Bits(struct.pack("!H", side.source_port if expression.key == "proto_src" else side.destination_port))
    return Bits(packed(side.source if expression.key.startswith("src") else side.destination))


def ct_set(state: State, expression: CtSet) -> Outcome:
    """ct mark set changes the connection; ct zone set chooses where it will be looked up."""
    if expression.key == "zone":
        state.zone = int.from_bytes(state.registers.load(expression.register, 2).value, "little")
    if expression.key == "mark":
        bits = state.registers.load(expression.register, 4)
        set_mark(state, int.from_bytes(bits.value, "little"), bits.why if not bits.known else "")
    return True


def set_mark(state: State, mark: int, why: str = "") -> None:
    """Sets the connection's mark; `why`: the reason it is not known, if it is not."""
    view = state.packet.conntrack
    if view is None or not has_entry(state.packet):
        return
    if why:
        state.uncertain["conntrack"] = why
        return
    state.change("conntrack", msgspec.structs.replace(view, mark=mark & 0xFFFFFFFF))
