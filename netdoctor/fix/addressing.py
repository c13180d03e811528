"""The routes the kernel makes and takes away with an address. Pure.

Sources: net/ipv4/fib_frontend.c fib_add_ifaddr, fib_del_ifaddr; net/ipv4/devinet.c __inet_del_ifa; net/ipv6/addrconf.c.
"""

from ipaddress import IPv4Interface, ip_interface

from netdoctor.model.network import Address, Link, NextHop, Route
from netdoctor.model.snapshot import Namespace

from .seen import known, link_at, replace, sysctl, with_addresses, with_routes

MAIN, LOCAL = 254, 255
IPV6_MINIMUM_MTU_BYTES = 1280


def subnet(address: Address) -> str:
    """The prefix the address lies in, "10.0.0.0/24"; on point to point links the peer's."""
    return str(ip_interface(f"{address.peer or address.local}/{address.prefix_length}").network)


def connected(namespace: Namespace, link: Link, address: Address) -> tuple[Route, ...]:
    """The routes that stand because `address` is on `link` as the link is now."""
    if address.family == 6:
        return _connected_6(link, address)
    return _connected_4(namespace, link, address)


def _hop(link: Link) -> tuple[NextHop, ...]:
    return (NextHop(index=link.index, flags=("linkdown",) if link.up and not link.carrier else ()),)


def _kernel_4(destination: str, table: int, scope: str, source: str, hops: tuple[NextHop, ...]) -> Route:
    return Route(
        family=4,
        table=table,
        destination=destination,
        protocol="kernel",
        scope=scope,
        preferred_source=source,
        next_hops=hops,
    )


def _connected_4(namespace: Namespace, link: Link, address: Address) -> tuple[Route, ...]:
    primary = _primary(namespace, address)
    bare = (NextHop(index=link.index),)
    local = replace(_kernel_4(f"{address.local}/32", LOCAL, "host", primary.local, bare), type="local")
    if "secondary" in address.flags:
        return (local,)
    if not link.up:
        return (local, *_loopback_prefix(link, address)) if link.loopback else (local,)
    network = IPv4Interface(f"{address.peer or address.local}/{address.prefix_length}").network
    routes = [local]
    if (str(network.network_address) != address.local or address.prefix_length < 32) and network.network_address.packed[
        0
    ]:
        if link.loopback:
            routes += _loopback_prefix(link, address)
        elif "noprefixroute" not in address.flags:
            routes.append(_kernel_4(str(network), MAIN, "link", address.local, _hop(link)))
        if address.prefix_length < 31:
            last = f"{network.broadcast_address}/32"
            routes.append(replace(_kernel_4(last, LOCAL, "link", address.local, _hop(link)), type="broadcast"))
    return tuple(routes)


def _loopback_prefix(link: Link, address: Address) -> tuple[Route, ...]:
    if address.prefix_length == 32:
        return ()
    hops = (NextHop(index=link.index),)
    return (replace(_kernel_4(subnet(address), LOCAL, "host", address.local, hops), type="local"),)


def _primary(namespace: Namespace, address: Address) -> Address:
    """The address whose subnet a secondary shares: its routes carry that one as their source."""
    if "secondary" not in address.flags:
        return address
    same = (other for other in known(namespace.addresses) if _same_subnet(other, address))
    return next((other for other in same if "secondary" not in other.flags), address)


def _same_subnet(one: Address, other: Address) -> bool:
    return (
        one.index == other.index
        and one.family == other.family
        and one.prefix_length == other.prefix_length
        and subnet(one) == subnet(other)
    )


def _connected_6(link: Link, address: Address) -> tuple[Route, ...]:
    """Prefix and multicast routes need the link up; the address itself is local once it is no longer tentative."""
    base = Route(family=6, table=LOCAL, destination="", protocol="kernel", preference="medium")
    bare = (NextHop(index=link.index),)
    local = replace(base, destination=f"{address.local}/128", type="local", next_hops=bare)
    certain = link.carrier or link.loopback or "nodad" in address.flags
    routes = [local] if certain and "tentative" not in address.flags else []
    if not link.up or link.loopback:
        return tuple(routes)
    if address.prefix_length < 128 and "noprefixroute" not in address.flags:
        prefix = replace(base, table=MAIN, destination=subnet(address), priority=256, next_hops=_hop(link))
        routes.append(prefix)
    return tuple(routes)


def multicast_6(link: Link) -> Route:
    """ff00::/8, which every link that speaks IPv6 has while it is up."""
    return Route(
        family=6,
        table=LOCAL,
        destination="ff00::/8",
        type="multicast",
        protocol="kernel",
        priority=256,
        preference="medium",
        next_hops=_hop(link),
    )


def _identity(route: Route) -> tuple[object, ...]:
    hops = tuple((hop.index, hop.gateway) for hop in route.next_hops)
    return route.family, route.table, route.destination, route.priority, route.tos, route.type, hops


def with_added(namespace: Namespace, routes: tuple[Route, ...]) -> Namespace:
    """The namespace with these routes, each once."""
    have = {_identity(route) for route in known(namespace.routes)}
    fresh = [route for route in routes if _identity(route) not in have]
    return with_routes(namespace, (*known(namespace.routes), *fresh))


def without(namespace: Namespace, routes: tuple[Route, ...]) -> Namespace:
    gone = {_identity(route) for route in routes}
    return with_routes(namespace, (route for route in known(namespace.routes) if _identity(route) not in gone))


def added(namespace: Namespace, link: Link, address: Address) -> Namespace:
    """The namespace after `ip address add`: a second address of a subnet becomes its secondary (IPv4)."""
    address = _as_kept(namespace, link, address)
    others = (old for old in known(namespace.addresses) if (old.index, old.local, old.prefix_length) != _key(address))
    namespace = with_addresses(namespace, (*others, address))
    return with_added(namespace, connected(namespace, link, address))


def _key(address: Address) -> tuple[int, str, int]:
    return address.index, address.local, address.prefix_length


def _as_kept(namespace: Namespace, link: Link, address: Address) -> Address:
    """The flags and label the kernel gives a new address."""
    address = replace(address, index=link.index)
    flags = [flag for flag in address.flags if flag not in ("secondary", "permanent")]
    if address.family == 4 and any(
        _same_subnet(old, address) and old.local != address.local for old in known(namespace.addresses)
    ):
        flags.insert(0, "secondary")
    if address.valid_s is None:
        flags.append("permanent")
    label = address.label or (link.name if address.family == 4 else "")
    return replace(address, flags=tuple(flags), label=label)


def deleted(namespace: Namespace, link: Link, address: Address) -> Namespace:
    """The namespace after `ip address del`.

    A primary IPv4 address takes its secondaries with it unless promote_secondaries is set; routes whose source it was
    go; with the last IPv4 address of the link go all IPv4 routes through it.
    """
    here = [old for old in known(namespace.addresses) if old.index == link.index and old.family == address.family]
    primary = next((old for old in here if _key(old) == (link.index, address.local, address.prefix_length)), None)
    if primary is None:
        return namespace
    gone = [primary]
    promoted: list[Address] = []
    if primary.family == 4 and "secondary" not in primary.flags:
        secondaries = [old for old in here if "secondary" in old.flags and _same_subnet(old, primary)]
        gone += secondaries
        promoted = secondaries if _promotes(namespace, link) else []
    namespace = _without_addresses(namespace, link, gone)
    for secondary in promoted:
        namespace = added(namespace, link, secondary)
    return namespace


def _promotes(namespace: Namespace, link: Link) -> bool:
    keys = (f"net/ipv4/conf/{name}/promote_secondaries" for name in ("all", link.name))
    return any(sysctl(namespace, key) == "1" for key in keys)


def _without_addresses(namespace: Namespace, link: Link, gone: list[Address]) -> Namespace:
    their_routes = tuple(route for address in gone for route in connected(namespace, link, address))
    namespace = without(namespace, their_routes)
    keys = {_key(address) for address in gone}
    namespace = with_addresses(namespace, (old for old in known(namespace.addresses) if _key(old) not in keys))
    lost = {address.local for address in gone} - {old.local for old in known(namespace.addresses)}
    family = gone[0].family
    stay = [route for route in known(namespace.routes) if family == 6 or route.preferred_source not in lost]
    if family == 4 and not any(old.index == link.index and old.family == 4 for old in known(namespace.addresses)):
        stay = [route for route in stay if route.family == 6 or not _only_through(route, link)]
    namespace = with_routes(namespace, stay)
    remaining = [old for old in known(namespace.addresses) if old.index == link.index and old.family == family]
    for address in remaining:
        namespace = with_added(namespace, connected(namespace, link, address))
    return namespace


def _only_through(route: Route, link: Link) -> bool:
    return bool(route.next_hops) and all(hop.index == link.index for hop in route.next_hops)


def v6_lost(namespace: Namespace, link: Link) -> Namespace:
    """IPv6 goes off on the link: its addresses and every IPv6 route through it vanish."""
    addresses = (old for old in known(namespace.addresses) if not (old.index == link.index and old.family == 6))
    routes = (route for route in known(namespace.routes) if not (route.family == 6 and _only_through(route, link)))
    return with_routes(with_addresses(namespace, addresses), routes)


def v6_regained(namespace: Namespace, link: Link) -> Namespace:
    """IPv6 comes on: the link-local address (or ::1) with its routes; others do not come back by themselves."""
    link = link_at(namespace, link.index) or link
    disabled = sysctl(namespace, f"net/ipv6/conf/{link.name}/disable_ipv6") == "1"
    if not link.up or link.mtu_bytes < IPV6_MINIMUM_MTU_BYTES or disabled:
        return namespace
    if link.loopback:
        return added(namespace, link, Address(index=link.index, family=6, local="::1", prefix_length=128, scope="host"))
    for address in known(namespace.addresses):
        if address.index == link.index and address.family == 6:
            namespace = with_added(namespace, connected(namespace, link, address))
    local = link_local(link)
    if not link.carrier or not local or link.port or link.master:
        return namespace
    namespace = with_added(namespace, (multicast_6(link),))
    if any(old.index == link.index and old.local.startswith("fe80:") for old in known(namespace.addresses)):
        return namespace
    return added(namespace, link, Address(index=link.index, family=6, local=local, prefix_length=64, scope="link"))


def link_local(link: Link) -> str:
    """The address made from the MAC (RFC 4291, appendix A)."""
    octets = [int(part, 16) for part in link.mac.split(":")] if link.mac.count(":") == 5 else []
    if not octets:
        return ""
    words = [octets[0] ^ 2, *octets[1:3], 0xFF, 0xFE, *octets[3:]]
    text = ":".join(f"{words[i] << 8 | words[i + 1]:x}" for i in range(0, 8, 2))
    return str(ip_interface(f"fe80::{text}/64").ip)
