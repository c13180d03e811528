"""A rule as iptables-save prints it, from a legacy rule or from the expressions iptables-nft writes.

iptables-nft tests addresses, devices, protocol, ports, marks and limits with native expressions and keeps the rest as
matches and targets (iptables 1.8, nft-shared.c).
"""

from netdoctor.model import expression as e
from netdoctor.model.firewall import Chain, Rule, Ruleset, Table

from .xt_header import (
    INVERT_DESTINATION,
    INVERT_FRAGMENT,
    INVERT_IN,
    INVERT_OUT,
    INVERT_PROTOCOL,
    INVERT_SOURCE,
    ONLY_FRAGMENTS,
)
from .xt_match_text import Names, limit_words, match_text
from .xt_target_text import log_words, nflog_words, target_text
from .xt_words import LIMIT_SCALE, masked, option, prefix, protocol_name, span, tcp_flags

HEADER_ORDER = ("source", "destination", "in", "out", "protocol", "fragment")
FRAGMENT_MASK = b"\x1f\xff"
NO_DEVICE = b"INVAL/D\0"
"""What iptables-nft compares a device with that must not be "+", which no device meets."""


class Words:
    """The parts of one rule in the order they are printed: the header's words, then matches, then the target."""

    def __init__(self) -> None:
        self.header: dict[str, str] = {}
        self.matches: list[str] = []
        self.target = ""
        self.protocol = 0
        self.transport: dict[str, str] = {}

    def flush_transport(self) -> None:
        """Ports and flags tested natively print as one -m tcp or -m udp."""
        if self.transport:
            ordered = [self.transport[key] for key in ("sport", "dport", "flags") if key in self.transport]
            self.matches.append(" ".join([f"-m {protocol_name(self.protocol)}", *ordered]))
            self.transport = {}

    def line(self, chain: str) -> str:
        self.flush_transport()
        header = [self.header[key] for key in HEADER_ORDER if key in self.header]
        return " ".join(word for word in (f"-A {chain}", *header, *self.matches, self.target) if word)


def iptables_text(table: Table, chain: Chain, rule: Rule, ruleset: Ruleset | None = None) -> str:
    """The rule's line of iptables-save or ip6tables-save."""
    names = Names(6 if table.family == "ip6" else 4, ruleset)
    words = Words()
    index = 0
    while index < len(rule.expressions):
        index += _take(words, rule.expressions[index:], names)
    return words.line(chain.name)


def _take(words: Words, rest: tuple[e.AnyExpression, ...], names: Names) -> int:
    """Puts the first expression (or the run that it begins) into words; how many expressions that were."""
    first = rest[0]
    match first:
        case e.XtHeader():
            _header(words, first)
        case e.XtMatch():
            words.flush_transport()
            words.matches.append(match_text(first, names))
        case e.XtTarget():
            words.target = target_text(first, names)
        case e.Verdict():
            words.target = verdict_text(first)
        case e.Counter():
            pass
        case e.Limit():
            words.flush_transport()
            average = LIMIT_SCALE * first.unit_s // max(first.rate, 1)
            words.matches.append("-m limit " + limit_words(average, first.burst))
        case e.Log():
            words.target = _log(first)
        case e.Immediate(value=b"\x01") if (
            len(rest) > 1 and isinstance(rest[1], e.MetaSet) and rest[1].key == "nftrace"
        ):
            words.target = "-j TRACE"
            return 2
        case e.Meta() | e.Payload():
            return _test(words, first, rest, names)
        case _:
            words.matches.append(f"[opaque {first.__struct_config__.tag}]")
    return 1


def _log(log: e.Log) -> str:
    if log.group is not None:
        size = log.snap_length
        return f"-j NFLOG {nflog_words(log.prefix, log.group, size, log.queue_threshold or 0)}".rstrip()
    return f"-j LOG {log_words(log.prefix, log.level if log.level is not None else 4, ())}".rstrip()


def verdict_text(verdict: e.Verdict) -> str:
    if verdict.code in ("jump", "goto"):
        return f"-{'j' if verdict.code == 'jump' else 'g'} {verdict.chain}"
    return "" if verdict.code == "continue" else f"-j {verdict.code.upper()}"


def _header(words: Words, header: e.XtHeader) -> None:
    invert = header.invert
    if any(header.source_mask) or invert & INVERT_SOURCE:
        words.header["source"] = option("-s", prefix(header.source, header.source_mask), invert & INVERT_SOURCE)
    if any(header.destination_mask) or invert & INVERT_DESTINATION:
        shown = prefix(header.destination, header.destination_mask)
        words.header["destination"] = option("-d", shown, invert & INVERT_DESTINATION)
    if header.in_device:
        words.header["in"] = option("-i", header.in_device, invert & INVERT_IN)
    if header.out_device:
        words.header["out"] = option("-o", header.out_device, invert & INVERT_OUT)
    if header.protocol:
        words.protocol = header.protocol
        words.header["protocol"] = option("-p", protocol_name(header.protocol), invert & INVERT_PROTOCOL)
    if header.family == "ip" and header.flags & ONLY_FRAGMENTS:
        words.header["fragment"] = "! -f" if invert & INVERT_FRAGMENT else "-f"


def _test(words: Words, load: e.Meta | e.Payload, rest: tuple[e.AnyExpression, ...], names: Names) -> int:
    """A load, perhaps a mask, and a comparison."""
    mask = rest[1] if len(rest) > 1 and isinstance(rest[1], e.Bitwise) else None
    used = 2 if mask is None else 3
    test = rest[used - 1] if len(rest) >= used else None
    if isinstance(load, e.Meta) and load.key in ("iifname", "oifname") and not isinstance(test, e.Cmp):
        return 1  # how iptables-nft writes a device of "+": it is loaded and compared with nothing
    ordered = isinstance(test, e.Cmp) and isinstance(load, e.Payload) and load.base == "transport"
    if not isinstance(test, e.Cmp | e.Range) or (test.operator not in ("eq", "neq") and not ordered):
        words.matches.append(f"[opaque {load.__struct_config__.tag}]")
        return 1
    known = (
        _meta(words, load, mask, test) if isinstance(load, e.Meta) else _payload(words, load, mask, test, names)
    )  # fmt: skip
    if not known:
        words.matches.append(f"[opaque {load.__struct_config__.tag}]")
    return used


def _meta(words: Words, load: e.Meta, mask: e.Bitwise | None, test: e.Cmp | e.Range) -> bool:
    if isinstance(test, e.Range):
        return False
    invert = test.operator == "neq"
    match load.key:
        case "iifname" | "oifname":
            key, letter = ("in", "-i") if load.key == "iifname" else ("out", "-o")
            words.header[key] = option(letter, device_name(test.value), invert or test.value == NO_DEVICE)
        case "l4proto":
            words.protocol = test.value[0]
            words.header["protocol"] = option("-p", protocol_name(test.value[0]), invert)
        case "mark":
            bits = int.from_bytes(mask.mask, "little") if mask else 0xFFFFFFFF
            words.flush_transport()
            shown = masked(int.from_bytes(test.value, "little"), bits)
            words.matches.append("-m mark " + option("--mark", shown, invert))
        case _:
            return False
    return True


def device_name(value: bytes) -> str:
    """A name compared without its NUL stands for a prefix."""
    if value == NO_DEVICE:
        return "+"
    name = value.rstrip(b"\0").decode("utf-8", "backslashreplace")
    return name if value.endswith(b"\0") else name + "+"


def _payload(words: Words, load: e.Payload, mask: e.Bitwise | None, test: e.Cmp | e.Range, names: Names) -> bool:
    invert = test.operator == "neq"
    if load.base == "transport":
        return _transport(words, load, mask, test)
    if load.base != "network" or isinstance(test, e.Range):
        return False
    size = 4 if names.version == 4 else 16
    places = {12: "source", 16: "destination"} if size == 4 else {8: "source", 24: "destination"}
    if load.offset in places:
        bits = mask.mask if mask else b"\xff" * load.length
        shown = prefix(test.value.ljust(size, b"\0"), bits.ljust(size, b"\0"))
        letter = "-s" if places[load.offset] == "source" else "-d"
        words.header[places[load.offset]] = option(letter, shown, invert)
        return True
    if size == 4 and load.offset == 6 and mask is not None and mask.mask == FRAGMENT_MASK:
        words.header["fragment"] = "-f" if invert else "! -f"
        return True
    if size == 4 and load.offset == 9:
        words.protocol = test.value[0]
        words.header["protocol"] = option("-p", protocol_name(test.value[0]), invert)
        return True
    return False


def _transport(words: Words, load: e.Payload, mask: e.Bitwise | None, test: e.Cmp | e.Range) -> bool:
    invert = test.operator == "neq"
    low, high = (test.low, test.high) if isinstance(test, e.Range) else _bounds(test)
    if load.length == 2 and load.offset in (0, 2) and mask is None:
        key = "sport" if load.offset == 0 else "dport"
        ports = span(int.from_bytes(low, "big"), int.from_bytes(high, "big"))
        words.transport[key] = option(f"--{key}", ports, invert)
        return True
    if test.operator not in ("eq", "neq"):
        return False
    if load.length == 4 and load.offset == 0 and low == high and mask is None:
        words.transport["sport"] = f"--sport {int.from_bytes(low[:2], 'big')}"
        words.transport["dport"] = f"--dport {int.from_bytes(low[2:], 'big')}"
        return True
    if load.offset == 13 and mask is not None:
        flags = f"{tcp_flags(mask.mask[0])} {tcp_flags(low[0])}"
        words.transport["flags"] = option("--tcp-flags", flags, invert)
        return True
    return False


def _bounds(test: e.Cmp) -> tuple[bytes, bytes]:
    """The values a comparison takes (those it leaves out, of neq); iptables-nft writes "up to" so."""
    size, number = len(test.value), int.from_bytes(test.value, "big")
    lowest, highest = bytes(size), b"\xff" * size
    match test.operator:
        case "lte":
            return lowest, test.value
        case "gte":
            return test.value, highest
        case "lt":
            return lowest, max(number - 1, 0).to_bytes(size, "big")
        case "gt":
            return min(number + 1, 2 ** (8 * size) - 1).to_bytes(size, "big"), highest
    return test.value, test.value
