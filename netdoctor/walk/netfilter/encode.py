"""Typed expressions -> NFTA_RULE_EXPRESSIONS, as libnftnl writes them. The inverse of observe.nft_expressions."""

import struct
from collections.abc import Callable, Iterable
from typing import Any

from netdoctor.model import expression as e

NAME, DATA, LIST_ELEMENT = 1, 2, 1
NESTED = 0x8000
META_KEYS = {
    "len": 0, "protocol": 1, "priority": 2, "mark": 3, "iif": 4, "oif": 5, "iifname": 6, "oifname": 7, "iiftype": 8,
    "oiftype": 9, "skuid": 10, "skgid": 11, "nftrace": 12, "rtclassid": 13, "nfproto": 15, "l4proto": 16,
    "bri_iifname": 17, "bri_oifname": 18, "pkttype": 19, "cpu": 20, "iifgroup": 21, "oifgroup": 22, "cgroup": 23,
    "prandom": 24, "secpath": 25, "iifkind": 26, "oifkind": 27,
}  # fmt: skip
CT_KEYS = {
    "state": 0, "direction": 1, "status": 2, "mark": 3, "expiration": 5, "helper": 6, "l3protocol": 7, "src": 8,
    "dst": 9, "protocol": 10, "proto_src": 11, "proto_dst": 12, "labels": 13, "packets": 14, "bytes": 15, "avgpkt": 16,
    "zone": 17, "src_ip": 19, "dst_ip": 20, "src_ip6": 21, "dst_ip6": 22, "id": 23,
}  # fmt: skip
BASES = {"link": 0, "network": 1, "transport": 2, "inner": 3, "tunnel": 4}
OPERATORS = {"eq": 0, "neq": 1, "lt": 2, "lte": 3, "gt": 4, "gte": 5}
SHIFTS = {"bool": 0, "lshift": 1, "rshift": 2}
FIB_RESULTS = {"oif": 1, "oifname": 2, "type": 3}
FIB_FLAGS = {"saddr": 1, "daddr": 2, "mark": 4, "iif": 8, "oif": 16, "present": 32}
VERDICTS = {
    "drop": 0, "accept": 1, "stolen": 2, "queue": 3, "continue": -1, "break": -2, "jump": -3, "goto": -4, "return": -5,
}  # fmt: skip


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
    return u32(1, 0) + nest(2, nest(2, u32(1, VERDICTS[x.code]), chain))


def _payload_set(x: e.PayloadSet) -> bytes:
    where = u32(2, BASES[x.base]) + u32(3, x.offset) + u32(4, x.length) + u32(5, x.register)
    return where + u32(6, x.checksum_type) + u32(7, x.checksum_offset) + _given(8, x.checksum_flags)


def _bitwise(x: e.Bitwise) -> bytes:
    head = u32(1, x.source) + u32(2, x.destination) + u32(3, x.length) + u32(6, SHIFTS[x.operation])
    return head + (value(4, x.mask) + value(5, x.xor) if x.operation == "bool" else value(7, x.value))


def _lookup(x: e.Lookup) -> bytes:
    destination = b"" if x.destination is None else u32(3, x.destination)
    return text(1, x.set) + u32(2, x.register) + destination + (u32(5, 1) if x.invert else b"")


def _ct(x: e.Ct | e.CtSet) -> bytes:
    if x.key not in CT_KEYS:
        raise CannotEncode(f"ct {x.key}")
    direction = b"" if x.direction is None else attribute(3, bytes([x.direction]))
    return u32(1 if isinstance(x, e.Ct) else 4, x.register) + u32(2, CT_KEYS[x.key]) + direction


def _meta(x: e.Meta | e.MetaSet) -> bytes:
    if x.key not in META_KEYS:
        raise CannotEncode(f"meta {x.key}")
    return u32(2, META_KEYS[x.key]) + u32(1 if isinstance(x, e.Meta) else 3, x.register)


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
    return u32(1, x.register) + u32(2, FIB_RESULTS[x.result]) + u32(3, sum(FIB_FLAGS[flag] for flag in x.flags))


# Any: each function takes the type that is its key.
ENCODERS: dict[type, tuple[str, Callable[[Any], bytes]]] = {
    e.Verdict: ("immediate", _verdict),
    e.Immediate: ("immediate", lambda x: u32(1, x.register) + value(2, x.value)),
    e.Meta: ("meta", _meta),
    e.MetaSet: ("meta", _meta),
    e.Payload: ("payload", lambda x: u32(1, x.register) + u32(2, BASES[x.base]) + u32(3, x.offset) + u32(4, x.length)),
    e.PayloadSet: ("payload", _payload_set),
    e.Cmp: ("cmp", lambda x: u32(1, x.register) + u32(2, OPERATORS[x.operator]) + value(3, x.value)),
    e.Range: (
        "range",
        lambda x: u32(1, x.register) + u32(2, OPERATORS[x.operator]) + value(3, x.low) + value(4, x.high),
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
