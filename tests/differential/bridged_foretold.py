"""What the product's walk says of a frame: the stacks it gets to and how it looks there, and which rules it meets."""

from collections import Counter
from typing import NamedTuple

from msgspec.structs import replace

from netdoctor.model.journey import Flow
from netdoctor.model.snapshot import Snapshot
from netdoctor.walk.filters import Filters
from netdoctor.walk.hooks import Firewall
from netdoctor.walk.layer2 import End, Spread
from netdoctor.walk.layer2 import Frame as Addressed
from netdoctor.walk.neighbour import Resolver
from netdoctor.walk.netfilter import BaseChain, ChainResult
from netdoctor.walk.packet import Packet
from netdoctor.walk.trail import Left
from netdoctor.walk.view import View
from netdoctor.walk.walker import Walker

from .bridged_box import ARP_ETHER_TYPE, BridgedBox, Frame, foreseen_frame
from .packets import Seen

Crossing = tuple[str, str, str]
"""A base chain and the devices the frame has there: a flooded frame meets it once for all the ports it goes out by."""


class Foretold(NamedTuple):
    """arrivals: where it is seen, and how. doubts: why the walk does not claim to know. met: rules, by label."""

    arrivals: frozenset[Seen]
    doubts: tuple[str, ...]
    met: Counter[str]
    steps: tuple[str, ...]
    packets: tuple[Packet, ...] = ()


class Recorder(Firewall):
    """A firewall that remembers what each chain did."""

    def remember(self) -> None:
        self.results: dict[Crossing, ChainResult] = {}

    def _evaluate(self, trail, key, base: BaseChain, packet: Packet):  # type: ignore[no-untyped-def]
        result = super()._evaluate(trail, key, base, packet)
        self.results[f"{key} {base.hook} {base}", packet.in_device, packet.out_device + packet.out_port] = result
        return result


class BridgedOracle(Walker):
    """A walker whose packets end where they are seen. One oracle for all frames of one flow."""

    def __init__(self, box: BridgedBox, snapshot: Snapshot) -> None:
        view = View(snapshot)
        super().__init__(view, Flow(namespace=box.host, family=4, destination="", protocol="udp"))
        self.box = box
        self.firewall = Recorder(view, self.connections)
        self.filters = Filters(view, self.firewall)
        self.resolver = Resolver(view, self.filters)
        self.arrived: list[tuple[str, Packet]] = []

    def coming(self, frame: Frame) -> Foretold:
        """The frame's ways, all of them if it is flooded."""
        self.firewall.remember()
        self.arrived, self.depth = [], 0
        steps = []
        for end in self._ends(frame):
            journey = self._journey(
                "reply", lambda end=end: self._carry(frame.packet, end, frame.packet.destination_mac)
            )
            steps += journey.steps
        results = self.firewall.results.values()
        doubts = [doubt.why for result in results for doubt in result.doubts]
        doubts += [why for result in results for why in result.uncertain.values()]
        doubts += [step.summary for step in steps if step.outcome == "unknown"]
        return Foretold(
            arrivals=frozenset(foreseen_frame(packet, place) for place, packet in self.arrived),
            doubts=tuple(dict.fromkeys(doubts)),
            met=Counter(ref.comment for result in results for ref in result.matched if ref.comment),
            steps=tuple(f"{step.kind} {step.outcome}: {step.summary}" for step in steps),
            packets=tuple(packet for _, packet in self.arrived),
        )

    def _ends(self, frame: Frame) -> list[End]:
        role, device = self.box.wires[frame.wire]
        key = self.box.handles[role].id
        link = self.view.link(key, device)
        assert link is not None
        addressed = Addressed(frame.packet.source_mac, frame.packet.destination_mac)
        spread = Spread(self.view, self.trail, addressed)
        ends = spread.ends(key, link)
        return list(ends) if addressed.flooded else [end for end in (next(ends, None),) if end is not None]

    def _receive(self, end: End, packet: Packet) -> None:
        if end.namespace != self.box.host:
            role = next(role for role, handle in self.box.handles.items() if handle.id == end.namespace)
            self.arrived.append((f"{role}:{end.link.name}", packet))
            raise Left("seen on the wire")
        if packet.ether_type == ARP_ETHER_TYPE:
            self.firewall.frame(self.trail, end.namespace, "arp", "input", replace(packet, in_device=end.link.name))
            raise Left("no answer")
        super()._receive(end, packet)

    def _deliver(self, key, packet: Packet) -> None:  # type: ignore[no-untyped-def]
        packet = self.firewall.run(self.trail, key, "input", packet)
        self.arrived.append(("host", packet))
