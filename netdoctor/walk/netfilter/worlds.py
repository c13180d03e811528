"""Every world that a base chain's doubtful rules leave open."""

from netdoctor.walk.choices import Choices
from netdoctor.walk.packet import Packet

from .result import BaseChain, ChainResult, HookFacts
from .traverse import evaluate

MAXIMUM_WAYS = 256


def outcomes(base: BaseChain, packet: Packet, facts: HookFacts) -> tuple[ChainResult, ...] | None:
    """The different things the chain may do to the packet, accepting ones first; None when they are too many to try.

    Ways that come to the same are told once, by the one that assumes the least. The chain has been evaluated before:
    nothing is left to be read. Raises no error; a chain that cannot be read stays a doubt in its one outcome.
    """
    found: dict[object, ChainResult] = {}
    choices: Choices | None = Choices()
    for _ in range(MAXIMUM_WAYS):
        assert choices is not None
        result = evaluate(base, packet, facts, choices)
        if result.needs:
            return (result,)
        kept = found.setdefault(_effect(result), result)
        if _assumes(result) < _assumes(kept):
            found[_effect(result)] = result
        choices = choices.following()
        if choices is None:
            return tuple(sorted(found.values(), key=lambda one: one.verdict != "accept"))
    return None


def _assumes(result: ChainResult) -> int:
    return sum(one.met for one in result.assumed)


def _effect(result: ChainResult) -> object:
    """What the rest of the way can tell two outcomes apart by; of drops also which rule does it."""
    place = (result.rule.chain, result.rule.line) if result.verdict != "accept" else None
    return (
        result.verdict, place, result.packet, result.binding, result.reject, result.queue, result.queues, result.unserved, result.queue_bypass,
        result.notrack, result.zone, result.helper, result.tproxy, tuple(result.touched.items()),
    )  # fmt: skip
