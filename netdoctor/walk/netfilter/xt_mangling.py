"""Targets that rewrite the packet or its marks in less common ways (net/netfilter/xt_*.c, ipt_ECN.c, ip6t_NPT.c)."""

import struct
from ipaddress import ip_address

from netdoctor.model.expression import XtTarget
from netdoctor.walk.packet import TCP

from .headers import SYN, packed, tcp_options
from .state import Alternatives, Decision, Outcome, State
from .xt_protocol import MSS, NO_OPERATION, each_option, has_option, is_mss, maximum_segment
from .xt_set import ipset_key, tests_true

ACK, RST, FIN = 0x10, 0x04, 0x01
CLAMP, NO_SET = 0xFFFF, 0xFFFF
MAP_MARK, MAP_PRIORITY = 256, 512
PREFIX_IN_INTERFACE_ID = 48


def tcpmss(state: State, target: XtTarget) -> Outcome:
    """tcpmss_mangle_packet: an offer is only ever lowered; a segment that opens without one is given one."""
    (size,) = struct.unpack_from("=H", target.info)
    packet = state.packet
    old = maximum_segment(packet)
    if packet.protocol != TCP or not (packet.tcp_flags or SYN) & SYN:
        return True
    if size == CLAMP:
        state.uncertain["tcp_mss"] = "to what the maximum segment size is clamped is not modelled"
    elif old == 0:
        state.uncertain["tcp_mss"] = "what maximum segment size is added is not modelled"
    elif old is not None and old > size:
        _offer(state, size)
    return True


def _offer(state: State, size: int) -> None:
    """Puts another maximum segment size into the packet, and into its options where they are known."""
    options = tcp_options(state.packet) or b""
    state.change("tcp_mss", size)
    for place, option in each_option(options):
        if is_mss(option):
            state.change("tcp_options", options[: place + 2] + size.to_bytes(2, "big") + options[place + 4 :])


def tcpoptstrip(state: State, target: XtTarget) -> Outcome:
    """tcpoptstrip_mangle_packet: options are overwritten with no-operations."""
    words = struct.unpack_from("=8I", target.info)
    packet = state.packet
    options = tcp_options(packet)
    if packet.protocol != TCP:
        return True
    if words[0] >> MSS & 1 and has_option(packet, MSS) is not False:
        state.change("tcp_mss", 0)
    if options:
        state.change("tcp_options", _stripped(options, words))
    return True


def _stripped(options: bytes, words: tuple[int, ...]) -> bytes:
    kept = bytearray(options)
    for place, option in each_option(options):
        if words[option[0] // 32] >> option[0] % 32 & 1:
            kept[place : place + len(option)] = bytes((NO_OPERATION,)) * len(option)
    return bytes(kept)


def ecn(state: State, target: XtTarget) -> Outcome:
    """struct ipt_ECN_info: operations 1 IP, 16 ECE, 32 CWR."""
    operation, bits, flags = target.info[:3]
    packet = state.packet
    if operation & 1:
        state.change("tos", (packet.tos & ~3 & 0xFF) | bits & 3, keeping=True)
    for bit, flag, wanted in ((16, 0x40, flags & 1), (32, 0x80, flags & 2)):
        if operation & bit and packet.protocol == TCP:
            old = state.packet.tcp_flags
            state.change("tcp_flags", old | flag if wanted else old & ~flag, keeping=True)
    return True


def hmark(state: State, target: XtTarget) -> Outcome:
    """hmark_tg: the mark becomes a hash of the packet, or stays where there is none to be had."""
    state.uncertain["mark"] = "the hash that HMARK puts into the mark is not computed"
    return True


def change_set(state: State, target: XtTarget) -> Outcome:
    """struct xt_set_info_target_v1 to v3: adds to and deletes from sets; maps what a member says into mark and priority."""
    for place in (0, 4):
        (index,) = struct.unpack_from("=H", target.info, place)
        if index != NO_SET:
            state.uncertain[ipset_key(index)] = "rules before this one change the ipset as packets pass"
    if target.revision < 3:
        return True
    index, dimensions, sides = struct.unpack_from("=H2B", target.info, 8)
    (flags,) = struct.unpack_from("=I", target.info, 12)
    if index != NO_SET and tests_true(state, index, dimensions, sides) is not False:
        why = "what the ipset's member says of marks is not read"
        changed = ((MAP_MARK, "mark"), (MAP_PRIORITY, "priority"))
        state.uncertain.update({field: why for bit, field in changed if flags & bit})
    return True


def synproxy(state: State, target: XtTarget) -> Outcome:
    """synproxy_tg4: what opens a connection is answered here; its third segment opens one to the server."""
    flags = state.packet.tcp_flags or SYN
    if state.packet.protocol != TCP or flags & (RST | FIN) or flags & (SYN | ACK) == SYN | ACK:
        return True
    if flags & (SYN | ACK):
        return Alternatives(decisions=(Decision(code="drop"),), why="SYNPROXY answers for the server", goes_on=True)
    return True


def npt(state: State, target: XtTarget) -> Outcome:
    """ip6t_npt_map_pfx: another prefix, and 16 bits behind it that keep the checksum (RFC 6296)."""
    field = "source" if target.name == "SNPT" else "destination"
    old = state.packet.source if field == "source" else state.packet.destination
    new = mapped(packed(old), target.info[:16], target.info[16:32], max(target.info[32], target.info[33]))
    if new is None:
        return Decision(code="drop", reject="icmp6-parameter-problem")
    state.change(field, str(ip_address(new)))
    return True


def mapped(address: bytes, source: bytes, destination: bytes, length: int) -> bytes | None:
    """The address under its other prefix; None for one that has no room for the difference."""
    host = (1 << 128 - length) - 1
    number = int.from_bytes(address, "big") & host | int.from_bytes(destination, "big") & ~host & (1 << 128) - 1
    words = list(struct.unpack("!8H", number.to_bytes(16, "big")))
    difference = _folded(
        sum(struct.unpack("!8H", source)) + sum(0xFFFF - word for word in struct.unpack("!8H", destination))
    )
    if length <= PREFIX_IN_INTERFACE_ID:
        place = 3
    else:
        place = next((at for at in range(4, 8) if words[at] != 0xFFFF), 8)
        if place == 8:
            return None
    total = _folded(words[place] + difference)
    words[place] = 0 if total == 0xFFFF else total
    return struct.pack("!8H", *words)


def _folded(total: int) -> int:
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


TARGETS = {
    "TCPMSS": tcpmss, "TCPOPTSTRIP": tcpoptstrip, "ECN": ecn, "HMARK": hmark, "SET": change_set, "SYNPROXY": synproxy,
    "SNPT": npt, "DNPT": npt,
}  # fmt: skip
