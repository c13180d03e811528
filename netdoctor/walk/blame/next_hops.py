"""Next hops that nobody has: a gateway's address that is missing, or a route that names a wrong one."""

from msgspec.structs import replace

from netdoctor.model.journey import Because, RoundTrip, Step
from netdoctor.model.network import Address, Link
from netdoctor.model.snapshot import NamespaceId
from netdoctor.walk.addressing import contains, is_link_local, network_of, prefix
from netdoctor.walk.blame.cables import macvlan_isolation
from netdoctor.walk.blame.grounds import (
    global_addresses,
    is_router_side,
    owner_elsewhere,
    share_subnet,
    stacks_on,
    uplink_names,
)
from netdoctor.walk.route_text import route_text
from netdoctor.walk.routing import Query, lookup
from netdoctor.walk.tables import MAIN
from netdoctor.walk.view import View


def unproxied(view: View, fatal: Step) -> Step | None:
    """Nobody answers for an IPv6 address that a router on the link has a route to: it should by NDP proxy, an entry is missing."""
    address = fatal.facts.get("next_hop", "")
    link = view.link(fatal.namespace, fatal.facts.get("link", ""))
    if fatal.cause != "next-hop-unowned" or ":" not in address or fatal.facts.get("gateway") or link is None:
        return None
    for there, other in stacks_on(view, fatal.namespace, link):
        found = lookup(view, there, Query(6, "", address))
        onwards = found.hop is not None and found.hop.index != other.index and found.route is not None
        if not onwards or found.type != "unicast" or found.route.destination == "::/0":  # type: ignore[union-attr]
            continue
        on = bool(view.conf(there, 6, "all", "proxy_ndp") or view.conf(there, 6, other.name, "proxy_ndp"))
        if not on and view.snapshot.target != fatal.namespace:
            continue
        name = view.name(there)
        return replace(
            fatal, kind="neighbour", namespace=there, device=other.name, cause="proxy-ndp-missing",
            summary=f"{name} has a route to {address} and does not answer neighbour discovery for it on {other.name}: "
            f"no proxy entry{'' if on else ', and proxy_ndp is off'}",
            facts={"link": other.name, "address": address, "switch": "" if on else f"net/ipv6/conf/{other.name}/proxy_ndp"},
        )  # fmt: skip
    return None


def redirected(trip: RoundTrip, fatal: Step, name: str) -> Step | None:
    """The next hop that fails was learned by an ICMP redirect: the redirect is at fault, whatever ails the neighbour."""
    if fatal.kind not in ("neighbour", "address-owner") or fatal.direction != "forward":
        return None
    route = next((one for one in reversed(trip.forward.steps) if one.kind == "route" and one.outcome == "pass"), None)
    if route is None or route.namespace != fatal.namespace or "cache <redirected>" not in route.facts.get("route", ""):
        return None
    gateway, text = route.facts["gateway"], route.facts["route"]
    return replace(
        route, outcome="block", cause="gateway-dead", because=(*route.because, *fatal.because),
        summary=f"{name} learned by an ICMP redirect to go via {gateway} ({text}), which does not take it: {fatal.summary}",
    )  # fmt: skip


def unowned_next_hop(view: View, trip: RoundTrip, fatal: Step) -> Step | None:
    """Nobody has the next hop: the gateway's address is missing over there, or the route names a wrong gateway."""
    if fatal.cause != "next-hop-unowned":
        return None
    key, link = fatal.namespace, view.link(fatal.namespace, fatal.facts["link"])
    gateway, next_hop = fatal.facts.get("gateway", ""), fatal.facts["next_hop"]
    if link is None:
        return None
    family = 6 if ":" in next_hop else 4
    others = stacks_on(view, key, link)
    isolated = macvlan_isolation(view, fatal, key, link, next_hop)
    if isolated is not None:
        return isolated
    if gateway:
        return _dead_gateway(view, fatal, key, link, gateway, others, family)
    wide = _too_wide(view, key, link, next_hop, others)
    if wide is not None:
        mine, length = wide
        text = f"{mine.local}/{mine.prefix_length}"
        return replace(
            fatal,
            kind="address-owner",
            cause="address-prefix-wide",
            summary=f"{link.name} in {view.name(key)} has {text}, so {next_hop} looks like a neighbour, and nobody there has it: "
            f"the link's network is a /{length}",
            because=(*fatal.because, Because(kind="address", namespace=key, text=f"inet {text} dev {link.name}")),
            facts={**fatal.facts, "address": text, "local": mine.local, "length": str(length), "family": str(family)},
        )
    owner = owner_elsewhere(view, next_hop)
    route = fatal.facts.get("route", "")
    shadowed = _overlapped(view, fatal, key, link, next_hop)
    if shadowed is not None:
        return shadowed
    if route.startswith("default") or (owner is None and _outside_own_subnets(view, key, link, next_hop)):
        return replace(
            fatal, kind="route", cause="route-on-link-wrong",
            summary=f"{view.name(key)} takes {next_hop} for a neighbour on {link.name} ({route}), and nobody there has it",
            because=(*fatal.because, Because(kind="route", namespace=key, text=route)),
        )  # fmt: skip
    if key == view.snapshot.host and link.name in uplink_names(view, key):
        return replace(
            fatal,
            kind="upstream",
            namespace="upstream",
            cause="destination-silent",
            summary=f"nobody on the uplink {link.name} of {view.name(key)} has the address {next_hop}",
            facts={**fatal.facts, "object": f"upstream: {next_hop}"},
        )
    return replace(
        fatal,
        cause="destination-unowned",
        summary=f"nobody on {link.name} of {view.name(key)} has the address {next_hop}",
    )


def _overlapped(view: View, fatal: Step, key: NamespaceId, link: Link, next_hop: str) -> Step | None:
    """A more specific subnet on another interface covers an address of a wider network that this stack is on, too."""
    mine, text = fatal.facts.get("prefix", "/0"), fatal.facts.get("route", "")
    wider = [
        one
        for one in view.routes(key)
        if one.table == MAIN and one.type == "unicast" and len(one.next_hops) == 1 and one.next_hops[0].index != link.index
        and not one.destination.endswith("/0") and contains(one.destination, next_hop)
        and prefix(one.destination)[2] <= prefix(mine)[2] and one.next_hops[0].index
        and "linkdown" not in one.next_hops[0].flags
    ]  # fmt: skip
    if not wider or mine.endswith(("/0", "/32", "/128")):
        return None
    other = max(wider, key=lambda one: prefix(one.destination)[2])
    device = view.device_name(key, other.next_hops[0].index)
    if not _lives_on(view, key, view.link(key, device), next_hop):
        return None
    return replace(
        fatal, kind="route", cause="subnets-overlap",
        summary=f"{view.name(key)} takes {next_hop} for a neighbour on {link.name} ({text}), where nobody has it: "
        f"{link.name}'s {mine} overlaps {other.destination} on {device}",
        because=(*fatal.because, *(Because(kind="route", namespace=key, text=one) for one in (text, route_text(view, key, other)))),
        facts={**fatal.facts, "wider": route_text(view, key, other), "device": device},
    )  # fmt: skip


def _lives_on(view: View, key: NamespaceId, link: Link | None, address: str) -> bool:
    """True when somebody on that link is seen to have the address, or was not long ago."""
    if link is None:
        return False
    known = any(one.index == link.index and one.address == address and one.mac for one in view.neighbours(key))
    return known or any(
        one.local == address for there, _ in stacks_on(view, key, link) for one in view.addresses(there)
    )


def _too_wide(
    view: View, key: NamespaceId, link: Link, next_hop: str, others: list[tuple[NamespaceId, Link]]
) -> tuple[Address, int] | None:
    """The address whose short prefix makes the next hop look on-link, and the length that the link's router has."""
    mine = next(
        (
            one
            for one in view.addresses(key)
            if one.index == link.index and contains(network_of(one.local, one.prefix_length), next_hop)
        ),
        None,
    )
    for there, other in others if mine is not None else ():
        for one in global_addresses(view, there, other, mine.family if mine else 4):
            network = network_of(one.local, one.prefix_length)
            if (
                mine
                and one.prefix_length > mine.prefix_length
                and contains(network, mine.local)
                and not contains(network, next_hop)
            ):
                return mine, one.prefix_length
    return None


def _dead_gateway(
    view: View,
    fatal: Step,
    key: NamespaceId,
    link: Link,
    gateway: str,
    others: list[tuple[NamespaceId, Link]],
    family: int,
) -> Step:
    """Whose fault a silent gateway is: a stack over there without an address should have it, else the route is wrong."""
    route = fatal.facts.get("route", "")
    because = (*fatal.because, Because(kind="route", namespace=key, text=route))
    own = [one for one in view.addresses(key) if one.index == link.index and one.family == family]
    routers = [(there, other) for there, other in others if is_router_side(view, there, other)]
    addressed = [
        one.local
        for there, other in routers
        for one in view.addresses(there)
        if one.index == other.index and one.family == family and one.scope == "global"
        and any(contains(network_of(mine.local, mine.prefix_length), one.local) for mine in own)
    ]  # fmt: skip
    expected = any(contains(network_of(mine.local, mine.prefix_length), gateway) for mine in own)
    expected = expected and not _other_way_out(view, key, link, family)
    proxy = _proxy_off(view, fatal, gateway, routers, own)
    if proxy is not None:
        return proxy
    if routers and not addressed and expected and not _specific(fatal) and key != view.snapshot.host:
        there, other = routers[0]
        mine = next(one for one in own if contains(network_of(one.local, one.prefix_length), gateway))
        return replace(
            fatal, kind="address-owner", namespace=there, device=other.name, cause="gateway-address-missing", because=because,
            summary=f"{other.name} in {view.name(there)} does not have the address {gateway}, which {view.name(key)} uses as its gateway: nobody has it",
            facts={**fatal.facts, "link": other.name, "gateway": gateway, "length": str(mine.prefix_length), "asker": mine.local,
                   "family": str(family)},
        )  # fmt: skip
    return replace(
        fatal, kind="route", cause="gateway-dead", because=because,
        summary=f"{view.name(key)} sends it via {gateway} ({route}), an address that nobody on {link.name} has",
        facts={**fatal.facts, "candidates": " ".join(dict.fromkeys(addressed)), "gateway": gateway, "family": str(family)},
    )  # fmt: skip


def _proxy_off(
    view: View, fatal: Step, gateway: str, routers: list[tuple[NamespaceId, Link]], own: list[Address]
) -> Step | None:
    """A gateway that is meant to be nobody's (169.254.1.1, a /32 container): the router should answer for it and may not."""
    meant = is_link_local(gateway) or (own and all(one.prefix_length == 32 for one in own))
    for there, other in routers if meant and ":" not in gateway else ():
        if view.conf_or(there, other.name, "proxy_arp"):
            continue
        path = f"net/ipv4/conf/{other.name}/proxy_arp"
        dotted = path.replace("/", ".")
        return replace(
            fatal,
            kind="neighbour",
            namespace=there,
            device=other.name,
            cause="proxy-arp-off",
            summary=f"{view.name(there)} does not answer ARP for the gateway {gateway} on {other.name}: {dotted} is 0",
            because=(*fatal.because, Because(kind="sysctl", namespace=there, text=f"{dotted} = 0")),
            facts={"link": other.name, "address": gateway, "sysctl": path, "value": "0", "wanted": "1"},
        )
    return None


def _other_way_out(view: View, key: NamespaceId, link: Link, family: int) -> bool:
    """True when another interface of the namespace leads to a router that has an address in its subnet."""
    for other in view.links(key):
        if other.index == link.index or other.kind != "veth" or not other.up:
            continue
        mine = global_addresses(view, key, other, family)
        for there, end in stacks_on(view, key, other) if mine else ():
            if is_router_side(view, there, end) and any(
                share_subnet(own, one) for own in mine for one in global_addresses(view, there, end, family)
            ):
                return True
    return False


def _specific(fatal: Step) -> bool:
    return not fatal.facts.get("prefix", "/0").endswith("/0")


def _outside_own_subnets(view: View, key: NamespaceId, link: Link, address: str) -> bool:
    return not any(
        contains(network_of(one.local, one.prefix_length), address)
        for one in view.addresses(key)
        if one.index == link.index and one.family == (6 if ":" in address else 4)
    )
