"""Whether an expression is one that the kernel could have: bytes that were cut or garbled must not be evaluated."""

from functools import cache

from netdoctor.model import expression as e

REGISTERS = frozenset((*range(5), *range(8, 24)))
PLACES = (
    "register", "source", "destination", "second", "key", "value", "address_min", "address_max", "port_min", "port_max",
    "address", "port", "device",
)  # fmt: skip
MAXIMUM_BYTES = 64
SIZES = (2, 4, 8)
SHIFT_BITS = 32


WITHOUT = (e.Counter, e.Limit, e.Quota, e.Log, e.Reject, e.XtMatch, e.XtTarget, e.Notrack)
"""Expressions without registers or lengths."""


def is_sound(expression: e.AnyExpression) -> bool:
    """False for registers that do not exist and lengths that do not fit each other (the init functions of nft_*.c)."""
    kind = type(expression)
    if kind in WITHOUT:
        return True
    for name in _places(kind):
        place = getattr(expression, name)
        if isinstance(place, int) and place not in REGISTERS:
            return False
    length = getattr(expression, "length", 0)
    return isinstance(length, int) and length <= MAXIMUM_BYTES and _fits(expression)


@cache
def _places(kind: type[e.AnyExpression]) -> tuple[str, ...]:
    """Which fields of an expression are registers."""
    return tuple(name for name in kind.__struct_fields__ if name in PLACES)


def _fits(expression: e.AnyExpression) -> bool:
    match expression:
        case e.Cmp(value=value) | e.Immediate(value=value):
            return 0 < len(value) <= MAXIMUM_BYTES
        case e.Range(low=low, high=high):
            return 0 < len(low) == len(high) <= MAXIMUM_BYTES
        case e.Bitwise():
            return _bitwise_fits(expression)
        case e.Byteorder(length=length, size=size):
            return size in SIZES and length > 0 and length % size == 0
        case e.Payload(length=length) | e.PayloadSet(length=length):
            return length > 0
        case e.Numgen(modulus=modulus) | e.Hash(modulus=modulus):
            return modulus > 0
        case e.Verdict(code=code, chain=chain):
            return bool(chain) or code not in ("jump", "goto")
    return True


def _bitwise_fits(expression: e.Bitwise) -> bool:
    match expression.operation:
        case "bool":
            return len(expression.mask) == len(expression.xor) == expression.length > 0
        case "lshift" | "rshift":
            shift = int.from_bytes(expression.value, "little")
            return expression.length > 0 and len(expression.value) == 4 and shift < SHIFT_BITS
    return expression.length > 0 and expression.second != 0
