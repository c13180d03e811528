"""One random topology with its flows: what the walk said beside what became of the real packets."""

import contextlib
import itertools
import json
import random
import re
import subprocess
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from lab import World
from msgspec.structs import replace

from netdoctor import target
from netdoctor.model.journey import Flow, RoundTrip
from netdoctor.model.snapshot import Need, Provenance, Snapshot
from netdoctor.observe.observer import Observer
from netdoctor.walk.view import View
from netdoctor.walk.walker import Walker, walk

from .topologies import KINDS, Sketch, quiet
from .topologies_odd import Lines, oddities
from .topologies_sockets import PORT, Became, Sockets

MAX_TURNS = 60
FLOWS = 10
SIZES = (84, 84, 84, 84, 1200, 1290, 1430, 1500)
SETTLING_S = 3


class Verdict(NamedTuple):
    """One packet. says: "arrives", "answer lost", "lost", "told" (too big, the sender hears of it) or "cannot tell"."""

    role: str
    flow: Flow
    says: str
    where: str
    trip: RoundTrip
    became: Became

    @property
    def by_tunnel(self) -> bool:
        """The answer dies in a tunnel: then so may the answers to the questions for MACs, and nothing is ever sent."""
        return self.trip.fatal is not None and "tunnel" in self.trip.fatal.facts

    @property
    def wrong(self) -> bool:
        forward, back = bool(self.became.taken_by), self.became.answered
        tcp = self.flow.protocol == "tcp"
        match self.says:
            case "arrives":
                return not back or (not tcp and self.became.taken_by != (self.where,))
            case "answer lost":
                return back or (not tcp and not self.by_tunnel and self.became.taken_by != (self.where,))
            case "lost" | "told":
                return forward or back
        return False

    def __str__(self) -> str:
        flow = self.flow
        said = "\n    ".join(
            f"{step.direction:7} {step.outcome:7} {step.kind:14} {step.cause} {step.summary}"
            for step in self.trip.steps
        )
        return (
            f"{self.role} -> {flow.destination} {flow.protocol} {flow.length_bytes} bytes{' DF' if flow.dont_fragment else ''}: "
            f"walk says {self.says} {self.where}, taken by {self.became.taken_by}, answered {self.became.answered} {self.became.refused}\n    {said}"
        )


class Trial:
    """A topology with its oddities, and the random flows through it."""

    def __init__(self, name: str, sketch: Sketch, odd: list[tuple[str, Lines]], dice: random.Random) -> None:
        self.name = f"{name}: {', '.join(what for what, _ in odd) or 'nothing odd'}"
        self.sketch, self.odd, self.dice = quiet(sketch), odd, dice
        self.seconds: Counter[str] = Counter()

    def verdicts(self, asked: Iterable[tuple[str, Flow]] = ()) -> Iterator[Verdict]:
        """Of these flows, of random ones when none are given."""
        began = time.monotonic()
        with World(self.sketch.topology) as world:
            self.apply(world, [*self.sketch.lines, *(line for _, lines in self.odd for line in lines)])
            self.settle(world)
            self.seconds["build"] += time.monotonic() - began
            with contextlib.ExitStack() as stack:
                handles = {role: target.resolve(world.name(role)) for role in world.names}
                for handle in handles.values():
                    stack.callback(handle.close)
                sockets = Sockets(handles)
                stack.callback(sockets.close)
                for role, flow in asked or (self.flow() for _ in range(FLOWS)):
                    yield self.judged(world, sockets, role, flow)

    # The world ---------------------------------------------------------------------------------------------------

    def apply(self, world: World, lines: Lines) -> None:
        """Runs the lines; what the kernel refuses is simply not there."""
        for (tool, role, late), group in itertools.groupby(lines, lambda line: (line[0], line[1], "{mac" in line[2])):
            for batch in [[line] for line in group] if late else [list(group)]:
                filled = [_filled(world, words) for _, _, words in batch]
                if tool == "sysctl":
                    command = ["ip", "netns", "exec", world.name(role), "sysctl", "-qw", *filled]
                else:
                    command = [tool, "-force", "-n", world.name(role), "-batch", "-"]
                text = "".join(f"{line}\n" for line in filled)
                subprocess.run(command, input=text, text=True, capture_output=True, check=False, timeout=20)

    def settle(self, world: World) -> None:
        """Until the kernel's workers have told everybody of carriers, and no address is tentative."""
        deadline = time.monotonic() + SETTLING_S
        while not all(_settled(world, role) for role in world.names):
            assert time.monotonic() < deadline, f"{self.name} does not settle"
            time.sleep(0.02)

    # A packet ----------------------------------------------------------------------------------------------------

    def flow(self) -> tuple[str, Flow]:
        """Mostly from one end to another's address, at times to one that nobody has."""
        dice, wires = self.dice, self.sketch.wires
        ends = [wire for wire in wires if wire.role not in self.sketch.routers] or list(wires)
        source = dice.choice(ends if dice.random() < 0.8 else wires)
        goal = dice.choice([wire for wire in wires if wire.role != source.role] if dice.random() < 0.95 else wires)
        family = dice.choice((4, 6))
        destination = goal.v4 if family == 4 else goal.v6
        if dice.random() < 0.05:
            destination = destination.rpartition(".")[0] + ".99" if family == 4 else destination + "99"
        protocol = dice.choice(("icmp", "icmp", "udp", "tcp"))
        size = 60 if protocol == "tcp" else dice.choice(SIZES)
        whole = protocol == "tcp" or dice.random() < 0.4
        return source.role, Flow(
            namespace="", family=4 if family == 4 else 6, destination=destination, protocol=protocol,  # type: ignore[arg-type]
            port=0 if protocol == "icmp" else PORT, length_bytes=size, dont_fragment=whole,
        )  # fmt: skip

    def judged(self, world: World, sockets: Sockets, role: str, flow: Flow) -> Verdict:
        began = time.monotonic()
        trip, snapshot = looked(world, role, flow)
        walked = time.monotonic()
        says, where = claim(trip, world, snapshot)
        became = sockets.send(role, flow, says=says)
        self.seconds["walk"] += walked - began
        self.seconds["packet"] += time.monotonic() - walked
        return Verdict(role, flow, says, where, trip, became)


def looked(world: World, role: str, flow: Flow) -> tuple[RoundTrip, Snapshot]:
    """The flow walked over the world as it is now; only the world's own namespaces are looked into."""
    names = list(world.names.values())
    observer = Observer(target.resolve(world.name(role)), target.resolve(names[0]))
    try:
        for name in names:
            handle = target.resolve(name)
            if handle.id in observer.handles:
                handle.close()
            else:
                observer.handles[handle.id] = handle
        snapshot = observer.begin(Provenance())
        rest = [Need(namespace=key, subject="namespace") for key in observer.handles if key not in snapshot.namespaces]
        snapshot = replace(observer.answer(snapshot, rest), surveyed=True)
        flow = replace(flow, namespace=snapshot.target)
        for _ in range(MAX_TURNS):
            trip = walk(snapshot, flow)
            if not trip.needs:
                return _as_it_goes(snapshot, flow, trip), snapshot
            snapshot = observer.answer(snapshot, trip.needs)
        raise AssertionError(f"the walk does not end: it still needs {trip.needs[:3]}")
    finally:
        observer.close()


def _as_it_goes(snapshot: Snapshot, flow: Flow, told: RoundTrip) -> RoundTrip:
    """The way without the search for who is to blame, which names a step before the one at which the packet dies."""
    trip = Walker(View(snapshot), flow).round_trip()
    assert trip.arrives == told.arrives, f"{trip}\n{told}"
    return trip


def claim(trip: RoundTrip, world: World, snapshot: Snapshot) -> tuple[str, str]:
    """What the walk claims, and which role takes the packet."""
    by_name = {name: role for role, name in world.names.items()}
    there = trip.forward.steps[-1].namespace if trip.forward.steps else ""
    where = by_name[snapshot.namespaces[there].names[0]] if there in snapshot.namespaces else ""
    told = next((step for step in trip.steps if "the sender is told" in step.summary), None)
    doubted = [step for step in trip.forward.steps if step.outcome == "unknown"]
    if told is not None and told.direction == "forward" and not doubted:
        return "told", where
    if trip.fatal is not None and trip.fatal.cause == "echo-ignored" and not doubted:
        return "answer lost", where
    if trip.forward.end == "blocked":
        return ("lost", "") if not doubted else ("cannot tell", "")
    if trip.forward.end in ("left", "unknown") or doubted or trip.reply is None:
        return "cannot tell", ""
    if any(step.outcome == "unknown" for step in trip.reply.steps):
        return "cannot tell", where
    if trip.reply.end == "blocked" or (told is not None and trip.flow.protocol != "icmp"):
        return "answer lost", where
    return ("arrives", where) if trip.reply.end == "delivered" else ("cannot tell", where)


def random_trial(kind: str, seed: int) -> Trial:
    """The same each time for the same kind and seed, but for the MACs that the kernel chooses."""
    dice = random.Random(f"{kind} {seed}")
    sketch = KINDS[kind](dice)
    return Trial(f"{kind} {seed}", sketch, oddities(dice, sketch), dice)


def _filled(world: World, words: str) -> str:
    """With {ROLE} the namespace's name and {mac ROLE DEVICE} what that is now."""
    words = re.sub(r"\{mac (\S+) (\S+)\}", lambda found: _mac(world, found[1], found[2]), words)
    return re.sub(r"\{(\w+)\}", lambda found: world.name(found[1]), words)


def _mac(world: World, role: str, device: str) -> str:
    return world.run(role, "ip", "-o", "link", "show", device).split("link/ether ")[1].split()[0]


def _settled(world: World, role: str) -> bool:
    said = subprocess.run(
        ["ip", "-n", world.name(role), "-j", "addr"], capture_output=True, text=True, check=True, timeout=20
    ).stdout  # fmt: skip
    for link in json.loads(said):
        if any("tentative" in one and not one.get("dadfailed") for one in link.get("addr_info", ())):
            return False
        carrier = "LOWER_UP" in link.get("flags", ())
        if "UP" in link["flags"] and (link["operstate"] in ("UP", "UNKNOWN")) != carrier:
            return False
    return True
