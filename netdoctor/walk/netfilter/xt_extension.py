"""Matches on IPv6 extension headers and on AH (net/ipv6/netfilter/ip6t_*.c, net/ipv4/netfilter/ipt_ah.c).

Modelled packets carry no extension headers: what asks for one misses, inverted or not.
"""

import struct

from netdoctor.model.expression import XtMatch
from netdoctor.model.unknown import Unknown

from .headers import mac_bytes, packed
from .state import Outcome, State
from .xt_protocol import EVERY_SPI, spi_fits

AH, MOBILITY, NO_NEXT, ESP = 51, 135, 59, 50
MASK_ESP, MASK_NONE, MASK_PROTOCOL = 4, 2, 1


def absent(state: State, match: XtMatch) -> Outcome:
    return False


def ah(state: State, match: XtMatch) -> Outcome:
    if state.packet.family == 4:
        return spi_fits(state, match, AH)
    low, high, length, reserved, invert = struct.unpack_from("=3I2B", match.info)
    if state.packet.protocol != AH:
        return False
    if (low, high) == EVERY_SPI and not length and not reserved and not invert:
        return True
    return Unknown("the packet's AH header is not modelled")


def ipv6header(state: State, match: XtMatch) -> Outcome:
    """ipv6header_mt6: which headers there are, as bits; a soft match asks for some, a hard one for exactly these."""
    asked, invert, soft = match.info[:3]
    there = {NO_NEXT: MASK_NONE, ESP: MASK_ESP}.get(state.packet.protocol, MASK_PROTOCOL)
    if state.packet.protocol == AH:
        return Unknown("what follows the packet's AH header is not modelled")
    if soft:
        return not (there ^ asked ^ invert) & asked
    return (there == asked) != bool(invert)


def mh(state: State, match: XtMatch) -> Outcome:
    low, high, invert = match.info[:3]
    if state.packet.protocol != MOBILITY:
        return False
    if (low, high) == (0, 255):
        return not invert & 1
    return Unknown("the type of the mobility header is not modelled")


def eui64(state: State, match: XtMatch) -> Outcome:
    """Whether the source address ends in what RFC 4291 makes of the frame's source address."""
    packet = state.packet
    if not packet.in_device:
        return False
    if not packet.source_mac:
        return Unknown("the frame's source MAC address is not known")
    mac = mac_bytes(packet.source_mac)
    wanted = bytes([mac[0] ^ 2]) + mac[1:3] + b"\xff\xfe" + mac[3:]
    return state.doubt("source") or packed(packet.source)[8:] == wanted


TESTS = {
    **dict.fromkeys(("frag", "hbh", "dst", "rt", "srh"), absent), "ah": ah, "ipv6header": ipv6header, "mh": mh,
    "eui64": eui64,
}  # fmt: skip
