"""Expressions that act: verdicts, NAT, reject, queue, marks, header rewriting, dynamic sets (net/netfilter/nft_*.c)."""

from ipaddress import ip_address
from typing import Literal

import msgspec

from netdoctor.model.expression import (
    Counter,
    Dynset,
    Forward,
    Last,
    Masquerade,
    MetaSet,
    Nat,
    Objref,
    Opaque,
    Queue,
    Redirect,
    Reject,
    Synproxy,
    Tproxy,
    Verdict,
)
from netdoctor.model.unknown import Unknown
from netdoctor.walk.packet import TCP, UDP, ConntrackView, Packet

from .headers import SYN
from .registers import Bits, hidden_bits
from .result import Binding
from .sets import look_up
from .state import Alternatives, Decision, Outcome, Pending, State

ICMP_CODES = {
    0: "icmp-net-unreachable", 1: "icmp-host-unreachable", 2: "icmp-proto-unreachable", 3: "icmp-port-unreachable",
    9: "icmp-net-prohibited", 10: "icmp-host-prohibited", 13: "icmp-admin-prohibited",
}  # fmt: skip
ICMP6_CODES = {
    0: "icmp6-no-route", 1: "icmp6-adm-prohibited", 3: "icmp6-addr-unreachable", 4: "icmp6-port-unreachable",
    5: "icmp6-policy-fail", 6: "icmp6-reject-route",
}  # fmt: skip
ICMPX_CODES = {0: (0, 0), 1: (3, 4), 2: (1, 3), 3: (13, 1)}
RANDOM, PERSISTENT, RANDOM_FULLY, NETMAP = 4, 8, 16, 64
QUOTA, CT_HELPER, LIMIT, CONNLIMIT, SYNPROXY = 2, 3, 4, 5, 10
ACK = 0x10
HARMLESS = ("last", "flow_offload", "counter", "ct_timeout", "ct_expect")


def range_flags(flags: int) -> tuple[str, ...]:
    """NF_NAT_RANGE_* bits that change which port is taken."""
    named = ((RANDOM, "random"), (RANDOM_FULLY, "random-fully"), (PERSISTENT, "persistent"))
    return tuple(name for bit, name in named if flags & bit)


def verdict(state: State, expression: Verdict) -> Outcome:
    match expression.code:
        case "continue":
            return True
        case "break":
            return False
        case "stolen":
            return Alternatives(decisions=(Decision(code="drop"),), why="the packet is taken away")
    return Decision(code=expression.code, chain=expression.chain)


def reject(state: State, expression: Reject) -> Outcome:
    if expression.kind == 1:
        return Decision(code="drop", reject="tcp-reset")
    code = expression.code
    four = state.packet.family == 4
    if expression.kind == 2:
        code = ICMPX_CODES.get(code, (3, 4))[0 if four else 1]
    return Decision(code="drop", reject=(ICMP_CODES if four else ICMP6_CODES).get(code, f"icmp code {code}"))


def nat(state: State, expression: Nat) -> Outcome:
    """snat and dnat; in inet tables a statement for the other family is passed over."""
    if (expression.family == "ip") != (state.packet.family == 4):
        return True
    length = 4 if expression.family == "ip" else 16
    registers = state.registers
    low = registers.load(expression.address_min, length) if expression.address_min else Bits(b"")
    high = registers.load(expression.address_max, length) if expression.address_max else low
    ports = _ports(state, expression)
    hidden = next((bits.why for bits in (low, high, *ports) if not bits.known), "")
    manip: Literal["source", "destination"] = "source" if expression.kind == "snat" else "destination"
    if expression.flags & NETMAP and low.value:
        kept = state.packet.source if manip == "source" else state.packet.destination
        low = high = Bits(_mapped(ip_address(kept).packed, low.value, high.value))
    binding = Binding(
        kind="netmap" if expression.flags & NETMAP else expression.kind, manip=manip,
        address_min="" if hidden else _text(low.value), address_max="" if hidden else _text(high.value),
        port_min=_port(ports[0]), port_max=_port(ports[1]), flags=range_flags(expression.flags),
    )  # fmt: skip
    decision = Decision(code="accept", binding=binding)
    return Alternatives(decisions=(decision,), why=hidden) if hidden else decision


def _text(value: bytes) -> str:
    return str(ip_address(value)) if value else ""


def _mapped(kept: bytes, low: bytes, high: bytes) -> bytes:
    """nft_nat_setup_netmap: the bits in which min and max agree are the new prefix."""
    return bytes((k & (a ^ b)) | (a & ~(a ^ b) & 0xFF) for k, a, b in zip(kept, low, high, strict=True))


def _ports(state: State, expression: Nat | Masquerade | Redirect) -> tuple[Bits, Bits]:
    low = state.registers.load(expression.port_min, 2) if expression.port_min else Bits(b"\0\0")
    return low, state.registers.load(expression.port_max, 2) if expression.port_max else low


def _port(bits: Bits) -> int:
    return int.from_bytes(bits.value, "big") if bits.known else 0


def masquerade(state: State, expression: Masquerade | Redirect) -> Outcome:
    low, high = _ports(state, expression)
    hidden = next((bits.why for bits in (low, high) if not bits.known), "")
    manip: Literal["source", "destination"] = "source" if isinstance(expression, Masquerade) else "destination"
    binding = Binding(
        kind="masquerade" if manip == "source" else "redirect", manip=manip, port_min=_port(low), port_max=_port(high),
        flags=range_flags(expression.flags),
    )  # fmt: skip
    decision = Decision(code="accept", binding=binding)
    return Alternatives(decisions=(decision,), why=hidden) if hidden else decision


def queue(state: State, expression: Queue) -> Outcome:
    """To a fixed queue, one of several, or the one whose number a register holds (nft_queue.c)."""
    bypass = bool(expression.flags & 1)
    if not expression.register:
        return Decision(code="queue", queue=expression.number, queues=expression.total, bypass=bypass)
    bits = state.registers.load(expression.register, 2)
    if bits.known:
        return Decision(code="queue", queue=int.from_bytes(bits.value, "little"), bypass=bypass)
    return Decision(code="queue", queue=None, bypass=bypass)


def notrack(state: State, expression: object) -> Outcome:
    """From here on the packet counts as untracked; one that has a connection keeps it (net/netfilter/nft_ct.c)."""
    if state.packet.conntrack is None and not state.doubt("conntrack"):
        state.change("conntrack", ConntrackView(state="untracked"))
        state.notrack = True
    return True


def meta_set(state: State, expression: MetaSet) -> Outcome:
    if expression.key == "pkttype":
        state.uncertain["pkttype"] = "a rule before changes the packet's type"
    if expression.key in ("mark", "priority"):
        bits = state.registers.load(expression.register, 4)
        if bits.known:
            state.change(expression.key, int.from_bytes(bits.value, "little"))
        else:
            state.uncertain[expression.key] = bits.why
    return True


def objref(state: State, expression: Objref) -> Outcome:
    """Named objects: a ct helper is remembered, those that count are doubts, the rest change nothing here.

    Through a map, a packet that the map has no object for does not match (nft_objref.c).
    """
    if not expression.set:
        return _object(state, expression.kind, expression.name)
    found = look_up(state, expression.set, expression.register)
    if found is None:
        return False
    if isinstance(found, Unknown | Pending):
        return found
    kind = _object_type(state, expression.set)
    return _object(state, kind, found.object) if kind else Unknown(f"what {found.object} does is not known")


def _object_type(state: State, name: str) -> int:
    found = state.set(name)
    return found.object_type if found else 0


def _object(state: State, kind: int, name: str) -> Outcome:
    if kind == CT_HELPER:
        state.helper = name
    if kind in (QUOTA, LIMIT, CONNLIMIT):
        return Unknown(f"whether {name} lets the packet match cannot be foreseen")
    return _synproxied(state, f"synproxy {name} answers for the server") if kind == SYNPROXY else True


def dynset(state: State, expression: Dynset) -> Outcome:
    """Adding to a set matches unless it is full; a meter's nested limit decides per element. Deleting always does."""
    found = state.set(expression.set)
    bits = state.registers.load(expression.key, found.key_length if found else 4)
    elements = () if found is None or isinstance(found.elements, Unknown) else found.elements
    full = found is not None and 0 < found.size <= len(elements) and expression.operation != "delete"
    if full:
        why = f"whether set {expression.set} has room cannot be foreseen"
        state.uncertain[f"set {expression.set}"] = why
        return Unknown(why)
    state.touch(expression.set, bits, present=expression.operation != "delete")
    if expression.operation == "delete":
        return True
    inner = expression.expressions or (found.expressions if found else ())
    counting = [each for each in inner if not isinstance(each, Counter | Last)]
    if counting:
        return Unknown(f"whether the element of set {expression.set} is within its limit cannot be foreseen")
    return not expression.invert


def tproxy(state: State, expression: Tproxy) -> Outcome:
    """Hands the packet to a transparent socket; without one the rule does not match (nft_tproxy.c)."""
    packet = state.packet
    if packet.protocol not in (TCP, UDP) or (expression.family and (expression.family == 2) != (packet.family == 4)):
        return False
    length = 4 if packet.family == 4 else 16
    registers = state.registers
    address = _text(registers.load(expression.address, length).value) if expression.address else packet.destination
    port = _port(registers.load(expression.port, 2)) if expression.port else packet.destination_port
    found = transparent_socket(state, msgspec.structs.replace(packet, destination=address, destination_port=port))
    if found is True:
        state.tproxy = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    return found


def transparent_socket(state: State, packet: Packet) -> bool | Unknown:
    """Whether a socket that may take packets for foreign addresses would take this one (nf_tproxy_sk_is_transparent)."""
    found = state.facts.socket(packet)
    if found is None or isinstance(found, Unknown):
        return found or False
    return Unknown("whether the socket is transparent is not told") if found.transparent is None else found.transparent


def steals(state: State, expression: Forward | Synproxy) -> Outcome:
    if isinstance(expression, Synproxy):
        return _synproxied(state, "synproxy answers for the server")
    return _steals("fwd sends the packet out of another device")


def _synproxied(state: State, why: str) -> Outcome:
    """Only TCP segments match; the ones that open a connection are taken away (nft_synproxy.c)."""
    packet = state.packet
    if packet.protocol != TCP:
        return False
    return _steals(why) if packet.tcp_flags & (SYN | ACK) or not packet.tcp_flags else True


def _steals(why: str) -> Outcome:
    return Alternatives(decisions=(Decision(code="drop"),), why=why, goes_on=True)


def opaque(state: State, expression: Opaque) -> Outcome:
    """Anything may happen, and any register may have been written."""
    if expression.name in HARMLESS:
        return True
    why = f"expression {expression.name} is not understood"
    for register in range(1, 5):
        state.registers.store(register, hidden_bits(16, why))
    return _steals(why)
