"""Matches on TCP options and on the headers of less common protocols (net/netfilter/xt_*.c)."""

import struct
from collections.abc import Iterator

from netdoctor.model.expression import XtMatch
from netdoctor.model.unknown import Unknown
from netdoctor.walk.packet import TCP, Packet

from .headers import SYN, tcp_options
from .state import Outcome, State

ESP, IPCOMP, SCTP, DCCP = 50, 108, 132, 33
MSS, MSS_BYTES, NO_OPERATION = 2, 4, 1
EVERY_SPI = (0, 0xFFFFFFFF)


def each_option(options: bytes) -> Iterator[tuple[int, bytes]]:
    """Where each TCP option starts and its bytes (tcp_find_option in xt_tcpudp.c)."""
    place = 0
    while place < len(options):
        size = 1 if options[place] <= NO_OPERATION or place + 1 == len(options) else options[place + 1] or 1
        yield place, options[place : place + size]
        place += size


def has_option(packet: Packet, kind: int) -> bool | None:
    """Whether the segment carries the option; None when that is not known."""
    options = tcp_options(packet)
    if options is not None:
        return any(option[0] == kind for _, option in each_option(options))
    if kind == MSS and packet.tcp_mss is not None:
        return bool(packet.tcp_mss)
    return False if kind == MSS and not _opens(packet) else None


def maximum_segment(packet: Packet) -> int | None:
    """What the segment's MSS option says, 0 without one; None when that is not known."""
    if packet.tcp_mss is not None:
        return packet.tcp_mss
    options = tcp_options(packet)
    if options is not None:
        return next((int.from_bytes(one[2:], "big") for _, one in each_option(options) if is_mss(one)), 0)
    return None if _opens(packet) else 0


def is_mss(option: bytes) -> bool:
    return option[0] == MSS and len(option) == MSS_BYTES == option[1]


def _opens(packet: Packet) -> bool:
    """Only segments that open a connection carry a maximum segment size (RFC 9293, 3.7.1)."""
    return bool((packet.tcp_flags or SYN) & SYN)


def tcpmss(state: State, match: XtMatch) -> Outcome:
    """struct xt_tcpmss_match_info. A segment without the option is outside every range."""
    low, high, invert = struct.unpack_from("=2HB", match.info)
    if state.packet.protocol != TCP:
        return False
    size = maximum_segment(state.packet)
    if why := state.doubt("tcp_mss"):
        return why
    if size is None:
        return Unknown("the maximum segment size the packet offers is not known")
    return (bool(size) and low <= size <= high) != bool(invert)


def ecn(state: State, match: XtMatch) -> Outcome:
    """struct xt_ecn_info: bit 1 the IP header's bits, 16 the ECE flag, 32 the CWR flag; the same bits invert."""
    asked, invert, bits = match.info[:3]
    packet = state.packet
    if asked & 0x30 and packet.protocol != TCP:
        return False
    tests = ((1, packet.tos & 3 == bits), (16, bool(packet.tcp_flags & 0x40)), (32, bool(packet.tcp_flags & 0x80)))
    if any(holds == bool(invert & bit) for bit, holds in tests if asked & bit and (bit > 1 or not state.doubt("tos"))):
        return False
    return (state.doubt("tos") if asked & 1 else None) or True


def osf(state: State, match: XtMatch) -> Outcome:
    """nf_osf_match: only segments that open a connection have a fingerprint."""
    packet = state.packet
    if packet.protocol != TCP or not _opens(packet):
        return False
    return Unknown("the system's fingerprint in the segment is not modelled")


def sctp(state: State, match: XtMatch) -> Outcome:
    """struct xt_sctp_info: flags 1 source ports, 2 destination ports, 4 chunk types; the same bits invert."""
    low_d, high_d, low_s, high_s = struct.unpack_from("=4H", match.info)
    asked, invert = struct.unpack_from("=2I", match.info, 284)
    return _with_ports(state, SCTP, ((low_s, high_s), (low_d, high_d)), asked, invert)


def dccp(state: State, match: XtMatch) -> Outcome:
    """struct xt_dccp_info: flags 1 source ports, 2 destination ports, 4 types, 8 an option; the same bits invert."""
    low_d, high_d, low_s, high_s, asked, invert = struct.unpack_from("=6H", match.info)
    return _with_ports(state, DCCP, ((low_s, high_s), (low_d, high_d)), asked, invert)


def _with_ports(
    state: State, protocol: int, ranges: tuple[tuple[int, int], ...], asked: int, invert: int
) -> Outcome:  # fmt: skip
    packet = state.packet
    if packet.protocol != protocol:
        return False
    for bit, port, (low, high) in zip((1, 2), (packet.source_port, packet.destination_port), ranges, strict=True):
        if asked & bit and (low <= port <= high) == bool(invert & bit):
            return False
    return Unknown(f"what a packet of protocol {protocol} carries is not modelled") if asked & ~3 else True


def spi(state: State, match: XtMatch) -> Outcome:
    """struct xt_esp and xt_ipcomp: the security parameter index of a packet is not modelled."""
    return spi_fits(state, match, ESP if match.name == "esp" else IPCOMP)


def spi_fits(state: State, match: XtMatch, protocol: int) -> Outcome:
    low, high, invert = struct.unpack_from("=2IB", match.info)
    if state.packet.protocol != protocol:
        return False
    if (low, high) == EVERY_SPI:
        return not invert & 1
    return Unknown("the packet's security parameter index is not modelled")


TESTS = {"tcpmss": tcpmss, "ecn": ecn, "osf": osf, "sctp": sctp, "dccp": dccp, "esp": spi, "ipcomp": spi}
