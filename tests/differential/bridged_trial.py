"""One ruleset with its frames: what the walk said beside what the kernel did, frame by frame."""

import random
from collections import Counter
from collections.abc import Iterator
from itertools import count
from typing import NamedTuple

from msgspec.structs import replace

from netdoctor.walk.packet import ICMP, ICMP6, TCP, UDP, Packet
from netdoctor.walk.view import Lacking

from .box import LISTENED, Loaded, patience
from .bridged_box import ARP_ETHER_TYPE, BROADCAST, PORTS_OF_ROLES, BridgedBox, Frame
from .bridged_foretold import BridgedOracle, Foretold
from .bridged_rules import CONTAINERS, HOST, OUTSIDE
from .packets import Seen, minimum_bytes

ROLES = tuple(PORTS_OF_ROLES)
ECHO = {4: (ICMP, 8, 0), 6: (ICMP6, 128, 129)}
TRIES = 2


class Verdict(NamedTuple):
    """One frame's case. wrong: what disagrees, "" when nothing does."""

    frame: Frame
    foretold: Foretold
    seen: frozenset[Seen]
    moved: Counter[str]
    wrong: str

    def __str__(self) -> str:
        lines = [
            str(self.frame), f"  {self.wrong}",
            f"  foretold {sorted(self.foretold.arrivals)} meeting {dict(self.foretold.met)} doubts {self.foretold.doubts}",
            f"  kernel   {sorted(self.seen)} meeting {dict(self.moved)}",
            *(f"    {step}" for step in self.foretold.steps),
        ]  # fmt: skip
        return "\n".join(lines)


class Frames:
    """Random frames, with numbers of their own so that no two flows are one connection."""

    def __init__(self, dice: random.Random, box: BridgedBox) -> None:
        self.dice = dice
        self.box = box
        self.numbers = count(dice.randrange(20000, 30000))

    def first(self) -> Frame:
        kind = self.dice.choices(("bridged", "up", "routed", "down", "arp"), (5, 1, 2, 2, 4))[0]
        if kind == "arp":
            return self.arp()
        family = self.dice.choice((4, 4, 6))
        asker, other = self.dice.sample(ROLES, 2)
        there = CONTAINERS[family]
        if kind == "down":
            mac, here = self.box.macs["right"]
            source, goal = self.dice.choice(OUTSIDE[family]), there[ROLES.index(other)]
            return Frame("right", self.packet(family, source, goal, mac, here))
        goals = {"bridged": there[ROLES.index(other)], "up": HOST[family], "routed": self.dice.choice(OUTSIDE[family])}
        mac = self.box.mac(other) if kind == "bridged" else self.box.bridge_mac
        packet = self.packet(family, there[ROLES.index(asker)], goals[kind], self.box.mac(asker), mac)
        return Frame(PORTS_OF_ROLES[asker], packet)

    def packet(self, family: int, source: str, destination: str, source_mac: str, destination_mac: str) -> Packet:
        dice = self.dice
        protocol = dice.choice((TCP, UDP, ECHO[family][0]))
        echo, number = protocol in (ICMP, ICMP6), next(self.numbers)
        return Packet(
            family=4 if family == 4 else 6, source=source, destination=destination, protocol=protocol,
            source_port=0 if echo else number, destination_port=0 if echo else dice.choice((53, 80, 1000)),
            icmp_type=ECHO[family][1] if echo else 0, icmp_id=number if echo else 0,
            tcp_flags=2 if protocol == TCP else 0, ttl=dice.choice((64, 64, 255)),
            length_bytes=minimum_bytes(family, protocol) + dice.choice((0, 20, 52, 120)), tos=dice.choice((0, 0, 0x20)),
            ether_type=0x0800 if family == 4 else 0x86DD, source_mac=source_mac, destination_mac=destination_mac,
        )  # fmt: skip

    def arp(self) -> Frame:
        """A request to all, or a reply to one."""
        asker, other = self.dice.sample(ROLES, 2)
        request = self.dice.random() < 0.6
        goal = HOST[4] if request and self.dice.random() < 0.4 else CONTAINERS[4][ROLES.index(other)]
        packet = Packet(
            family=4, source=CONTAINERS[4][ROLES.index(asker)], destination=goal, protocol=0, ether_type=ARP_ETHER_TYPE,
            arp_operation=1 if request else 2, source_mac=self.box.mac(asker), length_bytes=36,
            destination_mac=BROADCAST if request else self.box.mac(other),
        )  # fmt: skip
        return Frame(PORTS_OF_ROLES[asker], packet)

    def answer(self, frame: Frame, seen: Seen, arrived: Packet) -> Frame | None:
        """What the one who got the packet sends back."""
        role = seen.place.split(":")[0]
        packet = frame.packet
        if role == "host" or packet.ether_type == ARP_ETHER_TYPE:
            return None
        echo = packet.protocol in (ICMP, ICMP6)
        wire = next(name for name, end in self.box.wires.items() if f"{end[0]}:{end[1]}" == seen.place)
        to_mac = arrived.source_mac if role in ROLES else self.box.macs[wire][1]
        if role in ROLES and not seen.source.startswith(("10.5.0.", "fd05:")):
            to_mac = self.box.bridge_mac
        if role in ROLES and seen.source == HOST[packet.family]:
            to_mac = self.box.bridge_mac
        back = replace(
            packet, source=seen.destination, destination=seen.source, source_mac=self.box.macs[wire][0],
            destination_mac=to_mac, source_port=0 if echo else seen.destination_port,
            destination_port=0 if echo else seen.source_port, icmp_type=ECHO[packet.family][2] if echo else 0,
            icmp_id=seen.source_port if echo else 0, tcp_flags=0x12 if packet.protocol == TCP else 0, ttl=64, tos=0,
        )  # fmt: skip
        return Frame(wire, back, 5000, 1001)


class BridgedTrial:
    """A ruleset that stands, and frames sent through it one after another."""

    def __init__(self, box: BridgedBox, loaded: Loaded, dice: random.Random) -> None:
        self.box = box
        self.labels = {place: label.rule for place, label in loaded.labels.items() if label.rule}
        self.frames = Frames(dice, box)
        self.dice = dice
        self.snapshot = box.snapshot(loaded.ruleset)
        self.tags = count(dice.randrange(1 << 40) << 16)
        self.before = box.counted()
        list(box.met())

    def verdicts(self, frames: int) -> Iterator[Verdict]:
        """The cases of at least so many frames, flow by flow."""
        number = 0
        while number < frames:
            for verdict in self.flow():
                number += 1
                yield verdict

    def flow(self) -> Iterator[Verdict]:
        """A first frame and perhaps the answer; once more where they go wrong, for the host may have sent something too."""
        first, goes_on = self.frames.first(), self.dice.random() < 0.7
        for _ in range(TRIES):
            verdicts = list(self._there_and_back(first, goes_on))
            if not any(verdict.wrong for verdict in verdicts):
                break
            first = first._replace(packet=_again(first.packet, next(self.frames.numbers)))
        yield from verdicts

    def _there_and_back(self, first: Frame, goes_on: bool) -> Iterator[Verdict]:
        oracle = self._ready(first)
        verdict = self.one(oracle, first)
        yield verdict
        if not goes_on or not self._goes_on(verdict):
            return
        seen, arrived = next(iter(verdict.seen)), verdict.foretold.packets[0]
        answer = self.frames.answer(first, seen, arrived)
        if answer is not None:
            yield self.one(oracle, answer)

    def _ready(self, first: Frame) -> BridgedOracle:
        """An oracle for a new flow over a snapshot that holds what the flow's first frame needs."""
        while True:
            try:
                BridgedOracle(self.box, self.snapshot).coming(first)
                return BridgedOracle(self.box, self.snapshot)
            except Lacking as lacking:
                self.snapshot = self.box.observer.answer(self.snapshot, lacking.needs)

    @staticmethod
    def _goes_on(verdict: Verdict) -> bool:
        return len(verdict.seen) == 1 and not verdict.wrong and not verdict.foretold.doubts

    def one(self, oracle: BridgedOracle, frame: Frame) -> Verdict:
        """Sends one frame and compares."""
        tag = next(self.tags)
        foretold = oracle.coming(frame)
        self.box.disturbed = False
        self.box.put(frame, tag)
        seen: set[Seen] = set()
        for _ in patience():
            seen |= {one for its, one in self.box.met() if its == tag}
            after = self.box.counted()
            moved = self._moved(after)
            wrong = disagreement(foretold, seen, moved, counted=not self.box.disturbed)
            if not wrong:
                break
        self.before = after
        return Verdict(frame, foretold, frozenset(seen), moved, wrong)

    def _moved(self, after: dict) -> Counter[str]:  # type: ignore[type-arg]
        moved: Counter[str] = Counter()
        for place, label in self.labels.items():
            if step := after.get(place, 0) - self.before.get(place, 0):
                moved[label] += step
        return moved


def _again(packet: Packet, number: int) -> Packet:
    if packet.icmp_id:
        return replace(packet, icmp_id=number)
    return replace(packet, source_port=number) if packet.source_port else packet


def disagreement(told: Foretold, seen: set[Seen], moved: Counter[str], *, counted: bool) -> str:
    """What the walk claims and the kernel denies, "" when there is nothing of the kind.

    counted: False when the host has sent something of its own, which rules have counted too.
    """
    if told.doubts:
        return ""
    arrivals = {_hidden(one) for one in told.arrivals}
    found = {_hidden(one) for one in seen}
    if arrivals != found:
        missing, surplus = sorted(arrivals - found), sorted(found - arrivals)
        return f"foretold and not seen: {missing}; seen and not foretold: {surplus}"
    refused = any(one.place == "host" and one.destination_port not in (0, *LISTENED) for one in seen)
    if told.met != moved and counted and not refused:
        wrong = {
            label: (told.met[label], moved[label]) for label in {*told.met, *moved} if told.met[label] != moved[label]
        }
        return f"rules met (foretold, kernel): {wrong}"
    return ""


def _hidden(seen: Seen) -> Seen:
    """An IPv6 raw socket does not show the IP header."""
    return seen._replace(destination="", ttl=0, tos=0) if seen.place == "host" and ":" in seen.source else seen
