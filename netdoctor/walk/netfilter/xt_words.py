"""Words that several xtables matches and targets print alike (libxtables, iptables 1.8)."""

import string
from ipaddress import ip_address

PROTOCOL_NAMES = {
    1: "icmp", 2: "igmp", 4: "ipencap", 6: "tcp", 17: "udp", 33: "dccp", 41: "ipv6", 47: "gre", 50: "esp", 51: "ah",
    58: "ipv6-icmp", 89: "ospf", 103: "pim", 112: "vrrp", 132: "sctp", 135: "mobility-header", 136: "udplite",
}  # fmt: skip
PLAIN = set(string.ascii_letters + string.digits + "_-")
RATES = (("sec", 1), ("min", 60), ("hour", 3600), ("day", 86400))
LIMIT_SCALE = 10000
TCP_FLAGS = (("FIN", 1), ("SYN", 2), ("RST", 4), ("PSH", 8), ("ACK", 16), ("URG", 32))


def protocol_name(number: int) -> str:
    return PROTOCOL_NAMES.get(number, str(number))


def quoted(value: str) -> str:
    """xtables_save_string: bare when it is all letters, digits, "_" and "-"; else in double quotes with escapes."""
    if value and all(character in PLAIN for character in value):
        return value
    return '"' + "".join("\\" + character if character in "\"\\'" else character for character in value) + '"'


def text_of(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("utf-8", "backslashreplace")


def option(name: str, value: str, invert: bool | int = False) -> str:
    """ "--dport 80", "! --dport 80"."""
    return ("! " if invert else "") + f"{name} {value}"


def span(low: int, high: int, mark: str = ":") -> str:
    """A port or a range of them."""
    return str(low) if low == high else f"{low}{mark}{high}"


def masked(value: int, mask: int) -> str:
    """ "0x1" or "0x1/0xff"."""
    return f"{value:#x}" if mask == 0xFFFFFFFF else f"{value:#x}/{mask:#x}"


def address(raw: bytes, version: int) -> str:
    """An address in a 16-byte union."""
    return str(ip_address(bytes(raw[: 4 if version == 4 else 16])))


def mask_suffix(mask: bytes) -> str:
    """ "/24", or "/255.0.255.0" when the mask has holes."""
    length = len(mask) * 8
    number = int.from_bytes(mask, "big")
    ones = number.bit_count()
    if number == ((1 << ones) - 1) << (length - ones):
        return f"/{ones}"
    return f"/{ip_address(bytes(mask))}"


def prefix(raw: bytes, mask: bytes) -> str:
    return f"{ip_address(bytes(raw))}{mask_suffix(mask)}"


def tcp_flags(flags: int) -> str:
    return ",".join(name for name, bit in TCP_FLAGS if flags & bit) or "NONE"


def rate(average: int) -> str:
    """ "5/sec" from the kernel's tenths of milliseconds per packet (print_rate in libxt_limit.c)."""
    if not average:
        return "inf"
    units = tuple((name, seconds * LIMIT_SCALE) for name, seconds in reversed(RATES))
    chosen = units[0]
    for unit in units[1:]:
        if average > unit[1] or unit[1] // average < unit[1] % average:
            break
        chosen = unit
    return f"{chosen[1] // average}/{chosen[0]}"
