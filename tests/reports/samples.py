"""Reports as a diagnosis writes them, one for each kind of ending. Addresses are of documentation or private ranges."""

from netdoctor.model.diagnosis import (
    Basis,
    Report,
    ReportCause,
    ReportCheck,
    ReportHop,
    ReportProbe,
    ReportQuestion,
    Status,
    Verdict,
)
from netdoctor.model.snapshot import Provenance

LAYERS = [
    "link", "address", "neighbour", "route", "forwarding", "firewall",
    "nat", "conntrack", "mtu", "upstream", "dns", "transport",
]  # fmt: skip


def hops(direction: str, packet: str, *rows: tuple[str, ...], leg: str = "target") -> list[ReportHop]:
    """Rows of (namespace, device, kind, summary, *because); a summary starting with "!" blocks, with "?" cannot tell.

    "!slug! summary" also names the cause. A row of one field changes the packet.
    """
    made = []
    for row in rows:
        if len(row) == 1:
            packet = row[0]
            continue
        namespace, device, kind, summary, *because = row
        outcome, cause = {"!": "block", "?": "unknown"}.get(summary[0], "pass"), ""
        if outcome != "pass":
            _, cause, summary = summary.split(summary[0], 2)
        made.append(
            ReportHop(
                direction=direction,
                leg=leg,
                kind=kind,
                namespace=namespace,
                device=device,
                outcome=outcome,
                summary=summary.strip(),
                packet=packet,
                because=list(because),
                cause=cause,
            )
        )
    return made


def checks(namespace: str, **said: tuple[str, str] | str) -> list[ReportCheck]:
    """Every check in order: pass with what it saw, or (status, summary); those not named are not applicable."""
    made = []
    for layer in LAYERS:
        told = said.get(layer, ("skip", "not applicable"))
        status, summary = ("pass", told) if isinstance(told, str) else told
        made.append(ReportCheck(id=layer, layer=layer, status=_status(status), namespace=namespace, summary=summary))
    return made


def _status(word: str) -> Status:
    words: dict[str, Status] = {
        "pass": "pass", "warn": "warn", "fail": "fail", "skip": "skip", "unknown": "unknown", "error": "error",
    }  # fmt: skip
    return words[word]


def cause(id: str, layer: str, namespace: str, object: str, summary: str, **more: object) -> ReportCause:  # noqa: A002
    """A cause; what is not given is empty."""
    empty: dict[str, object] = {
        "evidence": [], "fix": [], "undo": [], "expected": "", "observed": "", "advice": [],
        "owner": "", "reverts": "", "lasting": "",
    }  # fmt: skip
    return ReportCause(
        id=id,
        layer=layer,
        namespace=namespace,
        object=object,
        summary=summary,
        **(empty | more),  # type: ignore[arg-type]
    )


def probe(leg: str, namespace: str, address: str, answer: str, summary: str, **more: object) -> ReportProbe:
    """A probe of ICMP unless told."""
    usual: dict[str, object] = {"protocol": "icmp", "port": 0, "rtt_ms": None}
    return ReportProbe(
        leg=leg,
        namespace=namespace,
        address=address,
        answer=answer,
        summary=summary,
        **(usual | more),  # type: ignore[arg-type]
    )


def report(
    target: str,
    dest: str,
    verdict: Verdict,
    basis: Basis,
    summary: str,
    *,
    port: str = "",
    causes: list[ReportCause] | None = None,
    warnings: list[ReportCause] | None = None,
    said: list[ReportCheck] | None = None,
    path: list[ReportHop] | None = None,
    probes: list[ReportProbe] | None = None,
    consequences: list[str] | None = None,
    namespaces: dict[str, str] | None = None,
) -> Report:
    """A report of version 1.0 made on one fixed machine at one fixed time."""
    arguments = ("check", target, "--to", dest, *(("--port", port) if port else ()))
    return Report(
        schema_version="1.0",
        question=ReportQuestion(target=target, dest=dest, port=port),
        verdict=verdict,
        basis=basis,
        summary=summary,
        root_causes=causes or [],
        warnings=warnings or [],
        checks=said or [],
        path=path or [],
        probes=probes or [],
        consequences=consequences or [],
        provenance=Provenance(
            netdoctor="0.1.0",
            kernel="6.12.9",
            hostname="laptop",
            started_utc="2026-03-21T10:15:00Z",
            arguments=arguments,
            user_id=0,
        ),
        namespaces=namespaces or {"4:4026531840": "host", "4:4026532177": target},
    )
