"""A native rule as nft list ruleset prints it: trees are grown in the registers, then named statement by statement."""

from collections.abc import Mapping

from msgspec.structs import replace

from netdoctor.model import expression as e
from netdoctor.model.firewall import Rule, Set, Table

from .nft_compare import Comparing
from .nft_context import Context
from .nft_fields import META_KINDS, ct_field, meta_word
from .nft_payload_set import written
from .nft_protocols import NETWORK, TRANSPORT
from .nft_statements import OBJECTS, dynset_text, log_text, nat_text, quote, reject_text, statement_text
from .nft_tree import Node, Trees
from .nft_types import order_of
from .nft_values import Printer, keys_of

NAT = (e.Nat, e.Masquerade, e.Redirect, e.Tproxy)


def nft_text(table: Table, rule: Rule, devices: Mapping[int, str] | None = None) -> str:
    """The rule without its handle: `iifname "eth0" tcp dport 22 counter packets 0 bytes 0 accept comment "x"`."""
    listing = Listing(table, devices or {})
    for expression in rule.expressions:
        listing.take(expression)
    words = [slot.words for slot in listing.comparing.slots if slot.words is not None]
    comment = [f"comment {quote(rule.comment)}"] if rule.comment else []
    return " ".join([*words, *comment])


class Listing:
    """One rule on its way into words."""

    def __init__(self, table: Table, devices: Mapping[int, str]) -> None:
        self.table = table
        self.trees = Trees(table)
        self.context = Context(table.family)
        self.printer = Printer(table, devices.get)
        self.comparing = Comparing(self.context, self.printer)

    def take(self, expression: e.AnyExpression) -> None:
        if self.trees.load(expression):
            return
        match expression:
            case e.Cmp(register=register, operator=operator, value=value):
                number = int.from_bytes(value, "big")
                self.comparing.value(self.tested(register, len(value)), operator, number, len(value) * 8)
            case e.Range(register=register, operator=operator, low=low, high=high):
                ends = int.from_bytes(low, "big"), int.from_bytes(high, "big")
                self.comparing.range(self.tested(register, len(low)), operator, ends)
            case e.Lookup():
                self.lookup(expression)
            case _:
                self.statement(expression)

    def tested(self, register: int, length: int) -> Node:
        return self.trees.take(register, length)

    def lookup(self, lookup: e.Lookup) -> None:
        found = self.table.set(lookup.set)
        node = self.trees.take(lookup.register, found.key_length if found else 0)
        if lookup.destination is None:
            self.comparing.set(node, lookup.set, lookup.invert)
            return
        node, shift = self.comparing.looked_up(node, lookup.set)
        words = self.printer.words(node)
        self.act(f"{words} vmap {self.printer.set_text(lookup.set, keys_of(node, shift))}")

    def act(self, words: str) -> None:
        """A statement: what it comes after is no longer implied by what follows."""
        self.comparing.add(words)
        self.context.reset()

    def named(self, register: int, length: int, kind: str, bits: int) -> Node:
        """What a statement takes from a register, with its fields named; a constant gets the type it is taken for."""
        node = self.trees.take(register, length)
        if node.sort == "value":
            return replace(node, kind=kind, order=order_of(kind))
        node = self.comparing.complete(node)
        if node.sort == "map":
            node = replace(node, kind=kind if node.kind == "integer" else node.kind)
        return replace(node, bits=node.bits or bits)

    def words(self, register: int, kind: str, bits: int = 32, length: int = 0) -> str:
        return self.printer.words(self.named(register, length, kind, bits))

    def statement(self, expression: e.AnyExpression) -> None:
        match expression:
            case e.MetaSet(key=key, register=register):
                kind, bits = META_KINDS.get(key, ("number_host", 32))
                self.act(f"{meta_word(key, setting=True)} set {self.words(register, kind, bits)}")
            case e.CtSet(key=key, register=register, direction=direction):
                words, kind, bits = ct_field(key, direction)
                value = self.words(register, kind, bits)
                self.act(f"{words} set {value.replace(' | ', ',') if key == 'event' else value}")
            case e.PayloadSet():
                self.act(written(self.comparing, self.trees, expression))
            case e.Exthdr(source=source):
                self.act(self.extension(expression, source))
            case e.Nat() | e.Masquerade() | e.Redirect() | e.Tproxy():
                self.act(nat_text(expression, self.table.family, self.end, self.printer.words))
            case e.Reject():
                self.reject(expression)
            case e.Log():
                self.act(log_text(expression))
            case e.Dynset():
                self.dynset(expression)
            case _:
                self.act(self.rarely(expression))

    def rarely(self, expression: e.AnyExpression) -> str:
        match expression:
            case e.Objref(set=name, register=register) if name:
                found = self.table.set(name)
                node = self.named(register, found.key_length if found else 0, "hex", 32)
                kind = OBJECTS.get(found.object_type if found else 0, "[object]")
                return f"{kind} {self.printer.words(node)} map {self.printer.set_text(name, keys_of(node))}"
            case e.Queue(register=register, flags=flags) if register:
                words = ",".join(word for bit, word in ((1, "bypass"), (2, "fanout")) if flags & bit)
                return f"queue {f'flags {words} ' if words else ''}to {self.words(register, 'number_host', 16)}"
            case e.Dup(address=address, device=device):
                return self.sent("dup", "", address, device)
            case e.Forward(address=address, device=device, family=family):
                return self.sent("fwd", {2: "ip ", 10: "ip6 "}.get(family, ""), address, device)
        return statement_text(expression)

    def sent(self, word: str, family: str, address: int, device: int) -> str:
        name = self.words(device, "ifindex") if device else ""
        if not address:
            return f"{word} to {name}"
        to = f"{word} {family}to {self.words(address, 'address')}"
        return f"{to} device {name}" if name else to

    def end(self, register: int, kind: str) -> Node:
        """An address or port of a NAT statement; a port's own field stays as it is."""
        if kind == "port":
            self.context.reset()
        return self.named(register, 0, kind, 16 if kind == "port" else 32)

    def extension(self, expression: e.Exthdr, source: int) -> str:
        if not source:
            held = Trees(self.table)
            held.load(replace(expression, register=1, flags=1))
            return f"reset {held.take(1).words}"
        held = Trees(self.table)
        held.load(replace(expression, register=1, source=0))
        return f"{held.take(1).words} set {self.words(source, 'integer', expression.length * 8)}"

    def reject(self, expression: e.Reject) -> None:
        """The family is the rule's or that of the test before, which it makes redundant."""
        family: str = self.table.family
        if family in ("ip", "ip6"):
            if expression.kind == 1:
                self.context.release(TRANSPORT)
        elif expression.kind != 2:
            protocol = self.context.protocol(NETWORK)
            family = f"mixed {protocol.name if protocol else ''}"
            self.context.release(NETWORK)
        self.act(reject_text(expression, family))

    def dynset(self, expression: e.Dynset) -> None:
        found: Set | None = self.table.set(expression.set)
        key = self.printer.words(self.named(expression.key, found.key_length if found else 0, "hex", 32))
        value = ""
        if expression.value:
            kinds = self.comparing.value_kinds(found)
            value = self.words(expression.value, kinds, length=found.value_length if found else 0)
        self.act(dynset_text(expression, key, value))
