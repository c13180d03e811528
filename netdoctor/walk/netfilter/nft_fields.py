"""What nft calls the things it loads other than header fields, each with the type of its value, its length in bits."""

from .nft_protocols import Field

META_KINDS = {
    "iifname": ("ifname", 128), "oifname": ("ifname", 128), "bri_iifname": ("ifname", 128),
    "bri_oifname": ("ifname", 128), "sdifname": ("ifname", 128), "iifkind": ("string", 128), "oifkind": ("string", 128),
    "iif": ("ifindex", 32), "oif": ("ifindex", 32), "sdif": ("ifindex", 32), "mark": ("mark", 32),
    "l4proto": ("l4proto", 8), "nfproto": ("nfproto", 8), "protocol": ("ether_type", 16), "pkttype": ("pkttype", 8),
    "skuid": ("uid", 32), "skgid": ("gid", 32), "priority": ("tc_handle", 32), "iiftype": ("iftype", 16),
    "oiftype": ("iftype", 16), "iifgroup": ("devgroup", 32), "oifgroup": ("devgroup", 32), "rtclassid": ("realm", 32),
    "secpath": ("boolean", 8), "nftrace": ("number_host", 8), "time": ("date", 64), "day": ("day", 8),
    "hour": ("hour", 32), "prandom": ("integer", 32), "bri_iifvproto": ("ether_type", 16), "bri_iifpvid": ("number_host", 16),
}  # fmt: skip
BARE_META = ("iif", "oif", "iifname", "oifname", "iifgroup", "oifgroup")
META_WORDS = {
    "len": "meta length", "bri_iifname": "meta ibrname", "bri_oifname": "meta obrname", "secpath": "meta ipsec",
    "prandom": "meta random", "bri_iifpvid": "meta ibrpvid", "bri_iifvproto": "meta ibrvproto",
}  # fmt: skip
CT_KINDS = {
    "state": ("ct_state", 32), "status": ("ct_status", 32), "mark": ("mark", 32), "direction": ("ct_dir", 8),
    "src": ("address", 0), "dst": ("address", 0), "src_ip": ("address", 32), "dst_ip": ("address", 32),
    "src_ip6": ("address", 128), "dst_ip6": ("address", 128), "proto_src": ("port", 16), "proto_dst": ("port", 16),
    "protocol": ("l4proto", 8), "l3protocol": ("nfproto", 8), "zone": ("number_host", 16), "helper": ("string", 128),
    "expiration": ("time", 32), "labels": ("ct_label", 128), "bytes": ("number_host", 64), "event": ("ct_event", 32),
    "packets": ("number_host", 64), "id": ("integer", 32), "avgpkt": ("number_host", 64),
}  # fmt: skip
CT_WORDS = {
    "src": "saddr", "dst": "daddr", "src_ip": "ip saddr", "dst_ip": "ip daddr", "src_ip6": "ip6 saddr",
    "dst_ip6": "ip6 daddr", "proto_src": "proto-src", "proto_dst": "proto-dst", "l3protocol": "l3proto",
    "labels": "label",
}  # fmt: skip
RT_FIELDS = {
    "classid": ("rt classid", "realm", 32), "nexthop4": ("rt ip nexthop", "address", 32),
    "nexthop6": ("rt ip6 nexthop", "address", 128), "tcpmss": ("rt mtu", "number_host", 16),
    "ipsec": ("rt ipsec", "boolean", 8),
}  # fmt: skip
SOCKET_FIELDS = {
    "transparent": ("integer", 8), "mark": ("mark", 32), "wildcard": ("integer", 8), "cgroupv2": ("cgroupv2", 64),
}  # fmt: skip
XFRM_FIELDS = {
    "reqid": ("reqid", "number_host", 32), "spi": ("spi", "integer", 32), "saddr_in": ("ip saddr", "address", 32),
    "daddr_in": ("ip daddr", "address", 32), "saddr_in6": ("ip6 saddr", "address", 128),
    "daddr_in6": ("ip6 daddr", "address", 128),
}  # fmt: skip
NEXT = Field("nexthdr", 0, 8, "l4proto")
LENGTH = Field("hdrlength", 8, 8)
IPV6_HEADERS: dict[int, tuple[str, tuple[Field, ...]]] = {
    0: ("hbh", (NEXT, LENGTH)),
    43: ("rt", (NEXT, LENGTH, Field("type", 16, 8), Field("seg-left", 24, 8))),
    44: (
        "frag",
        (
            NEXT, Field("reserved", 8, 8), Field("frag-off", 16, 13), Field("reserved2", 29, 2),
            Field("more-fragments", 31, 1), Field("id", 32, 32),
        ),
    ),
    60: ("dst", (NEXT, LENGTH)),
    135: ("mh", (NEXT, LENGTH, Field("type", 16, 8, "mh_type"), Field("reserved", 24, 8), Field("checksum", 32, 16))),
}  # fmt: skip
KIND_AND_LENGTH = (Field("kind", 0, 8), Field("length", 8, 8))
SACKS = tuple(
    Field(f"{'sack' + str(n) if n else 'sack'} {side}", 16 + 64 * n + 32 * (side == "right"), 32)
    for n in range(4)
    for side in ("left", "right")
)
TCP_OPTIONS: dict[int, tuple[str, tuple[Field, ...]]] = {
    0: ("eol", ()), 1: ("nop", ()), 2: ("maxseg", (*KIND_AND_LENGTH, Field("size", 16, 16))),
    3: ("window", (*KIND_AND_LENGTH, Field("count", 16, 8))), 4: ("sack-perm", KIND_AND_LENGTH),
    5: ("sack", (*KIND_AND_LENGTH, *SACKS)),
    8: ("timestamp", (*KIND_AND_LENGTH, Field("tsval", 16, 32), Field("tsecr", 48, 32))),
    19: ("md5sig", KIND_AND_LENGTH), 30: ("mptcp", (*KIND_AND_LENGTH, Field("subtype", 16, 4))),
    34: ("fastopen", KIND_AND_LENGTH),
}  # fmt: skip
ROUTE = (Field("type", 0, 8), Field("length", 8, 8), Field("ptr", 16, 8), Field("addr", 24, 32))
IP_OPTIONS: dict[int, tuple[str, tuple[Field, ...]]] = {
    7: ("rr", ROUTE), 131: ("lsrr", ROUTE), 137: ("ssrr", ROUTE), 148: ("ra", (*ROUTE[:2], Field("value", 16, 16))),
}  # fmt: skip
CHUNK = (Field("type", 0, 8), Field("flags", 8, 8), Field("length", 16, 16))
STREAMS = (
    Field("init-tag", 32, 32), Field("a-rwnd", 64, 32), Field("num-outbound-streams", 96, 16),
    Field("num-inbound-streams", 112, 16), Field("initial-tsn", 128, 32),
)  # fmt: skip
SCTP_CHUNKS: dict[int, tuple[str, tuple[Field, ...]]] = {
    0: ("data", (*CHUNK, Field("tsn", 32, 32), Field("stream", 64, 16), Field("ssn", 80, 16), Field("ppid", 96, 32))),
    1: ("init", (*CHUNK, *STREAMS)), 2: ("init-ack", (*CHUNK, *STREAMS)),
    3: (
        "sack",
        (
            *CHUNK, Field("cum-tsn-ack", 32, 32), Field("a-rwnd", 64, 32), Field("num-gap-ack-blocks", 96, 16),
            Field("num-dup-tsns", 112, 16),
        ),
    ),
    4: ("heartbeat", CHUNK), 5: ("heartbeat-ack", CHUNK), 6: ("abort", CHUNK),
    7: ("shutdown", (*CHUNK, Field("cum-tsn-ack", 32, 32))), 8: ("shutdown-ack", CHUNK), 9: ("error", CHUNK),
    10: ("cookie-echo", CHUNK), 11: ("cookie-ack", CHUNK), 12: ("ecne", (*CHUNK, Field("lowest-tsn", 32, 32))),
    13: ("cwr", (*CHUNK, Field("lowest-tsn", 32, 32))), 14: ("shutdown-complete", CHUNK),
    128: ("asconf-ack", (*CHUNK, Field("seqno", 32, 32))), 192: ("forward-tsn", (*CHUNK, Field("new-cum-tsn", 32, 32))),
    193: ("asconf", (*CHUNK, Field("seqno", 32, 32))),
}  # fmt: skip
EXTENSIONS = {
    0: ("", IPV6_HEADERS), 1: ("tcp option ", TCP_OPTIONS), 2: ("ip option ", IP_OPTIONS), 3: ("sctp chunk ", SCTP_CHUNKS),
}  # fmt: skip
"""What stands before the name, and the names, by nft's number of the operation."""


def meta_word(key: str, *, setting: bool = False) -> str:
    """ "iifname", "meta mark", "meta length"."""
    return META_WORDS.get(key) or (key if key in BARE_META and not setting else f"meta {key}")


def ct_field(key: str, direction: int | None) -> tuple[str, str, int]:
    """ "ct state", "ct original ip saddr", the type and the length in bits of its value."""
    kind, bits = CT_KINDS.get(key, ("number_host", 32))
    way = "" if direction is None else ("original ", "reply ")[direction & 1]
    return f"ct {way}{CT_WORDS.get(key, key)}", kind, bits
