"""What the probe and the walk say together of one flow: verdict, basis and the step at fault. Pure."""

from typing import NamedTuple

from msgspec.structs import replace

from netdoctor.model.diagnosis import Basis, Case, Leg, Verdict
from netdoctor.model.evidence import Evidence, Ping
from netdoctor.model.journey import RoundTrip, Step
from netdoctor.model.snapshot import NamespaceId, Snapshot
from netdoctor.walk.filters import LIMIT

TARGET, LARGE, HOST, FULL_SIZE, COUNTED = "target", "large", "host", "full size", "while counting"
FAILED = ("refused", "silent", "error", "local-error")


class Conclusion(NamedTuple):
    """What the evidence and the walk say together; `culprit` is the step to be told as the first root cause."""

    verdict: Verdict
    basis: Basis
    summary: str
    culprit: Step | None = None
    leg: str = TARGET


def leg_of(case: Case, name: str) -> Leg | None:
    return next((leg for leg in case.legs if leg.name == name), None)


def conclude_flow(case: Case, target: Leg, snapshot: Snapshot) -> Conclusion:
    """Of a flow whose way was walked: predicted by the walk, or said by the packet that was sent."""
    ping = case.evidence.of(TARGET) if case.evidence else None
    if ping is None or ping.answer == "not-sent":
        return _predicted(case, target, snapshot, ping)
    if ping.answer == "reply":
        return _answered(case, target, ping, snapshot)
    return _failed(case, target, ping, snapshot)


def _asked(case: Case, target: Leg | None = None) -> str:
    """ "8.8.8.8", "8.8.8.8 port 80/tcp"."""
    port = f" port {case.question.port}" if case.question.port else ""
    return f"{case.question.dest}{port}"


def _predicted(case: Case, target: Leg, snapshot: Snapshot, ping: Ping | None) -> Conclusion:
    """No packet was sent: the walk alone."""
    who, what = case.question.target, _asked(case)
    large = leg_of(case, LARGE)
    fatal = target.trip.fatal
    if fatal is not None:
        return Conclusion("fail", "predicted", f"{who} cannot reach {what}: {fatal.summary}", fatal)
    if large is not None and large.trip.fatal is not None:
        told = _told_as_size(large.trip.fatal)
        text = f"{who} should reach {what}, but full-size packets get lost: {told.summary}"
        return Conclusion("fail", "predicted", text, told, LARGE)
    doubts = [step for step in target.trip.doubts if not _other_probe_only(step)]
    limits = [step for step in doubts if LIMIT in step.facts]
    if target.trip.arrives and doubts == limits:
        seen = "that can be seen " if limits else ""
        return Conclusion(
            "pass", "predicted", f"{who} should reach {what}: every step of the way {seen}is open (no packet was sent)"
        )
    doubts.sort(key=limits.__contains__)
    why = doubts[0].summary if doubts else _where_it_leaves(target.trip)
    sent = f" (the probe could not be sent: {ping.error})" if ping is not None and ping.error else ""
    return Conclusion("undetermined", "predicted", f"cannot tell whether {who} reaches {what}: {why}{sent}")


def _other_probe_only(step: Step) -> bool:
    return step.cause == "mtu-mismatch"


def _where_it_leaves(trip: RoundTrip) -> str:
    return trip.steps[-1].summary if trip.steps else "nothing is known of the way"


def _answered(case: Case, target: Leg, ping: Ping, snapshot: Snapshot) -> Conclusion:
    """The real packet got its answer: it works, whatever looks odd. Large data may still not get through."""
    who, what = case.question.target, _asked(case)
    if ping.detail.endswith("stalls"):
        return _stalled(case, target, ping, snapshot)
    large = _size_fault(case, target, ping)
    if large is not None:
        basis: Basis = "confirmed" if ping.protocol == "icmp" else "predicted"
        return Conclusion(
            "fail", basis, f"{who} reaches {what}, but full-size packets get lost: {large.summary}", large, LARGE
        )
    rtt = f" in {ping.rtt_ms:.2f} ms" if ping.rtt_ms is not None else ""
    basis = "confirmed" if target.trip.arrives else "contradicted" if target.trip.fatal else "observed"
    through = ", large data too" if ping.detail == "large data passes" else ""
    return Conclusion("pass", basis, f"{who} reaches {what}{rtt}{through}")


def _size_doubt(trip: RoundTrip) -> Step | None:
    """The doubt that fits a stall: sizes first, then filters; never one about who is where."""
    doubts = [step for step in trip.doubts if step.kind not in ("neighbour", "nat", "conntrack")]
    return next((step for step in doubts if step.kind == "mtu"), doubts[0] if doubts else None)


def _size_fault(case: Case, target: Leg, ping: Ping) -> Step | None:
    """The step that only kills full-size packets, unless large data was seen to pass. For pings a full-size one must be lost too."""
    large = leg_of(case, LARGE)
    fatal = large.trip.fatal or (pieces_of(large.trip) if ping.protocol == "icmp" else None) if large else None
    if fatal is None or target.trip.fatal is not None or ping.detail == "large data passes":
        return None
    if ping.protocol == "icmp":
        full = case.evidence.of(FULL_SIZE) if case.evidence else None
        if full is None or full.answer != "silent":
            return None
    return _told_as_size(replace(fatal, outcome="block"))


def pieces_of(trip: RoundTrip) -> Step | None:
    """The step that sends full-size packets on in pieces, if one does: they may get lost, a probe tells."""
    return next((step for step in trip.doubts if step.cause == "tunnel-mtu-too-big"), None)


def _told_as_size(step: Step) -> Step:
    """A rule or filter that drops full-size packets alone is an MTU fault to whoever sends them."""
    if step.kind == "upstream":
        cause = "pmtu-black-hole" if step.cause == "upstream-drops" else step.cause
        facts = {"link": step.device or "the way beyond this host", **step.facts}
        return replace(step, kind="mtu", cause=cause, summary=f"only large packets: {step.summary}", facts=facts)
    if step.kind == "mtu":
        return step
    facts = {"link": step.device, "mtu": "", "length": "1500", **step.facts}
    facts |= {f"lost_{name}": value for name, value in step.facts.items()}
    return replace(
        step, kind="mtu", cause="large-packets-dropped", summary=f"only large packets: {step.summary}", facts=facts
    )


def _stalled(case: Case, target: Leg, ping: Ping, snapshot: Snapshot) -> Conclusion:
    who, what = case.question.target, _asked(case)
    large = leg_of(case, LARGE)
    for leg in (large, target):
        found = (leg.trip.fatal or _size_doubt(leg.trip)) if leg else None
        if found is not None:
            told = _told_as_size(replace(found, outcome="block"))
            text = f"{who} connects to {what}, but its {ping.detail}: {told.summary}"
            return Conclusion("fail", "confirmed", text, told, LARGE)
    step = Step(
        kind="mtu", namespace="upstream", outcome="block", cause="large-data-stalls",
        summary=f"the connection is made, but the {ping.detail}: a link beyond what can be seen takes no full-size packets and does not say so",
        facts={"link": "the way beyond this host", "mtu": "", "length": "1500"},
    )  # fmt: skip
    return Conclusion("fail", "observed", f"{who} connects to {what}, but its {ping.detail}", step)


def _failed(case: Case, target: Leg, ping: Ping, snapshot: Snapshot) -> Conclusion:
    """The probe failed: the walk's fatal step, else its first doubt, else what the other probes leave."""
    who, what = case.question.target, _asked(case)
    trip = target.trip
    if trip.fatal is not None:
        return Conclusion("fail", "confirmed", f"{who} cannot reach {what}: {trip.fatal.summary}", trip.fatal)
    if ping.protocol == "udp" and ping.answer == "silent" and not [step for step in trip.doubts if step.cause]:
        silence = "the question was sent and no answer came: a UDP service may stay silent"
        return Conclusion("undetermined", "observed", f"cannot tell whether {who} reaches {what}: {silence}")
    culprit = _best_doubt(case, trip) or _beyond(case, trip, ping, snapshot)
    basis: Basis = "contradicted" if trip.arrives else "observed"
    return Conclusion("fail", basis, f"{who} cannot reach {what}: {culprit.summary}", culprit)


def _best_doubt(case: Case, trip: RoundTrip) -> Step | None:
    """The first step that may be what kills the packet. Translation is doubted only when the host itself gets through."""
    host = case.evidence.of(HOST) if case.evidence else None
    for step in trip.doubts:
        if not step.cause or step.cause in ("unreadable", "mtu-mismatch", "xfrm-tunnel"):
            continue
        if step.kind in ("nat", "conntrack") and (host is None or host.answer != "reply"):
            continue
        return replace(
            step,
            outcome="block",
            summary=step.summary.replace(" may drop it", " drops it").replace("may drop", "drops"),
        )
    return None


def _beyond(case: Case, trip: RoundTrip, ping: Ping, snapshot: Snapshot) -> Step:
    """Nothing that can be seen is at fault: what the probes of the hops say of the rest."""
    evidence = case.evidence or Evidence()
    destination = trip.flow.destination
    host, hop = evidence.of(HOST), evidence.of("next hop")
    facts = {"destination": destination, "object": f"upstream: {destination}"}
    if ping.answer == "refused":
        cause, text = (
            "destination-refuses",
            f"{destination} refuses the connection: it is there, and nothing listens on that port (or its firewall says no)",
        )
    elif ping.answer == "error":
        cause, text = (
            "destination-unreachable",
            f"{ping.offender or 'a router'} beyond this host answers that {destination} is unreachable ({ping.error})",
        )
        facts["object"] = f"upstream router {ping.offender}"
    elif ping.answer == "local-error":
        cause, text = (
            "unexplained",
            f"the namespace's own kernel refuses to send ({ping.error}), and no step of the walk explains it",
        )
    elif hop is not None and hop.answer == "silent" and (host is None or host.answer != "reply"):
        cause, text = (
            "next-hop-silent",
            f"the host's next hop {hop.address} does not answer, nor does anything beyond it",
        )
        facts["object"] = f"upstream router {hop.address}"
    elif host is not None and host.answer in FAILED:
        cause, text = (
            "host-cut-off",
            f"this host does not reach {destination} either: the fault lies beyond it, upstream",
        )
    elif trip.arrives:
        cause, text = "unexplained", f"no answer from {destination}, and every step that can be seen is open"
    else:
        cause, text = (
            "destination-silent",
            f"packets leave rightly and {destination} does not answer: upstream loses them or their answers",
        )
    namespace = "upstream" if not (trip.arrives and cause == "unexplained") else _last_seen(trip)
    return Step(kind="upstream", namespace=namespace, outcome="block", cause=cause, summary=text, facts=facts)


def _last_seen(trip: RoundTrip) -> NamespaceId:
    return trip.steps[-1].namespace if trip.steps else trip.flow.namespace
