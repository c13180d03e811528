"""The packet's way as a drawing: a lane for each namespace, time going down, the failing step a cross and a word.

Presentation attributes only and currentColor for text: it is as readable where styles and scripts are blocked.
Classes let a style sheet refine it.
"""

from collections.abc import Sequence
from html import escape as markup
from itertools import pairwise

import msgspec

from netdoctor.model.diagnosis import Report, ReportHop
from netdoctor.reports import escape
from netdoctor.reports.anchors import Anchors
from netdoctor.reports.svg_rows import Lane, Row, Stay, lanes_and_stays

LINE = 21
CHAR = 6.35
HEAD = 58
GAP = 18
INSET = 22
SCALED = 736
"""A drawing wider than this may be scaled down to it by a style sheet; a narrower one is left as it is."""
_COLOURS = {
    "pass": "#1a7f4b",
    "block": "#c62828",
    "unknown": "#9a6700",
    "missed": "#c62828",
    "doubt": "#9a6700",
}
_SANS = 'font-family="system-ui, -apple-system, Segoe UI, Roboto, DejaVu Sans, sans-serif"'
_MONO = 'font-family="ui-monospace, SFMono-Regular, Menlo, Consolas, DejaVu Sans Mono, monospace"'


class _Column(msgspec.Struct, frozen=True):
    """Where a lane stands."""

    left: float
    width: float

    @property
    def spine(self) -> float:
        return self.left + INSET


def draw(report: Report, hops: Sequence[ReportHop], anchors: Anchors) -> str:
    """One <svg> of one leg. anchors: where its links lead."""
    lanes, stays = lanes_and_stays(report, hops, anchors)
    if not stays:
        return ""
    columns = _columns(lanes, stays)
    tops, bottom = _tops(stays)
    width, height = columns[-1].left + columns[-1].width + 1, bottom - 4
    parts = [
        _lane(lane, column, height, last=lane.role == "destination")
        for lane, column in zip(lanes, columns, strict=True)
    ]
    for place, (here, there) in enumerate(pairwise(stays)):
        parts.append(_crossing(here, there, columns, tops[place : place + 2]))
    for stay, top in zip(stays, tops, strict=True):
        parts.append(_stay(stay, columns[stay.lane].spine, top))
    wide = ' class="wide"' if width > SCALED else ""
    label = markup(escape.terminal(f"The packet's way: {report.summary}"), quote=True)
    return (
        f'<svg{wide} xmlns="http://www.w3.org/2000/svg" role="group" aria-label="{label}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}" '
        f'font-size="12" {_SANS} fill="currentColor">\n' + "\n".join(parts) + "\n</svg>"
    )


def _columns(lanes: Sequence[Lane], stays: Sequence[Stay]) -> list[_Column]:
    """Each lane as wide as its longest row or its name."""
    columns: list[_Column] = []
    left = 1.0
    for place, lane in enumerate(lanes):
        rows = [row for stay in stays if stay.lane == place for row in stay.rows]
        longest = max([_length(row) for row in rows] + [len(lane.name) * 8.0 - 10, 90.0])
        columns.append(_Column(left, longest + INSET + 26))
        left += longest + INSET + 26 + 8
    return columns


def _length(row: Row) -> float:
    mono = row.kind in ("packet", "device", "start")
    letters = len(row.text) + (len(row.name) * 1.15 + 1 if row.name else 0)
    wide = sum(ord(char) > 0x2E80 for char in row.text) * CHAR
    return letters * (6.9 if mono else CHAR) + wide + (22 if row.kind in ("block", "unknown", "device") else 10)


def _tops(stays: Sequence[Stay]) -> tuple[list[float], float]:
    """The first row's height of each stay, and the end of the last."""
    tops, height = [], float(HEAD + 22)
    for stay in stays:
        tops.append(height)
        height += len(stay.rows) * LINE + GAP
    return tops, height


def _lane(lane: Lane, column: _Column, height: float, *, last: bool) -> str:
    name = markup(escape.terminal(lane.name))
    shown = name if len(lane.name) <= 40 else markup(escape.terminal(lane.name)[:39]) + "…"
    left = f'x="{column.left + 14:.1f}"'
    dash = ' stroke-dasharray="5 5"' if last else ""
    return (
        f'<g class="lane"><title>{lane.role} {name}</title>'
        f'<rect x="{column.left:.1f}" y="1" width="{column.width:.1f}" height="{height - 2:.1f}" rx="10" '
        f'fill="currentColor" fill-opacity="0.045" stroke="currentColor" stroke-opacity="0.22"{dash}/>'
        f'<text {left} y="23" font-size="10.5" fill-opacity="0.72" letter-spacing="0.6">{lane.role}</text>'
        f'<text {left} y="42" font-size="15" font-weight="700">{shown}</text></g>'
    )


def _crossing(here: Stay, there: Stay, columns: Sequence[_Column], tops: Sequence[float]) -> str:
    """The line from the last row of one stay to the first of the next, an arrow head at its end."""
    start, end = columns[here.lane].spine, columns[there.lane].spine
    leave, arrive = tops[0] + (len(here.rows) - 1) * LINE - 4, tops[1] - 4
    turn = arrive - (LINE + GAP) / 2
    bend = 7 if end > start else -7
    colour, dash = (_COLOURS[there.rows[0].kind], ' stroke-dasharray="4 4"') if there.lost else ("currentColor", "")
    line = f"M{start:.1f} {leave:.1f}V{turn - 7:.1f}Q{start:.1f} {turn:.1f} {start + bend:.1f} {turn:.1f}"
    line += f"H{end - bend:.1f}Q{end:.1f} {turn:.1f} {end:.1f} {turn + 7:.1f}V{arrive:.1f}"
    if start == end:
        line = f"M{start:.1f} {leave:.1f}V{arrive:.1f}"
    tip = f"M{end - 4.5:.1f} {turn + 7:.1f}l4.5 6 4.5 -6z"
    return (
        f'<path class="wire" d="{line}" fill="none" stroke="{colour}" stroke-opacity="0.6" stroke-width="2"{dash}/>'
        f'<path d="{tip}" fill="{colour}" fill-opacity="0.8"/>'
    )


def _stay(stay: Stay, spine: float, top: float) -> str:
    """The rows of one visit on their line."""
    bottom = top + (len(stay.rows) - 1) * LINE - 4
    rows = [_row(row, spine, top + place * LINE) for place, row in enumerate(stay.rows)]
    line = (
        f'<path class="wire" d="M{spine:.1f} {top - 4:.1f}V{bottom:.1f}" fill="none" stroke="currentColor" '
        f'stroke-opacity="0.6" stroke-width="2"/>'
    )
    return "\n".join([line if len(stay.rows) > 1 else "", *rows])


def _row(row: Row, spine: float, y: float) -> str:
    title = markup(escape.terminal(row.title).replace("\\n", "\n")) if row.title else ""
    body = (f"<title>{title}</title>" if title else "") + _shape(row, spine, y - 4) + _words(row, spine + 15, y)
    if row.href:
        return f'<a href="{markup(row.href, quote=True)}">{body}</a>'
    return f"<g>{body}</g>"


def _shape(row: Row, x: float, y: float) -> str:
    """A dot passes, a cross in an octagon blocks, a diamond cannot tell, a ring is not reached."""
    colour = _COLOURS.get(row.kind, "currentColor")
    match row.kind:
        case "pass":
            return f'<circle class="pass" cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="{colour}"/>'
        case "block":
            octagon = f"M{x - 4:.1f} {y - 10:.1f}h8l6 6v8l-6 6h-8l-6 -6v-8z"
            cross = f"M{x - 4:.1f} {y - 4:.1f}l8 8m0 -8l-8 8"
            return (
                f'<path d="{octagon}" fill="{colour}"/>'
                f'<path d="{cross}" stroke="#ffffff" stroke-width="2.4" stroke-linecap="round" fill="none"/>'
            )
        case "unknown":
            return f'<path d="M{x:.1f} {y - 9:.1f}l9 9 -9 9 -9 -9z" fill="{colour}"/>'
        case "missed" | "doubt":
            return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" fill="none" stroke="{colour}" stroke-width="2.5"/>'
        case "start":
            return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5" fill="currentColor"/>'
        case _:
            return ""


def _words(row: Row, x: float, y: float) -> str:
    text = markup(row.text)
    match row.kind:
        case "block" | "unknown":
            wide = len(row.name) * 8.9 + 12
            pill = _pill(x, y, wide, _COLOURS[row.kind])
            word = f'<text x="{x + 6:.1f}" y="{y:.1f}" font-weight="700" fill="#ffffff">{markup(row.name)}</text>'
            return f'{pill}{word}<text x="{x + wide + 7:.1f}" y="{y:.1f}" font-weight="700">{text}</text>'
        case "device":
            box = _pill(x - 23, y, len(row.text) * 7.0 + 14, "#33588a")
            return f'{box}<text x="{x - 16:.1f}" y="{y:.1f}" fill="#ffffff" font-size="11.5" {_MONO}>{text}</text>'
        case "packet" | "start":
            return f'<text x="{x:.1f}" y="{y:.1f}" font-size="11.5" font-weight="600" {_MONO}>{text}</text>'
        case "more":
            return f'<text x="{x:.1f}" y="{y:.1f}" fill-opacity="0.72" font-style="italic">{text}</text>'
        case _:
            bold = ' font-weight="700"' if row.kind in ("missed", "doubt") else ""
            name = f'<tspan font-weight="600">{markup(row.name)}</tspan> ' if row.name else ""
            return f'<text x="{x:.1f}" y="{y:.1f}"{bold}>{name}{text}</text>'


def _pill(x: float, y: float, wide: float, colour: str) -> str:
    return f'<rect x="{x:.1f}" y="{y - 14:.1f}" width="{wide:.1f}" height="19" rx="5" fill="{colour}"/>'
