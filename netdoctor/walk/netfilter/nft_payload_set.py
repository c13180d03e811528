"""Statements that write header fields, as nft prints them (stmt_payload_postprocess in src/netlink_delinearize.c)."""

from msgspec.structs import replace

from netdoctor.model import expression as e

from .nft_compare import Comparing
from .nft_protocols import BASES
from .nft_tree import Node, Trees


def written(comparing: Comparing, trees: Trees, expression: e.PayloadSet) -> str:
    """ "ip dscp set cs1": of a field that is not whole bytes the bits around it are loaded and put back."""
    target = Node(
        sort="payload", kind="hex", base=BASES.get(expression.base, 0), offset=expression.offset * 8,
        bits=expression.length * 8,
    )  # fmt: skip
    value = trees.take(expression.register)
    named = comparing.complete(target)
    if not named.protocol:
        cut = _cut(comparing, target, value)
        if cut is not None:
            named, value = cut
    if value.sort == "value":
        value = replace(value, kind=named.kind, order="big")
    elif value.sort == "map":
        value = comparing.complete(replace(value, kind=named.kind))
    else:
        value = comparing.complete(value)
    return f"{named.words} set {comparing.printer.words(value)}"


def _cut(comparing: Comparing, target: Node, value: Node) -> tuple[Node, Node] | None:
    """The field that (load & mask) | number writes, and the number."""
    if value.sort != "binop" or value.left is None or value.right is None or value.right.sort != "value":
        return None
    full = (1 << target.bits) - 1
    number = value.right.number
    if value.left.sort == "binop" and value.operator == "|" and value.left.right is not None:
        load, bits = value.left.left, full ^ value.left.right.number ^ number
    elif value.operator == "&":
        load, bits, number = value.left, full ^ number, 0
    elif value.operator == "|":
        load, bits = value.left, number
    else:
        return None
    if load is None or (load.sort, load.base, load.offset, load.bits) != (
        "payload",
        target.base,
        target.offset,
        target.bits,
    ):
        return None
    found = comparing.context.trim(target, bits, target.bits)
    if found is None:
        return None
    named = comparing.context.complete(found[0])
    if not named.protocol:
        return None
    comparing.context.imply(named)
    return named, Node(sort="value", number=number >> found[1], bits=named.bits)
