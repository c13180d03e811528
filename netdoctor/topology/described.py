"""A container's network in words, and the changes that are still missing for it. Pure."""

from ipaddress import IPv4Address, IPv4Interface, IPv4Network

import msgspec

from netdoctor.errors import NetdoctorError
from netdoctor.fix.addressing import MAIN
from netdoctor.fix.seen import known, link_named, sysctl
from netdoctor.model.change import AddAddress, AddRoute, Change, SetLink, SetSysctl
from netdoctor.model.network import Address, NextHop, Route
from netdoctor.model.snapshot import Namespace, Snapshot

LONGEST_LINK_NAME = 15
FIRST_SUBNET = "10.0.0.0/24"
IP_FORWARD = "net/ipv4/ip_forward"


class Described(msgspec.Struct, frozen=True, kw_only=True):
    """One container behind a veth pair, with or without a bridge. egress: the host's way out.

    gateway stands on the host's end, or on the bridge; address on the container's end.
    """

    name: str
    subnet: str
    gateway: str
    address: str
    host_link: str
    container_link: str
    egress: str
    bridge: str = ""

    @property
    def prefix_length(self) -> int:
        return IPv4Network(self.subnet).prefixlen

    @property
    def device(self) -> str:
        """The host's interface that routes for the container."""
        return self.bridge or self.host_link

    @property
    def bridge_mac(self) -> str:
        """A MAC of the bridge's own: one borrowed from a port changes as ports come and go, which breaks the others."""
        return "02:00:" + IPv4Address(self.gateway).packed.hex(":")


def describe(
    name: str,
    host: Namespace,
    egress: str,
    *,
    subnet: str = "",
    bridge: str = "",
    taken: tuple[str, ...] = (),
) -> Described:
    """Chooses what was not asked for: subnet, addresses, interface names. `taken`: addresses given to others.

    Raises NetdoctorError: no such subnet, no address left, a subnet that is in use without a bridge to share.
    """
    on_bridge = _bridge_interface(host, bridge)
    network = _network(subnet, on_bridge, host)
    hosts = [str(address) for address in _first(network, 2)]
    gateway = str(on_bridge.ip) if on_bridge else hosts[0]
    if not on_bridge and _overlaps(network, host):
        raise NetdoctorError(f"{network}: an interface or route of this host has it already; choose another --subnet")
    link = _free_pair(host)
    return Described(
        name=name,
        subnet=str(network),
        gateway=gateway,
        address=_free_address(network, {gateway, *taken}),
        host_link=link[0],
        container_link=link[1],
        egress=egress,
        bridge=bridge,
    )


def _bridge_interface(host: Namespace, bridge: str) -> IPv4Interface | None:
    """The IPv4 address an existing bridge has, which new containers share."""
    if len(bridge.encode()) > LONGEST_LINK_NAME or "/" in bridge or bridge in (".", ".."):
        raise NetdoctorError(f"{bridge!r} is no name for an interface: at most {LONGEST_LINK_NAME} bytes, no slash")
    link = link_named(host, bridge) if bridge else None
    if link is None:
        return None
    if link.kind != "bridge":
        raise NetdoctorError(f"{bridge}: is a {link.kind or 'plain'} interface, not a bridge")
    found = (each for each in known(host.addresses) if each.index == link.index and each.family == 4)
    address = next(found, None)
    return IPv4Interface(f"{address.local}/{address.prefix_length}") if address else None


def _network(subnet: str, on_bridge: IPv4Interface | None, host: Namespace) -> IPv4Network:
    if subnet:
        try:
            network = IPv4Network(subnet)
        except ValueError as error:
            raise NetdoctorError(f"--subnet {subnet}: {error}; a prefix is needed, as in {FIRST_SUBNET}") from error
        if network.prefixlen > 30:
            raise NetdoctorError(f"--subnet {subnet}: no room for a gateway and a container")
        if on_bridge and on_bridge.network != network:
            raise NetdoctorError(f"--subnet {subnet}: the bridge already has {on_bridge.network}")
        return network
    if on_bridge:
        return on_bridge.network
    candidates = (IPv4Network(f"10.0.{third}.0/24") for third in range(256))
    free = next((network for network in candidates if not _overlaps(network, host)), None)
    if free is None:
        raise NetdoctorError("every 10.0.x.0/24 is in use on this host; choose one with --subnet")
    return free


def _overlaps(network: IPv4Network, host: Namespace) -> bool:
    taken = [route.destination for route in known(host.routes) if route.family == 4 and route.type == "unicast"]
    return any(IPv4Network(each).overlaps(network) for each in taken if not each.endswith("/0"))


def _first(network: IPv4Network, count: int) -> list[object]:
    return [network.network_address + number for number in range(1, count + 1)]


def _free_address(network: IPv4Network, taken: set[str]) -> str:
    for address in network.hosts():
        if str(address) not in taken:
            return str(address)
    raise NetdoctorError(f"{network}: every address is given to a container")


def _free_pair(host: Namespace) -> tuple[str, str]:
    """veth0 and veth1, or the next two that no interface of the host is called."""
    names = {link.name for link in known(host.links)}
    number = 0
    while f"veth{number}" in names:
        number += 2
    return f"veth{number}", f"veth{number + 1}"


def missing(wanted: Described, snapshot: Snapshot, container: Namespace) -> tuple[Change, ...]:
    """What links, addresses, routes and forwarding still lack; empty when all stands as described."""
    host = snapshot.namespaces[snapshot.host]
    changes: list[Change] = []
    if wanted.bridge:
        changes += _enslave(host, wanted)
    changes += [*_address(host, wanted.device, wanted.gateway, wanted), *_up(host, wanted.host_link)]
    changes += _up(host, wanted.bridge) if wanted.bridge else []
    changes += _address(container, wanted.container_link, wanted.address, wanted)
    changes += [*_up(container, wanted.container_link), *_up(container, "lo"), *_default_route(container, wanted)]
    if sysctl(host, IP_FORWARD) == "0":
        changes.append(SetSysctl(namespace=host.id, key=IP_FORWARD, value="1"))
    return tuple(changes)


def _enslave(host: Namespace, wanted: Described) -> list[Change]:
    link, bridge = link_named(host, wanted.host_link), link_named(host, wanted.bridge)
    if link and bridge and link.master == bridge.index:
        return []
    return [SetLink(namespace=host.id, link=wanted.host_link, master=wanted.bridge)]


def _up(namespace: Namespace, name: str) -> list[Change]:
    link = link_named(namespace, name)
    return [] if link and link.up else [SetLink(namespace=namespace.id, link=name, up=True)]


def _address(namespace: Namespace, device: str, local: str, wanted: Described) -> list[Change]:
    link = link_named(namespace, device)
    index = link.index if link else 0
    there = ((each.index, each.local, each.prefix_length) for each in known(namespace.addresses))
    if (index, local, wanted.prefix_length) in there:
        return []
    address = Address(index=index, family=4, local=local, prefix_length=wanted.prefix_length)
    return [AddAddress(namespace=namespace.id, link=device, address=address)]


def _default_route(container: Namespace, wanted: Described) -> list[Change]:
    def fits(route: Route) -> bool:
        main = (route.table, route.destination, route.priority) == (MAIN, "0.0.0.0/0", 0)
        return main and [hop.gateway for hop in route.next_hops] == [wanted.gateway]

    if any(fits(route) for route in known(container.routes)):
        return []
    link = link_named(container, wanted.container_link)
    hop = NextHop(index=link.index if link else 0, gateway=wanted.gateway)
    route = Route(family=4, table=MAIN, destination="0.0.0.0/0", next_hops=(hop,))
    return [AddRoute(namespace=container.id, route=route)]
