"""NFTA_RULE_COMPAT of rules that hold xtables matches or targets: the kernel wants it and does not dump it."""

import struct
from functools import cache

from netdoctor.model import expression as e

INVERTED = 2


def compat_of(expressions: tuple[e.AnyExpression, ...]) -> bytes:
    """The rule's protocol and whether it is inverted, as attributes; empty where none is needed."""
    wanted, found = False, b""
    loaded = False
    for each in expressions:
        kind = type(each)
        if kind is e.XtMatch or kind is e.XtTarget:
            wanted = True
        elif loaded and not found and isinstance(each, e.Cmp):
            found = _compat(each.value[0], each.operator == "neq")
        loaded = kind is e.Meta and each.key == "l4proto"  # type: ignore[union-attr]
    return found if wanted else b""


@cache
def _compat(protocol: int, inverted: bool) -> bytes:
    return _u32(1, protocol) + _u32(2, INVERTED if inverted else 0)


def _u32(kind: int, value: int) -> bytes:
    return struct.pack("=HH", 8, kind) + struct.pack("!I", value)
