"""Values as nft prints them, by the type of what they are compared with; and the elements of sets."""

from ipaddress import ip_address, summarize_address_range

from netdoctor.model.firewall import Set, SetElement, Table
from netdoctor.model.unknown import Unknown

from .xt_words import PROTOCOL_NAMES

CT_STATES = ((2, "established"), (4, "related"), (8, "new"), (1, "invalid"), (64, "untracked"))
CT_STATUS = (
    (1, "expected"), (2, "seen-reply"), (4, "assured"), (8, "confirmed"), (16, "snat"), (32, "dnat"), (512, "dying"),
)  # fmt: skip
TCP_FLAGS = (
    (1, "fin"), (2, "syn"), (4, "rst"), (8, "psh"), (16, "ack"), (32, "urg"), (64, "ecn"), (128, "cwr"),
)  # fmt: skip
BITS = {"ct_state": CT_STATES, "ct_status": CT_STATUS, "tcp_flag": TCP_FLAGS}
ICMP_TYPES = {
    0: "echo-reply", 3: "destination-unreachable", 4: "source-quench", 5: "redirect", 8: "echo-request",
    9: "router-advertisement", 10: "router-solicitation", 11: "time-exceeded", 12: "parameter-problem",
    13: "timestamp-request", 14: "timestamp-reply", 17: "address-mask-request", 18: "address-mask-reply",
}  # fmt: skip
ICMP6_TYPES = {
    1: "destination-unreachable", 2: "packet-too-big", 3: "time-exceeded", 4: "parameter-problem", 128: "echo-request",
    129: "echo-reply", 130: "mld-listener-query", 131: "mld-listener-report", 132: "mld-listener-done",
    133: "nd-router-solicit", 134: "nd-router-advert", 135: "nd-neighbor-solicit", 136: "nd-neighbor-advert",
    137: "nd-redirect", 143: "mld2-listener-report",
}  # fmt: skip
FIB_TYPES = (
    "unspec", "unicast", "local", "broadcast", "anycast", "multicast", "blackhole", "unreachable", "prohibit",
)  # fmt: skip
NAMES = {
    "icmp_type": ICMP_TYPES, "icmpv6_type": ICMP6_TYPES, "nfproto": {2: "ipv4", 10: "ipv6"},
    "l4proto": PROTOCOL_NAMES | {47: "gre"}, "ether_type": {0x0800: "ip", 0x0806: "arp", 0x86DD: "ip6", 0x8100: "vlan"},
    "pkttype": {0: "host", 1: "broadcast", 2: "multicast", 3: "other"}, "ct_dir": {0: "original", 1: "reply"},
    "fib_type": dict(enumerate(FIB_TYPES)), "boolean": {0: "missing", 1: "exists"},
    "icmp_code": {
        0: "net-unreachable", 1: "host-unreachable", 2: "prot-unreachable", 3: "port-unreachable", 4: "frag-needed",
        9: "net-prohibited", 10: "host-prohibited", 13: "admin-prohibited",
    },
    "arp_op": {1: "request", 2: "reply"},
    "dscp": {0: "cs0", 8: "cs1", 16: "cs2", 24: "cs3", 32: "cs4", 40: "cs5", 48: "cs6", 56: "cs7", 46: "ef"},
}  # fmt: skip
HOST_ORDER = ("mark", "number_host", "ct_state", "ct_status", "fib_type", "ifindex", "uid", "tc_handle")


def number(value: bytes, kind: str) -> int:
    """The value as a number, in the byte order its type has in a register."""
    return int.from_bytes(value, "little" if kind in HOST_ORDER else "big")


def shown(value: bytes, kind: str) -> str:
    """One value."""
    if kind == "address":
        return str(ip_address(value)) if len(value) in (4, 16) else "0x" + value.hex()
    if kind == "ifname":
        name = value.rstrip(b"\0").decode("utf-8", "backslashreplace")
        return f'"{name}"' if value.endswith(b"\0") else f'"{name}*"'
    if kind == "mac":
        return value.hex(":")
    if kind == "mark":
        return f"0x{number(value, kind):08x}"
    if kind == "tc_handle":
        found = number(value, kind)
        return f"{found >> 16:x}:{found & 0xFFFF:x}"
    if kind == "hex":
        return "0x" + value.hex()
    if kind in BITS:
        found = number(value, kind)
        return ",".join(name for bit, name in BITS[kind] if found & bit) or str(found)
    found = number(value, kind)
    return NAMES.get(kind, {}).get(found, str(found))


def with_mask(value: bytes, mask: bytes, kind: str) -> str | None:
    """ "10.0.0.0/24" when the mask is a prefix's; None when it is not."""
    bits = int.from_bytes(mask, "big")
    length = len(mask) * 8
    ones = bits.bit_count()
    if kind != "address" or bits != ((1 << ones) - 1) << (length - ones):
        return None
    return shown(value, kind) + (f"/{ones}" if ones < length else "")


def span(low: bytes, high: bytes, kind: str) -> str:
    """A range, as a prefix where it is one."""
    if low == high:
        return shown(low, kind)
    if kind == "address" and len(low) in (4, 16):
        first, last = ip_address(low), ip_address(high)
        if first.version == 4 and last.version == 4:
            networks = list(summarize_address_range(first, last))
            return str(networks[0]) if len(networks) == 1 else f"{first}-{last}"
        if first.version == 6 and last.version == 6:
            wide = list(summarize_address_range(first, last))
            return str(wide[0]) if len(wide) == 1 else f"{first}-{last}"
    return f"{shown(low, kind)}-{shown(high, kind)}"


def set_text(table: Table, name: str, kinds: tuple[str, ...], data_kind: str = "") -> str:
    """ "@name", or an anonymous set's elements in braces."""
    found = table.set(name)
    if found is None or "anonymous" not in found.flags:
        return f"@{name}"
    if isinstance(found.elements, Unknown):
        return f"{{ [elements of {name}: {found.elements.why}] }}"
    pairs = _intervals(found) if "interval" in found.flags and not found.fields else _plain(found)
    words = [_key(found, low, high, kinds) + _data(element, data_kind) for low, high, element in pairs]
    return "{ " + ", ".join(words) + " }"


def _plain(found: Set) -> list[tuple[bytes, bytes, SetElement]]:
    elements = () if isinstance(found.elements, Unknown) else found.elements
    ordered = sorted(elements, key=lambda each: (each.catchall, each.key))
    return [(each.key, each.key_end or each.key, each) for each in ordered]


def _intervals(found: Set) -> list[tuple[bytes, bytes, SetElement]]:
    """Starts paired with the interval_end that follows; without one the interval is open to the top."""
    elements = () if isinstance(found.elements, Unknown) else found.elements
    ordered = sorted(
        (each for each in elements if not each.catchall), key=lambda each: (each.key, not each.interval_end)
    )
    pairs: list[tuple[bytes, bytes, SetElement]] = []
    for index, each in enumerate(ordered):
        if each.interval_end:
            continue
        size = len(each.key)
        following = ordered[index + 1] if index + 1 < len(ordered) else None
        top = (1 << size * 8) - 1 if following is None else int.from_bytes(following.key, "big") - 1
        pairs.append((each.key, each.key_end or top.to_bytes(size, "big"), each))
    return pairs + [(b"", b"", each) for each in elements if each.catchall]


def _key(found: Set, low: bytes, high: bytes, kinds: tuple[str, ...]) -> str:
    if not low:
        return "*"
    if len(kinds) < 2:
        return span(low, high, kinds[0] if kinds else "hex")
    parts: list[str] = []
    offset = 0
    sizes = found.fields or tuple(KIND_BYTES.get(kind, 4) for kind in kinds)
    for kind, size in zip(kinds, sizes, strict=False):
        parts.append(span(low[offset : offset + size], high[offset : offset + size], kind))
        offset += -(-size // 4) * 4
    return " . ".join(parts)


KIND_BYTES = {"port": 2, "l4proto": 1, "mac": 6, "ifname": 16, "icmp_type": 1, "icmpv6_type": 1, "nfproto": 1}


def _data(element: SetElement, kind: str) -> str:
    if element.verdict:
        return f" : {element.verdict} {element.chain}".rstrip()
    if element.value:
        half = len(element.value) // 2
        if kind == "address" and half in (4, 16) and len(element.value) == 2 * half and half != 8:
            return f" : {span(element.value[:half], element.value[half:], kind)}"
        return f" : {shown(element.value, kind or 'hex')}"
    return ""
