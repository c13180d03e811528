"""One healthy world, read once; every fault is then one edit of the model, and the walk alone tells what it does."""

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from netdoctor import question
from netdoctor.examination import Examined, offline
from netdoctor.fix.effect import effects
from netdoctor.model.change import (
    AddChain,
    AddRoute,
    ChainRef,
    Change,
    DeleteAddress,
    DeleteRoute,
    DeleteRule,
    InsertRule,
    ReplaceRule,
    SetLink,
    SetNeighbour,
    SetSysctl,
)
from netdoctor.model.firewall import Rule
from netdoctor.model.network import Neighbour, NextHop, Route
from netdoctor.model.snapshot import Namespace, NamespaceId, Snapshot
from netdoctor.walk.netfilter import RuleSpec, amended, compose

Edit = Callable[[Snapshot], Snapshot]
NAT = ChainRef(backend="iptables-nft", family="ip", table="nat", chain="POSTROUTING")
MAIN = 254


def diagnosed(snapshot: Snapshot, dest: str = "8.8.8.8", port: str = "") -> Examined:
    """The diagnosis of the model alone."""
    return offline(snapshot, question.parse(snapshot.namespaces[snapshot.target].name, dest, port), None)


def slugs(found: Examined) -> list[str]:
    return [cause.slug for cause in found.diagnosis.causes]


def place(snapshot: Snapshot, role: str) -> NamespaceId:
    """The namespace that plays this role: host, target or inet."""
    if role == "host":
        return snapshot.host
    if role == "target":
        return snapshot.target
    return next(key for key, one in snapshot.namespaces.items() if one.name.endswith(f"-{role}"))


def inside(snapshot: Snapshot, role: str) -> Namespace:
    return snapshot.namespaces[place(snapshot, role)]


def made(*makers: Callable[[Snapshot], Change]) -> Edit:
    """An edit by Changes, each made for the snapshot as the ones before left it."""

    def edit(snapshot: Snapshot) -> Snapshot:
        for maker in makers:
            snapshot = effects([maker(snapshot)], snapshot)
        return snapshot

    return edit


def rewritten(role: str, **facts: Any) -> Edit:
    """An edit that puts other facts in a namespace; a callable gets the fact that was there."""

    def edit(snapshot: Snapshot) -> Snapshot:
        old = inside(snapshot, role)
        new = {name: fact(getattr(old, name)) if callable(fact) else fact for name, fact in facts.items()}
        return replace(snapshot, namespaces={**snapshot.namespaces, old.id: replace(old, **new)})

    return edit


def index_of(snapshot: Snapshot, role: str, device: str) -> int:
    return next(link.index for link in inside(snapshot, role).links if link.name == device)  # type: ignore[union-attr]


def sysctl(role: str, key: str, value: str) -> Edit:
    return made(lambda snapshot: SetSysctl(namespace=place(snapshot, role), key=key, value=value))


def link(role: str, name: str, **values: Any) -> Edit:
    return made(lambda snapshot: SetLink(namespace=place(snapshot, role), link=name, **values))


def without_address(role: str, device: str, local: str) -> Edit:
    def maker(snapshot: Snapshot) -> Change:
        found = next(one for one in inside(snapshot, role).addresses if one.local == local)  # type: ignore[union-attr]
        return DeleteAddress(namespace=place(snapshot, role), link=device, address=found)

    return made(maker)


def without_route(role: str, destination: str) -> Edit:
    def maker(snapshot: Snapshot) -> Change:
        found = next(
            one
            for one in inside(snapshot, role).routes  # type: ignore[union-attr]
            if one.destination == destination and one.table == MAIN
        )
        return DeleteRoute(namespace=place(snapshot, role), route=found)

    return made(maker)


def route(role: str, destination: str, device: str = "", gateway: str = "", kind: str = "unicast") -> Edit:
    def maker(snapshot: Snapshot) -> Change:
        hops = (NextHop(index=index_of(snapshot, role, device), gateway=gateway),) if device else ()
        new = Route(family=4, table=MAIN, destination=destination, type=kind, next_hops=hops)
        return AddRoute(namespace=place(snapshot, role), route=new)

    return made(maker)


def neighbour(role: str, device: str, address: str, mac: str) -> Edit:
    def maker(snapshot: Snapshot) -> Change:
        index = index_of(snapshot, role, device)
        entry = Neighbour(family=4, index=index, address=address, mac=mac, state="permanent")
        return SetNeighbour(namespace=place(snapshot, role), link=device, neighbour=entry)

    return made(maker)


def filtered(role: str, hook: str, *specs: RuleSpec, policy: str = "accept") -> Edit:
    """A filter chain of iptables-nft with these rules."""
    at = ChainRef(backend="iptables-nft", family="ip", table="filter", chain=hook.upper())
    makers: list[Callable[[Snapshot], Change]] = [
        lambda snapshot: AddChain(
            namespace=place(snapshot, role), at=at, hook=hook, kind="filter", priority=0, policy=policy
        )
    ]
    for spec in specs:
        rule = compose(spec, at.backend, at.family)
        makers.append(lambda snapshot, rule=rule: InsertRule(namespace=place(snapshot, role), at=at, rule=rule))  # type: ignore[misc]
    return made(*makers)


def masquerade(snapshot: Snapshot) -> Rule:
    tables = inside(snapshot, "host").ruleset.tables
    rules = next(table for table in tables if table.name == "nat").chain("POSTROUTING").rules  # type: ignore[union-attr]
    return rules[0]  # type: ignore[index]


def without_masquerade() -> Edit:
    return made(lambda snapshot: DeleteRule(namespace=snapshot.host, at=NAT, rule=masquerade(snapshot)))


def masquerade_with(field: Any, value: str) -> Edit:
    def maker(snapshot: Snapshot) -> Change:
        rule = masquerade(snapshot)
        return ReplaceRule(namespace=snapshot.host, at=NAT, before=rule, after=amended(rule, field, value))

    return made(maker)
