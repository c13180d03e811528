"""What the rules of blame look at together: who is on a link, how the request came in, where the uplinks are."""

from netdoctor.model.journey import RoundTrip, Step
from netdoctor.model.network import Address, Link
from netdoctor.model.snapshot import NamespaceId
from netdoctor.model.unknown import Unknown
from netdoctor.walk.addressing import contains, network_of
from netdoctor.walk.layer2 import Frame, Spread
from netdoctor.walk.trail import Trail
from netdoctor.walk.view import View


def entry_to(trip: RoundTrip, key: NamespaceId) -> Step | None:
    """The step by which the request first comes into a namespace."""
    return next(
        (one for one in trip.forward.steps if one.kind == "device" and one.outcome == "pass" and one.namespace == key),
        None,
    )


def source_of(step: Step) -> str:
    """The source address of the packet as this step saw it."""
    source = step.packet.partition(" -> ")[0]
    if source.startswith("["):
        return source[1:].partition("]")[0]
    return source.partition(":")[0] if source.count(":") == 1 else source


def global_addresses(view: View, key: NamespaceId, link: Link, family: int) -> list[Address]:
    return [
        one for one in view.addresses(key) if one.index == link.index and one.family == family and one.scope == "global"
    ]


def share_subnet(mine: Address, other: Address) -> bool:
    """True when either address lies in the other's subnet."""
    return contains(network_of(other.local, other.prefix_length), mine.local) or contains(
        network_of(mine.local, mine.prefix_length), other.local
    )


def stacks_on(view: View, key: NamespaceId, link: Link) -> list[tuple[NamespaceId, Link]]:
    """The stacks that a broadcast from this interface gets to."""
    spread = Spread(view, Trail(), Frame(link.mac, "ff:ff:ff:ff:ff:ff"))
    return [
        (end.namespace, end.link)
        for end in spread.ends(key, link)
        if (end.namespace, end.link.index) != (key, link.index)
    ]


def is_router_side(view: View, there: NamespaceId, other: Link) -> bool:
    """A stack that forwards (or is the host's): it could be the gateway."""
    return there == view.snapshot.host or view.number(there, "net/ipv4/ip_forward") == 1 or other.kind == "bridge"


def directly_attached(view: View, key: NamespaceId, link: Link | None, asker: str) -> bool:
    """True when the stack that has the asker's address is on the link itself, not behind a router."""
    if link is None:
        return False
    spread = Spread(view, Trail(), Frame(link.mac, "ff:ff:ff:ff:ff:ff"))
    for end in spread.ends(key, link):
        if end.namespace != key and any(
            one.local == asker and one.index == end.link.index for one in view.addresses(end.namespace)
        ):
            return True
    return False


def owner_elsewhere(view: View, address: str) -> NamespaceId | None:
    for key, namespace in view.snapshot.namespaces.items():
        if not isinstance(namespace.addresses, Unknown) and any(one.local == address for one in namespace.addresses):
            return key
    return None


def askers_gateway(view: View, asker: str) -> tuple[str, int] | None:
    """The on-link gateway of the stack that has this address, with its prefix length."""
    for key, namespace in view.snapshot.namespaces.items():
        if (
            isinstance(namespace.addresses, Unknown)
            or isinstance(namespace.routes, Unknown)
            or key == view.snapshot.host
        ):
            continue
        mine = next((one for one in namespace.addresses if one.local == asker), None)
        for route in namespace.routes if mine else ():
            for hop in route.next_hops:
                if mine and hop.gateway and contains(network_of(mine.local, mine.prefix_length), hop.gateway):
                    return hop.gateway, mine.prefix_length
    return None


def uplink_names(view: View, key: NamespaceId) -> set[str]:
    """The interfaces of a namespace's default routes."""
    return {
        view.device_name(key, hop.index)
        for route in view.routes(key)
        if route.destination in ("0.0.0.0/0", "::/0") and route.type == "unicast"
        for hop in route.next_hops
        if hop.gateway
    }
