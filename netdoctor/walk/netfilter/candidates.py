"""Which rules of a long chain a packet can meet at all: a look at the plain comparisons that each begins with.

A rule that begins with plain comparisons is surely missed when one of them fails. What the packet has to show for each
is worked out once, so that looking costs a fraction of evaluating. A comparison whose answer is not sure misses nothing:
what comes out is never less than what can be met.
"""

import struct
from collections.abc import Iterator

from netdoctor.model.expression import AnyExpression, Bitwise, Cmp, Ct, Meta, Payload, XtHeader, XtMatch
from netdoctor.model.firewall import Rule
from netdoctor.walk.packet import TCP, UDP

from .headers import packed
from .registers import Registers
from .state import State
from .step import step
from .xt_header import INVERT_DESTINATION, INVERT_IN, INVERT_OUT, INVERT_PROTOCOL, INVERT_SOURCE

MANY = 48
LOADS = (Meta, Payload, Ct)
PORTS = {"tcp": (TCP, 11), "udp": (UDP, 8)}
"""The protocol of a match on ports, and where it keeps its inversions."""
INVERT_PORT, PORTS_BYTES = 2, 12
UNSURE_HEADER = {"source", "destination", "protocol", "destination_port"}

Expressions = tuple[AnyExpression, ...]


def candidates(state: State, rules: tuple[Rule, ...]) -> Iterator[Rule]:
    """The chain's rules that the packet can meet, in order; it is looked at anew once a rule has changed the packet."""
    if len(rules) < MANY:
        yield from rules
        return
    look, packet, uncertain = _Look(state), state.packet, dict(state.uncertain)
    misses = look.misses
    for rule in rules:
        if misses(rule.expressions):
            continue
        yield rule
        if state.packet is not packet or state.uncertain != uncertain:
            look, packet, uncertain = _Look(state), state.packet, dict(state.uncertain)
            misses = look.misses


class _Look:
    """One packet as rules see it. What it shows for each load is kept by the identity of the loading expressions, which
    rules that were read together share."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._shown: dict[int | tuple[int, int], bytes | None] = {}
        self._alike: dict[tuple[AnyExpression, AnyExpression | None, int], bytes | None] = {}
        packet = state.packet
        self._header_is_sure = packet.ether_type in (0x0800, 0x86DD) and not UNSURE_HEADER & set(state.uncertain)
        self._source, self._destination = (
            (packed(packet.source), packed(packet.destination)) if self._header_is_sure else (b"", b"")
        )

    def misses(self, expressions: Expressions) -> bool:
        """True when one of the comparisons that the rule begins with surely fails."""
        if expressions and type(expressions[0]) is XtHeader:
            return self._header_is_sure and self._misses_header(expressions[0], expressions)
        place, end, shown = 0, len(expressions) - 1, self._shown
        while place < end:
            load, test = expressions[place], expressions[place + 1]
            key: int | tuple[int, int] = id(load)
            if type(test) is Bitwise and place + 1 < end:
                key, place = (id(load), id(test)), place + 1
                test = expressions[place + 1]
            if type(test) is not Cmp or type(load) not in LOADS:
                return False
            if key not in shown:
                shown[key] = self._shown_alike(load, expressions[place] if key != id(load) else None, test.register)
            value = shown[key]
            if value is None or test.operator != "eq":
                return False
            if not value.startswith(test.value):
                return True
            place += 2
        return False

    def _shown_alike(self, load: AnyExpression, mask: AnyExpression | None, register: int) -> bytes | None:
        """What the load shows; rules of a saved snapshot have each their own expressions, all alike."""
        alike = load, mask, register
        if alike not in self._alike:
            self._alike[alike] = self._show(load, mask, register)
        return self._alike[alike]

    def _show(self, load: AnyExpression, mask: AnyExpression | None, register: int) -> bytes | None:
        """What the load puts into the register; b"" when the rule breaks off there, None when it is not sure."""
        state = self._state
        if isinstance(mask, Bitwise) and (mask.operation != "bool" or mask.destination != register):
            return None
        outside, state.registers = state.registers, Registers()
        try:
            for expression in (load, mask) if mask is not None else (load,):
                outcome = step(state, expression)
                if outcome is not True:
                    return b"" if outcome is False else None
            bits = state.registers.load(register, mask.length if isinstance(mask, Bitwise) else 16)
        finally:
            state.registers = outside
        return bits.value if bits.known else None

    def _misses_header(self, header: XtHeader, expressions: Expressions) -> bool:
        invert, packet = header.invert, self._state.packet
        if header.protocol and header.protocol != packet.protocol and not invert & INVERT_PROTOCOL:
            return True
        if _apart(self._destination, header.destination, header.destination_mask) and not invert & INVERT_DESTINATION:
            return True
        if _apart(self._source, header.source, header.source_mask) and not invert & INVERT_SOURCE:
            return True
        if _other_device(header.in_device, packet.in_device) and not invert & INVERT_IN:
            return True
        if _other_device(header.out_device, packet.out_device) and not invert & INVERT_OUT:
            return True
        match = expressions[1] if len(expressions) > 1 else None
        return type(match) is XtMatch and match.name in PORTS and self._misses_port(match)

    def _misses_port(self, match: XtMatch) -> bool:
        protocol, inversions = PORTS[match.name]
        if (
            protocol != self._state.packet.protocol
            or len(match.info) < PORTS_BYTES
            or match.info[inversions] & INVERT_PORT
        ):
            return False
        low, high = struct.unpack_from("=2H", match.info, 4)
        return not low <= self._state.packet.destination_port <= high


def _apart(address: bytes, wanted: bytes, mask: bytes) -> bool:
    if address == wanted or len(address) != len(wanted):
        return False
    return (int.from_bytes(address, "big") & int.from_bytes(mask, "big")) != int.from_bytes(wanted, "big")


def _other_device(wanted: str, device: str) -> bool:
    return bool(wanted) and wanted != device and not wanted.endswith("+")
