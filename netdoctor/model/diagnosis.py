"""What is wrong and what would mend it; and the report that others read (the contract's JSON)."""

from typing import Literal

import msgspec

from .change import Change
from .evidence import Evidence
from .journey import RoundTrip
from .network import Fact
from .snapshot import NamespaceId, Provenance

Layer = Literal[
    "link",
    "address",
    "neighbour",
    "route",
    "forwarding",
    "firewall",
    "nat",
    "conntrack",
    "mtu",
    "upstream",
    "dns",
    "transport",
]
Verdict = Literal["pass", "warn", "fail", "undetermined", "error"]
Basis = Literal["confirmed", "predicted", "observed", "contradicted"]
Status = Literal["pass", "warn", "fail", "skip", "unknown", "error"]


class Cause(Fact, frozen=True):
    """What a Fail (or a Warn) names.

    namespace: id of where the culprit is, or "upstream". changes: what would mend it, in order; empty: nothing safe is known,
    then `advice` says what a person can do. owner: who made the object; reverts: who may undo the fix; lasting: how to make it last.
    """

    slug: str
    layer: Layer
    namespace: NamespaceId
    object: str
    summary: str
    expected: str = ""
    observed: str = ""
    evidence: tuple[str, ...] = ()
    changes: tuple[Change, ...] = ()
    advice: tuple[str, ...] = ()
    owner: str = ""
    reverts: str = ""
    lasting: str = ""


class CheckResult(Fact, frozen=True):
    """What one check says. reason: why it is skipped, unknown or crashed."""

    id: str
    layer: Layer
    status: Status
    namespace: NamespaceId = ""
    summary: str = ""


class Leg(Fact, frozen=True):
    """One flow of the question with what the model says of it. name: target, host, dns 8.8.8.8 ..."""

    name: str
    trip: RoundTrip


class Question(Fact, frozen=True):
    """What was asked, as asked."""

    target: str
    dest: str = "8.8.8.8"
    port: str = ""


class Case(Fact, frozen=True):
    """Everything a diagnosis is made from, except the snapshot: the question, its legs in order, what the probes saw."""

    question: Question
    legs: tuple[Leg, ...]
    evidence: Evidence | None = None


class Diagnosis(Fact, frozen=True):
    """The verdict with its grounds. `causes`: every independent root cause, first on the packet's way first."""

    question: Question
    verdict: Verdict
    basis: Basis
    summary: str
    causes: tuple[Cause, ...] = ()
    warnings: tuple[Cause, ...] = ()
    checks: tuple[CheckResult, ...] = ()
    consequences: tuple[str, ...] = ()


class ReportCause(msgspec.Struct, frozen=True, kw_only=True):
    """A root cause or warning as the contract prints it."""

    id: str
    layer: str
    namespace: str
    object: str
    summary: str
    evidence: list[str]
    fix: list[list[str]]
    undo: list[list[str]]
    expected: str
    observed: str
    advice: list[str]
    owner: str
    reverts: str
    lasting: str


class ReportCheck(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the ordered checks."""

    id: str
    layer: str
    status: Status
    namespace: str
    summary: str


class ReportHop(msgspec.Struct, frozen=True, kw_only=True):
    """One step of the packet's way. `cause` is the id of the root cause that stands here, if one does."""

    direction: str
    leg: str
    kind: str
    namespace: str
    device: str
    outcome: str
    summary: str
    packet: str
    because: list[str]
    cause: str


class ReportProbe(msgspec.Struct, frozen=True, kw_only=True):
    """One probe as it went."""

    leg: str
    namespace: str
    address: str
    protocol: str
    port: int
    answer: str
    rtt_ms: float | None
    summary: str


class ReportQuestion(msgspec.Struct, frozen=True, kw_only=True):
    target: str
    dest: str
    port: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The report, rendered by reports/ and printed as JSON under --format json (contract version 1.0)."""

    schema_version: str
    question: ReportQuestion
    verdict: Verdict
    basis: Basis
    summary: str
    root_causes: list[ReportCause]
    warnings: list[ReportCause]
    checks: list[ReportCheck]
    path: list[ReportHop]
    probes: list[ReportProbe]
    consequences: list[str]
    provenance: Provenance
    namespaces: dict[str, str]
    error: str = ""
    applied: list[list[str]] | None = None
    undo: list[list[str]] | None = None
    fixed: bool | None = None
    journal: str = ""
