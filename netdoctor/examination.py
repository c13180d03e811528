"""One question from target to diagnosis: observe and walk by turns, probe meanwhile, conclude, mend the model, go on."""

import os
import sys
import time
from collections.abc import Iterable
from typing import NamedTuple

from msgspec.structs import replace

from netdoctor import __version__, counted, engine, names, question, target
from netdoctor.causes import Found, ends_needed, find_causes, mended
from netdoctor.conclusion import LARGE, TARGET, Conclusion
from netdoctor.errors import NetdoctorError
from netdoctor.model.change import Change
from netdoctor.model.diagnosis import Case, Diagnosis, Leg, Question
from netdoctor.model.evidence import Evidence, RuleCount
from netdoctor.model.journey import Flow, RoundTrip
from netdoctor.model.snapshot import Need, Provenance, Snapshot
from netdoctor.model.unknown import Unknown
from netdoctor.observe.observer import Observer
from netdoctor.probing import Options, Probing
from netdoctor.resolution import server_flows
from netdoctor.walk.walker import walk
from netdoctor.walk.worlds import Settled

MAX_TURNS = 400


class Examined(NamedTuple):
    """Everything one examination found. mended: with the causes' changes made on the model, the packet gets through."""

    snapshot: Snapshot
    case: Case
    diagnosis: Diagnosis
    mended: bool = False


class Examination:
    """Holds the namespaces open; `run` may be called again after a change (it looks anew)."""

    def __init__(self, asked: Question, options: Options) -> None:
        self.asked = asked
        self.options = options
        self.host = target.resolve("host")
        self.target = target.resolve(asked.target)
        self.observer = self._observer()
        self.settled: Settled = {}
        self.counts: tuple[RuleCount, ...] = ()
        self.probing = Probing(asked, options, self.observer, self.target.id)

    def _observer(self) -> Observer:
        return Observer(target.resolve(self.asked.target), target.resolve("host"))

    def close(self) -> None:
        self.probing.close()
        self.observer.close()
        self.host.close()
        self.target.close()

    def __enter__(self) -> "Examination":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self) -> Examined:
        """Looks, probes and concludes. Raises NetdoctorError without the rights to look."""
        self.probing.anew()
        self.settled, self.counts = {}, ()
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
            self.probing.probe_target(question.canonical(self.asked.dest))

    def _destination(self, snapshot: Snapshot) -> tuple[str, Snapshot]:
        """The address asked about; "" for a name that does not resolve."""
        dest = self.asked.dest
        if question.is_address(dest):
            return question.canonical(dest), snapshot
        if dest.startswith("ns:"):
            return self._address_of_namespace(dest[3:], snapshot)
        return names.resolve(self.probing, dest, snapshot), snapshot

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

    # Looking -----------------------------------------------------------------------------------------------------

    def _examine(self, snapshot: Snapshot, address: str) -> tuple[Case, Snapshot]:
        self.options.tell("walking the packet's way")
        legs: list[Leg] = []
        if address:
            self.probing.probe_target(address)
            flow = question.flow(self.asked, snapshot.target, address)
            legs, snapshot = self._legs(snapshot, flow)
        else:
            more, snapshot = self._server_legs(snapshot)
            legs += more
        if self.options.probe and address and legs[0].trip.fatal is None:
            legs, snapshot = self._settled_early(legs, snapshot, address)
        evidence = self.probing.gather(snapshot, tuple(legs), address) if self.options.probe else None
        if evidence is not None and address:
            evidence, legs, snapshot = self._counted(evidence, legs, snapshot, address)
        return Case(question=self.asked, legs=tuple(legs), evidence=evidence), snapshot

    def _settled_early(self, legs: list[Leg], snapshot: Snapshot, address: str) -> tuple[list[Leg], Snapshot]:
        """Where rules are in doubt and no answer comes soon: a counter that moves proves the drop without more waiting."""
        chains = counted.chains_in_question(legs[0].trip, snapshot)
        if not chains or self.probing.answered_early():
            return legs, snapshot
        self.counts = self.probing.count(snapshot, chains, address)
        self.settled = counted.met_by(self.counts, snapshot)
        trip, snapshot = self.walked(snapshot, legs[0].trip.flow)
        if trip.fatal is None:
            self.settled = {}
            return legs, snapshot
        return [Leg(name=TARGET, trip=trip)], snapshot

    def _counted(
        self, evidence: Evidence, legs: list[Leg], snapshot: Snapshot, address: str
    ) -> tuple[Evidence, list[Leg], Snapshot]:
        """Of a probe that failed: what the counters of the rules in question say, and the way walked again with that."""
        trip = legs[0].trip
        chains = counted.worth_counting(evidence, trip, snapshot)
        if not self.counts and chains:
            self.counts = self.probing.count(snapshot, chains, address)
        if not self.counts:
            return evidence, legs, snapshot
        evidence = replace(evidence, counters=self.counts, pings=self.probing.board.results())
        before, self.settled = self.settled, counted.settled_by(evidence, snapshot)
        if before != self.settled and (before or trip.fatal is None):
            legs, snapshot = self._legs(snapshot, trip.flow)
        return evidence, legs, snapshot

    def _legs(self, snapshot: Snapshot, flow: Flow) -> tuple[list[Leg], Snapshot]:
        """The flow's own way, and if that is open the way of its full-size packets."""
        trip, snapshot = self.walked(snapshot, flow)
        legs = [Leg(name=TARGET, trip=trip)]
        if trip.fatal is None and flow.protocol != "udp":
            trip, snapshot = self.walked(snapshot, question.large(flow, _mtu(snapshot, trip)))
            legs.append(Leg(name=LARGE, trip=trip))
        return legs, snapshot

    def _server_legs(self, snapshot: Snapshot) -> tuple[list[Leg], Snapshot]:
        legs = []
        for name, flow in server_flows(snapshot, Evidence(pings=self.probing.board.results())):
            trip, snapshot = self.walked(snapshot, flow)
            legs.append(Leg(name=name, trip=trip))
        return legs, snapshot

    def walked(self, snapshot: Snapshot, flow: Flow, changes: Iterable[Change] = ()) -> tuple[RoundTrip, Snapshot]:
        """The flow walked to its end, the snapshot extended by what that needed; `changes` are made on the model only."""
        changes = tuple(changes)
        snapshot = self.observer.answer(snapshot, ends_needed(snapshot, changes))
        for _ in range(MAX_TURNS):
            trip = walk(mended(snapshot, changes), flow, self.settled)
            if not trip.needs:
                return trip, snapshot
            snapshot = self.observer.answer(snapshot, trip.needs)
        raise AssertionError(f"the walk does not end: it still needs {trip.needs[:3]}")

    # Concluding --------------------------------------------------------------------------------------------------

    def _concluded(self, case: Case, snapshot: Snapshot) -> Examined:
        conclusion = engine.conclude(case, snapshot)
        found = find_causes(self.walked, case, conclusion, snapshot)
        return _examined(case, conclusion, found)


def _examined(case: Case, conclusion: Conclusion, found: Found) -> Examined:
    diagnosis = engine.diagnose(case, conclusion, found.snapshot, found.causes, found.crashed)
    return Examined(found.snapshot, case, diagnosis, found.mended)


def offline(snapshot: Snapshot, asked: Question, evidence: Evidence | None) -> Examined:
    """The diagnosis of a saved snapshot: no kernel, no packets."""
    snapshot = replace(snapshot, complete=True)
    settled = counted.settled_by(evidence, snapshot)
    legs = []
    address = _known_address(snapshot, asked, evidence)

    def walked(here: Snapshot, flow: Flow, changes: Iterable[Change] = ()) -> tuple[RoundTrip, Snapshot]:
        changes = tuple(changes)
        return walk(mended(here, changes), flow, settled), here

    if address:
        flow = question.flow(asked, snapshot.target, address)
        trip, _ = walked(snapshot, flow)
        legs.append(Leg(name=TARGET, trip=trip))
        if trip.fatal is None and flow.protocol != "udp":
            legs.append(Leg(name=LARGE, trip=walked(snapshot, question.large(flow, _mtu(snapshot, trip)))[0]))
    else:
        for name, flow in server_flows(snapshot, evidence):
            legs.append(Leg(name=name, trip=walked(snapshot, flow)[0]))
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


def _mtu(snapshot: Snapshot, trip: RoundTrip) -> int:
    """How large the flow's packets leave its own namespace: the interface's MTU, or what its route has been told or learned."""
    route = next((step for step in trip.forward.steps if step.kind == "route"), None)
    found = snapshot.namespaces[trip.flow.namespace].links
    links = () if isinstance(found, Unknown) or route is None else found
    limit = next((link.mtu_bytes for link in links if link.name == route.device), 1500) if route else 1500
    return min(limit, int(route.facts.get("mtu", limit))) if route else limit
