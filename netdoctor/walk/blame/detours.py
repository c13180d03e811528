"""Routes that lead the request astray: into the namespace itself, a dead tunnel, past a table that lost its route."""

from msgspec.structs import replace

from netdoctor.model.journey import Because, RoundTrip, Step
from netdoctor.model.snapshot import NamespaceId
from netdoctor.walk.addressing import is_loopback
from netdoctor.walk.blame.grounds import entry_to, source_of
from netdoctor.walk.layer2 import link_text
from netdoctor.walk.route_text import route_text, rule_text
from netdoctor.walk.routing import Query, lookup
from netdoctor.walk.view import View


def captured_locally(view: View, trip: RoundTrip, fatal: Step) -> Step | None:
    """A `local` route that nobody's address made (TPROXY and any-IP recipes) keeps the packet in a stack that is not its end."""
    kept = fatal.kind in ("deliver", "hook") or fatal.cause == "local-route-captures"
    if not kept or fatal.direction != "forward" or is_loopback(trip.flow.destination):
        return None
    route = next(
        (
            step
            for step in reversed(trip.forward.steps)
            if step.kind == "route"
            and step.outcome == "pass"
            and step.namespace == fatal.namespace
            and step.facts.get("type") == "local"
        ),
        None,
    )
    if route is None:
        return _local_route(view, trip, fatal)
    if view.local_addresses(route.namespace, route.facts["destination"]):
        return None
    return _captured(view, route)


def _local_route(view: View, trip: RoundTrip, fatal: Step) -> Step | None:
    """The same for a packet that came in: its input route is looked up again."""
    entry = entry_to(trip, fatal.namespace)
    destination = fatal.facts.get("address") or fatal.facts.get("destination", "")
    if entry is None or not destination or view.local_addresses(fatal.namespace, destination):
        return None
    mark = next(
        (
            int(s.facts["mark"])
            for s in reversed(trip.forward.steps)
            if s.namespace == fatal.namespace and "mark" in s.facts
        ),
        0,
    )
    for value in (mark, *_marks(view, fatal.namespace)):
        found = lookup(
            view, fatal.namespace, Query(trip.flow.family, source_of(entry), destination, value, entry.device)
        )
        if found.type == "local" and found.route is not None:
            facts = {
                "destination": destination,
                "route": route_text(view, fatal.namespace, found.route),
                "table": str(found.route.table),
            }
            if found.rule is not None:
                facts["rule_text"] = rule_text(found.rule)
            because = (Because(kind="route", namespace=fatal.namespace, text=facts["route"]),)
            return _captured(view, replace(entry, facts=facts, because=because))
    return None


def _marks(view: View, key: NamespaceId) -> list[int]:
    return [rule.fwmark for rule in view.rules(key) if rule.fwmark]


def _captured(view: View, step: Step) -> Step:
    name = view.name(step.namespace)
    return replace(
        step,
        kind="route",
        outcome="block",
        cause="local-route-captures",
        summary=f"{name} keeps packets to {step.facts['destination']} for itself by the route {step.facts['route']}, and nothing there takes them",
    )


def dead_device(view: View, trip: RoundTrip, fatal: Step) -> Step | None:
    """The route leads into a tunnel that nobody serves any more."""
    if fatal.cause != "carrier-missing" or fatal.facts.get("kind") not in ("tun", "wireguard", "dummy", "ifb"):
        return None
    journey = trip.forward.steps if fatal.direction == "forward" else trip.reply.steps if trip.reply else ()
    route = next(
        (s for s in reversed(journey) if s.kind == "route" and s.outcome == "pass" and s.namespace == fatal.namespace),
        None,
    )
    if route is None or not route.facts.get("route"):
        return None
    return replace(
        route,
        outcome="block",
        cause="route-to-dead-device",
        device=fatal.device,
        summary=f"{view.name(fatal.namespace)} sends it by {route.facts['route']}, and {fatal.summary}",
        because=(*route.because, *fatal.because),
    )


def carrierless(view: View, trip: RoundTrip, fatal: Step, beyond: frozenset[NamespaceId]) -> Step | None:
    """The better route leads by a link without carrier and is passed over for that: the packet went astray by a worse one."""
    if fatal.namespace not in beyond:
        return None
    for step in trip.forward.steps:
        link = view.link(step.namespace, step.facts.get("skipped_device", ""))
        if step.kind != "route" or step.namespace in beyond or link is None or link.carrier or not link.up:
            continue
        name, skipped = view.name(step.namespace), step.facts["skipped"]
        text = (
            f"{name} passes over the route {skipped} because {link.name} has no carrier (ignore_routes_with_linkdown)"
        )
        down = [one for one in view.links(step.namespace) if one.master == link.index and not one.up]
        at = down[0] if down else link
        what = f"its port {at.name} is down" if down else f"{link.name} is not plugged in"
        return replace(
            step,
            kind="device" if down else "carrier",
            outcome="block",
            cause="link-down" if down else "carrier-missing",
            device=at.name,
            summary=f"{text}: {what}",
            because=(*step.because, Because(kind="link", namespace=step.namespace, text=link_text(at))),
            facts={**step.facts, "link": at.name, "kind": at.kind},
        )
    return None


def lost_table(view: View, trip: RoundTrip, fatal: Step, beyond: frozenset[NamespaceId]) -> Step | None:
    """The packet was meant for a routing table of its own, found no route there, and died where main sent it."""
    if fatal.namespace not in beyond:
        return None
    for step in trip.forward.steps:
        if step.kind == "route" and step.namespace not in beyond and step.facts.get("fell_through"):
            table = step.facts["fell_through_table"]
            name = view.name(step.namespace)
            return replace(
                step, outcome="block", cause="policy-table-without-route",
                summary=f"table {table} in {name} has no route to {step.facts['destination']}: the packet that rule "
                f"{step.facts['fell_through']} sends there falls through to {step.facts.get('route', 'main')}",
                facts={**step.facts, "table": table},
            )  # fmt: skip
    return None
