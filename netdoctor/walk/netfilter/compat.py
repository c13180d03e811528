"""NFTA_RULE_COMPAT of rules that hold xtables matches or targets: the kernel wants it and does not dump it."""

import struct
from itertools import pairwise

from netdoctor.model import expression as e

INVERTED = 2


def compat_of(expressions: tuple[e.AnyExpression, ...]) -> bytes:
    """The rule's protocol and whether it is inverted, as attributes; empty where none is needed."""
    if not any(type(each) is e.XtMatch or type(each) is e.XtTarget for each in expressions):
        return b""
    for load, test in pairwise(expressions):
        if type(load) is e.Meta and load.key == "l4proto" and isinstance(test, e.Cmp):
            flags = INVERTED if test.operator == "neq" else 0
            return _u32(1, test.value[0]) + _u32(2, flags)
    return b""


def _u32(kind: int, value: int) -> bytes:
    return struct.pack("=HH", 8, kind) + struct.pack("!I", value)
