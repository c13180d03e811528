"""Ordered checks -> Diagnosis: whether it is broken (the probe), why (the walk), and what each check has to say. Pure."""

from typing import NamedTuple

from msgspec.structs import replace

from netdoctor import checks
from netdoctor.model.diagnosis import Basis, Case, Cause, CheckResult, Diagnosis, Leg, Status, Verdict
from netdoctor.model.evidence import Evidence, Ping
from netdoctor.model.journey import RoundTrip, Step
from netdoctor.model.snapshot import NamespaceId, Snapshot

TARGET, LARGE, HOST, FULL_SIZE = "target", "large", "host", "full size"
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


def conclude(case: Case, snapshot: Snapshot) -> Conclusion:
    """Verdict, basis and the step at fault of one question."""
    names = _names_conclusion(case, snapshot)
    if names is not None:
        return names
    target = leg_of(case, TARGET)
    if target is None:
        return Conclusion(
            "undetermined",
            "predicted",
            f"the address of {case.question.dest} is not known, so its way cannot be walked",
        )
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
    fatal = target.trip.fatal or (large.trip.fatal if large else None)
    if fatal is not None:
        return Conclusion("fail", "predicted", f"{who} cannot reach {what}: {fatal.summary}", fatal)
    doubts = [step for step in target.trip.doubts if not _other_probe_only(step)]
    if target.trip.arrives and not doubts:
        return Conclusion(
            "pass", "predicted", f"{who} should reach {what}: every step of the way is open (no packet was sent)"
        )
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
    if large is None or large.trip.fatal is None or target.trip.fatal is not None or ping.detail == "large data passes":
        return None
    if ping.protocol == "icmp":
        full = case.evidence.of(FULL_SIZE) if case.evidence else None
        if full is None or full.answer != "silent":
            return None
    return _told_as_size(large.trip.fatal)


def _told_as_size(step: Step) -> Step:
    """A rule or filter that drops full-size packets alone is an MTU fault to whoever sends them."""
    if step.kind in ("mtu", "upstream"):
        return replace(step, kind="mtu", facts={"link": step.device or "the way beyond this host", **step.facts})
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


def _names_conclusion(case: Case, snapshot: Snapshot) -> Conclusion | None:
    """A question about a name, when it does not get as far as an address."""
    servers = [leg for leg in case.legs if leg.name.startswith("dns ")]
    if leg_of(case, TARGET) is not None or not _asks_name(case):
        return None
    who, name = case.question.target, case.question.dest
    resolver = snapshot.namespaces[snapshot.target].resolver
    path = getattr(resolver, "path", "resolv.conf")
    if not servers:
        step = _resolver_step(snapshot, "resolver-missing", f"{path} of {who} names no usable server", {"path": path})
        return Conclusion("fail", "observed", f"{who} cannot resolve {name}: {step.summary}", step, "dns")
    pings = {leg.name: case.evidence.of(leg.name) if case.evidence else None for leg in servers}
    denied = next((ping for ping in pings.values() if ping is not None and ping.answer == "reply"), None)
    if denied is not None:
        text = f"the name server {denied.address} has no address for {name}" + (
            f" ({denied.detail})" if denied.detail else ""
        )
        step = _resolver_step(snapshot, "name-not-found", text, {"path": path, "server": denied.address})
        return Conclusion("fail", "observed", f"{who} cannot resolve {name}: {text}", step, "dns")
    # Nobody was asked: a further server whose way is open may answer where the first one cannot.
    open_way = None if case.evidence else next((leg for leg in servers if leg.trip.fatal is None), None)
    first = open_way or servers[0]
    culprit = _server_culprit(first, pings[first.name], snapshot, path)
    if culprit is None:
        return Conclusion(
            "undetermined",
            "predicted",
            f"cannot tell whether {who} resolves {name}: the way to its name server is open, and it was not asked",
        )
    basis: Basis = "predicted" if case.evidence is None else "confirmed" if first.trip.fatal else "observed"
    return Conclusion("fail", basis, f"{who} cannot resolve {name}: {culprit.summary}", culprit, first.name)


def _asks_name(case: Case) -> bool:
    dest = case.question.dest
    return not dest.startswith("ns:") and any(char.isalpha() for char in dest) and ":" not in dest


def _resolver_step(snapshot: Snapshot, cause: str, summary: str, facts: dict[str, str]) -> Step:
    return Step(kind="resolver", namespace=snapshot.target, outcome="block", cause=cause, summary=summary, facts=facts)


def _server_culprit(leg: Leg, ping: Ping | None, snapshot: Snapshot, path: str) -> Step | None:
    """Why the first server cannot be asked: the file names a wrong one, or the way to it is broken."""
    server, trip = leg.trip.flow.destination, leg.trip
    fatal = trip.fatal
    facts = {"path": path, "server": server}
    if fatal is not None:
        here = fatal.namespace == snapshot.target
        if fatal.kind == "deliver" and here:
            text = f"{path} names {server}, and nothing listens there in this namespace"
            slug = "resolver-loopback" if server.startswith("127.") or server == "::1" else "resolver-not-listening"
            return _resolver_step(snapshot, slug, text, {**facts, "symptom": fatal.summary})
        foreign = (":" in server) and fatal.kind in ("source-address", "route") and here
        if foreign:
            text = f"{path} names the IPv6 server {server}, and this namespace has no IPv6 way to it ({fatal.summary})"
            return _resolver_step(snapshot, "resolver-unreachable", text, {**facts, "symptom": fatal.summary})
        return replace(fatal, summary=f"{fatal.summary} (on the way to the name server {server})")
    if ping is None:
        return None
    doubt = next((step for step in trip.doubts if step.cause and step.cause != "unreadable"), None)
    if doubt is not None and doubt.kind != "nat":
        return replace(doubt, outcome="block", summary=f"{doubt.summary} (on the way to the name server {server})")
    why = {"refused": "nothing listens there", "error": ping.error, "local-error": ping.error}.get(
        ping.answer, "it does not answer"
    )
    slug = (
        "resolver-not-listening"
        if ping.answer == "refused"
        else "resolver-silent"
        if ping.answer == "silent"
        else "resolver-unreachable"
    )
    return _resolver_step(
        snapshot, slug, f"the name server {server} in {path} cannot be used: {why}", {**facts, "symptom": ping.error}
    )


def results(
    case: Case, conclusion: Conclusion, snapshot: Snapshot, causes: tuple[Cause, ...], crashed: dict[str, str]
) -> tuple[CheckResult, ...]:
    """Every check's line in order: who fails, what passed, what the dead packet never got to."""
    steps = [
        step
        for leg in case.legs
        if leg.name in (TARGET, LARGE) or leg.name.startswith("dns ")
        for step in leg.trip.steps
    ]
    failing: dict[str, Cause] = {}
    for cause in causes:
        failing.setdefault(cause.layer, cause)
    found = []
    for check in checks.ORDER:
        mine = [step for step in steps if step.kind in check.KINDS]
        status, summary, namespace = _line(check.ID, check.LAYER, mine, failing, conclusion, crashed)
        found.append(CheckResult(id=check.ID, layer=check.LAYER, status=status, namespace=namespace, summary=summary))
    return tuple(found)


def _line(
    name: str, layer: str, mine: list[Step], failing: dict[str, Cause], conclusion: Conclusion, crashed: dict[str, str]
) -> tuple[Status, str, NamespaceId]:
    if name in crashed:
        return "error", crashed[name], ""
    if layer in failing:
        return "fail", failing[layer].summary, failing[layer].namespace
    doubts = [step for step in mine if step.outcome == "unknown"]
    passed = [step for step in mine if step.outcome == "pass"]
    if doubts and conclusion.verdict != "pass":
        return "unknown", doubts[0].summary, doubts[0].namespace
    if passed:
        return "pass", _told(passed), ""
    if conclusion.verdict == "pass":
        return (
            ("pass", "the probe was answered", "")
            if layer in ("transport", "upstream")
            else ("skip", "not applicable: nothing on the way needs it", "")
        )
    if failing:
        first = next(iter(failing.values()))
        return "skip", f"blocked by {first.slug}: the packet does not get that far", ""
    return "skip", "not applicable: nothing on the way needs it", ""


def _told(passed: list[Step]) -> str:
    """One line for the steps that went well."""
    if len(passed) == 1:
        return passed[0].summary
    return f"{passed[0].summary}; and {len(passed) - 1} more"


def diagnose(
    case: Case, conclusion: Conclusion, snapshot: Snapshot, causes: tuple[Cause, ...], crashed: dict[str, str]
) -> Diagnosis:
    """The diagnosis of one question, its causes found already (mending the model finds those behind the first)."""
    warnings = warnings_of(case, conclusion, snapshot) if conclusion.verdict in ("pass", "warn") else ()
    verdict: Verdict = "warn" if conclusion.verdict == "pass" and warnings else conclusion.verdict
    return Diagnosis(
        question=case.question,
        verdict=verdict,
        basis=conclusion.basis,
        summary=conclusion.summary,
        causes=tuple(_with_probes(cause, case) if number == 0 else cause for number, cause in enumerate(causes)),
        warnings=warnings,
        checks=results(case, conclusion, snapshot, causes, crashed),
        consequences=_consequences(case, causes),
    )


def _with_probes(cause: Cause, case: Case) -> Cause:
    """The cause's evidence with what the probes saw of the question itself."""
    ping = case.evidence.of(TARGET) if case.evidence else None
    return cause if ping is None else replace(cause, evidence=(*cause.evidence, probe_line(ping)))


def probe_line(ping: Ping) -> str:
    """One probe in words: "ping 8.8.8.8 from ns1: no answer (3 sent)"."""
    what = f"ping {ping.address}" if ping.protocol == "icmp" else f"{ping.protocol} {ping.address} port {ping.port}"
    said = {
        "reply": f"answered in {ping.rtt_ms} ms" + (f", {ping.detail}" if ping.detail else ""),
        "silent": f"no answer ({ping.sent} sent)",
        "refused": "refused",
        "error": f"{ping.error}" + (f", says {ping.offender}" if ping.offender else ""),
        "local-error": f"not sent: {ping.error}",
        "not-sent": "not sent" + (f": {ping.error}" if ping.error else ""),
    }[ping.answer]
    return f"{what}: {said}"


def _consequences(case: Case, causes: tuple[Cause, ...]) -> tuple[str, ...]:
    """What else fails because of the first cause: hops that stayed silent."""
    if not causes or case.evidence is None:
        return ()
    return tuple(
        f"{ping.leg}: {probe_line(ping)}"
        for ping in case.evidence.pings
        if ping.leg != TARGET and ping.answer in FAILED
    )


def warnings_of(case: Case, conclusion: Conclusion, snapshot: Snapshot) -> tuple[Cause, ...]:
    """What looks wrong though it works: a walk that the packet contradicts."""
    target = leg_of(case, TARGET)
    if target is None or conclusion.basis != "contradicted" or target.trip.fatal is None:
        return ()
    cause = checks.cause_of(target.trip.fatal, snapshot)
    said = f"the walk says this stops the packet, and the packet got through: {cause.summary}"
    return (
        replace(
            cause,
            summary=said,
            changes=(),
            advice=("the model is wrong here, or the state changed meanwhile: please report it",),
        ),
    )
