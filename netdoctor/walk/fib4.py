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
        for route in sorted(routes, key=lambda one: (-one.table, -one.tos, one.priority)):
            if route.tos and route.tos != query.tos & LEGACY_TOS:
                continue
            if route.type == "throw":
                skipped.append(route)
                return ()
            if route.type in ERRORS:
                return (Way(route, None),)
            good = [hop for hop in route.next_hops if _alive(view, key, hop) and _leads_to(view, key, hop, query)]
            if good or (not route.next_hops and route.type != "unicast"):
                return () if suppressed(view, key, rule, route) else _ways(view, key, route, good, routes, query)
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
    """fib_select_default: default routes of the same tos and metric take turns by whether their gateway answers."""
    if first.hop is None or not first.hop.gateway:
        return (first,)
    route = first.route
    others = [
        Way(other, other.next_hops[0])
        for other in leaf
        if other != route and other.type == "unicast" and other.scope == route.scope
        and (other.tos, other.priority) == (route.tos, route.priority)
        and other.next_hops and other.next_hops[0].gateway and "dead" not in other.next_hops[0].flags
    ]  # fmt: skip
    return (first, *others)
