"""`effect(change, snapshot)`: the snapshot as it would be observed after the change. Pure.

What was never read stays unread: an edit of unread rules or routes leaves them Unknown.
"""

from collections.abc import Iterable
from typing import assert_never

from netdoctor.model.change import (
    AddAddress,
    AddChain,
    AddFdbEntry,
    AddPolicyRule,
    AddQdisc,
    AddRoute,
    AddXfrmPolicy,
    Change,
    DeleteAddress,
    DeleteChain,
    DeleteFdbEntry,
    DeleteNeighbour,
    DeletePolicyRule,
    DeleteQdisc,
    DeleteRoute,
    DeleteRule,
    DeleteXfrmPolicy,
    FlushRouteCache,
    InsertRule,
    ReplaceRule,
    SetBridge,
    SetBridgePort,
    SetChainPolicy,
    SetLink,
    SetNeighbour,
    SetSysctl,
)
from netdoctor.model.network import FdbEntry, Neighbour, Qdisc, Route
from netdoctor.model.snapshot import Namespace, Snapshot
from netdoctor.model.unknown import Unknown

from . import addressing, link_effect, ruleset_effect, sysctl_effect
from .seen import edited, known, link_named, replace, with_link, with_routes

OnLink = (
    SetSysctl
    | SetLink
    | AddAddress
    | DeleteAddress
    | SetBridgePort
    | SetBridge
    | SetNeighbour
    | DeleteNeighbour
    | AddFdbEntry
    | DeleteFdbEntry
    | AddQdisc
    | DeleteQdisc
    | FlushRouteCache
)


def effect(change: Change, snapshot: Snapshot) -> Snapshot:
    """The snapshot after one change; unchanged where the change's namespace was never seen."""
    if isinstance(change, SetLink):
        return link_effect.link_set(snapshot, change)
    return edited(snapshot, change.namespace, lambda namespace: _in_namespace(change, namespace))


def effects(changes: Iterable[Change], snapshot: Snapshot) -> Snapshot:
    """The snapshot after all the changes, in order."""
    for change in changes:
        snapshot = effect(change, snapshot)
    return snapshot


def _in_namespace(change: Change, namespace: Namespace) -> Namespace:
    match change:
        case InsertRule():
            return ruleset_effect.rule_inserted(namespace, change)
        case DeleteRule():
            return ruleset_effect.rule_deleted(namespace, change)
        case ReplaceRule():
            return ruleset_effect.rule_replaced(namespace, change)
        case SetChainPolicy():
            return ruleset_effect.policy_set(namespace, change)
        case AddChain():
            return ruleset_effect.chain_added(namespace, change)
        case DeleteChain():
            return ruleset_effect.chain_deleted(namespace, change)
        case AddRoute(route=route):
            return _route_added(namespace, route)
        case DeleteRoute(route=route):
            return with_routes(namespace, (old for old in known(namespace.routes) if not same_route(old, route)))
        case AddPolicyRule() | DeletePolicyRule():
            return _policy_rule(namespace, change)
        case AddXfrmPolicy() | DeleteXfrmPolicy():
            return _xfrm_policy(namespace, change)
        case _:
            return _on_link(change, namespace)


def _on_link(change: OnLink, namespace: Namespace) -> Namespace:
    match change:
        case SetSysctl(key=key, value=value):
            return sysctl_effect.written(namespace, key, value)
        case AddAddress(link=name, address=address):
            link = link_named(namespace, name)
            return addressing.added(namespace, link, address) if link else namespace
        case DeleteAddress(link=name, address=address):
            link = link_named(namespace, name)
            return addressing.deleted(namespace, link, address) if link else namespace
        case SetBridgePort():
            return link_effect.port_set(namespace, change)
        case SetBridge():
            return link_effect.bridge_set(namespace, change)
        case SetNeighbour(neighbour=entry) | DeleteNeighbour(neighbour=entry):
            return _neighbour(namespace, entry, keep=isinstance(change, SetNeighbour))
        case AddFdbEntry(entry=entry) | DeleteFdbEntry(entry=entry):
            return _fdb(namespace, entry, keep=isinstance(change, AddFdbEntry))
        case AddQdisc() | DeleteQdisc():
            return _qdisc(namespace, change)
        case FlushRouteCache(family=family):
            kept = (one for one in known(namespace.routes) if not (one.cached and one.family == family))
            return with_routes(namespace, tuple(kept))
        case SetLink():
            return namespace
        case _:
            assert_never(change)


def _policy_rule(namespace: Namespace, change: AddPolicyRule | DeletePolicyRule) -> Namespace:
    if isinstance(namespace.rules, Unknown):
        return namespace
    rules = [old for old in namespace.rules if old != change.rule]
    if isinstance(change, AddPolicyRule):
        rules = sorted((*rules, change.rule), key=lambda each: (each.family, each.priority))
    return replace(namespace, rules=tuple(rules))


def _xfrm_policy(namespace: Namespace, change: AddXfrmPolicy | DeleteXfrmPolicy) -> Namespace:
    if isinstance(namespace.policies, Unknown):
        return namespace
    others = tuple(old for old in namespace.policies if old != change.policy)
    return replace(namespace, policies=(*others, change.policy) if isinstance(change, AddXfrmPolicy) else others)


def same_route(one: Route, other: Route) -> bool:
    """True when deleting one would delete the other: flags and lifetimes aside."""
    return _bare(one) == _bare(other)


def _bare(route: Route) -> tuple[object, ...]:
    hops = tuple((hop.index, hop.gateway, hop.weight) for hop in route.next_hops)
    metric = route.priority or (1024 if route.family == 6 else 0)
    key = (route.family, route.table, route.destination, route.type, metric, route.tos, route.source)
    return (*key, route.preferred_source, hops)


def _route_added(namespace: Namespace, route: Route) -> Namespace:
    """As the kernel keeps it: IPv6 routes get metric 1024 and a preference, next hops the state of their link."""
    if route.family == 6:
        route = replace(route, priority=route.priority or 1024, preference=route.preference or "medium")
    dark = {link.index for link in known(namespace.links) if link.up and not link.carrier}

    def lit(flags: tuple[str, ...], index: int) -> tuple[str, ...]:
        rest = tuple(flag for flag in flags if flag not in ("linkdown", "dead"))
        return (*rest, "linkdown") if index in dark and route.type != "local" else rest

    hops = tuple(replace(hop, flags=lit(hop.flags, hop.index)) for hop in route.next_hops)
    others = (old for old in known(namespace.routes) if not same_route(old, route))
    return with_routes(namespace, (*others, replace(route, next_hops=hops)))


def _neighbour(namespace: Namespace, entry: Neighbour, *, keep: bool) -> Namespace:
    def key(one: Neighbour) -> tuple[object, ...]:
        return one.family, one.index, one.address, one.proxy

    if isinstance(namespace.neighbours, Unknown):
        return namespace
    others = tuple(old for old in namespace.neighbours if key(old) != key(entry))
    return replace(namespace, neighbours=(*others, entry) if keep else others)


def _fdb(namespace: Namespace, entry: FdbEntry, *, keep: bool) -> Namespace:
    def key(one: FdbEntry) -> tuple[object, ...]:
        return one.index, one.mac, one.master, one.vlan, one.destination, one.vni

    if isinstance(namespace.fdb, Unknown):
        return namespace
    others = tuple(old for old in namespace.fdb if key(old) != key(entry))
    return replace(namespace, fdb=(*others, entry) if keep else others)


def _qdisc(namespace: Namespace, change: AddQdisc | DeleteQdisc) -> Namespace:
    """A root qdisc replaces the default one (noqueue on virtual links); ingress and clsact stand beside it."""
    if isinstance(namespace.qdiscs, Unknown):
        return namespace
    place = (change.qdisc.index, change.qdisc.parent)
    qdiscs = tuple(old for old in namespace.qdiscs if (old.index, old.parent) != place)
    filters: dict[str, object] = {**namespace.filters, change.link: ()}
    if isinstance(change, AddQdisc):
        qdiscs = (*qdiscs, change.qdisc)
        filters[change.link] = change.filters
    link = link_named(namespace, change.link)
    if link and change.qdisc.parent == "root":
        if isinstance(change, DeleteQdisc):
            default = "noqueue" if link.kind else "pfifo_fast"
            qdiscs = (*qdiscs, Qdisc(index=link.index, kind=default, handle="0:", parent="root"))
        namespace = with_link(namespace, replace(link, qdisc=qdiscs[-1].kind))
    return replace(namespace, qdiscs=qdiscs, filters=filters)
