"""Words that several xtables matches and targets print alike (libxtables, iptables 1.8)."""

import string
from ipaddress import ip_address

PROTOCOL_NAMES = {
    1: "icmp", 2: "igmp", 3: "ggp", 4: "ipencap", 5: "st", 6: "tcp", 8: "egp", 9: "igp", 12: "pup", 17: "udp",
    20: "hmp", 22: "xns-idp", 27: "rdp", 29: "iso-tp4", 33: "dccp", 36: "xtp", 37: "ddp", 38: "idpr-cmtp", 41: "ipv6",
    43: "ipv6-route", 44: "ipv6-frag", 45: "idrp", 46: "rsvp", 47: "gre", 50: "esp", 51: "ah", 57: "skip",
    58: "ipv6-icmp", 59: "ipv6-nonxt", 60: "ipv6-opts", 73: "rspf", 81: "vmtp", 88: "eigrp", 89: "ospf", 93: "ax.25",
    94: "ipip", 97: "etherip", 98: "encap", 103: "pim", 108: "ipcomp", 112: "vrrp", 115: "l2tp", 124: "isis",
    132: "sctp", 133: "fc", 135: "mobility-header", 136: "udplite", 137: "mpls-in-ip", 138: "manet", 139: "hip",
    140: "shim6", 141: "wesp", 142: "rohc", 143: "ethernet",
}  # fmt: skip
PLAIN = set(string.ascii_letters + string.digits + "_-")
RATES = (("sec", 1), ("min", 60), ("hour", 3600), ("day", 86400))
LIMIT_SCALE = 10000
FULL_PORTS = (0, 0xFFFF)
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


def ports(names: tuple[str, str], source: tuple[int, int], destination: tuple[int, int], invert: int) -> str:
    """Source ports (inverted by bit 1) and destination ports (bit 2); all ports are not printed, not even inverted."""
    return joined(
        option(names[0], span(*source), invert & 1) if source != FULL_PORTS else "",
        option(names[1], span(*destination), invert & 2) if destination != FULL_PORTS else "",
    )


def masked(value: int, mask: int) -> str:
    """ "0x1" or "0x1/0xff"."""
    return f"{value:#x}" if mask == 0xFFFFFFFF else f"{value:#x}/{mask:#x}"


def joined(*words: str) -> str:
    """The words that are there, with a blank between."""
    return " ".join(word for word in words if word)


def ip_text(raw: bytes) -> str:
    """An address as inet_ntop(3) writes it: an IPv4 address inside an IPv6 one stays dotted."""
    if (
        len(raw) == 16
        and raw[:10] == bytes(10)
        and (raw[10:12] == b"\xff\xff" or (raw[10:12] == bytes(2) and any(raw[12:14])))
    ):
        return f"::{'ffff:' if raw[10] else ''}{ip_address(bytes(raw[12:]))}"
    return str(ip_address(bytes(raw)))


def address(raw: bytes, version: int) -> str:
    """An address in a 16-byte union."""
    return ip_text(raw[: 4 if version == 4 else 16])


def network(raw: bytes, mask: bytes, version: int) -> str:
    """An address in a 16-byte union with its mask, unless the mask is for a single host."""
    suffix = mask_suffix(mask[: 4 if version == 4 else 16])
    return address(raw, version) + ("" if suffix in ("/32", "/128") else suffix)


def opaque(name: str, revision: int, info: bytes) -> str:
    """What stands for a struct that is not printed: its name, its revision and its bytes without the zeros behind."""
    return " ".join(("[opaque", name, f"revision {revision}", bytes(info).rstrip(b"\0").hex() or "00")) + "]"


def mask_suffix(mask: bytes) -> str:
    """ "/24", or "/255.0.255.0" when the mask has holes."""
    length = len(mask) * 8
    number = int.from_bytes(mask, "big")
    ones = number.bit_count()
    if number == ((1 << ones) - 1) << (length - ones):
        return f"/{ones}"
    return f"/{ip_address(bytes(mask))}"


def prefix(raw: bytes, mask: bytes) -> str:
    return f"{ip_text(raw)}{mask_suffix(mask)}"


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
