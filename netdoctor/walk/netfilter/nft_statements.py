"""Statements as nft list ruleset prints them (nftables: src/statement.c)."""

from collections.abc import Callable

from netdoctor.model import expression as e

from .nft_names import ICMP6_CODES, ICMP_CODES, ICMPX_CODES
from .nft_tree import Node
from .nft_types import duration

UNITS = {1: "second", 60: "minute", 3600: "hour", 86400: "day", 604800: "week"}
LEVELS = ("emerg", "alert", "crit", "err", "warn", "notice", "info", "debug", "audit")
LOG_FLAGS = ((4, "flags ip options"), (8, "flags skuid"), (32, "flags ether"))
LOG_TCP_FLAGS = ((1, "sequence"), (2, "options"))
ALL_LOG_FLAGS = 0x2F
WARNING = 4
RANGE_FLAGS = ((4, "random"), (16, "fully-random"), (8, "persistent"))
OBJECTS = {
    1: "counter name", 2: "quota name", 3: "ct helper set", 4: "limit name", 5: "ct count name", 7: "ct timeout set",
    8: "meta secmark set", 9: "ct expectation set", 10: "synproxy name",
}  # fmt: skip
NETMAP = 64
PORT_UNREACHABLE = {"icmp": 3, "icmpv6": 4, "icmpx": 1}
SCALES = ("bytes", "kbytes", "mbytes")
SYNPROXY_FLAGS = ((8, "timestamp"), (4, "sack-perm"))
SYNPROXY_MSS, SYNPROXY_WSCALE = 1, 2
DEFAULT_BURST = 5


def quote(value: str) -> str:
    """nft has no escapes inside quotes; control characters, which could fool a terminal, are shown escaped."""
    return '"' + "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in value) + '"'


def scaled(count: int) -> str:
    """ "10 mbytes": the largest unit that divides it."""
    scale = 0
    while count and count % 1024 == 0 and scale < len(SCALES) - 1:
        count, scale = count // 1024, scale + 1
    return f"{count} {SCALES[scale]}"


def statement_text(expression: e.AnyExpression) -> str:
    match expression:
        case e.Verdict(code=code, chain=chain):
            return f"{code} {chain}".rstrip()
        case e.Counter(packets=packets, bytes=octets):
            return f"counter packets {packets} bytes {octets}"
        case e.Limit():
            return limit_text(expression)
        case e.Quota(bytes=octets, consumed=consumed, over=over):
            used = f" used {scaled(consumed)}" if consumed else ""
            return f"quota {'over ' if over else ''}{scaled(octets)}{used}"
        case e.Connlimit(count=count, over=over):
            return f"ct count {'over ' if over else ''}{count}"
        case e.Queue(number=number, total=total, flags=flags):
            words = ",".join(word for bit, word in ((1, "bypass"), (2, "fanout")) if flags & bit)
            queues = f"{number}-{number + total - 1}" if total > 1 else str(number)
            return f"queue {f'flags {words} ' if words else ''}to {queues}"
        case e.Objref(kind=kind, name=name):
            return f"{OBJECTS.get(kind, f'[object type {kind}]')} {quote(name)}"
        case e.Last():
            return "last used never"
        case e.Notrack():
            return "notrack"
        case e.FlowOffload(table=table):
            return f"flow add @{table}"
        case e.Synproxy():
            return _synproxy(expression)
        case e.XtMatch(name=name) | e.XtTarget(name=name):
            return f'xt {expression.__struct_config__.tag} "{name}"'
        case e.Opaque(name=name):
            return f"[opaque {name}]"
    return f"[opaque {expression.__struct_config__.tag}]"


def limit_text(limit: e.Limit) -> str:
    unit = UNITS.get(limit.unit_s, f"{limit.unit_s} s")
    over = "over " if limit.over else ""
    if limit.kind == "bytes":
        burst = f" burst {scaled(limit.burst)}" if limit.burst else ""
        return f"limit rate {over}{scaled(limit.rate)}/{unit}{burst}"
    burst = f" burst {limit.burst} packets" if limit.burst not in (0, DEFAULT_BURST) else ""
    return f"limit rate {over}{limit.rate}/{unit}{burst}"


def _synproxy(synproxy: e.Synproxy) -> str:
    sizes = synproxy.flags & (SYNPROXY_MSS | SYNPROXY_WSCALE)
    words = ["synproxy", *([f"mss {synproxy.mss} wscale {synproxy.window_scale}"] if sizes else [])]
    return " ".join(words + [word for bit, word in SYNPROXY_FLAGS if synproxy.flags & bit])


def log_text(log: e.Log) -> str:
    words = ["log"]
    if log.prefix:
        words.append(f"prefix {quote(log.prefix)}")
    if log.group is not None:
        words.append(f"group {log.group}")
        if log.snap_length:
            words.append(f"snaplen {log.snap_length}")
        if log.queue_threshold:
            words.append(f"queue-threshold {log.queue_threshold}")
    if log.level is not None and log.level != WARNING and log.group is None:
        words.append(f"level {LEVELS[log.level] if log.level < len(LEVELS) else log.level}")
    if log.flags & ALL_LOG_FLAGS == ALL_LOG_FLAGS:
        return " ".join([*words, "flags all"])
    tcp = ",".join(word for bit, word in LOG_TCP_FLAGS if log.flags & bit)
    words += [f"flags tcp {tcp}"] if tcp else []
    return " ".join(words + [word for bit, word in LOG_FLAGS if log.flags & bit])


def reject_text(reject: e.Reject, family: str) -> str:
    """family: "ip" and "ip6" leave the default unsaid; "mixed ip" and its like are the protocol tested before."""
    if reject.kind == 1:
        return "reject with tcp reset"
    if reject.kind == 2:
        word, names, quiet = "icmpx", ICMPX_CODES, True
    elif family.removeprefix("mixed ") in ("ip", "ip6"):
        word, names = ("icmpv6", ICMP6_CODES) if family.endswith("6") else ("icmp", ICMP_CODES)
        quiet = not family.startswith("mixed")
    else:
        return "reject"
    if quiet and reject.code == PORT_UNREACHABLE[word]:
        return "reject"
    return f"reject with {word} {names.get(reject.code, str(reject.code))}"


def nat_text(
    expression: e.Nat | e.Masquerade | e.Redirect | e.Tproxy, family: str, end: Callable[[int, str], Node],
    words: Callable[[Node], str],
) -> str:  # fmt: skip
    """ "snat to 192.0.2.1:1024-2048 random", "masquerade to :80", "redirect to :80". `end`: what a register holds."""
    low, high, address_words = 0, 0, ""
    flags = 0
    match expression:
        case e.Nat():
            word, flags = str(expression.kind), expression.flags
            low, high = expression.address_min, expression.address_max
            version: str = expression.family
        case e.Tproxy():
            word, version, low = "tproxy", {2: "ip", 10: "ip6"}.get(expression.family, ""), expression.address
        case e.Masquerade():
            word, version, flags = "masquerade", "", expression.flags
        case e.Redirect():
            word, version, flags = "redirect", "", expression.flags
    address = end(low, "address") if low else None
    long = address is not None and _is_long_map(address, version)
    ports = "" if long else _ports(expression, end, words)
    if version and (family == "inet" or flags & NETMAP or long):
        word += f" {version}"
    if flags & NETMAP:
        word += " prefix"
    if address is not None:
        far = end(high, "address") if high and high != low and address.sort != "map" else address
        address_words = _addresses(address, far, words, bracketed=bool(ports))
    target = address_words + (f":{ports}" if ports else "")
    named = ",".join(name for bit, name in RANGE_FLAGS if flags & bit)
    return " ".join(part for part in (word, f"to {target}" if target else "", named) if part)


def _is_long_map(node: Node, version: str) -> bool:
    """A map to more than an address: a range, or an address and a port."""
    return node.sort == "map" and node.bits > {"ip": 32, "ip6": 128}.get(version, 128)


def _ports(
    expression: e.Nat | e.Masquerade | e.Redirect | e.Tproxy,
    end: Callable[[int, str], Node],
    words: Callable[[Node], str],
) -> str:
    if isinstance(expression, e.Tproxy):
        return words(end(expression.port, "port")) if expression.port else ""
    if not expression.port_min:
        return ""
    first = words(end(expression.port_min, "port"))
    last = words(end(expression.port_max, "port")) if expression.port_max else first
    return first if first == last else f"{first}-{last}"


def _addresses(low: Node, high: Node, words: Callable[[Node], str], *, bracketed: bool) -> str:
    first, last = words(low), words(high)
    if bracketed and low.sort == "value" and ":" in first:
        first, last = f"[{first}]", f"[{last}]"
    return first if first == last else f"{first}-{last}"


def dynset_text(expression: e.Dynset, key: str, value: str) -> str:
    timeout = f" timeout {duration(expression.timeout_ms)}" if expression.timeout_ms else ""
    inner = "".join(f" {_inside(each)}" for each in expression.expressions)
    mapped = f" : {value}" if value else ""
    return f"{expression.operation} @{expression.set} {{ {key}{timeout}{inner}{mapped} }}"


def _inside(expression: e.AnyExpression) -> str:
    return "counter" if isinstance(expression, e.Counter) else statement_text(expression)
