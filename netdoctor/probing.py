"""The probes of one examination: sent from inside the namespaces, waited for, gathered as evidence."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from netdoctor import question
from netdoctor.conclusion import COUNTED, FULL_SIZE, HOST, LARGE, TARGET, pieces_of
from netdoctor.counted import ChainName, find_chain
from netdoctor.model.diagnosis import Leg, Question
from netdoctor.model.evidence import Evidence, Ping, RuleCount
from netdoctor.model.journey import RoundTrip
from netdoctor.model.network import ConntrackEntry, ConntrackTuple
from netdoctor.model.snapshot import NamespaceId, Snapshot
from netdoctor.model.unknown import Unknown
from netdoctor.netlink.wire import NETLINK_NETFILTER
from netdoctor.observe.observer import Observer
from netdoctor.probe.board import Board
from netdoctor.probe.echo import Echo
from netdoctor.probe.echo import open_socket as open_echo

if TYPE_CHECKING:
    from netdoctor.observe.counters import CounterKey
    from netdoctor.probe.transport import Connect, Datagram

COUNT_S, LOOK_S = 0.04, 0.03
PATIENCE_S, EARLY_S, HOP_PATIENCE_S = 1.3, 0.2, 0.25
HTTP_PORTS = (80, 8080, 8000)

Tell = Callable[[str], None]


def silently(_: str) -> None:
    """Progress that nobody looks at."""


class Options(NamedTuple):
    """How to examine: send packets or not, and whom to tell how far it is."""

    probe: bool = True
    http: bool = False
    tell: Tell = silently


class Probing:
    """Every probe of one run on one board; `anew` drops them before the next run."""

    def __init__(self, asked: Question, options: Options, observer: Observer, target: NamespaceId) -> None:
        self.asked = asked
        self.options = options
        self.observer = observer
        self.target = target
        self.board = Board()

    def anew(self) -> None:
        self.board.close()
        self.board = Board()

    def close(self) -> None:
        self.board.close()

    # Asking ------------------------------------------------------------------------------------------------------

    def probe_target(self, address: str) -> None:
        self._probe_flow(TARGET, self.target, address)

    def _probe_flow(self, leg: str, namespace: NamespaceId, address: str) -> None:
        protocol, port = question.parse_port(self.asked.port)
        if protocol == "icmp":
            self.add(leg, namespace, lambda: self._echo(leg, namespace, address))
        elif protocol == "tcp":
            self.add(leg, namespace, lambda: self._connect(leg, namespace, address, port))
        else:
            self.add(leg, namespace, lambda: self.datagram(leg, namespace, address, port))

    def gather(self, snapshot: Snapshot, legs: tuple[Leg, ...], address: str) -> Evidence:
        """Waits for the question's own probe no longer than it is worth, then asks the hops."""
        self.options.tell("waiting for answers")
        main = TARGET if address else ""
        trip = legs[0].trip if legs else None
        blocked = trip is not None and trip.fatal is not None and not _doubt_before_fatal(trip)
        if address and trip is not None:
            self._hop_probes(snapshot, trip)
            self._full_size_probe(snapshot, legs, address)
            self.board.run(max(EARLY_S - self._age_s(main), LOOK_S) if blocked else PATIENCE_S, (main,))
            self.board.run(PATIENCE_S, (FULL_SIZE,))
            if blocked:
                self.board.run(max(0.0, 3 * self._gateway_rtt_s() - EARLY_S), (main,))
            probe = self.board.probes.get(main)
            if probe is not None and not (probe.done and probe.result().answer == "reply") and not blocked:
                self._probe_flow(HOST, snapshot.host, address)
                self.board.run(0.6, (HOST, main))
            self.board.run(HOP_PATIENCE_S if not blocked else 0.05)
        entries = self._conntrack_of(snapshot, address) if address else {}
        return Evidence(pings=self.board.results(), conntrack=entries)

    def answered_early(self) -> bool:
        """Whether the question's own probe is answered within a time in which most are."""
        self.board.run(EARLY_S, (TARGET,))
        probe = self.board.probes.get(TARGET)
        return probe is not None and probe.done and probe.result().answer == "reply"

    def count(
        self, snapshot: Snapshot, chains: dict[NamespaceId, tuple[ChainName, ...]], address: str
    ) -> tuple[RuleCount, ...]:
        """The rule counters of these chains around one more probe, and around a pause as long before it."""
        self.options.tell("counting what the rules meet")
        wait_s = max(COUNT_S, 3 * self._gateway_rtt_s())
        idle = self._counters(chains)
        time.sleep(wait_s)
        before = self._counters(chains)
        self._probe_flow(COUNTED, self.target, address)
        self.board.run(wait_s, (COUNTED,), alone=True)
        after = self._counters(chains)
        return tuple(
            RuleCount(
                namespace=namespace, backend=key.backend, family=key.family, table=key.table, chain=key.chain,
                line=line, before=before[namespace, key], after=count,
                quiet=before[namespace, key] - idle.get((namespace, key), before[namespace, key]),
            )
            for (namespace, key), count in after.items()
            if (namespace, key) in before and (line := _line_of(snapshot, namespace, key)) is not None
        )  # fmt: skip

    def _counters(
        self, chains: dict[NamespaceId, tuple[ChainName, ...]]
    ) -> "dict[tuple[NamespaceId, CounterKey], int]":
        from netdoctor.observe.counters import ChainKey

        return {
            (namespace, key): count.packets
            for namespace, names in chains.items()
            for found in self.observer.counters(namespace, [ChainKey(*name) for name in names]).values()  # type: ignore[arg-type]
            if not isinstance(found, Unknown)
            for key, count in found.items()
        }

    def _age_s(self, leg: str) -> float:
        """How long ago the leg's probe was begun; its answer may be waiting to be read."""
        probe = self.board.probes.get(leg)
        return time.monotonic() - probe.started if probe is not None else 0.0

    def _gateway_rtt_s(self) -> float:
        probe = self.board.probes.get("gateway")
        rtt = probe.result().rtt_ms if probe is not None else None
        return (rtt or 0.0) / 1000

    def _hop_probes(self, snapshot: Snapshot, trip: RoundTrip) -> None:
        """Own address, gateway, the host's uplink address, the uplink's next hop: each asked by a ping."""
        source = next(
            (
                step.packet.split(" -> ")[0]
                for step in trip.forward.steps
                if step.kind == "source-address" and step.outcome == "pass"
            ),
            "",
        )
        source = _bare(source)
        if source:
            self._ping("own address", snapshot.target, source)
        routes = [step for step in trip.forward.steps if step.kind == "route" and step.outcome == "pass"]
        for step in routes:
            gateway = step.facts.get("gateway", "")
            if step.namespace == snapshot.target and gateway and not _link_local(gateway):
                self._ping("gateway", snapshot.target, gateway)
            if step.namespace == snapshot.host and snapshot.host != snapshot.target:
                own = _address_on(snapshot, snapshot.host, step.facts.get("device", ""), trip.flow.family)
                if own:
                    self._ping("host uplink", snapshot.target, own)
                if gateway and not _link_local(gateway):
                    self._ping("next hop", snapshot.host, gateway)
                break

    def _full_size_probe(self, snapshot: Snapshot, legs: tuple[Leg, ...], address: str) -> None:
        """When the walk says that full-size packets die or may die, one is sent, so that the packet decides."""
        large = next((leg.trip for leg in legs if leg.name == LARGE), None)
        if large is None or large.flow.protocol != "icmp" or (large.fatal is None and pieces_of(large) is None):
            return
        size = large.flow.length_bytes - (28 if large.flow.family == 4 else 48)
        self.add(
            FULL_SIZE,
            snapshot.target,
            lambda: Echo(FULL_SIZE, snapshot.target, address, open_echo(large.flow.family, whole=True), size),
        )

    def _ping(self, leg: str, namespace: NamespaceId, address: str) -> None:
        self.add(leg, namespace, lambda: self._echo(leg, namespace, address))

    def _conntrack_of(self, snapshot: Snapshot, address: str) -> dict[NamespaceId, tuple[ConntrackEntry, ...]]:
        """The host's conntrack entry of the very packet that was sent."""
        probe = self.board.probes.get(TARGET)
        if (
            not isinstance(probe, Echo)
            or isinstance(snapshot.namespaces[snapshot.host].conntrack, Unknown)
            or probe.family == 6
        ):
            return {}
        from netdoctor.observe import conntrack

        found = snapshot.namespaces[snapshot.target].addresses
        reader = self.observer.reader(snapshot.host, NETLINK_NETFILTER)
        entries = []
        for one in found if not isinstance(found, Unknown) else ():
            if one.family == 4 and one.scope == "global":
                wanted = ConntrackTuple(protocol=1, source=one.local, destination=address, source_port=probe.identifier)
                entry = conntrack.find(reader, wanted)
                if entry is not None:
                    entries.append(entry)
        return {snapshot.host: tuple(entries)} if entries else {}

    # Making ------------------------------------------------------------------------------------------------------

    def add(self, leg: str, namespace: NamespaceId, make: Callable[[], object]) -> None:
        """Adds a probe made inside the namespace; one that may not be made is left out, with its reason as evidence."""
        if not self.options.probe or leg in self.board.probes:
            return
        try:
            probe = self.observer.inside(namespace, make)
        except OSError as error:
            self.board.refusals.append(
                Ping(leg=leg, namespace=namespace, address="", answer="not-sent", error=error.strerror or str(error))
            )
            return
        self.board.add(probe)  # type: ignore[arg-type]

    def _echo(self, leg: str, namespace: NamespaceId, address: str) -> Echo:
        return Echo(leg, namespace, address, open_echo(6 if ":" in address else 4))

    def datagram(self, leg: str, namespace: NamespaceId, address: str, port: int, name: str = "") -> "Datagram":
        from netdoctor.probe.transport import Datagram, open_datagram

        return Datagram(leg, namespace, address, port, open_datagram(6 if ":" in address else 4), name)

    def _connect(self, leg: str, namespace: NamespaceId, address: str, port: int) -> "Connect":
        from netdoctor.probe.transport import Connect, open_stream

        http = self.options.http or port in HTTP_PORTS
        return Connect(leg, namespace, address, port, open_stream(6 if ":" in address else 4), http=http)


def _line_of(snapshot: Snapshot, namespace: NamespaceId, key: "CounterKey") -> int | None:
    """The line of the rule with this handle, or in a legacy table with this line already; 0 for the policy."""
    if key.number == 0 or key.backend == "iptables-legacy":
        return key.number
    chain = find_chain(snapshot, namespace, (key.backend, key.family, key.table, key.chain))
    rules = () if chain is None or isinstance(chain.rules, Unknown) else chain.rules
    return next((rule.line for rule in rules if rule.handle == key.number), None)


def _doubt_before_fatal(trip: RoundTrip) -> bool:
    """True when something unknown stands on the way before the fatal step: then the walk alone proves nothing."""
    for step in trip.steps:
        if step.outcome == "block":
            return False
        if step.outcome == "unknown":
            return True
    return False


def _address_on(snapshot: Snapshot, key: NamespaceId, device: str, family: int) -> str:
    namespace = snapshot.namespaces[key]
    if isinstance(namespace.links, Unknown) or isinstance(namespace.addresses, Unknown):
        return ""
    index = next((link.index for link in namespace.links if link.name == device), 0)
    found = (
        one.local
        for one in namespace.addresses
        if one.index == index and one.family == family and one.scope == "global"
    )
    return next(found, "")


def _bare(end: str) -> str:
    if end.startswith("["):
        return end[1:].split("]", maxsplit=1)[0]
    return end.split(":", maxsplit=1)[0] if end.count(":") == 1 else end


def _link_local(address: str) -> bool:
    return address.startswith(("fe80", "169.254."))
