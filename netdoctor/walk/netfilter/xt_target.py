"""xtables targets, read from the kernel's own structs by name and revision (linux/netfilter/xt_*.h)."""

import struct
from collections.abc import Callable
from ipaddress import ip_address
from typing import Literal

import msgspec

from netdoctor.model.expression import XtTarget
from netdoctor.model.unknown import Unknown
from netdoctor.walk.packet import TCP, UDP

from .conntrack_view import attach_template, has_entry, set_mark
from .result import Binding, BindingKind
from .state import Alternatives, Decision, Outcome, State
from .statements import notrack as untrack
from .statements import range_flags, transparent_socket

REJECT_WITH = (
    "icmp-net-unreachable", "icmp-host-unreachable", "icmp-proto-unreachable", "icmp-port-unreachable", "echo-reply",
    "icmp-net-prohibited", "icmp-host-prohibited", "tcp-reset", "icmp-admin-prohibited",
)  # fmt: skip
REJECT_WITH_6 = (
    "icmp6-no-route", "icmp6-adm-prohibited", "icmp6-not-neighbour", "icmp6-addr-unreachable", "icmp6-port-unreachable",
    "echo-reply", "tcp-reset", "icmp6-policy-fail", "icmp6-reject-route",
)  # fmt: skip
SET, SAVE, RESTORE = 0, 1, 2
ALL_BITS = 0xFFFFFFFF
MARK_REVISION = 2
ZONE_OF_ONE_DIRECTION, ZONE_OF_MARK = (4, 8), 16
SPECIFIED_ADDRESS, SPECIFIED_PORT, SHIFTED_PORTS = 1, 2, 32
PASSING = (
    "LOG", "NFLOG", "CHECKSUM", "TEE", "TRACE", "AUDIT", "SECMARK", "CONNSECMARK", "IDLETIMER", "LED", "RATEEST",
    "ULOG",
)  # fmt: skip


class NatRange(msgspec.Struct, frozen=True):
    """struct nf_nat_range2, or what the old IPv4-only struct says of the same."""

    flags: int
    address_min: bytes
    address_max: bytes
    port_min: int
    port_max: int


def nat_range(target: XtTarget, version: int) -> NatRange:
    """Revision 0 of the IPv4 targets is struct nf_nat_ipv4_multi_range_compat, with one range."""
    info = target.info
    if version == 4 and target.revision == 0:
        (flags,) = struct.unpack_from("=I", info, 4)
        return NatRange(flags, info[8:12], info[12:16], *struct.unpack_from("!2H", info, 16))
    length = 4 if version == 4 else 16
    (flags,) = struct.unpack_from("=I", info)
    return NatRange(flags, info[4 : 4 + length], info[20 : 20 + length], *struct.unpack_from("!2H", info, 36))


def nat(state: State, target: XtTarget) -> Outcome:
    found = nat_range(target, state.packet.family)
    kinds: dict[str, tuple[BindingKind, Literal["source", "destination"]]] = {
        "SNAT": ("snat", "source"), "MASQUERADE": ("masquerade", "source"), "DNAT": ("dnat", "destination"),
        "REDIRECT": ("redirect", "destination"),
        "NETMAP": ("netmap", "source" if state.base.hook in ("postrouting", "input") else "destination"),
    }  # fmt: skip
    kind, manip = kinds[target.name]
    has_address, has_port = found.flags & SPECIFIED_ADDRESS, found.flags & SPECIFIED_PORT
    low, high = found.address_min, found.address_max
    if kind == "netmap":
        kept = ip_address(state.packet.source if manip == "source" else state.packet.destination).packed
        low = high = bytes((k & (a ^ b)) | (a & ~(a ^ b) & 0xFF) for k, a, b in zip(kept, low, high, strict=True))
    named = has_address and kind not in ("masquerade", "redirect")
    ports = (found.port_min, found.port_max) if has_port else (0, 0)
    if found.flags & SHIFTED_PORTS:
        ports = (_shifted(state, found, int.from_bytes(target.info[40:42], "big")),) * 2
    binding = Binding(
        kind=kind, manip=manip, address_min=str(ip_address(low)) if named else "",
        address_max=str(ip_address(high)) if named else "", port_min=ports[0], port_max=ports[1],
        flags=range_flags(found.flags),
    )  # fmt: skip
    return Decision(code="accept", binding=binding)


def _shifted(state: State, found: NatRange, base: int) -> int:
    """NF_NAT_RANGE_PROTO_OFFSET: the port keeps its distance from the base port."""
    distance = state.packet.destination_port - base & 0xFFFF
    return found.port_min + distance % (found.port_max - found.port_min + 1)


def reject(state: State, target: XtTarget) -> Outcome:
    (code,) = struct.unpack_from("=I", target.info)
    names = REJECT_WITH if state.packet.family == 4 else REJECT_WITH_6
    return Decision(code="drop", reject=names[code])


def mark(state: State, target: XtTarget) -> Outcome:
    """Revision 2: the masked bits are zeroed, then `mark` is xored in."""
    value, mask = struct.unpack_from("=2I", target.info)
    state.change("mark", (state.packet.mark & ~mask & 0xFFFFFFFF) ^ value, keeping=mask != ALL_BITS)
    return True


def connmark_info(target: XtTarget) -> tuple[int, int, int, int, int, int]:
    """Value, masks of the connection's and the packet's mark, shift direction and bits (from revision 2), mode."""
    value, ct_mask, packet_mask, first, second, third = struct.unpack_from("=3I3B", target.info)
    direction, bits, mode = (first, second, third) if target.revision >= 2 else (0, 0, first)
    return value, ct_mask, packet_mask, direction, bits, mode


def connmark(state: State, target: XtTarget) -> Outcome:
    """struct xt_connmark_tginfo1 and 2: sets the connection's mark, saves the packet's in it, or restores it."""
    value, ct_mask, packet_mask, direction, bits, mode = connmark_info(target)
    view = state.packet.conntrack
    if view is None or not has_entry(state.packet):
        return True

    def shifted(number: int) -> int:
        return int(number >> bits if direction else number << bits) & 0xFFFFFFFF

    if mode == SET:
        set_mark(state, shifted((view.mark & ~ct_mask) ^ value))
    elif mode == SAVE:
        saved = shifted(state.packet.mark & packet_mask)
        set_mark(state, (view.mark & ~ct_mask) ^ saved, state.uncertain.get("mark", ""))
    elif why := state.uncertain.get("conntrack"):
        state.uncertain["mark"] = why
    else:
        new = (state.packet.mark & ~packet_mask & 0xFFFFFFFF) ^ shifted(view.mark & ct_mask)
        state.change("mark", new, keeping=packet_mask != ALL_BITS)
    return True


def ct(state: State, target: XtTarget) -> Outcome:
    """struct xt_ct_target_info_v1: flag 1 is notrack. Packets that have a connection already are left alone."""
    flags, zone = struct.unpack_from("=2H", target.info)
    if state.packet.conntrack is not None:
        return True
    if flags & 1:
        return untrack(state, target)
    if (flags & 12) in ZONE_OF_ONE_DIRECTION or (flags & ZONE_OF_MARK and state.doubt("mark")):
        return Alternatives(
            decisions=(Decision(code="drop"),), why="in which zone the packet is tracked is not known", goes_on=True
        )
    zone = state.packet.mark & 0xFFFF if flags & ZONE_OF_MARK else zone
    attach_template(state, zone)
    state.helper = target.info[12:28].split(b"\0")[0].decode("utf-8", "replace") or state.helper
    return True


def tproxy(state: State, target: XtTarget) -> Outcome:
    """Accepts the packet for a transparent local socket and marks it; without one it is dropped (xt_TPROXY.c)."""
    packet = state.packet
    if packet.protocol not in (TCP, UDP):
        return Decision(code="drop")
    mask, value = struct.unpack_from("=2I", target.info)
    length = 4 if packet.family == 4 else 16
    raw = target.info[8 : 8 + length]
    place = 24 if target.revision else 12
    port = int.from_bytes(target.info[place : place + 2], "big") or packet.destination_port
    address = str(ip_address(raw)) if any(raw) else packet.destination
    found = transparent_socket(state, msgspec.structs.replace(packet, destination=address, destination_port=port))
    if isinstance(found, Unknown):
        return Alternatives(decisions=(Decision(code="drop"), Decision(code="accept")), why=found.why)
    if not found:
        return Decision(code="drop")
    state.change("mark", (packet.mark & ~mask & 0xFFFFFFFF) ^ value, keeping=mask != ALL_BITS)
    state.tproxy = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    return Decision(code="accept")


def ttl(state: State, target: XtTarget) -> Outcome:
    """struct ipt_TTL_info and ip6t_HL_info: set, increment, decrement."""
    mode, value = target.info[0], target.info[1]
    old = state.packet.ttl
    state.change("ttl", (value, min(old + value, 255), max(old - value, 0))[mode], keeping=mode != 0)
    return True


def tos(state: State, target: XtTarget) -> Outcome:
    old = state.packet.tos
    if target.name == "DSCP":
        state.change("tos", (old & 3) | target.info[0] << 2, keeping=True)
    else:
        value, mask = target.info[0], target.info[1]
        state.change("tos", (old & ~mask & 0xFF) ^ value, keeping=mask != 0xFF)
    return True


def classify(state: State, target: XtTarget) -> Outcome:
    state.change("priority", struct.unpack_from("=I", target.info)[0])
    return True


def nfqueue(state: State, target: XtTarget) -> Outcome:
    """From revision 1 one of several queues gets the packet; 2 and 3 can bypass a queue nobody listens on."""
    number, queues = (
        struct.unpack_from("=2H", target.info) if target.revision else (target.info[0] | target.info[1] << 8, 1)
    )
    bypass = target.revision >= 2 and bool(struct.unpack_from("=H", target.info, 4)[0] & 1)
    return Decision(code="queue", queue=number, queues=max(queues, 1), bypass=bypass)


def passing(state: State, target: XtTarget) -> Outcome:
    return True


TARGETS: dict[str, Callable[[State, XtTarget], Outcome]] = {
    **dict.fromkeys(("SNAT", "DNAT", "MASQUERADE", "REDIRECT", "NETMAP"), nat), "REJECT": reject, "MARK": mark,
    "CONNMARK": connmark, "CT": ct, "NOTRACK": untrack, "TPROXY": tproxy, "TTL": ttl, "HL": ttl, "DSCP": tos,
    "TOS": tos, "CLASSIFY": classify, "NFQUEUE": nfqueue, **dict.fromkeys(PASSING, passing),
}  # fmt: skip


RARER = ("TCPMSS", "TCPOPTSTRIP", "ECN", "HMARK", "SET", "SYNPROXY", "SNPT", "DNPT")
"""Targets whose functions are loaded when first met."""


def actor(name: str) -> Callable[[State, XtTarget], Outcome] | None:
    """The function that does what a target does."""
    if name in RARER:
        from .xt_mangling import TARGETS as rarer

        return rarer[name]
    return TARGETS.get(name)


def target(state: State, expression: XtTarget) -> Outcome:
    """What a met rule's target does; one that is not understood may drop the packet."""
    act = actor(expression.name)
    why = f"target {expression.name} revision {expression.revision} is not modelled"
    unknown = Alternatives(decisions=(Decision(code="drop"),), why=why)
    if act is None or (expression.name == "MARK" and expression.revision < MARK_REVISION):
        return unknown
    try:
        return act(state, expression)
    except (struct.error, LookupError, ValueError):
        return unknown
