"""What would turn one observed state into another, for what changes as a consequence of a Change. Pure.

Covers link states, sysctls, addresses, routes and lasting neighbours: what the kernel moves by itself. Rulesets,
policy rules and queueing disciplines change only when told to, so their direct inverse is enough.
"""

from netdoctor.model.change import (
    AddAddress,
    AddRoute,
    Change,
    DeleteAddress,
    DeleteRoute,
    SetLink,
    SetNeighbour,
    SetSysctl,
)
from netdoctor.model.network import Address, Route
from netdoctor.model.snapshot import Namespace, Snapshot
from netdoctor.model.unknown import Unknown

from .addressing import LOCAL
from .effect import effects, same_route
from .seen import device_name, known


def difference(have: Snapshot, want: Snapshot) -> tuple[Change, ...]:
    """The changes that lead from `have` to `want`, in an order the kernel accepts.

    Each subject is compared after the ones before it are back: a link that comes up brings its routes by itself.
    """
    changes: list[Change] = []
    for step in (_sysctls, _links, _addresses, _routes, _neighbours):
        missing: list[Change] = []
        for where, namespace in want.namespaces.items():
            old = have.namespaces.get(where)
            if old is not None and old != namespace:
                missing += step(old, namespace)
        have = effects(missing, have)
        changes += missing
    return tuple(changes)


def _sysctls(have: Namespace, want: Namespace) -> list[Change]:
    return [
        SetSysctl(namespace=want.id, key=key, value=value)
        for key, value in want.sysctls.items()
        if not isinstance(value, Unknown) and have.sysctls.get(key) != value
    ]


def _links(have: Namespace, want: Namespace) -> list[Change]:
    before = {link.index: link for link in known(have.links)}
    changes: list[Change] = []
    for link in known(want.links):
        old = before.get(link.index)
        if old is None or (old.up, old.mtu_bytes, old.mac, old.no_arp) == (
            link.up,
            link.mtu_bytes,
            link.mac,
            link.no_arp,
        ):
            continue
        changes.append(
            SetLink(
                namespace=want.id,
                link=link.name,
                up=link.up if link.up != old.up else None,
                mtu_bytes=link.mtu_bytes if link.mtu_bytes != old.mtu_bytes else None,
                mac=link.mac if link.mac != old.mac else None,
                no_arp=link.no_arp if link.no_arp != old.no_arp else None,
            )
        )
    return changes


def address_key(address: Address) -> tuple[int, str, int, str]:
    return address.index, address.local, address.prefix_length, address.peer


def _made_by_kernel(address: Address) -> bool:
    """Link-local addresses come and go with the link."""
    return address.family == 6 and address.scope == "link"


def _addresses(have: Namespace, want: Namespace) -> list[Change]:
    """Missing ones are added in their order; one that became a primary goes and comes back as the secondary it was."""
    if isinstance(have.addresses, Unknown) or isinstance(want.addresses, Unknown):
        return []
    before = {address_key(address): address for address in have.addresses}
    after = {address_key(address) for address in want.addresses}
    drop: list[Change] = []
    add: list[Change] = []
    for key, address in before.items():
        if key not in after and not _made_by_kernel(address):
            drop.append(_delete(want, address))
    for address in want.addresses:
        old = before.get(address_key(address))
        demoted = old is not None and "secondary" in address.flags and "secondary" not in old.flags
        if demoted:
            drop.append(_delete(want, address))
        if demoted or (old is None and not _made_by_kernel(address)):
            name = device_name(want, address.index)
            add.append(AddAddress(namespace=want.id, link=name, address=address))
    return drop + add


def _delete(namespace: Namespace, address: Address) -> DeleteAddress:
    return DeleteAddress(namespace=namespace.id, link=device_name(namespace, address.index), address=address)


def _follows_address(route: Route) -> bool:
    """Table local, the IPv6 link prefixes and what was learned are kept by the kernel alone."""
    by_kernel = route.protocol == "kernel" and (route.table == LOCAL or route.destination in ("fe80::/64", "ff00::/8"))
    return route.cached or by_kernel


def _routes(have: Namespace, want: Namespace) -> list[Change]:
    """Routes on a link before those through a gateway, which need them."""
    if isinstance(have.routes, Unknown) or isinstance(want.routes, Unknown):
        return []
    surplus = [route for route in have.routes if not _follows_address(route) and not _among(route, want.routes)]
    missing = [route for route in want.routes if not _follows_address(route) and not _among(route, have.routes)]
    missing.sort(key=lambda route: any(hop.gateway for hop in route.next_hops))
    drop: list[Change] = [DeleteRoute(namespace=want.id, route=route) for route in surplus]
    return drop + [AddRoute(namespace=want.id, route=route) for route in missing]


def _among(route: Route, routes: tuple[Route, ...]) -> bool:
    return any(same_route(route, other) for other in routes)


def _neighbours(have: Namespace, want: Namespace) -> list[Change]:
    """Only what does not come back by itself: permanent entries."""
    if isinstance(have.neighbours, Unknown) or isinstance(want.neighbours, Unknown):
        return []
    return [
        SetNeighbour(namespace=want.id, link=device_name(want, entry.index), neighbour=entry)
        for entry in want.neighbours
        if (entry.state == "permanent" or entry.proxy) and entry not in have.neighbours
    ]
