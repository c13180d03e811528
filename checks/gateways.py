"""The default route that a stack should have: which gateway its surroundings imply."""

from netdoctor.checks import ground
from netdoctor.model.change import AddRoute, Change, DeletePolicyRule, DeleteRoute
from netdoctor.model.journey import Step
from netdoctor.model.network import Family, NextHop, Route
from netdoctor.model.snapshot import Snapshot
from netdoctor.walk.addressing import contains

MAIN, SINGLE = 254, 32
PROXIED_GATEWAY = "169.254.1.1"


def _default(snapshot: Snapshot, step: Step, gateway: str, device: str) -> Route | None:
    link = ground.link(snapshot, step.namespace, device)
    if link is None:
        return None
    family: Family = 6 if ":" in gateway else 4
    return Route(
        family=family, table=MAIN, destination="::/0" if family == 6 else "0.0.0.0/0", protocol="boot",
        priority=1024 if family == 6 else 0, next_hops=(NextHop(index=link.index, gateway=gateway),),
    )  # fmt: skip


def _implied_gateway(step: Step, snapshot: Snapshot) -> tuple[str, str] | None:
    """The only router right behind the container's cable; the host's own gateway is never guessed."""
    if step.namespace == snapshot.host:
        return None
    family = 6 if ":" in step.facts.get("destination", "") else 4
    found = ground.router_addresses(snapshot, step.namespace, family)
    firsts = {gateway: device for gateway, device, _ in found}
    if len(firsts) != 1:
        return None
    return next(iter(firsts.items()))


def add_default(step: Step, snapshot: Snapshot) -> tuple[Change, ...]:
    """The default route by the implied gateway; by proxy ARP where the router answers for addresses that are nobody's."""
    implied = _implied_gateway(step, snapshot)
    route = _default(snapshot, step, *implied) if implied else None
    if route is not None:
        return (AddRoute(namespace=step.namespace, route=route),)
    return _by_proxy_arp(step, snapshot)


def _by_proxy_arp(step: Step, snapshot: Snapshot) -> tuple[Change, ...]:
    """A container with a single address whose router routes just that to it and answers ARP for everything (Calico's way)."""
    key = step.namespace
    if key == snapshot.host or ":" in step.facts.get("destination", ""):
        return ()
    for link in ground.links(snapshot, key):
        end = ground.other_end(snapshot, key, link) if link.kind == "veth" and link.up else None
        mine = [one for one in ground.addresses_on(snapshot, key, link.name, 4) if one.prefix_length == SINGLE]
        if end is None or not mine:
            continue
        there, peer = end
        routed = any(
            route.destination == f"{mine[0].local}/{SINGLE}"
            and route.next_hops
            and route.next_hops[0].index == peer.index
            for route in ground.routes(snapshot, there)
        )
        default = _default(snapshot, step, PROXIED_GATEWAY, link.name)
        if routed and default and ground.sysctl(snapshot, there, f"net/ipv4/conf/{peer.name}/proxy_arp") == "1":
            hop = (NextHop(index=link.index),)
            near = Route(family=4, table=MAIN, destination=f"{PROXIED_GATEWAY}/{SINGLE}", scope="link", next_hops=hop)
            return (AddRoute(namespace=key, route=near), AddRoute(namespace=key, route=default))
    return ()


def mend_gateway(step: Step, snapshot: Snapshot) -> tuple[Change, ...]:
    """A custom table's rule goes; a route that shadows a usable one goes; a container's default gets the real gateway."""
    facts = step.facts
    route = ground.find_route(snapshot, step.namespace, facts.get("route", ""))
    if route is None:
        return ()
    if route.table != MAIN:
        rule = ground.find_policy_rule(snapshot, step.namespace, facts.get("rule_text", ""))
        return (DeletePolicyRule(namespace=step.namespace, rule=rule),) if rule else ()
    if has_alternative(step, snapshot, route):
        return (DeleteRoute(namespace=step.namespace, route=route),)
    implied = _implied_gateway(step, snapshot)
    new = _default(snapshot, step, *implied) if implied and route.destination in ("0.0.0.0/0", "::/0") else None
    if new is None:
        return ()
    return (DeleteRoute(namespace=step.namespace, route=route), AddRoute(namespace=step.namespace, route=new))


def has_alternative(step: Step, snapshot: Snapshot, route: Route) -> bool:
    destination = step.facts.get("destination", "")
    return any(
        other != route and other.table == route.table and other.family == route.family and other.type == "unicast"
        and other.next_hops != route.next_hops and contains(other.destination, destination)
        for other in ground.routes(snapshot, step.namespace)
    )  # fmt: skip
