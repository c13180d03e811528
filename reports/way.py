"""The packet's way as a reader follows it: legs, and the visits to one namespace after another."""

from collections.abc import Iterable, Sequence
from itertools import groupby

import msgspec

from netdoctor.model.diagnosis import Report, ReportHop

TARGET = "target"
ESSENTIAL = ("route", "nat", "encapsulation", "bridge", "upstream", "resolver", "local-port", "deliver")
"""Kinds worth a line of their own even where the packet passes."""


class Visit(msgspec.Struct, frozen=True, kw_only=True):
    """Consecutive steps in one namespace, in one direction."""

    direction: str
    namespace: str
    hops: tuple[ReportHop, ...]

    @property
    def devices(self) -> tuple[str, ...]:
        """The interfaces met, in the packet's order."""
        return tuple(dict.fromkeys(hop.device for hop in self.hops if hop.device))

    @property
    def packet(self) -> str:
        """The packet as it came in."""
        return next((hop.packet for hop in self.hops if _addressed(hop.packet)), "")

    @property
    def outcome(self) -> str:
        """block, unknown or pass: the worst of the steps."""
        return next((hop.outcome for hop in self.hops if hop.outcome != "pass"), "pass")


def legs(path: Iterable[ReportHop]) -> dict[str, tuple[ReportHop, ...]]:
    """The steps of each leg; the flow itself first, the others in their order."""
    found: dict[str, list[ReportHop]] = {}
    for hop in path:
        found.setdefault(hop.leg, []).append(hop)
    ordered = sorted(found, key=lambda leg: leg != TARGET)
    return {leg: tuple(found[leg]) for leg in ordered}


def visits(hops: Iterable[ReportHop]) -> tuple[Visit, ...]:
    """The steps of one leg, grouped as the packet goes from namespace to namespace."""
    runs = groupby(hops, key=lambda hop: (hop.direction, hop.namespace))
    return tuple(Visit(direction=way, namespace=where, hops=tuple(run)) for (way, where), run in runs)


def stopped(hops: Sequence[ReportHop]) -> ReportHop | None:
    """Where the packet dies, or where the walk cannot tell; None where it goes all the way."""
    blocked = next((hop for hop in hops if hop.outcome == "block"), None)
    return blocked or next((hop for hop in hops if hop.outcome == "unknown"), None)


def told(report: Report, *, all_legs: bool) -> dict[str, tuple[ReportHop, ...]]:
    """The legs to draw: the flow itself, and others where they stop while it does not, or all of them."""
    found = legs(report.path)
    if all_legs or not found:
        return found
    first, *others = found
    shown = {first: found[first]}
    if stopped(found[first]) is None and report.verdict not in ("pass", "warn"):
        shown |= {leg: found[leg] for leg in others if stopped(found[leg])}
    return shown


def changed(hop: ReportHop, before: str) -> str:
    """The packet at this step where it is another than before, else "". A packet without a source yet is none."""
    return hop.packet if _addressed(hop.packet) and hop.packet != before else ""


def last_packet(visit: Visit) -> str:
    """The packet as it left."""
    return next((hop.packet for hop in reversed(visit.hops) if _addressed(hop.packet)), "")


def _addressed(packet: str) -> bool:
    return bool(packet) and not packet.lstrip().startswith("->")


def goal(report: Report, hops: Sequence[ReportHop]) -> str:
    """What the leg asks for, as asked; for legs beside the flow itself the destination of their first packet."""
    if not hops or hops[0].leg == TARGET:
        return report.question.dest
    return hops[0].packet.partition("-> ")[2].partition(" ")[0]


def folded(visit: Visit) -> tuple[ReportHop | int, ...]:
    """The steps worth showing at a glance, and between them how many others pass."""
    shown: list[ReportHop | int] = []
    hidden = 0
    for hop in visit.hops:
        if hop.outcome == "pass" and hop.kind not in ESSENTIAL:
            hidden += 1
            continue
        shown += [hidden, hop] if hidden else [hop]
        hidden = 0
    return (*shown, hidden) if hidden else tuple(shown)


def more(count: int) -> str:
    """ "3 more steps pass" """
    return "1 more step passes" if count == 1 else f"{count} more steps pass"
