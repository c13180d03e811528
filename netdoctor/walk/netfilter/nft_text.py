"""A native rule as nft list ruleset prints it: the registers are followed, loads are named when they are used."""

from collections.abc import Mapping

import msgspec

from netdoctor.model import expression as e
from netdoctor.model.firewall import Rule, Table

from .nft_fields import META_KINDS, ct_field, meta_word, payload_field, split_fields
from .nft_statements import nat_text, quote, statement_text
from .nft_values import number, set_text, shown, span, with_mask
from .registers import place

OPERATORS = {"eq": "", "neq": "!= ", "lt": "< ", "lte": "<= ", "gt": "> ", "gte": ">= "}
FLAG_KINDS = ("ct_state", "ct_status", "tcp_flag")


class Operand(msgspec.Struct, frozen=True):
    """What a register holds: its words, the type of its value, its bytes' length; a value if it is a constant."""

    words: str
    kind: str
    length: int = 0
    value: bytes = b""
    mask: bytes = b""
    load: e.Payload | None = None


class Listing:
    """The words of a rule so far."""

    def __init__(self, table: Table, devices: Mapping[int, str]) -> None:
        self.table = table
        self.devices = devices
        self.words: list[str] = []
        self.registers: dict[int, Operand] = {}
        self.pending: dict[str, str] = {}
        self.network = {"ip": "ip", "ip6": "ip6", "arp": "arp"}.get(table.family, "")
        self.transport = ""
        self.low: tuple[str, bytes] | None = None

    def add(self, words: str) -> None:
        """Words that need the protocol tests before them printed."""
        self.words.extend(self.pending.values())
        self.pending = {}
        if words:
            self.words.append(words)

    def satisfy(self, protocols: str) -> None:
        """A header field is named after its protocols, which makes the tests for them redundant."""
        for name in protocols.split():
            self.pending.pop(name, None)

    def store(self, register: int, operand: Operand) -> None:
        self.registers[place(register)] = operand

    def load(self, register: int, length: int = 0) -> Operand:
        """The operand at a register; several in a row are a concatenation."""
        first = self.registers.get(place(register), Operand("[unknown register]", "hex"))
        parts, at = [first], place(register) + -(-max(first.length, 1) // 4) * 4
        while length and at < place(register) + length and at in self.registers:
            parts.append(self.registers[at])
            at += -(-max(parts[-1].length, 1) // 4) * 4
        if len(parts) == 1:
            return first
        words, kinds = " . ".join(each.words for each in parts), " . ".join(each.kind for each in parts)
        return Operand(words, kinds, length)


def nft_text(table: Table, rule: Rule, devices: Mapping[int, str] | None = None) -> str:
    """The rule without its handle: `iifname "eth0" tcp dport 22 counter packets 0 bytes 0 accept comment "x"`."""
    listing = Listing(table, devices or {})
    for expression in rule.expressions:
        _take(listing, expression)
    listing.add("")
    comment = [f"comment {quote(rule.comment)}"] if rule.comment else []
    return " ".join([*listing.words, *comment])


def _take(listing: Listing, expression: e.AnyExpression) -> None:
    match expression:
        case e.Meta(key=key, register=register):
            kind, length = META_KINDS.get(key, ("number_host", 4))
            listing.store(register, Operand(meta_word(key), kind, length))
        case e.Payload(register=register):
            words, kind, depends = payload_field(expression, listing.network, listing.transport)
            listing.satisfy(depends if words[0] != "@" else "")
            listing.store(register, Operand(words, kind, expression.length, load=expression))
        case e.Ct(register=register):
            words, kind, length = ct_field(expression.key, expression.direction)
            listing.store(register, Operand(words, kind, length))
        case e.Immediate(register=register, value=value):
            listing.store(register, Operand("", "", len(value), value=value))
        case e.Bitwise():
            _bitwise(listing, expression)
        case e.Byteorder(source=source, destination=destination):
            held = listing.load(source)
            kind = {"number_host": "number", "ifindex": "number", "mark": "hex"}.get(held.kind, held.kind)
            listing.store(destination, msgspec.structs.replace(held, kind=kind))
        case e.Cmp() | e.Range():
            _compare(listing, expression)
        case e.Lookup():
            _lookup(listing, expression)
        case e.Nat() | e.Masquerade() | e.Redirect() | e.Tproxy():
            listing.add(nat_text(expression, listing.load, listing.table.family))
        case e.MetaSet(key=key, register=register):
            listing.add(f"{meta_word(key, setting=True)} set {_constant(listing, register, META_KINDS.get(key))}")
        case e.CtSet(key=key, register=register):
            listing.add(f"ct {key} set {_constant(listing, register, ct_field(key, None)[1:])}")
        case _:
            _rest(listing, expression)


def _rest(listing: Listing, expression: e.AnyExpression) -> None:
    """Loads that are rarely met, and statements."""
    match expression:
        case e.Fib(register=register, result=result, flags=flags):
            selector = " . ".join(flag for flag in flags if flag != "present")
            kind = "boolean" if "present" in flags else {"type": "fib_type", "oifname": "ifname"}.get(result, "ifindex")
            listing.store(register, Operand(f"fib {selector} {result}", kind, 4))
        case e.Rt(key=key, register=register):
            words = f"rt {'ip nexthop' if key == 'nexthop4' else 'ip6 nexthop' if key == 'nexthop6' else key}"
            listing.store(register, Operand(words, "address" if key.startswith("nexthop") else "number_host", 4))
        case e.SocketLookup(key=key, register=register):
            listing.store(register, Operand(f"socket {key}", "mark" if key == "mark" else "number", 4))
        case e.Numgen(mode=mode, modulus=modulus, register=register, offset=offset):
            listing.store(register, Operand(f"numgen {mode} mod {modulus}{_offset(offset)}", "number_host", 4))
        case e.Hash(mode=mode, modulus=modulus, register=register, offset=offset):
            source = f" {listing.load(expression.source, expression.length).words}" if mode == "jhash" else ""
            seed = f" seed 0x{expression.seed:x}" if expression.seed is not None else ""
            words = f"{mode}{source} mod {modulus}{seed}{_offset(offset)}"
            listing.store(register, Operand(words, "number_host", 4))
        case e.Exthdr(register=register, type=kind, operation=operation) if register:
            name = ("exthdr", "tcp option", "ip option")[min(operation, 2)]
            listing.store(register, Operand(f"{name} {kind}", "boolean" if expression.flags & 1 else "number"))
        case e.PayloadSet(register=register):
            load = e.Payload(base=expression.base, offset=expression.offset, length=expression.length, register=0)
            words, field_kind, depends = payload_field(load, listing.network, listing.transport)
            value = listing.load(register)
            shown_value = shown(value.value, field_kind) if value.value else value.words
            listing.satisfy(depends if words[0] != "@" else "")
            listing.add(f"{words} set {shown_value}")
        case e.Dynset():
            _dynset(listing, expression)
        case _:
            family: str = listing.table.family
            if isinstance(expression, e.Reject) and expression.kind == 0:
                listing.satisfy(listing.network)
                family = listing.network or family
            listing.add(statement_text(expression, family))


def _offset(offset: int) -> str:
    return f" offset {offset}" if offset else ""


def _bitwise(listing: Listing, expression: e.Bitwise) -> None:
    held = listing.load(expression.source)
    if expression.operation != "bool":
        sign = "<<" if expression.operation == "lshift" else ">>"
        words = f"{held.words} {sign} {int.from_bytes(expression.value[:4], 'little')}"
        listing.store(expression.destination, msgspec.structs.replace(held, words=words))
    elif held.kind == "tos" and expression.mask == b"\xfc":
        words = held.words.replace(" tos", " dscp")
        listing.store(expression.destination, msgspec.structs.replace(held, words=words, kind="dscp_shifted"))
    elif any(expression.xor):
        mask, xor = shown(expression.mask, "mark"), shown(expression.xor, "mark")
        words = f"{held.words} & {mask} ^ {xor}"
        listing.store(expression.destination, msgspec.structs.replace(held, words=words))
    else:
        listing.store(expression.destination, msgspec.structs.replace(held, mask=expression.mask))


def _compare(listing: Listing, test: e.Cmp | e.Range) -> None:
    operand = listing.load(test.register)
    sign = OPERATORS[test.operator]
    if isinstance(test, e.Range):
        listing.add(f"{operand.words} {sign}{span(test.low, test.high, operand.kind)}")
        return
    if _merged(listing, operand, test) or _closes_range(listing, operand, test):
        return
    if _is_dependency(listing, operand, test):
        return
    value = test.value
    if operand.kind == "dscp_shifted":
        value, operand = bytes([value[0] >> 2]), msgspec.structs.replace(operand, kind="dscp")
    if operand.mask:
        listing.add(_masked(operand, test))
        return
    if operand.kind == "address" and len(value) < _address_length(operand):
        whole = value.ljust(_address_length(operand), b"\0")
        listing.add(f"{operand.words} {sign}{shown(whole, 'address')}/{len(value) * 8}")
        return
    if operand.kind == "ifindex" and number(value, "ifindex") in listing.devices:
        listing.add(f'{operand.words} {sign}"{listing.devices[number(value, "ifindex")]}"')
        return
    if operand.kind in FLAG_KINDS:
        sign = {"eq": "== ", "neq": "!= "}.get(test.operator, sign)
    listing.add(f"{operand.words} {sign}{shown(value, operand.kind)}")


def _closes_range(listing: Listing, operand: Operand, test: e.Cmp) -> bool:
    """A lower bound and then an upper one on the same thing print as a range."""
    if test.operator == "gte" and not operand.mask:
        listing.low = (operand.words, test.value)
    elif test.operator == "lte" and listing.low is not None and listing.low[0] == operand.words:
        listing.words[-1] = f"{operand.words} {span(listing.low[1], test.value, operand.kind)}"
        listing.low = None
        return True
    return False


def _merged(listing: Listing, operand: Operand, test: e.Cmp) -> bool:
    """nft loads adjacent fields in one go when all are compared for equality: each is printed on its own."""
    if operand.load is None or test.operator != "eq" or operand.mask or not operand.words.startswith("@"):
        return False
    fields = split_fields(operand.load, listing.network, listing.transport)
    for words, kind, depends, start, length in fields:
        listing.satisfy(depends)
        listing.add(f"{words} {shown(test.value[start : start + length], kind)}")
    return bool(fields)


def _address_length(operand: Operand) -> int:
    return 16 if operand.words.startswith("ip6") else 4


def _is_dependency(listing: Listing, operand: Operand, test: e.Cmp) -> bool:
    """Remembers a protocol test; it is printed only if nothing after it implies it."""
    if test.operator != "eq":
        return False
    words = f"{operand.words} {shown(test.value, operand.kind)}"
    if operand.words == "iiftype" and listing.table.family not in ("ip", "ip6"):
        listing.pending["ether"] = words
        return True
    if operand.words in ("meta nfproto", "meta protocol", "ether type"):
        name = shown(test.value, operand.kind).replace("ipv4", "ip").replace("ipv6", "ip6")
        listing.network = name
        listing.pending[name] = words
        return True
    if operand.words in ("meta l4proto", "ip protocol", "ip6 nexthdr"):
        name = shown(test.value, "l4proto").replace("ipv6-icmp", "icmpv6")
        listing.transport = name
        listing.pending[name] = f"{operand.words} {name if name != 'icmpv6' else 'ipv6-icmp'}"
        return True
    return False


def _masked(operand: Operand, test: e.Cmp) -> str:
    """A test under a mask: a prefix, flags any of which may be set, or bits spelt out."""
    sign = OPERATORS[test.operator]
    plain = with_mask(test.value, operand.mask, operand.kind)
    if plain is not None:
        return f"{operand.words} {sign}{plain}"
    mask = shown(operand.mask, operand.kind)
    if operand.kind in FLAG_KINDS and not any(test.value):
        return f"{operand.words} {'! ' if test.operator == 'eq' else ''}{mask}"
    if operand.kind == "tcp_flag":
        return f"{operand.words} {sign}{shown(test.value, operand.kind)} / {mask}"
    return f"{operand.words} & {mask} {sign or '== '}{shown(test.value, operand.kind)}"


def _lookup(listing: Listing, lookup: e.Lookup) -> None:
    found = listing.table.set(lookup.set)
    operand = listing.load(lookup.register, found.key_length if found else 0)
    kinds = tuple(operand.kind.split(" . "))
    if lookup.destination is None:
        sign = "!= " if lookup.invert else ""
        listing.add(f"{operand.words} {sign}{set_text(listing.table, lookup.set, kinds)}")
    elif lookup.destination == 0:
        listing.add(f"{operand.words} vmap {set_text(listing.table, lookup.set, kinds)}")
    else:
        kind = {7: "address", 8: "address", 13: "port", 19: "mark"}.get(found.value_type if found else 0, "hex")
        words = f"{operand.words} map {set_text(listing.table, lookup.set, kinds, kind)}"
        listing.store(lookup.destination, Operand(words, kind, found.value_length if found else 4))


def _constant(listing: Listing, register: int, kind: tuple[str, int] | None) -> str:
    held = listing.load(register)
    if held.mask:
        return f"{held.words} & {shown(held.mask, kind[0] if kind else 'hex')}"
    return shown(held.value, kind[0] if kind else "hex") if held.value else held.words


def _dynset(listing: Listing, expression: e.Dynset) -> None:
    key = listing.load(expression.key, _key_length(listing, expression.set))
    inner = "".join(f" {statement_text(each, listing.table.family)}" for each in expression.expressions)
    timeout = f" timeout {expression.timeout_ms // 1000}s" if expression.timeout_ms else ""
    value = f" : {listing.load(expression.value).words}" if expression.value else ""
    listing.add(f"{expression.operation} @{expression.set} {{ {key.words}{timeout}{inner}{value} }}")


def _key_length(listing: Listing, name: str) -> int:
    found = listing.table.set(name)
    return found.key_length if found else 0
