"""What the registers of a rule hold, as trees: loads, values, and what is made of them (nftables: netlink_delinearize.c)."""

from typing import Literal

import msgspec

from netdoctor.model import expression as e
from netdoctor.model.firewall import Table

from .nft_fields import CT_WORDS, EXTENSIONS, META_KINDS, RT_FIELDS, SOCKET_FIELDS, XFRM_FIELDS, ct_field, meta_word
from .nft_protocols import BASES, LINK, NETWORK, TRANSPORT
from .nft_types import TYPE_NUMBERS, order_of
from .registers import place

Sort = Literal[
    "value", "payload", "meta", "ct", "load", "exthdr", "hash", "binop", "unary", "concat", "map", "nothing"
]  # fmt: skip


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """One expression tree. `bits`: its length; `order`: of its bytes in a register.

    number: a value's bytes read as big-endian; of a map, by how many bits its keys are shifted. base, offset: of a payload, in bits. protocol: what a payload is known
    to belong to. key: it says which protocol comes next (EXPR_F_PROTOCOL), for the layer above `base`.
    """

    sort: Sort
    words: str = ""
    kind: str = "integer"
    order: str = "big"
    bits: int = 32
    number: int = 0
    base: int = 0
    offset: int = 0
    protocol: str = ""
    key: bool = False
    operator: str = ""
    left: "Node | None" = None
    right: "Node | None" = None
    parts: tuple["Node", ...] = ()
    set: str = ""


NOTHING = Node(sort="nothing", words="[unknown register]", kind="hex")
FULL = 4
META_BASES = {"iiftype": 0, "oiftype": 0, "nfproto": LINK, "protocol": LINK, "l4proto": NETWORK}
CT_BASES = {"l3protocol": NETWORK, "protocol": TRANSPORT}


def value_node(raw: bytes) -> Node:
    return Node(sort="value", number=int.from_bytes(raw, "big"), bits=len(raw) * 8)


class Trees:
    """The registers of one rule while its expressions are gone through."""

    def __init__(self, table: Table) -> None:
        self.table = table
        self.held: dict[int, Node] = {}

    def put(self, register: int, node: Node) -> None:
        self.held[place(register)] = node

    def take(self, register: int, length: int = 0) -> Node:
        """The tree in a register; several in a row are a concatenation where `length` bytes are wanted."""
        first = self.held.get(place(register), NOTHING)
        parts, at = [first], place(register) + _rounded(first.bits)
        while length and at < place(register) + length and at in self.held:
            parts.append(self.held[at])
            at += _rounded(parts[-1].bits)
        return first if len(parts) == 1 else Node(sort="concat", parts=tuple(parts), bits=length * 8)

    def load(self, expression: e.AnyExpression) -> bool:
        """True when the expression only changed registers."""
        node = self._loaded(expression)
        if node is None:
            return False
        register = getattr(expression, "destination", None)
        self.put(register if register is not None else expression.register, node)  # type: ignore[union-attr]
        return True

    def _loaded(self, expression: e.AnyExpression) -> Node | None:
        match expression:
            case e.Immediate(value=value):
                return value_node(value)
            case e.Payload(base=base, offset=offset, length=length):
                number = BASES.get(base, 0)
                return Node(sort="payload", kind="hex", base=number, offset=offset * 8, bits=length * 8)
            case e.Meta(key=key):
                kind, bits = META_KINDS.get(key, ("number_host", 32))
                below, known = META_BASES.get(key, 0), key in META_BASES
                return Node(
                    sort="meta", words=meta_word(key), kind=kind, order=order_of(kind), bits=bits, base=below, key=known
                )
            case e.Ct(key=key, direction=direction):
                words, kind, bits = ct_field(key, direction)
                if key in ("src", "dst"):
                    words = words.replace(CT_WORDS[key], f"{self.table.family} {CT_WORDS[key]}")
                below, known = CT_BASES.get(key, 0), key in CT_BASES
                return Node(sort="ct", words=words, kind=kind, order=order_of(kind), bits=bits, base=below, key=known)
            case e.Bitwise():
                return self._bitwise(expression)
            case e.Byteorder(source=source):
                held = self.take(source)
                flipped = "big" if held.order == "host" else "host"
                return Node(sort="unary", left=held, kind=held.kind, bits=held.bits, order=flipped)
            case e.Lookup(destination=int(destination)) if destination:
                return self.mapped(expression.set, expression.register)
        return self._rarely(expression)

    def mapped(self, name: str, register: int) -> Node:
        """A map of what a register holds."""
        found = self.table.set(name)
        value = TYPE_NUMBERS.get(found.value_type, "hex") if found else "hex"
        left = self.take(register, found.key_length if found else 0)
        bits = found.value_length * 8 if found else 32
        return Node(sort="map", left=left, set=name, kind=value, order=order_of(value), bits=bits)

    def _rarely(self, expression: e.AnyExpression) -> Node | None:
        match expression:
            case e.Fib(result=result, flags=flags):
                selector = " . ".join(flag for flag in flags if flag != "present")
                kind = {"type": "fib_type", "oifname": "ifname"}.get(result, "ifindex")
                kind, bits = ("boolean", 8) if "present" in flags else (kind, 128 if kind == "ifname" else 32)
                return Node(sort="load", words=f"fib {selector} {result}", kind=kind, order="host", bits=bits)
            case e.Rt(key=key):
                words, kind, bits = RT_FIELDS.get(key, (f"rt {key}", "hex", 32))
                return Node(sort="load", words=words, kind=kind, order=order_of(kind), bits=bits)
            case e.SocketLookup(key=key, level=level):
                kind, bits = SOCKET_FIELDS.get(key, ("hex", 32))
                words = f"socket {key}" + (f" level {level}" if key == "cgroupv2" else "")
                return Node(sort="load", words=words, kind=kind, order=order_of(kind), bits=bits)
            case e.Xfrm(key=key, direction=direction, number=number):
                words, kind, bits = XFRM_FIELDS.get(key, (key, "hex", 32))
                nth = f"spnum {number} " if number else ""
                words = f"ipsec {'out' if direction else 'in'} {nth}{words}"
                return Node(sort="load", words=words, kind=kind, order=order_of(kind), bits=bits)
            case e.Osf(ttl=ttl, flags=flags):
                mode = {1: "ttl loose ", 2: "ttl skip "}.get(ttl, "")
                words = f"osf {mode}{'version' if flags & 1 else 'name'}"
                return Node(sort="load", words=words, kind="string", order="host", bits=128)
            case e.Numgen(mode=mode, modulus=modulus, offset=offset):
                words = f"numgen {mode} mod {modulus}{_offset(offset)}"
                return Node(sort="hash", words=words, kind="number_host", order="host")
            case e.Hash():
                return self._hash(expression)
            case e.Exthdr() if expression.register:
                return _exthdr(expression)
        return None

    def _hash(self, expression: e.Hash) -> Node:
        seed = f" seed 0x{expression.seed:x}" if expression.seed is not None else ""
        words = f"mod {expression.modulus}{seed}{_offset(expression.offset)}"
        source = self.take(expression.source, expression.length) if expression.mode == "jhash" else None
        return Node(
            sort="hash", words=words, left=source, operator=expression.mode, kind="number_host", order="host",
        )  # fmt: skip

    def _bitwise(self, expression: e.Bitwise) -> Node:
        """A mask and an xor are shown as the and, xor and or they come to."""
        node = self.take(expression.source, expression.length)
        bits = expression.length * 8
        if expression.operation in ("lshift", "rshift"):
            sign = "<<" if expression.operation == "lshift" else ">>"
            count = Node(sort="value", number=int.from_bytes(expression.value, "little"), bits=32)
            return _joined(sign, node, count)
        if expression.operation != "bool":
            sign = {"and": "&", "or": "|"}.get(expression.operation, "^")
            return _joined(sign, node, self.take(expression.second, expression.length))
        mask, xor = int.from_bytes(expression.mask, "big"), int.from_bytes(expression.xor, "big")
        full = (1 << bits) - 1
        ors = ~mask & xor & full
        mask, xor = mask | ors, xor ^ ors
        for sign, number in (("&", mask if mask != full else None), ("^", xor or None), ("|", ors or None)):
            if number is not None:
                node = _joined(sign, node, Node(sort="value", number=number, bits=bits))
        return node


def _rounded(bits: int) -> int:
    return max(-(-bits // 32), 1) * FULL


def _offset(offset: int) -> str:
    return f" offset {offset}" if offset else ""


def _joined(sign: str, left: Node, right: Node) -> Node:
    return Node(sort="binop", operator=sign, left=left, right=right, kind=left.kind, order=left.order, bits=left.bits)


def _exthdr(expression: e.Exthdr) -> Node:
    """A field of an extension header, TCP or IP option or SCTP chunk, or whether there is one."""
    prefix, known = EXTENSIONS.get(expression.operation, ("dccp option ", {}))
    name, fields = known.get(expression.type, (str(expression.type), ()))
    offset, bits = expression.offset * 8, expression.length * 8
    if expression.flags & 1:
        return Node(
            sort="exthdr", words=f"{prefix or 'exthdr '}{name}", kind="boolean", bits=8, base=expression.operation
        )
    sid = offset >= 64 and (offset - 64) % 128 == 0 and bits == 128
    if expression.operation == 0 and expression.type == 43 and sid:
        words = f"srh sid[{(offset + 64) // 128}]"
        return Node(sort="exthdr", words=words, kind="address", bits=bits, base=expression.operation)
    field = next((each for each in fields if (each.offset, each.bits) == (offset, bits)), None)
    words = field_words(expression.operation, expression.type, field.name) if field else ""
    raw = f"{prefix or 'exthdr '}@{expression.type},{offset},{bits}"
    kind = field.kind if field else "integer"
    return Node(
        sort="exthdr", words=words or raw, kind=kind, bits=bits, base=expression.operation, offset=offset,
        number=expression.type, protocol="known" if field else "",
    )  # fmt: skip


def field_words(operation: int, number: int, field: str) -> str:
    """ "tcp option sack1 left", "frag id"."""
    prefix, known = EXTENSIONS[operation]
    name = known[number][0]
    return (
        f"{prefix}{field}" if field.startswith(name) and operation == 1 and " " in field else f"{prefix}{name} {field}"
    )
