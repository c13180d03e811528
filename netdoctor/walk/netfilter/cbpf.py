"""Classic BPF over bytes of which some are hidden (Documentation/networking/filter.rst, net/core/filter.c)."""

import operator
from typing import NamedTuple

from netdoctor.walk.packet import Packet

from .headers import link_header
from .registers import Bits
from .words import FULL, HIDDEN, Word, word_at

LD, LDX, ST, STX, ALU, JMP, RET, MISC = range(8)
SIZES = {0x00: 4, 0x08: 2, 0x10: 1}
IMM, ABS, IND, MEM, LEN, MSH = 0x00, 0x20, 0x40, 0x60, 0x80, 0xA0
ADD, SUB, MUL, DIV, OR, AND, LSH, RSH, NEG, MOD, XOR = (code << 4 for code in range(11))
JA, JEQ, JGT, JGE, JSET = (code << 4 for code in range(5))
FROM_X, RETURN_A = 0x08, 0x10
ANCILLARY, NETWORK, LINK = 0xFFFFF000, 0xFFF00000, 0xFFE00000
PROTOCOL, MARK = 0, 20
MOST_PATHS = 256
DIVISIONS_BY_X = (ALU | DIV | FROM_X, ALU | MOD | FROM_X)
"""With indirect loads, what ends a program with 0 when the index register holds a wrong number."""
ARITHMETIC = {
    ADD: operator.add, SUB: operator.sub, MUL: operator.mul, DIV: operator.floordiv, MOD: operator.mod,
}  # fmt: skip


class Instruction(NamedTuple):
    """struct sock_filter."""

    code: int
    jump_true: int
    jump_false: int
    k: int


class Machine(NamedTuple):
    """Where a run stands: the next instruction, accumulator, index register and scratch memory."""

    place: int = 0
    a: Word = Word(0)
    x: Word = Word(0)
    memory: tuple[Word, ...] = (Word(0),) * 16


def outcomes(program: tuple[Instruction, ...], raw: Bits, packet: Packet) -> set[bool]:
    """Whether the program returns other than 0; both where that hangs on hidden bits. Raises LookupError when broken."""
    found, waiting, runs = set[bool](), [Machine()], 0
    while waiting and len(found) < 2:
        runs += 1
        if runs > MOST_PATHS:
            return {True, False}
        machine: Machine | None = waiting.pop()
        for _ in range(len(program)):
            assert machine is not None
            step = program[machine.place]
            if step.code & 7 == RET:
                value = machine.a if step.code & 0x18 == RETURN_A else Word(step.k)
                found |= {True} if value.value else {True, False} if value.hidden else {False}
                break
            if machine.x.hidden and (step.code & 0xE7 == LD | IND or step.code in DIVISIONS_BY_X):
                found.add(False)
            machine, other = _step(step, machine, raw, packet)
            if other is not None:
                waiting.append(other)
            if machine is None:
                found.add(False)
                break
        else:
            raise LookupError("a program that does not return")
    return found


def _step(step: Instruction, machine: Machine, raw: Bits, packet: Packet) -> tuple[Machine | None, Machine | None]:
    """The machine after one instruction, and the other way a branch may go; None: it ends with 0."""
    kind, following = step.code & 7, machine._replace(place=machine.place + 1)
    if kind == JMP:
        return _jump(step, following)
    if kind in (LD, LDX):
        value = _load(step, machine, raw, packet)
        if value is None:
            return None, None
        return following._replace(a=value) if kind == LD else following._replace(x=value), None
    if kind in (ST, STX):
        stored = machine.a if kind == ST else machine.x
        memory = (*machine.memory[: step.k], stored, *machine.memory[step.k + 1 :])
        return following._replace(memory=memory), None
    if kind == ALU:
        value = _alu(step, machine)
        return (None if value is None else following._replace(a=value)), None
    return (following._replace(a=machine.x) if step.code & 0x80 else following._replace(x=machine.a)), None


def _jump(step: Instruction, following: Machine) -> tuple[Machine, Machine | None]:
    if step.code & 0xF0 == JA:
        return following._replace(place=following.place + step.k), None
    taken = following._replace(place=following.place + step.jump_true)
    missed = following._replace(place=following.place + step.jump_false)
    other = following.x if step.code & FROM_X else Word(step.k)
    answer = _holds(step.code & 0xF0, following.a, other)
    return (taken, missed) if answer is None else (taken if answer else missed, None)


def _holds(test: int, a: Word, b: Word) -> bool | None:
    if b.hidden:
        return None
    if test == JEQ:
        return a.within(b.value, b.value)
    if test == JSET:
        return True if a.value & b.value else None if a.hidden & b.value else False
    return a.within(b.value + (test == JGT), FULL) if b.value + (test == JGT) <= FULL else False


def _load(step: Instruction, machine: Machine, raw: Bits, packet: Packet) -> Word | None:
    """What is loaded; None past the packet's end."""
    mode, size = step.code & 0xE0, SIZES.get(step.code & 0x18, 4)
    if mode == IMM:
        return Word(step.k)
    if mode == LEN:
        return Word(len(raw.value))
    if mode == MEM:
        return machine.memory[step.k]
    if mode == MSH:
        byte = word_at(raw, step.k, 1)
        return None if byte is None else byte.masked(0xF).shifted_left(2)
    if mode == IND and machine.x.hidden:
        return HIDDEN
    offset = step.k + machine.x.value & FULL if mode == IND else step.k
    return word_at(raw, offset, size) if offset < LINK else _beyond(offset, size, raw, packet)


def _beyond(offset: int, size: int, raw: Bits, packet: Packet) -> Word | None:
    """Offsets below zero: what the kernel knows of the packet, its network header, its link header."""
    if offset >= ANCILLARY:
        known = {PROTOCOL: packet.ether_type, MARK: packet.mark}
        return Word(known[offset - ANCILLARY]) if offset - ANCILLARY in known else HIDDEN
    if offset >= NETWORK:
        return word_at(raw, offset - NETWORK, size)
    header = link_header(packet)
    return HIDDEN if header is None else word_at(header, offset - LINK, size) or HIDDEN


def _alu(step: Instruction, machine: Machine) -> Word | None:
    """The accumulator after an operation; None after a division by zero, which ends the program with 0."""
    operation, a = step.code & 0xF0, machine.a
    b = machine.x if step.code & FROM_X else Word(step.k)
    if operation == NEG:
        return HIDDEN if a.hidden else Word(-a.value & FULL)
    if operation in (DIV, MOD) and not b.hidden and not b.value:
        return None
    if b.hidden or (a.hidden and operation not in (AND, OR, XOR, LSH, RSH)):
        return HIDDEN
    if operation == AND:
        return a.masked(b.value)
    if operation == OR:
        return Word(a.value | b.value, a.hidden & ~b.value)
    if operation == XOR:
        return Word((a.value ^ b.value) & ~a.hidden, a.hidden)
    if operation in (LSH, RSH):
        return a.shifted_left(b.value & 31) if operation == LSH else a.shifted_right(b.value & 31)
    return Word(ARITHMETIC[operation](a.value, b.value) & FULL)
