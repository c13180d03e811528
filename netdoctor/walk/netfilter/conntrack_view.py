"""What rules can ask of conntrack: the ct expression, and the pieces that xtables' conntrack match shares with it."""

import struct

import msgspec

from netdoctor.model.expression import Ct, CtSet
from netdoctor.model.network import ConntrackTuple
from netdoctor.model.unknown import Unknown
from netdoctor.walk.packet import ICMP, ICMP6, ConntrackView, Packet

from .headers import packed
from .registers import Bits, hidden_bits
from .state import Outcome, State

STATE_BITS = {"invalid": 1, "established": 2, "related": 4, "new": 8, "untracked": 64}
STATUS_BITS = {
    "expected": 1, "seen-reply": 2, "assured": 4, "confirmed": 8, "snat": 16, "dnat": 32, "seq-adjust": 64,
    "snat-done": 128, "dnat-done": 256, "dying": 512, "fixed-timeout": 1024, "template": 2048, "helper": 8192,
}  # fmt: skip
TEMPLATE = "template"
KNOWN_STATUS = ("seen-reply", "assured", "confirmed", "snat", "dnat")
LENGTHS = {
    "state": 4, "direction": 1, "status": 4, "mark": 4, "secmark": 4, "expiration": 4, "helper": 16, "l3protocol": 1,
    "protocol": 1, "proto_src": 2, "proto_dst": 2, "labels": 16, "packets": 8, "bytes": 8, "avgpkt": 8, "zone": 2,
    "src_ip": 4, "dst_ip": 4, "id": 4,
}  # fmt: skip


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


def port_doubt(packet: Packet, direction: int, field: str) -> str:
    """Why a tuple's port ("source_port", "destination_port"; "icmp_id" of echoes) cannot be relied on, if it cannot."""
    return (
        dict(packet.conntrack.unsure).get(f"{('original', 'reply')[direction]} {field}", "") if packet.conntrack else ""
    )


def ct(state: State, expression: Ct) -> Outcome:
    """Loads a piece of the connection; without an entry only its state can be asked (net/netfilter/nft_ct.c)."""
    packet, key = state.packet, expression.key
    length = LENGTHS.get(key, 16)
    bits: Bits | None
    if why := state.uncertain.get("conntrack"):
        bits = hidden_bits(length, why)
    elif packet.conntrack is not None and TEMPLATE in packet.conntrack.status:
        bits = Bits(struct.pack("=I", STATE_BITS["new"])) if key == "state" else None
    elif key == "state":
        bits = Bits(struct.pack("=I", STATE_BITS[state_of(packet)]))
    elif packet.conntrack is None or not has_entry(packet):
        return False
    else:
        bits = _of_entry(packet, packet.conntrack, expression)
    if bits is None:
        return False
    state.registers.store(expression.register, bits)
    return True


def _of_entry(packet: Packet, view: ConntrackView, expression: Ct) -> Bits | None:
    key = expression.key
    match key:
        case "direction":
            return Bits(bytes([view.direction == "reply"]))
        case "status":
            return _status(view)
        case "mark":
            return Bits(struct.pack("=I", view.mark))
        case "zone" if expression.direction is None or not view.zone:
            return Bits(struct.pack("=H", view.zone))
        case "protocol":
            return Bits(bytes([view.original.protocol if view.original else packet.protocol]))
        case "l3protocol":
            return Bits(bytes([2 if packet.family == 4 else 10]))
        case "helper" if view.state != "related" and "expected" not in view.status:
            return None
        case "packets" | "bytes" | "avgpkt" if view.state == "new" and "confirmed" not in view.status:
            return _first_count(packet, key, expression.direction)
        case "src" | "dst" | "src_ip" | "dst_ip" | "src_ip6" | "dst_ip6" | "proto_src" | "proto_dst":
            return _of_tuple(packet, expression)
    return hidden_bits(LENGTHS.get(key, 16), f"ct {key} is not modelled")


def _status(view: ConntrackView) -> Bits:
    """Bits that the model does not carry are hidden, but of a new connection those it cannot have yet."""
    known = sum(STATUS_BITS[name] for name in KNOWN_STATUS)
    if view.state == "new":
        known |= STATUS_BITS["expected"] | STATUS_BITS["dying"] | STATUS_BITS["fixed-timeout"] | STATUS_BITS["template"]
    hidden = struct.pack("=I", ~known & 0xFFFFFFFF)
    return Bits(struct.pack("=I", status_bits(view)), hidden, "not all of the connection's status is modelled")


def _first_count(packet: Packet, key: str, direction: int | None) -> Bits:
    """The first packet is counted before rules see it; a rule that asks has made the kernel count."""
    count = 1 if key == "packets" else packet.length_bytes
    return Bits(struct.pack("=Q", 0 if direction == 1 else count))


def _of_tuple(packet: Packet, expression: Ct) -> Bits | None:
    """src_ip and its like exist only for connections of their own family."""
    key = expression.key
    version = 6 if key.endswith("6") else 4 if key.endswith("ip") else packet.family
    if version != packet.family:
        return None
    side = tuple_of(packet, expression.direction or 0)
    if isinstance(side, Unknown):
        return hidden_bits(LENGTHS.get(key, 16 if version == 6 else 4), side.why)
    echo, field = packet.protocol in (ICMP, ICMP6), {"proto_src": "source_port", "proto_dst": "destination_port"}
    if key in field and (why := port_doubt(packet, expression.direction or 0, "icmp_id" if echo else field[key])):
        return hidden_bits(2, why)
    if key == "proto_src":
        return Bits(struct.pack("!H", side.source_port))
    if key == "proto_dst" and packet.protocol in (ICMP, ICMP6):
        return hidden_bits(2, "the type and code in a tuple are not modelled")
    if key == "proto_dst":
        return Bits(struct.pack("!H", side.destination_port))
    return Bits(packed(side.source if key.startswith("src") else side.destination))


def ct_set(state: State, expression: CtSet) -> Outcome:
    """ct mark set changes the connection; ct zone set chooses where it will be looked up, if it was not yet.

    It takes an untracked packet for one not looked up (nft_ct_set_zone_eval).
    """
    if expression.key == "zone" and (state.packet.conntrack is None or state_of(state.packet) == "untracked"):
        bits = state.registers.load(expression.register, 2)
        if expression.direction is not None:
            state.uncertain["conntrack"] = "a zone of one direction is not followed"
        elif bits.known:
            attach_template(state, int.from_bytes(bits.value, "little"))
        else:
            state.uncertain["conntrack"] = bits.why
    if expression.key == "mark":
        bits = state.registers.load(expression.register, 4)
        set_mark(state, int.from_bytes(bits.value, "little"), bits.why if not bits.known else "")
    return True


def attach_template(state: State, zone: int) -> None:
    """Gives the packet a template: conntrack will look in its zone; until then it is a new flow of no addresses."""
    if state.doubt("conntrack"):
        return
    nobody = "0.0.0.0" if state.packet.family == 4 else "::"
    empty = ConntrackTuple(protocol=0, source=nobody, destination=nobody)
    view = ConntrackView(state="new", status=(TEMPLATE, "confirmed"), zone=zone, original=empty, reply=empty)
    state.change("conntrack", view)
    state.zone = zone


def set_mark(state: State, mark: int, why: str = "") -> None:
    """Sets the connection's mark; `why`: the reason it is not known, if it is not."""
    view = state.packet.conntrack
    if view is None or not has_entry(state.packet) or TEMPLATE in view.status:
        return
    if why:
        state.uncertain["conntrack"] = why
        return
    state.change("conntrack", msgspec.structs.replace(view, mark=mark & 0xFFFFFFFF))
