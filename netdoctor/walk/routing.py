"""Route lookup as the kernel does it: policy rules, tables, what was learned (net/core/fib_rules.c, net/ipv4, net/ipv6).

The tables themselves are searched by fib4 and fib6.
"""

from typing import NamedTuple

from netdoctor.model.network import Link, NextHop, PolicyRule, Route
from netdoctor.model.snapshot import NamespaceId
from netdoctor.walk import fib4, fib6
from netdoctor.walk.addressing import contains, is_multicast
from netdoctor.walk.packet import ICMP, ICMP6, Packet
from netdoctor.walk.tables import ERRORS, LOCAL, MAIN, TABLE_NAMES, Way, rules_in_order, tables
from netdoctor.walk.view import CannotTell, View


class Query(NamedTuple):
    """What the lookup looks at (struct flowi4/flowi6). in_device "" means a packet of our own (iif lo).

    The ports of an ICMP packet are its type and code, as the kernel's union has them.
    """

    family: int
    source: str
    destination: str
    mark: int = 0
    in_device: str = ""
    out_device: str = ""
    protocol: int = 0
    source_port: int = 0
    destination_port: int = 0
    tos: int = 0
    user_id: int = 0


class Lookup(NamedTuple):
    """The answer: type is the route's, or "none" when nothing matched.

    fell_through: policy rules that were taken but whose table had no route for this packet.
    skipped: routes that would have matched but are dead or on a link without carrier.
    ways: every way that this packet may take, when the kernel's choice cannot be told; `route` and `hop` are the first.
    """

    type: str
    route: Route | None = None
    hop: NextHop | None = None
    rule: PolicyRule | None = None
    fell_through: tuple[PolicyRule, ...] = ()
    skipped: tuple[Route, ...] = ()
    ways: tuple[Way, ...] = ()

    def by(self, way: Way) -> "Lookup":
        """The same answer by another of its ways."""
        return self._replace(type=way.route.type, route=way.route, hop=way.hop)


def query_out(packet: Packet) -> Query:
    """What is looked up for a packet of this namespace's own."""
    source_port, destination_port = packet.source_port, packet.destination_port
    if packet.protocol in (ICMP, ICMP6):
        source_port, destination_port = 0, packet.icmp_type << 8 | packet.icmp_code
    return Query(
        packet.family, packet.source, packet.destination, packet.mark, "", "", packet.protocol,
        source_port, destination_port, packet.tos, packet.user_id or 0,
    )  # fmt: skip


def lookup(view: View, key: NamespaceId, query: Query) -> Lookup:
    """Policy rules in priority order, each table by its longest prefix (fib_rules_lookup). Raises CannotTell, Lacking."""
    rules = rules_in_order(view, key, query.family)
    merged = query.family == 4 and not view.custom_rules(key)
    fell_through: list[PolicyRule] = []
    skipped: list[Route] = []
    place = 0
    while place < len(rules):
        rule = rules[place]
        place += 1
        if not _rule_matches(view, key, rule, query):
            continue
        if rule.action == "goto":
            place = next((n for n in range(place, len(rules)) if rules[n].priority == rule.goto), place)
        elif rule.action in ERRORS:
            return _on_link(query, Lookup(rule.action, None, None, rule, tuple(fell_through), tuple(skipped)))
        elif rule.action == "lookup":
            table = _vrf_table(view, key, query) if rule.l3mdev else rule.table
            ways = _search(view, key, table, query, rule, skipped, merged=merged)
            if ways:
                ways = tuple(_learned(view, key, way, query) for way in ways)
                route, hop = ways[0]
                found = Lookup(route.type, route, hop, rule, tuple(fell_through), tuple(skipped), ways)
                return _on_link(query, found)
            if table not in TABLE_NAMES:
                fell_through.append(rule)
    return _on_link(query, Lookup("none", None, None, None, tuple(fell_through), tuple(skipped)))


def _search(
    view: View, key: NamespaceId, table: int, query: Query, rule: PolicyRule, skipped: list[Route], *, merged: bool
) -> tuple[Way, ...]:
    """One rule's table. Until a namespace's first own rule IPv4's local and main tables are one trie (fib_unmerge)."""
    if query.family == 6:
        return fib6.search(view, key, table, query, rule, skipped)
    if merged and table in (LOCAL, MAIN):
        return fib4.search(view, key, (LOCAL, MAIN), query, rule, skipped) if table == MAIN else ()
    return fib4.search(view, key, (table,), query, rule, skipped)


def _on_link(query: Query, found: Lookup) -> Lookup:
    """A packet of our own bound to a device goes out there even without an IPv4 route (ip_route_output_key_hash_rcu)."""
    refused = found.type == "none" or found.type in ERRORS
    if not refused or query.family == 6 or query.in_device or not query.out_device:
        return found
    return found._replace(type="on-link")


def _learned(view: View, key: NamespaceId, way: Way, query: Query) -> Way:
    """What a redirect taught of this destination replaces the gateway (find_exception).

    A path MTU that was learned changes nothing of the way: who knows it sends less.
    """
    if way.hop is None or way.route.type != "unicast":
        return way
    for other in tables(view, key).learned.get(query.destination, ()):
        if not other.next_hops or other.next_hops[0].index != way.hop.index or other.table != way.route.table:
            continue
        learned = other.next_hops[0]
        if learned.gateway and learned.gateway not in (way.hop.gateway, query.destination):
            return Way(other, learned)
    return way


def learned_mtu(view: View, key: NamespaceId, destination: str, found: Lookup) -> int:
    """The path MTU that an ICMP error taught of this destination by this way; 0 without one."""
    if found.route is None or found.hop is None:
        return 0
    known = (
        other.mtu_bytes
        for other in tables(view, key).learned.get(destination, ())
        if other.table == found.route.table and other.next_hops and other.next_hops[0].index == found.hop.index
    )
    return min((mtu for mtu in known if mtu), default=0)


def _rule_matches(view: View, key: NamespaceId, rule: PolicyRule, query: Query) -> bool:
    """fib_rule_match; `not` inverts the whole. Raises CannotTell when it hangs on a selector that no packet shows."""
    matches = _selectors_match(view, key, rule, query)
    if matches and rule.unread:
        raise CannotTell(
            f"whether policy rule {rule.priority} matches: it looks at the {' and '.join(rule.unread)}", key
        )
    return matches != rule.invert


def _selectors_match(view: View, key: NamespaceId, rule: PolicyRule, query: Query) -> bool:
    if rule.l3mdev and not _vrf_table(view, key, query):
        return False
    if rule.in_device and rule.in_device != (query.in_device or "lo"):
        return False
    if rule.out_device and rule.out_device != query.out_device:
        return False
    if rule.fwmark is not None and (query.mark ^ rule.fwmark) & rule.fwmask:
        return False
    if rule.uids and not rule.uids[0] <= query.user_id <= rule.uids[1]:
        return False
    if rule.source and not (query.source and contains(rule.source, query.source)):
        return False
    if rule.destination and not contains(rule.destination, query.destination):
        return False
    if rule.protocol and rule.protocol != query.protocol:
        return False
    if not _traffic_class_matches(rule, query):
        return False
    return _port_matches(rule.source_ports, rule.source_port_mask, query.source_port) and _port_matches(
        rule.destination_ports, rule.destination_port_mask, query.destination_port
    )


def _traffic_class_matches(rule: PolicyRule, query: Query) -> bool:
    """fib4_rule_match and fib6_rule_match: `tos` sees three bits in IPv4 and six in IPv6, `dscp` what its mask says."""
    if rule.dscp is not None:
        return not (rule.dscp ^ query.tos >> 2) & rule.dscp_mask
    seen = query.tos & (fib4.LEGACY_TOS if query.family == 4 else 0xFC)
    return not rule.tos or rule.tos == seen


def _port_matches(ports: tuple[int, int] | None, mask: int, port: int) -> bool:
    """fib_rule_port_match: the kernel compares whatever stands there, also where the protocol has no ports."""
    if ports is None or ports == (0, 0):
        return True
    return not (ports[0] ^ port) & mask if mask else ports[0] <= port <= ports[1]


def _vrf_table(view: View, key: NamespaceId, query: Query) -> int:
    """The table of the VRF that the packet's device belongs to, 0 outside VRFs."""
    for name in (query.in_device, query.out_device):
        link = view.link(key, name) if name else None
        master = view.link(key, link.master) if link and link.master else None
        for one in (link, master):
            if one and one.vrf_table:
                return one.vrf_table
    return 0


def local_device(view: View, key: NamespaceId) -> Link | None:
    """The loopback device."""
    return next((link for link in view.links(key) if link.loopback), None)


def address_type(view: View, key: NamespaceId, address: str, device: str = "") -> str:
    """local, broadcast, multicast, unicast ... by the local table (__inet_dev_addr_type).

    device: routes of other devices do not count, so that another device's address is unicast.
    """
    if address in ("255.255.255.255", "0.0.0.0"):
        return "broadcast"
    if is_multicast(address):
        return "multicast"
    family = 6 if ":" in address else 4
    searched = (LOCAL,) if family == 6 or view.custom_rules(key) else (LOCAL, MAIN)
    routes = next(tables(view, key).covering(family, searched, address), None)
    route = max(routes, key=lambda one: one.table) if routes else None
    if route is None or route.type in ERRORS or route.type == "throw":
        return "unicast"
    if device and device not in {view.device_name(key, hop.index) for hop in route.next_hops}:
        return "unicast"
    return route.type
