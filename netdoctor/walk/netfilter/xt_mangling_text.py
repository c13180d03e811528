"""Less common targets as iptables-save prints them (extensions/libxt_*.c of iptables 1.8)."""

import struct

from netdoctor.model.expression import XtTarget

from .xt_match_text import Names
from .xt_system_text import set_words
from .xt_target_text import Text
from .xt_words import ip_text, joined, text_of

NO_SET, NO_TIMEOUT = 0xFFFF, 0xFFFFFFFF
EXIST, MAP_MARK, MAP_PRIORITY, MAP_QUEUE = 1, 256, 512, 1024
QUARTER_SECOND_US = 250_000
HMARK_CONNTRACK = 1 << 12


def _audit(target: XtTarget, names: Names) -> str:
    return f"--type {('accept', 'drop', 'reject')[target.info[0]]}"


def _connsecmark(target: XtTarget, names: Names) -> str:
    return {1: "--save", 2: "--restore"}[target.info[0]]


def _secmark(target: XtTarget, names: Names) -> str:
    """struct xt_secmark_target_info: the number stands before the context in revision 0, behind it in 1."""
    if target.info[0] != 1:
        raise ValueError("not a SELinux mark")
    return f"--selctx {text_of(target.info[1:] if target.revision else target.info[8:])}"


def _hmark(target: XtTarget, names: Names) -> str:
    """struct xt_hmark_info: `flags` has a bit for each option that was given."""
    info = target.info
    ports_mask, ports_set, flags, protocol, seed, modulus, offset = struct.unpack_from("=3IH2x3I", info, 32)
    size = 4 if names.version == 4 else 16
    source, destination = (int.from_bytes(info[at : at + size], "big").bit_count() for at in (0, 16))
    source_mask, destination_mask = struct.unpack_from("=2H", info, 32)
    source_set, destination_set = struct.unpack_from("=2H", info, 36)
    words = (
        f"--hmark-src-prefix {source}", f"--hmark-dst-prefix {destination}", f"--hmark-spi {_swapped(ports_set):#010x}",
        f"--hmark-spi-mask {_swapped(ports_mask):#010x}", f"--hmark-sport {_swapped_short(source_set):#06x}",
        f"--hmark-dport {_swapped_short(destination_set):#06x}",
        f"--hmark-sport-mask {_swapped_short(source_mask):#06x}",
        f"--hmark-dport-mask {_swapped_short(destination_mask):#06x}", f"--hmark-proto-mask {protocol:#04x}",
        f"--hmark-rnd {seed:#010x}", f"--hmark-mod {modulus}", f"--hmark-offset {offset}", "--hmark-tuple ct",
    )  # fmt: skip
    return joined(*(word for bit, word in enumerate(words) if flags >> bit & 1))


def _swapped(number: int) -> int:
    return int.from_bytes(number.to_bytes(4, "little"), "big")


def _swapped_short(number: int) -> int:
    return int.from_bytes(number.to_bytes(2, "little"), "big")


def _idletimer(target: XtTarget, names: Names) -> str:
    (timeout,) = struct.unpack_from("=I", target.info)
    alarm = "--alarm" if target.revision and target.info[33] else ""
    return joined(f"--timeout {timeout} --label {text_of(target.info[4:32])}", alarm)


def _rateest(target: XtTarget, names: Names) -> str:
    interval, average = struct.unpack_from("=bB", target.info, 16)
    period = QUARTER_SECOND_US << interval + 2
    times = f"--rateest-interval {_duration(period)} --rateest-ewmalog {_duration(period << average)}"
    return f"--rateest-name {text_of(target.info[:16])} {times}"


def _duration(microseconds: int) -> str:
    return f"{microseconds / 1e6:.1f}s" if microseconds >= 1e6 else f"{microseconds / 1e3:.1f}ms"


def _set(target: XtTarget, names: Names) -> str:
    """struct xt_set_info_target_v1 to v3: sets to add to, to delete from, to map by; then flags and a timeout."""
    if not target.revision:
        raise ValueError("SET revision 0")
    verbs = ("--add-set", "--del-set", "--map-set")[: 3 if target.revision == 3 else 2]
    words = list[str]()
    flags, timeout = struct.unpack_from("=2I", target.info, 4 * len(verbs)) if target.revision > 1 else (0, NO_TIMEOUT)
    for place, verb in enumerate(verbs):
        index, dimensions, sides = struct.unpack_from("=H2B", target.info, 4 * place)
        if index != NO_SET:
            words.append(f"{verb} {set_words(names, index, dimensions, sides)}")
    named = ((EXIST, "--exist"), (MAP_MARK, "--map-mark"), (MAP_PRIORITY, "--map-prio"), (MAP_QUEUE, "--map-queue"))
    words += [word for bit, word in named if flags & bit]
    return joined(*words, f"--timeout {timeout}" if timeout != NO_TIMEOUT else "")


def _synproxy(target: XtTarget, names: Names) -> str:
    options, scale, size = struct.unpack_from("=2BH", target.info)
    order = (
        (4, "--sack-perm"), (8, "--timestamp"), (2, f"--wscale {scale}"), (1, f"--mss {size}"), (16, "--ecn"),
    )  # fmt: skip
    return joined(*(word for bit, word in order if options & bit))


def _tcpoptstrip(target: XtTarget, names: Names) -> str:
    words = struct.unpack_from("=8I", target.info)
    stripped = [str(kind) for kind in range(256) if words[kind // 32] >> kind % 32 & 1]
    return f"--strip-options {','.join(stripped)}" if stripped else ""


def _ecn(target: XtTarget, names: Names) -> str:
    """struct ipt_ECN_info: operations 1 IP, 16 ECE, 32 CWR."""
    operation, bits, flags = target.info[:3]
    if operation & 0x30 == 0x30 and not flags & 3:
        return "--ecn-tcp-remove"
    return joined(
        f"--ecn-tcp-ece {flags & 1}" if operation & 16 else "", f"--ecn-tcp-cwr {flags >> 1 & 1}" if operation & 32 else "",
        f"--ecn-ip-ect {bits}" if operation & 1 else "",
    )  # fmt: skip


def _npt(target: XtTarget, names: Names) -> str:
    """struct ip6t_npt_tginfo: two prefixes, then their lengths."""
    info = target.info
    return f"--src-pfx {ip_text(info[:16])}/{info[32]} --dst-pfx {ip_text(info[16:32])}/{info[33]}"


TEXTS: dict[str, Text] = {
    "AUDIT": _audit, "CONNSECMARK": _connsecmark, "SECMARK": _secmark, "HMARK": _hmark, "IDLETIMER": _idletimer,
    "RATEEST": _rateest, "SET": _set, "SYNPROXY": _synproxy, "TCPOPTSTRIP": _tcpoptstrip, "ECN": _ecn, "DNPT": _npt,
    "SNPT": _npt,
}  # fmt: skip
