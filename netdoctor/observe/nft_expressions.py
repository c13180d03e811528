"""NFTA_RULE_EXPRESSIONS -> typed expressions. Numbers are big-endian. Source: linux/netfilter/nf_tables.h."""

import struct
from collections.abc import Callable

from netdoctor.model import expression as e
from netdoctor.walk.netfilter.nft_keys import (
    BITWISE,
    COMPARISONS,
    CT_KEYS,
    DYNSET,
    FIB_FLAGS,
    FIB_RESULTS,
    META_KEYS,
    PAYLOAD_BASES,
    RT_KEYS,
    SOCKET_KEYS,
    VERDICTS,
    XFRM_KEYS,
)

from .nft_attributes import EMPTY, ZERO, Attributes, attributes, be32, be64, text
from .nft_sound import REGISTERS, is_sound
from .nft_statements import STATEMENTS

CMP_HEAD = b"\x08\x00\x01\x00cmp\x00"
CMP_VALUE = 36
MATCH_HEAD, COMMENT_HEAD = b"\x0a\x00\x01\x00match\x00\x00\x00", b"\x0c\x00\x01\x00comment\x00\x08\x00\x02\x00"
COMMENT_VALUE = 40
COUNTER_HEAD, COUNTER_BYTES = b"\x0c\x00\x01\x00counter\x00\x1c\x00", 40


def decode_expressions(payload: bytes, seen: dict[bytes, e.AnyExpression]) -> tuple[e.AnyExpression, ...]:
    """The expressions of one rule. `seen` holds what earlier rules had alike: most expressions repeat."""
    found: list[e.AnyExpression] = []
    offset, end = 0, len(payload)
    while offset + 4 <= end:
        length = payload[offset] | payload[offset + 1] << 8
        if length < 4:
            break
        raw = payload[offset + 4 : offset + length]
        expression = seen.get(raw)
        if expression is None:
            expression = seen[raw] = _plain_cmp(raw) or _plain_counter(raw) or _plain_comment(raw) or decode(raw)
        found.append(expression)
        offset += (length + 3) & ~3
    return tuple(found)


def _plain_cmp(raw: bytes) -> e.Cmp | None:
    """A comparison as the kernel lays it out, read by position: half of what is new in a rule are comparisons."""
    if not raw.startswith(CMP_HEAD) or len(raw) <= CMP_VALUE or raw[14] != 1 or raw[22] != 2 or raw[30] != 3:
        return None
    end = 32 + (raw[32] | raw[33] << 8)
    if raw[34] != 1 or not CMP_VALUE < end <= len(raw) or raw[19] not in REGISTERS or raw[27] >= len(COMPARISONS):
        return None
    return e.Cmp(operator=COMPARISONS[raw[27]], register=raw[19], value=raw[CMP_VALUE:end])


def _plain_counter(raw: bytes) -> e.Counter | None:
    """A counter as the kernel lays it out: no two are alike, and most rules of iptables have one."""
    if len(raw) != COUNTER_BYTES or not raw.startswith(COUNTER_HEAD) or raw[18] != 1 or raw[30] != 2:
        return None
    return e.Counter(bytes=int.from_bytes(raw[20:28], "big"), packets=int.from_bytes(raw[32:40], "big"))


def _plain_comment(raw: bytes) -> e.XtMatch | None:
    """The match that iptables keeps a comment in, as the kernel lays it out."""
    if not raw.startswith(COMMENT_HEAD, 16) or not raw.startswith(MATCH_HEAD) or len(raw) <= COMMENT_VALUE:
        return None
    end = 36 + (raw[36] | raw[37] << 8)
    if raw[38] != 3 or not COMMENT_VALUE < end <= len(raw):
        return None
    return e.XtMatch(name="comment", revision=int.from_bytes(raw[32:36], "big"), info=raw[COMMENT_VALUE:end])


def decode(element: bytes) -> e.AnyExpression:
    """One NFTA_LIST_ELEM. What is not understood, or not as expected, becomes Opaque with its bytes."""
    parts = attributes(element)
    name, body = text(parts.get(1, EMPTY)), parts.get(2, EMPTY)
    reader = READERS.get(name)
    found = None
    if reader is not None:
        try:
            found = reader(attributes(body))
        except (KeyError, IndexError, struct.error):
            found = None
    return found if found is not None and is_sound(found) else e.Opaque(name=name, raw=body)


def verdict_of(body: bytes) -> tuple[e.VerdictCode, str]:
    """NFTA_DATA_VERDICT: what, and the chain of a jump or goto. A queue's number sits in the upper half of its code."""
    parts = attributes(body)
    code = int.from_bytes(parts[1], "big", signed=True)
    known = VERDICTS.get(code if code < 0 else code & 0xFF)
    if known is None:
        raise KeyError(code)
    return known, text(parts.get(2, EMPTY))


def _value(body: bytes) -> bytes:
    return attributes(body)[1]


def _key(names: tuple[str, ...], number: int) -> str:
    return names[number] if number < len(names) else f"key-{number}"


def _meta(a: Attributes) -> e.AnyExpression:
    key = _key(META_KEYS, be32(a[2]))
    return e.MetaSet(key=key, register=be32(a[3])) if 3 in a else e.Meta(key=key, register=be32(a[1]))


def _payload(a: Attributes) -> e.AnyExpression:
    base, offset, length = PAYLOAD_BASES[be32(a[2])], be32(a[3]), be32(a[4])
    if 5 not in a:
        return e.Payload(base=base, offset=offset, length=length, register=be32(a[1]))
    return e.PayloadSet(
        base=base, offset=offset, length=length, register=be32(a[5]), checksum_type=be32(a.get(6, ZERO)),
        checksum_offset=be32(a.get(7, ZERO)), checksum_flags=be32(a.get(8, ZERO)),
    )  # fmt: skip


def _cmp(a: Attributes) -> e.AnyExpression:
    return e.Cmp(operator=COMPARISONS[be32(a[2])], register=be32(a[1]), value=_value(a[3]))


def _range(a: Attributes) -> e.AnyExpression:
    return e.Range(operator="neq" if be32(a[2]) else "eq", register=be32(a[1]), low=_value(a[3]), high=_value(a[4]))


def _bitwise(a: Attributes) -> e.AnyExpression:
    operation = BITWISE[be32(a.get(6, ZERO))]
    source, destination, length = be32(a[1]), be32(a[2]), be32(a[3])
    if operation == "bool":
        return e.Bitwise(source=source, destination=destination, length=length, mask=_value(a[4]), xor=_value(a[5]))
    return e.Bitwise(
        source=source, destination=destination, length=length, operation=operation,
        value=_value(a[7]) if 7 in a else b"", second=be32(a.get(8, ZERO)),
    )  # fmt: skip


def _byteorder(a: Attributes) -> e.AnyExpression:
    return e.Byteorder(
        source=be32(a[1]), destination=be32(a[2]), operation="hton" if be32(a[3]) else "ntoh", length=be32(a[4]),
        size=be32(a[5]),
    )  # fmt: skip


def _immediate(a: Attributes) -> e.AnyExpression:
    parts = attributes(a[2])
    if 2 in parts:
        code, chain = verdict_of(parts[2])
        return e.Verdict(code=code, chain=chain)
    return e.Immediate(register=be32(a[1]), value=parts[1])


def _lookup(a: Attributes) -> e.AnyExpression:
    return e.Lookup(
        set=text(a[1]), register=be32(a[2]), destination=be32(a[3]) if 3 in a else None,
        invert=bool(be32(a.get(5, ZERO)) & 1),
    )  # fmt: skip


def _ct(a: Attributes) -> e.AnyExpression:
    key, direction = _key(CT_KEYS, be32(a[2])), a[3][0] if 3 in a else None
    if 4 in a:
        return e.CtSet(key=key, register=be32(a[4]), direction=direction)
    return e.Ct(key=key, register=be32(a[1]), direction=direction)


def _fib(a: Attributes) -> e.AnyExpression:
    flags = be32(a[3])
    named = tuple(name for bit, name in enumerate(FIB_FLAGS) if flags >> bit & 1)
    return e.Fib(register=be32(a[1]), result=FIB_RESULTS[be32(a[2])], flags=named)


def _rt(a: Attributes) -> e.AnyExpression:
    return e.Rt(key=_key(RT_KEYS, be32(a[2])), register=be32(a[1]))


def _socket(a: Attributes) -> e.AnyExpression:
    return e.SocketLookup(key=_key(SOCKET_KEYS, be32(a[1])), register=be32(a[2]), level=be32(a.get(3, ZERO)))


def _xfrm(a: Attributes) -> e.AnyExpression:
    return e.Xfrm(key=XFRM_KEYS[be32(a[2])], register=be32(a[1]), direction=a[3][0], number=be32(a.get(4, ZERO)))


def _osf(a: Attributes) -> e.AnyExpression:
    return e.Osf(register=be32(a[1]), ttl=a.get(2, ZERO)[0], flags=be32(a.get(3, ZERO)))


def _numgen(a: Attributes) -> e.AnyExpression:
    return e.Numgen(
        mode="random" if be32(a[3]) else "inc", modulus=be32(a[2]), register=be32(a[1]), offset=be32(a.get(4, ZERO))
    )


def _hash(a: Attributes) -> e.AnyExpression:
    return e.Hash(
        mode="symhash" if be32(a.get(7, ZERO)) else "jhash", register=be32(a[2]), modulus=be32(a[4]),
        source=be32(a.get(1, ZERO)), length=be32(a.get(3, ZERO)), seed=be32(a[5]) if 5 in a else None,
        offset=be32(a.get(6, ZERO)),
    )  # fmt: skip


def _exthdr(a: Attributes) -> e.AnyExpression:
    return e.Exthdr(
        operation=be32(a.get(6, ZERO)), type=a[2][0], offset=be32(a.get(3, ZERO)), length=be32(a.get(4, ZERO)),
        flags=be32(a.get(5, ZERO)), register=be32(a.get(1, ZERO)), source=be32(a.get(7, ZERO)),
    )  # fmt: skip


def nested(a: Attributes, one: int, many: int) -> tuple[e.AnyExpression, ...]:
    """The expressions of a set element or dynset: one, or a list of them."""
    if many in a:
        return decode_expressions(a[many], {})
    return (decode(a[one]),) if one in a else ()


def _dynset(a: Attributes) -> e.AnyExpression:
    return e.Dynset(
        set=text(a[1]), operation=DYNSET[be32(a[3])], key=be32(a[4]), value=be32(a.get(5, ZERO)),
        timeout_ms=be64(a.get(6, ZERO)), invert=bool(be32(a.get(9, ZERO)) & 1), expressions=nested(a, 7, 10),
    )  # fmt: skip


def _match(a: Attributes) -> e.AnyExpression:
    return e.XtMatch(name=text(a[1]), revision=be32(a[2]), info=a[3])


def _target(a: Attributes) -> e.AnyExpression:
    return e.XtTarget(name=text(a[1]), revision=be32(a[2]), info=a[3])


READERS: dict[str, Callable[[Attributes], e.AnyExpression]] = {
    "meta": _meta, "payload": _payload, "cmp": _cmp, "range": _range, "bitwise": _bitwise, "byteorder": _byteorder,
    "immediate": _immediate, "lookup": _lookup, "ct": _ct, "fib": _fib, "rt": _rt, "socket": _socket, "xfrm": _xfrm,
    "osf": _osf, "numgen": _numgen, "hash": _hash, "exthdr": _exthdr, "dynset": _dynset, "match": _match,
    "target": _target,
} | STATEMENTS  # fmt: skip
