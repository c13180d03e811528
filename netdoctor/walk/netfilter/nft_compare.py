"""Tests as nft prints them (nftables: expr_postprocess and what it calls in src/netlink_delinearize.c)."""

from typing import NamedTuple

from msgspec.structs import replace

from netdoctor.model.firewall import Set
from netdoctor.model.unknown import Unknown

from .nft_context import Context, Slot
from .nft_fields import EXTENSIONS
from .nft_protocols import NETWORK, PROTOCOLS, TRANSPORT
from .nft_tree import Node, field_words
from .nft_types import PREFIXED, TYPE_NUMBERS, bit_names, is_flags, number_in
from .nft_values import Key, Printer, keys_of

SIGNS = {"eq": " ", "neq": " != ", "lt": " < ", "lte": " <= ", "gt": " > ", "gte": " >= "}
RANGES = {("gte", "lte"): "eq", ("lt", "gt"): "neq"}


class Right(NamedTuple):
    """What is compared with: one number or two, read as big-endian."""

    low: int
    high: int | None
    bits: int


class Comparing:
    """The tests of a rule, printed one after the other."""

    def __init__(self, context: Context, printer: Printer) -> None:
        self.context = context
        self.printer = printer
        self.slots: list[Slot] = []

    def add(self, words: str) -> None:
        self.slots.append(Slot(words))

    # The left side.

    def complete(self, node: Node) -> Node:
        """The tree with its header fields named, and the tests they imply dropped."""
        match node.sort:
            case "payload":
                found = self.context.complete(node)
                self.context.imply(found)
                return found
            case "exthdr" if node.base in (0, 1, 2):
                self.context.release(TRANSPORT if node.base == 1 else NETWORK)
            case "concat":
                return replace(node, parts=tuple(self._part(part) for part in node.parts))
            case "map" if node.left and node.left.sort == "binop":
                left, shift = self.looked_up(node.left, node.set)
                return replace(node, left=left, number=shift)
            case "unary" | "hash" | "map" if node.left:
                left = self.complete(node.left)
                return replace(node, left=left, kind=left.kind if node.sort == "unary" else node.kind)
            case "binop" if node.left and node.right:
                left = self.complete(node.left)
                return self._typed(node, left, node.right)
        return node

    def _part(self, node: Node) -> Node:
        """In a concatenation a mask that only cuts out a field goes at once."""
        if node.sort == "binop" and node.left and node.right:
            left = self._part(node.left)
            if node.operator == "&" and left.sort == "payload" and node.right.sort == "value":
                trimmed = self.context.trim(node.left, node.right.number, node.right.bits)
                if trimmed is not None:
                    return self.complete(trimmed[0])
            return self._typed(node, left, node.right)
        return self.complete(node)

    @staticmethod
    def _typed(node: Node, left: Node, right: Node) -> Node:
        """Constants have the type of what they are joined with; a shift is a plain number."""
        if node.operator in ("<<", ">>"):
            right = replace(right, kind="integer", order="big")
        elif right.sort == "value":
            right = replace(right, kind=left.kind, order=left.order)
        return replace(node, left=left, right=right, kind=left.kind, order=left.order)

    # Comparisons.

    def value(self, node: Node, operator: str, number: int, bits: int) -> None:
        if node.sort == "payload" and operator in ("eq", "neq"):
            self._expand(node, operator, number, bits)
        else:
            self._relation(node, operator, Right(number, None, bits))

    def range(self, node: Node, operator: str, ends: tuple[int, int]) -> None:
        self._relation(node, operator, Right(*ends, node.bits))

    def set(self, node: Node, name: str, invert: bool) -> None:
        node, shift = self.looked_up(node, name)
        sign = " != " if invert else " == " if node.sort == "binop" else " "
        words = f"{self.printer.words(node)}{sign}{self.printer.set_text(name, keys_of(node, shift))}"
        slot = Slot(words, node, "set")
        self.slots.append(slot)
        self.context.previous = slot

    def looked_up(self, node: Node, name: str) -> tuple[Node, int]:
        """The left side of a set lookup, and by how many bits the set's keys are shifted."""
        if node.sort == "binop" and node.operator == ">>" and node.left and node.right and node.left.sort == "binop":
            inner, shift = self._trimmed(node.left)
            if inner is not None:
                count = node.right.number >> shift
                return (inner, 0) if not count else (self._typed(node, inner, replace(node.right, number=count)), 0)
        if node.sort == "binop" and node.operator == "&":
            inner, shift = self._trimmed(node)
            if inner is not None:
                return inner, shift
        if node.sort == "payload":
            self._see_first(node, name)
        return self.complete(node), 0

    def _trimmed(self, node: Node) -> tuple[Node | None, int]:
        """A masked load as the field that the mask cuts out of it."""
        left, mask = node.left, node.right
        if left is None or mask is None or mask.sort != "value":
            return None, 0
        if left.sort == "payload":
            found = self.context.trim(left, mask.number, mask.bits)
            return (self.complete(found[0]), found[1]) if found else (None, 0)
        if left.sort == "exthdr":
            return _trimmed_extension(left, mask)
        return None, 0

    def _see_first(self, node: Node, name: str) -> None:
        found = self.printer.table.set(name)
        if found is None or "anonymous" not in found.flags or isinstance(found.elements, Unknown) or not found.elements:
            return
        self.context.see_icmp(node, min(int.from_bytes(each.key, "big") for each in found.elements))

    def _expand(self, node: Node, operator: str, number: int, bits: int) -> None:
        """A load of neighbouring fields, compared in one go: each is printed on its own (payload_match_expand)."""
        context, base, left_bits = self.context, node.base, bits
        for part in context.expand(replace(node, bits=bits)):
            left_bits -= part.bits
            value, number = number >> left_bits, number & (1 << left_bits) - 1
            words, sign = self._field_value(part, value), SIGNS[operator]
            if is_flags(part.kind) and operator == "eq":
                sign = " == "
            slot = Slot(f"{part.words}{sign}{words}", part, operator, value, part.bits)
            if operator == "eq":
                stacked = _is_stacked(context, part, value)
                context.learn(part, value)
                base -= stacked
            context.imply(part)
            if operator == "eq" and part.key:
                context.remember(slot, base)
            self.slots.append(slot)
        context.previous = None

    def _field_value(self, part: Node, value: int) -> str:
        """A value, or a prefix where only the first bits of the field are loaded."""
        name = part.words.split(" ", 1)[-1]
        whole = next((f.bits for f in PROTOCOLS[part.protocol].fields if f.name == name), 0) if part.protocol else 0
        if part.bits < whole:
            words = self.printer.number(value << whole - part.bits, part.kind, part.order, whole)
            return f"{words}/{part.bits}"
        return self.printer.number(value, part.kind, part.order, part.bits)

    def _relation(self, node: Node, operator: str, right: Right) -> None:
        """Any other comparison; two bounds of the same kind of thing in a row print as a range."""
        node = self.complete(node)
        if node.sort == "binop" and not (operator in ("eq", "neq") and is_flags(node.kind)):
            inner, shift = self._trimmed(node) if node.operator == "&" and not _is_prefix(node) else (None, 0)
            if inner is not None:
                high = None if right.high is None else right.high >> shift
                node, right = inner, Right(right.low >> shift, high, inner.bits)
            if inner is not None and inner.sort == "payload" and right.high is None and operator in ("eq", "neq"):
                self._expand(inner, operator, right.low, inner.bits)
                return
        words = self._binop(node, operator, right) if node.sort == "binop" else self._tested(node, operator, right)
        slot = Slot(words, node, operator, right.low, right.bits)
        if node.sort in ("meta", "ct") and operator == "eq" and right.high is None:
            self._imply_by_meta(node, slot, number_in(right.low, right.bits, node.order))
        previous = self.context.previous
        joined = RANGES.get((previous.operator, operator)) if previous is not None else None
        if previous is not None and previous.left is not None and joined and _sort(previous.left) == _sort(node):
            previous.words = None
            ends = Right(previous.number, right.low, right.bits)
            slot = Slot(self._tested(node, joined, ends), node, joined, right.low, right.bits)
        self.slots.append(slot)
        self.context.previous = slot

    def _imply_by_meta(self, node: Node, slot: Slot, number: int) -> None:
        context = self.context
        slot.number = number
        context.learn(node, number)
        if node.base < TRANSPORT:
            if context.test_at(node.base) is not None and node.base and context.may_imply_meta(node, number):
                context.release(node.base)
            if node.key:
                context.remember(slot, node.base)

    def _tested(self, node: Node, operator: str, right: Right) -> str:
        sign, words = SIGNS[operator], self.printer.words(node)
        key = Key(node.kind, node.order, right.bits)
        if right.high is not None:
            return f"{words}{sign}{self.printer.span(right.low, right.high, key, prefixes=False)}"
        if right.bits < node.bits and node.kind not in ("ifname", "string"):
            whole = self.printer.number(right.low << node.bits - right.bits, node.kind, node.order, node.bits)
            return f"{words}{sign}{whole}/{right.bits}"
        if node.kind == "address" and not node.bits:
            key = key._replace(bits=128 if " ip6 " in words else 32)
        value = self.printer.value(right.low, *key[:3])
        flags = is_flags(node.kind) and " | " not in value
        if operator == "eq" and (flags or node.sort == "binop"):
            sign = " == "
        return f"{words}{sign}{value}"

    def _binop(self, node: Node, operator: str, right: Right) -> str:
        """A test under a mask: flags any of which may be set, a prefix, or bits spelt out."""
        left, mask = node.left, node.right
        if left is None or mask is None or mask.sort != "value" or right.high is not None or node.operator != "&":
            return self._tested(node, operator, right)
        if operator in ("eq", "neq") and is_flags(node.kind):
            return self._flags(node, left, mask, operator, right)
        length = _prefix(mask.number, mask.bits)
        if left.kind in PREFIXED and length is not None:
            value = self.printer.number(right.low, left.kind, left.order, right.bits)
            return f"{self.printer.words(left)}{SIGNS[operator]}{value}/{length}"
        return self._tested(node, operator, right)

    def _flags(self, node: Node, left: Node, mask: Node, operator: str, right: Right) -> str:
        wanted = bit_names(number_in(mask.number, mask.bits, left.order), node.kind)
        words = self.printer.words(left)
        if not right.low:
            return f"{words} {'! ' if operator == 'eq' else ''}{','.join(wanted)}"
        if len(wanted) == 1 and right.low == mask.number:
            return self._tested(node, operator, right)
        given = bit_names(number_in(right.low, right.bits, left.order), node.kind)
        return f"{words}{SIGNS[operator]}{','.join(given)} / {','.join(wanted)}"

    @staticmethod
    def value_kinds(found: Set | None) -> str:
        return TYPE_NUMBERS.get(found.value_type, "hex") if found else "hex"


def _sort(node: Node) -> str:
    return (node.left or node).sort if node.sort == "unary" else node.sort


def _is_prefix(node: Node) -> bool:
    left, mask = node.left, node.right
    return (
        left is not None and mask is not None and left.kind in PREFIXED and _prefix(mask.number, mask.bits) is not None
    )


def _prefix(mask: int, bits: int) -> int | None:
    """How many leading bits a mask has; None when it is not one of leading bits."""
    ones = mask.bit_count()
    return ones if mask == ((1 << ones) - 1) << (bits - ones) else None


def _is_stacked(context: Context, part: Node, value: int) -> int:
    """1 where a protocol of the same layer follows: a VLAN tag after the Ethernet header."""
    if not part.key or not part.protocol:
        return 0
    upper = PROTOCOLS[part.protocol].uppers.get(value)
    return int(upper is not None and PROTOCOLS[upper].base == PROTOCOLS[part.protocol].base)


def _trimmed_extension(left: Node, mask: Node) -> tuple[Node | None, int]:
    if not mask.number:
        return None, 0
    low = (mask.number & -mask.number).bit_length() - 1
    size = mask.number.bit_count()
    offset = left.offset + mask.bits - low - size
    if left.base not in EXTENSIONS:
        return None, 0
    for field in EXTENSIONS[left.base][1].get(left.number, ("", ()))[1]:
        if (field.offset, field.bits) == (offset, size):
            words = field_words(left.base, left.number, field.name)
            return replace(left, words=words, kind=field.kind, bits=size, offset=offset), low
    return None, 0
