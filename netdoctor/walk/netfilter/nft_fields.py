"""What nft calls the things it loads: header fields, metadata and conntrack keys, each with the type of its value."""

from netdoctor.model.expression import Payload

META_KINDS = {
    "iifname": ("ifname", 16), "oifname": ("ifname", 16), "bri_iifname": ("ifname", 16), "bri_oifname": ("ifname", 16),
    "iif": ("ifindex", 4), "oif": ("ifindex", 4), "iifkind": ("ifname", 16), "oifkind": ("ifname", 16),
    "mark": ("mark", 4), "l4proto": ("l4proto", 1), "nfproto": ("nfproto", 1), "protocol": ("ether_type", 2),
    "pkttype": ("pkttype", 1), "skuid": ("uid", 4), "skgid": ("uid", 4), "len": ("number_host", 4),
    "priority": ("tc_handle", 4), "iiftype": ("number_host", 2), "oiftype": ("number_host", 2), "secpath": ("boolean", 1),
    "nftrace": ("number_host", 1),
}  # fmt: skip
BARE_META = ("iif", "oif", "iifname", "oifname", "iiftype", "oiftype", "iifgroup", "oifgroup")
META_WORDS = {
    "len": "meta length", "bri_iifname": "meta ibrname", "bri_oifname": "meta obrname", "secpath": "meta ipsec",
    "prandom": "meta random",
}  # fmt: skip
CT_KINDS = {
    "state": ("ct_state", 4), "status": ("ct_status", 4), "mark": ("mark", 4), "direction": ("ct_dir", 1),
    "src": ("address", 4), "dst": ("address", 4), "src_ip": ("address", 4), "dst_ip": ("address", 4),
    "src_ip6": ("address", 16), "dst_ip6": ("address", 16), "proto_src": ("port", 2), "proto_dst": ("port", 2),
    "protocol": ("l4proto", 1), "zone": ("number_host", 2), "helper": ("ifname", 16),
}  # fmt: skip
CT_WORDS = {
    "src": "saddr", "dst": "daddr", "src_ip": "ip saddr", "dst_ip": "ip daddr", "src_ip6": "ip6 saddr",
    "dst_ip6": "ip6 daddr", "proto_src": "proto-src", "proto_dst": "proto-dst",
}  # fmt: skip
NETWORK_FIELDS = {
    "ip": {
        (12, 4): ("saddr", "address"), (16, 4): ("daddr", "address"), (9, 1): ("protocol", "l4proto"),
        (8, 1): ("ttl", "number"), (1, 1): ("tos", "tos"), (2, 2): ("length", "number"), (4, 2): ("id", "number"),
        (6, 2): ("frag-off", "number"), (10, 2): ("checksum", "number"),
    },
    "ip6": {
        (8, 16): ("saddr", "address"), (24, 16): ("daddr", "address"), (6, 1): ("nexthdr", "l4proto"),
        (7, 1): ("hoplimit", "number"), (4, 2): ("length", "number"),
    },
    "arp": {
        (0, 2): ("htype", "number"), (2, 2): ("ptype", "ether_type"), (4, 1): ("hlen", "number"),
        (5, 1): ("plen", "number"), (6, 2): ("operation", "arp_op"), (8, 6): ("saddr ether", "mac"),
        (14, 4): ("saddr ip", "address"), (18, 6): ("daddr ether", "mac"), (24, 4): ("daddr ip", "address"),
    },
}  # fmt: skip
TRANSPORT_FIELDS = {
    "tcp": {
        (0, 2): ("sport", "port"), (2, 2): ("dport", "port"), (13, 1): ("flags", "tcp_flag"),
        (4, 4): ("sequence", "number"), (14, 2): ("window", "number"),
    },
    "udp": {(0, 2): ("sport", "port"), (2, 2): ("dport", "port"), (4, 2): ("length", "number")},
    "icmp": {
        (0, 1): ("type", "icmp_type"), (1, 1): ("code", "icmp_code"), (4, 2): ("id", "number"),
        (6, 2): ("sequence", "number"), (4, 4): ("gateway", "address"),
    },
    "icmpv6": {
        (0, 1): ("type", "icmpv6_type"), (1, 1): ("code", "number"), (4, 2): ("id", "number"),
        (6, 2): ("sequence", "number"),
    },
}  # fmt: skip
PORTS = {(0, 2): ("sport", "port"), (2, 2): ("dport", "port")}
LINK_FIELDS = {(0, 6): ("daddr", "mac"), (6, 6): ("saddr", "mac"), (12, 2): ("type", "ether_type")}
BASES = {"link": "ll", "network": "nh", "transport": "th", "inner": "ih"}


def payload_field(load: Payload, network: str, transport: str) -> tuple[str, str, str]:
    """The field's words, the type of its value, the protocol tests it implies; "@nh,bits,bits" where it has no name."""
    place = load.offset, load.length
    if load.base == "network":
        found = NETWORK_FIELDS.get(network, {}).get(place) or _prefix(network, place)
        if found:
            return f"{network} {found[0]}", found[1], network
    elif load.base == "transport":
        protocol = transport if transport in ("tcp", "udp", "icmp", "icmpv6", "sctp", "dccp", "udplite") else ""
        found = TRANSPORT_FIELDS.get(protocol, PORTS).get(place)
        if found:
            versions = {"icmp": "icmp ip", "icmpv6": "icmpv6 ip6"}
            return f"{protocol or 'th'} {found[0]}", found[1], versions.get(protocol, protocol)
    elif load.base == "link" and place in LINK_FIELDS:
        return f"ether {LINK_FIELDS[place][0]}", LINK_FIELDS[place][1], "ether"
    return f"@{BASES.get(load.base, load.base)},{load.offset * 8},{load.length * 8}", "hex", ""


def split_fields(load: Payload, network: str, transport: str) -> list[tuple[str, str, str, int, int]]:
    """The named fields that a longer load consists of: words, type, protocols, place in the value, length; or nothing."""
    tables = {"network": NETWORK_FIELDS.get(network, {}), "transport": TRANSPORT_FIELDS.get(transport, PORTS)}
    found: list[tuple[str, str, str, int, int]] = []
    place, end = load.offset, load.offset + load.length
    while place < end:
        fits = [length for offset, length in tables.get(load.base, {}) if offset == place and offset + length <= end]
        if not fits:
            return []
        part = Payload(base=load.base, offset=place, length=min(fits), register=0)
        words, kind, depends = payload_field(part, network, transport)
        found.append((words, kind, depends, place - load.offset, part.length))
        place += part.length
    return found


def _prefix(network: str, place: tuple[int, int]) -> tuple[str, str] | None:
    """An address of which only the first bytes are loaded: a prefix on a byte boundary."""
    starts = {"ip": {12: ("saddr", 4), 16: ("daddr", 4)}, "ip6": {8: ("saddr", 16), 24: ("daddr", 16)}}
    name, size = starts.get(network, {}).get(place[0], ("", 0))
    return (name, "address") if name and place[1] < size else None


def meta_word(key: str, *, setting: bool = False) -> str:
    """ "iifname", "meta mark", "meta length"."""
    if key == "nftrace":
        return "meta nftrace"
    return META_WORDS.get(key) or (key if key in BARE_META and not setting else f"meta {key}")


def ct_field(key: str, direction: int | None) -> tuple[str, str, int]:
    """ "ct state", "ct original ip saddr"."""
    kind, length = CT_KINDS.get(key, ("number_host", 4))
    way = "" if direction is None else ("original ", "reply ")[direction]
    return f"ct {way}{CT_WORDS.get(key, key)}", kind, length
