"""Route lookup as the kernel does it (net/core/fib_rules.c, net/ipv4/fib_trie.c, fib_semantics.c, net/ipv6/route.c)."""

from typing import NamedTuple

from netdoctor.model.network import Address, Link, NextHop, PolicyRule, Route
from netdoctor.model.snapshot import NamespaceId
from netdoctor.walk.addressing import PREFIX_BITS, common_bits, contains, is_link_local, number, prefix
from netdoctor.walk.packet import TCP, UDP
from netdoctor.walk.view import View

LOCAL, MAIN, DEFAULT = 255, 254, 253
TABLE_NAMES = {LOCAL: "local", MAIN: "main", DEFAULT: "default"}
ERRORS = {"blackhole", "unreachable", "prohibit"}


class Query(NamedTuple):
    """What the lookup looks at (struct flowi4/flowi6). in_device "" means a packet of our own (iif lo)."""

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
    """

    type: str
    route: Route | None = None
    hop: NextHop | None = None
    rule: PolicyRule | None = None
    fell_through: tuple[PolicyRule, ...] = ()
    skipped: tuple[Route, ...] = ()


def lookup(view: View, key: NamespaceId, query: Query) -> Lookup:
    """Policy rules in priority order, then the longest prefix of the table (fib_rules_lookup, fib_table_lookup)."""
    rules = sorted((rule for rule in view.rules(key) if rule.family == query.family), key=lambda rule: rule.priority)
    fell_through: list[PolicyRule] = []
    skipped: list[Route] = []
    skip_to = -1
    for rule in rules:
        if rule.priority < skip_to or not _rule_matches(view, key, rule, query):
            continue
        if rule.action == "goto":
            skip_to = rule.goto
        elif rule.action in ERRORS:
            return Lookup(rule.action, None, None, rule, tuple(fell_through), tuple(skipped))
        elif rule.action == "lookup":
            table = _vrf_table(view, key, query) if rule.l3mdev else rule.table
            found = _table_lookup(view, key, table, query, rule, skipped)
            if found is None:
                if table not in TABLE_NAMES:
                    fell_through.append(rule)
                continue
            route, hop = _with_exception(view, key, *found, query)
            return Lookup(route.type, route, hop, rule, tuple(fell_through), tuple(skipped))
    return Lookup("none", None, None, None, tuple(fell_through), tuple(skipped))


def _with_exception(
    view: View, key: NamespaceId, route: Route, hop: NextHop | None, query: Query
) -> tuple[Route, NextHop | None]:
    """A learned redirect of this destination replaces the next hop for packets of our own (find_exception)."""
    if hop is None or query.in_device or route.type != "unicast":
        return route, hop
    for other in view.routes(key):
        if not other.cached or other.destination != f"{query.destination}/32" or not other.next_hops:
            continue
        learned = other.next_hops[0]
        if learned.index == hop.index and learned.gateway and learned.gateway != hop.gateway:
            return other, learned
    return route, hop


def _rule_matches(view: View, key: NamespaceId, rule: PolicyRule, query: Query) -> bool:
    """fib_rule_match and fib4_rule_match; `not` inverts the whole."""
    return _selectors_match(view, key, rule, query) != rule.invert


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
    if rule.tos and rule.tos != query.tos:
        return False
    if rule.protocol and rule.protocol != query.protocol:
        return False
    return _in_range(rule.source_ports, query.source_port, query) and _in_range(
        rule.destination_ports, query.destination_port, query
    )


def _in_range(ports: tuple[int, int] | None, port: int, query: Query) -> bool:
    if ports is None or ports == (0, 0):
        return True
    return query.protocol in (TCP, UDP) and ports[0] <= port <= ports[1]


def _vrf_table(view: View, key: NamespaceId, query: Query) -> int:
    """The table of the VRF that the packet's device belongs to, 0 outside VRFs."""
    for name in (query.in_device, query.out_device):
        link = view.link(key, name) if name else None
        master = view.link(key, link.master) if link and link.master else None
        for one in (link, master):
            if one and one.vrf_table:
                return one.vrf_table
    return 0


def _table_lookup(
    view: View, key: NamespaceId, table: int, query: Query, rule: PolicyRule, skipped: list[Route]
) -> tuple[Route, NextHop | None] | None:
    """The best usable route of one table, or None; `throw` is None too (the next rule is tried)."""
    candidates = [
        route
        for route in view.routes(key)
        if route.table == table
        and route.family == query.family
        and not route.cached
        and contains(route.destination, query.destination)
        and route.tos in (0, query.tos)
        and not (route.source and query.source and not contains(route.source, query.source))
    ]
    candidates.sort(key=lambda route: (-prefix(route.destination)[2], -route.tos, route.priority))
    for route in candidates:
        if route.type == "throw":
            skipped.append(route)
            return None
        if route.type not in ERRORS and _suppressed_length(rule, route):
            return None
        if not route.next_hops:
            if route.type == "unicast" and not route.next_hop_id:
                continue
            return route, None
        hop = _usable_hop(view, key, route, query)
        if hop is None:
            skipped.append(route)
            continue
        if _suppressed_group(view, key, rule, hop):
            return None
        return route, hop
    return None


def _suppressed_length(rule: PolicyRule, route: Route) -> bool:
    """fib4_rule_suppress, which only sees routes that lead somewhere: errors are returned before it."""
    limit = rule.suppress_prefix_length
    return limit is not None and prefix(route.destination)[2] <= limit


def _usable_hop(view: View, key: NamespaceId, route: Route, query: Query) -> NextHop | None:
    """The next hop that weighs most among those alive (fib_lookup_good_nhc, fib_select_multipath)."""
    usable = []
    for hop in route.next_hops:
        device = view.link(key, hop.index)
        if "dead" in hop.flags or device is None:
            continue
        if query.out_device and device.name != query.out_device and route.type == "unicast":
            continue
        if "linkdown" in hop.flags and _ignores_linkdown(view, key, route.family, device):
            continue
        usable.append(hop)
    return max(usable, key=lambda hop: hop.weight, default=None)


def _ignores_linkdown(view: View, key: NamespaceId, family: int, device: Link) -> bool:
    option = "ignore_routes_with_linkdown"
    return bool(view.conf(key, family, "all", option) or view.conf(key, family, device.name, option))


def _suppressed_group(view: View, key: NamespaceId, rule: PolicyRule, hop: NextHop) -> bool:
    if rule.suppress_group is None:
        return False
    device = view.link(key, hop.index)
    return device is not None and device.group == rule.suppress_group


def select_source(view: View, key: NamespaceId, family: int, device: int, towards: str, route: Route | None) -> str:
    """The source address the kernel gives a packet of its own: the route's, else of the device (inet_select_addr).

    "" when the namespace has none. For IPv6 a short form of RFC 6724: scope, then the device, then the longest match.
    """
    if route and route.preferred_source:
        return route.preferred_source
    usable = [one for one in view.addresses(key) if one.family == family and _usable_source(one)]
    if family == 6:
        return _select_source6(usable, device, towards)
    primary = [one for one in usable if one.scope in ("global", "link", "site") and "secondary" not in one.flags]
    here = [one for one in primary if one.index == device]
    near = [one for one in here if towards and _on_link(one, towards)]
    chosen = (near or here or primary)[:1]
    return chosen[0].local if chosen else ""


def _usable_source(one: Address) -> bool:
    return not {"tentative", "dadfailed"} & set(one.flags) or "optimistic" in one.flags


def _on_link(one: Address, address: str) -> bool:
    anchor = one.peer or one.local
    bits = PREFIX_BITS[one.family] - one.prefix_length
    return number(anchor) >> bits == number(address) >> bits


def _select_source6(usable: list[Address], device: int, towards: str) -> str:
    wanted = "link" if is_link_local(towards) else "global"

    def rank(one: Address) -> tuple[bool, bool, bool, bool, int]:
        scope = "link" if is_link_local(one.local) else one.scope
        return (
            one.local == towards,
            scope == wanted,
            "deprecated" not in one.flags,
            one.index == device,
            min(common_bits(one.local, towards), one.prefix_length) if towards else 0,
        )

    candidates = [
        one
        for one in usable
        if one.local == towards or (one.scope != "host" and (one.index == device or not is_link_local(one.local)))
    ]
    best = max(candidates, key=rank, default=None)
    return best.local if best else ""


def local_device(view: View, key: NamespaceId) -> Link | None:
    """The loopback device."""
    return next((link for link in view.links(key) if link.loopback), None)


def address_type(view: View, key: NamespaceId, address: str, device: str = "") -> str:
    """local, broadcast, multicast, unicast ... by the local table (inet_dev_addr_type).

    device: routes of other devices do not count, so that another device's address is unicast.
    """
    family = 6 if ":" in address else 4
    best: Route | None = None
    for route in view.routes(key):
        if route.table != LOCAL or route.family != family or not contains(route.destination, address):
            continue
        if best is None or prefix(route.destination)[2] > prefix(best.destination)[2]:
            best = route
    if best is None or (device and device not in {view.device_name(key, hop.index) for hop in best.next_hops}):
        return "unicast"
    return best.type


def route_text(view: View, key: NamespaceId, route: Route) -> str:
    """The route as `ip route` prints it, table included when it is not main."""
    words = [route.type] if route.type != "unicast" else []
    words.append("default" if prefix(route.destination)[2] == 0 else _short(route.destination))
    hops = route.next_hops
    for hop in hops:
        if len(hops) > 1:
            words.append("nexthop")
        if hop.gateway:
            words += ["via", hop.gateway]
        if hop.index:
            words += ["dev", view.device_name(key, hop.index)]
        if len(hops) > 1:
            words += ["weight", str(hop.weight)]
        words += [flag for flag in hop.flags if flag in ("onlink", "linkdown", "dead")]
    if route.table != MAIN:
        words += ["table", TABLE_NAMES.get(route.table, str(route.table))]
    if route.protocol not in ("boot",):
        words += ["proto", route.protocol]
    if route.scope != "global":
        words += ["scope", route.scope]
    if route.preferred_source:
        words += ["src", route.preferred_source]
    if route.priority:
        words += ["metric", str(route.priority)]
    if route.cached:
        words.append("cache <redirected>")
    return " ".join(words)


def _short(destination: str) -> str:
    return destination.removesuffix("/32") if ":" not in destination else destination.removesuffix("/128")


def rule_text(rule: PolicyRule) -> str:
    """The policy rule as `ip rule` prints it."""
    words = [f"{rule.priority}:"] + (["not"] if rule.invert else []) + ["from", rule.source or "all"]
    if rule.destination:
        words += ["to", rule.destination]
    if rule.fwmark is not None:
        mask = "" if rule.fwmask == 0xFFFFFFFF else f"/0x{rule.fwmask:x}"
        words += ["fwmark", f"0x{rule.fwmark:x}{mask}"]
    for word, value in (("iif", rule.in_device), ("oif", rule.out_device)):
        if value:
            words += [word, value]
    if rule.uids:
        words += ["uidrange", f"{rule.uids[0]}-{rule.uids[1]}"]
    if rule.protocol:
        words += ["ipproto", {TCP: "tcp", UDP: "udp", 1: "icmp"}.get(rule.protocol, str(rule.protocol))]
    for word, ports in (("sport", rule.source_ports), ("dport", rule.destination_ports)):
        if ports:
            words += [word, str(ports[0]) if ports[0] == ports[1] else f"{ports[0]}-{ports[1]}"]
    if rule.action == "lookup":
        words += ["lookup", "[l3mdev-table]" if rule.l3mdev else TABLE_NAMES.get(rule.table, str(rule.table))]
    elif rule.action == "goto":
        words += ["goto", str(rule.goto)]
    else:
        words.append(rule.action)
    if rule.suppress_prefix_length is not None:
        words += ["suppress_prefixlength", str(rule.suppress_prefix_length)]
    return " ".join(words)
