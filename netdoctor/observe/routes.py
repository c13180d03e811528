"""RTM_GETROUTE, _GETRULE, _GETNEXTHOP -> Routes and PolicyRules. Numbers: linux/{rtnetlink,fib_rules,nexthop}.h."""

import socket
import struct

import msgspec

from netdoctor.model.network import Family, NextHop, PolicyRule, Route
from netdoctor.model.unknown import Unknown
from netdoctor.netlink.wire import Attributes, Reader, address, attribute, attributes, each, text, u8, u16, u32

RTM_GETROUTE, RTM_GETRULE, RTM_GETNEXTHOP = 26, 34, 106
RTMSG = struct.Struct("=BBBBBBBBI")
AF_INET, AF_INET6 = 2, 10
RTM_F_CLONED, RTM_F_LOOKUP_TABLE = 0x200, 0x1000
LOCAL = 255
STANDARD_RULES = ((0, LOCAL), (32766, 254), (32767, 253))
TYPES = (
    "unspec", "unicast", "local", "broadcast", "anycast", "multicast",
    "blackhole", "unreachable", "prohibit", "throw", "nat",
)  # fmt: skip
SCOPES = {0: "global", 200: "site", 253: "link", 254: "host", 255: "nowhere"}
PROTOCOLS = {
    0: "unspec",
    1: "redirect",
    2: "kernel",
    3: "boot",
    4: "static",
    9: "ra",
    16: "dhcp",
    186: "bgp",
    12: "bird",
}
HOP_FLAGS = ((1, "dead"), (2, "pervasive"), (4, "onlink"), (16, "linkdown"))
RULE_ACTIONS = {1: "lookup", 2: "goto", 3: "nop", 6: "blackhole", 7: "unreachable", 8: "prohibit"}
UNREAD_SELECTORS = ((12, "tunnel id"), (26, "flow label"))
PREFERENCES = {0: "medium", 1: "high", 3: "low"}


def read_routes(reader: Reader) -> tuple[Route, ...]:
    """Every route of every table, both families, without cached clones; next-hop objects resolved."""
    objects = _next_hop_objects(reader)
    messages = [
        message
        for family in (AF_INET, AF_INET6)
        for message in reader.dump(RTM_GETROUTE, RTMSG.pack(family, 0, 0, 0, 0, 0, 0, 0, 0))
    ]
    plain = [_route(message, objects) for message in messages if not RTMSG.unpack_from(message)[8] & RTM_F_CLONED]
    return (*plain, *_read_exceptions(reader))


def _read_exceptions(reader: Reader) -> list[Route]:
    """What redirects and path MTU discovery taught this namespace (fnhe_dump_bucket, rt6_nh_dump_exceptions)."""
    return [
        msgspec.structs.replace(_route(message, {}), cached=True)
        for family in (AF_INET, AF_INET6)
        for message in reader.dump(RTM_GETROUTE, RTMSG.pack(family, 0, 0, 0, 0, 0, 0, 0, RTM_F_CLONED))
        if RTMSG.unpack_from(message)[8] & RTM_F_CLONED
    ]


def _route(message: memoryview, objects: dict[int, tuple[str, tuple[NextHop, ...]]]) -> Route:
    family_number, dst_len, src_len, tos, table, protocol, scope, kind, flags = RTMSG.unpack_from(message)
    family: Family = 4 if family_number == AF_INET else 6
    found = attributes(message[12:])
    metrics = attributes(found[8]) if 8 in found else {}
    name = TYPES[kind] if kind < len(TYPES) else str(kind)
    hops = _hops(found, flags)
    if 30 in found and u32(found[30]) in objects:
        object_type, hops = objects[u32(found[30])]
        name = object_type or name
    return Route(
        family=family,
        table=u32(found[15]) if 15 in found else table,
        destination=_prefix(found.get(1), dst_len, family),
        type=name,
        priority=u32(found[6]) if 6 in found else 0,
        tos=tos,
        protocol=PROTOCOLS.get(protocol, str(protocol)),
        scope=SCOPES.get(scope, str(scope)),
        preferred_source=address(found[7]) if 7 in found else "",
        source=_prefix(found.get(2), src_len, family) if src_len else "",
        next_hops=hops,
        next_hop_id=u32(found[30]) if 30 in found else 0,
        mtu_bytes=u32(metrics[2]) if 2 in metrics else 0,
        hop_limit=u32(metrics[10]) if 10 in metrics else 0,
        preference=PREFERENCES.get(u8(found[20]), "") if 20 in found else "",
        expires_s=_expires(found),
    )


def _hops(found: Attributes, flags: int) -> tuple[NextHop, ...]:
    if 9 in found:
        return tuple(_multipath(found[9]))
    if 4 not in found and 5 not in found and 18 not in found:
        return ()
    return (NextHop(index=u32(found[4]) if 4 in found else 0, gateway=_gateway(found), flags=_hop_flags(flags)),)


def _multipath(value: memoryview) -> list[NextHop]:
    hops, offset = [], 0
    while offset + 8 <= len(value):
        length, flags, weight, index = struct.unpack_from("=HBBi", value, offset)
        if length < 8:
            break
        found = attributes(value[offset + 8 : offset + length])
        hops.append(NextHop(index=index, gateway=_gateway(found), weight=weight + 1, flags=_hop_flags(flags)))
        offset += (length + 3) & ~3
    return hops


def _gateway(found: Attributes) -> str:
    """RTA_GATEWAY, or RTA_VIA {family, address} for an IPv6 gateway of an IPv4 route."""
    if 5 in found:
        return address(found[5])
    return address(found[18][2:]) if 18 in found else ""


def _hop_flags(flags: int) -> tuple[str, ...]:
    return tuple(name for bit, name in HOP_FLAGS if flags & bit)


def _expires(found: Attributes) -> int | None:
    """RTA_CACHEINFO.rta_expires in clock ticks of 10 ms: 0 is never, less is over."""
    if 12 not in found:
        return None
    ticks: int = struct.unpack_from("=i", found[12], 8)[0]
    return None if ticks == 0 else max(ticks // 100, 1) if ticks > 0 else 0


def _prefix(value: memoryview | None, length: int, family: Family) -> str:
    if value is None:
        return "0.0.0.0/0" if family == 4 and not length else f"::/{length}" if family == 6 else f"0.0.0.0/{length}"
    return f"{address(value)}/{length}"


def _next_hop_objects(reader: Reader) -> dict[int, tuple[str, tuple[NextHop, ...]]]:
    """id -> (route type it forces: "blackhole" or "", its next hops); groups are resolved to their members."""
    try:
        messages = reader.dump(RTM_GETNEXTHOP, struct.pack("=BBBBI", 0, 0, 0, 0, 0))
    except OSError:
        return {}
    plain: dict[int, tuple[str, tuple[NextHop, ...]]] = {}
    groups: dict[int, list[tuple[int, int]]] = {}
    for message in messages:
        flags = u32(message[4:8])
        found = attributes(message[8:])
        number = u32(found[1])
        if 2 in found:
            groups[number] = [(u32(found[2][i : i + 4]), u8(found[2][i + 4 :]) + 1) for i in range(0, len(found[2]), 8)]
        elif 4 in found:
            plain[number] = ("blackhole", ())
        else:
            hop = NextHop(
                index=u32(found[5]) if 5 in found else 0,
                gateway=address(found[6]) if 6 in found else "",
                flags=_hop_flags(flags),
            )
            plain[number] = ("", (hop,))
    for number, members in groups.items():
        hops = [
            NextHop(index=hop.index, gateway=hop.gateway, weight=weight, flags=hop.flags)
            for member, weight in members
            for hop in plain.get(member, ("", ()))[1]
        ]
        plain[number] = ("", tuple(hops))
    return plain


def read_rules(reader: Reader) -> tuple[PolicyRule, ...]:
    """Every policy rule of both families, in priority order."""
    return tuple(
        _rule(message)
        for family in (AF_INET, AF_INET6)
        for message in reader.dump(RTM_GETRULE, RTMSG.pack(family, 0, 0, 0, 0, 0, 0, 0, 0))
    )


def read_custom_rules(reader: Reader, rules: tuple[PolicyRule, ...], routes: tuple[Route, ...]) -> bool | Unknown:
    """True when IPv4 has or once had policy rules of its own (fib_has_custom_rules, which nothing prints).

    Until then local and main are one trie, and the kernel names main as the table of an own address.
    """
    if [rule for rule in rules if rule.family == 4] != [
        PolicyRule(family=4, priority=priority, table=table) for priority, table in STANDARD_RULES
    ]:
        return True
    own = (one for one in routes if one.type == "local" and one.table == LOCAL and one.destination.endswith("/32"))
    asked = next((one.destination.removesuffix("/32") for one in own), "")
    if not asked:
        return Unknown("no own address to ask the kernel about")
    body = RTMSG.pack(AF_INET, 32, 0, 0, 0, 0, 0, 0, RTM_F_LOOKUP_TABLE)
    answer = reader.get(RTM_GETROUTE, body + attribute(1, socket.inet_aton(asked)))
    return u32(attributes(answer[12:])[15]) == LOCAL


def _rule(message: memoryview) -> PolicyRule:
    family_number, dst_len, src_len, tos, table, _, _, action, flags = RTMSG.unpack_from(message)
    family: Family = 4 if family_number == AF_INET else 6
    found = dict(each(message[12:]))
    suppress = u32(found[14]) if 14 in found else 0xFFFFFFFF
    suppress_group = u32(found[13]) if 13 in found else 0xFFFFFFFF
    return PolicyRule(
        family=family,
        priority=u32(found[6]) if 6 in found else 0,
        action=RULE_ACTIONS.get(action, str(action)),
        table=u32(found[15]) if 15 in found else table,
        source=_prefix(found.get(2), src_len, family) if src_len else "",
        destination=_prefix(found.get(1), dst_len, family) if dst_len else "",
        in_device=text(found[3]) if 3 in found else "",
        out_device=text(found[17]) if 17 in found else "",
        fwmark=u32(found[10]) if 10 in found else None,
        fwmask=u32(found[16]) if 16 in found else 0xFFFFFFFF,
        tos=tos,
        protocol=u8(found[22]) if 22 in found else 0,
        source_ports=_ports(found.get(23)),
        destination_ports=_ports(found.get(24)),
        uids=_uids(found.get(20)),
        suppress_prefix_length=suppress if suppress != 0xFFFFFFFF else None,
        suppress_group=suppress_group if suppress_group != 0xFFFFFFFF else None,
        goto=u32(found[4]) if 4 in found else 0,
        invert=bool(flags & 2),
        l3mdev=19 in found and u8(found[19]) != 0,
        dscp=u8(found[25]) if 25 in found else None,
        dscp_mask=u8(found[30]) if 30 in found else 0x3F,
        source_port_mask=_port_mask(found.get(28), found.get(23)),
        destination_port_mask=_port_mask(found.get(29), found.get(24)),
        unread=tuple(name for number, name in UNREAD_SELECTORS if number in found),
    )


def _port_mask(mask: memoryview | None, ports: memoryview | None) -> int:
    """FRA_SPORT_MASK, FRA_DPORT_MASK: the kernel prints a full mask with a single port, which says no more than the range."""
    if mask is None or ports is None or u16(ports) != u16(ports[2:]):
        return 0
    return 0 if u16(mask) == 0xFFFF else u16(mask)


def _ports(value: memoryview | None) -> tuple[int, int] | None:
    return None if value is None else (u16(value), u16(value[2:]))


def _uids(value: memoryview | None) -> tuple[int, int] | None:
    """FRA_UID_RANGE; the whole range is what the kernel prints for a rule that does not look at it."""
    if value is None:
        return None
    low, high = u32(value), u32(value[4:])
    return None if (low, high) == (0, 0xFFFFFFFF) else (low, high)
