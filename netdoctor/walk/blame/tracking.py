"""Answers that connection tracking does not know any more, or not there."""

from msgspec.structs import replace

from netdoctor.model.journey import Because, RoundTrip, Step
from netdoctor.model.snapshot import NamespaceId
from netdoctor.walk.view import View


def forgotten(view: View, trip: RoundTrip, fatal: Step) -> Step | None:
    """The answer comes back to the host and is not translated: conntrack does not know it any more, or not there."""
    host = view.snapshot.host
    if fatal.direction != "reply" or fatal.namespace != host:
        return None
    translated = any(
        step.kind == "nat" and step.namespace == host and step.outcome == "pass" for step in trip.forward.steps
    )
    back = trip.reply is not None and any(
        step.kind == "nat" and step.namespace == host and step.summary.startswith("translated back")
        for step in trip.reply.steps
    )
    if not translated or back:
        return None
    return _forgotten_step(view, trip, fatal, host)


def _forgotten_step(view: View, trip: RoundTrip, fatal: Step, host: NamespaceId) -> Step | None:
    paths = {
        "icmp": "net/netfilter/nf_conntrack_icmp_timeout"
        if trip.flow.family == 4
        else "net/netfilter/nf_conntrack_icmpv6_timeout",
        "udp": "net/netfilter/nf_conntrack_udp_timeout",
        "tcp": "net/netfilter/nf_conntrack_tcp_timeout_syn_sent",
    }
    path = paths[trip.flow.protocol]
    name = view.name(host)
    if view.number(host, path, 30) <= 0:
        dotted = path.replace("/", ".")
        return replace(
            fatal, kind="conntrack", cause="conntrack-timeout-zero", namespace=host,
            summary=f"{name} forgets the flow at once ({dotted} is 0): the answer is not translated back",
            because=(Because(kind="sysctl", namespace=host, text=f"{dotted} = 0"),), facts={"sysctl": path, "protocol": trip.flow.protocol},
        )  # fmt: skip
    if fatal.cause != "answer-misdelivered":
        return None
    untracked = next(
        (
            step
            for step in (trip.reply.steps if trip.reply else ())
            if step.kind == "conntrack" and step.namespace == host and step.outcome == "pass"
        ),
        None,
    )
    if untracked is not None:
        return replace(
            untracked,
            outcome="block",
            cause="notrack",
            summary=f"a rule in {name} exempts the answer from connection tracking (notrack): it is not translated back",
            facts={**untracked.facts, "rule_family": untracked.facts.get("family", "")},
        )
    zones = _zone_rules(trip, host)
    return replace(
        fatal, kind="conntrack", cause="conntrack-zone-mismatch" if zones else "answer-not-translated", namespace=host,
        summary=f"{name} does not translate the answer back"
        + (": the flow was put in a conntrack zone that the answer is not in" if zones else ": it belongs to no flow that conntrack knows"),
        because=zones or fatal.because, facts={**fatal.facts, **(_zone_facts(trip, host) if zones else {})},
    )  # fmt: skip


def _zone_rules(trip: RoundTrip, host: NamespaceId) -> tuple[Because, ...]:
    return tuple(
        because
        for step in trip.forward.steps
        if step.kind == "hook" and step.namespace == host
        for because in step.because
        if "zone" in because.text
    )


def _zone_facts(trip: RoundTrip, host: NamespaceId) -> dict[str, str]:
    found = [
        step
        for step in trip.forward.steps
        if step.kind == "hook" and step.namespace == host and any("zone" in one.text for one in step.because)
    ]
    return found[0].facts if found else {}
