"""Matches that count, rate or draw lots, as iptables-save prints them (extensions/libxt_*.c)."""

import struct

from netdoctor.model.expression import XtMatch

from .xt_match_text import Names, Text
from .xt_words import address, joined, option, text_of

DAY_S = (("day", 86400), ("hour", 3600), ("min", 60), ("sec", 1))
BYTE_UNITS = (("m", 1 << 20), ("k", 1 << 10), ("", 1))
UINT32_MAX, UINT64_MAX = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF
INVERTED, IN_BYTES, RATE_MATCH = 16, 32, 64
MODES = ((4, "srcip"), (8, "srcport"), (1, "dstip"), (2, "dstport"))
COLLECTION_INTERVAL_MS = 1000
CONNBYTES_WHAT, CONNBYTES_WAY = ("packets", "bytes", "avgpkt"), ("original", "reply", "both")


def _statistic(match: XtMatch, names: Names) -> str:
    mode, invert, number, packet = struct.unpack_from("=2H2I", match.info)
    if mode == 0:
        return "--mode random " + option("--probability", f"{number / 0x80000000:.11f}", invert)
    return "--mode nth " + option("--every", str(number + 1), invert) + f" --packet {packet}"


def _quota(match: XtMatch, names: Names) -> str:
    flags, quota = struct.unpack_from("=I4xQ", match.info)
    return option("--quota", str(quota), flags & 1)


def _connlimit(match: XtMatch, names: Names) -> str:
    mask, limit, flags = match.info[:16], *struct.unpack_from("=2I", match.info, 16)
    bits = int.from_bytes(mask[: 4 if names.version == 4 else 16], "big").bit_count()
    above = "--connlimit-upto" if flags & 1 else "--connlimit-above"
    return f"{above} {limit} --connlimit-mask {bits} --connlimit-{'d' if flags & 2 else 's'}addr"


def _connbytes(match: XtMatch, names: Names) -> str:
    """struct xt_connbytes_info: bounds in the wrong order mean that they are inverted."""
    low, high, what, way = struct.unpack_from("=2Q2B", match.info)
    invert = low > high
    low, high = (high, low) if invert else (low, high)
    shown = f"{low}:{high}" if 0 < high < UINT64_MAX else str(low)
    mode = f"--connbytes-mode {CONNBYTES_WHAT[what]} --connbytes-dir {CONNBYTES_WAY[way]}"
    return f"{option('--connbytes', shown, invert)} {mode}"


def _recent(match: XtMatch, names: Names) -> str:
    seconds, hits, kind, invert = struct.unpack_from("=2I2B", match.info)
    verbs = [word for bit, word in ((2, "--set"), (1, "--rcheck"), (4, "--update"), (8, "--remove")) if kind & bit]
    mask = f"--mask {address(match.info[212:228], names.version)}" if match.revision else ""
    return joined(
        "!" if invert else "", verbs[0], f"--seconds {seconds}" if seconds else "", "--reap" if kind & 32 else "",
        f"--hitcount {hits}" if hits else "", "--rttl" if kind & 16 else "", f"--name {text_of(match.info[10:210])}",
        mask, "--rdest" if match.info[210] else "--rsource",
    )  # fmt: skip


def _hashlimit(match: XtMatch, names: Names) -> str:
    """struct xt_hashlimit_mtinfo1 to 3. The time entries live is printed when it is not what the rate implies."""
    mode, average, burst, size, most, collect, expire, interval, source, destination = _limits(match)
    if mode & IN_BYTES:
        shown, implied = _byte_rate(average, burst)
    else:
        shown, implied = _packet_rate(average, 10000 if match.revision == 1 else 1000000)
        shown += f" --hashlimit-burst {burst}"
    by = ",".join(word for bit, word in MODES if mode & bit)
    whole = 32 if names.version == 4 else 128
    return joined(
        f"--hashlimit-{'above' if mode & INVERTED else 'upto'} {shown}", f"--hashlimit-mode {by}" if by else "",
        f"--hashlimit-name {text_of(match.info[: 16 if match.revision == 1 else 255])}",
        f"--hashlimit-htable-size {size}" if size else "", f"--hashlimit-htable-max {most}" if most else "",
        f"--hashlimit-htable-gcinterval {collect}" if collect != COLLECTION_INTERVAL_MS else "",
        f"--hashlimit-htable-expire {expire}" if expire != implied else "",
        f"--hashlimit-srcmask {source}" if source != whole else "",
        f"--hashlimit-dstmask {destination}" if destination != whole else "",
        "--hashlimit-rate-match" if mode & RATE_MATCH else "",
        f"--hashlimit-rate-interval {interval}" if mode & RATE_MATCH and interval != 1 else "",
    )  # fmt: skip


def _limits(match: XtMatch) -> tuple[int, ...]:
    """Mode, average, burst, size, max, gc interval, expire, rate interval, source mask, destination mask."""
    if match.revision == 1:
        *head, source, destination = struct.unpack_from("=7I2B", match.info, 16)
        return (*head, 1, source, destination)
    if match.revision == 2:
        average, burst, mode, *rest, source, destination = struct.unpack_from("=2Q5I2B", match.info, 256)
        return (mode, average, burst, *rest, 1, source, destination)
    if match.revision != 3:
        raise ValueError(f"hashlimit revision {match.revision}")
    average, burst, mode, *rest = struct.unpack_from("=2Q6I2B", match.info, 256)
    return (mode, average, burst, *rest)


def _packet_rate(period: int, scale: int) -> tuple[str, int]:
    """The rate in the largest unit that holds it well, and that unit in milliseconds."""
    if not period:
        return "inf", 0
    name, seconds = DAY_S[0]
    for unit in DAY_S[1:]:
        whole = unit[1] * scale
        if period > whole or whole // period < whole % period:
            break
        name, seconds = unit
    return f"{seconds * scale // period}/{name}", seconds * 1000


def _byte_rate(cost: int, burst: int) -> tuple[str, int]:
    """A rate in bytes (kept as a cost per 16 bytes), its burst, and how long entries then live."""
    rate = ((UINT32_MAX // cost if cost else UINT32_MAX) - 1) << 4
    name, size = next(
        (unit for unit in BYTE_UNITS[:-1] if rate >= unit[1] and _cost(rate & ~(unit[1] - 1)) == cost), BYTE_UNITS[-1]
    )
    shown = f"{rate // size}{name}b/s"
    if not burst:
        return shown, 15000
    rate *= burst
    name, size = next((unit for unit in BYTE_UNITS if rate >= unit[1]), BYTE_UNITS[-1])
    return f"{shown} --hashlimit-burst {rate // size}{name}b", 60000


def _cost(rate: int) -> int:
    return UINT32_MAX // ((rate >> 4) + 1)


def _rateest(match: XtMatch, names: Names) -> str:
    """struct xt_rateest_match_info: flags 1 inverted, 4 two estimators, 8 differences, 16 bits, 32 packets a second."""
    flags, mode, *rates = struct.unpack_from("=2H4I", match.info, 32)
    first, second, word = text_of(match.info[:16]), text_of(match.info[16:32]), {1: "eq", 2: "lt", 3: "gt"}[mode]
    compare = option(f"--rateest-{word}", "", flags & 1).rstrip()
    words = ["--rateest-delta"] if flags & 8 else []
    words.append(f"--rateest{'1' if flags & 4 else ''} {first}")
    for bit, unit, low, high in (
        (16, "bps", _bits(rates[0]), _bits(rates[2])),
        (32, "pps", str(rates[1]), str(rates[3])),
    ):
        if flags & bit and flags & 8:
            words.append(f"--rateest-{unit}1 {low} {compare} --rateest-{unit}2 {high}")
        elif flags & bit:
            words.append(f"{compare} --rateest-{unit}" + ("" if flags & 4 else f" {high}"))
    return " ".join((*words, f"--rateest2 {second}") if flags & 4 else words)


def _bits(rate: int) -> str:
    """A rate of bytes in the bits tc(8) prints."""
    bits = rate * 8
    if bits >= 1_000_000_000:
        return f"{bits / 1e6:.0f}Mbit"
    return f"{bits / 1e3:.0f}Kbit" if bits >= 1_000_000 else f"{bits}bit"


def _cluster(match: XtMatch, names: Names) -> str:
    total, nodes, seed, flags = struct.unpack_from("=4I", match.info)
    mask = option("--cluster-local-nodemask", f"0x{nodes:08x}", flags & 1)
    return f"{mask} --cluster-total-nodes {total} --cluster-hash-seed 0x{seed:08x}"


def _cpu(match: XtMatch, names: Names) -> str:
    number, invert = struct.unpack_from("=2I", match.info)
    return option("--cpu", str(number), invert)


def _nfacct(match: XtMatch, names: Names) -> str:
    return f"--nfacct-name {text_of(match.info[:32])}"


TEXTS: dict[str, Text] = {
    "statistic": _statistic, "quota": _quota, "connlimit": _connlimit, "connbytes": _connbytes, "recent": _recent,
    "hashlimit": _hashlimit, "cluster": _cluster, "cpu": _cpu, "nfacct": _nfacct,
    "rateest": _rateest,
}  # fmt: skip
