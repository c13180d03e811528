"""The report for a ticket or a pull request: at most 30 KB, everything of others escaped, the evidence folded."""

from collections.abc import Iterator, Sequence

from netdoctor.model.diagnosis import Report, ReportCause, ReportHop
from netdoctor.reports import escape, verdict, way

LIMIT_BYTES = 30_000
"""Below what issue trackers accept in one comment (the narrowest known takes 32,767 characters)."""
_CUT = "\n*Cut here: the report is longer than a comment may be. `--format json` and `--format html` have all of it.*\n"
_MARKS = {"pass": "✓", "block": "✗ **BLOCKED:**", "unknown": "? **CANNOT TELL:**"}


def render(report: Report) -> str:
    """The report as GitHub-flavoured Markdown. Sections that do not fit are left out whole, and that is said."""
    sections = ["\n".join(lines) for lines in _sections(report) if lines]
    made: list[str] = []
    size = 0
    for section in sections:
        size += len(section.encode(errors="replace")) + 2
        if size > LIMIT_BYTES - len(_CUT):
            return "\n\n".join(made or [_shortened(sections[0])]) + "\n" + _CUT
        made.append(section)
    return "\n\n".join(made) + "\n"


def _shortened(section: str) -> str:
    return section[: LIMIT_BYTES // 8]


def _sections(report: Report) -> Iterator[list[str]]:
    """In order of weight, because the last ones go when room is short."""
    text = escape.markdown
    mark = verdict.of(report)
    yield [f"## {mark.glyph} {mark.word}: {text(report.summary or report.error)}"]
    if report.verdict == "error":
        return
    yield [_line(report)]
    yield _applied(report)
    for cause in report.root_causes:
        yield _finding(cause, "Cause", commands=report.applied is None)
    for hops in way.told(report, all_legs=False).values():
        yield list(_way(report, hops))
    for warning in report.warnings:
        yield _finding(warning, "Warning", commands=True)
    if report.consequences:
        yield ["Follows from it:", "", *(f"- {text(line)}" for line in report.consequences)]
    yield list(_checks(report))
    yield list(_provenance(report))


def _line(report: Report) -> str:
    asked = report.question
    port = f" port {escape.code(asked.port)}" if asked.port else ""
    counts = {status: sum(check.status == status for check in report.checks) for status in verdict.GLYPHS}
    told = ", ".join(f"{count} {verdict.WORDS[status].lower()}" for status, count in counts.items() if count)
    basis = verdict.BASIS.get(report.basis, "")
    return f"{escape.code(asked.target)} to {escape.code(asked.dest)}{port}; {basis}; checks: {told or 'none'}."


def _applied(report: Report) -> list[str]:
    if not report.applied:
        return []
    lines = ["### Done" if report.fixed else "### Done and undone", "", _commands(report.applied)]
    if report.undo:
        lines += ["", "Undo:", "", _commands(report.undo)]
    return lines


def _finding(cause: ReportCause, title: str, *, commands: bool) -> list[str]:
    text = escape.markdown
    where = f"{text(cause.layer)} in {escape.code(cause.namespace)}"
    lines = [f"### {title}: {escape.code(cause.id)}", "", f"{text(cause.summary)} ({where})", ""]
    lines += [f"- **Object:** {escape.code(cause.object)}"]
    notes = [
        ("Observed", cause.observed),
        ("Expected", cause.expected),
        ("Owner", cause.owner),
        ("May be reverted by", cause.reverts),
        ("To make it last", cause.lasting),
    ]
    lines += [f"- **{name}:** {text(value)}" for name, value in notes if value]
    lines += [f"- {text(line)}" for line in cause.advice]
    for name, argvs in (("Fix", cause.fix), ("Undo", cause.undo)) if commands else ():
        if argvs:
            lines += ["", f"{name}:", "", _commands(argvs)]
    if cause.evidence:
        shown = [escape.terminal(line) for line in cause.evidence]
        lines += ["", "<details><summary>Evidence</summary>", "", escape.fenced(shown, "text"), "", "</details>"]
    return lines


def _commands(argvs: Sequence[Sequence[str]]) -> str:
    return escape.fenced([escape.command(argv) for argv in argvs], "sh")


def _way(report: Report, hops: Sequence[ReportHop]) -> Iterator[str]:
    """What matters of the way in sight, every step folded below."""
    yield "### The packet's way"
    yield ""
    packet = ""
    for visit in way.visits(hops):
        devices = " → ".join(escape.code(device) for device in visit.devices)
        back = " (reply)" if visit.direction == "reply" else ""
        yield f"- **{escape.markdown(visit.namespace)}**{back} {devices}".rstrip()
        for hop in way.folded(visit):
            if isinstance(hop, int):
                continue
            new = way.changed(hop, packet)
            packet = new or packet
            shown = [f"  - {escape.code(new)}"] if new else []
            step = f"  - {_MARKS[hop.outcome]} {hop.kind}: {escape.markdown(hop.summary)}"
            yield from (step, *shown) if hop.kind == "nat" else (*shown, step)
    stop = way.stopped(hops)
    if stop is not None:
        missed = way.goal(report, hops) if stop.direction == "forward" else hops[0].namespace
        yield f"- ○ {escape.code(missed)} {'not reached' if stop.outcome == 'block' else 'reached or not?'}"
    yield from ("", "<details><summary>Every step</summary>", "")
    yield escape.fenced([_plain(hop) for hop in hops], "text")
    yield from ("", "</details>")


def _plain(hop: ReportHop) -> str:
    place = f"{hop.namespace} {hop.device}".strip()
    because = f" [{'; '.join(hop.because)}]" if hop.because else ""
    return escape.terminal(f"{hop.direction:7} {place:20} {hop.outcome:7} {hop.kind}: {hop.summary}{because}")


def _checks(report: Report) -> Iterator[str]:
    if not report.checks:
        return
    yield from ("<details><summary>Checks</summary>", "", "| Result | Check | What it saw |", "|---|---|---|")
    for check in report.checks:
        result = f"{verdict.GLYPHS[check.status]} {verdict.WORDS[check.status]}"
        yield f"| {result} | {escape.markdown(check.id)} | {escape.markdown(check.summary)} |"
    yield from ("", "</details>")


def _provenance(report: Report) -> Iterator[str]:
    seen = report.provenance
    parts = (f"netdoctor {seen.netdoctor}", f"Linux {seen.kernel}", seen.hostname, seen.started_utc)
    yield f"<sub>{'; '.join(escape.markdown(part) for part in parts if part)}</sub>"
