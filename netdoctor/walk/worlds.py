"""The worlds that doubtful rules and several next hops leave open, and what a flow's fate in all of them comes to."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from msgspec.structs import replace

from netdoctor.model.firewall import Rule
from netdoctor.model.journey import Because, Journey, RoundTrip, Step
from netdoctor.model.snapshot import NamespaceId, Need
from netdoctor.walk.choices import Choices
from netdoctor.walk.netfilter import Assumption, BaseChain, ChainResult, RuleRef

MAXIMUM_WORLDS = 64
FORK = "fork"

RuleKey = tuple[str, str, str, str, int | bytes]
"""Backend, family, table, chain, and the rule's identity."""

Settled = Mapping[NamespaceId, Mapping[RuleKey, bool]]
"""Doubtful rules of which was seen whether they meet the packet: their counters moved with the probe, or did not."""


def rule_identity(rule: Rule) -> int | bytes:
    """What stays with a rule when others come or go before it: its handle, or in legacy tables its bytes."""
    return rule.handle or rule.raw


class Fork(NamedTuple):
    """A chain that may do several things to the packet, and which of them one world takes."""

    namespace: NamespaceId
    base: BaseChain
    ways: tuple[ChainResult, ...]
    taken: int


class Turn(NamedTuple):
    """A route with several next hops, told as text, and which of them one world takes: a hash that nobody knows picks it."""

    namespace: NamespaceId
    destination: str
    ways: tuple[str, ...]
    taken: int


class World:
    """One run of the walk: what it chooses at the forks it comes to."""

    def __init__(self, choices: Choices, settled: Settled) -> None:
        self.choices = choices
        self.settled = settled
        self.forks: list[Fork | Turn] = []

    def take(self, namespace: NamespaceId, base: BaseChain, ways: tuple[ChainResult, ...]) -> tuple[ChainResult, str]:
        """The way this world goes, and the fork's number as its step carries it."""
        taken = self.choices.choose(len(ways))
        self.forks.append(Fork(namespace, base, ways, taken))
        return ways[taken], str(len(self.forks) - 1)

    def turn(self, namespace: NamespaceId, destination: str, ways: tuple[str, ...]) -> tuple[int, str]:
        """Which of a route's next hops this world takes, and the fork's number as its step carries it."""
        taken = self.choices.choose(len(ways))
        self.forks.append(Turn(namespace, destination, ways, taken))
        return taken, str(len(self.forks) - 1)


class Walked(NamedTuple):
    """One world's end. `path`: what it took at each fork."""

    trip: RoundTrip
    forks: tuple[Fork | Turn, ...]

    @property
    def path(self) -> tuple[int, ...]:
        return tuple(fork.taken for fork in self.forks)


def explored(
    go: Callable[[World], RoundTrip], settled: Settled, attributed: Callable[[RoundTrip], RoundTrip]
) -> RoundTrip:
    """The flow's fate over its worlds: sure where they agree, else a way that passes, with what it depends on.

    go: walks one world. attributed: names what is really at fault where a world's packet dies.
    """
    worlds: list[Walked] = []
    lacking: dict[Need, None] = {}
    choices: Choices | None = Choices()
    while choices is not None and len(worlds) < MAXIMUM_WORLDS:
        world = World(choices, settled)
        trip = go(world)
        lacking |= dict.fromkeys(trip.needs)
        worlds.append(Walked(trip, tuple(world.forks)))
        choices = choices.following()
    if lacking:
        return replace(worlds[0].trip, needs=tuple(lacking))
    if not worlds[0].forks:
        return attributed(worlds[0].trip)
    main = next((one for one in worlds if one.trip.fatal is None), worlds[0])
    return _told(main, worlds, attributed)


def _told(main: Walked, worlds: list[Walked], attributed: Callable[[RoundTrip], RoundTrip]) -> RoundTrip:
    """The main world's trip with each fork told by what it comes to."""
    told = {
        str(number): _fork_step(main, number, worlds, attributed) for number in range(len(main.forks))
    }  # fmt: skip
    trip = attributed(main.trip)
    forward = _with_forks(trip.forward, told)
    reply = _with_forks(trip.reply, told) if trip.reply else None
    return replace(trip, forward=forward, reply=reply)


def _with_forks(journey: Journey, told: dict[str, Step]) -> Journey:
    steps = tuple(
        replace(told[step.facts[FORK]], direction=step.direction, packet=step.packet) if FORK in step.facts else step
        for step in journey.steps
    )
    return replace(journey, steps=steps)


def _fork_step(main: Walked, number: int, worlds: list[Walked], attributed: Callable[[RoundTrip], RoundTrip]) -> Step:
    """A doubt when the packet dies on another way from this fork, else a remark that it makes no difference."""
    fork = main.forks[number]
    others = [
        world
        for world in worlds
        if world.path[:number] == main.path[:number]
        and len(world.path) > number
        and world.path[number] != main.path[number]
    ]
    dying = next((world for world in others if world.trip.fatal is not None), None)
    fatal = (attributed(dying.trip).fatal or dying.trip.fatal) if dying and main.trip.fatal is None else None
    other = (dying or others[0]).forks[number] if others else fork
    if isinstance(fork, Turn) or isinstance(other, Turn):
        assert isinstance(fork, Turn) and isinstance(other, Turn)
        return _turn_step(fork, other, fatal, dies=main.trip.fatal is not None)
    if fatal is not None:
        return _doubt(fork, other, fatal)
    rule, why = _question(fork, other)
    walked = len({world.path[number] for world in others}) + 1
    because = (Because(kind="rule", namespace=fork.namespace, text=rule.text),)
    if walked < len(fork.ways) and main.trip.fatal is None:
        summary = f"{fork.base.hook}: {walked} of the {len(fork.ways)} ways past {rule_name(rule)} were walked: {why}"
        return Step(kind="hook", namespace=fork.namespace, outcome="unknown", summary=summary, because=because)
    either = "the packet dies either way" if main.trip.fatal is not None else "the packet gets through either way"
    summary = f"{fork.base.hook}: whether {rule_name(rule)} takes it cannot be told ({why}); {either}"
    return Step(kind="hook", namespace=fork.namespace, outcome="pass", summary=summary, because=because)


def _turn_step(here: Turn, there: Turn, fatal: Step | None, *, dies: bool) -> Step:
    """ "Depends on which next hop is taken", told as what stops the packet there; else that it makes no difference."""
    because = Because(kind="route", namespace=here.namespace, text=f"{here.destination} {' or '.join(here.ways)}")
    if fatal is not None:
        summary = f"depends on which next hop the kernel takes to {here.destination}: {there.ways[there.taken]}, {fatal.summary}"
        facts = fatal.facts | {"why": f"a hash of the flow picks one of {len(here.ways)} next hops"}
        return replace(fatal, outcome="unknown", summary=summary, facts=facts, because=(*fatal.because, because))
    either = "the packet dies either way" if dies else "the packet gets through either way"
    summary = f"{here.destination} goes {' or '.join(here.ways)}, by a hash of the flow; {either}"
    return Step(kind="route", namespace=here.namespace, outcome="pass", summary=summary, because=(because,))


def _doubt(here: Fork, there: Fork, fatal: Step) -> Step:
    """ "Depends on rule N": told as what stops the packet on the other way, so that its check can tell the repair."""
    rule, why = _question(here, there)
    met = next((one.met for one in there.ways[there.taken].assumed if one.rule == rule), True)
    same = fatal.kind == "hook" and (fatal.facts.get("chain"), fatal.facts.get("line")) == (rule.chain, str(rule.line))
    if same and fatal.namespace == here.namespace:
        summary = f"{here.base.hook}: {rule_name(rule)} may drop it: {why}"
    else:
        takes = "takes" if met else "does not take"
        summary = f"depends on {rule_name(rule)} ({why}): if it {takes} the packet, {fatal.summary}"
    place = {"backend": rule.backend, "family": rule.family, "table": rule.table, "chain": rule.chain}
    facts = fatal.facts | {f"doubt_{name}": value for name, value in place.items()}
    facts |= {"why": why, "verdict": "drop" if met else "accept", "otherwise": "accept"}
    doubted = Because(kind="rule", namespace=here.namespace, text=f"depends on {rule.table} {rule.chain} {rule.text}")
    because = fatal.because if same else (*fatal.because, doubted)
    return replace(fatal, outcome="unknown", summary=summary, facts=facts, because=because)


def _question(here: Fork, there: Fork) -> tuple[RuleRef, str]:
    """The rule whose doubt tells the two ways of a fork apart, and why nobody can tell of it."""
    ours, theirs = here.ways[here.taken], there.ways[there.taken]
    apart: list[Assumption] = [other for one, other in zip(ours.assumed, theirs.assumed, strict=False) if one != other]
    rest = theirs.assumed[len(ours.assumed) :] or ours.assumed[len(theirs.assumed) :]
    found = next(iter((*apart, *rest, *theirs.assumed, *ours.assumed)), None)
    return (found.rule, found.why) if found else (theirs.rule, "it cannot be told what it does")


def rule_name(rule: RuleRef) -> str:
    """ "rule 3 of filter FORWARD", in short words for sentences."""
    place = f"{rule.family} {rule.table} {rule.chain}" if rule.backend == "nft" else f"{rule.table} {rule.chain}"
    return f"rule {rule.line} of {place.removeprefix('filter ')}" if rule.line else f"the policy of {place}"
