"""Ordered checks -> Diagnosis: whether it is broken (the probe), why (the walk), and what each check has to say. Pure."""

from msgspec.structs import replace

from netdoctor import checks
from netdoctor.conclusion import COUNTED, FAILED, LARGE, TARGET, Conclusion, conclude_flow, leg_of
from netdoctor.counted import counter_lines
from netdoctor.model.diagnosis import Case, Cause, CheckResult, Diagnosis, Status, Verdict
from netdoctor.model.evidence import Evidence, Ping
from netdoctor.model.journey import Step
from netdoctor.model.snapshot import NamespaceId, Snapshot
from netdoctor.resolution import conclude_name, stale_hosts_entry


def conclude(case: Case, snapshot: Snapshot) -> Conclusion:
    """Verdict, basis and the step at fault of one question."""
    of_name = conclude_name(case, snapshot)
    if of_name is not None:
        return of_name
    target = leg_of(case, TARGET)
    if target is None:
        return Conclusion(
            "undetermined",
            "predicted",
            f"the address of {case.question.dest} is not known, so its way cannot be walked",
        )
    return stale_hosts_entry(case, snapshot, conclude_flow(case, target, snapshot))


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
        tracked = tracked_lines(case.evidence)
        if check.ID == "conntrack" and tracked and status in ("pass", "skip"):
            status, summary = "pass", tracked[0].removeprefix("conntrack: ")
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
    warnings = checks.warnings_of(snapshot)
    if conclusion.verdict in ("pass", "warn"):
        warnings = (*warnings_of(case, conclusion, snapshot), *warnings)
    verdict: Verdict = "warn" if conclusion.verdict == "pass" and warnings else conclusion.verdict
    return Diagnosis(
        question=case.question,
        verdict=verdict,
        basis=conclusion.basis,
        summary=conclusion.summary,
        causes=tuple(
            _with_probes(cause, case, conclusion.culprit) if number == 0 else cause
            for number, cause in enumerate(causes)
        ),
        warnings=warnings,
        checks=results(case, conclusion, snapshot, causes, crashed),
        consequences=_consequences(case, causes),
    )


def _with_probes(cause: Cause, case: Case, culprit: Step | None) -> Cause:
    """The cause's evidence with what the probes saw of the question itself, what conntrack made of the packet, and by
    how much the rule's counter moved."""
    ping = case.evidence.of(TARGET) if case.evidence else None
    if ping is None:
        return cause
    return replace(cause, evidence=(
        *cause.evidence, probe_line(ping), *tracked_lines(case.evidence), *counter_lines(case.evidence, culprit),
    ))  # fmt: skip


def tracked_lines(evidence: Evidence | None) -> tuple[str, ...]:
    """The conntrack entries of the very packet that was sent, much as `conntrack -L` prints them."""
    entries = [entry for found in evidence.conntrack.values() for entry in found] if evidence else []
    return tuple(
        f"conntrack: src={one.original.source} dst={one.original.destination} "
        f"{'' if 'seen-reply' in one.status else '[UNREPLIED] '}src={one.reply.source} dst={one.reply.destination}"
        for one in entries
    )


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
        if ping.leg not in (TARGET, COUNTED) and ping.answer in FAILED
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
