"""The header test of a legacy rule (ip_packet_match in net/ipv4/netfilter/ip_tables.c, ip6_packet_match)."""

from netdoctor.model.expression import XtHeader

from .headers import packed
from .state import Outcome, State

INVERT_IN, INVERT_OUT, INVERT_SOURCE, INVERT_DESTINATION, INVERT_FRAGMENT, INVERT_PROTOCOL = 1, 2, 8, 16, 32, 64
ONLY_FRAGMENTS = 1


def device_matches(pattern: str, device: str) -> bool:
    """An empty pattern takes every device, "veth+" those that start so."""
    return not pattern or (device.startswith(pattern[:-1]) if pattern.endswith("+") else device == pattern)


def address_matches(address: bytes, wanted: bytes, mask: bytes) -> bool:
    return all(a & m == w for a, w, m in zip(address, wanted, mask, strict=False))


def header(state: State, expression: XtHeader) -> Outcome:
    """True when addresses, devices and protocol fit. Modelled packets are never later fragments."""
    packet, invert = state.packet, expression.invert
    if why := state.doubt("source") or state.doubt("destination"):
        return why
    if expression.family != ("ip" if packet.family == 4 else "ip6"):
        return False
    source = address_matches(packed(packet.source), expression.source, expression.source_mask)
    destination = address_matches(packed(packet.destination), expression.destination, expression.destination_mask)
    protocol = not expression.protocol or packet.protocol == expression.protocol
    fragment = expression.family == "ip6" or not expression.flags & ONLY_FRAGMENTS
    return (
        source != bool(invert & INVERT_SOURCE)
        and destination != bool(invert & INVERT_DESTINATION)
        and device_matches(expression.in_device, packet.in_device) != bool(invert & INVERT_IN)
        and device_matches(expression.out_device, packet.out_device) != bool(invert & INVERT_OUT)
        and protocol != bool(invert & INVERT_PROTOCOL)
        and (fragment or bool(invert & INVERT_FRAGMENT))
    )
