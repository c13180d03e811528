"""Typed expressions -> NFTA_RULE_EXPRESSIONS, as libnftnl writes them. The inverse of observe.nft_expressions."""

import struct
from collections.abc import Callable, Iterable
from typing import Any

from netdoctor.model import expression as e

from .nft_keys import (
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

NAME, DATA, LIST_ELEMENT = 1, 2, 1
NESTED = 0x8000
VERDICT_CODES = {name: number for number, name in VERDICTS.items()}
FIB_BITS = {name: 1 << bit for bit, name in enumerate(FIB_FLAGS)}


class CannotEncode(ValueError):
    """The expression has no encoder: the rule can only be written from its raw bytes."""


def attribute(kind: int, value: bytes) -> bytes:
    """One netlink attribute, padded."""
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def nest(kind: int, *parts: bytes) -> bytes:
    return attribute(kind | NESTED, b"".join(parts))


def u32(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("!I", value & 0xFFFFFFFF))


def u64(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("!Q", value))


def text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def value(kind: int, raw: bytes) -> bytes:
    """NFTA_DATA_VALUE inside the attribute `kind`."""
    return nest(kind, attribute(1, raw))


def _given(kind: int, number: int) -> bytes:
    return u32(kind, number) if number else b""


def _verdict(x: e.Verdict) -> bytes:
    chain = text(2, x.chain) if x.chain else b""
    return u32(1, 0) + nest(2, nest(2, u32(1, VERDICT_CODES[x.code]), chain))


def _payload_set(x: e.PayloadSet) -> bytes:
    where = u32(2, PAYLOAD_BASES.index(x.base)) + u32(3, x.offset) + u32(4, x.length) + u32(5, x.register)
    return where + u32(6, x.checksum_type) + u32(7, x.checksum_offset) + _given(8, x.checksum_flags)


def _bitwise(x: e.Bitwise) -> bytes:
    head = u32(1, x.source) + u32(2, x.destination) + u32(3, x.length) + u32(6, BITWISE.index(x.operation))
    if x.operation == "bool":
        return head + value(4, x.mask) + value(5, x.xor)
    return head + (value(7, x.value) if x.value else b"") + _given(8, x.second)


def _lookup(x: e.Lookup) -> bytes:
    destination = b"" if x.destination is None else u32(3, x.destination)
    return text(1, x.set) + u32(2, x.register) + destination + (u32(5, 1) if x.invert else b"")


def _number(keys: tuple[str, ...], key: str) -> int:
    """A key's number; "key-99" is one that has no name."""
    if key in keys:
        return keys.index(key)
    if key.startswith("key-"):
        return int(key.removeprefix("key-"))
    raise CannotEncode(f"key {key}")


def _ct(x: e.Ct | e.CtSet) -> bytes:
    direction = b"" if x.direction is None else attribute(3, bytes([x.direction]))
    return u32(1 if isinstance(x, e.Ct) else 4, x.register) + u32(2, _number(CT_KEYS, x.key)) + direction


def _meta(x: e.Meta | e.MetaSet) -> bytes:
    return u32(2, _number(META_KEYS, x.key)) + u32(1 if isinstance(x, e.Meta) else 3, x.register)


def _socket(x: e.SocketLookup) -> bytes:
    return u32(1, _number(SOCKET_KEYS, x.key)) + u32(2, x.register) + (u32(3, x.level) if x.key == "cgroupv2" else b"")


def _hash(x: e.Hash) -> bytes:
    source = u32(1, x.source) + u32(3, x.length) if x.mode == "jhash" else b""
    seed = b"" if x.seed is None else u32(5, x.seed)
    return source + u32(2, x.register) + u32(4, x.modulus) + seed + _given(6, x.offset) + u32(7, x.mode == "symhash")


def _exthdr(x: e.Exthdr) -> bytes:
    """The kernel refuses a place for an option that is taken out, though it dumps one."""
    if not x.register and not x.source:
        return attribute(2, bytes([x.type])) + u32(6, x.operation)
    place = attribute(2, bytes([x.type])) + u32(3, x.offset) + u32(4, x.length) + _given(5, x.flags)
    return _given(1, x.register) + place + u32(6, x.operation) + _given(7, x.source)


def _queue(x: e.Queue) -> bytes:
    flags = attribute(3, struct.pack("!H", x.flags)) if x.flags else b""
    if x.register:
        return u32(4, x.register) + flags
    return attribute(1, struct.pack("!H", x.number)) + attribute(2, struct.pack("!H", x.total)) + flags


def _objref(x: e.Objref) -> bytes:
    return u32(3, x.register) + text(4, x.set) if x.set else u32(1, x.kind) + text(2, x.name)


def _xfrm(x: e.Xfrm) -> bytes:
    key = u32(1, x.register) + u32(2, _number(XFRM_KEYS, x.key))
    return key + attribute(3, bytes([x.direction])) + u32(4, x.number)


def _synproxy(x: e.Synproxy) -> bytes:
    return attribute(1, struct.pack("!H", x.mss)) + attribute(2, bytes([x.window_scale])) + u32(3, x.flags)


def _dynset(x: e.Dynset) -> bytes:
    head = text(1, x.set) + u32(3, DYNSET.index(x.operation)) + u32(4, x.key) + _given(5, x.value)
    timeout = u64(6, x.timeout_ms) if x.timeout_ms else b""
    inner = b""
    if len(x.expressions) == 1:
        inner = nest(7, encode(x.expressions[0]))
    elif x.expressions:
        inner = nest(10, encode_expressions(x.expressions))
    return head + timeout + inner + _given(9, x.invert | (len(x.expressions) > 1) << 1)


def _limit(x: e.Limit) -> bytes:
    kind = u32(4, x.kind == "bytes") + u32(5, x.over)
    return u64(1, x.rate) + u64(2, x.unit_s) + u32(3, x.burst) + kind


def _log(x: e.Log) -> bytes:
    parts = [text(2, x.prefix)] if x.prefix else []
    if x.group is not None:
        parts.append(attribute(1, struct.pack("!H", x.group)))
        parts += [u32(3, x.snap_length)] if x.snap_length is not None else []
        parts += [attribute(4, struct.pack("!H", x.queue_threshold))] if x.queue_threshold is not None else []
    else:
        parts += [u32(5, x.level)] if x.level is not None else []
        parts += [u32(6, x.flags)] if x.flags else []
    return b"".join(parts)


def _nat(x: e.Nat) -> bytes:
    registers = _given(3, x.address_min) + _given(4, x.address_max) + _given(5, x.port_min) + _given(6, x.port_max)
    return u32(1, x.kind == "dnat") + u32(2, 2 if x.family == "ip" else 10) + registers + _given(7, x.flags)


def _xt(x: e.XtMatch | e.XtTarget) -> bytes:
    return text(1, x.name) + u32(2, x.revision) + attribute(3, x.info)


def _fib(x: e.Fib) -> bytes:
    return u32(1, x.register) + u32(2, FIB_RESULTS.index(x.result)) + u32(3, sum(FIB_BITS[flag] for flag in x.flags))


# Any: each function takes the type that is its key.
ENCODERS: dict[type, tuple[str, Callable[[Any], bytes]]] = {
    e.Verdict: ("immediate", _verdict),
    e.Immediate: ("immediate", lambda x: u32(1, x.register) + value(2, x.value)),
    e.Meta: ("meta", _meta),
    e.MetaSet: ("meta", _meta),
    e.Payload: (
        "payload",
        lambda x: u32(1, x.register) + u32(2, PAYLOAD_BASES.index(x.base)) + u32(3, x.offset) + u32(4, x.length),
    ),
    e.PayloadSet: ("payload", _payload_set),
    e.Cmp: ("cmp", lambda x: u32(1, x.register) + u32(2, COMPARISONS.index(x.operator)) + value(3, x.value)),
    e.Range: (
        "range",
        lambda x: u32(1, x.register) + u32(2, COMPARISONS.index(x.operator)) + value(3, x.low) + value(4, x.high),
    ),
    e.Bitwise: ("bitwise", _bitwise),
    e.Byteorder: (
        "byteorder",
        lambda x: (
            u32(1, x.source) + u32(2, x.destination) + u32(3, x.operation == "hton") + u32(4, x.length) + u32(5, x.size)
        ),
    ),
    e.Lookup: ("lookup", _lookup),
    e.Ct: ("ct", _ct),
    e.CtSet: ("ct", _ct),
    e.Fib: ("fib", _fib),
    e.Limit: ("limit", _limit),
    e.Counter: ("counter", lambda x: u64(1, x.bytes) + u64(2, x.packets)),
    e.Log: ("log", _log),
    e.Reject: ("reject", lambda x: u32(1, x.kind) + (attribute(2, bytes([x.code])) if x.kind != 1 else b"")),
    e.Nat: ("nat", _nat),
    e.Masquerade: ("masq", lambda x: _given(1, x.flags) + _given(2, x.port_min) + _given(3, x.port_max)),
    e.Redirect: ("redir", lambda x: _given(1, x.port_min) + _given(2, x.port_max) + _given(3, x.flags)),
    e.Notrack: ("notrack", lambda x: b""),
    e.Rt: ("rt", lambda x: u32(1, x.register) + u32(2, _number(RT_KEYS, x.key))),
    e.SocketLookup: ("socket", _socket),
    e.Xfrm: ("xfrm", _xfrm),
    e.Osf: ("osf", lambda x: u32(1, x.register) + attribute(2, bytes([x.ttl])) + _given(3, x.flags)),
    e.Numgen: (
        "numgen",
        lambda x: u32(1, x.register) + u32(2, x.modulus) + u32(3, x.mode == "random") + _given(4, x.offset),
    ),
    e.Hash: ("hash", _hash),
    e.Exthdr: ("exthdr", _exthdr),
    e.Quota: ("quota", lambda x: u64(1, x.bytes) + u32(2, x.over) + u64(4, x.consumed)),
    e.Connlimit: ("connlimit", lambda x: u32(1, x.count) + u32(2, x.over)),
    e.Last: ("last", lambda x: b""),
    e.Queue: ("queue", _queue),
    e.Objref: ("objref", _objref),
    e.Tproxy: ("tproxy", lambda x: u32(1, x.family) + _given(2, x.address) + _given(3, x.port)),
    e.Dup: ("dup", lambda x: _given(1, x.address) + _given(2, x.device)),
    e.Forward: ("fwd", lambda x: u32(1, x.device) + _given(2, x.address) + _given(3, x.family)),
    e.Synproxy: ("synproxy", _synproxy),
    e.FlowOffload: ("flow_offload", lambda x: text(1, x.table)),
    e.Dynset: ("dynset", _dynset),
    e.XtMatch: ("match", _xt),
    e.XtTarget: ("target", _xt),
}


def encode_expressions(expressions: Iterable[e.AnyExpression]) -> bytes:
    """The payload of NFTA_RULE_EXPRESSIONS. Raises CannotEncode for an expression without an encoder."""
    return b"".join(nest(LIST_ELEMENT, encode(expression)) for expression in expressions)


def encode(expression: e.AnyExpression) -> bytes:
    """The inside of one NFTA_LIST_ELEM: its name and its data."""
    if isinstance(expression, e.Opaque):
        return text(NAME, expression.name) + nest(DATA, expression.raw)
    found = ENCODERS.get(type(expression))
    if found is None:
        raise CannotEncode(f"{expression.__struct_config__.tag} expressions are not encoded")
    name, encoder = found
    return text(NAME, name) + nest(DATA, encoder(expression))
