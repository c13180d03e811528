"""Every independent root cause: each one's changes are made on the model, and the packet walks again."""

import re
from collections.abc import Callable, Iterable
from typing import NamedTuple

from msgspec.structs import replace

from netdoctor import checks
from netdoctor.conclusion import LARGE, Conclusion, leg_of
from netdoctor.model.change import Change, SetLink
from netdoctor.model.diagnosis import Case, Cause
from netdoctor.model.journey import Flow, RoundTrip, Step
from netdoctor.model.snapshot import Need, Snapshot
from netdoctor.model.unknown import Unknown

MAX_CAUSES = 6
RULE_FACTS = ("backend", "family", "table", "chain", "rule")


class Found(NamedTuple):
    """The root causes, what crashed while telling them, and the snapshot extended by what that needed."""

    causes: tuple[Cause, ...]
    crashed: dict[str, str]
    snapshot: Snapshot
    mended: bool = False


def find_causes(
    walked: Callable[[Snapshot, Flow, Iterable[Change]], tuple[RoundTrip, Snapshot]],
    case: Case,
    conclusion: Conclusion,
    snapshot: Snapshot,
) -> Found:
    """Every independent root cause in the packet's order: each one's changes are made on the model, and it walks again."""
    step = conclusion.culprit if conclusion.verdict == "fail" else None
    works = False
    causes: list[Cause] = []
    changes: list[Change] = []
    crashed: dict[str, str] = {}
    flow = _flow_of(case, conclusion)
    while step is not None and len(causes) < MAX_CAUSES:
        model = mended(snapshot, changes)
        try:
            cause = checks.cause_of(step, model)
        except Exception as error:
            crashed[checks.check_of(step.kind).ID] = f"{type(error).__name__}: {error}"
            cause = _untold(step)
        if not _taken_in(cause, causes):
            break
        if not cause.changes or flow is None:
            break
        changes += cause.changes
        trip, snapshot = walked(snapshot, _fitting(flow, case, mended(snapshot, changes)), changes)
        step = trip.fatal or _still_in_doubt(step, trip)
        works = step is None
    return Found(tuple(causes), crashed, snapshot, works)


def _still_in_doubt(told: Step, trip: RoundTrip) -> Step | None:
    """The step at which the same rule or policy may stop the packet elsewhere on its way, on the way back for one."""
    for doubt in trip.doubts:
        same = (doubt.cause, doubt.namespace) == (told.cause, told.namespace) and doubt.kind == told.kind == "hook"
        if same and all(doubt.facts.get(name) == told.facts.get(name) for name in RULE_FACTS):
            return replace(doubt, outcome="block")
    return None


def _taken_in(cause: Cause, causes: list[Cause]) -> bool:
    """Adds the cause; one that is known gets the further changes it needs (the way back of the same policy).

    False when it was there already with the same changes: they do not help.
    """
    for number, other in enumerate(causes):
        if _told_of(other) == _told_of(cause):
            if not cause.changes or any(change in other.changes for change in cause.changes):
                return False
            causes[number] = replace(other, changes=(*other.changes, *cause.changes))
            return True
    causes.append(cause)
    return True


def _told_of(cause: Cause) -> tuple[str, ...]:
    """What a cause is about. A rule's line is left out: a repair that inserts a rule before it moves it down."""
    return cause.slug, cause.namespace, re.sub(r" rule \d+(?=:)", " rule", cause.object)


def _untold(step: Step) -> Cause:
    """A fault whose check crashed: still a fault, told by its step alone."""
    return Cause(
        slug=step.cause or "unexplained", layer=checks.check_of(step.kind).LAYER, namespace=step.namespace, object=step.device,
        summary=step.summary, evidence=tuple(because.text for because in step.because),
    )  # fmt: skip


def _flow_of(case: Case, conclusion: Conclusion) -> Flow | None:
    leg = leg_of(case, conclusion.leg)
    return leg.trip.flow if leg else None


def _fitting(flow: Flow, case: Case, model: Snapshot) -> Flow:
    """Full-size packets as large as the sender makes them once the changes are made."""
    large = leg_of(case, LARGE)
    links = model.namespaces[flow.namespace].links
    if large is None or flow != large.trip.flow or isinstance(links, Unknown):
        return flow
    device = next((step.device for step in large.trip.forward.steps if step.kind == "route"), "")
    mtu_bytes = next((link.mtu_bytes for link in links if link.name == device), flow.length_bytes)
    return replace(flow, length_bytes=min(flow.length_bytes, mtu_bytes))


def ends_needed(snapshot: Snapshot, changes: Iterable[Change]) -> list[Need]:
    """The far ends of the cables that the changes bring up: without them the model cannot tell whether carrier comes."""
    needs = []
    for change in changes:
        namespace = snapshot.namespaces.get(change.namespace)
        if isinstance(change, SetLink) and change.up and namespace and not isinstance(namespace.links, Unknown):
            link = next((one for one in namespace.links if one.name == change.link), None)
            nsid = "" if link is None or link.lower_namespace is None else str(link.lower_namespace)
            if nsid and nsid not in namespace.peers:
                needs.append(Need(namespace=namespace.id, subject="peer", key=(nsid,)))
    return needs


def mended(snapshot: Snapshot, changes: Iterable[Change]) -> Snapshot:
    """The snapshot with these changes made on the model."""
    changes = tuple(changes)
    if not changes:
        return snapshot
    from netdoctor.fix.effect import effects

    return effects(changes, snapshot)
