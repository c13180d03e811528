"""The set match against ipsets as they were read (linux/netfilter/xt_set.h, ipset(8))."""

import struct
from ipaddress import ip_address, ip_network

from netdoctor.model.expression import XtMatch
from netdoctor.model.firewall import IpSet
from netdoctor.model.unknown import Unknown
from netdoctor.walk.packet import PROTOCOL_NAMES, Packet

from .state import Outcome, State

INVERT = 1


def ipset(state: State, match: XtMatch) -> Outcome:
    """struct xt_set_info: index, dimensions, flags (1 inverts, bit n: dimension n is the source's)."""
    index, dimensions, flags = struct.unpack_from("=H2B", match.info)
    sets = state.base.ruleset.ipsets
    if isinstance(sets, Unknown):
        return Unknown(f"ipset {index} was not read")
    found = next((each for each in sets if each.index == index), None)
    if found is None or isinstance(found.members, Unknown):
        return Unknown(f"ipset {found.name if found else index} was not read")
    if match.revision >= 3 and any(match.info[8:40]):
        return Unknown("packet and byte counts of ipset members are not modelled")
    hit = holds(found, state.packet, tuple(bool(flags >> place & 1) for place in range(1, dimensions + 1)))
    return hit if isinstance(hit, Unknown) else hit != bool(flags & INVERT)


def holds(found: IpSet, packet: Packet, from_source: tuple[bool, ...]) -> bool | Unknown:
    """Whether the set has a member for the packet; a matching nomatch member wins."""
    members = found.members
    if isinstance(members, Unknown):
        return members
    kinds = found.type.partition(":")[2].split(",")
    if found.type.startswith("list:"):
        return Unknown(f"ipset {found.name} is a list of sets")
    if any(kind not in ("ip", "net", "port", "mac", "mark", "iface") for kind in kinds):
        return Unknown(f"ipset type {found.type} is not modelled")
    if found.family and (found.family == "ip") != (packet.family == 4):
        return False
    sides = from_source + (False,) * len(kinds)
    hit = False
    for member in members:
        parts = member.removeprefix("!").split(",")
        if all(_part_fits(kind, part, packet, side) for kind, part, side in zip(kinds, parts, sides, strict=False)):
            if member.startswith("!"):
                return False
            hit = True
    return hit


def _part_fits(kind: str, part: str, packet: Packet, source: bool) -> bool:
    match kind:
        case "ip" | "net":
            return _address_fits(part, packet.source if source else packet.destination)
        case "port":
            return _port_fits(part, packet, packet.source_port if source else packet.destination_port)
        case "mac":
            return part.lower() == (packet.source_mac if source else packet.destination_mac).lower()
        case "mark":
            return int(part, 0) == packet.mark
    return part == (packet.in_device if source else packet.out_device)


def _address_fits(part: str, address: str) -> bool:
    if "-" in part:
        low, high = part.split("-")
        return int(ip_address(low)) <= int(ip_address(address)) <= int(ip_address(high))
    return ip_address(address) in ip_network(part, strict=False)


def _port_fits(part: str, packet: Packet, port: int) -> bool:
    """ "tcp:80", "80" (of a bitmap) or "icmp:8/0"."""
    name, _, text = part.rpartition(":")
    if name and name not in (PROTOCOL_NAMES.get(packet.protocol, ""), str(packet.protocol)):
        return False
    if "/" in text:
        return text == f"{packet.icmp_type}/{packet.icmp_code}"
    low, _, high = text.partition("-")
    return int(low) <= port <= int(high or low)
