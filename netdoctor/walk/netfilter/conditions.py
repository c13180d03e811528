"""Which conditions of one rule a packet does not meet, in words and data."""

import struct

from netdoctor.model import expression as e
from netdoctor.model.unknown import Unknown

from .conntrack_view import state_of
from .headers import packed
from .iptables_text import device_name
from .nft_fields import ct_field, meta_word, payload_field
from .nft_values import set_text, shown, span, with_mask
from .result import Miss
from .state import State
from .step import step
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

FIELDS = {
    "iifname": "in-device", "iif": "in-device", "oifname": "out-device", "oif": "out-device", "l4proto": "protocol",
    "nfproto": "family", "mark": "mark",
}  # fmt: skip
WORDS = {
    "ip saddr": "source", "ip6 saddr": "source", "ip daddr": "destination", "ip6 daddr": "destination",
    "ip protocol": "protocol", "ip6 nexthdr": "protocol", "sport": "source-port", "dport": "destination-port",
}  # fmt: skip
Tested = tuple[str, str, bytes]
"""What a register holds: the field, the type of its value, the mask put over it."""


def failed_conditions(state: State, expressions: tuple[e.AnyExpression, ...]) -> tuple[Miss, ...]:
    """Every condition the packet surely fails; those after the first failed one are looked at as well."""
    misses: list[Miss] = []
    held: dict[int, Tested] = {}
    for expression in expressions:
        if isinstance(expression, e.XtHeader):
            misses += _header(state, expression)
            continue
        _remember(held, state, expression)
        if _acts(expression):
            break
        if step(state, expression) is False:
            misses.append(_miss(state, expression, held))
    return tuple(misses)


def _acts(expression: e.AnyExpression) -> bool:
    return isinstance(expression, e.Verdict | e.XtTarget | e.Nat | e.Masquerade | e.Redirect | e.MetaSet | e.CtSet)


def _remember(held: dict[int, Tested], state: State, expression: e.AnyExpression) -> None:
    family = "ip" if state.packet.family == 4 else "ip6"
    match expression:
        case e.Meta(key=key, register=register):
            kind = "ifname" if key.endswith("name") else "l4proto" if key == "l4proto" else "mark"
            held[register] = FIELDS.get(key, meta_word(key)), kind, b""
        case e.Payload(register=register):
            words, kind, _ = payload_field(expression, family, protocol_name(state.packet.protocol))
            held[register] = WORDS.get(words) or WORDS.get(words.split(" ")[-1]) or words, kind, b""
        case e.Ct(key=key, register=register, direction=direction):
            words, kind, _ = ct_field(key, direction)
            held[register] = "conntrack-state" if key == "state" else words, kind, b""
        case e.Fib(register=register, result="type"):
            held[register] = "address-type", "fib_type", b""
        case e.Bitwise(source=source, destination=destination, mask=mask):
            field, kind, _ = held.get(source, ("bits", "hex", b""))
            held[destination] = field, kind, mask


def _miss(state: State, test: e.AnyExpression, held: dict[int, Tested]) -> Miss:
    match test:
        case e.XtMatch():
            return _match_miss(state, test)
        case e.Cmp(register=register) | e.Range(register=register) | e.Lookup(register=register):
            field, kind, mask = held.get(register, ("value", "hex", b""))
            expected = _expected(state, test, kind, mask)
            return Miss(field=field, expected=expected, observed=_observed(state, test, field, kind))
    return Miss(field=str(test.__struct_config__.tag), expected="", observed="")


def _expected(state: State, test: e.Cmp | e.Range | e.Lookup, kind: str, mask: bytes) -> str:
    match test:
        case e.Lookup(set=name, invert=invert):
            return ("not " if invert else "") + set_text(state.base.table, name, (kind,))
        case e.Range(low=low, high=high, operator=operator):
            return ("not " if operator == "neq" else "") + span(low, high, kind)
    sign = {"eq": "", "neq": "not ", "lt": "< ", "lte": "<= ", "gt": "> ", "gte": ">= "}[test.operator]
    if kind == "ifname":
        return sign + device_name(test.value)
    if mask and kind.startswith(("ct_", "tcp_")) and not any(test.value):
        return ("" if test.operator == "neq" else "not ") + shown(mask, kind)
    if mask:
        return sign + (with_mask(test.value, mask, kind) or f"{shown(test.value, kind)}/{shown(mask, kind)}")
    if kind == "address" and len(test.value) not in (4, 16):
        size = 4 if state.packet.family == 4 else 16
        return f"{sign}{shown(test.value.ljust(size, bytes(1)), kind)}/{len(test.value) * 8}"
    return sign + shown(test.value, kind)


def _observed(state: State, test: e.Cmp | e.Range | e.Lookup, field: str, kind: str) -> str:
    """The packet's own value, in its own words where the register holds only a part of it."""
    packet = state.packet
    plain = {
        "source": packet.source, "destination": packet.destination, "in-device": packet.in_device,
        "out-device": packet.out_device, "protocol": protocol_name(packet.protocol),
        "source-port": str(packet.source_port), "destination-port": str(packet.destination_port),
        "mark": f"{packet.mark:#x}", "conntrack-state": state_of(packet),
    }  # fmt: skip
    if field in plain:
        return plain[field]
    length = 4 if isinstance(test, e.Lookup) else len(test.low if isinstance(test, e.Range) else test.value)
    return shown(state.registers.load(test.register, length).value, kind)


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
