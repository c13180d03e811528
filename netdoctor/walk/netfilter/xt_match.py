"""xtables matches, read from the kernel's own structs by name and revision (linux/netfilter/xt_*.h)."""

import struct
from collections.abc import Callable
from importlib import import_module
from ipaddress import ip_address
from typing import cast

from netdoctor.model.expression import XtMatch
from netdoctor.model.unknown import Unknown
from netdoctor.walk.packet import ICMP, ICMP6, TCP, UDP, Packet

from .headers import SYN, mac_bytes, packed
from .loads import ROUTE_TYPES
from .metadata import packet_type
from .state import Outcome, State
from .xt_conntrack import connmark, conntrack, conntrack_state
from .xt_header import device_matches
from .xt_set import ipset

UDPLITE, SCTP, DCCP = 136, 132, 33
PORT_FIELDS, EVERY_PORT = ("source_port", "destination_port"), (0, 65535)
ANY_TYPE, ETHERNET = 255, 1
UNREACHABLE_6 = 128
BITS_6 = {"local": 4, "anycast": 16}
LOOKED_UP_6 = 4 | 16 | UNREACHABLE_6
"""What match_lookup_rt6 looks up; unreachable is whatever has no route or one that refuses."""
Test = Callable[[State, XtMatch], Outcome]


def within(value: int, low: int, high: int) -> bool:
    return low <= value <= high


def ports_of(packet: Packet) -> tuple[int, int]:
    return packet.source_port, packet.destination_port


def tcp(state: State, match: XtMatch) -> Outcome:
    """struct xt_tcp: bits 1 source, 2 destination, 4 flags, 8 option invert."""
    low_s, high_s, low_d, high_d, option, mask, want, invert = struct.unpack_from("=4H4B", match.info)
    packet = state.packet
    fits = packet.protocol == TCP and _ports_fit(state, (low_s, high_s, low_d, high_d), invert)
    flags = packet.tcp_flags or SYN
    if not fits or ((flags & mask) == want) == bool(invert & 4):
        return False
    if not option:
        return fits
    from .xt_protocol import has_option

    found = has_option(packet, option)
    if found is None:
        return Unknown(f"whether the packet has TCP option {option} is not known")
    return fits if found != bool(invert & 8) else False


def udp(state: State, match: XtMatch) -> Outcome:
    low_s, high_s, low_d, high_d, invert = struct.unpack_from("=4HB", match.info)
    protocol = UDPLITE if match.name == "udplite" else UDP
    return state.packet.protocol == protocol and _ports_fit(state, (low_s, high_s, low_d, high_d), invert)


def _ports_fit(state: State, ranges: tuple[int, int, int, int], invert: int) -> Outcome:
    doubt: Unknown | None = None
    sides = zip((1, 2), PORT_FIELDS, ports_of(state.packet), (ranges[:2], ranges[2:]), strict=True)
    for bit, field, port, (low, high) in sides:
        unsure = state.doubt(field) if (low, high) != EVERY_PORT else None
        doubt = unsure or doubt
        if not unsure and within(port, low, high) == bool(invert & bit):
            return False
    return doubt or True


def icmp(state: State, match: XtMatch) -> Outcome:
    """struct ipt_icmp and ip6t_icmp; in IPv4 type 255 is any."""
    kind, low, high, invert = struct.unpack_from("=4B", match.info)
    packet = state.packet
    if packet.protocol != (ICMP if match.name == "icmp" else ICMP6):
        return False
    hit = packet.icmp_type == kind and within(packet.icmp_code, low, high)
    return (hit or (kind == ANY_TYPE and match.name == "icmp")) != bool(invert & 1)


def multiport(state: State, match: XtMatch) -> Outcome:
    """struct xt_multiport_v1: flags 0 source, 1 destination, 2 either; a flagged port starts a range."""
    side, count = struct.unpack_from("=2B", match.info)
    ports, starts = struct.unpack_from("=15H", match.info, 2), struct.unpack_from("=15B", match.info, 32)
    if state.packet.protocol not in (TCP, UDP, UDPLITE, SCTP, DCCP):
        return False
    sides = ((0,), (1,), (0, 1))[side]
    doubt = next((why for each in sides if (why := state.doubt(PORT_FIELDS[each]))), None)
    asked = [ports_of(state.packet)[each] for each in sides if not state.doubt(PORT_FIELDS[each])]
    hit, index = False, 0
    while index < count:
        last = index + 1 if starts[index] else index
        hit = hit or any(within(port, ports[index], ports[last]) for port in asked)
        index = last + 1
    return doubt if doubt and not hit else hit != bool(match.info[47])


def mark(state: State, match: XtMatch) -> Outcome:
    want, mask, invert = struct.unpack_from("=2IB", match.info)
    return state.doubt("mark") or bool((state.packet.mark & mask) == want) != bool(invert)


def addrtype(state: State, match: XtMatch) -> Outcome:
    """struct xt_addrtype_info_v1: bit sets of route types; 1 and 2 invert, 4 and 8 limit to the in or out device."""
    source, destination, flags = struct.unpack_from("=2HI", match.info)
    if match.revision == 0:
        flags = bool(flags) | bool(struct.unpack_from("=I", match.info, 8)[0]) << 1
    packet = state.packet
    device = packet.in_device if flags & 4 else packet.out_device if flags & 8 else ""
    doubt: Unknown | None = None
    for types, field, invert in ((source, "source", flags & 1), (destination, "destination", flags & 2)):
        found = _type_fits(state, types, getattr(packet, field), device) if types else not invert
        found = state.doubt(field) or found if types else found
        if isinstance(found, Unknown):
            doubt = found
        elif found == bool(invert):
            return False
    return doubt or True


def _type_fits(state: State, types: int, address: str, device: str) -> bool | Unknown:
    """match_type; match_type6 asks for every one of multicast, unicast and unspecified, and looks up the rest."""
    if state.packet.family == 4:
        kind = state.facts.address_type(address, device)
        return kind if isinstance(kind, Unknown) else bool(types >> ROUTE_TYPES.index(kind) & 1)
    parsed = ip_address(address)
    unicast = not parsed.is_multicast and not parsed.is_unspecified
    if any(
        types >> bit & 1 and not holds
        for bit, holds in ((5, parsed.is_multicast), (1, unicast), (0, parsed.is_unspecified))
    ):
        return False
    if not types & LOOKED_UP_6:
        return True
    kind = state.facts.address_type(address, device)
    route = state.facts.fib_device(address, 0, "") if types & UNREACHABLE_6 else "any"
    if isinstance(kind, Unknown):
        return kind
    if isinstance(route, Unknown):
        return route
    found = BITS_6.get(kind, 0) | (0 if route or kind == "local" else UNREACHABLE_6)
    return bool(types & LOOKED_UP_6 & found)


def iprange(state: State, match: XtMatch) -> Outcome:
    """struct xt_iprange_mtinfo: flags 1 source, 2 destination, 16 and 32 their inversions."""
    flags, packet = match.info[64], state.packet
    doubt: Unknown | None = None
    for bit, field, offset in ((1, "source", 0), (2, "destination", 32)):
        value = packed(getattr(packet, field))
        low, high = (match.info[start : start + len(value)] for start in (offset, offset + 16))
        if flags & bit and state.doubt(field):
            doubt = state.doubt(field)
        elif flags & bit and (low <= value <= high) == bool(flags & bit << 4):
            return False
    return doubt or True


def mac(state: State, match: XtMatch) -> Outcome:
    """struct xt_mac_info. Packets made here have no link header and never match, inverted or not."""
    packet = state.packet
    if not packet.in_device:
        return False
    device = state.facts.links.get(packet.out_device if state.base.hook == "postrouting" else packet.in_device)
    if device is not None and device.hardware != ETHERNET:
        return False
    if not packet.source_mac:
        return Unknown("the frame's source MAC address is not known")
    return (match.info[:6] == mac_bytes(packet.source_mac)) != bool(match.info[8])


def physdev(state: State, match: XtMatch) -> Outcome:
    """struct xt_physdev_info: bits 1 in, 2 out, 4 bridged, 8 is-in, 16 is-out. Only bridged packets have ports."""
    invert, asked = match.info[64], match.info[65]
    packet = state.packet
    inside, outside = (_device(match.info, offset) for offset in (0, 32))
    bridged = bool(packet.in_port)
    if not bridged:
        plain = ((4, asked & 4), (8, asked & 8), (16, asked & 16), (1, asked & 1), (2, asked & 2))
        return all(bool(invert & bit) for bit, wanted in plain if wanted)
    tests = (
        (4, bool(packet.out_port)), (8, bool(packet.in_port)), (16, bool(packet.out_port)),
        (1, device_matches(inside, packet.in_port)),
        (2, bool(packet.out_port) and device_matches(outside, packet.out_port)),
    )  # fmt: skip
    return all(holds != bool(invert & bit) for bit, holds in tests if asked & bit)


def _device(info: bytes, offset: int) -> str:
    """A device name under its mask: the mask stops before the NUL of a name that ends in "+"."""
    name, mask = info[offset : offset + 16].split(b"\0")[0].decode("utf-8", "replace"), info[offset + 16 : offset + 32]
    return name if mask[len(name) : len(name) + 1] == b"\xff" else name.removesuffix("+") + "+"


def length(state: State, match: XtMatch) -> Outcome:
    low, high, invert = struct.unpack_from("=2HB", match.info)
    return within(state.packet.length_bytes, low, high) != bool(invert)


def ttl(state: State, match: XtMatch) -> Outcome:
    """struct ipt_ttl_info and ip6t_hl_info: equal, not equal, less, greater."""
    mode, value = match.info[0], match.info[1]
    mine = state.packet.ttl
    return state.doubt("ttl") or (mine == value, mine != value, mine < value, mine > value)[mode]


def dscp(state: State, match: XtMatch) -> Outcome:
    if match.name == "tos":
        mask, value, invert = match.info[0], match.info[1], match.info[2]
        return state.doubt("tos") or ((state.packet.tos & mask) == value) != bool(invert)
    return state.doubt("tos") or (state.packet.tos >> 2 == match.info[0]) != bool(match.info[1])


def pkttype(state: State, match: XtMatch) -> Outcome:
    kind, invert = match.info[0], match.info[4]
    bits = packet_type(state)
    return (bits.value[0] == kind) != bool(invert) if bits.known else Unknown(bits.why)


def comment(state: State, match: XtMatch) -> Outcome:
    return True


TESTS: dict[str, Test] = {
    "tcp": tcp, "udp": udp, "udplite": udp, "icmp": icmp, "icmp6": icmp, "multiport": multiport, "mark": mark,
    "connmark": connmark, "conntrack": conntrack, "state": conntrack_state, "addrtype": addrtype, "iprange": iprange,
    "mac": mac, "physdev": physdev, "length": length, "ttl": ttl, "hl": ttl, "dscp": dscp, "tos": dscp,
    "pkttype": pkttype, "comment": comment, "set": ipset,
}  # fmt: skip
RARER = {
    **dict.fromkeys(("tcpmss", "ecn", "osf", "sctp", "dccp", "esp", "ipcomp"), "xt_protocol"),
    **dict.fromkeys(("ah", "frag", "hbh", "dst", "rt", "ipv6header", "mh", "srh", "eui64"), "xt_extension"),
    **dict.fromkeys(("u32", "bpf", "string"), "xt_program"),
    **dict.fromkeys(
        (
            "statistic", "quota", "connlimit", "connbytes", "hashlimit", "rateest", "recent", "cluster", "cpu", "nfacct",
            "limit", "time",
        ),
        "xt_counting",
    ),
    **dict.fromkeys(("owner", "socket", "rpfilter", "policy", "helper", "devgroup", "cgroup"), "xt_system"),
}  # fmt: skip
"""Matches whose tests are loaded when first met: the module of each."""


def tester(name: str) -> Test | None:
    """The function that tests one match."""
    if name in RARER:
        return cast(Test, import_module(f".{RARER[name]}", __package__).TESTS[name])
    return TESTS.get(name)


def match(state: State, expression: XtMatch) -> Outcome:
    """Whether the packet passes one match; a match that is not understood is a doubt."""
    test = tester(expression.name)
    if test is None:
        return Unknown(f"match {expression.name} is not modelled")
    try:
        return test(state, expression)
    except (struct.error, LookupError, ValueError):
        return Unknown(f"match {expression.name} revision {expression.revision} has an unexpected layout")
