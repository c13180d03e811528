"""One question from target to diagnosis: observe and walk by turns, probe meanwhile, conclude, mend the model, go on."""

import os
import sys
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from netdoctor import __version__, checks, engine, question, target
from netdoctor.conclusion import FULL_SIZE, HOST, LARGE, TARGET, Conclusion, leg_of
from netdoctor.errors import NetdoctorError
from netdoctor.model.change import Change, SetLink
from netdoctor.model.diagnosis import Case, Cause, Diagnosis, Leg, Question
from netdoctor.model.evidence import Evidence, Ping
from netdoctor.model.journey import Flow, RoundTrip, Step
from netdoctor.model.network import ConntrackEntry, ConntrackTuple
from netdoctor.model.snapshot import NamespaceId, Need, Provenance, Snapshot
from netdoctor.model.unknown import Unknown
from netdoctor.netlink.wire import NETLINK_NETFILTER
from netdoctor.observe.observer import Observer
from netdoctor.probe.board import Board
from netdoctor.probe.echo import Echo
from netdoctor.probe.echo import open_socket as open_echo
from netdoctor.walk.walker import walk

if TYPE_CHECKING:
    from netdoctor.probe.transport import Connect, Datagram

MAX_TURNS, MAX_CAUSES = 400, 6
PATIENCE_S, EARLY_S, HOP_PATIENCE_S = 1.3, 0.2, 0.25
HTTP_PORTS = (80, 8080, 8000)
PROTOCOL_NUMBERS = {"icmp": 1, "tcp": 6, "udp": 17}

Tell = Callable[[str], None]


def silently(_: str) -> None:
    """Progress that nobody looks at."""


class Options(NamedTuple):
    """How to examine: send packets or not, and whom to tell how far it is."""

    probe: bool = True
    http: bool = False
    tell: Tell = silently


class Examined(NamedTuple):
    """Everything one examination found. mended: with the causes' changes made on the model, the packet gets through."""

    snapshot: Snapshot
    case: Case
    diagnosis: Diagnosis
    mended: bool = False


class Found(NamedTuple):
    """The root causes, what crashed while telling them, and the snapshot extended by what that needed."""

    causes: tuple[Cause, ...]
    crashed: dict[str, str]
    snapshot: Snapshot
    mended: bool = False


class Examination:
    """Holds the namespaces open; `run` may be called again after a change (it looks anew)."""

    def __init__(self, asked: Question, options: Options) -> None:
        self.asked = asked
        self.options = options
        self.host = target.resolve("host")
        self.target = target.resolve(asked.target)
        self.observer = self._observer()
        self.board = Board()

    def _observer(self) -> Observer:
        return Observer(target.resolve(self.asked.target), target.resolve("host"))

    def close(self) -> None:
        self.board.close()
        self.observer.close()
        self.host.close()
        self.target.close()

    def __enter__(self) -> "Examination":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self) -> Examined:
        """Looks, probes and concludes. Raises NetdoctorError without the rights to look."""
        self.board.close()
        self.board = Board()
        self.options.tell(f"looking into {self.asked.target}")
        self._first_probe()
        snapshot = self._begin()
        address, snapshot = self._destination(snapshot)
        case, snapshot = self._examine(snapshot, address)
        return self._concluded(case, snapshot)

    def _begin(self) -> Snapshot:
        try:
            return self.observer.begin(provenance())
        except PermissionError as error:
            raise NetdoctorError(
                f"{self.asked.target}: may not enter the namespace ({error.strerror}); run netdoctor as root"
            ) from error

    # The destination ---------------------------------------------------------------------------------------------

    def _first_probe(self) -> None:
        """The probe of an address that is known as typed starts before anything is read."""
        if question.is_address(self.asked.dest):
            self._probe_target(question.canonical(self.asked.dest))

    def _destination(self, snapshot: Snapshot) -> tuple[str, Snapshot]:
        """The address asked about; "" for a name that does not resolve."""
        dest = self.asked.dest
        if question.is_address(dest):
            return question.canonical(dest), snapshot
        if dest.startswith("ns:"):
            return self._address_of_namespace(dest[3:], snapshot)
        return self._resolve(dest, snapshot), snapshot

    def _address_of_namespace(self, name: str, snapshot: Snapshot) -> tuple[str, Snapshot]:
        handle = target.resolve(name)
        if handle.id in self.observer.handles:
            handle.close()
        else:
            self.observer.handles[handle.id] = handle
        key = handle.id
        if key not in snapshot.namespaces:
            snapshot = self.observer.answer(snapshot, [Need(namespace=key, subject="namespace")])
        found = snapshot.namespaces[key].addresses
        usable = (
            ()
            if isinstance(found, Unknown)
            else [one for one in found if one.scope == "global" and "tentative" not in one.flags]
        )
        if not usable:
            raise NetdoctorError(f"ns:{name}: that namespace has no address to ask for")
        return min(usable, key=lambda one: one.family).local, snapshot

    def _resolve(self, name: str, snapshot: Snapshot) -> str:
        """As the namespace would: its hosts file, then its servers, asked from inside."""
        resolver = snapshot.namespaces[snapshot.target].resolver
        if isinstance(resolver, Unknown):
            raise NetdoctorError(f"cannot resolve {name}: {resolver.why}")
        known = resolver.hosts.get(name.rstrip(".").lower(), ())
        if known or not self.options.probe:
            return known[0] if known else ""
        self.options.tell(f"resolving {name}")
        legs = []
        for server in resolver.nameservers:
            if question.is_address(server.partition("%")[0]):
                leg = f"dns {server}"
                legs.append(leg)
                self._ask_server(leg, snapshot.target, server, name)
        self.board.run(PATIENCE_S + 0.4, tuple(legs), lambda: any(self._found(leg) for leg in legs))
        self.board.run(0.05, tuple(legs))
        found = [address for leg in legs for address in self._found(leg)]
        return next((one for one in found if ":" not in one), found[0] if found else "")

    def _ask_server(self, leg: str, namespace: NamespaceId, server: str, name: str) -> None:
        self._add(leg, namespace, lambda: self._datagram(leg, namespace, server, 53, name))

    def _found(self, leg: str) -> list[str]:
        found: list[str] = getattr(self.board.probes.get(leg), "found", [])
        return found

    # Probes ------------------------------------------------------------------------------------------------------

    def _add(self, leg: str, namespace: NamespaceId, make: Callable[[], object]) -> None:
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

    def _datagram(self, leg: str, namespace: NamespaceId, address: str, port: int, name: str = "") -> "Datagram":
        from netdoctor.probe.transport import Datagram, open_datagram

        return Datagram(leg, namespace, address, port, open_datagram(6 if ":" in address else 4), name)

    def _connect(self, leg: str, namespace: NamespaceId, address: str, port: int) -> "Connect":
        from netdoctor.probe.transport import Connect, open_stream

        http = self.options.http or port in HTTP_PORTS
        return Connect(leg, namespace, address, port, open_stream(6 if ":" in address else 4), http=http)

    def _probe_target(self, address: str) -> None:
        self._probe_flow(TARGET, self.target.id, address)

    def _probe_flow(self, leg: str, namespace: NamespaceId, address: str) -> None:
        protocol, port = question.parse_port(self.asked.port)
        if protocol == "icmp":
            self._add(leg, namespace, lambda: self._echo(leg, namespace, address))
        elif protocol == "tcp":
            self._add(leg, namespace, lambda: self._connect(leg, namespace, address, port))
        else:
            self._add(leg, namespace, lambda: self._datagram(leg, namespace, address, port))

    # Looking -----------------------------------------------------------------------------------------------------

    def _examine(self, snapshot: Snapshot, address: str) -> tuple[Case, Snapshot]:
        self.options.tell("walking the packet's way")
        legs: list[Leg] = []
        if address:
            self._probe_target(address)
            flow = question.flow(self.asked, snapshot.target, address)
            trip, snapshot = self.walked(snapshot, flow)
            legs.append(Leg(name=TARGET, trip=trip))
            if trip.fatal is None and flow.protocol != "udp":
                trip, snapshot = self.walked(snapshot, question.large(flow, _mtu(snapshot, trip)))
                legs.append(Leg(name=LARGE, trip=trip))
        else:
            more, snapshot = self._server_legs(snapshot)
            legs += more
        evidence = self._gather(snapshot, tuple(legs), address) if self.options.probe else None
        return Case(question=self.asked, legs=tuple(legs), evidence=evidence), snapshot

    def _server_legs(self, snapshot: Snapshot) -> tuple[list[Leg], Snapshot]:
        resolver = snapshot.namespaces[snapshot.target].resolver
        legs = []
        for server in resolver.nameservers if not isinstance(resolver, Unknown) else ():
            if question.is_address(server.partition("%")[0]):
                trip, snapshot = self.walked(snapshot, question.dns_flow(snapshot.target, server.partition("%")[0]))
                legs.append(Leg(name=f"dns {server}", trip=trip))
        return legs, snapshot

    def walked(self, snapshot: Snapshot, flow: Flow, changes: Iterable[Change] = ()) -> tuple[RoundTrip, Snapshot]:
        """The flow walked to its end, the snapshot extended by what that needed; `changes` are made on the model only."""
        changes = tuple(changes)
        snapshot = self.observer.answer(snapshot, ends_needed(snapshot, changes))
        for _ in range(MAX_TURNS):
            trip = walk(mended(snapshot, changes), flow)
            if not trip.needs:
                return trip, snapshot
            snapshot = self.observer.answer(snapshot, trip.needs)
        raise AssertionError(f"the walk does not end: it still needs {trip.needs[:3]}")

    def _gather(self, snapshot: Snapshot, legs: tuple[Leg, ...], address: str) -> Evidence:
        """Waits for the question's own probe no longer than it is worth, then asks the hops."""
        self.options.tell("waiting for answers")
        main = TARGET if address else ""
        trip = legs[0].trip if legs else None
        blocked = trip is not None and trip.fatal is not None and not _doubt_before_fatal(trip)
        if address and trip is not None:
            self._hop_probes(snapshot, trip)
            self._full_size_probe(snapshot, legs, address)
            self.board.run(EARLY_S if blocked else PATIENCE_S, (main,))
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
        """When the walk says that full-size packets die, one is sent, so that the packet decides."""
        large = next((leg.trip for leg in legs if leg.name == LARGE), None)
        if large is None or large.fatal is None or large.flow.protocol != "icmp":
            return
        size = large.flow.length_bytes - (28 if large.flow.family == 4 else 48)
        self._add(
            FULL_SIZE,
            snapshot.target,
            lambda: Echo(FULL_SIZE, snapshot.target, address, open_echo(large.flow.family, whole=True), size),
        )

    def _ping(self, leg: str, namespace: NamespaceId, address: str) -> None:
        self._add(leg, namespace, lambda: self._echo(leg, namespace, address))

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

    # Concluding --------------------------------------------------------------------------------------------------

    def _concluded(self, case: Case, snapshot: Snapshot) -> Examined:
        conclusion = engine.conclude(case, snapshot)
        found = find_causes(self.walked, case, conclusion, snapshot)
        return _examined(case, conclusion, found)


def _taken_in(cause: Cause, causes: list[Cause]) -> bool:
    """Adds the cause; one that is known gets the further changes it needs (the way back of the same policy).

    False when it was there already with the same changes: they do not help.
    """
    for number, other in enumerate(causes):
        if (other.slug, other.namespace, other.object) == (cause.slug, cause.namespace, cause.object):
            if not cause.changes or any(change in other.changes for change in cause.changes):
                return False
            causes[number] = replace(other, changes=(*other.changes, *cause.changes))
            return True
    causes.append(cause)
    return True


def ends_needed(snapshot: Snapshot, changes: Iterable[Change]) -> list[Need]:
    """The far ends of the cables that the changes bring up: without them the model cannot tell whether carrier comes."""
    needs = []
    for change in changes:
        namespace = snapshot.namespaces.get(change.namespace)
        if isinstance(change, SetLink) and change.up and namespace and not isinstance(namespace.links, Unknown):
            link = next((one for one in namespace.links if one.name == change.link), None)
            nsid = "" if link is None or link.lower_namespace is None else str(link.lower_namespace)
            if nsid and nsid not in namespace.peers:
                needs.append(Need(namespace=namespace.id, subject="peer", key=(nsid,)))
    return needs


def mended(snapshot: Snapshot, changes: Iterable[Change]) -> Snapshot:
    """The snapshot with these changes made on the model."""
    changes = tuple(changes)
    if not changes:
        return snapshot
    from netdoctor.fix.effect import effects

    return effects(changes, snapshot)


def find_causes(
    walked: Callable[[Snapshot, Flow, Iterable[Change]], tuple[RoundTrip, Snapshot]],
    case: Case,
    conclusion: Conclusion,
    snapshot: Snapshot,
) -> Found:
    """Every independent root cause in the packet's order: each one's changes are made on the model, and it walks again."""
    step = conclusion.culprit if conclusion.verdict == "fail" else None
    works = False
    causes: list[Cause] = []
    changes: list[Change] = []
    crashed: dict[str, str] = {}
    flow = _flow_of(case, conclusion)
    while step is not None and len(causes) < MAX_CAUSES:
        model = mended(snapshot, changes)
        try:
            cause = checks.cause_of(step, model)
        except Exception as error:
            crashed[checks.check_of(step.kind).ID] = f"{type(error).__name__}: {error}"
            cause = _untold(step)
        if not _taken_in(cause, causes):
            break
        if not cause.changes or flow is None:
            break
        changes += cause.changes
        trip, snapshot = walked(snapshot, flow, changes)
        step = trip.fatal
        works = step is None
    return Found(tuple(causes), crashed, snapshot, works)


def _examined(case: Case, conclusion: Conclusion, found: Found) -> Examined:
    diagnosis = engine.diagnose(case, conclusion, found.snapshot, found.causes, found.crashed)
    return Examined(found.snapshot, case, diagnosis, found.mended)


def _untold(step: Step) -> Cause:
    """A fault whose check crashed: still a fault, told by its step alone."""
    return Cause(
        slug=step.cause or "unexplained", layer=checks.check_of(step.kind).LAYER, namespace=step.namespace, object=step.device,
        summary=step.summary, evidence=tuple(because.text for because in step.because),
    )  # fmt: skip


def _flow_of(case: Case, conclusion: Conclusion) -> Flow | None:
    leg = leg_of(case, conclusion.leg)
    return leg.trip.flow if leg else None


def offline(snapshot: Snapshot, asked: Question, evidence: Evidence | None) -> Examined:
    """The diagnosis of a saved snapshot: no kernel, no packets."""
    snapshot = replace(snapshot, complete=True)
    legs = []
    address = _known_address(snapshot, asked, evidence)

    def walked(here: Snapshot, flow: Flow, changes: Iterable[Change] = ()) -> tuple[RoundTrip, Snapshot]:
        changes = tuple(changes)
        return walk(mended(here, changes), flow), here

    if address:
        flow = question.flow(asked, snapshot.target, address)
        trip, _ = walked(snapshot, flow)
        legs.append(Leg(name=TARGET, trip=trip))
        if trip.fatal is None and flow.protocol != "udp":
            legs.append(Leg(name=LARGE, trip=walked(snapshot, question.large(flow, _mtu(snapshot, trip)))[0]))
    else:
        resolver = snapshot.namespaces[snapshot.target].resolver
        for server in resolver.nameservers if not isinstance(resolver, Unknown) else ():
            if question.is_address(server):
                legs.append(
                    Leg(name=f"dns {server}", trip=walked(snapshot, question.dns_flow(snapshot.target, server))[0])
                )
    case = Case(question=asked, legs=tuple(legs), evidence=evidence)
    conclusion = engine.conclude(case, snapshot)
    return _examined(case, conclusion, find_causes(walked, case, conclusion, snapshot))


def _known_address(snapshot: Snapshot, asked: Question, evidence: Evidence | None) -> str:
    """The destination's address without asking anybody: as typed, as probed then, or from the hosts file."""
    if question.is_address(asked.dest):
        return question.canonical(asked.dest)
    probed = evidence.of(TARGET) if evidence else None
    if probed is not None and probed.address:
        return probed.address
    resolver = snapshot.namespaces[snapshot.target].resolver
    if isinstance(resolver, Unknown):
        return ""
    return next(iter(resolver.hosts.get(asked.dest.lower(), ())), "")


def provenance() -> Provenance:
    """Who looks, when, on what, with which rights."""
    return Provenance(
        netdoctor=__version__,
        kernel=os.uname().release,
        hostname=os.uname().nodename,
        started_utc=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        arguments=tuple(sys.argv[1:]),
        user_id=os.geteuid(),
    )


def _doubt_before_fatal(trip: RoundTrip) -> bool:
    """True when something unknown stands on the way before the fatal step: then the walk alone proves nothing."""
    for step in trip.steps:
        if step.outcome == "block":
            return False
        if step.outcome == "unknown":
            return True
    return False


def _mtu(snapshot: Snapshot, trip: RoundTrip) -> int:
    """The MTU of the interface the flow leaves its own namespace by."""
    device = next((step.device for step in trip.forward.steps if step.kind == "route"), "")
    found = snapshot.namespaces[trip.flow.namespace].links
    return (
        next((link.mtu_bytes for link in found if link.name == device), 1500)
        if not isinstance(found, Unknown)
        else 1500
    )


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
