"""Matches on what the system keeps (sets, IPsec, helpers, labels, groups, time) as iptables-save prints them."""

import struct
from datetime import UTC, datetime

from netdoctor.model.expression import XtMatch

from .xt_match_text import Names, Text
from .xt_set import set_info
from .xt_words import joined, masked, network, option, protocol_name, quoted, text_of

GROUP_NAMES, REALM_NAMES = {0: "default"}, {0: "cosmos"}
"""What iproute2 calls them unless told otherwise (/etc/iproute2/group and rt_realms)."""
NO_COUNTER_UPDATE, NO_SUBCOUNTER_UPDATE, RETURN_NOMATCH = 8, 16, 128
COUNTER_TESTS = {1: "eq", 2: "eq", 3: "lt", 4: "gt"}
NOT_EQUAL = 2
POLICY_BYTES = 76
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
ALL_DAYTIME, ALL_WEEKDAYS, ALL_MONTHDAYS = (0, 24 * 60 * 60 - 1), 0xFE, 0xFFFFFFFE


def set_words(names: Names, index: int, dimensions: int, flags: int) -> str:
    """An ipset's name and which side each of its dimensions is taken from."""
    sides = ",".join("src" if flags >> place & 1 else "dst" for place in range(1, dimensions + 1))
    return f"{names.sets.get(index, f'[set {index}]')} {sides}"


def _set(match: XtMatch, names: Names) -> str:
    index, dimensions, flags = set_info(match)
    head = option("--match-set", set_words(names, index, dimensions, flags), flags & 1)
    if match.revision < 3:
        return joined(head, "--return-nomatch" if flags & RETURN_NOMATCH else "")
    layout = "=B7xQB7xQI" if match.revision == 3 else "=QB7xQB7xI"
    first, second, third, fourth, more = struct.unpack_from(layout, match.info, 8)
    pairs = ((first, second), (third, fourth)) if match.revision == 3 else ((second, first), (fourth, third))
    counters = (_counter(name, *pair) for name, pair in zip(("packets", "bytes"), pairs, strict=True))
    return joined(
        head, "--return-nomatch" if (flags | more) & RETURN_NOMATCH else "",
        "! --update-counters" if more & NO_COUNTER_UPDATE else "",
        "! --update-subcounters" if more & NO_SUBCOUNTER_UPDATE else "", *counters,
    )  # fmt: skip


def _counter(name: str, test: int, value: int) -> str:
    return option(f"--{name}-{COUNTER_TESTS[test]}", str(value), test == NOT_EQUAL) if test else ""


def _policy(match: XtMatch, names: Names) -> str:
    """struct xt_policy_info: flags 1 in, 2 out, 4 none, 8 strict; up to four transforms."""
    flags, count = struct.unpack_from("=2H", match.info, 304)
    head = f"--dir {'in' if flags & 1 else 'out'} --pol {'none' if flags & 4 else 'ipsec'}"
    elements = [
        _transform(match.info[at : at + POLICY_BYTES], names)
        for at in range(0, POLICY_BYTES * min(count, 4), POLICY_BYTES)
    ]
    return joined(head, "--strict" if flags & 8 else "", " --next ".join(elements))


def _transform(raw: bytes, names: Names) -> str:
    spi, reqid, protocol, mode, asked, invert = struct.unpack_from("=2I4B", raw, 64)
    return joined(
        option("--reqid", str(reqid), invert & 32) if asked & 32 else "",
        option("--spi", f"{spi:#x}", invert & 16) if asked & 16 else "",
        option("--proto", protocol_name(protocol), invert & 4) if asked & 4 else "",
        option("--mode", ("transport", "tunnel")[mode], invert & 8) if asked & 8 else "",
        option("--tunnel-dst", network(raw[32:48], raw[48:64], names.version), invert & 2) if asked & 2 else "",
        option("--tunnel-src", network(raw[:16], raw[16:32], names.version), invert & 1) if asked & 1 else "",
    )


def _helper(match: XtMatch, names: Names) -> str:
    return option("--helper", quoted(text_of(match.info[4:34])), match.info[0])


def _connlabel(match: XtMatch, names: Names) -> str:
    bit, options = struct.unpack_from("=2H", match.info)
    return joined(option("--label", f'"{bit}"', options & 1), "--set" if options & 2 else "")


def _devgroup(match: XtMatch, names: Names) -> str:
    flags, source, source_mask, destination, destination_mask = struct.unpack_from("=5I", match.info)
    return joined(
        option("--src-group", _named(GROUP_NAMES, source, source_mask), flags & 2) if flags & 1 else "",
        option("--dst-group", _named(GROUP_NAMES, destination, destination_mask), flags & 8) if flags & 4 else "",
    )


def _realm(match: XtMatch, names: Names) -> str:
    number, mask, invert = struct.unpack_from("=2IB", match.info)
    return option("--realm", _named(REALM_NAMES, number, mask), invert)


def _named(known: dict[int, str], number: int, mask: int) -> str:
    return known[number] if mask == 0xFFFFFFFF and number in known else masked(number, mask)


def _cgroup(match: XtMatch, names: Names) -> str:
    """struct xt_cgroup_info_v0 to v2."""
    if not match.revision:
        number, invert = struct.unpack_from("=2I", match.info)
        return option("--cgroup", str(number), invert)
    has_path, has_class, invert_path, invert_class = match.info[:4]
    place = 4100 if match.revision == 1 else 4
    return joined(
        option("--path", f'"{text_of(match.info[4 : 4100 if match.revision == 1 else 516])}"', invert_path)
        if has_path
        else "",
        option("--cgroup", str(struct.unpack_from("=I", match.info, place)[0]), invert_class) if has_class else "",
    )


def _time(match: XtMatch, names: Names) -> str:
    """struct xt_time_info: days are printed as those that fit, so nothing is inverted."""
    first, last, start, stop, monthdays, weekdays, flags = struct.unpack_from("=5I2B", match.info)
    days = ",".join(WEEKDAYS[bit - 1] for bit in range(1, 8) if weekdays >> bit & 1)
    dates = ",".join(str(bit) for bit in range(1, 32) if monthdays >> bit & 1)
    return joined(
        f"--timestart {_clock(start)} --timestop {_clock(stop)}" if (start, stop) != ALL_DAYTIME else "",
        f"--weekdays {days}" if weekdays != ALL_WEEKDAYS else "",
        f"--monthdays {dates}" if monthdays != ALL_MONTHDAYS else "", f"--datestart {_date(first)}" if first else "",
        f"--datestop {_date(last)}" if last else "", "--kerneltz" if flags & 1 else "",
        "--contiguous" if flags & 2 else "",
    )  # fmt: skip


def _clock(seconds: int) -> str:
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def _date(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


TEXTS: dict[str, Text] = {
    "set": _set, "policy": _policy, "helper": _helper, "connlabel": _connlabel, "devgroup": _devgroup, "realm": _realm,
    "cgroup": _cgroup, "time": _time,
}  # fmt: skip
