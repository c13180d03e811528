"""From the step where the packet dies to the fault that made it die there.

A reply that finds no way back from beyond is not the router's fault when our NAT should have rewritten its address; a
route that is missing because its interface is down is the interface's. Each rule here looks at the fatal step, the way
that led to it and the snapshot, and names the step that truly is at fault; the step it replaces stays in the journey.
"""

from msgspec.structs import replace

from netdoctor.model.journey import Journey, RoundTrip, Step
from netdoctor.model.snapshot import NamespaceId
from netdoctor.walk.blame import (
    absences,
    addresses,
    cables,
    destination_nat,
    detours,
    lifetimes,
    next_hops,
    returns,
    source_nat,
    tracking,
)
from netdoctor.walk.blame.grounds import uplink_names
from netdoctor.walk.view import View


def attributed(view: View, trip: RoundTrip) -> RoundTrip:
    """The trip with its fatal step told as the fault it comes from; steps beyond our host as upstream's."""
    fatal = trip.fatal
    beyond = upstream_of(view, trip)
    if fatal is None:
        return source_nat.doubted(view, trip)
    culprit = (
        addresses.duplicated(view, trip)
        or cables.unbridged(view, trip)
        or cables.misplaced(view, fatal)
        or addresses.foreign_address(view, trip, fatal)
        or detours.captured_locally(view, trip, fatal)
        or tracking.forgotten(view, trip, fatal)
        or destination_nat.dead_target(view, trip, fatal)
        or next_hops.unproxied(view, fatal)
        or source_nat.untranslated(view, trip, fatal, beyond)
        or returns.misrouted_reply(view, trip, fatal, beyond)
        or detours.carrierless(view, trip, fatal, beyond)
        or detours.lost_table(view, trip, fatal, beyond)
        or destination_nat.unserved(view, trip, fatal, beyond)
        or (_upstream(view, fatal) if fatal.namespace in beyond else None)
        or lifetimes.spent(view, trip, fatal, beyond)
        or detours.dead_device(view, trip, fatal)
        or next_hops.redirected(trip, fatal, view.name(fatal.namespace))
        or next_hops.unowned_next_hop(view, trip, fatal)
        or absences.routeless(view, fatal)
    )
    return trip if culprit is None else with_fatal(trip, fatal, culprit)


def with_fatal(trip: RoundTrip, fatal: Step, culprit: Step) -> RoundTrip:
    """The trip told up to the culprit: it stands where the packet last was in its namespace, and what came of it is a symptom."""
    if culprit.kind != fatal.kind or culprit.cause != fatal.cause:
        culprit = replace(culprit, facts={**culprit.facts, "symptom": fatal.summary})
    if culprit.namespace == fatal.namespace and culprit.direction == fatal.direction:
        return _swapped(trip, fatal, culprit)
    forward = _ended_at(trip.forward, culprit) if culprit.direction == "forward" else None
    if forward is not None:
        return replace(trip, forward=forward, reply=None)
    reply = _ended_at(trip.reply, culprit) if trip.reply and culprit.direction == "reply" else None
    return replace(trip, reply=reply) if reply is not None else _swapped(trip, fatal, culprit)


def _swapped(trip: RoundTrip, fatal: Step, culprit: Step) -> RoundTrip:
    def told(journey: Journey) -> Journey:
        return replace(journey, steps=tuple(culprit if step is fatal else step for step in journey.steps))

    return replace(trip, forward=told(trip.forward), reply=told(trip.reply) if trip.reply else None)


def _ended_at(journey: Journey, culprit: Step) -> Journey | None:
    """The journey as far as its last step in the culprit's namespace, then the culprit; None if it never was there."""
    places = [number for number, step in enumerate(journey.steps) if step.namespace == culprit.namespace]
    if not places:
        return None
    kept = tuple(step for step in journey.steps[: places[-1] + 1] if step.outcome != "block")
    return replace(journey, end="blocked", steps=(*kept, culprit))


def upstream_of(view: View, trip: RoundTrip) -> frozenset[NamespaceId]:
    """The visible namespaces that lie beyond the host: entered over its uplink or a tunnel."""
    host, target = view.snapshot.host, view.snapshot.target
    found: set[NamespaceId] = set()
    uplinks = _uplinks(view, host, trip)
    inside = {host, target}
    previous = trip.flow.namespace
    for step in trip.forward.steps:
        if step.kind != "device" or step.outcome != "pass":
            continue
        egress = {tuple(item.split(" ", 1)) for item in step.facts.get("egress", "").split(",") if item}
        crossed = step.facts.get("tunnel") or any((host, name) in egress for name in uplinks) or previous in found
        if crossed and step.namespace not in inside:
            found.add(step.namespace)
        previous = step.namespace
    fatal = trip.fatal
    if fatal is not None and fatal.namespace not in inside and _first_met(trip, fatal, uplinks, view):
        found.add(fatal.namespace)
    return frozenset(found)


def _first_met(trip: RoundTrip, fatal: Step, uplinks: set[str], view: View) -> bool:
    """True when the packet died on its way into a namespace beyond: in a tunnel, or asking over the uplink for a MAC."""
    if fatal.facts.get("tunnel"):
        return True
    visited = {step.namespace for step in trip.forward.steps if step.kind == "device" and step.outcome == "pass"}
    if fatal.namespace in visited or fatal.direction != "forward":
        return False
    last = next(
        (step for step in reversed(trip.forward.steps) if step.kind == "route" and step.outcome == "pass"), None
    )
    if last is None:
        return False
    if last.namespace == view.snapshot.host:
        return last.facts.get("device", "") in uplinks
    link = view.link(last.namespace, last.facts.get("device", ""))
    return link is not None and link.kind in ("macvlan", "macvtap") and bool(last.facts.get("gateway"))


def _uplinks(view: View, host: NamespaceId, trip: RoundTrip) -> set[str]:
    """The host's interfaces towards its gateways: of its default routes, and those this packet was routed by."""
    if host not in view.snapshot.namespaces:
        return set()
    names = uplink_names(view, host)
    for step in trip.forward.steps:
        if step.kind == "route" and step.namespace == host and step.facts.get("gateway"):
            names.add(step.facts.get("device", ""))
    return names


def _upstream(view: View, fatal: Step) -> Step:
    """A fault beyond our host: told as upstream's, with what was seen there."""
    name = view.name(fatal.namespace)
    return replace(
        fatal,
        kind="upstream",
        cause=f"upstream-{_upstream_word(fatal)}",
        summary=f"beyond this host, in {name}: {fatal.summary}",
        facts={**fatal.facts, "inner_cause": fatal.cause, "inner_kind": fatal.kind},
    )


def _upstream_word(fatal: Step) -> str:
    if fatal.kind == "hook":
        return "prohibits" if fatal.cause == "rule-rejects" else "drops"
    if fatal.kind in ("route", "address-owner"):
        return "unreachable"
    if fatal.kind == "deliver":
        return "service-down"
    return "fault"
