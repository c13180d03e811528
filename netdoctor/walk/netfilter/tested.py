"""What one nf_tables test of a rule asks for and what the packet has, in nft's words."""

from netdoctor.model import expression as e
from netdoctor.walk.packet import ICMP, ICMP6, PROTOCOL_NAMES, TCP, UDP

from .nft_compare import Comparing
from .nft_context import Context, Slot
from .nft_protocols import NETWORK, TRANSPORT
from .nft_tree import Node, Trees
from .nft_values import Printer
from .state import State

FIELDS = {
    "iifname": "in-device", "iif": "in-device", "oifname": "out-device", "oif": "out-device",
    "meta l4proto": "protocol", "meta nfproto": "family", "meta mark": "mark", "ct state": "conntrack-state",
    "ip protocol": "protocol", "ip6 nexthdr": "protocol", "saddr": "source", "daddr": "destination",
    "sport": "source-port", "dport": "destination-port",
}  # fmt: skip
NAMED = (TCP, UDP, ICMP, ICMP6)


class Tested:
    """The loads of one rule so far; the packet's own protocols name its header fields."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.trees = Trees(state.base.table)
        names = {link.index: link.name for link in state.facts.links.values()}
        self.printer = Printer(state.base.table, names.get)

    def remember(self, expression: e.AnyExpression) -> None:
        self.trees.load(expression)

    def words(self, test: e.Cmp | e.Range | e.Lookup) -> tuple[str, str, str]:
        """The field tested, what it should be, and what the register holds of the packet."""
        comparing = Comparing(self._context(), self.printer)
        match test:
            case e.Lookup(set=name, invert=invert):
                found = self.state.base.table.set(name)
                length = found.key_length if found else 0
                comparing.set(self.trees.take(test.register, length), name, invert)
            case e.Range(low=low, high=high, operator=operator):
                length = len(low)
                ends = int.from_bytes(low, "big"), int.from_bytes(high, "big")
                comparing.range(self.trees.take(test.register), operator, ends)
            case e.Cmp(value=value, operator=operator):
                length = len(value)
                node = self.trees.take(test.register)
                comparing.value(node, operator, int.from_bytes(value, "big"), length * 8)
        held = int.from_bytes(self.state.registers.load(test.register, length).value, "big")
        slot, number = _failing(comparing.slots, held, length * 8)
        return _in_words(self.printer, slot, number, length * 8)

    def _context(self) -> Context:
        """Addresses and ports are named as the packet's own, whatever the rule tested before."""
        packet, family = self.state.packet, self.state.base.table.family
        context = Context(family)
        if family != "arp":
            context.names[NETWORK] = "ip" if packet.family == 4 else "ip6"
        if packet.protocol in NAMED:
            context.names[TRANSPORT] = PROTOCOL_NAMES[packet.protocol]
        return context


def _failing(slots: list[Slot], held: int, bits: int) -> tuple[Slot, int]:
    """Of the fields compared in one go the first that differs, and the packet's own value of it."""
    left = bits
    for slot in slots if len(slots) > 1 else ():
        left -= slot.bits
        mine = held >> left & (1 << slot.bits) - 1
        if mine != slot.number:
            return slot, mine
    return slots[0], held


def _in_words(printer: Printer, slot: Slot, number: int, bits: int) -> tuple[str, str, str]:
    node = slot.left or Node(sort="nothing", words="value")
    inner = node
    while inner.left is not None and inner.sort in ("binop", "unary"):
        inner = inner.left
    field = printer.words(inner)
    said = (slot.words or "").removeprefix(field).strip()
    for sign, words in (("!= ", "not "), ("! ", "not "), ("== ", "")):
        if said.startswith(sign):
            said = words + said.removeprefix(sign)
    name = "address-type" if field.startswith("fib ") and field.endswith(" type") else FIELDS.get(field)
    name = name or FIELDS.get(field.split(" ")[-1]) or field
    expected = said.replace('"', "") if inner.kind in ("ifname", "ifindex") else said
    size = slot.bits if slot.bits and inner.sort == "payload" else bits
    return name, expected, printer.number(number, inner.kind, inner.order, size).strip('"')
