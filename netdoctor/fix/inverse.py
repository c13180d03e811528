"""`inverse(change, before)`: the changes that undo a change, computed before it runs. Pure.

The direct mirror comes first; then whatever the kernel would have taken along (routes of a link that went down,
secondaries of a primary address, forwarding of every interface) is found by comparing models and put back.
"""

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
from netdoctor.model.network import Neighbour
from netdoctor.model.snapshot import Namespace, Snapshot
from netdoctor.model.unknown import Unknown

from .difference import address_key, difference
from .effect import effects, same_route
from .link_effect import BRIDGE_FIELDS, PORT_FIELDS
from .ruleset_effect import find_chain, find_table, place
from .seen import device_name, known, link_named

Paired = (
    AddPolicyRule
    | DeletePolicyRule
    | AddFdbEntry
    | DeleteFdbEntry
    | AddQdisc
    | DeleteQdisc
    | AddXfrmPolicy
    | DeleteXfrmPolicy
)
Firewall = InsertRule | DeleteRule | ReplaceRule | SetChainPolicy | AddChain | DeleteChain


def inverse(change: Change, before: Snapshot) -> tuple[Change, ...]:
    """What gives `before` again after `change`; empty when the change alters nothing."""
    namespace = before.namespaces.get(change.namespace)
    if namespace is None:
        return ()
    back = mirror(change, namespace)
    return (*back, *difference(effects((change, *back), before), before))


def mirror(change: Change, before: Namespace) -> tuple[Change, ...]:
    """The direct counterpart of a change; empty when what it wants stands already."""
    match change:
        case SetSysctl():
            return _sysctl(change, before)
        case SetLink():
            return _link(change, before)
        case SetBridgePort() | SetBridge():
            return _bridge(change, before)
        case AddAddress(namespace=where, link=link, address=address):
            keys = {address_key(old)[:3] for old in known(before.addresses)}
            found = link_named(before, link)
            there = found is not None and (found.index, address.local, address.prefix_length) in keys
            return () if there else (DeleteAddress(namespace=where, link=link, address=address),)
        case DeleteAddress(namespace=where, link=link, address=address):
            return (AddAddress(namespace=where, link=link, address=address),)
        case AddRoute(namespace=where, route=route):
            there = any(same_route(old, route) for old in known(before.routes))
            return () if there else (DeleteRoute(namespace=where, route=route),)
        case DeleteRoute(namespace=where, route=route):
            kept = next((old for old in known(before.routes) if same_route(old, route)), route)
            return (AddRoute(namespace=where, route=kept),)
        case SetNeighbour() | DeleteNeighbour():
            return _neighbour(change, before)
        case FlushRouteCache():
            return ()
        case InsertRule() | DeleteRule() | ReplaceRule() | SetChainPolicy() | AddChain() | DeleteChain():
            return _firewall(change, before)
        case _:
            return _pairs(change)


def _pairs(change: Paired) -> tuple[Change, ...]:
    """Changes whose counterpart carries the same object."""
    where = change.namespace
    match change:
        case AddPolicyRule(rule=rule):
            return (DeletePolicyRule(namespace=where, rule=rule),)
        case DeletePolicyRule(rule=rule):
            return (AddPolicyRule(namespace=where, rule=rule),)
        case AddFdbEntry(link=link, entry=entry):
            return (DeleteFdbEntry(namespace=where, link=link, entry=entry),)
        case DeleteFdbEntry(link=link, entry=entry):
            return (AddFdbEntry(namespace=where, link=link, entry=entry),)
        case AddQdisc(link=link, qdisc=qdisc, filters=filters):
            return (DeleteQdisc(namespace=where, link=link, qdisc=qdisc, filters=filters),)
        case DeleteQdisc(link=link, qdisc=qdisc, filters=filters):
            return (AddQdisc(namespace=where, link=link, qdisc=qdisc, filters=filters),)
        case AddXfrmPolicy(policy=policy):
            return (DeleteXfrmPolicy(namespace=where, policy=policy),)
        case DeleteXfrmPolicy(policy=policy):
            return (AddXfrmPolicy(namespace=where, policy=policy),)
        case _:
            assert_never(change)


def _sysctl(change: SetSysctl, before: Namespace) -> tuple[Change, ...]:
    old = before.sysctls.get(change.key)
    if old is None or isinstance(old, Unknown) or old == change.value:
        return ()
    return (SetSysctl(namespace=change.namespace, key=change.key, value=old),)


def _link(change: SetLink, before: Namespace) -> tuple[Change, ...]:
    link = link_named(before, change.link)
    if link is None:
        return ()
    master = device_name(before, link.master) if link.master else ""
    back = SetLink(
        namespace=change.namespace,
        link=change.link,
        up=link.up if change.up is not None and change.up != link.up else None,
        mtu_bytes=link.mtu_bytes if change.mtu_bytes not in (None, link.mtu_bytes) else None,
        mac=link.mac if change.mac not in (None, link.mac) else None,
        no_arp=link.no_arp if change.no_arp is not None and change.no_arp != link.no_arp else None,
        master=master if change.master not in (None, master) else None,
    )
    return () if back == SetLink(namespace=change.namespace, link=change.link) else (back,)


def _bridge(change: SetBridgePort | SetBridge, before: Namespace) -> tuple[Change, ...]:
    link = link_named(before, change.link)
    ports = isinstance(change, SetBridgePort)
    options = (link.port if ports else link.bridge) if link else None
    name = (PORT_FIELDS if ports else BRIDGE_FIELDS).get(change.option)
    if options is None or name is None:
        return ()
    old = int(getattr(options, name))
    if old == change.value:
        return ()
    kind = SetBridgePort if ports else SetBridge
    return (kind(namespace=change.namespace, link=change.link, option=change.option, value=old),)


def _neighbour(change: SetNeighbour | DeleteNeighbour, before: Namespace) -> tuple[Change, ...]:
    """Only lasting entries are put back: the others the kernel learns again."""

    def same(entry: Neighbour) -> bool:
        new = change.neighbour
        return (entry.index, entry.address, entry.proxy) == (new.index, new.address, new.proxy)

    old = next((entry for entry in known(before.neighbours) if same(entry)), None)
    where, link = change.namespace, change.link
    if old is not None and (old.state in ("permanent", "noarp") or old.proxy):
        return (SetNeighbour(namespace=where, link=link, neighbour=old),)
    if isinstance(change, SetNeighbour):
        return (DeleteNeighbour(namespace=where, link=link, neighbour=change.neighbour),)
    return ()


def _firewall(change: Firewall, before: Namespace) -> tuple[Change, ...]:
    where, at = change.namespace, change.at
    chain = find_chain(before, at)
    match change:
        case InsertRule(rule=rule):
            return (DeleteRule(namespace=where, at=at, rule=rule),)
        case DeleteRule(rule=rule):
            index = place(known(chain.rules), rule) if chain else None
            return (InsertRule(namespace=where, at=at, rule=rule, line=rule.line if index is None else index + 1),)
        case ReplaceRule(before=old, after=new):
            return (ReplaceRule(namespace=where, at=at, before=new, after=old),)
        case SetChainPolicy(policy=policy):
            old_policy = chain.policy if chain else policy
            return () if old_policy == policy else (SetChainPolicy(namespace=where, at=at, policy=old_policy),)
        case AddChain():
            if chain is not None:
                return ()
            alone = find_table(before, at) is None
            return (_deleting(change, with_table=alone),)
        case DeleteChain(hook=hook, kind=kind, priority=priority, policy=policy):
            return (AddChain(namespace=where, at=at, hook=hook, kind=kind, priority=priority, policy=policy),)
        case _:
            assert_never(change)


def _deleting(change: AddChain, *, with_table: bool) -> DeleteChain:
    return DeleteChain(
        namespace=change.namespace,
        at=change.at,
        with_table=with_table,
        hook=change.hook,
        kind=change.kind,
        priority=change.priority,
        policy=change.policy,
    )
