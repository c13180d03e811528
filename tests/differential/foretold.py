"""What the product's walk says of a packet: where it comes out and how it looks, and which rules it meets."""

from collections import Counter
from copy import deepcopy
from typing import NamedTuple

from msgspec.structs import replace

from netdoctor.model.journey import Flow
from netdoctor.model.snapshot import NamespaceId, Snapshot
from netdoctor.walk.hooks import Firewall
from netdoctor.walk.layer2 import End
from netdoctor.walk.netfilter import BaseChain, Binding, ChainResult
from netdoctor.walk.packet import Packet
from netdoctor.walk.trail import Left, Trail
from netdoctor.walk.view import Lacking, View
from netdoctor.walk.walker import Walker

from .box import Box
from .packets import Seen, foreseen

MAX_TURNS = 200
PORTS = ("source_port", "destination_port", "icmp_id")
"""What NAT may draw by lot: that it comes out of the rule's range is looked at when it has come out."""
SHOWN = (*PORTS, "source", "destination", "ttl", "tos", "mark", "conntrack")
"""What is seen of a packet that comes out, or leads it there: to be unsure of anything else is not to be unsure of it."""


class Foretold(NamedTuple):
    """seen: None for a packet that dies. doubts: the rules in doubt and why, when the walk does not claim to know.

    met: how often each label's rule is met. ports: the bindings whose port the kernel chooses. answered: how a rule
    rejects it, "" where none does.
    """

    seen: Seen | None
    doubts: dict[str, str]
    met: Counter[str]
    bindings: tuple[Binding, ...]
    answered: str
    steps: tuple[str, ...]


class Recorder(Firewall):
    """A firewall that remembers what each chain did."""

    results: list[tuple[BaseChain, ChainResult]]

    def _evaluate(self, trail: Trail, key: NamespaceId, base: BaseChain, packet: Packet) -> ChainResult:
        result = super()._evaluate(trail, key, base, packet)
        self.results.append((base, result))
        return result


class Oracle(Walker):
    """A walker whose packets end where they leave the host. One oracle for all packets of one flow."""

    def __init__(self, box: Box, snapshot: Snapshot) -> None:
        view = View(snapshot)
        super().__init__(view, Flow(namespace=box.host, family=4, destination="", protocol="udp"))
        self.box = box
        self.firewall = Recorder(view, self.connections)
        self.firewall.results = []
        self.arrived: tuple[str, Packet] | None = None

    def told(self, wire: str, packet: Packet) -> Foretold:
        """A packet that comes in by this interface, or the host's own; what the walk lacks is read as a check would."""
        for _ in range(MAX_TURNS):
            before, touched = deepcopy(self.connections), dict(self.firewall.facts(self.box.host).touched)
            try:
                return self.coming(wire, packet) if wire else self.own(packet)
            except Lacking as lacking:
                self.view.snapshot = self.box.observer.answer(self.view.snapshot, lacking.needs)
                vars(self.connections).update(vars(before))
                self.firewall.facts(self.box.host).touched.clear()
                self.firewall.facts(self.box.host).touched.update(touched)
        raise AssertionError("the walk never has enough")

    def coming(self, wire: str, packet: Packet) -> Foretold:
        """A packet that comes in by the host's interface."""
        there, here = self.box.macs[wire]
        packet = replace(packet, in_device=wire, source_mac=there, destination_mac=here)
        link = self.view.link(self.box.host, wire)
        assert link is not None
        return self._foretell(lambda: self._receive(End(self.box.host, link, ()), packet))

    def own(self, packet: Packet) -> Foretold:
        """A packet of the host's own."""
        return self._foretell(lambda: self._originate(self.box.host, packet))

    def _foretell(self, go) -> Foretold:  # type: ignore[no-untyped-def]
        self.firewall.results, self.arrived, self.depth = [], None, 0
        journey = self._journey("reply", go)
        results = [result for _, result in self.firewall.results]
        dead = next((step for step in journey.steps if step.outcome == "block"), None)
        doubts = {doubt.rule.comment: doubt.why for result in results for doubt in result.doubts}
        drawn = set(PORTS if any(result.binding for result in results) else ())
        unsure = {field: why for result in results for field, why in result.uncertain.items()}
        doubts |= {f"field {field}": why for field, why in unsure.items() if field in SHOWN and field not in drawn}
        if not doubts:
            doubts = {step.kind: step.summary for step in journey.steps if step.outcome == "unknown"}
        seen = None
        if self.arrived is not None:
            seen = foreseen(self.arrived[1], self.arrived[0])
        return Foretold(
            seen=seen,
            doubts=doubts,
            met=Counter(ref.comment for result in results for ref in result.matched if ref.comment),
            bindings=tuple(result.binding for result in results if result.binding),
            answered=dead.facts.get("reject", "") if dead else "",
            steps=tuple(f"{step.kind} {step.outcome}: {step.summary}" for step in journey.steps),
        )

    def learn(self, told: Foretold, seen: Seen) -> None:
        """Takes over the port that the kernel chose where the walk could only say a range."""
        if told.seen is None or told.seen.source_port == seen.source_port:
            return
        for connection in self.connections.all_of(self.box.host):
            if connection.reply.destination_port == told.seen.source_port:
                ports = {"destination_port": seen.source_port}
                if told.seen.kind:
                    ports["source_port"] = seen.source_port
                connection.reply = replace(connection.reply, **ports)
                connection.unsure.clear()

    def _receive(self, end: End, packet: Packet) -> None:
        if end.namespace == self.box.host:
            super()._receive(end, packet)
            return
        self.arrived = (_place(self.box, end), packet)
        raise Left("seen on the wire")

    def _deliver(self, key: NamespaceId, packet: Packet) -> None:
        packet = self.firewall.run(self.trail, key, "input", packet)
        self.arrived = ("host", packet)


def _place(box: Box, end: End) -> str:
    role = next((role for role, handle in box.handles.items() if handle.id == end.namespace), end.namespace)
    return f"{role}:{end.link.name}"
