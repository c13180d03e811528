"""Packets whose TTL ends on the way: who gave them so little."""

from msgspec.structs import replace

from netdoctor.model.journey import RoundTrip, Step
from netdoctor.model.snapshot import NamespaceId
from netdoctor.walk.view import View

ORDINARY_TTL = 32


def spent(view: View, trip: RoundTrip, fatal: Step, beyond: frozenset[NamespaceId]) -> Step | None:
    """The rule that set the TTL, or the sender that starts with a small one; beyond this host it is upstream's fault."""
    journey = trip.reply if fatal.direction == "reply" else trip.forward
    if fatal.cause != "ttl-exceeded" or journey is None or not journey.steps:
        return None
    setter = next(
        (step for step in reversed(journey.steps) if step.kind == "hook" and "sets ttl" in step.summary), None
    )
    if setter is None:
        sender = journey.steps[0].namespace
        first = view.number(sender, "net/ipv4/ip_default_ttl", 64)
        if sender not in beyond or first >= ORDINARY_TTL:
            return None
        return _of_upstream(view, fatal, sender, f"it starts with a TTL of {first}")
    rule = setter.because[0].text if setter.because else setter.summary
    if setter.namespace in beyond:
        return _of_upstream(view, replace(fatal, because=setter.because), setter.namespace, f"a rule sets it: {rule}")
    return replace(
        fatal, namespace=setter.namespace, because=setter.because, facts={**fatal.facts, "rule": rule},
        summary=f"a rule in {view.name(setter.namespace)} sets the TTL too low ({rule}): {fatal.summary}",
    )  # fmt: skip


def _of_upstream(view: View, fatal: Step, sender: NamespaceId, why: str) -> Step:
    name = view.name(sender)
    return replace(
        fatal, kind="upstream", namespace=sender, cause="upstream-ttl",
        summary=f"beyond this host, {name} sends packets with too small a TTL ({why}): {fatal.summary}",
        facts={**fatal.facts, "object": f"upstream: the TTL of what {name} sends", "inner_cause": fatal.cause},
    )  # fmt: skip
