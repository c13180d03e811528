"""Which rules of a long chain a packet can meet at all, found by what the rules compare and not rule by rule.

A rule that begins with plain comparisons is surely missed when one of them fails. So the rules are filed by the most
telling comparison of each: what is compared, and with which value. A packet then answers each question once. A question
it has no sure answer to leaves all rules filed under it in: what comes out is never less than what can be met.
"""

import struct
from collections import defaultdict
from collections.abc import Iterator

import msgspec

from netdoctor.model.expression import AnyExpression, Bitwise, Cmp, Ct, Meta, Payload, Range, XtHeader, XtMatch
from netdoctor.model.firewall import Chain, Rule
from netdoctor.walk.packet import TCP, UDP

from .headers import packed
from .registers import Registers
from .state import State
from .step import step
from .xt_header import INVERT_DESTINATION, INVERT_PROTOCOL, INVERT_SOURCE

MANY, SAMPLED = 48, 500
LOADS = (Meta, Payload, Ct)
INDEX, CONDITIONS = "index", "conditions"
PORTS = {"tcp": TCP, "udp": UDP}
INVERT_PORT = 2
PORTS_BYTES = 12


Expressions = tuple[AnyExpression, ...]
Question = tuple[str, bytes | Expressions, int, int]
"""("loaded", expressions, register, length): what nf_tables expressions load into a register, its first bytes.
(field of the header, mask, 0, 0): for xtables."""
Condition = tuple[Question, bytes]
Known = dict[int, tuple[Expressions, Condition | None]]
"""id of a rule's expressions -> those expressions, which stay in being with it, and what the rule is filed under."""
PROTOCOL: Question = ("protocol", b"", 0, 0)
PORT: Question = ("port", b"", 0, 0)


class Index(msgspec.Struct, frozen=True):
    """The places of a chain's rules: those without a telling comparison, and per question and value the others."""

    always: tuple[int, ...]
    filed: dict[Question, dict[bytes, list[int]]]

    def places(self, state: State, first: int) -> list[int]:
        """The places from `first` on of the rules that the packet can meet."""
        found = list(self.always)
        outside, state.registers = state.registers, Registers()
        for question, by_value in self.filed.items():
            answer = answered(state, question)
            if answer is None:
                found += (place for places in by_value.values() for place in places)
            else:
                found += by_value.get(answer, ())
        state.registers = outside
        return sorted(place for place in found if place >= first)


def candidates(state: State, chain: Chain, rules: tuple[Rule, ...]) -> Iterator[Rule]:
    """The chain's rules that the packet can meet, in order; asked again once a rule has changed the packet."""
    if len(rules) < MANY:
        yield from rules
        return
    index = _index_of(chain, rules)
    first = 0
    while first < len(rules):
        packet, uncertain = state.packet, dict(state.uncertain)
        for place in index.places(state, first):
            yield rules[place]
            first = place + 1
            if state.packet is not packet or state.uncertain != uncertain:
                break
        else:
            return


def _index_of(chain: Chain, rules: tuple[Rule, ...]) -> Index:
    kept = chain.worked_out.get(INDEX)
    if not isinstance(kept, Index):
        known = chain.worked_out.get(CONDITIONS)
        known = chain.worked_out[CONDITIONS] = known if isinstance(known, dict) else {}
        kept = chain.worked_out[INDEX] = made_index(rules, known)
    return kept


def made_index(rules: tuple[Rule, ...], known: Known) -> Index:
    """Files each rule under that of its conditions which differs most from rule to rule.

    known: where rules were filed before, in this chain or in one that it was edited from; it is added to.
    """
    _choose([rule.expressions for rule in rules if id(rule.expressions) not in known], known)
    always: list[int] = []
    filed: dict[Question, dict[bytes, list[int]]] = {}
    for place, rule in enumerate(rules):
        chosen = known[id(rule.expressions)][1]
        if chosen is None:
            always.append(place)
        else:
            filed.setdefault(chosen[0], {}).setdefault(chosen[1], []).append(place)
    return Index(tuple(always), filed)


def _choose(unfiled: list[Expressions], known: Known) -> None:
    """The most telling condition of each, as a sample of them shows."""
    conditions = [conditions_of(each) for each in unfiled]
    values: defaultdict[Question, set[bytes]] = defaultdict(set)
    for several in conditions[:: 1 + len(conditions) // SAMPLED]:
        for question, value in several:
            values[question].add(value)
    differ = {question: len(found) for question, found in values.items()}

    def telling(one: Condition) -> int:
        return differ.get(one[0], 0)

    for expressions, several in zip(unfiled, conditions, strict=True):
        known[id(expressions)] = expressions, max(several, key=telling, default=None)


def conditions_of(expressions: Expressions) -> list[Condition]:
    """The equalities among the comparisons that a rule begins with."""
    if expressions and isinstance(expressions[0], XtHeader):
        return _header_conditions(expressions[0], expressions[1:])
    found: list[Condition] = []
    loads: Expressions = ()
    register = 0
    for expression in expressions:
        kind = type(expression)
        if kind in LOADS:
            loads, register = (expression,), expression.register  # type: ignore[union-attr]
        elif kind is Cmp and loads and expression.register == register:  # type: ignore[union-attr]
            value: bytes = expression.value  # type: ignore[union-attr,assignment]
            if expression.operator == "eq":  # type: ignore[union-attr]
                found.append((("loaded", loads, register, len(value)), value))
        elif isinstance(expression, Range) and loads and expression.register == register:
            continue
        elif isinstance(expression, Bitwise) and loads and _stays(expression, register):
            loads = (*loads, expression)
        else:
            break
    return found


def _stays(expression: Bitwise, register: int) -> bool:
    return expression.operation == "bool" and expression.source == expression.destination == register


def _header_conditions(header: XtHeader, rest: Expressions) -> list[Condition]:
    found: list[Condition] = []
    invert = header.invert
    if any(header.source_mask) and not invert & INVERT_SOURCE:
        found.append((("source", header.source_mask, 0, 0), header.source))
    if any(header.destination_mask) and not invert & INVERT_DESTINATION:
        found.append((("destination", header.destination_mask, 0, 0), header.destination))
    if header.protocol and not invert & INVERT_PROTOCOL:
        found.append((PROTOCOL, bytes((header.protocol & 0xFF,))))
    match = rest[0] if rest else None
    if isinstance(match, XtMatch) and match.name in PORTS and len(match.info) >= PORTS_BYTES:
        low, high = struct.unpack_from("=2H", match.info, 4)
        if low == high and not match.info[11 if match.name == "tcp" else 8] & INVERT_PORT:
            found.append((PORT, struct.pack("=BH", PORTS[match.name], low)))
    return found


def answered(state: State, question: Question) -> bytes | None:
    """What the packet answers; None when it is not known for sure. b"" fits no rule."""
    field, compared, register, length = question
    if isinstance(compared, tuple):
        return _loaded(state, compared, register, length)
    packet = state.packet
    if field == "port":
        unsure = "destination_port" in state.uncertain or "protocol" in state.uncertain
        return None if unsure else struct.pack("=BH", packet.protocol, packet.destination_port)
    if "source" in state.uncertain or "destination" in state.uncertain:
        return None
    if field == "protocol":
        return None if "protocol" in state.uncertain else bytes([packet.protocol])
    address = packed(packet.source if field == "source" else packet.destination)
    return bytes(a & m for a, m in zip(address, compared, strict=False))


def _loaded(state: State, loads: Expressions, register: int, length: int) -> bytes | None:
    for expression in loads:
        outcome = step(state, expression)
        if outcome is False:
            return b""
        if outcome is not True:
            return None
    bits = state.registers.load(register, length)
    return bits.value if bits.known else None
