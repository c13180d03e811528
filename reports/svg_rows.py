"""What the drawing of a way says: lanes, and in time's order the visits with their rows. No geometry."""

from collections.abc import Sequence
from typing import Literal

import msgspec

from netdoctor.model.diagnosis import Report, ReportHop
from netdoctor.reports import escape
from netdoctor.reports.anchors import Anchors
from netdoctor.reports.way import Visit, changed, folded, goal, last_packet, more, stopped, visits

RowKind = Literal["start", "packet", "device", "pass", "block", "unknown", "more", "note", "missed", "doubt"]
LONGEST = 46
"""Characters of one row; what is longer is cut, and whole in the tooltip."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line beside the lane. href: where a click leads; title: the tooltip; name: the bold word before the text."""

    kind: RowKind
    text: str
    name: str = ""
    href: str = ""
    title: str = ""


class Stay(msgspec.Struct, frozen=True, kw_only=True):
    """One visit as it is drawn: in which lane, which rows. lost: the packet never comes here."""

    lane: int
    rows: tuple[Row, ...]
    direction: str
    lost: bool = False


class Lane(msgspec.Struct, frozen=True):
    """One namespace: its role (container, host, upstream, on the way, destination) and name."""

    role: str
    name: str


def lanes_and_stays(report: Report, hops: Sequence[ReportHop], anchors: Anchors) -> tuple[list[Lane], list[Stay]]:
    """The lanes from left to right and the stays from top to bottom."""
    stages = visits(hops)
    names = list(dict.fromkeys(stage.namespace for stage in stages))
    stays: list[Stay] = []
    packet = direction = ""
    for stage in stages:
        packet, direction = packet if stage.direction == direction else "", stage.direction
        rows = _rows(stage, packet, anchors)
        packet = last_packet(stage) or packet
        stays.append(Stay(lane=names.index(stage.namespace), rows=rows, direction=stage.direction))
    lanes = [Lane(_role(name, place, report), name) for place, name in enumerate(names)]
    stop = stopped(hops)
    if stop is not None and stages:
        lanes, stays = _with_missed(lanes, stays, stop, goal(report, hops))
    return lanes, stays


def _role(name: str, place: int, report: Report) -> str:
    if name == report.question.target or (place == 0 and name != "host"):
        return "container"
    return {"host": "host", "upstream": "upstream"}.get(name, "namespace")


def _rows(stage: Visit, packet: str, anchors: Anchors) -> tuple[Row, ...]:
    """A row for each step at a glance, one for a change of the packet, one for each interface it meets."""
    rows = [] if packet else _packet(stage.packet, "start")
    packet = packet or stage.packet
    seen = dict.fromkeys(stage.devices[:1])
    rows += [_device(device) for device in seen]
    for hop in folded(stage):
        if isinstance(hop, int):
            rows.append(Row(kind="more", text=more(hop), href=f"#{anchors.section('steps')}"))
            continue
        new = changed(hop, packet)
        packet = new or packet
        if hop.device and hop.device not in seen:
            seen[hop.device] = None
            rows.append(_device(hop.device))
        step, shown = _step(hop, anchors), _packet(new, "packet")
        rows += [*step, *shown] if hop.kind == "nat" else [*shown, *step]
    return tuple(rows)


def _device(name: str) -> Row:
    return Row(kind="device", text=_short(name, 24), title=f"interface {name}")


def _packet(packet: str, kind: RowKind) -> list[Row]:
    """One row, or two where the addresses are long; none for no packet."""
    if not packet:
        return []
    if len(packet) <= LONGEST:
        return [Row(kind=kind, text=escape.terminal(packet).replace("->", "→"), title=packet)]
    source, _, rest = packet.partition(" -> ")
    return [
        Row(kind=kind, text=_short(source), title=packet),
        Row(kind="packet", text=_short(f"→ {rest}"), title=packet),
    ]


def _step(hop: ReportHop, anchors: Anchors) -> list[Row]:
    title = "\n".join([hop.summary, *hop.because])
    href = f"#{anchors.culprit(hop) if hop.outcome == 'block' else anchors.step(hop)}"
    if hop.outcome == "pass":
        room = LONGEST - len(hop.kind) - 1
        return [Row(kind="pass", name=hop.kind, text=_short(hop.summary, room), href=href, title=title)]
    word = "BLOCKED" if hop.outcome == "block" else "CANNOT TELL"
    kind: RowKind = "block" if hop.outcome == "block" else "unknown"
    lines = _lines(hop.summary, LONGEST, 3)
    notes = [Row(kind="note", text=line, title=title, href=href) for line in lines]
    return [Row(kind=kind, name=word, text=f"by {hop.kind}", href=href, title=title), *notes]


def _with_missed(lanes: list[Lane], stays: list[Stay], stop: ReportHop, asked: str) -> tuple[list[Lane], list[Stay]]:
    """The same with what is never reached: a lane of its own on the way out, the first lane on the way back."""
    blocked = stop.outcome == "block"
    kind: RowKind = "missed" if blocked else "doubt"
    word = "not reached" if blocked else "reached or not?"
    if stop.direction == "reply":
        row = Row(kind=kind, text="no reply arrives" if blocked else "does a reply arrive?")
        return lanes, [*stays, Stay(lane=0, rows=(row,), direction="reply", lost=True)]
    missed = Stay(lane=len(lanes), rows=(Row(kind=kind, text=word),), direction="forward", lost=True)
    return [*lanes, Lane("destination", asked)], [*stays, missed]


def _short(text: str, room: int = LONGEST) -> str:
    shown = escape.terminal(text)
    return shown if len(shown) <= room else shown[: max(1, room - 1)] + "…"


def _lines(text: str, room: int, most: int) -> list[str]:
    """The text in a few rows, the last cut if it must be."""
    words, lines = escape.terminal(text).split(" "), [""]
    for word in words:
        if lines[-1] and len(lines[-1]) + 1 + len(word) > room and len(lines) < most:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return [_short(line, room) for line in lines if line]
