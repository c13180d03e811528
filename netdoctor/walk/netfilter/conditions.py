"""Which conditions of one rule a packet does not meet, in words and data."""

import struct

from netdoctor.model import expression as e
from netdoctor.model.unknown import Unknown

from .conntrack_view import state_of
from .headers import packed
from .result import Miss
from .state import State
from .step import step
from .tested import Tested
from .xt_header import (
    INVERT_DESTINATION,
    INVERT_IN,
    INVERT_OUT,
    INVERT_PROTOCOL,
    INVERT_SOURCE,
    address_matches,
    device_matches,
)
from .xt_match_text import Names, match_text
from .xt_words import prefix, protocol_name


def failed_conditions(state: State, expressions: tuple[e.AnyExpression, ...]) -> tuple[Miss, ...]:
    """Every condition the packet surely fails; those after the first failed one are looked at as well."""
    misses: list[Miss] = []
    held = Tested(state)
    for expression in expressions:
        if isinstance(expression, e.XtHeader):
            misses += _header(state, expression)
            continue
        held.remember(expression)
        if _acts(expression):
            break
        if step(state, expression) is False:
            misses.append(_miss(state, expression, held))
    return tuple(misses)


def _acts(expression: e.AnyExpression) -> bool:
    return isinstance(expression, e.Verdict | e.XtTarget | e.Nat | e.Masquerade | e.Redirect | e.MetaSet | e.CtSet)


def _miss(state: State, test: e.AnyExpression, held: Tested) -> Miss:
    match test:
        case e.XtMatch():
            return _match_miss(state, test)
        case e.Cmp() | e.Range() | e.Lookup():
            field, expected, observed = held.words(test)
            return Miss(field=field, expected=expected, observed=_own(state, field) or observed)
    return Miss(field=str(test.__struct_config__.tag), expected="", observed="")


def _own(state: State, field: str) -> str:
    """The packet's own value, in its own words where a register may hold only a part of it."""
    packet = state.packet
    plain = {
        "source": packet.source, "destination": packet.destination, "in-device": packet.in_device,
        "out-device": packet.out_device, "protocol": protocol_name(packet.protocol),
        "source-port": str(packet.source_port), "destination-port": str(packet.destination_port),
        "mark": f"{packet.mark:#x}", "conntrack-state": state_of(packet),
    }  # fmt: skip
    return plain.get(field, "")


def _header(state: State, header: e.XtHeader) -> list[Miss]:
    """The parts of a legacy header test, each on its own."""
    packet, invert = state.packet, header.invert
    source = address_matches(packed(packet.source), header.source, header.source_mask)
    destination = address_matches(packed(packet.destination), header.destination, header.destination_mask)
    protocol = not header.protocol or header.protocol == packet.protocol
    inside = device_matches(header.in_device, packet.in_device)
    outside = device_matches(header.out_device, packet.out_device)
    parts = (
        ("in-device", inside, INVERT_IN, header.in_device, packet.in_device),
        ("out-device", outside, INVERT_OUT, header.out_device, packet.out_device),
        ("protocol", protocol, INVERT_PROTOCOL, protocol_name(header.protocol), protocol_name(packet.protocol)),
        ("source", source, INVERT_SOURCE, prefix(header.source, header.source_mask), packet.source),
        (
            "destination", destination, INVERT_DESTINATION, prefix(header.destination, header.destination_mask),
            packet.destination,
        ),
    )  # fmt: skip
    return [
        Miss(field=field, expected=("not " if invert & bit else "") + expected, observed=observed)
        for field, holds, bit, expected, observed in parts
        if holds == bool(invert & bit)
    ]


def _match_miss(state: State, match: e.XtMatch) -> Miss:
    """A match that failed: its words, and what the packet has instead."""
    packet = state.packet
    text = match_text(match, Names(packet.family, state.base.ruleset)).removeprefix(f"-m {match.name}").strip()
    match match.name:
        case "conntrack" | "state":
            return Miss(field="conntrack-state", expected=text, observed=state_of(packet))
        case "tcp" | "udp" | "multiport":
            from_source = "--sport" in text and not _port_fits(match, packet.source_port)
            field = "source-port" if from_source else "destination-port"
            observed = packet.source_port if field == "source-port" else packet.destination_port
            return Miss(field=field, expected=text, observed=f"{protocol_name(packet.protocol)} {observed}")
        case "mark":
            return Miss(field="mark", expected=text, observed=f"{packet.mark:#x}")
        case "addrtype":
            kind = state.facts.address_type(packet.destination, "")
            shown_kind = kind.why if isinstance(kind, Unknown) else kind
            return Miss(field="address-type", expected=text, observed=f"{packet.destination} is {shown_kind}")
    return Miss(field=match.name, expected=text, observed=str(packet))


def _port_fits(match: e.XtMatch, port: int) -> bool:
    if match.name == "multiport":
        return False
    low, high = struct.unpack_from("=2H", match.info)
    return bool(low <= port <= high)
