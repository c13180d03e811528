"""A route lookup told: what decided it, and what its check needs to know of it."""

from typing import TYPE_CHECKING

from msgspec.structs import replace

from netdoctor.model.journey import Because
from netdoctor.model.snapshot import NamespaceId
from netdoctor.walk.packet import TCP, UDP, Packet
from netdoctor.walk.route_text import route_text, rule_text
from netdoctor.walk.routing import Lookup, learned_mtu, lookup, query_out
from netdoctor.walk.source_address import select_source
from netdoctor.walk.tables import MAIN
from netdoctor.walk.view import View
from netdoctor.walk.worlds import FORK

if TYPE_CHECKING:
    from netdoctor.walk.walker import Walker

ERROR_NAMES = {
    "none": "there is no route to {}", "blackhole": "a blackhole route swallows packets to {}",
    "unreachable": "an unreachable route refuses packets to {}", "prohibit": "a prohibit route refuses packets to {}",
}  # fmt: skip


def route_step(walker: "Walker", key: NamespaceId, packet: Packet, found: Lookup) -> None:
    """Puts the lookup on the trail; raises Dead when it has no way for the packet."""
    name = walker.view.name(key)
    because = route_because(walker, key, found)
    facts = route_facts(walker, key, packet, found)
    if found.type in ERROR_NAMES:
        text = ERROR_NAMES[found.type].format(packet.destination)
        cause = "route-missing" if found.type == "none" else "route-refuses"
        thrown = [route for route in found.skipped if route.type == "throw"]
        if found.type == "none" and thrown:
            route = route_text(walker.view, key, thrown[0])
            text, cause = f"the route {route} sends packets to {packet.destination} away unrouted", "route-refuses"
            facts |= {"route": route, "table": str(thrown[0].table)}
        if found.rule is not None and found.route is None:
            text, cause = (
                f"policy rule {rule_text(found.rule)} refuses packets to {packet.destination}",
                "policy-rule-refuses",
            )
        walker.trail.dies(
            walker.trail.step(
                "route", key, "block", f"{name}: {text}", *because, packet=str(packet), cause=cause, facts=facts
            )
        )
    device = walker.view.device_name(key, found.hop.index) if found.hop else ""
    via = f" via {found.hop.gateway}" if found.hop and found.hop.gateway else ""
    text = (
        f"{packet.destination} is {name}'s own"
        if found.type == "local"
        else f"{packet.destination} goes{via} by {device}"
    )
    walker.trail.add(
        walker.trail.step("route", key, "pass", text, *because, device=device, packet=str(packet), facts=facts)
    )


def chosen_way(walker: "Walker", key: NamespaceId, packet: Packet, found: Lookup) -> Lookup:
    """The lookup by one of its ways: where there are several, by the one that this world takes."""
    if walker.world is None or len(found.ways) < 2:
        return found
    view = walker.view
    told = tuple(
        f"{'via ' + way.hop.gateway + ' ' if way.hop and way.hop.gateway else ''}"
        f"by {view.device_name(key, way.hop.index) if way.hop else way.route.type}"
        for way in found.ways
    )
    taken, number = walker.world.turn(key, packet.destination, told)
    walker.trail.add(walker.trail.step("route", key, "pass", told[taken], packet=str(packet), facts={FORK: number}))
    return found.by(found.ways[taken])


def sourced(view: View, key: NamespaceId, packet: Packet) -> Packet:
    """The packet with a source, where IPv6 finds no route without one: source-specific routes (ip6_dst_lookup_tail)."""
    if packet.family == 4 or packet.source or lookup(view, key, query_out(packet)).type not in ERROR_NAMES:
        return packet
    source = select_source(view, key, 6, 0, packet.destination, None)
    found = lookup(view, key, query_out(replace(packet, source=source))) if source else None
    return packet if found is None or found.type in ERROR_NAMES else replace(packet, source=source)


def routed_apart(view: View, key: NamespaceId, packet: Packet, found: Lookup) -> bool:
    """True when connect() takes another way once the source is chosen: it looks up twice in IPv4 (ip_route_connect)."""
    if packet.family == 6 or packet.protocol not in (TCP, UDP):
        return False
    again = lookup(view, key, query_out(packet))
    return (again.type, again.ways) != (found.type, found.ways)


def route_because(walker: "Walker", key: NamespaceId, found: Lookup) -> tuple[Because, ...]:
    because = []
    if found.rule is not None and found.rule.table not in (255, MAIN):
        because.append(Because(kind="policy-rule", namespace=key, text=rule_text(found.rule)))
    if found.route is not None:
        because.append(Because(kind="route", namespace=key, text=route_text(walker.view, key, found.route)))
    because += [
        Because(kind="policy-rule", namespace=key, text=f"{rule_text(rule)} (no route there for this packet)")
        for rule in found.fell_through
    ]
    because += [
        Because(kind="route", namespace=key, text=f"{route_text(walker.view, key, route)} (not usable)")
        for route in found.skipped
    ]
    return tuple(because)


def route_facts(walker: "Walker", key: NamespaceId, packet: Packet, found: Lookup) -> dict[str, str]:
    facts = {
        "in_device": packet.in_device,
        "destination": packet.destination,
        "source": packet.source,
        "type": found.type,
        "mark": str(packet.mark),
    }
    if found.route is not None:
        facts |= {
            "route": route_text(walker.view, key, found.route), "prefix": found.route.destination,
            "table": str(found.route.table), "priority": str(found.route.priority),
        }  # fmt: skip
    told = found.route.mtu_bytes if found.route is not None else 0
    learned = learned_mtu(walker.view, key, packet.destination, found)
    if told or learned:
        facts["mtu"] = str(min(mtu for mtu in (told, learned) if mtu))
    if found.hop is not None:
        facts |= {"gateway": found.hop.gateway, "device": walker.view.device_name(key, found.hop.index)}
    if found.rule is not None:
        facts |= {"rule_priority": str(found.rule.priority), "rule_text": rule_text(found.rule)}
    if found.fell_through:
        rule = found.fell_through[0]
        facts |= {
            "fell_through": rule_text(rule),
            "fell_through_table": str(rule.table),
            "fell_through_priority": str(rule.priority),
        }
    if found.skipped:
        facts["skipped"] = route_text(walker.view, key, found.skipped[0])
        hops = found.skipped[0].next_hops
        facts["skipped_device"] = walker.view.device_name(key, hops[0].index) if hops else ""
    return facts
