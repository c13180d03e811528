"""Matches that carry a little program or a pattern, as iptables-save prints them (extensions/libxt_u32.c, _bpf, _string)."""

import struct

from netdoctor.model.expression import XtMatch

from .cbpf import Instruction
from .xt_match_text import Names, Text
from .xt_program import BYTECODE, StringInfo, U32Test, bpf_program, string_info, u32_tests
from .xt_words import joined, option, text_of

OPERATORS = ("&", "<<", ">>", "@")


def _u32(match: XtMatch, names: Names) -> str:
    tests, invert = u32_tests(match)
    return option("--u32", '"' + "&&".join(_u32_test(test) for test in tests) + '"', invert)


def _u32_test(test: U32Test) -> str:
    head = "".join(
        (OPERATORS[step.operator] if place else "") + f"{step.number:#x}" for place, step in enumerate(test.steps)
    )
    return head + "=" + ",".join(f"{low:#x}" if low == high else f"{low:#x}:{high:#x}" for low, high in test.ranges)


def _bpf(match: XtMatch, names: Names) -> str:
    if match.revision and struct.unpack_from("=H", match.info)[0] != BYTECODE:
        return f"--object-pinned {text_of(match.info[8:520])}"
    program = bpf_program(match)
    return '--bytecode "' + ",".join((str(len(program)), *(_instruction(one) for one in program))) + '"'


def _instruction(one: Instruction) -> str:
    return f"{one.code} {one.jump_true} {one.jump_false} {one.k}"


def _string(match: XtMatch, names: Names) -> str:
    info = string_info(match)
    return joined(
        _pattern(info), f"--algo {info.algorithm}", f"--from {info.start}" if info.start else "",
        f"--to {info.end}" if info.end != 0xFFFF else "", "--icase" if info.ignore_case else "",
    )  # fmt: skip


def _pattern(info: StringInfo) -> str:
    """In hexadecimal when a byte is not printable or the last one is a backslash."""
    if any(not 32 <= byte < 127 for byte in info.pattern) or info.pattern.endswith(b"\\"):
        return option("--hex-string", f'"|{info.pattern.hex()}|"', info.invert)
    plain = "".join("\\" + letter if letter in '"\\' else letter for letter in info.pattern.decode("ascii"))
    return option("--string", f'"{plain}"', info.invert)


TEXTS: dict[str, Text] = {"u32": _u32, "bpf": _bpf, "string": _string}
