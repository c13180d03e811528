"""xtables matches, read from the kernel's own structs by name and revision (linux/netfilter/xt_*.h)."""

import struct
from collections.abc import Callable
from ipaddress import ip_address

from netdoctor.model.expression import XtMatch
from netdoctor.model.unknown import Unknown
from netdoctor.walk.packet import ICMP, ICMP6, TCP, UDP, Packet

from .headers import SYN, mac_bytes, packed
from .loads import ANY_ADDRESS, ROUTE_TYPES, reverse_path
from .metadata import packet_type
from .state import Outcome, State
from .statements import transparent_socket
from .xt_conntrack import connmark, conntrack, conntrack_state
from .xt_header import device_matches
from .xt_set import ipset

Test = Callable[[State, XtMatch], Outcome]

UNFORESEEABLE = {
    "limit": "whether the rate limit has room for the packet",
    "hashlimit": "whether the rate limit has room for the packet",
    "recent": "whether the address was seen recently",
    "statistic": "which packets the statistic takes",
    "quota": "whether the quota is used up",
    "connlimit": "how many connections there will be",
    "connbytes": "how much the connection will have carried",
    "time": "at what time the packet comes",
    "rateest": "how fast packets come",
    "cpu": "on which CPU the packet comes",
    "cluster": "which node takes the packet",
}


def within(value: int, low: int, high: int) -> bool:
    return low <= value <= high


def ports_of(packet: Packet) -> tuple[int, int]:
    return packet.source_port, packet.destination_port


def tcp(state: State, match: XtMatch) -> Outcome:
    """struct xt_tcp. Options are not modelled: a test of one is a doubt."""
    low_s, high_s, low_d, high_d, option, mask, want, invert = struct.unpack_from("=4H4B", match.info)
    packet = state.packet
    if packet.protocol != TCP or not _ports_fit(packet, (low_s, high_s, low_d, high_d), invert):
        return False
    flags = packet.tcp_flags or SYN
    if ((flags & mask) == want) == bool(invert & 4):
        return False
    return Unknown(f"TCP option {option} is not modelled") if option else True


def udp(state: State, match: XtMatch) -> Outcome:
    low_s, high_s, low_d, high_d, invert = struct.unpack_from("=4HB", match.info)
    return state.packet.protocol == UDP and _ports_fit(state.packet, (low_s, high_s, low_d, high_d), invert)


def _ports_fit(packet: Packet, ranges: tuple[int, int, int, int], invert: int) -> bool:
    source, destination = ports_of(packet)
    low_s, high_s, low_d, high_d = ranges
    source_fits = within(source, low_s, high_s) != bool(invert & 1)
    return source_fits and within(destination, low_d, high_d) != bool(invert & 2)


def icmp(state: State, match: XtMatch) -> Outcome:
    """struct ipt_icmp and ip6t_icmp; type 255 is any."""
    kind, low, high, invert = struct.unpack_from("=4B", match.info)
    packet = state.packet
    if packet.protocol != (ICMP if match.name == "icmp" else ICMP6):
        return False
    hit = kind == 255 or (packet.icmp_type == kind and within(packet.icmp_code, low, high))
    return hit != bool(invert & 1)


def multiport(state: State, match: XtMatch) -> Outcome:
    """struct xt_multiport_v1: flags 0 source, 1 destination, 2 either; a flagged port starts a range."""
    side, count = struct.unpack_from("=2B", match.info)
    ports, starts = struct.unpack_from("=15H", match.info, 2), struct.unpack_from("=15B", match.info, 32)
    if state.packet.protocol not in (TCP, UDP, 132, 33, 136):
        return False
    source, destination = ports_of(state.packet)
    asked = ((source,), (destination,), (source, destination))[side]
    hit, index = False, 0
    while index < count:
        last = index + 1 if starts[index] else index
        hit = hit or any(within(port, ports[index], ports[last]) for port in asked)
        index = last + 1
    return hit != bool(match.info[47])


def mark(state: State, match: XtMatch) -> Outcome:
    want, mask, invert = struct.unpack_from("=2IB", match.info)
    return state.doubt("mark") or bool((state.packet.mark & mask) == want) != bool(invert)


LOOKED_UP = sum(1 << ROUTE_TYPES.index(kind) for kind in ("local", "anycast", "unreachable", "prohibit"))
"""The types that addr_type6 asks routing for; the others it tells by the address itself, own addresses included."""


def addrtype(state: State, match: XtMatch) -> Outcome:
    """struct xt_addrtype_info_v1: bit sets of route types; 1 and 2 invert, 4 and 8 limit to the in or out device."""
    source, destination, flags = struct.unpack_from("=2HI", match.info)
    if match.revision == 0:
        flags = bool(flags) | bool(struct.unpack_from("=I", match.info, 8)[0]) << 1
    packet = state.packet
    device = packet.in_device if flags & 4 else packet.out_device if flags & 8 else ""
    doubt: Unknown | None = None
    for types, address, invert in ((source, packet.source, flags & 1), (destination, packet.destination, flags & 2)):
        kind = state.facts.address_type(address, device) if types else "unspec"
        if packet.family == 6 and not types & LOOKED_UP:
            kind = _plain_type(address)
        if isinstance(kind, Unknown):
            doubt = kind
        elif types and bool(types >> ROUTE_TYPES.index(kind) & 1) == bool(invert):
            return False
    return doubt or True


def _plain_type(address: str) -> str:
    found = ip_address(address)
    return "multicast" if found.is_multicast else "unspec" if found.is_unspecified else "unicast"


def iprange(state: State, match: XtMatch) -> Outcome:
    """struct xt_iprange_mtinfo: flags 1 source, 2 destination, 16 and 32 their inversions."""
    flags, packet = match.info[64], state.packet
    for bit, address, offset in ((1, packet.source, 0), (2, packet.destination, 32)):
        value = packed(address)
        low, high = (match.info[start : start + len(value)] for start in (offset, offset + 16))
        if flags & bit and (low <= value <= high) == bool(flags & bit << 4):
            return False
    return True


def mac(state: State, match: XtMatch) -> Outcome:
    """struct xt_mac_info. Packets made here have no link header and never match, inverted or not."""
    packet = state.packet
    if not packet.in_device:
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
    if not state.packet.in_device and ip_address(state.packet.destination).is_multicast:
        return (kind == 2) != bool(invert)
    return (bits.value[0] == kind) != bool(invert) if bits.known else Unknown(bits.why)


def owner(state: State, match: XtMatch) -> Outcome:
    """struct xt_owner_match_info: bits 1 uid, 2 gid, 4 whether a socket exists."""
    uid_min, uid_max, gid_min, gid_max, asked, invert = struct.unpack_from("=4I2B", match.info)
    packet = state.packet
    if packet.in_device:
        return bool(asked == invert)
    if asked & ~invert & 4 and packet.user_id is None:
        return Unknown("the packet's owner is not known")
    for bit, value, low, high in ((1, packet.user_id, uid_min, uid_max), (2, packet.group_id, gid_min, gid_max)):
        if asked & bit and value is None:
            return Unknown("the packet's owner is not known")
        if asked & bit and within(value or 0, low, high) == bool(invert & bit):
            return False
    return not (asked & 4 and invert & 4)


def socket(state: State, match: XtMatch) -> Outcome:
    """struct xt_socket_mtinfo: flag 1 asks for a transparent socket, 2 takes sockets bound to no address as well."""
    found, flags = state.facts.socket(state.packet), match.info[0] if match.revision else 0
    if found is None or isinstance(found, Unknown):
        return found or False
    if not flags & 2 and found.address in ANY_ADDRESS:
        return False
    return transparent_socket(state, state.packet) if flags & 1 else True


def rpfilter(state: State, match: XtMatch) -> Outcome:
    """struct xt_rpfilter_info: bits 1 loose, 2 valid mark, 4 accept local, 8 invert (ipt_rpfilter.c)."""
    flags, packet = match.info[0], state.packet
    invert = bool(flags & 8)
    link = state.facts.links.get(packet.in_device)
    if (link is not None and link.loopback) or packet.source == "0.0.0.0":
        return not invert
    device = reverse_path(state, packet.source, packet.mark if flags & 2 else 0)
    if isinstance(device, Unknown):
        return device
    kind = state.facts.address_type(packet.source, "")
    if isinstance(kind, Unknown):
        return kind
    accepted = kind == "unicast" or (kind == "local" and bool(flags & 4))
    return (accepted and bool(device) and (bool(flags & 1) or device == packet.in_device)) != invert


def policy(state: State, match: XtMatch) -> Outcome:
    """struct xt_policy_info: bit 4 of its flags asks that there be no IPsec."""
    ipsec = state.facts.ipsec
    flags = int.from_bytes(match.info[304:306], "little")
    if isinstance(ipsec, Unknown):
        return ipsec
    return Unknown("the packet's IPsec transforms are not compared") if ipsec else bool(flags & 4)


def comment(state: State, match: XtMatch) -> Outcome:
    return True


def unforeseeable(state: State, match: XtMatch) -> Outcome:
    return Unknown(f"{UNFORESEEABLE[match.name]} cannot be foreseen")


def statistic(state: State, match: XtMatch) -> Outcome:
    """struct xt_statistic_info: mode random with probability 1 always matches; anything else is unforeseeable."""
    mode, invert, number = struct.unpack_from("=2HI", match.info)
    always = (mode == 0 and number >= 0x80000000) or (mode == 1 and number == 0)
    return not invert if always else unforeseeable(state, match)


def quota(state: State, match: XtMatch) -> Outcome:
    """struct xt_quota_info: what is left is not told, but less than the packet's length was never enough."""
    flags, size = struct.unpack_from("=I4xQ", match.info)
    return bool(flags & 1) if size < state.packet.length_bytes else unforeseeable(state, match)


def ecn(state: State, match: XtMatch) -> Outcome:
    """struct xt_ecn_info: bit 1 the IP header's bits, 16 the ECE flag, 32 the CWR flag; the same bits invert."""
    asked, invert, bits = match.info[:3]
    packet = state.packet
    if asked & 0x30 and packet.protocol != TCP:
        return False
    tests = ((1, packet.tos & 3 == bits), (16, bool(packet.tcp_flags & 0x40)), (32, bool(packet.tcp_flags & 0x80)))
    return all(holds != bool(invert & bit) for bit, holds in tests if asked & bit)


def recent(state: State, match: XtMatch) -> Outcome:
    """struct xt_recent_mtinfo: bits 1 rcheck, 2 set, 4 update, 8 remove. Setting always matches, and is then known."""
    _, hits, kind, invert = struct.unpack_from("=2I2B", match.info)
    name = "recent " + match.info[10:211].split(b"\0")[0].decode("utf-8", "replace") + str(match.info[210])
    if kind & 2:
        state.touched_sets.add(name)
        return not invert
    if kind & 8 or hits > 1 or name not in state.touched_sets or state.in_doubt:
        return unforeseeable(state, match)
    return not invert


TESTS: dict[str, Test] = {
    "tcp": tcp, "udp": udp, "icmp": icmp, "icmp6": icmp, "multiport": multiport, "mark": mark, "connmark": connmark,
    "conntrack": conntrack, "state": conntrack_state, "addrtype": addrtype, "iprange": iprange, "mac": mac,
    "physdev": physdev, "length": length, "ttl": ttl, "hl": ttl, "dscp": dscp, "tos": dscp, "pkttype": pkttype,
    "owner": owner, "socket": socket, "rpfilter": rpfilter, "policy": policy, "comment": comment, "set": ipset,
    "statistic": statistic, "quota": quota, "recent": recent, "ecn": ecn,
    **dict.fromkeys(set(UNFORESEEABLE) - {"statistic", "quota", "recent"}, unforeseeable),
}  # fmt: skip


def match(state: State, expression: XtMatch) -> Outcome:
    """Whether the packet passes one match; a match that is not understood is a doubt."""
    test = TESTS.get(expression.name)
    if test is None:
        return Unknown(f"match {expression.name} is not modelled")
    try:
        return test(state, expression)
    except (struct.error, IndexError):
        return Unknown(f"match {expression.name} revision {expression.revision} has an unexpected layout")
