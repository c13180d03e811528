"""Matches that run a little program over the packet's bytes: u32, bpf, string (net/netfilter/xt_u32.c, xt_string.c).

Bytes the model does not carry are hidden; only where an answer hangs on one of them it is a doubt.
"""

import struct
from typing import NamedTuple

from netdoctor.model.expression import XtMatch
from netdoctor.model.unknown import Unknown
from netdoctor.walk.packet import TCP

from .cbpf import ANCILLARY, MARK, Instruction, outcomes
from .headers import network_length, packet_bytes, tcp_options
from .registers import Bits
from .state import Outcome, State
from .words import Word, word_at

U32_TEST = struct.Struct("=" + "IB3x" * 11 + "2I" * 11 + "2B2x")
MOST_TESTS = 11
AND, LEFT, RIGHT, AT = range(4)
BYTECODE = 0
LOWER = frozenset((*range(97, 123), 223, *range(224, 247), *range(248, 256)))
"""What the kernel's ctype table calls lower case: ASCII and Latin-1."""


class U32Step(NamedTuple):
    """How the value so far is combined with `number`; the first step is where to read."""

    number: int
    operator: int


class U32Test(NamedTuple):
    """One of a u32 match's tests: read and compute, then compare with ranges."""

    steps: tuple[U32Step, ...]
    ranges: tuple[tuple[int, int], ...]


def u32_tests(match: XtMatch) -> tuple[tuple[U32Test, ...], bool]:
    """struct xt_u32: its tests, and whether it is inverted."""
    count, invert = struct.unpack_from("=2B", match.info, MOST_TESTS * U32_TEST.size)
    return tuple(_u32_test(match.info, place * U32_TEST.size) for place in range(min(count, MOST_TESTS))), bool(invert)


def _u32_test(info: bytes, offset: int) -> U32Test:
    numbers = U32_TEST.unpack_from(info, offset)
    steps = tuple(U32Step(numbers[at], numbers[at + 1]) for at in range(0, 2 * min(numbers[44], MOST_TESTS), 2))
    ranges = tuple((numbers[at], numbers[at + 1]) for at in range(22, 22 + 2 * min(numbers[45], MOST_TESTS), 2))
    return U32Test(steps, ranges)


def u32(state: State, match: XtMatch) -> Outcome:
    tests, invert = u32_tests(match)
    raw = visible_bytes(state)
    doubt = False
    for test in tests:
        fits = _fits(test, raw)
        if fits is False:
            return invert
        doubt = doubt or fits is None
    return Unknown(raw.why) if doubt else not invert


def _fits(test: U32Test, raw: Bits) -> bool | None:
    """u32_match_it: what lies past the packet's end fits nothing."""
    if not test.steps:
        raise ValueError("a test that reads nothing")
    base, value = 0, word_at(raw, test.steps[0].number)
    for step in test.steps[1:]:
        if value is None:
            return False
        if step.operator != AT:
            value = _computed(value, step)
            continue
        if value.hidden:
            return None
        base += value.value
        value = word_at(raw, base + step.number)
    if value is None:
        return False
    answers = [value.within(low, high) for low, high in test.ranges]
    return True if True in answers else None if None in answers else False


def _computed(value: Word, step: U32Step) -> Word:
    if step.operator == AND:
        return value.masked(step.number)
    if step.number >= 32:
        raise ValueError("a shift by more than a word")
    return value.shifted_left(step.number) if step.operator == LEFT else value.shifted_right(step.number)


def bpf_program(match: XtMatch) -> tuple[Instruction, ...]:
    """The instructions of struct xt_bpf_info and xt_bpf_info_v1."""
    (count,) = struct.unpack_from("=H", match.info, 2 if match.revision else 0)
    place = 8 if match.revision else 4
    return tuple(Instruction(*struct.unpack_from("=H2BI", match.info, place + 8 * number)) for number in range(count))


def bpf(state: State, match: XtMatch) -> Outcome:
    """A pinned program is the kernel's own and not looked into."""
    if match.revision and struct.unpack_from("=H", match.info)[0] != BYTECODE:
        return Unknown("a pinned BPF program decides")
    program, raw = bpf_program(match), visible_bytes(state)
    if "mark" in state.uncertain and any(one.k == ANCILLARY + MARK for one in program):
        return Unknown(state.uncertain["mark"])
    found = outcomes(program, raw, state.packet)
    return found.pop() if len(found) == 1 else Unknown(raw.why or "what the BPF program asks is not modelled")


class StringInfo(NamedTuple):
    """struct xt_string_info."""

    pattern: bytes
    algorithm: str
    start: int
    end: int
    invert: bool
    ignore_case: bool


def string_info(match: XtMatch) -> StringInfo:
    start, end = struct.unpack_from("=2H", match.info)
    algorithm = match.info[4:20].split(b"\0")[0].decode("ascii")
    length, flags = struct.unpack_from("=2B", match.info, 148)
    ignore_case = bool(match.revision and flags & 2)
    return StringInfo(match.info[20 : 20 + min(length, 128)], algorithm, start, end, bool(flags & 1), ignore_case)


def string(state: State, match: XtMatch) -> Outcome:
    """skb_find_text: the pattern as a whole between the two offsets, counted from the network header."""
    info, raw = string_info(match), visible_bytes(state)
    if not info.pattern:
        raise ValueError("an empty pattern")
    text, pattern = raw.value, info.pattern
    if info.ignore_case:
        text, pattern = _upper(text), _upper(pattern)
    hidden = raw.hidden.ljust(len(text), b"\0")
    last = min(info.end, len(text)) - len(pattern)
    doubt = False
    for place in range(info.start, last + 1):
        pairs = zip(text[place:], hidden[place:], pattern, strict=False)
        fits = [True if mine == theirs and not dark else None if dark else False for mine, dark, theirs in pairs]
        if all(fits):
            return not info.invert
        doubt = doubt or False not in fits
    return Unknown(raw.why) if doubt else info.invert


def _upper(text: bytes) -> bytes:
    return bytes(byte - 32 if byte in LOWER else byte for byte in text)


def visible_bytes(state: State) -> Bits:
    """The packet from its network header on; what a doubtful rule before may have changed is hidden."""
    raw, packet = packet_bytes(state.packet), state.packet
    places = {
        "tos": (1, 2) if packet.family == 4 else (0, 2), "ttl": (8, 9) if packet.family == 4 else (7, 8),
        "source": (12, 16) if packet.family == 4 else (8, 24),
        "destination": (16, 20) if packet.family == 4 else (24, 40),
    }  # fmt: skip
    end = network_length(packet) + 20 + len(tcp_options(packet) or b"")
    if packet.protocol == TCP:
        places |= {"tcp_mss": (network_length(packet) + 20, end)}
    hidden, why = bytearray(raw.hidden), raw.why
    for field, (start, end) in places.items():
        if field in state.uncertain:
            hidden[start:end] = b"\xff" * (end - start)
            why = state.uncertain[field]
    return Bits(raw.value, bytes(hidden), why)


TESTS = {"u32": u32, "bpf": bpf, "string": string}
