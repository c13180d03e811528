"""Statements as nft list ruleset prints them."""

from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

from netdoctor.model import expression as e

UNITS = {1: "second", 60: "minute", 3600: "hour", 86400: "day", 604800: "week"}
LEVELS = ("emerg", "alert", "crit", "err", "warn", "notice", "info", "debug", "audit")
LOG_FLAGS = ((4, "flags ip options"), (8, "flags skuid"), (32, "flags ether"))
LOG_TCP_FLAGS = ((1, "sequence"), (2, "options"))
ALL_LOG_FLAGS = 0x2F
RANGE_FLAGS = ((4, "random"), (16, "fully-random"), (8, "persistent"))
ICMP_CODES = {
    0: "net-unreachable", 1: "host-unreachable", 2: "prot-unreachable", 3: "port-unreachable", 9: "net-prohibited",
    10: "host-prohibited", 13: "admin-prohibited",
}  # fmt: skip
ICMP6_CODES = {
    0: "no-route", 1: "admin-prohibited", 3: "addr-unreachable", 4: "port-unreachable", 5: "policy-fail",
    6: "reject-route",
}  # fmt: skip
ICMPX_CODES = {0: "no-route", 1: "port-unreachable", 2: "host-unreachable", 3: "admin-prohibited"}
OBJECTS = {
    1: "counter name", 2: "quota name", 3: "ct helper set", 4: "limit name", 5: "ct count name", 7: "ct timeout set",
    8: "meta secmark set", 9: "ct expectation set", 10: "synproxy name",
}  # fmt: skip
NETMAP = 64
SCALES = ("bytes", "kbytes", "mbytes", "gbytes")


def quote(value: str) -> str:
    """nft has no escapes inside quotes: a quote or control character is shown as it would be in a string literal."""
    return '"' + value.encode("unicode_escape").decode().replace('"', '\\"') + '"'


def scaled(count: int) -> str:
    """ "10 mbytes": the largest unit that divides it."""
    scale = 0
    while count and count % 1024 == 0 and scale < len(SCALES) - 1:
        count, scale = count // 1024, scale + 1
    return f"{count} {SCALES[scale]}"


def statement_text(expression: e.AnyExpression, family: str) -> str:
    match expression:
        case e.Verdict(code=code, chain=chain):
            return f"{code} {chain}".rstrip()
        case e.Counter(packets=packets, bytes=octets):
            return f"counter packets {packets} bytes {octets}"
        case e.Limit():
            return _limit(expression)
        case e.Quota(bytes=octets, consumed=consumed, over=over):
            used = f" used {scaled(consumed)}" if consumed else ""
            return f"quota {'over ' if over else ''}{scaled(octets)}{used}"
        case e.Connlimit(count=count, over=over):
            return f"ct count {'over ' if over else ''}{count}"
        case e.Log():
            return _log(expression)
        case e.Reject():
            return _reject(expression, family)
        case e.Queue(number=number, total=total, flags=flags):
            words = ",".join(word for bit, word in ((1, "bypass"), (2, "fanout")) if flags & bit)
            queues = f"{number}-{number + total - 1}" if total > 1 else str(number)
            return f"queue {f'flags {words} ' if words else ''}to {queues}"
        case e.Objref(kind=kind, name=name) if name:
            return f"{OBJECTS.get(kind, f'[object type {kind}]')} {quote(name)}"
        case e.Last():
            return "last used never"
        case e.Notrack():
            return "notrack"
        case e.Synproxy(mss=mss, window_scale=scale):
            return f"synproxy mss {mss} wscale {scale}"
        case e.XtMatch(name=name) | e.XtTarget(name=name):
            return f'xt {expression.__struct_config__.tag} "{name}"'
        case e.Opaque(name=name):
            return f"[opaque {name}]"
    return f"[opaque {expression.__struct_config__.tag}]"


def _limit(limit: e.Limit) -> str:
    unit = UNITS.get(limit.unit_s, f"{limit.unit_s} s")
    over = "over " if limit.over else ""
    if limit.kind == "bytes":
        burst = f" burst {scaled(limit.burst)}" if limit.burst else ""
        return f"limit rate {over}{scaled(limit.rate)}/{unit}{burst}"
    burst = f" burst {limit.burst} packets" if limit.burst not in (0, 5) else ""
    return f"limit rate {over}{limit.rate}/{unit}{burst}"


def _log(log: e.Log) -> str:
    words = ["log"]
    if log.prefix:
        words.append(f"prefix {quote(log.prefix)}")
    if log.group is not None:
        words.append(f"group {log.group}")
        if log.snap_length:
            words.append(f"snaplen {log.snap_length}")
        if log.queue_threshold:
            words.append(f"queue-threshold {log.queue_threshold}")
    if log.level is not None and log.level != 4 and log.group is None:
        words.append(f"level {LEVELS[log.level] if log.level < len(LEVELS) else log.level}")
    if log.flags & ALL_LOG_FLAGS == ALL_LOG_FLAGS:
        return " ".join([*words, "flags all"])
    tcp = ",".join(word for bit, word in LOG_TCP_FLAGS if log.flags & bit)
    words += [f"flags tcp {tcp}"] if tcp else []
    return " ".join(words + [word for bit, word in LOG_FLAGS if log.flags & bit])


def _reject(reject: e.Reject, family: str) -> str:
    """The default (port unreachable, icmpx in inet) is printed without words."""
    if reject.kind == 1:
        return "reject with tcp reset"
    if reject.kind == 2:
        name = ICMPX_CODES.get(reject.code, str(reject.code))
        return "reject" if name == "port-unreachable" and family == "inet" else f"reject with icmpx {name}"
    word, codes = ("icmpv6", ICMP6_CODES) if family == "ip6" else ("icmp", ICMP_CODES)
    name = codes.get(reject.code, str(reject.code))
    return "reject" if name == "port-unreachable" and family in ("ip", "ip6") else f"reject with {word} {name}"


# Any: what `load` gives is nft_text's Operand, which this module need not know.
def nat_text(expression: e.Nat | e.Masquerade | e.Redirect | e.Tproxy, load: Callable[[int], Any], family: str) -> str:
    """ "snat to 192.0.2.1:1024-2048 random", "masquerade to :80", "redirect to :80"."""
    word, where = "", ""
    match expression:
        case e.Nat():
            word = str(expression.kind)
            where = _range(load, expression.address_min, expression.address_max, expression.family)
            if family == "inet" or expression.flags & NETMAP:
                word += f" {expression.family}"
            if expression.flags & NETMAP:
                word += " prefix"
        case e.Tproxy():
            named = {2: " ip", 10: " ip6"}.get(expression.family, "") if family == "inet" else ""
            word, where = f"tproxy{named}", _one(load, expression.address, "address") if expression.address else ""
            port = f":{_one(load, expression.port, 'port')}" if expression.port else ""
            return f"{word} to {where}{port}"
        case e.Masquerade():
            word = "masquerade"
        case e.Redirect():
            word = "redirect"
    ports = _range(load, expression.port_min, expression.port_max, "")
    target = where + (f":{ports}" if ports else "")
    flags = ",".join(name for bit, name in RANGE_FLAGS if expression.flags & bit)
    return " ".join(part for part in (word, f"to {target}" if target else "", flags) if part)


def _range(load: Callable[[int], Any], low: int, high: int, family: str) -> str:
    if not low:
        return ""
    kind = "address" if family else "port"
    first = _one(load, low, kind)
    last = _one(load, high, kind) if high and load(low).value else first
    return first if first == last else f"{first}-{last}"


def _one(load: Callable[[int], Any], register: int, kind: str) -> str:
    operand = load(register)
    if not operand.value:
        return str(operand.words)
    if kind == "port":
        return str(int.from_bytes(operand.value[:2], "big"))
    address = str(ip_address(operand.value))
    return f"[{address}]" if ":" in address else address
