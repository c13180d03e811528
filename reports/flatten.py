"""Diagnosis -> Report: ids become names, changes become commands, journeys become hops."""

from typing import TYPE_CHECKING

from netdoctor.conclusion import leg_of
from netdoctor.model.diagnosis import (
    Case,
    Cause,
    Diagnosis,
    Leg,
    Question,
    Report,
    ReportCause,
    ReportCheck,
    ReportHop,
    ReportProbe,
    ReportQuestion,
)
from netdoctor.model.evidence import Ping
from netdoctor.model.journey import Step
from netdoctor.model.snapshot import NamespaceId, Provenance, Snapshot
from netdoctor.reports.json import SCHEMA_VERSION

if TYPE_CHECKING:
    from netdoctor.fix.plan import Plan


def report_of(snapshot: Snapshot, case: Case, diagnosis: Diagnosis) -> Report:
    """The report of one examination, ready for every renderer."""
    return Report(
        schema_version=SCHEMA_VERSION,
        question=ReportQuestion(target=case.question.target, dest=case.question.dest, port=case.question.port),
        verdict=diagnosis.verdict,
        basis=diagnosis.basis,
        summary=diagnosis.summary,
        root_causes=_causes(diagnosis.causes, snapshot),
        warnings=_causes(diagnosis.warnings, snapshot),
        checks=[
            ReportCheck(
                id=one.id,
                layer=one.layer,
                status=one.status,
                namespace=_name(snapshot, one.namespace),
                summary=one.summary,
            )
            for one in diagnosis.checks
        ],
        path=_path(case, diagnosis, snapshot),
        probes=[_probe(ping, snapshot) for ping in (case.evidence.pings if case.evidence else ())],
        consequences=list(diagnosis.consequences),
        provenance=snapshot.provenance,
        namespaces={key: namespace.name for key, namespace in snapshot.namespaces.items()},
    )


def error_report(question: Question, error: str) -> Report:
    """The report of an examination that could not be made."""
    return Report(
        schema_version=SCHEMA_VERSION,
        question=ReportQuestion(target=question.target, dest=question.dest, port=question.port),
        verdict="error",
        basis="observed",
        summary=error,
        root_causes=[],
        warnings=[],
        checks=[],
        path=[],
        probes=[],
        consequences=[],
        provenance=Provenance(),
        namespaces={},
        error=error,
    )


def _name(snapshot: Snapshot, key: NamespaceId) -> str:
    return snapshot.namespaces[key].name if key in snapshot.namespaces else key


def _causes(causes: tuple[Cause, ...], snapshot: Snapshot) -> list[ReportCause]:
    """Each cause with the commands of its own changes, planned on the state that the causes before it leave."""
    found: list[ReportCause] = []
    if not causes:
        return found
    from netdoctor.fix.effect import effects
    from netdoctor.fix.plan import make_plan

    for cause in causes:
        plan = make_plan(cause.changes, snapshot)
        found.append(_cause(cause, plan, snapshot))
        snapshot = effects(cause.changes, snapshot)
    return found


def _cause(cause: Cause, plan: "Plan", snapshot: Snapshot) -> ReportCause:
    return ReportCause(
        id=cause.slug,
        layer=cause.layer,
        namespace=_name(snapshot, cause.namespace),
        object=cause.object,
        summary=cause.summary,
        evidence=list(cause.evidence),
        fix=[list(command) for command in plan.commands],
        undo=[list(command) for command in plan.undo_commands],
        expected=cause.expected,
        observed=cause.observed,
        advice=list(cause.advice),
        owner=cause.owner,
        reverts=cause.reverts if cause.changes else "",
        lasting=cause.lasting if cause.changes else "",
    )


def _path(case: Case, diagnosis: Diagnosis, snapshot: Snapshot) -> list[ReportHop]:
    """The hops of the question's legs; the failing one carries its cause's id."""
    first = diagnosis.causes[0] if diagnosis.causes else None
    return [_hop(step, leg, snapshot, first) for leg in _told_legs(case) for step in leg.trip.steps]


def _told_legs(case: Case) -> list[Leg]:
    """The flow itself; the full-size one too when only that one dies; or the way to the name servers."""
    target, large = leg_of(case, "target"), leg_of(case, "large")
    if target is None:
        return list(case.legs)
    if large is not None and target.trip.fatal is None and large.trip.fatal is not None:
        return [target, large]
    return [target]


def _hop(step: Step, leg: Leg, snapshot: Snapshot, first: Cause | None) -> ReportHop:
    failing = first is not None and step.outcome != "pass" and step.cause == first.slug
    return ReportHop(
        direction=step.direction,
        leg=leg.name,
        kind=step.kind,
        namespace=_name(snapshot, step.namespace),
        device=step.device,
        outcome=step.outcome,
        summary=step.summary,
        packet=step.packet,
        because=[because.text for because in step.because],
        cause=first.slug if failing and first else "",
    )


def _probe(ping: Ping, snapshot: Snapshot) -> ReportProbe:
    from netdoctor.engine import probe_line

    return ReportProbe(
        leg=ping.leg,
        namespace=_name(snapshot, ping.namespace),
        address=ping.address,
        protocol=ping.protocol,
        port=ping.port,
        answer=ping.answer,
        rtt_ms=ping.rtt_ms,
        summary=probe_line(ping),
    )
