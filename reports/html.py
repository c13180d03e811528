"""The report as one HTML file: offline, readable with scripts and styles blocked, with its JSON inside."""

import re
from functools import cache
from html import unescape
from typing import TYPE_CHECKING, Any

import msgspec

from netdoctor.model.diagnosis import Report, ReportHop
from netdoctor.reports import escape, json, svg, verdict, way

if TYPE_CHECKING:
    from jinja2 import Environment

_EMBEDDED = re.compile(r'<script type="application/json" id="report">(.*?)</script>', re.DOTALL)


class _Leg(msgspec.Struct, frozen=True):
    """One leg as the page shows it: its drawing and every step with its number."""

    name: str
    drawing: str
    visits: tuple[way.Visit, ...]
    stop: ReportHop | None


def render(report: Report) -> str:
    """One self-contained page."""
    return _environment().get_template("report.html").render(_page(report))


def embedded(page: str) -> Report:
    """The report a page was made of. Raises ValueError when the page holds none."""
    found = _EMBEDDED.search(page)
    if found is None:
        raise ValueError("this page holds no netdoctor report: no <script id=report> in it")
    return json.parse(unescape(found[1]) if found[1].lstrip().startswith("&") else found[1])


def _page(report: Report) -> dict[str, Any]:
    numbers = {id(hop): number for number, hop in enumerate(report.path, 1)}
    anchors = {key: f"#step-{number}" for key, number in numbers.items()}
    return {
        "report": report,
        "mark": verdict.of(report),
        "basis": verdict.BASIS.get(report.basis, report.basis),
        "legs": [_leg(report, name, hops, anchors) for name, hops in way.legs(report.path).items()],
        "number": lambda hop: numbers[id(hop)],
        "counts": _counts(report),
        "glyphs": verdict.GLYPHS,
        "words": verdict.WORDS,
        "outcomes": {"pass": "✓ pass", "block": "✗ BLOCKED", "unknown": "? CANNOT TELL"},
        "answers": verdict.ANSWERS,
        "question": question(report),
        "twin": _markup(_twin(report)),
        "twin_shown": _markup(_shown(report)),
        "css": _markup(_text("report.css")),
        "js": _markup(_text("report.js")),
        "policy": _policy(),
    }


def question(report: Report) -> str:
    """What was asked, as a sentence."""
    asked = report.question
    if asked.port:
        return f"Does {asked.dest} port {asked.port} answer {asked.target}?"
    return f"Does {asked.target} reach {asked.dest}?"


def _leg(report: Report, name: str, hops: tuple[ReportHop, ...], anchors: dict[int, str]) -> _Leg:
    drawn = name == way.TARGET or way.stopped(hops) is not None
    return _Leg(name, _markup(svg.draw(report, hops, anchors)) if drawn else "", way.visits(hops), way.stopped(hops))


def _counts(report: Report) -> list[tuple[str, int]]:
    counted = {status: sum(check.status == status for check in report.checks) for status in verdict.GLYPHS}
    return [(status, count) for status, count in counted.items() if count]


def _twin(report: Report) -> str:
    """The JSON, unable to end the element it stands in."""
    return json.render(report).replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _shown(report: Report) -> str:
    """The JSON to read; invisible characters stay visible, line by line."""
    from html import escape as markup

    return "\n".join(markup(escape.terminal(line)) for line in json.render(report).splitlines())


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
