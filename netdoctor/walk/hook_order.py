"""Chains of one priority: which of them the kernel runs first no dump tells. Whether that makes a difference.

The kernel runs the youngest first (nf_hook_entries_grow), but tables and links are listed without the time they were made.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import permutations
from typing import NamedTuple

import msgspec

from netdoctor.walk.netfilter import BaseChain, ChainResult
from netdoctor.walk.packet import Packet

MOST = 4
"""More chains than that in one place are not tried in every order."""
Evaluate = Callable[[BaseChain, Packet], ChainResult]


class Drop(NamedTuple):
    """In one of the orders: the chain that drops the packet, and the packet as it comes there."""

    base: BaseChain
    result: ChainResult
    packet: Packet


class OrderDoubt(NamedTuple):
    """The orders do not come to the same. drop: what one of them ends in; fields: what the packet has otherwise.

    order: one in which the packet is not dropped, if one of the others drops it.
    """

    why: str
    drop: Drop | None
    fields: tuple[str, ...]
    order: tuple[BaseChain, ...]


def same_place(chains: Sequence[BaseChain], base: BaseChain) -> tuple[BaseChain, ...]:
    """The chains that stand beside this one when it is the first of its priority and they are of several tables."""
    beside = tuple(one for one in chains if one.priority == base.priority and not one.is_nat)
    several = any(one.table is not beside[0].table for one in beside)
    return beside if beside and beside[0] is base and several else ()


def order_doubt(beside: tuple[BaseChain, ...], packet: Packet, evaluate: Evaluate) -> OrderDoubt | None:
    """None when every order comes to the same; only a chain that changes the packet can make a difference."""
    if not any(_changes(evaluate(one, packet), packet) for one in beside):
        return None
    why = (
        f"{' and '.join(str(one) for one in beside)} have the same priority, and which of them comes first is not known"
    )
    if len(beside) > MOST:
        return OrderDoubt(why, None, ("mark",), beside)
    ends = [(order, _end(order, packet, evaluate)) for order in _orders(beside)]
    drops = [end for _, end in ends if isinstance(end, Drop)]
    packets = [end for _, end in ends if not isinstance(end, Drop)]
    fields = tuple(name for name in Packet.__struct_fields__ if len({str(getattr(one, name)) for one in packets}) > 1)
    if (drops and packets) or fields:
        order = next((order for order, end in ends if not isinstance(end, Drop)), beside)
        return OrderDoubt(why, drops[0] if packets and drops else None, fields, order)
    return None


def _changes(result: ChainResult, packet: Packet) -> bool:
    return result.packet != packet or result.notrack or result.zone is not None or bool(result.touched)


def _orders(beside: tuple[BaseChain, ...]) -> Iterator[tuple[BaseChain, ...]]:
    """Every order but those that turn round the chains of one table, which are listed as they were made."""
    for order in permutations(enumerate(beside)):
        if all(_may_follow(second, first) for place, first in enumerate(order) for second in order[place + 1 :]):
            yield tuple(one for _, one in order)


def _may_follow(second: tuple[int, BaseChain], first: tuple[int, BaseChain]) -> bool:
    return second[1].table is not first[1].table or second[0] > first[0]


def _end(order: tuple[BaseChain, ...], packet: Packet, evaluate: Evaluate) -> Packet | Drop:
    for base in order:
        result = evaluate(base, packet)
        if result.verdict == "drop":
            return Drop(base, result, packet)
        packet = result.packet
    return msgspec.structs.replace(packet)
