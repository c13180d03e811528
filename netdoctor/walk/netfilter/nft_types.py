"""Values as nft prints them, by the type of what they are compared with (nftables: src/datatype.c, src/meta.c, src/ct.c)."""

from collections.abc import Callable
from datetime import UTC, datetime
from ipaddress import IPv6Address, ip_address

from .nft_names import BITS, DEFAULTS, FORMATS, NAMES

PREFIXED = ("address",)
NANOSECONDS = 1_000_000_000
UNITS_MS = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1))
DAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday")
TYPE_NUMBERS = {
    2: "nfproto", 3: "hex", 4: "integer", 5: "string", 7: "address", 8: "address", 9: "mac", 10: "ether_type",
    11: "arp_op", 12: "l4proto", 13: "port", 14: "icmp_type", 15: "tcp_flag", 16: "dccp_type", 17: "mh_type", 18: "time",
    19: "mark", 20: "ifindex", 21: "iftype", 22: "realm", 23: "tc_handle", 24: "uid", 25: "gid", 26: "ct_state",
    27: "ct_dir", 28: "ct_status", 29: "icmpv6_type", 30: "ct_label", 31: "pkttype", 32: "icmp_code",
    33: "icmpv6_code", 34: "icmpx_code", 35: "devgroup", 36: "dscp", 37: "ecn", 38: "fib_type", 39: "boolean",
    40: "ct_event", 41: "ifname", 42: "igmp_type", 43: "date", 44: "hour", 45: "day", 46: "cgroupv2",
}  # fmt: skip
HOST_ORDER = (
    "mark", "ct_state", "ct_status", "ct_event", "fib_type", "ifindex", "uid", "gid", "tc_handle", "iftype", "realm",
    "devgroup", "time", "date", "hour", "number_host", "ifname", "string", "pkttype", "ct_label", "cgroupv2",
)  # fmt: skip


def order_of(kind: str) -> str:
    """In which byte order values of this type stand in a register: "host" or "big"."""
    return "host" if kind in HOST_ORDER else "big"


def number_in(raw: int, bits: int, order: str) -> int:
    """The number that bytes read as big-endian stand for."""
    size = -(-max(bits, raw.bit_length()) // 8)
    return int.from_bytes(raw.to_bytes(size, "big"), "little") if order == "host" else raw


def is_flags(kind: str) -> bool:
    return kind in BITS


def bit_names(number: int, kind: str) -> list[str]:
    """One word for each bit set, from the lowest."""
    known = dict(BITS[kind])
    return [
        known.get(1 << bit) or FORMATS.get(kind, "0x{:x}").format(1 << bit)
        for bit in range(number.bit_length())
        if number >> bit & 1
    ]


def shown(number: int, kind: str, bits: int) -> str:
    """One value, not taken apart into flags."""
    if kind in FORMATS and kind not in NAMES and kind not in BITS:
        return FORMATS[kind].format(number)
    if kind in BITS:
        return dict(BITS[kind]).get(number) or FORMATS.get(kind, "0x{:x}").format(number)
    special = SPECIAL.get(kind)
    if special is not None and number.bit_length() > WIDEST.get(kind, 1 << 16):
        return f"0x{number:x}"
    if special is not None:
        return special(number, bits)
    return NAMES.get(kind, {}).get(number) or FORMATS.get(kind, "{}").format(number)


def plain(number: int, kind: str, bits: int) -> str:
    """One value without its name, as at the ends of a range."""
    if kind in NAMES or kind in BITS:
        return FORMATS.get(kind, "{}").format(number)
    return shown(number, kind, bits)


def _address(number: int, bits: int) -> str:
    """As inet_ntop prints it, which shows the last 32 bits of some IPv6 addresses as IPv4."""
    if bits <= 32:
        return str(ip_address(number))
    address = IPv6Address(number)
    upper, lower = number >> 32, number & 0xFFFFFFFF
    if (upper == 0 and lower >> 16) or upper in (0xFFFF, 0xFFFF0000):
        head = {0: "::", 0xFFFF: "::ffff:", 0xFFFF0000: "::ffff:0:"}[upper]
        return head + str(ip_address(lower)) if upper != 0xFFFF0000 else str(address)
    return str(address)


def _mac(number: int, bits: int) -> str:
    return number.to_bytes(6, "big").hex(":")


def _text(number: int, bits: int) -> str:
    raw = number.to_bytes(-(-bits // 8), "little")
    return raw.split(b"\0", 1)[0].decode("utf-8", "backslashreplace")


def _quoted(number: int, bits: int) -> str:
    """A name that is not ended stands for all that begin so; a star of its own is escaped."""
    raw = number.to_bytes(-(-bits // 8), "little")
    name = _text(number, bits)
    if raw[-1:] != b"\0":
        return f'"{name}*"'
    return f'"{name[:-1]}\\*"' if name.endswith("*") else f'"{name}"'


def duration(milliseconds: int, bits: int = 0) -> str:
    """ "1d2h30s"; "0s"."""
    words, left = "", milliseconds
    for unit, size in UNITS_MS:
        if left >= size:
            words, left = f"{words}{left // size}{unit}", left % size
    return words or "0s"


def _hour(number: int, bits: int) -> str:
    hours, left = divmod(number, 3600)
    minutes, seconds = divmod(left, 60)
    return f'"{hours:02}:{minutes:02}' + (f':{seconds:02}"' if seconds else '"')


def _date(number: int, bits: int) -> str:
    """In UTC; nft shows the reader's own time zone."""
    return datetime.fromtimestamp(number // NANOSECONDS, UTC).strftime('"%Y-%m-%d %H:%M:%S"')


def _day(number: int, bits: int) -> str:
    return f'"{DAYS[number]}"' if number < len(DAYS) else str(number)


def _handle(number: int, bits: int) -> str:
    named = {0: "none", 0xFFFFFFFF: "root"}.get(number)
    return named or f"{number >> 16:x}:{number & 0xFFFF:x}"


def _default(kind: str, number: int) -> str:
    return f'"{DEFAULTS[kind]}"' if number == 0 else str(number)


WIDEST = {"mac": 48, "address": 128, "date": 64, "hour": 32, "time": 64}
SPECIAL: dict[str, Callable[[int, int], str]] = {
    "address": _address, "mac": _mac, "ifname": _quoted, "string": _quoted, "time": duration, "hour": _hour,
    "date": _date, "day": _day, "tc_handle": _handle,     "devgroup": lambda number, bits: _default("devgroup", number),
    "realm": lambda number, bits: _default("realm", number),
}  # fmt: skip
