"""The report for a CI system: JUnit XML, a suite a namespace, a test case a check."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from netdoctor.model.diagnosis import Report, ReportCheck
from netdoctor.reports import escape

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_RESULTS = {"fail": "failure", "error": "error", "skip": "skipped", "unknown": "skipped"}
_UNTOLD = {"fail": "failure", "undetermined": "error", "error": "error"}


def render(report: Report) -> str:
    """One suite in a document."""
    return render_all([report])


def render_all(reports: Sequence[Report]) -> str:
    """A suite for each report."""
    from xml.etree.ElementTree import Element, indent, tostring

    root = Element("testsuites", name="netdoctor")
    for report in reports:
        root.append(_suite(report))
    indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="unicode") + "\n"


def _suite(report: Report) -> "Element":
    from xml.etree.ElementTree import Element

    asked = report.question
    name = f"{asked.target} to {asked.dest}" + (f" port {asked.port}" if asked.port else "")
    cases = [_case(report, check) for check in report.checks]
    if report.verdict in _UNTOLD and not any(check.status in ("fail", "error") for check in report.checks):
        cases.append(_verdict(report))
    found = [child.tag for case in cases for child in case]
    counts = {
        "tests": len(cases),
        "failures": found.count("failure"),
        "errors": found.count("error"),
        "skipped": found.count("skipped"),
    }
    suite = Element("testsuite", {"name": escape.terminal(name), **{key: str(count) for key, count in counts.items()}})
    if report.provenance.started_utc:
        suite.set("timestamp", report.provenance.started_utc.removesuffix("Z"))
    suite.extend(cases)
    return suite


def _case(report: Report, check: ReportCheck) -> "Element":
    from xml.etree.ElementTree import Element, SubElement

    suite = escape.terminal(f"netdoctor.{report.question.target}")
    case = Element("testcase", classname=suite, name=escape.terminal(check.id))
    tag = _RESULTS.get(check.status)
    if tag is None:
        SubElement(case, "system-out").text = escape.terminal(check.summary)
        return case
    message = f"cannot tell: {check.summary}" if check.status == "unknown" else check.summary
    result = SubElement(case, tag, message=escape.terminal(message))
    if check.status == "fail":
        result.text = _causes(report, check.layer)
    return case


def _verdict(report: Report) -> "Element":
    """A case of its own for a verdict that no check stands for."""
    from xml.etree.ElementTree import Element, SubElement

    case = Element("testcase", classname=escape.terminal(f"netdoctor.{report.question.target}"), name="verdict")
    summary = escape.terminal(report.summary or report.error)
    SubElement(case, _UNTOLD[report.verdict], message=summary, type=report.verdict).text = _causes(report, "")
    return case


def _causes(report: Report, layer: str) -> str:
    """What was found in this layer (in all, for ""): the cause, its evidence, what fixes it."""
    lines: list[str] = []
    for cause in report.root_causes:
        if layer in ("", cause.layer):
            lines += [f"{cause.id} in {cause.namespace}: {cause.summary}", *(f"  {line}" for line in cause.evidence)]
            lines += ["fix:", *(f"  {escape.command(argv)}" for argv in cause.fix)] if cause.fix else []
    return "\n".join(escape.terminal(line) for line in lines)
