"""The report as one HTML file: offline, readable with scripts and styles blocked, with its JSON inside."""

import re
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import msgspec

from netdoctor.model.diagnosis import Report, ReportHop, Verdict
from netdoctor.reports import anchors, escape, json, svg, verdict, way
from netdoctor.reports.anchors import Anchors

if TYPE_CHECKING:
    from jinja2 import Environment

_EMBEDDED = re.compile(r'<script type="application/json" id="report">(.*?)</script>', re.DOTALL)


class _Leg(msgspec.Struct, frozen=True):
    """One leg as the page shows it: its drawing and every step with its number."""

    name: str
    drawing: str
    visits: tuple[way.Visit, ...]
    stop: ReportHop | None


class _View(msgspec.Struct, frozen=True):
    """One report and what the page needs to know about it."""

    report: Report
    anchors: Anchors
    mark: verdict.Mark
    question: str
    basis: str
    counts: list[tuple[str, int]]
    legs: list[_Leg]


def render(report: Report) -> str:
    """One self-contained page."""
    return _page([report], verdict.of(report), json.render(report))


def render_all(worst: Verdict, reports: Sequence[Report]) -> str:
    """One page for the reports of several namespaces; those that need attention are unfolded."""
    return _page(reports, verdict.VERDICTS[worst], json.render_all(worst, reports))


def embedded(page: str) -> tuple[Report, ...]:
    """The reports a page was made of. Raises ValueError when the page holds none."""
    found = _EMBEDDED.search(page)
    if found is None:
        raise ValueError("this page holds no netdoctor report: no <script id=report> in it")
    return json.parse_any(found[1])


def _page(reports: Sequence[Report], mark: verdict.Mark, twin: str) -> str:
    prefixes = [f"t{number}-" if len(reports) > 1 else "" for number in range(1, len(reports) + 1)]
    return (
        _environment()
        .get_template("page.html")
        .render(
            views=[_view(report, prefix) for report, prefix in zip(reports, prefixes, strict=True)],
            mark=mark,
            words=verdict,
            outcomes={"pass": "✓ pass", "block": "✗ BLOCKED", "unknown": "? CANNOT TELL"},
            twin=_markup(_unable_to_end(twin)),
            twin_shown=_markup(_shown(twin)),
            css=_markup(_text("report.css")),
            js=_markup(_text("report.js")),
            policy=_policy(),
        )
    )


def _view(report: Report, prefix: str) -> _View:
    links = anchors.of(report, prefix)
    return _View(
        report=report,
        anchors=links,
        mark=verdict.of(report),
        question=question(report),
        basis=verdict.BASIS.get(report.basis, report.basis) if report.verdict != "error" else "",
        counts=_counts(report),
        legs=[_leg(report, name, hops, links) for name, hops in way.legs(report.path).items()],
    )


def question(report: Report) -> str:
    """What was asked, as a sentence."""
    asked = report.question
    if asked.port:
        return f"Does {asked.dest} port {asked.port} answer {asked.target}?"
    return f"Does {asked.target} reach {asked.dest}?"


def _leg(report: Report, name: str, hops: tuple[ReportHop, ...], links: Anchors) -> _Leg:
    drawn = name == way.TARGET or way.stopped(hops) is not None
    return _Leg(name, _markup(svg.draw(report, hops, links)) if drawn else "", way.visits(hops), way.stopped(hops))


def _counts(report: Report) -> list[tuple[str, int]]:
    counted = {status: sum(check.status == status for check in report.checks) for status in verdict.GLYPHS}
    return [(status, count) for status, count in counted.items() if count]


def _unable_to_end(twin: str) -> str:
    """The JSON, unable to end the element it stands in."""
    return twin.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _shown(twin: str) -> str:
    """The JSON to read; invisible characters stay visible, line by line."""
    from html import escape as markup

    return "\n".join(markup(escape.terminal(line)) for line in twin.splitlines())


@cache
def _text(name: str) -> str:
    from importlib.resources import files

    return files("netdoctor.reports").joinpath("templates", name).read_text(encoding="utf-8")


@cache
def _policy() -> str:
    """The Content-Security-Policy that allows this page's own style and script and nothing else."""
    from base64 import b64encode
    from hashlib import sha256

    own = {name: b64encode(sha256(_text(name).encode()).digest()).decode() for name in ("report.css", "report.js")}
    return (
        f"default-src 'none'; style-src 'sha256-{own['report.css']}'; script-src 'sha256-{own['report.js']}'; "
        "base-uri 'none'; form-action 'none'"
    )


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    made = Environment(
        autoescape=True,
        loader=FunctionLoader(_text),
        undefined=StrictUndefined,
        finalize=_visible,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["command"] = escape.command
    made.filters["packet"] = lambda text: text.replace(" -> ", " → ")
    return made


def _visible(value: object) -> object:
    """What a template prints: text without control characters, unless it is markup of our own."""
    return escape.terminal(value) if type(value) is str else value


def _markup(text: str) -> str:
    from markupsafe import Markup

    return Markup(text)
