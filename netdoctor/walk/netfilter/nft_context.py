"""Which protocols a rule has tested so far, and which of its tests are implied by what follows them.

As nft does it (src/proto.c, src/payload.c, src/netlink_delinearize.c): a header field is named by the protocol that
earlier tests settled, and makes the test it depends on redundant.
"""

from msgspec.structs import replace

from .nft_protocols import INNER, LINK, NETWORK, PROTOCOLS, TRANSPORT, Field, Protocol
from .nft_tree import Node

FIRST = {
    "ip": (NETWORK, "ip"), "ip6": (NETWORK, "ip6"), "arp": (NETWORK, "arp"), "inet": (LINK, "inet"),
    "bridge": (LINK, "ether"), "netdev": (LINK, "netdev"),
}  # fmt: skip
MIXED = ("bridge", "netdev", "inet")
ETHERNET, VLAN = 1, 0x8100
ECHO, ECHO_REPLY, ECHO6, ECHO6_REPLY = 8, 0, 128, 129
TH_PORTS = PROTOCOLS["th"].fields
UNKNOWN = "unknown"


class Slot:
    """One printed test: its words, None once it is implied by another."""

    def __init__(
        self, words: str, left: Node | None = None, operator: str = "", number: int = 0, bits: int = 0
    ) -> None:
        self.words: str | None = words
        self.left = left
        self.operator = operator
        self.number = number
        self.bits = bits


class Context:
    """What is known at one place of a rule."""

    def __init__(self, family: str) -> None:
        base, name = FIRST[family]
        self.family = family
        self.first = base
        self.names: dict[int, str] = {base: name}
        self.stacked: list[Protocol] = []
        self.icmp_type = 0
        self.reset()

    def reset(self) -> None:
        """A statement with effects: what stood before it is no longer implied by what follows."""
        self.tests: dict[int, Slot] = {}
        self.test_type = 0
        self.previous: Slot | None = None

    def protocol(self, base: int) -> Protocol | None:
        name = self.names.get(base)
        return PROTOCOLS[name] if name else None

    # What a test settles.

    def learn(self, left: Node, number: int) -> None:
        """A protocol was compared for equality (the pctx_update functions)."""
        if left.sort == "meta":
            self._learn_meta(left.words.removeprefix("meta "), number)
        elif left.sort == "ct" and left.key:
            base = left.base
            uppers = PROTOCOLS["services"].uppers if base == TRANSPORT else PROTOCOLS["inet"].uppers
            self.names[base] = uppers.get(number, UNKNOWN)
        elif left.sort == "payload" and left.key:
            self._learn_payload(left, number)

    def _learn_meta(self, key: str, number: int) -> None:
        match key:
            case "iiftype":
                self.names[LINK] = "ether" if number == ETHERNET else UNKNOWN
            case "nfproto":
                self.names[NETWORK] = PROTOCOLS["inet"].uppers.get(number, UNKNOWN)
            case "l4proto":
                self.names[TRANSPORT] = PROTOCOLS["services"].uppers.get(number, UNKNOWN)
            case "protocol" if self.family in ("netdev", "bridge"):
                self.names[NETWORK] = PROTOCOLS["ether"].uppers.get(number, UNKNOWN)

    def _learn_payload(self, left: Node, number: int) -> None:
        below = PROTOCOLS[left.protocol]
        upper = below.uppers.get(number)
        if upper is None:
            if below.name == "icmp":
                self.icmp_type = number or ECHO
            elif below.name == "icmpv6":
                self.icmp_type = ECHO6 if number == ECHO6_REPLY else number
            else:
                self.names[left.base + 1] = UNKNOWN
            return
        found = PROTOCOLS[upper]
        if found.base == below.base == LINK:
            self.stacked.append(below)
        self.names[found.base] = upper

    # Naming header fields.

    def _stacked(self, node: Node) -> tuple[Protocol, int] | None:
        """The protocol whose header an offset lies in, and where that header begins."""
        top = self.protocol(node.base)
        if top is None or top.name == UNKNOWN:
            return None
        offset, total = node.offset, 0
        if node.base != LINK or (offset < top.bits and not self.stacked):
            return top, 0
        for each in self.stacked:
            if offset < each.bits:
                return each, total
            offset -= each.bits
            total += each.bits
        return top, total

    def complete(self, node: Node) -> Node:
        """The payload with its name, where what is known gives it one."""
        found = self._stacked(node)
        if found is not None:
            for field in found[0].fields:
                if (field.offset, field.bits) == (node.offset - found[1], node.bits) and self._applies(field):
                    return named(node, found[0], field)
        return raw_payload(node)

    def _applies(self, field: Field) -> bool:
        return field.only is None or not self.icmp_type or field.only == self.icmp_type

    def expand(self, node: Node) -> list[Node]:
        """The fields that one load of neighbouring bytes stands for."""
        found = self._stacked(node)
        parts: list[Node] = []
        left = node
        for field in found[0].fields if found else ():
            assert found is not None
            if field.offset != left.offset - found[1] or not self._applies(field):
                continue
            taken = min(field.bits, left.bits)
            part = named(replace(left, bits=taken), found[0], field)
            parts.append(replace(part, key=field.name == found[0].key))
            left = replace(left, offset=left.offset + taken, bits=left.bits - taken)
            if not left.bits:
                return parts
            if taken < field.bits:
                return parts
        return [*parts, raw_payload(left)]

    def trim(self, node: Node, mask: int, mask_bits: int) -> tuple[Node, int] | None:
        """The fields that a mask leaves of a load, and by how many bits the value is to be shifted."""
        found = self._stacked(node)
        if found is None or not mask:
            return None
        low = (mask & -mask).bit_length() - 1
        end = low + (~(mask >> low) & -~(mask >> low)).bit_length() - 1
        skipped = -(-mask_bits // 8) * 8 - end
        offset, left, length = node.offset - found[1] + skipped, node.bits, 0
        for field in found[0].fields:
            if field.offset != offset:
                continue
            if field.bits >= left:
                return None
            left, offset, length = left - field.bits, offset + field.bits, length + field.bits
            if low + length == end:
                return replace(node, offset=node.offset + skipped, bits=length), low
        return None

    def see_icmp(self, node: Node, number: int) -> None:
        """A set of ICMP types is tested: the fields after it are those of its first (payload_icmp_check)."""
        protocol = self.protocol(TRANSPORT)
        is_type = (node.base, node.offset, node.bits) == (TRANSPORT, 0, 8)
        if is_type and protocol is not None and protocol.name in ("icmp", "icmpv6") and not self.icmp_type:
            self.icmp_type = number

    # Implied tests.

    def remember(self, slot: Slot, base: int) -> None:
        """A test of what comes next above `base`, which may turn out to be implied."""
        left = slot.left
        if left is not None and left.sort == "payload" and left.protocol in ("icmp", "icmpv6") and slot.bits == 8:
            kind = slot.number
            if left.protocol == "icmp":
                kind = ECHO if kind == ECHO_REPLY else kind
            self.test_type = kind
            if kind in ((ECHO,) if left.protocol == "icmp" else (ECHO6, ECHO6_REPLY)):
                return
        self.tests[base + 1] = slot

    def test_at(self, base: int) -> Slot | None:
        found = self.tests.get(base)
        return self.tests.get(INNER) if found is None and base == TRANSPORT else found

    def release(self, base: int) -> None:
        place = base if base in self.tests else INNER if base == TRANSPORT else base
        slot = self.tests.pop(place, None)
        if slot is not None:
            slot.words = None
            if slot is self.previous:
                self.previous = None

    def imply(self, node: Node) -> None:
        """A named field makes the test it depends on redundant (payload_dependency_kill)."""
        test = self.test_at(node.base)
        if node.protocol and test is not None and self._may_go(test, node):
            self.release(node.base)

    def _may_go(self, test: Slot, node: Node) -> bool:
        left = test.left
        if left is None or left.sort != "payload":
            return True
        if self.family in MIXED:
            if left.base == NETWORK and left.protocol in ("ip", "ip6") and node.base == TRANSPORT:
                return False
            if test.operator == "eq" and node.base == left.base:
                if node.key:
                    return False
                if node.base == LINK:
                    return left.protocol != "vlan" and (test.bits != 16 or test.number == VLAN)
        if node.base != TRANSPORT or left.base != TRANSPORT or left.protocol not in ("icmp", "icmpv6"):
            return True
        only = next(
            (each.only for each in PROTOCOLS[node.protocol].fields if each.name == node.words.split(" ", 1)[1]), None
        )
        return only is not None and node.protocol == left.protocol and self.test_type == only

    def may_imply_meta(self, left: Node, number: int) -> bool:
        """Whether a meta or ct test makes the one below it redundant (meta_may_dependency_kill)."""
        test = self.test_at(NETWORK)
        if test is None or test.left is None:
            return True
        if test.left.sort == "meta" and test.left.words in ("meta nfproto", "meta protocol"):
            version = {2: 4, 10: 6}.get(test.number) if test.left.words == "meta nfproto" else None
            version = version or {0x0800: 4, 0x86DD: 6}.get(test.number, 0)
        elif test.left.sort == "payload" and test.left.base == LINK and test.left.kind == "ether_type":
            version = {0x0800: 4, 0x86DD: 6}.get(test.number, 0)
        else:
            return True
        if self.family not in MIXED:
            return self.family not in ("ip", "ip6") or version == {"ip": 4, "ip6": 6}[self.family]
        if left.words != "meta l4proto":
            return True
        if number not in (1, 58):
            return False
        return (version, number) not in ((4, 58), (6, 1))


def named(node: Node, protocol: Protocol, field: Field) -> Node:
    kind = field.kind
    return replace(node, words=f"{protocol.name} {field.name}", kind=kind, protocol=protocol.name)


def raw_payload(node: Node) -> Node:
    """Without a name: its place, but for what are ports in most transport headers."""
    if node.base == TRANSPORT:
        for field in TH_PORTS:
            if (field.offset, field.bits) == (node.offset, node.bits):
                return named(node, PROTOCOLS["th"], field)
    words = {LINK: "ll", NETWORK: "nh", TRANSPORT: "th", INNER: "ih"}.get(node.base, str(node.base))
    return replace(node, words=f"@{words},{node.offset},{node.bits}", kind="hex", protocol="")
