"""One IPv6 table searched (net/ipv6/route.c: fib6_table_lookup, rt6_select, find_rr_leaf, fib6_select_path)."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from netdoctor.model.network import NextHop, PolicyRule, Route
from netdoctor.model.snapshot import NamespaceId
from netdoctor.walk.addressing import is_link_local, is_loopback, is_multicast, prefix
from netdoctor.walk.tables import ERRORS, Way, neighbour_state, neighbour_valid, source_matches, suppressed, tables
from netdoctor.walk.view import CannotTell, View

if TYPE_CHECKING:
    from netdoctor.walk.routing import Query

PREFERENCES = {"low": 1, "medium": 2, "high": 3}


def search(
    view: View, key: NamespaceId, table: int, query: "Query", rule: PolicyRule, skipped: list[Route]
) -> tuple[Way, ...]:
    """What the table may answer, () for nothing; `throw` and what the rule suppresses are nothing too.

    A host (forwarding off) first leaves out gateways that are known not to answer; when nothing is left it takes them.
    """
    leaves = list(_leaves(view, key, table, query))
    host = not view.conf(key, 6, "all", "forwarding")
    for reachable in (True, False) if host else (False,):
        for routes in leaves:
            found = _select(view, key, routes, query, reachable=reachable)
            if found is None:
                continue
            if found.route.type == "throw":
                skipped.append(found.route)
                return ()
            if found.route.type in ERRORS:
                return (Way(found.route, None),)
            if _shares_cache(view, key, rule, found.route):
                why = "routes of one next-hop object share its cache"
                raise CannotTell(f"which prefix policy rule {rule.priority} sees: {why}", key)
            ways = _ways(view, key, found, query, reachable=host)
            gone = {suppressed(view, key, rule, way.route, way.hop) for way in ways}
            if len(gone) > 1:
                raise CannotTell(f"whether policy rule {rule.priority} suppresses it: that hangs on the next hop", key)
            return () if True in gone else ways
    skipped += [route for routes in leaves for route in routes if route.type == "unicast"]
    return ()


def _shares_cache(view: View, key: NamespaceId, rule: PolicyRule, route: Route) -> bool:
    """True when a rule that suppresses prefixes may see another route's: those of one next-hop object share a dst entry."""
    limit = rule.suppress_prefix_length
    if limit is None or not route.next_hop_id:
        return False
    sharing = [one for one in view.routes(key) if one.next_hop_id == route.next_hop_id]
    return len({prefix(one.destination)[2] <= limit for one in sharing}) > 1


def _leaves(view: View, key: NamespaceId, table: int, query: "Query") -> Iterator[list[Route]]:
    """The routes of each node in the order in which they are asked (fib6_node_lookup, then fib6_backtrack).

    A destination's source-specific routes come before its plain ones. Unless the search began further down, plain routes
    beside source-specific ones of which none fits are passed by; those of ::/0 never are.
    """
    begun = False
    for routes in tables(view, key).covering(6, (table,), query.destination):
        sourced = [route for route in routes if route.source]
        plain = [route for route in routes if not route.source]
        fitting = [route for route in sourced if source_matches(route, query.source)]
        place = routes[0].destination
        if sourced and not fitting and not begun and prefix(place)[2]:
            continue
        if fitting and not plain and prefix(place)[2] and tables(view, key).has_within(6, table, place):
            why = "that hangs on routes which were there once (fib6_purge_rt)"
            raise CannotTell(f"whether the source-specific routes to {place} are still found: {why}", key)
        for length in sorted({_source_length(route) for route in fitting}, reverse=True):
            yield _by_metric([route for route in fitting if _source_length(route) == length])
        if plain:
            yield _by_metric(plain)
        begun = True


def _by_metric(routes: list[Route]) -> list[Route]:
    return sorted(routes, key=lambda route: route.priority)


def _source_length(route: Route) -> int:
    return prefix(route.source)[2]


def _select(view: View, key: NamespaceId, routes: list[Route], query: "Query", *, reachable: bool) -> Way | None:
    """find_rr_leaf: the best of the lowest metric; when none of it will do, the best of all the others."""
    lowest = [route for route in routes if route.priority == routes[0].priority]
    return _best(view, key, lowest, query, reachable=reachable) or _best(
        view, key, routes[len(lowest) :], query, reachable=reachable
    )


def _best(view: View, key: NamespaceId, routes: list[Route], query: "Query", *, reachable: bool) -> Way | None:
    """The first of the highest score; a blackhole next-hop object ends the search at once."""
    best, best_score = None, -1
    for route in routes:
        if route.expires_s == 0:
            continue
        if route.next_hop_id and route.type == "blackhole":
            return Way(route, None)
        for hop in route.next_hops or (None,):
            score = _score(view, key, route, hop, query, reachable=reachable)
            if score > best_score:
                best, best_score = Way(route, hop), score
    return best


def _score(view: View, key: NamespaceId, route: Route, hop: NextHop | None, query: "Query", *, reachable: bool) -> int:
    """find_match and rt6_score_route: -1 for a next hop that will not do."""
    wanted = query.out_device or query.in_device
    device = view.link(key, hop.index) if hop else None
    if hop and (device is None or "dead" in hop.flags):
        return -1
    if hop and device and "linkdown" in hop.flags and view.conf(key, 6, device.name, "ignore_routes_with_linkdown"):
        return -1
    here = not wanted or (device is not None and device.name == wanted)
    if not here and _needs_device(query):
        return -1
    if reachable and hop and hop.gateway and neighbour_state(view, key, hop) == "failed":
        return -1
    return (2 if here else 0) | PREFERENCES.get(route.preference, 2) << 2


def _needs_device(query: "Query") -> bool:
    """RT6_LOOKUP_F_IFACE: link-local and the like, and a socket bound to a device without a source."""
    strict = is_link_local(query.destination) or is_multicast(query.destination) or is_loopback(query.destination)
    return strict or bool(query.out_device and not query.source)


def _ways(view: View, key: NamespaceId, found: Way, query: "Query", *, reachable: bool) -> tuple[Way, ...]:
    """fib6_select_path: which of several next hops a flow's hash may pick, the heaviest first."""
    route = found.route
    if len(route.next_hops) < 2:
        return (found,)
    if route.next_hop_id:
        able = [hop for hop in route.next_hops if neighbour_valid(view, key, hop)] or [route.next_hops[0]]
    else:
        able = [
            hop
            for hop in route.next_hops
            if hop == found.hop or _score(view, key, route, hop, query, reachable=reachable) >= 0
        ]
    return tuple(Way(route, hop) for hop in sorted(able, key=lambda hop: -hop.weight))
