"""Why no NAT rule took the packet."""

from collections.abc import Sequence

from netdoctor.walk.packet import Packet

from .result import BaseChain, HookFacts, NatMiss


def explain_nat_misses(bases: Sequence[BaseChain], packet: Packet, facts: HookFacts) -> tuple[NatMiss, ...]:
    """Every reachable NAT rule that did not match, with the conditions that failed."""
    return ()
