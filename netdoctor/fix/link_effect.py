"""What happens to carriers, routes and addresses when a link changes. Pure.

Sources: drivers/net/veth.c, net/bridge/br_if.c, net/ipv4/fib_semantics.c fib_sync_down_dev, net/ipv6/addrconf.c.
"""

from netdoctor.model.change import SetBridge, SetBridgePort, SetLink
from netdoctor.model.network import BridgePort, Link, NextHop, Route
from netdoctor.model.snapshot import Namespace, Snapshot

from .addressing import IPV6_MINIMUM_MTU_BYTES, connected, v6_lost, v6_regained, with_added
from .seen import edited, known, link_at, link_named, peer_of, replace, sysctl, with_link, with_namespace, with_routes

DISABLED, LISTENING, FORWARDING = 0, 1, 3
PORT_FIELDS = {
    "state": "state",
    "isolated": "isolated",
    "locked": "locked",
    "learning": "learning",
    "flood": "unicast_flood",
    "mcast_flood": "multicast_flood",
    "bcast_flood": "broadcast_flood",
    "hairpin": "hairpin",
    "neigh_suppress": "neighbour_suppress",
    "proxy_arp": "proxy_arp",
}
BRIDGE_FIELDS = {
    "stp_state": "stp",
    "vlan_filtering": "vlan_filtering",
    "nf_call_iptables": "nf_call_iptables",
    "nf_call_ip6tables": "nf_call_ip6tables",
    "nf_call_arptables": "nf_call_arptables",
    "mcast_snooping": "mcast_snooping",
    "vlan_default_pvid": "vlan_default_pvid",
}


def link_set(snapshot: Snapshot, change: SetLink) -> Snapshot:
    """The snapshot after `ip link set`, one property after the other."""
    namespace = snapshot.namespaces.get(change.namespace)
    link = link_named(namespace, change.link) if namespace else None
    if namespace is None or link is None:
        return snapshot
    namespace, index = _plain(namespace, link, change), link.index
    snapshot = with_namespace(snapshot, namespace)
    if change.master is not None:
        snapshot = _enslaved(snapshot, namespace, index, change.master)
    if change.up is not None and change.up != link.up:
        snapshot = _switched(snapshot, change.namespace, index, up=change.up)
    return snapshot


def _plain(namespace: Namespace, link: Link, change: SetLink) -> Namespace:
    """MTU, MAC and NOARP; an MTU below 1280 turns IPv6 off on the link."""
    new = replace(
        link,
        mtu_bytes=link.mtu_bytes if change.mtu_bytes is None else change.mtu_bytes,
        mac=link.mac if change.mac is None else change.mac,
        no_arp=link.no_arp if change.no_arp is None else change.no_arp,
    )
    namespace = with_link(namespace, new)
    if new.mtu_bytes < IPV6_MINIMUM_MTU_BYTES <= link.mtu_bytes:
        return _without_ipv6(v6_lost(namespace, new), new.name)
    if link.mtu_bytes < IPV6_MINIMUM_MTU_BYTES <= new.mtu_bytes:
        return v6_regained(_with_ipv6(namespace, new.name), new)
    return namespace


def _ipv6_keys(namespace: Namespace, device: str) -> list[str]:
    heads = (f"net/ipv6/conf/{device}/", f"net/ipv6/neigh/{device}/")
    return [key for key in namespace.sysctls if key.startswith(heads)]


def _without_ipv6(namespace: Namespace, device: str) -> Namespace:
    """A link too small for IPv6 loses even its sysctls."""
    gone = set(_ipv6_keys(namespace, device))
    return replace(namespace, sysctls={key: each for key, each in namespace.sysctls.items() if key not in gone})


def _with_ipv6(namespace: Namespace, device: str) -> Namespace:
    """The sysctls come back with the values of "default"."""
    fresh = {
        key.replace("/default/", f"/{device}/", 1): namespace.sysctls[key] for key in _ipv6_keys(namespace, "default")
    }
    return replace(namespace, sysctls={**namespace.sysctls, **fresh})


def _enslaved(snapshot: Snapshot, namespace: Namespace, index: int, master: str) -> Snapshot:
    link = link_at(namespace, index)
    bridge = link_named(namespace, master) if master else None
    if link is None:
        return snapshot
    old = link_at(namespace, link.master)
    state = FORWARDING if link.carrier else DISABLED
    slave = replace(
        link,
        master=bridge.index if bridge else 0,
        slave_kind=bridge.kind if bridge else "",
        port=(link.port or BridgePort(state=state)) if bridge and bridge.kind == "bridge" else None,
    )
    namespace = with_link(namespace, slave)
    if old and old.bridge and not any(port.master == old.index for port in known(namespace.links)):
        namespace = _with_carrier(namespace, old, carrier=False)
    snapshot = with_namespace(snapshot, namespace)
    for touched in (old, bridge):
        if touched:
            snapshot = _carrier_follows(snapshot, namespace.id, touched.index)
    return snapshot


def _switched(snapshot: Snapshot, where: str, index: int, *, up: bool) -> Snapshot:
    """Admin state changes: what hangs on it goes or comes, then carriers follow."""
    namespace = snapshot.namespaces[where]
    link = link_at(namespace, index)
    if link is None:
        return snapshot
    if not up:
        namespace = _gone_down(with_link(namespace, replace(link, up=False)), link)
        return _carrier_follows(with_namespace(snapshot, _ports_follow(namespace, link, up=False)), where, index)
    namespace = _ports_follow(with_link(namespace, replace(link, up=True)), link, up=True)
    snapshot = with_namespace(snapshot, namespace)
    snapshot = _carrier_follows(snapshot, where, index)
    return edited(snapshot, where, lambda now: _come_up(now, index))


def _ports_follow(namespace: Namespace, bridge: Link, *, up: bool) -> Namespace:
    """br_stp_disable_bridge, br_stp_enable_bridge: a bridge that is down forwards by no port, one that comes up by all."""
    if bridge.bridge is None:
        return namespace
    for port in known(namespace.links):
        if port.master == bridge.index and port.port is not None:
            state = (LISTENING if bridge.bridge.stp else FORWARDING) if up and port.up and port.carrier else DISABLED
            namespace = with_link(namespace, replace(port, port=replace(port.port, state=state)))
    return namespace


def _gone_down(namespace: Namespace, link: Link) -> Namespace:
    """IPv4 routes through the link go, save local ones; next hops of multipath routes die; all of IPv6 goes."""
    routes = [_less(route, link) for route in known(namespace.routes)]
    namespace = with_routes(namespace, [route for route in routes if route is not None])
    neighbours = known(namespace.neighbours)
    kept = tuple(entry for entry in neighbours if entry.index != link.index)
    namespace = replace(namespace, neighbours=kept) if neighbours else namespace
    return v6_lost(namespace, link)


def _less(route: Route, link: Link) -> Route | None:
    if route.family == 6 or route.type == "local" or not any(hop.index == link.index for hop in route.next_hops):
        return route
    if all(hop.index == link.index or "dead" in hop.flags for hop in route.next_hops):
        return None
    hops = tuple(_flagged(hop, link, ("dead", "linkdown")) for hop in route.next_hops)
    return replace(route, next_hops=hops)


def _flagged(hop: NextHop, link: Link, flags: tuple[str, ...], *, clear: bool = False) -> NextHop:
    if hop.index != link.index:
        return hop
    rest = tuple(flag for flag in hop.flags if flag not in flags)
    return replace(hop, flags=rest if clear else (*rest, *flags))


def _come_up(namespace: Namespace, index: int) -> Namespace:
    link = link_at(namespace, index)
    if link is None:
        return namespace
    for address in known(namespace.addresses):
        if address.index == index and address.family == 4:
            namespace = with_added(namespace, connected(namespace, link, address))
    revived = (
        replace(route, next_hops=tuple(_flagged(hop, link, ("dead",), clear=True) for hop in route.next_hops))
        for route in known(namespace.routes)
    )
    return v6_regained(with_routes(namespace, revived), link)


def _carrier_follows(snapshot: Snapshot, where: str, index: int) -> Snapshot:
    """Recomputes a link's carrier, then of what depends on it: the veth peer, the bridge above, what lies on top."""
    namespace = snapshot.namespaces.get(where)
    link = link_at(namespace, index) if namespace else None
    if namespace is None or link is None:
        return snapshot
    peer = peer_of(snapshot, namespace, link)
    now = _with_carrier(namespace, link, carrier=_carrier(namespace, link, peer[1] if peer else None))
    snapshot = with_namespace(snapshot, now)
    if peer and peer[1].up and peer[1].carrier != link.up:
        snapshot = _carrier_follows(snapshot, peer[0].id, peer[1].index)
    after = link_at(now, index)
    if after and after.carrier != link.carrier:
        above = [other.index for other in known(now.links) if other.index == link.master or _lies_on(other, index)]
        for other in above:
            snapshot = _carrier_follows(snapshot, where, other)
    return snapshot


def _lies_on(link: Link, index: int) -> bool:
    return link.kind in ("macvlan", "ipvlan", "vlan") and link.lower == index and link.lower_namespace is None


def _carrier(namespace: Namespace, link: Link, peer: Link | None) -> bool:
    if not link.up:
        return False
    if link.kind == "veth":
        return peer.up if peer else link.carrier
    if link.kind == "bridge":
        ports = [port for port in known(namespace.links) if port.master == link.index]
        return any(port.carrier for port in ports) if ports else link.carrier
    if _lies_on(link, link.lower):
        lower = link_at(namespace, link.lower)
        return lower.carrier if lower else link.carrier
    return True


def _with_carrier(namespace: Namespace, link: Link, *, carrier: bool) -> Namespace:
    if link.loopback:
        state = "unknown" if carrier else "down"
    else:
        state = "up" if carrier else ("lowerlayerdown" if link.up and link.lower else "down")
    port = replace(link.port, state=FORWARDING if carrier else DISABLED) if link.port else None
    new = replace(link, carrier=carrier, operstate=state, port=port if carrier != link.carrier else link.port)
    namespace = with_link(namespace, new)
    if carrier == link.carrier or not link.up:
        return namespace

    def tell(route: Route) -> Route:
        if route.type == "local":
            return route
        flags = ("dead", "linkdown") if _ignored_linkdown(namespace, link, route.family) else ("linkdown",)
        hops = tuple(_flagged(hop, link, flags, clear=carrier) for hop in route.next_hops)
        return replace(route, next_hops=hops)

    namespace = with_routes(namespace, (tell(route) for route in known(namespace.routes)))
    return v6_regained(namespace, new) if carrier else namespace


def _ignored_linkdown(namespace: Namespace, link: Link, family: int) -> bool:
    """fib_nexthop_info: a next hop without carrier is dumped as dead too where such routes are ignored."""
    option = "ignore_routes_with_linkdown"
    return any(sysctl(namespace, f"net/ipv{family}/conf/{one}/{option}") == "1" for one in ("all", link.name))


def port_set(namespace: Namespace, change: SetBridgePort) -> Namespace:
    link = link_named(namespace, change.link)
    if link is None or link.port is None or change.option not in PORT_FIELDS:
        return namespace
    value: object = change.value if change.option == "state" else bool(change.value)
    return with_link(namespace, replace(link, port=replace(link.port, **{PORT_FIELDS[change.option]: value})))


def bridge_set(namespace: Namespace, change: SetBridge) -> Namespace:
    link = link_named(namespace, change.link)
    if link is None or link.bridge is None or change.option not in BRIDGE_FIELDS:
        return namespace
    value: object = change.value if change.option == "vlan_default_pvid" else bool(change.value)
    return with_link(namespace, replace(link, bridge=replace(link.bridge, **{BRIDGE_FIELDS[change.option]: value})))
