"""Finding and replacing single objects in a Snapshot. Pure."""

from collections.abc import Callable, Iterable
from typing import TypeVar

import msgspec

from netdoctor.model.network import Address, Link, Route
from netdoctor.model.snapshot import Namespace, NamespaceId, Snapshot
from netdoctor.model.unknown import Unknown

replace = msgspec.structs.replace
T = TypeVar("T")


def known(facts: tuple[T, ...] | Unknown) -> tuple[T, ...]:
    """The facts, or none where they could not be read."""
    return () if isinstance(facts, Unknown) else facts


def link_named(namespace: Namespace, name: str) -> Link | None:
    return next((link for link in known(namespace.links) if link.name == name), None)


def link_at(namespace: Namespace, index: int) -> Link | None:
    return next((link for link in known(namespace.links) if link.index == index), None)


def device_name(namespace: Namespace, index: int) -> str:
    """The interface's name; "if7" where it was not seen."""
    link = link_at(namespace, index)
    return link.name if link else f"if{index}"


def sysctl(namespace: Namespace, key: str, default: str = "") -> str:
    """The text of a sysctl; `default` where it was not read."""
    value = namespace.sysctls.get(key, default)
    return default if isinstance(value, Unknown) else value


def with_namespace(snapshot: Snapshot, namespace: Namespace) -> Snapshot:
    return replace(snapshot, namespaces={**snapshot.namespaces, namespace.id: namespace})


def edited(snapshot: Snapshot, where: NamespaceId, edit: Callable[[Namespace], Namespace]) -> Snapshot:
    """The snapshot with one namespace edited; unchanged where that namespace was never seen."""
    namespace = snapshot.namespaces.get(where)
    return snapshot if namespace is None else with_namespace(snapshot, edit(namespace))


def with_link(namespace: Namespace, link: Link) -> Namespace:
    """The namespace with the link of the same index replaced."""
    return replace(namespace, links=tuple(link if old.index == link.index else old for old in known(namespace.links)))


def with_routes(namespace: Namespace, routes: Iterable[Route]) -> Namespace:
    """The namespace with these routes; unread routes stay unread."""
    return namespace if isinstance(namespace.routes, Unknown) else replace(namespace, routes=tuple(routes))


def with_addresses(namespace: Namespace, addresses: Iterable[Address]) -> Namespace:
    return namespace if isinstance(namespace.addresses, Unknown) else replace(namespace, addresses=tuple(addresses))


def peer_of(snapshot: Snapshot, namespace: Namespace, link: Link) -> tuple[Namespace, Link] | None:
    """The other end of a veth, where the namespace it lives in was seen."""
    if link.kind != "veth" or not link.lower:
        return None
    home = namespace.id if link.lower_namespace is None else namespace.peers.get(str(link.lower_namespace), "")
    other = snapshot.namespaces.get(home) if isinstance(home, str) else None
    peer = link_at(other, link.lower) if other else None
    return (other, peer) if other and peer else None
