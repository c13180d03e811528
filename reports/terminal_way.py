"""The packet's way drawn as lanes, one namespace under the other; the failing step has a shape, a word and a colour."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from netdoctor.model.diagnosis import Report, ReportHop
from netdoctor.reports.ink import Ink, Span, pad
from netdoctor.reports.way import TARGET, Visit, changed, folded, goal, last_packet, more, stopped, visits

_MARKS = {
    "pass": ("✓", "green", ""),
    "block": ("✗", "bold red", "BLOCKED: "),
    "unknown": ("?", "yellow", "CANNOT TELL: "),
}
_NARROW = 56
_KIND_COLUMN = 15


def draw(leg: str, hops: Sequence[ReportHop], report: Report, ink: Ink, verbosity: int) -> list[str]:
    """The lines of one leg; a single line when the packet goes all the way and nobody asks for more."""
    stages = visits(hops)
    stop = stopped(hops)
    if stop is None and verbosity == 0 and report.verdict in ("pass", "warn"):
        return _chain(stages, report, ink)
    lines: list[str] = []
    for direction, group in groupby(stages, key=lambda stage: stage.direction):
        lines += [""] if lines else []
        lines += _way(leg, direction, list(group), ink, verbosity)
    return [*lines, *_end(stages, stop, goal(report, hops), ink)]


def _chain(stages: Sequence[Visit], report: Report, ink: Ink) -> list[str]:
    """ "ns1 veth1 > veth0 host wlp1s0 > 8.8.8.8" """
    out = [stage for stage in stages if stage.direction == "forward" and stage.namespace != "upstream"]
    places = []
    for place, stage in enumerate(out):
        inward, *outward = stage.devices or ("",)
        names = [stage.namespace, inward] if place == 0 else [inward, stage.namespace]
        places.append(" ".join([*names, *outward[-1:]]).strip())
    places.append(report.question.dest)
    return ink.wrap([], ink.own(" → ").join(ink.said(place) for place in places), "dim")


def _way(leg: str, direction: str, stages: Sequence[Visit], ink: Ink, verbosity: int) -> Iterator[str]:
    title = "Path" if direction == "forward" else "Reply"
    packet = next((stage.packet for stage in stages if stage.packet), "")
    name = "" if leg == TARGET else f"{ink.said(leg)}  "
    yield from ink.wrap([(title, "bold"), ("  ", ""), (name, "")], ink.packet(packet), "dim")
    for place, stage in enumerate(stages):
        if place:
            yield ink.paint([(ink.own("  ▼"), "dim")])
        devices = ink.own(" → ").join(ink.said(device) for device in stage.devices)
        yield from ink.wrap([("  ", ""), (ink.said(stage.namespace), "bold cyan"), ("  ", "")], devices, "cyan")
        yield from _stage(stage, packet, ink, verbosity)
        packet = last_packet(stage) or packet


def _stage(stage: Visit, packet: str, ink: Ink, verbosity: int) -> Iterator[str]:
    """The steps of one visit. Runs of uninteresting ones are counted, unless all are asked for."""
    for hop in stage.hops if verbosity >= 1 else folded(stage):
        if isinstance(hop, int):
            yield from ink.wrap([_rail(ink), (ink.own("⋮ "), "dim")], more(hop), "dim")
            continue
        new = changed(hop, packet)
        packet = new or packet
        shown = ink.wrap([_rail(ink), (ink.own("→ "), "yellow")], ink.packet(new), "yellow") if new else []
        step = _step(hop, ink, verbosity)
        yield from (*step, *shown) if hop.kind == "nat" else (*shown, *step)


def _step(hop: ReportHop, ink: Ink, verbosity: int) -> Iterator[str]:
    glyph, style, word = _MARKS.get(hop.outcome, _MARKS["unknown"])
    text = "bold" if word else ""
    narrow = ink.width < _NARROW
    kind = f"{hop.kind} " if narrow else pad(f"{hop.kind} ", _KIND_COLUMN)
    lead = [_rail(ink), (f"{ink.own(glyph)} {kind}{word}", style)]
    indent = 2 if narrow else 2 + _KIND_COLUMN
    hang = [_rail(ink), (" " * indent, "")]
    yield from ink.wrap(lead, ink.said(hop.summary), text, hang=hang)
    if hop.cause:
        yield from ink.wrap(hang, ink.own("╰─ ") + ink.said(hop.cause), style)
    if verbosity >= 2:
        for because in hop.because:
            yield from ink.wrap(hang, ink.own("· ") + ink.said(because), "dim")


def _end(stages: Sequence[Visit], stop: ReportHop | None, asked: str, ink: Ink) -> Iterator[str]:
    """What is never reached."""
    if stop is None or not stages:
        return
    missed = asked if stop.direction == "forward" else stages[0].namespace
    word = "not reached" if stop.outcome == "block" else "not known whether it is reached"
    style = _MARKS[stop.outcome][1] if stop.outcome in _MARKS else ""
    yield ink.paint([(ink.own("  ┆"), "dim")])
    yield from ink.wrap([("  ", ""), (ink.own("○ "), style), (ink.said(missed), "bold"), ("  ", "")], word, style)


def _rail(ink: Ink) -> Span:
    return (ink.own("  │ "), "dim")
