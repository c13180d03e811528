"""Expressions that test or transform registers: cmp, range, bitwise, byteorder, lookup, and the ones that count."""

from typing import Literal

from netdoctor.model.expression import Bitwise, Byteorder, Cmp, Connlimit, Limit, Lookup, Quota, Range
from netdoctor.model.firewall import SetElement
from netdoctor.model.unknown import Unknown

from .registers import Bits, hidden_bits
from .sets import look_up
from .state import Alternatives, Decision, Outcome, Pending, State

CONNECTIONS_MARGIN = 4
"""Connections that are gone are counted until packets have made the kernel look (nf_conncount.c)."""


def cmp(state: State, expression: Cmp) -> Outcome:
    bits = state.registers.load(expression.register, len(expression.value))
    if expression.operator in ("eq", "neq"):
        same = bits.equals(expression.value)
        return same if isinstance(same, Unknown) else same == (expression.operator == "eq")
    low, high, value = bits.least, bits.most, expression.value
    match expression.operator:
        case "lt":
            return _sure(high < value, low >= value, bits)
        case "lte":
            return _sure(high <= value, low > value, bits)
        case "gt":
            return _sure(low > value, high <= value, bits)
    return _sure(low >= value, high < value, bits)


def _sure(yes: bool, no: bool, bits: Bits) -> Outcome:
    return True if yes else False if no else Unknown(bits.why)


def within(state: State, expression: Range) -> Outcome:
    bits = state.registers.load(expression.register, len(expression.low))
    low, high = bits.least, bits.most
    inside = expression.low <= low and high <= expression.high
    outside = high < expression.low or low > expression.high
    return _sure(inside, outside, bits) if expression.operator == "eq" else _sure(outside, inside, bits)


def bitwise(state: State, expression: Bitwise) -> Outcome:
    bits = state.registers.load(expression.source, expression.length)
    match expression.operation:
        case "bool":
            value = bytes(v & m ^ x for v, m, x in zip(bits.value, expression.mask, expression.xor, strict=False))
            hidden = bytes(h & m for h, m in zip(bits.hidden, expression.mask, strict=False))
            result = Bits(value, hidden, bits.why if any(hidden) else "")
        case "lshift" | "rshift":
            hidden = _shifted(bits.hidden.ljust(len(bits.value), b"\0"), expression)
            result = Bits(_shifted(bits.value, expression), hidden, bits.why)
        case "and" | "or" | "xor":
            result = _joined(bits, state.registers.load(expression.second, expression.length), expression.operation)
    state.registers.store(expression.destination, result)
    return True


def _joined(one: Bits, two: Bits, operation: Literal["and", "or", "xor"]) -> Bits:
    """Two registers joined bit by bit. A known zero makes an and known, a known one an or."""
    size = len(one.value)
    mine, theirs = int.from_bytes(one.value, "big"), int.from_bytes(two.value, "big")
    dark, darker = (int.from_bytes(bits.hidden.ljust(size, b"\0"), "big") for bits in (one, two))
    match operation:
        case "and":
            value, settled = mine & theirs, (~mine & ~dark) | (~theirs & ~darker)
        case "or":
            value, settled = mine | theirs, (mine & ~dark) | (theirs & ~darker)
        case "xor":
            value, settled = mine ^ theirs, 0
    hidden = (dark | darker) & ~settled & (1 << size * 8) - 1
    return Bits((value & ~hidden).to_bytes(size, "big"), hidden.to_bytes(size, "big"), one.why or two.why)


def _shifted(value: bytes, expression: Bitwise) -> bytes:
    """The kernel shifts the words from the last to the first, each in host order (nft_bitwise.c)."""
    count = int.from_bytes(expression.value[:4], "little")
    padded = value.ljust(-(-len(value) // 4) * 4, b"\0")
    words = [int.from_bytes(padded[i : i + 4], "little") for i in range(0, len(padded), 4)]
    number = sum(word << 32 * place for place, word in enumerate(reversed(words)))
    number = number << count if expression.operation == "lshift" else number >> count
    kept = [number >> 32 * place & 0xFFFFFFFF for place in range(len(words))]
    return b"".join(word.to_bytes(4, "little") for word in reversed(kept))[: len(value)]


def byteorder(state: State, expression: Byteorder) -> Outcome:
    bits = state.registers.load(expression.source, expression.length)
    size = expression.size
    swap = [index for start in range(0, expression.length, size) for index in range(start + size - 1, start - 1, -1)]
    hidden = bits.hidden
    value, dark = bytes(bits.value[i] for i in swap), bytes(hidden[i] for i in swap)
    state.registers.store(expression.destination, Bits(value, dark, bits.why))
    return True


def lookup(state: State, expression: Lookup) -> Outcome:
    """A set or map lookup; what is not read yet is asked for."""
    found = look_up(state, expression.set, expression.register)
    if isinstance(found, Pending):
        return found
    if isinstance(found, Unknown):
        return _undecided(state, expression, found)
    if expression.destination is None:
        return (found is not None) != expression.invert
    if found is None:
        return False
    if expression.destination == 0:
        return _decision(found) or found.verdict != "break"
    state.registers.store(expression.destination, Bits(found.value))
    return True


def _decision(element: SetElement) -> Decision | None:
    match element.verdict:
        case "accept" | "drop" | "queue" | "jump" | "goto" | "return" as code:
            return Decision(code=code, chain=element.chain)
    return None


def _undecided(state: State, expression: Lookup, why: Unknown) -> Outcome:
    """A verdict map with an unknown key may give any of its verdicts; a data map an unknown value."""
    if expression.destination is None:
        return why
    asked = state.set(expression.set)
    elements = () if asked is None or isinstance(asked.elements, Unknown) else asked.elements
    if expression.destination == 0:
        decisions = dict.fromkeys(found for each in elements if (found := _decision(each)))
        return Alternatives(decisions=tuple(decisions) or (Decision(code="drop"),), why=why.why)
    length = asked.value_length if asked else 16
    state.registers.store(expression.destination, hidden_bits(length or 16, why.why))
    return why


def never_so_many(state: State, limit: int) -> bool:
    """Whether the namespace has far fewer connections than a rule's limit, so that none of its counts can reach it."""
    count = state.facts.connections
    return not isinstance(count, Unknown) and (count + 1) * CONNECTIONS_MARGIN <= limit


def counting(state: State, expression: Limit | Quota | Connlimit) -> Outcome:
    """Rules that count packets, bytes or connections: the count at our packet's arrival cannot be foreseen.

    But for a quota that is used up: nothing but an administrator makes it smaller (nft_quota.c).
    """
    match expression:
        case Limit():
            return Unknown("whether the rate limit has room for the packet cannot be foreseen")
        case Quota(bytes=octets, consumed=consumed, over=over):
            if consumed >= octets:
                return over
            return Unknown("whether the quota is used up when the packet comes cannot be foreseen")
        case Connlimit(count=count, over=over) if never_so_many(state, count):
            return not over
    return Unknown("how many connections there will be cannot be foreseen")
