"""Matches on the headers of less common protocols as iptables-save prints them (extensions/libxt_*.c)."""

import struct

from netdoctor.model.expression import XtMatch

from .xt_match_text import Names, Text
from .xt_words import joined, option, span, text_of

ANY_SPI = (0, 0xFFFFFFFF)
DCCP_TYPES = (
    "REQUEST", "RESPONSE", "DATA", "ACK", "DATAACK", "CLOSEREQ", "CLOSE", "RESET", "SYNC", "SYNCACK", "INVALID",
)  # fmt: skip
CHUNKS = {
    0: "DATA", 1: "INIT", 2: "INIT_ACK", 3: "SACK", 4: "HEARTBEAT", 5: "HEARTBEAT_ACK", 6: "ABORT", 7: "SHUTDOWN",
    8: "SHUTDOWN_ACK", 9: "ERROR", 10: "COOKIE_ECHO", 11: "COOKIE_ACK", 12: "ECN_ECNE", 13: "ECN_CWR",
    14: "SHUTDOWN_COMPLETE", 64: "I_DATA", 128: "ASCONF_ACK", 130: "RE_CONFIG", 132: "PAD", 192: "FORWARD_TSN",
    193: "ASCONF", 194: "I_FORWARD_TSN",
}  # fmt: skip
CHUNK_FLAGS = {0: "----IUBE", 6: "-------T", 14: "-------T", 64: "----IUBE"}
CHUNK_WAYS = {1: "any", 2: "all", 4: "only"}


def spis(name: str, low: int, high: int, invert: int) -> str:
    """A security parameter index or a range of them; every index is not printed."""
    return option(name, span(low, high), invert) if (low, high) != ANY_SPI else ""


def _sctp(match: XtMatch, names: Names) -> str:
    """struct xt_sctp_info: flags 1 source ports, 2 destination ports, 4 chunk types; the same bits invert."""
    low_d, high_d, low_s, high_s = struct.unpack_from("=4H", match.info)
    asked, invert = struct.unpack_from("=2I", match.info, 284)
    return joined(
        option("--sport", span(low_s, high_s), invert & 1) if asked & 1 else "",
        option("--dport", span(low_d, high_d), invert & 2) if asked & 2 else "",
        option("--chunk-types", _chunks(match.info), invert & 4) if asked & 4 else "",
    )


def _chunks(info: bytes) -> str:
    words = struct.unpack_from("=64I", info, 8)
    way, count = CHUNK_WAYS[struct.unpack_from("=I", info, 264)[0]], struct.unpack_from("=i", info, 280)[0]
    chosen = [kind for kind in range(256) if words[kind // 32] >> kind % 32 & 1]
    if len(chosen) == 256:
        return f"{way} ALL"
    flags = {info[at]: (info[at + 1], info[at + 2]) for at in range(268, 268 + 3 * min(count, 4), 3)}
    return f"{way} {','.join(_chunk(kind, *flags.get(kind, (0, 0))) for kind in chosen) or 'NONE'}"


def _chunk(kind: int, value: int, mask: int) -> str:
    """A chunk's name, then the flags asked for: a capital wants the flag set, a small letter not set."""
    letters = CHUNK_FLAGS.get(kind, "--------")
    asked = "".join(
        letters[7 - bit] if value >> bit & 1 else letters[7 - bit].lower()
        for bit in range(7, -1, -1)
        if mask >> bit & 1
    )
    return CHUNKS[kind] + (f":{asked}" if asked else "")


def _dccp(match: XtMatch, names: Names) -> str:
    """struct xt_dccp_info: flags 1 source ports, 2 destination ports, 4 types, 8 an option; the same bits invert."""
    low_d, high_d, low_s, high_s, asked, invert, types, number = struct.unpack_from("=7HB", match.info)
    kinds = ",".join(name for bit, name in enumerate(DCCP_TYPES) if types >> bit & 1)
    return joined(
        option("--sport", span(low_s, high_s), invert & 1) if asked & 1 else "",
        option("--dport", span(low_d, high_d), invert & 2) if asked & 2 else "",
        option("--dccp-types", kinds, invert & 4) if asked & 4 else "",
        option("--dccp-option", str(number), invert & 8) if asked & 8 else "",
    )


def _esp(match: XtMatch, names: Names) -> str:
    return spis("--espspi", *struct.unpack_from("=2IB", match.info))


def _ipcomp(match: XtMatch, names: Names) -> str:
    low, high, invert, reserved = struct.unpack_from("=2I2B", match.info)
    return joined(spis("--ipcompspi", low, high, invert & 1), "--compres" if reserved else "")


def _tcpmss(match: XtMatch, names: Names) -> str:
    low, high, invert = struct.unpack_from("=2HB", match.info)
    return option("--mss", span(low, high), invert)


def _ecn(match: XtMatch, names: Names) -> str:
    asked, invert, bits = match.info[:3]
    order = ((16, "--ecn-tcp-ece"), (32, "--ecn-tcp-cwr"), (1, f"--ecn-ip-ect {bits}"))
    return " ".join(("! " if invert & bit else "") + word for bit, word in order if asked & bit)


def _osf(match: XtMatch, names: Names) -> str:
    """struct nf_osf_info: flags 2 ttl, 4 log, 8 inverted."""
    flags, level, ttl = struct.unpack_from("=3I", match.info, 36)
    return joined(
        option("--genre", text_of(match.info[:32]), flags & 8), f"--ttl {ttl}" if flags & 2 else "",
        f"--log {level}" if flags & 4 else "",
    )  # fmt: skip


TEXTS: dict[str, Text] = {
    "sctp": _sctp, "dccp": _dccp, "esp": _esp, "ipcomp": _ipcomp, "tcpmss": _tcpmss, "ecn": _ecn, "osf": _osf,
}  # fmt: skip
