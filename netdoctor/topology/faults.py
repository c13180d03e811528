"""The steps of building a container's network by hand, each as a fault that can be put in and taken out. Pure."""

from collections.abc import Callable

import msgspec

from netdoctor.fix.seen import known, link_named
from netdoctor.model.change import (
    ChainRef,
    Change,
    DeleteAddress,
    DeleteRoute,
    DeleteRule,
    ReplaceRule,
    SetLink,
    SetSysctl,
)
from netdoctor.model.firewall import Rule
from netdoctor.model.network import Address, Route
from netdoctor.model.snapshot import Namespace, Snapshot
from netdoctor.model.unknown import Unknown

from .described import IP_FORWARD, Described

WRONG_EGRESS = "eth0"


class Fault(msgspec.Struct, frozen=True, kw_only=True):
    """One step left out or done wrong. slug: the cause a diagnosis should name; inject: the changes that break it."""

    title: str
    slug: str
    inject: Callable[[Described, Snapshot], tuple[Change, ...]]


def _host(snapshot: Snapshot) -> Namespace:
    return snapshot.namespaces[snapshot.host]


def _container(snapshot: Snapshot) -> Namespace:
    return snapshot.namespaces[snapshot.target]


def _down(namespace: Namespace, link: str) -> tuple[Change, ...]:
    return (SetLink(namespace=namespace.id, link=link, up=False),)


def _without_address(namespace: Namespace, link: str) -> tuple[Change, ...]:
    found = link_named(namespace, link)
    addresses: list[Address] = [
        each for each in known(namespace.addresses) if found and each.index == found.index and each.family == 4
    ]
    return tuple(DeleteAddress(namespace=namespace.id, link=link, address=each) for each in addresses)


def _without_default_route(namespace: Namespace) -> tuple[Change, ...]:
    routes: list[Route] = [each for each in known(namespace.routes) if each.destination == "0.0.0.0/0"]
    return tuple(DeleteRoute(namespace=namespace.id, route=each) for each in routes)


def _masquerades(snapshot: Snapshot) -> list[tuple[ChainRef, Rule]]:
    """Every rule of the host's source NAT chains with its place."""
    return [
        (ChainRef(backend=table.backend, family=table.family, table=table.name, chain=chain.name), rule)
        for table in known(_host(snapshot).ruleset.tables)
        for chain in table.chains
        if chain.hook == "postrouting" and chain.type == "nat" and not isinstance(chain.rules, Unknown)
        for rule in chain.rules
    ]


def _no_masquerade(wanted: Described, snapshot: Snapshot) -> tuple[Change, ...]:
    return tuple(DeleteRule(namespace=snapshot.host, at=at, rule=rule) for at, rule in _masquerades(snapshot))


def _wrong_egress(wanted: Described, snapshot: Snapshot) -> tuple[Change, ...]:
    from netdoctor.walk.netfilter import amended

    return tuple(
        ReplaceRule(namespace=snapshot.host, at=at, before=rule, after=amended(rule, "out_device", WRONG_EGRESS))
        for at, rule in _masquerades(snapshot)
    )


FAULTS = (
    Fault(
        title="the container's end of the cable is down",
        slug="link-down",
        inject=lambda wanted, snapshot: _down(_container(snapshot), wanted.container_link),
    ),
    Fault(
        title="the host's end of the cable is down",
        slug="link-down",
        inject=lambda wanted, snapshot: _down(_host(snapshot), wanted.host_link),
    ),
    Fault(
        title="the container's end has no address",
        slug="address-missing",
        inject=lambda wanted, snapshot: _without_address(_container(snapshot), wanted.container_link),
    ),
    Fault(
        title="the host's end has no address: the gateway is nobody's",
        slug="gateway-address-missing",
        inject=lambda wanted, snapshot: _without_address(_host(snapshot), wanted.device),
    ),
    Fault(
        title="the container has no default route",
        slug="default-route-missing",
        inject=lambda wanted, snapshot: _without_default_route(_container(snapshot)),
    ),
    Fault(
        title="the host does not forward",
        slug="ip-forward-off",
        inject=lambda wanted, snapshot: (SetSysctl(namespace=snapshot.host, key=IP_FORWARD, value="0"),),
    ),
    Fault(title="there is no masquerade rule", slug="masquerade-missing", inject=_no_masquerade),
    Fault(
        title="the masquerade rule names eth0, but the way out is another interface",
        slug="masquerade-wrong-egress",
        inject=_wrong_egress,
    ),
)
DEFAULT = "masquerade-wrong-egress"


def fault(slug: str) -> Fault | None:
    """The first fault with this slug."""
    return next((each for each in FAULTS if each.slug == slug), None)
