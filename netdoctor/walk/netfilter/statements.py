"""Expressions that act: verdicts, NAT, reject, queue, marks, header rewriting, dynamic sets (net/netfilter/nft_*.c)."""

import struct
from ipaddress import ip_address
from typing import Literal

import msgspec

from netdoctor.model.expression import (
    Dynset,
    Forward,
    Masquerade,
    MetaSet,
    Nat,
    Objref,
    Opaque,
    PayloadSet,
    Queue,
    Redirect,
    Reject,
    Synproxy,
    Tproxy,
    Verdict,
)
from netdoctor.model.unknown import Unknown
from netdoctor.walk.packet import TCP, UDP

from .headers import network_header, transport_header
from .registers import Bits, hidden_bits
from .result import Binding
from .state import Alternatives, Decision, Outcome, State

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
    flags = range_flags(expression.flags)
    if isinstance(expression, Masquerade):
        binding = Binding(kind="masquerade", manip="source", port_min=_port(low), port_max=_port(high), flags=flags)
    else:
        binding = Binding(kind="redirect", manip="destination", port_min=_port(low), port_max=_port(high), flags=flags)
    return Decision(code="accept", binding=binding)


def queue(state: State, expression: Queue) -> Outcome:
    return Decision(code="queue", queue=expression.number, queues=expression.total, bypass=bool(expression.flags & 1))


def notrack(state: State, expression: object) -> Outcome:
    if state.packet.conntrack is None:
        state.notrack = True
    return True


def meta_set(state: State, expression: MetaSet) -> Outcome:
    if expression.key in ("mark", "priority"):
        bits = state.registers.load(expression.register, 4)
        if bits.known:
            state.change(expression.key, int.from_bytes(bits.value, "little"))
        else:
            state.uncertain[expression.key] = bits.why
    return True


def payload_set(state: State, expression: PayloadSet) -> Outcome:
    """Rewrites header bytes; what the model carries of them is read back."""
    bits = state.registers.load(expression.register, expression.length)
    if expression.base not in ("network", "transport"):
        return True
    header = network_header(state.packet) if expression.base == "network" else transport_header(state.packet)
    end = expression.offset + expression.length
    value = header.value[: expression.offset] + bits.value + header.value[end:]
    fields = _network_fields(value, state.packet.family) if expression.base == "network" else _ports_of(state, value)
    for field, new in fields.items():
        if new != getattr(state.packet, field):
            state.change(field, new)
            if not bits.known:
                state.uncertain[field] = bits.why
    return True


def _network_fields(value: bytes, family: int) -> dict[str, object]:
    if family == 4:
        return {"tos": value[1], "ttl": value[8], "source": _text(value[12:16]), "destination": _text(value[16:20])}
    tos = int.from_bytes(value[:2], "big") >> 4 & 0xFF
    return {"tos": tos, "ttl": value[7], "source": _text(value[8:24]), "destination": _text(value[24:40])}


def _ports_of(state: State, value: bytes) -> dict[str, object]:
    if state.packet.protocol not in (TCP, UDP):
        return {}
    source, destination = struct.unpack_from("!HH", value)
    return {"source_port": source, "destination_port": destination}


def objref(state: State, expression: Objref) -> Outcome:
    """Named objects: a ct helper is remembered, those that count are doubts, the rest change nothing here."""
    if expression.kind == CT_HELPER or (expression.set and not expression.kind):
        state.helper = expression.name or state.helper
        return True
    if expression.kind in (QUOTA, LIMIT, CONNLIMIT):
        return Unknown(f"whether {expression.name} lets the packet match cannot be foreseen")
    return _steals(f"synproxy {expression.name} answers for the server") if expression.kind == SYNPROXY else True


def dynset(state: State, expression: Dynset) -> Outcome:
    """Adding to a set matches unless it is full; a meter's nested limit decides per element."""
    state.touched_sets.add(expression.set)
    counting = [each for each in expression.expressions if type(each).__name__ not in ("Counter", "Last")]
    if counting:
        return Unknown(f"whether the element of set {expression.set} is within its limit cannot be foreseen")
    return not expression.invert


def tproxy(state: State, expression: Tproxy) -> Outcome:
    """Hands the packet to a listening socket; without one the rule does not match (nft_tproxy.c)."""
    packet = state.packet
    if packet.protocol not in (TCP, UDP):
        return False
    length = 4 if packet.family == 4 else 16
    registers = state.registers
    address = _text(registers.load(expression.address, length).value) if expression.address else packet.destination
    port = _port(registers.load(expression.port, 2)) if expression.port else packet.destination_port
    found = state.facts.has_listener(msgspec.structs.replace(packet, destination=address, destination_port=port))
    if found is True:
        state.tproxy = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    return found


def steals(state: State, expression: Forward | Synproxy) -> Outcome:
    what = "sends the packet out of another device" if isinstance(expression, Forward) else "answers for the server"
    return _steals(f"{expression.__struct_config__.tag} {what}")


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
