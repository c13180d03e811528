"""One ruleset with its packets: what the walk said beside what the kernel did, packet by packet."""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import count
from typing import NamedTuple

from netdoctor.walk.netfilter import traverse
from netdoctor.walk.packet import ICMP, ICMP6

from .box import LISTENED, Box, Loaded, patience
from .flows import Flows, Sent
from .foretold import Foretold, Oracle
from .iptables_rules import Rules
from .packets import Seen, datagram, whole

ERRORS = {ICMP: (3, 4, 5, 11, 12), ICMP6: (1, 2, 3, 4, 137)}
ANSWERED_BY = ("OUTP", "POST", "PRER", "INPU", "FORW")
Maker = Callable[[random.Random], Rules]


class Verdict(NamedTuple):
    """One packet's case. wrong: what disagrees, "" when nothing does.

    reached: the labels of the rules looked at; first_doubt: the first of them that nobody could tell the outcome of.
    """

    number: int
    sent: Sent
    foretold: Foretold
    seen: Seen | None
    moved: Counter[str]
    reached: frozenset[str]
    first_doubt: str
    wrong: str

    def __str__(self) -> str:
        said, found = self.foretold, self.seen
        lines = [
            f"packet {self.number}: by {self.sent.wire or 'the host itself'}: {self.sent.packet}",
            f"  {self.wrong}",
            f"  foretold {said.seen} meeting {dict(said.met)} doubts {said.doubts}",
            f"  kernel   {found} meeting {dict(self.moved)}",
            *(f"    {step}" for step in said.steps),
        ]
        return "\n".join(lines)


class Trial:
    """A ruleset that stands, and packets sent through it one after another.

    lazy: the walk starts with an unread ruleset and asks for what it meets, as a check does.
    """

    def __init__(self, box: Box, rules: Rules, loaded: Loaded, dice: random.Random) -> None:
        self.box = box
        self.rules = rules
        self.words = {word for words in rules.words.values() for word in words}
        self.loaded = loaded
        self.flows = Flows(dice)
        self.dice = dice
        self.lazy = dice.random() < 0.5
        self.snapshot = box.unread() if self.lazy else box.snapshot(loaded.ruleset)
        self.tags = count(dice.randrange(1 << 40) << 16)
        self.number = 0
        self.before = box.counted()
        list(box.met())

    def verdicts(self, packets: int) -> Iterator[Verdict]:
        """The cases of at least so many packets, flow by flow."""
        while self.number < packets:
            yield from self.flow()

    def flow(self) -> Iterator[Verdict]:
        """A first packet, perhaps once more, perhaps the answer, perhaps another one then.

        Rules that give packets other ports before conntrack sees them make two flows one: each starts afresh then.
        """
        if self.rules.moving:
            self.snapshot = self.box.unread() if self.lazy else self.box.with_sets(self.snapshot)
        if "port set" in self.words:
            self.box.forget_connections()
        first = self.flows.first()
        oracle = Oracle(self.box, self.snapshot)
        verdict = self.one(oracle, first)
        yield verdict
        if not self._goes_on(verdict):
            return
        if self.dice.random() < 0.2:
            verdict = self.one(oracle, first)
            yield verdict
        answer = self.flows.answer(first, verdict.seen) if verdict.seen and self._goes_on(verdict) else None
        if answer is None or self.dice.random() < 0.2:
            return
        verdict = self.one(oracle, answer)
        yield verdict
        if self._goes_on(verdict) and self.dice.random() < 0.5:
            yield self.one(oracle, self.flows.confirmed(first))

    @staticmethod
    def _goes_on(verdict: Verdict) -> bool:
        """Nothing is foretold of a connection that already went another way, or that the host's own answer ended."""
        lost = verdict.wrong or verdict.foretold.doubts or _refused(verdict.seen)
        return verdict.seen is not None and not lost

    def one(self, oracle: Oracle, sent: Sent) -> Verdict:
        """Sends one packet and compares."""
        tag, self.number = next(self.tags), self.number + 1
        raw = datagram(sent.packet, tag, sent.sequence, sent.acknowledged)
        with Reached() as reached:
            foretold = oracle.told(sent.wire, whole(sent.packet, raw))
            self.snapshot = oracle.view.snapshot
        if sent.wire:
            self.box.send(sent.wire, raw)
        else:
            self.box.send_own(raw, sent.packet.destination, sent.packet.mark)
        seen: Seen | None = None
        complained = bool(foretold.answered)
        for _ in patience():
            met = [one for its, one in self.box.met() if its == tag]
            seen = next((one for one in met if not _complains(one, sent)), seen)
            complained = complained or _refused(seen) or _redirected(sent, foretold)
            complained = complained or any(_complains(one, sent) for one in met)
            after = self.box.counted()
            moved = self._moved(after)
            blind = self._met_by_answers() if complained else frozenset[str]()
            wrong = disagreement(foretold, seen, moved, reached, self._counted(), blind)
            if not wrong:
                break
        self.before = after
        if foretold.seen and seen:
            seen = _completed(seen, foretold.seen)
            oracle.learn(foretold, seen)
        return Verdict(self.number, sent, foretold, seen, moved, frozenset(reached.labels), reached.first_doubt, wrong)

    def _counted(self) -> frozenset[str]:
        places = self.loaded.labels.items()
        return frozenset(label.rule for place, label in places if place in self.loaded.counters)

    def _met_by_answers(self) -> frozenset[str]:
        """The rules that the host's own answers (a rejection, a redirect, nobody listens) meet as well.

        An answer that is rejected in its turn comes back by loopback, and so does one to an address that NAT borrowed from
        the host, which then goes on to whom it is for.
        """
        return frozenset(label.rule for label in self.loaded.labels.values() if label.chain.startswith(ANSWERED_BY))

    def _moved(self, after: dict) -> Counter[str]:  # type: ignore[type-arg]
        moved: Counter[str] = Counter()
        for place, label in self.loaded.labels.items():
            if label.rule and (step := after.get(place, 0) - self.before.get(place, 0)):
                moved[label.rule] += step
        return moved


class Reached:
    """While it is entered: which rules the evaluation looks at, and at which of them in doubt."""

    def __enter__(self) -> "Reached":
        self.labels: set[str] = set()
        self.in_doubt: set[str] = set()
        self.first_doubt = ""
        self._meet = traverse._Walk.meet
        outer = self

        def meet(walk, chain, rule):  # type: ignore[no-untyped-def]
            met = outer._meet(walk, chain, rule)
            outer.labels.add(rule.comment)
            if walk.state.in_doubt or (met is not None and met.whys):
                outer.in_doubt.add(rule.comment)
                outer.first_doubt = outer.first_doubt or rule.comment
            return met

        traverse._Walk.meet = meet  # type: ignore[method-assign]
        return self

    def __exit__(self, *_: object) -> None:
        traverse._Walk.meet = self._meet  # type: ignore[method-assign]


def disagreement(
    told: Foretold, seen: Seen | None, moved: Counter[str], reached: Reached, counted: frozenset[str],
    blind: frozenset[str],
) -> str:  # fmt: skip
    """What the walk claims and the kernel denies, "" when there is nothing of the kind.

    counted: the rules that have counters; blind: those that other packets may have moved as well.
    """
    if told.seen is None and not told.doubts and seen is not None:
        return "foretold to die, and it came out"
    if told.doubts:
        return ""
    if told.seen is not None and seen is None:
        return "foretold to come out, and it did not"
    if told.seen is not None and seen is not None and not _alike(told, seen):
        return "it came out otherwise"
    if reached.in_doubt:
        return ""
    for rule in (set(told.met) | set(moved)) & counted:
        if moved[rule] < told.met[rule] or (moved[rule] > told.met[rule] and rule not in blind):
            return f"rule {rule} was met {moved[rule]} times, not {told.met[rule]}"
    return ""


def _redirected(sent: Sent, told: Foretold) -> bool:
    """To be sent back where it came from: an IPv6 router tells the sender of the shorter way (ip6_forward)."""
    back = [step for step in told.steps if step.startswith("route pass") and step.endswith(f" by {sent.wire}")]
    return sent.packet.family == 6 and bool(sent.wire) and bool(back)


def _complains(seen: Seen, sent: Sent) -> bool:
    """An ICMP error quotes the packet, tag included."""
    return seen.protocol in (ICMP, ICMP6) and seen.kind in ERRORS[seen.protocol] and seen.kind != sent.packet.icmp_type


def _refused(seen: Seen | None) -> bool:
    """The host answers what nobody listens for, and its answer meets rules of its own."""
    return seen is not None and seen.place == "host" and not seen.kind and seen.destination_port not in LISTENED


def _completed(seen: Seen, told: Seen) -> Seen:
    """An IPv6 raw socket does not show the IP header: what it hides is taken as foretold."""
    return seen._replace(destination=told.destination, ttl=told.ttl, tos=told.tos) if not seen.destination else seen


def _alike(told: Foretold, seen: Seen) -> bool:
    assert told.seen is not None
    seen = _completed(seen, told.seen)
    if seen == told.seen:
        return True
    free = [one for one in told.bindings if one.port_min or one.flags]
    ports = (1, 65535) if not free or not free[-1].port_min else (free[-1].port_min, free[-1].port_max)
    chosen = bool(free) and ports[0] <= seen.source_port <= ports[1]
    return chosen and seen._replace(source_port=0) == told.seen._replace(source_port=0)
