"""xtables matches as iptables-save prints them (extensions/libxt_*.c of iptables 1.8)."""

import struct
from collections.abc import Callable
from importlib import import_module
from typing import cast

from netdoctor.model.expression import XtMatch
from netdoctor.model.firewall import Ruleset
from netdoctor.model.unknown import Unknown

from .loads import ROUTE_TYPES
from .xt_conntrack import ADDRESSES, ALIAS, DIRECTION, EXPIRES, PORTS, PROTOCOL, STATE, STATUS, conntrack_info
from .xt_words import (
    address,
    joined,
    masked,
    network,
    opaque,
    option,
    ports,
    quoted,
    rate,
    span,
    tcp_flags,
    text_of,
)

CT_STATES = (
    (1, "INVALID"), (8, "NEW"), (4, "RELATED"), (2, "ESTABLISHED"), (256, "UNTRACKED"), (64, "SNAT"), (128, "DNAT"),
)  # fmt: skip
CT_STATUS = ((1, "EXPECTED"), (2, "SEEN_REPLY"), (4, "ASSURED"), (8, "CONFIRMED"))
CT_ADDRESSES = ("--ctorigsrc", "--ctorigdst", "--ctreplsrc", "--ctrepldst")
CT_PORTS = ("--ctorigsrcport", "--ctorigdstport", "--ctreplsrcport", "--ctrepldstport")
PACKET_TYPES = ("unicast", "broadcast", "multicast")


class Names:
    """What a match's text needs besides its struct: the IP version and the names of ipsets."""

    def __init__(self, version: int, ruleset: Ruleset | None = None) -> None:
        self.version = version
        sets = () if ruleset is None or isinstance(ruleset.ipsets, Unknown) else ruleset.ipsets
        self.sets = {each.index: each.name for each in sets}


Text = Callable[[XtMatch, Names], str]


def _tcp(match: XtMatch, names: Names) -> str:
    low_s, high_s, low_d, high_d, number, mask, want, invert = struct.unpack_from("=4H4B", match.info)
    flags = option("--tcp-flags", f"{tcp_flags(mask)} {tcp_flags(want)}", invert & 4) if mask or invert & 4 else ""
    asked = ports(("--sport", "--dport"), (low_s, high_s), (low_d, high_d), invert)
    return joined(asked, option("--tcp-option", str(number), invert & 8) if number or invert & 8 else "", flags)


def _udp(match: XtMatch, names: Names) -> str:
    low_s, high_s, low_d, high_d, invert = struct.unpack_from("=4HB", match.info)
    return ports(("--sport", "--dport"), (low_s, high_s), (low_d, high_d), invert)


def _icmp(match: XtMatch, names: Names) -> str:
    kind, low, high, invert = struct.unpack_from("=4B", match.info)
    name = "--icmp-type" if match.name == "icmp" else "--icmpv6-type"
    if match.name == "icmp" and kind == 255:
        return option(name, "any", invert & 1)
    return option(name, str(kind) if (low, high) == (0, 255) else f"{kind}/{low}", invert & 1)


def _multiport(match: XtMatch, names: Names) -> str:
    side, count = struct.unpack_from("=2B", match.info)
    ports, starts = struct.unpack_from("=15H", match.info, 2), struct.unpack_from("=15B", match.info, 32)
    words: list[str] = []
    for index in range(count):
        if not (index and starts[index - 1]):
            words.append(f"{ports[index]}:{ports[index + 1]}" if starts[index] else str(ports[index]))
    return option(("--sports", "--dports", "--ports")[side], ",".join(words), match.info[47])


def _conntrack(match: XtMatch, names: Names) -> str:
    info, words = conntrack_info(match), list[str]()
    if info.asked & STATE:
        states = ",".join(name for bit, name in CT_STATES if info.states & bit)
        words.append(option("--state" if info.asked & ALIAS else "--ctstate", states, info.invert & STATE))
    if info.asked & PROTOCOL:
        words.append(option("--ctproto", str(info.protocol), info.invert & PROTOCOL))
    for index, name in enumerate(CT_ADDRESSES):
        if info.asked & ADDRESSES << index:
            shown = network(*info.addresses[index], names.version)
            words.append(option(name, shown, info.invert & ADDRESSES << index))
    for index, name in enumerate(CT_PORTS):
        if info.asked & PORTS << index:
            words.append(option(name, span(*info.ports[index]), info.invert & PORTS << index))
    if info.asked & STATUS:
        status = ",".join(name for bit, name in CT_STATUS if info.status & bit) or "NONE"
        words.append(option("--ctstatus", status, info.invert & STATUS))
    if info.asked & EXPIRES:
        words.append(option("--ctexpire", span(*info.expires), info.invert & EXPIRES))
    if info.asked & DIRECTION:
        words.append("--ctdir " + ("REPLY" if info.invert & DIRECTION else "ORIGINAL"))
    return " ".join(words)


def _state(match: XtMatch, names: Names) -> str:
    (mask,) = struct.unpack_from("=I", match.info)
    order = ((1, "INVALID"), (8, "NEW"), (4, "RELATED"), (2, "ESTABLISHED"), (64, "UNTRACKED"))
    return "--state " + ",".join(name for bit, name in order if mask & bit)


def _mark(match: XtMatch, names: Names) -> str:
    want, mask, invert = struct.unpack_from("=2IB", match.info)
    return option("--mark", masked(want, mask), invert)


def _addrtype(match: XtMatch, names: Names) -> str:
    source, destination, flags = struct.unpack_from("=2HI", match.info)
    if match.revision == 0:
        flags = bool(flags) | bool(struct.unpack_from("=I", match.info, 8)[0]) << 1

    def kinds(mask: int) -> str:
        names = (*ROUTE_TYPES, "xresolve")
        return ",".join(name.upper() for bit, name in enumerate(names) if mask >> bit & 1)

    return joined(
        option("--src-type", kinds(source), flags & 1) if source else "",
        option("--dst-type", kinds(destination), flags & 2) if destination else "",
        "--limit-iface-in" if flags & 4 else "", "--limit-iface-out" if flags & 8 else "",
    )  # fmt: skip


def _iprange(match: XtMatch, names: Names) -> str:
    flags, words = match.info[64], list[str]()
    for bit, name, offset in ((1, "--src-range", 0), (2, "--dst-range", 32)):
        if flags & bit:
            low, high = (address(match.info[at : at + 16], names.version) for at in (offset, offset + 16))
            words.append(option(name, f"{low}-{high}", flags & bit << 4))
    return " ".join(words)


def _mac(match: XtMatch, names: Names) -> str:
    return option("--mac-source", match.info[:6].hex(":"), match.info[8])


def _physdev(match: XtMatch, names: Names) -> str:
    invert, asked = match.info[64], match.info[65]
    inside, outside = (_port_name(match.info, offset) for offset in (0, 32))
    order = (
        (8, "--physdev-is-in"), (1, f"--physdev-in {inside}"), (16, "--physdev-is-out"),
        (2, f"--physdev-out {outside}"), (4, "--physdev-is-bridged"),
    )  # fmt: skip
    return " ".join(("! " if invert & bit else "") + words for bit, words in order if asked & bit)


def _port_name(info: bytes, offset: int) -> str:
    name, mask = text_of(info[offset : offset + 16]), info[offset + 16 : offset + 32]
    return name if mask[len(name) : len(name) + 1] == b"\xff" else name.removesuffix("+") + "+"


def _limit(match: XtMatch, names: Names) -> str:
    average, burst = struct.unpack_from("=2I", match.info)
    return limit_words(average, burst)


def limit_words(average: int, burst: int) -> str:
    """The words of a limit; a burst of 5 is the default and not printed."""
    return joined(f"--limit {rate(average)}", f"--limit-burst {burst}" if burst != 5 else "")


def _length(match: XtMatch, names: Names) -> str:
    low, high, invert = struct.unpack_from("=2HB", match.info)
    return option("--length", span(low, high), invert)


def _ttl(match: XtMatch, names: Names) -> str:
    name = match.name
    modes = (f"--{name}-eq", f"! --{name}-eq", f"--{name}-lt", f"--{name}-gt")
    return f"{modes[match.info[0]]} {match.info[1]}"


def _dscp(match: XtMatch, names: Names) -> str:
    return option("--dscp", f"0x{match.info[0]:02x}", match.info[1])


def _tos(match: XtMatch, names: Names) -> str:
    mask, value, invert = match.info[0], match.info[1], match.info[2]
    return option("--tos", f"0x{value:02x}/0x{mask:02x}", invert)


def _pkttype(match: XtMatch, names: Names) -> str:
    return option("--pkt-type", PACKET_TYPES[match.info[0]], match.info[4])


def _owner(match: XtMatch, names: Names) -> str:
    uid_min, uid_max, gid_min, gid_max, asked, invert = struct.unpack_from("=4I2B", match.info)
    return joined(
        option("--uid-owner", span(uid_min, uid_max, "-"), invert & 1) if asked & 1 else "",
        option("--gid-owner", span(gid_min, gid_max, "-"), invert & 2) if asked & 2 else "",
        ("! " if invert & 4 else "") + "--socket-exists" if asked & 4 else "",
        "--suppl-groups" if asked & 8 else "",
    )


def _socket(match: XtMatch, names: Names) -> str:
    flags = match.info[0] if match.revision else 0
    named = ((1, "--transparent"), (2, "--nowildcard"), (4, "--restore-skmark"))
    return " ".join(word for bit, word in named if flags & bit)


def _rpfilter(match: XtMatch, names: Names) -> str:
    flags = match.info[0]
    named = ((1, "--loose"), (2, "--validmark"), (4, "--accept-local"), (8, "--invert"))
    return " ".join(word for bit, word in named if flags & bit)


def _comment(match: XtMatch, names: Names) -> str:
    return f"--comment {quoted(text_of(match.info))}"


TEXTS: dict[str, Text] = {
    "tcp": _tcp, "udp": _udp, "udplite": _udp, "icmp": _icmp, "icmp6": _icmp, "multiport": _multiport,
    "conntrack": _conntrack, "state": _state, "mark": _mark, "connmark": _mark, "addrtype": _addrtype,
    "iprange": _iprange, "mac": _mac, "physdev": _physdev, "limit": _limit, "length": _length, "ttl": _ttl, "hl": _ttl,
    "dscp": _dscp, "tos": _tos, "pkttype": _pkttype, "owner": _owner, "socket": _socket, "rpfilter": _rpfilter,
    "comment": _comment,
}  # fmt: skip
RARER = {
    **dict.fromkeys(("sctp", "dccp", "esp", "ipcomp", "tcpmss", "ecn", "osf", "l2tp"), "xt_protocol_text"),
    **dict.fromkeys(("ah", "frag", "hbh", "dst", "rt", "ipv6header", "mh", "srh", "eui64"), "xt_extension_text"),
    **dict.fromkeys(("u32", "bpf", "string"), "xt_program_text"),
    **dict.fromkeys(
        ("statistic", "quota", "connlimit", "connbytes", "hashlimit", "rateest", "recent", "cluster", "cpu", "nfacct"),
        "xt_counting_text",
    ),
    **dict.fromkeys(
        ("set", "policy", "helper", "connlabel", "devgroup", "realm", "cgroup", "time", "ipvs"), "xt_system_text"
    ),
}
"""Matches whose printers are loaded when first met: the module of each."""


def printer(name: str) -> Text | None:
    """The function that prints a match's own options."""
    if name in RARER:
        return cast(Text | None, import_module(f".{RARER[name]}", __package__).TEXTS.get(name))
    return TEXTS.get(name)


def match_text(match: XtMatch, names: Names) -> str:
    """ "-m conntrack --ctstate NEW"; "-m NAME [opaque NAME ...]" for a match whose struct we do not print."""
    name, text = match.name, printer(match.name)
    try:
        if name == "conntrack" and match.revision and conntrack_info(match).asked & ALIAS:
            name = "state"
        if text is not None and (name, match.revision) != ("conntrack", 0):
            return joined(f"-m {name}", text(match, names))
    except (struct.error, LookupError, ValueError, OverflowError):
        pass  # a struct of another layout than we know is shown as it is
    return f"-m {name} {opaque(match.name, match.revision, match.info)}"
