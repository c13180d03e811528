"""One IPv4 table searched (net/ipv4/fib_trie.c fib_table_lookup, fib_semantics.c fib_select_path)."""

from typing import TYPE_CHECKING

from netdoctor.model.network import NextHop, PolicyRule, Route
from netdoctor.model.snapshot import NamespaceId
from netdoctor.walk.addressing import prefix
from netdoctor.walk.tables import ERRORS, Way, neighbour_valid, suppressed, tables
from netdoctor.walk.view import View

if TYPE_CHECKING:
    from netdoctor.walk.routing import Query

LEGACY_TOS = 0x1C
"""INET_DSCP_LEGACY_TOS_MASK: the bits of the TOS byte that IPv4 routes and rules look at."""


def search(
    view: View, key: NamespaceId, searched: tuple[int, ...], query: "Query", rule: PolicyRule, skipped: list[Route]
) -> tuple[Way, ...]:
    """What the tables, which are one trie, may answer, () for nothing; `throw` and what the rule suppresses are nothing too.

    skipped gets the routes that would have answered, were they not dead.
    """
    missed = -1
    for routes in tables(view, key).covering(4, searched, query.destination):
        if prefix(routes[0].destination)[0] == missed:
            continue
        for route in _in_order(routes):
            if route.tos and route.tos != query.tos & LEGACY_TOS:
                continue
            if route.type == "throw":
                skipped.append(route)
                return ()
            if route.type in ERRORS:
                return (Way(route, None),)
            good = [hop for hop in route.next_hops if _alive(view, key, hop) and _leads_to(view, key, hop, query)]
            if good or (not route.next_hops and route.type != "unicast"):
                return (
                    ()
                    if suppressed(view, key, rule, route, next(iter(route.next_hops), None))
                    else _ways(view, key, route, good, routes, query)
                )
            if not any(_alive(view, key, hop) for hop in route.next_hops):
                skipped.append(route)
            if route.next_hop_id:
                missed = prefix(route.destination)[0]
                break
    return ()


def _alive(view: View, key: NamespaceId, hop: NextHop) -> bool:
    """fib_lookup_good_nhc, but for the output device."""
    device = view.link(key, hop.index)
    if device is None or "dead" in hop.flags:
        return False
    return not ("linkdown" in hop.flags and view.conf_or(key, device.name, "ignore_routes_with_linkdown"))


def _leads_to(view: View, key: NamespaceId, hop: NextHop, query: "Query") -> bool:
    return not query.out_device or view.device_name(key, hop.index) == query.out_device


def _ways(
    view: View, key: NamespaceId, route: Route, good: list[NextHop], leaf: list[Route], query: "Query"
) -> tuple[Way, ...]:
    """fib_select_path: a flow's hash picks one of several next hops, the neighbours' states one of several defaults."""
    if not good:
        return (Way(route, None),)
    if query.out_device:
        return (Way(route, good[0]),)
    if len(route.next_hops) > 1:
        return tuple(Way(route, hop) for hop in _multipath(view, key, route, good))
    if prefix(route.destination)[2] == 0 and route.type == "unicast":
        return _defaults(view, key, Way(route, good[0]), leaf, query)
    return (Way(route, good[0]),)


def _multipath(view: View, key: NamespaceId, route: Route, good: list[NextHop]) -> list[NextHop]:
    """fib_select_multipath and nexthop_select_path: which may be taken, the heaviest first.

    A group of next-hop objects always asks the neighbours, plain next hops only when the sysctl says so.
    """
    if route.next_hop_id:
        able = [hop for hop in route.next_hops if neighbour_valid(view, key, hop)] or [route.next_hops[0]]
    elif view.number(key, "net/ipv4/fib_multipath_use_neigh"):
        able = [hop for hop in good if neighbour_valid(view, key, hop)] or good[:1]
    else:
        able = good
    return sorted(able, key=lambda hop: -hop.weight)


def _defaults(view: View, key: NamespaceId, first: Way, leaf: list[Route], query: "Query") -> tuple[Way, ...]:
    """fib_select_default: default routes of one metric, and those of tos 0 after one of this tos, take turns.

    Which is taken hangs on whether their gateways answer, and on which was taken before.
    """
    ways: list[Way] = []
    last_tos, last_priority = 0, first.route.priority
    for route in _in_order(leaf):
        if route.table != first.route.table or (route.tos and route.tos != query.tos & LEGACY_TOS):
            continue
        if route.priority > last_priority and route.tos == last_tos:
            if last_tos:
                continue
            break
        if route.next_hops and all("dead" in hop.flags for hop in route.next_hops):
            continue
        last_tos, last_priority = route.tos, route.priority
        if route.type != "unicast" or route.scope != first.route.scope:
            continue
        if not route.next_hops or not route.next_hops[0].gateway:
            continue
        if not ways and route is not first.route:
            break
        ways.append(first if route is first.route else Way(route, route.next_hops[0]))
    return tuple(ways) or (first,)


def _in_order(leaf: list[Route]) -> list[Route]:
    """The kernel's order of what shares a prefix: table, tos, metric (fib_find_alias)."""
    return sorted(leaf, key=lambda route: (-route.table, -route.tos, route.priority))
