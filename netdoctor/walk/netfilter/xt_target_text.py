"""xtables targets as iptables-save prints them (extensions/libxt_*.c of iptables 1.8)."""

import struct
from collections.abc import Callable

from netdoctor.model.expression import XtTarget

from .xt_match_text import Names
from .xt_target import (
    REJECT_WITH,
    REJECT_WITH_6,
    SHIFTED_PORTS,
    SPECIFIED_ADDRESS,
    SPECIFIED_PORT,
    connmark_info,
    nat_range,
)
from .xt_words import address, ip_text, joined, mask_suffix, opaque, quoted, span, text_of

Text = Callable[[XtTarget, Names], str]
RANGE_WORDS = ((4, "--random"), (16, "--random-fully"), (8, "--persistent"))
CLAMP = 0xFFFF
CT_EVENTS = (
    "new", "related", "destroy", "reply", "assured", "protoinfo", "helper", "mark", "natseqinfo", "secmark", "label",
)  # fmt: skip
NOTRACK_ALIAS = 2


def _reject(target: XtTarget, names: Names) -> str:
    (code,) = struct.unpack_from("=I", target.info)
    return f"--reject-with {(REJECT_WITH if names.version == 4 else REJECT_WITH_6)[code]}"


def _log(target: XtTarget, names: Names) -> str:
    level, flags, prefix = target.info[0], target.info[1], text_of(target.info[2:32])
    named = (
        (1, "--log-tcp-sequence"), (2, "--log-tcp-options"), (4, "--log-ip-options"), (8, "--log-uid"),
        (32, "--log-macdecode"),
    )  # fmt: skip
    return log_words(prefix, level, tuple(word for bit, word in named if flags & bit))


def log_words(prefix: str, level: int, flags: tuple[str, ...]) -> str:
    """Level 4 (warning) is the default and not printed."""
    return joined(
        f"--log-prefix {quoted(prefix)}" if prefix else "", f"--log-level {level}" if level != 4 else "", *flags
    )


def _nflog(target: XtTarget, names: Names) -> str:
    length, group, threshold, flags = struct.unpack_from("=I3H", target.info)
    words = nflog_words(text_of(target.info[12:76]), group, length if flags & 1 else None, threshold)
    return joined(words, f"--nflog-range {length}" if length and not flags & 1 else "")


def nflog_words(prefix: str, group: int, size: int | None, threshold: int) -> str:
    return joined(
        f"--nflog-prefix {quoted(prefix)}" if prefix else "", f"--nflog-group {group}" if group else "",
        f"--nflog-size {size}" if size is not None else "", f"--nflog-threshold {threshold}" if threshold > 1 else "",
    )  # fmt: skip


def _mark(target: XtTarget, names: Names) -> str:
    value, mask = struct.unpack_from("=2I", target.info)
    return f"--set-xmark {value:#x}/{mask:#x}"


def _connmark(target: XtTarget, names: Names) -> str:
    value, ct_mask, packet_mask, direction, bits, mode = connmark_info(target)
    shift = f"--{'right' if direction else 'left'}-shift-mark {bits}" if bits else ""
    if mode == 0:
        return joined(f"--set-xmark {value:#x}/{ct_mask:#x}", shift)
    word = "--save-mark" if mode == 1 else "--restore-mark"
    return joined(f"{word} --nfmask {packet_mask:#x} --ctmask {ct_mask:#x}", shift)


def _range_flags(flags: int) -> str:
    return " ".join(word for bit, word in RANGE_WORDS if flags & bit)


def _nat(target: XtTarget, names: Names) -> str:
    found = nat_range(target, names.version)
    has_port = found.flags & SPECIFIED_PORT
    words = ""
    if found.flags & SPECIFIED_ADDRESS:
        low, high = ip_text(found.address_min), ip_text(found.address_max)
        words = low if low == high else f"{low}-{high}"
        words = f"[{words}]" if names.version == 6 and has_port else words
    if has_port:
        words += ":" + span(found.port_min, found.port_max, "-")
    if found.flags & SHIFTED_PORTS:
        words += f"/{int.from_bytes(target.info[40:42], 'big')}"
    name = "--to-source" if target.name == "SNAT" else "--to-destination"
    return joined(f"{name} {words}", _range_flags(found.flags))


def _ports_only(target: XtTarget, names: Names) -> str:
    found = nat_range(target, names.version)
    ports = f"--to-ports {span(found.port_min, found.port_max, '-')}" if found.flags & SPECIFIED_PORT else ""
    return joined(ports, _range_flags(found.flags))


def _netmap(target: XtTarget, names: Names) -> str:
    found = nat_range(target, names.version)
    pairs = zip(found.address_min, found.address_max, strict=True)
    mask = bytes(~(low ^ high) & 0xFF for low, high in pairs)
    return f"--to {ip_text(found.address_min)}{mask_suffix(mask)}"


def _ct(target: XtTarget, names: Names) -> str:
    flags, zone, events, expected = struct.unpack_from("=2H2I", target.info)
    if flags & 1:
        return "--notrack"
    helper = text_of(target.info[12:28])
    timeout = text_of(target.info[28:60]) if target.revision else ""
    way = "zone-orig" if flags & 4 else "zone-reply" if flags & 8 else "zone"
    where = "mark" if flags & 16 else str(zone)
    return joined(
        f"--helper {helper}" if helper else "", f"--timeout {timeout}" if timeout else "",
        f"--ctevents {','.join(name for bit, name in enumerate(CT_EVENTS) if events >> bit & 1)}" if events else "",
        "--expevents new" if expected & 1 else "",
        f"--{way} {where}" if zone or flags & 16 else "",
    )  # fmt: skip


def _tproxy(target: XtTarget, names: Names) -> str:
    mask, value = struct.unpack_from("=2I", target.info)
    raw = target.info[8 : 8 + (4 if names.version == 4 else 16)]
    place = 24 if target.revision else 12
    port = int.from_bytes(target.info[place : place + 2], "big")
    where = f"--on-ip {address(raw, names.version)}"
    return joined(f"--on-port {port}", where, f"--tproxy-mark {value:#x}/{mask:#x}")


def _tcpmss(target: XtTarget, names: Names) -> str:
    (size,) = struct.unpack_from("=H", target.info)
    return "--clamp-mss-to-pmtu" if size == CLAMP else f"--set-mss {size}"


def _ttl(target: XtTarget, names: Names) -> str:
    mode, value, name = target.info[0], target.info[1], target.name.lower()
    return f"--{name}-{('set', 'inc', 'dec')[mode]} {value}"


def _dscp(target: XtTarget, names: Names) -> str:
    return f"--set-dscp 0x{target.info[0]:02x}"


def _tos(target: XtTarget, names: Names) -> str:
    return f"--set-tos 0x{target.info[0]:02x}/0x{target.info[1]:02x}"


def _classify(target: XtTarget, names: Names) -> str:
    (priority,) = struct.unpack_from("=I", target.info)
    return f"--set-class {priority >> 16:04x}:{priority & 0xFFFF:04x}"


def _nfqueue(target: XtTarget, names: Names) -> str:
    (number,) = struct.unpack_from("=H", target.info)
    total = struct.unpack_from("=H", target.info, 2)[0] if target.revision else 1
    flags = struct.unpack_from("=H", target.info, 4)[0] if target.revision >= 2 else 0
    queues = f"--queue-balance {number}:{number + total - 1}" if total > 1 else f"--queue-num {number}"
    return joined(queues, "--queue-bypass" if flags & 1 else "", "--queue-cpu-fanout" if flags & 2 else "")


def _tee(target: XtTarget, names: Names) -> str:
    device = text_of(target.info[16:32])
    return joined(f"--gateway {address(target.info, names.version)}", f"--oif {device}" if device else "")


def _checksum(target: XtTarget, names: Names) -> str:
    return "--checksum-fill"


def _nothing(target: XtTarget, names: Names) -> str:
    return ""


TEXTS: dict[str, Text] = {
    "REJECT": _reject, "LOG": _log, "NFLOG": _nflog, "MARK": _mark, "CONNMARK": _connmark, "SNAT": _nat, "DNAT": _nat,
    "MASQUERADE": _ports_only, "REDIRECT": _ports_only, "NETMAP": _netmap, "CT": _ct, "TPROXY": _tproxy,
    "TCPMSS": _tcpmss, "TTL": _ttl, "HL": _ttl, "DSCP": _dscp, "TOS": _tos, "CLASSIFY": _classify, "NFQUEUE": _nfqueue,
    "TEE": _tee, "CHECKSUM": _checksum, "TRACE": _nothing, "NOTRACK": _nothing,
}  # fmt: skip


RARER = (
    "AUDIT", "CONNSECMARK", "SECMARK", "HMARK", "IDLETIMER", "RATEEST", "SET", "SYNPROXY", "TCPOPTSTRIP", "ECN", "DNPT",
    "SNPT",
)  # fmt: skip
"""Targets whose printers are loaded when first met."""


def printer(name: str) -> Text | None:
    """The function that prints a target's own options."""
    if name in RARER:
        from .xt_mangling_text import TEXTS as rarer

        return rarer[name]
    return TEXTS.get(name)


def target_text(target: XtTarget, names: Names) -> str:
    """ "-j SNAT --to-source 192.0.2.1"; "-j NAME [opaque NAME ...]" for a target whose struct we do not print."""
    if target.name == "CT" and int.from_bytes(target.info[:2], "little") & NOTRACK_ALIAS:
        return "-j NOTRACK"
    text = printer(target.name)
    try:
        if text is not None:
            return joined(f"-j {target.name}", text(target, names))
    except (struct.error, LookupError, ValueError, OverflowError):
        pass  # a struct of another layout than we know is shown as it is
    return f"-j {target.name} {opaque(target.name, target.revision, target.info)}"
