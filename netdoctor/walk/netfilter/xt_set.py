"""The set match against ipsets as they were read (xt_set.c and ipset/ip_set_*.c in net/netfilter, ipset(8))."""

import struct
from itertools import product

from netdoctor.model.expression import XtMatch
from netdoctor.model.firewall import IpSet
from netdoctor.model.unknown import Unknown
from netdoctor.walk.addressing import network_of
from netdoctor.walk.packet import ICMP, ICMP6, TCP, UDP, Packet

from .state import Outcome, State

INVERT, RETURN_NOMATCH = 1, 128
UDPLITE, SCTP = 136, 132
PORT_PROTOCOLS = (TCP, UDP, UDPLITE, SCTP)
NAMES = {ICMP: "icmp", TCP: "tcp", UDP: "udp", ICMP6: "icmpv6", SCTP: "sctp"}
KINDS = frozenset(("ip", "net", "port", "mac", "mark", "iface"))
WILDCARD = " wildcard"


def set_info(match: XtMatch) -> tuple[int, int, int]:
    """The set's index, how many dimensions are asked, and flags (1 inverts, bit n: dimension n is the source's)."""
    if not match.revision:
        return struct.unpack_from("=H26x2B", match.info)
    return struct.unpack_from("=H2B", match.info)


def ipset(state: State, match: XtMatch) -> Outcome:
    """struct xt_set_info_match_v0 to v4."""
    index, dimensions, flags = set_info(match)
    more = struct.unpack_from("=I", match.info, 40)[0] if match.revision >= 3 else flags
    hit = tests_true(state, index, dimensions, flags, nomatch=bool((flags | more) & RETURN_NOMATCH))
    if isinstance(hit, Unknown):
        return hit
    if hit and match.revision >= 3 and any(match.info[8:40]):
        return Unknown("packet and byte counts of ipset members are not modelled")
    return hit != bool(flags & INVERT)


def tests_true(state: State, index: int, dimensions: int, flags: int, *, nomatch: bool = False) -> bool | Unknown:
    """Whether an ipset takes the packet, or with `nomatch` makes an exception of it (ip_set_test)."""
    sets = state.base.ruleset.ipsets
    if isinstance(sets, Unknown):
        return Unknown(f"ipset {index} was not read")
    found = next((each for each in sets if each.index == index), None)
    if found is None or isinstance(found.members, Unknown):
        return Unknown(f"ipset {found.name if found else index} was not read")
    if why := state.doubt(ipset_key(index)):
        return why
    if found.type.startswith("list:"):
        by_name = {each.name: each.index for each in sets}
        answers = [
            tests_true(state, by_name.get(name, -1), dimensions, flags, nomatch=nomatch) for name in found.members
        ]
        doubt = next((answer for answer in answers if isinstance(answer, Unknown)), False)
        return True if True in answers else doubt
    from_source = tuple(bool(flags >> place & 1) for place in range(1, dimensions + 1))
    return holds(found, state, from_source, excluded=nomatch)


def ipset_key(index: int) -> str:
    """What stands for an ipset among what rules have made uncertain."""
    return f"ipset {index}"


def holds(found: IpSet, state: State, from_source: tuple[bool, ...], *, excluded: bool) -> bool | Unknown:
    """Whether the set takes the packet (excluded: whether a nomatch member does); the longest prefix decides.

    Fewer dimensions than the set has, or another family, is a miss.
    """
    packet, members = state.packet, found.members
    kinds = found.type.partition(":")[2].split(",")
    if isinstance(members, Unknown):
        return members
    if not KINDS.issuperset(kinds):
        return Unknown(f"ipset type {found.type} is not modelled")
    other_family = found.family and (found.family == "ip") != (packet.family == 4)
    if not members or other_family or len(from_source) < len(kinds):
        return False
    parts: list[list[str]] = []
    for kind, source in zip(kinds, from_source, strict=False):
        part = _candidates(kind, state, found, source=source) if kind != "iface" else []
        if isinstance(part, Unknown):
            return part
        parts.append(part)
    if kinds[-1] == "iface":
        device = packet.in_device if from_source[len(kinds) - 1] else packet.out_device
        return _on_device(parts[0], members, device, excluded=excluded)
    if found.type == "bitmap:ip,mac":
        parts[1] = [*parts[1], ""]
    return _first_decides(parts, frozenset(members), excluded=excluded)


def _first_decides(parts: list[list[str]], members: frozenset[str], *, excluded: bool) -> bool:
    for combination in product(*parts):
        text = ",".join(part for part in combination if part)
        if text in members or f"!{text}" in members:
            return (text not in members) == excluded
    return False


def _on_device(prefixes: list[str], members: tuple[str, ...], device: str, *, excluded: bool) -> bool:
    """hash:net,iface: only members of the longest prefix are looked at, whatever their devices."""
    devices: dict[str, list[tuple[str, bool]]] = {}
    for member in members:
        text, _, name = member.removeprefix("!").rpartition(",")
        devices.setdefault(text, []).append((name, member.startswith("!")))
    for text in prefixes:
        for name, nomatch in devices.get(text, ()):
            if device and (
                device.startswith(name.removesuffix(WILDCARD)) if name.endswith(WILDCARD) else name == device
            ):
                return nomatch == excluded
        if text in devices:
            return False
    return False


def _candidates(kind: str, state: State, found: IpSet, *, source: bool) -> list[str] | Unknown:
    """How a member that takes the packet may read in one dimension, the best first."""
    packet, field = state.packet, "source" if source else "destination"
    match kind:
        case "ip" | "net":
            address = packet.source if source else packet.destination
            lengths = range(32 if packet.family == 4 else 128, -1, -1)
            return state.doubt(field) or [address, *(network_of(address, length) for length in lengths)]
        case "port":
            return state.doubt(f"{field}_port") or _port(
                packet, packet.source_port if source else packet.destination_port, bare=found.type.startswith("bitmap:")
            )
        case "mac":
            mac = packet.source_mac if source else packet.destination_mac
            if not packet.in_device:
                return []
            return [mac.lower()] if mac else Unknown("the frame's MAC addresses are not known")
    return state.doubt("mark") or [f"{packet.mark & found.mark_mask:#x}"]


def _port(packet: Packet, port: int, *, bare: bool) -> list[str]:
    """ "tcp:80", "icmp:8/0", "47:0"; in a bitmap the number alone, and only of TCP and UDP."""
    if bare:
        return [str(port)] if packet.protocol in (TCP, UDP) else []
    name = NAMES.get(packet.protocol, str(packet.protocol))
    if packet.protocol in (ICMP, ICMP6):
        return [f"{name}:{packet.icmp_type}/{packet.icmp_code}"]
    return [f"{name}:{port if packet.protocol in PORT_PROTOCOLS else 0}"]
