"""Trees and the elements of sets in nft's words (nftables: src/expression.c, src/segtree.c, src/mergesort.c)."""

from collections.abc import Callable
from typing import NamedTuple

from netdoctor.model.firewall import Set, SetElement, Table
from netdoctor.model.unknown import Unknown

from .nft_tree import Node
from .nft_types import PREFIXED, TYPE_NUMBERS, bit_names, is_flags, number_in, order_of, plain, shown

PRECEDENCE = {"<<": 1, ">>": 1, "&": 2, "^": 3, "|": 4}


class Key(NamedTuple):
    """How one part of a set's key is printed; `shift`: by how many bits the kernel's key is shifted."""

    kind: str
    order: str
    bits: int
    shift: int = 0


class Printer:
    """Words for trees; `devices` tells the names of interface indexes, `table` the sets."""

    def __init__(self, table: Table, devices: Callable[[int], str | None]) -> None:
        self.table = table
        self.devices = devices

    def number(self, raw: int, kind: str, order: str, bits: int, *, plainly: bool = False) -> str:
        """One value that stands in a register as `raw`, its bytes read as big-endian."""
        number = number_in(raw, bits, order)
        if kind == "ifindex":
            name = self.devices(number)
            return f'"{name}"' if name else str(number)
        if plainly:
            return plain(number, kind, bits)
        return shown(number_in(raw, bits, "host") if kind in ("ifname", "string") else number, kind, bits)

    def value(self, raw: int, kind: str, order: str, bits: int) -> str:
        """The same, taken apart into flags."""
        if is_flags(kind) and (names := bit_names(number_in(raw, bits, order), kind)):
            return " | ".join(names)
        return self.number(raw, kind, order, bits)

    def words(self, node: Node) -> str:
        match node.sort:
            case "value":
                return self.value(node.number, node.kind, node.order, node.bits)
            case "unary" if node.left:
                return self.words(node.left)
            case "concat":
                return " . ".join(self.words(part) for part in node.parts)
            case "hash" if node.operator:
                source = f" {self.words(node.left)}" if node.left else ""
                return f"{node.operator}{source} {node.words}"
            case "binop" if node.left and node.right:
                return self._binop(node, node.left, node.right)
            case "map" if node.left:
                return (
                    f"{self.words(node.left)} map {self.set_text(node.set, keys_of(node.left, node.number), node.kind)}"
                )
        return node.words

    def _binop(self, node: Node, left: Node, right: Node) -> str:
        return f"{self._side(node.operator, left)} {node.operator} {self._side(node.operator, right)}"

    def _side(self, operator: str, side: Node) -> str:
        inner = side.operator if side.sort == "binop" else ""
        words = self.words(side)
        if side.sort == "value" and is_flags(side.kind) and " | " in words:
            inner = "|"
        return f"({words})" if inner and PRECEDENCE[operator] < PRECEDENCE[inner] else words

    def span(self, low: int, high: int, key: Key, *, prefixes: bool) -> str:
        """A range; of a set's elements as a prefix where it is one."""
        if low == high:
            return self.value(low, key.kind, key.order, key.bits)
        ends = (self.number(low, *key[:3], plainly=True), self.number(high, *key[:3], plainly=True))
        size = (high - low + 1).bit_length() - 1
        if prefixes and high - low + 1 == 1 << size and not low & high - low:
            if key.kind in PREFIXED:
                return f"{ends[0]}/{key.bits - size}"
            if key.kind == "ifname" and size % 8 == 0:
                name = low.to_bytes(key.bits // 8, "big")[: (key.bits - size) // 8].decode("utf-8", "backslashreplace")
                return f'"{name}*"'
        return f"{ends[0]}-{ends[1]}"

    def set_text(self, name: str, keys: tuple[Key, ...], data: str = "") -> str:
        """ "@name", or an anonymous set's elements in braces."""
        found = self.table.set(name)
        if found is None or "anonymous" not in found.flags:
            return f"@{name}"
        if isinstance(found.elements, Unknown):
            return f"{{ [elements of {name}: {found.elements.why}] }}"
        interval = "interval" in found.flags and not found.fields
        triples = _intervals(found.elements, found.key_length) if interval else _plain(found.elements)
        triples.sort(key=lambda triple: _place(triple, keys, interval=interval))
        words = [self.key(found, low, high, keys) + self.data(element, found, data) for low, high, element in triples]
        return "{ " + ", ".join(words) + " }"

    def key(self, found: Set, low: int | None, high: int, keys: tuple[Key, ...]) -> str:
        if low is None:
            return "*"
        if len(keys) < 2 and not found.fields:
            key = keys[0] if keys else Key("hex", "big", found.key_length * 8)
            size = found.key_length * 8
            bits = key.bits if key.shift else size
            low, high = low >> key.shift, high >> key.shift
            return self.span(low, high, key._replace(bits=max(bits, 1) if key.shift else size), prefixes=True)
        parts: list[str] = []
        total, at = found.key_length, 0
        for key, size in zip(keys, found.fields or tuple(-(-key.bits // 8) for key in keys), strict=False):
            at += -(-size // 4) * 4
            shift, mask = max(total - at + -(-size // 4) * 4 - size, 0) * 8, (1 << size * 8) - 1
            first, last = low >> shift & mask, high >> shift & mask
            parts.append(self.span(first, last, key._replace(bits=size * 8), prefixes=True))
        return " . ".join(parts)

    def data(self, element: SetElement, found: Set, kind: str) -> str:
        if element.verdict:
            return f" : {element.verdict} {element.chain}".rstrip()
        if element.object:
            return f' : "{element.object}"'
        if not element.value or not kind:
            return ""
        kinds = concat_kinds(found.value_type) if kind == "hex" else (kind,)
        raw, size = int.from_bytes(element.value, "big"), len(element.value) * 8
        if len(kinds) > 1:
            return " : " + " . ".join(self._data_parts(element.value, kinds))
        half = size // 2
        if kinds[0] == "address" and (TYPE_BITS.get(found.value_type) == half):
            key = Key("address", "big", half)
            return f" : {self.span(raw >> half, raw & (1 << half) - 1, key, prefixes=True)}"
        return f" : {self.value(raw, kinds[0], order_of(kinds[0]), size)}"

    def _data_parts(self, raw: bytes, kinds: tuple[str, ...]) -> list[str]:
        parts, at = [], 0
        for kind in kinds:
            size = KIND_BYTES.get(kind, 4) if not (kind == "address" and len(raw) >= 16 + 4 * (len(kinds) - 1)) else 16
            part = raw[at : at + size]
            parts.append(self.value(int.from_bytes(part, "big"), kind, order_of(kind), size * 8))
            at += -(-size // 4) * 4
        return parts


KIND_BYTES = {
    "port": 2, "l4proto": 1, "mac": 6, "ifname": 16, "icmp_type": 1, "icmpv6_type": 1, "nfproto": 1, "ether_type": 2,
}  # fmt: skip
TYPE_BITS = {7: 32, 8: 128}


def concat_kinds(number: int) -> tuple[str, ...]:
    """The types of a concatenation, six bits each in its number."""
    kinds: list[str] = []
    while number:
        kinds.insert(0, TYPE_NUMBERS.get(number & 0x3F, "hex"))
        number >>= 6
    return tuple(kinds) or ("hex",)


def keys_of(node: Node, shift: int = 0) -> tuple[Key, ...]:
    """How the keys of a set are printed that this is looked up in."""
    if node.sort == "concat":
        return tuple(Key(part.kind, part.order, part.bits) for part in node.parts)
    return (Key(node.kind, node.order, node.bits, shift),)


def _plain(elements: tuple[SetElement, ...]) -> list[tuple[int | None, int, SetElement]]:
    return [
        (
            None if each.catchall else int.from_bytes(each.key, "big"),
            int.from_bytes(each.key_end or each.key, "big"), each,
        )
        for each in reversed(elements)
    ]  # fmt: skip


def _intervals(elements: tuple[SetElement, ...], size: int) -> list[tuple[int | None, int, SetElement]]:
    """Starts paired with the interval_end that follows; without one the interval is open to the top."""
    ordered = sorted(
        (each for each in elements if not each.catchall), key=lambda each: (each.key, not each.interval_end)
    )
    found: list[tuple[int | None, int, SetElement]] = []
    for index, each in enumerate(ordered):
        if each.interval_end:
            continue
        following = ordered[index + 1] if index + 1 < len(ordered) else None
        top = (1 << size * 8) - 1 if following is None else int.from_bytes(following.key, "big") - 1
        found.append(
            (int.from_bytes(each.key, "big"), int.from_bytes(each.key_end, "big") if each.key_end else top, each)
        )
    return found + [(None, 0, each) for each in elements if each.catchall]


def _place(triple: tuple[int | None, int, SetElement], keys: tuple[Key, ...], *, interval: bool) -> tuple[bool, int]:
    """Where nft sorts an element: by its number, flags by the lowest, concatenations and names as if little-endian."""
    low, _, element = triple
    if low is None:
        return True, 0
    if interval and keys and keys[0].kind != "ifname":
        return False, low
    if len(keys) > 1:
        return False, int.from_bytes(_packed(element.key, keys), "little")
    kind, order = (keys[0].kind, keys[0].order) if keys else ("hex", "big")
    number = number_in(low, len(element.key) * 8, "host" if kind in ("ifname", "string") else order)
    return False, number & -number if is_flags(kind) else number


def _packed(raw: bytes, keys: tuple[Key, ...]) -> bytes:
    """The parts of a concatenation without the padding between them."""
    found, at = b"", 0
    for key in keys:
        size = -(-key.bits // 8)
        found += raw[at : at + size]
        at += -(-size // 4) * 4
    return found
