"""The report for a person at a terminal: verdict, way, checks, cause with its fix. Commands are left whole."""

from collections.abc import Iterator, Sequence

from netdoctor.model.diagnosis import Report, ReportCause, ReportCheck, ReportProbe, Verdict
from netdoctor.reports import escape, verdict, way
from netdoctor.reports.ink import Ink, pad
from netdoctor.reports.terminal_way import draw

_STATUS_STYLE = {
    "pass": "green", "fail": "bold red", "warn": "yellow", "skip": "dim", "unknown": "yellow", "error": "bold red",
}  # fmt: skip
_NARROW = 56


def render(report: Report, *, width: int, colour: bool, unicode: bool, verbosity: int = 0) -> str:
    """The whole report, lines ending in newlines.

    verbosity: -1 the findings alone, 0 usual, 1 every step, check and probe, 2 also what decided each step.
    """
    ink = Ink(width=max(width, 20), colour=colour, unicode=unicode)
    sections = [_headline(report, ink)]
    if verbosity >= 0:
        sections += [*_ways(report, ink, verbosity), _checks(report, ink, verbosity)]
    count = len(report.root_causes)
    for number, cause in enumerate(report.root_causes, 1):
        title = "Cause" if count == 1 else f"Cause {number} of {count}"
        sections.append(list(_cause(cause, title, "bold red", ink, report)))
    for warning in report.warnings:
        sections.append(list(_cause(warning, "Warning", "bold yellow", ink, report)))
    if verbosity >= 0:
        sections.append(_consequences(report, ink))
    sections.append(list(_mended(report, ink)))
    if verbosity >= 1:
        sections += [_probes(report, ink), _provenance(report, ink)]
    sections.append(_next(report, ink))
    return "\n\n".join("\n".join(lines) for lines in sections if lines) + "\n"


def render_all(
    worst: Verdict, reports: Sequence[Report], *, width: int, colour: bool, unicode: bool, verbosity: int = 0
) -> str:
    """One line a namespace, then the whole report of each that needs attention (of all, with verbosity 1)."""
    ink = Ink(width=max(width, 20), colour=colour, unicode=unicode)
    mark = verdict.VERDICTS[worst]
    lead = [(f"{ink.own(mark.glyph)} {mark.word}", f"bold {mark.colour}"), ("  ", "")]
    lines = ink.wrap(lead, f"{len(reports)} namespace{'' if len(reports) == 1 else 's'} checked", "bold")
    column = max((len(verdict.of(report).word) for report in reports), default=0)
    for report in reports:
        one = verdict.of(report)
        lines += ink.wrap(
            [(f"  {ink.own(one.glyph)} {pad(one.word, column)}  ", one.colour)], ink.said(one_line(report))
        )
    told = [report for report in reports if verbosity >= 1 or verdict.of(report).colour != "green"]
    rest = [render(each, width=width, colour=colour, unicode=unicode, verbosity=verbosity) for each in told]
    return "\n".join(["\n".join(lines) + "\n", *rest])


def one_line(report: Report) -> str:
    """The report in one sentence."""
    return report.summary or report.error


def _headline(report: Report, ink: Ink) -> list[str]:
    mark = verdict.of(report)
    lead = [(f"{ink.own(mark.glyph)} {mark.word}", f"bold {mark.colour}"), ("  ", "")]
    lines = ink.wrap(lead, ink.said(one_line(report)), "bold")
    basis = verdict.BASIS.get(report.basis, "") if report.verdict != "error" else ""
    where = ", ".join(dict.fromkeys(f"{cause.layer} in {cause.namespace}" for cause in report.root_causes))
    rest = ink.said("; ".join(part for part in (where, basis) if part))
    indent = [(" " * min(len(mark.word) + 4, ink.width // 8), "")]
    return [*lines, *(ink.wrap(indent, rest, "dim") if rest else ())]


def _ways(report: Report, ink: Ink, verbosity: int) -> Iterator[list[str]]:
    for leg, hops in way.told(report, all_legs=verbosity >= 1).items():
        yield draw(leg, hops, report, ink, verbosity)


def _checks(report: Report, ink: Ink, verbosity: int) -> list[str]:
    """One line a check. Those that were skipped share a line a reason, and a healthy run only counts them."""
    if not report.checks:
        return []
    quiet = verbosity == 0
    if quiet and report.verdict in ("pass", "warn"):
        return ink.wrap([], _counted(report.checks), "dim")
    shown = [check for check in report.checks if not (quiet and check.status == "skip")]
    column = max((len(check.id) for check in report.checks), default=0)
    lines = [ink.paint([("Checks", "bold")])]
    for check in shown:
        lines += _check(check, column, ink)
    if quiet:
        skipped: dict[str, list[str]] = {}
        for check in report.checks:
            if check.status == "skip":
                skipped.setdefault(check.summary, []).append(check.id)
        for reason, ids in skipped.items():
            said = ", ".join(ids) + (f": {reason}" if reason else "")
            lead = "· skip " if ink.width < _NARROW else "  · skip    "
            lines += ink.wrap([(ink.own(lead), "dim")], ink.said(said), "dim")
    return lines


def _check(check: ReportCheck, column: int, ink: Ink) -> list[str]:
    style = _STATUS_STYLE[check.status]
    glyph, word = ink.own(verdict.GLYPHS[check.status]), verdict.WORDS[check.status]
    text = "dim" if check.status == "skip" else ""
    if ink.width < _NARROW:
        return ink.wrap([(f"{glyph} {word} {ink.said(check.id)}  ", style)], ink.said(check.summary), text)
    lead = [(f"  {glyph} {pad(word, 8)}", style), (pad(ink.said(check.id), column + 2), text)]
    return ink.wrap(lead, ink.said(check.summary), text)


def _counted(checks: list[ReportCheck]) -> str:
    """ "10 checks pass, 2 do not apply" """
    words = {
        "pass": "pass",
        "warn": "warn",
        "fail": "fail",
        "skip": "do not apply",
        "unknown": "cannot tell",
        "error": "crashed",
    }
    counts = {status: sum(check.status == status for check in checks) for status in words}
    told = [f"{count} {words[status]}" for status, count in counts.items() if count]
    return "checks: " + ", ".join(told)


def _cause(cause: ReportCause, title: str, style: str, ink: Ink, report: Report) -> Iterator[str]:
    lead = [(title, style), ("  ", ""), (ink.said(cause.id), "bold")]
    yield from ink.wrap([*lead, ("  ", "")], ink.said(f"{cause.layer} in {cause.namespace}"), "dim")
    if cause.summary not in report.summary:
        yield from ink.wrap([("  ", "")], ink.said(cause.summary))
    rows = [
        ("object", [cause.object]),
        ("expected", [cause.expected]),
        ("observed", [cause.observed]),
        ("evidence", cause.evidence),
        ("owner", [cause.owner]),
        ("reverts", [cause.reverts]),
        ("lasting", [cause.lasting]),
        ("advice", cause.advice),
    ]
    for name, texts in rows:
        yield from _row(name, [text for text in texts if text], ink)
    if report.applied is None:
        yield from _commands("fix", cause.fix, ink)
        yield from _commands("undo", cause.undo, ink)


def _row(name: str, texts: list[str], ink: Ink) -> Iterator[str]:
    for number, text in enumerate(texts):
        lead = [(f"  {pad(name if number == 0 else '', 10)}", "dim")]
        if ink.width < _NARROW:
            lead = [(f"  {name}: " if number == 0 else "  ", "dim")]
            yield from ink.wrap(lead, ink.said(text), hang=[("    ", "")])
        else:
            yield from ink.wrap(lead, ink.said(text))


def _commands(title: str, commands: list[list[str]], ink: Ink) -> Iterator[str]:
    """Each command on a line of its own, never wrapped, so that it can be copied."""
    if not commands:
        return
    yield ink.paint([(f"  {title}", "dim")])
    for argv in commands:
        yield ink.paint([("    ", ""), (escape.command(argv, unicode=ink.unicode), "cyan" if title == "fix" else "")])


def _consequences(report: Report, ink: Ink) -> list[str]:
    if not report.consequences:
        return []
    return ink.wrap([("Follows from it  ", "bold")], ink.said("; ".join(report.consequences)), "dim")


def _mended(report: Report, ink: Ink) -> Iterator[str]:
    """What `fix` did."""
    if report.applied is None:
        return
    if report.applied:
        yield ink.paint([("Done" if report.fixed else "Done and undone", "bold")])
        yield from _commands("commands", report.applied, ink)
        yield from _commands("undo", report.undo or [], ink)
    if report.journal and report.fixed:
        yield ink.paint([("  or", "dim")])
        yield ink.paint(
            [("    ", ""), (escape.command(["netdoctor", "undo", report.journal], unicode=ink.unicode), "")]
        )


def _probes(report: Report, ink: Ink) -> list[str]:
    if not report.probes:
        return []
    lines = [ink.paint([("Probes", "bold")])]
    for probe in report.probes:
        lines += _probe(probe, ink)
    return lines


def _probe(probe: ReportProbe, ink: Ink) -> list[str]:
    glyph, style = verdict.ANSWERS.get(probe.answer, ("?", "yellow"))
    port = f" port {probe.port}" if probe.port else ""
    rtt = f" in {probe.rtt_ms:g} ms" if probe.rtt_ms is not None else ""
    asked = f"{probe.leg}: {probe.namespace} asks {probe.address} {probe.protocol}{port}"
    told = f"{probe.answer}{rtt}" + (f"; {probe.summary}" if probe.summary else "")
    return ink.wrap([(f"  {ink.own(glyph)} ", style)], ink.said(f"{asked}: {told}"))


def _provenance(report: Report, ink: Ink) -> list[str]:
    seen = report.provenance
    names = " ".join(f"{name}={inode}" for inode, name in report.namespaces.items())
    parts = (
        f"netdoctor {seen.netdoctor}",
        f"Linux {seen.kernel}",
        seen.hostname,
        seen.started_utc,
        f"uid {seen.user_id}",
        names,
    )
    return ink.wrap([], ink.said(", ".join(part for part in parts if part)), "dim")


def _next(report: Report, ink: Ink) -> list[str]:
    """What to type next."""
    if report.applied is not None or not report.root_causes:
        return []
    asked = report.question
    where = ["--to", asked.dest, *(["--port", asked.port] if asked.port else [])]
    mend = [["netdoctor", "fix", asked.target, *where]] if any(cause.fix for cause in report.root_causes) else []
    commands = [*mend, ["netdoctor", "explain", report.root_causes[0].id]]
    return [ink.paint([(f"{escape.command(argv, unicode=ink.unicode)}", "dim")]) for argv in commands]
