"""What nf_tables' numbered keys are called, by number. Source: linux/netfilter/nf_tables.h."""

from typing import Literal

from netdoctor.model import expression as e

META_KEYS = (
    "len", "protocol", "priority", "mark", "iif", "oif", "iifname", "oifname", "iiftype", "oiftype", "skuid", "skgid",
    "nftrace", "rtclassid", "secmark", "nfproto", "l4proto", "bri_iifname", "bri_oifname", "pkttype", "cpu", "iifgroup",
    "oifgroup", "cgroup", "prandom", "secpath", "iifkind", "oifkind", "bri_iifpvid", "bri_iifvproto", "time", "day",
    "hour", "sdif", "sdifname", "broute",
)  # fmt: skip
CT_KEYS = (
    "state", "direction", "status", "mark", "secmark", "expiration", "helper", "l3protocol", "src", "dst", "protocol",
    "proto_src", "proto_dst", "labels", "packets", "bytes", "avgpkt", "zone", "event", "src_ip", "dst_ip", "src_ip6",
    "dst_ip6", "id",
)  # fmt: skip
RT_KEYS = ("classid", "nexthop4", "nexthop6", "tcpmss", "ipsec")
SOCKET_KEYS = ("transparent", "mark", "wildcard", "cgroupv2")
XFRM_KEYS = ("unspec", "daddr_in", "daddr_in6", "saddr_in", "saddr_in6", "reqid", "spi")
FIB_RESULTS = ("unspec", "oif", "oifname", "type")
FIB_FLAGS = ("saddr", "daddr", "mark", "iif", "oif", "present")
PAYLOAD_BASES: tuple[e.PayloadBase, ...] = ("link", "network", "transport", "inner", "tunnel")
COMPARISONS: tuple[e.Comparison, ...] = ("eq", "neq", "lt", "lte", "gt", "gte")
BITWISE: tuple[e.BitwiseOperation, ...] = ("bool", "lshift", "rshift", "and", "or", "xor")
DYNSET: tuple[Literal["add", "update", "delete"], ...] = ("add", "update", "delete")
VERDICTS: dict[int, e.VerdictCode] = {
    0: "drop", 1: "accept", 2: "stolen", 3: "queue", -1: "continue", -2: "break", -3: "jump", -4: "goto", -5: "return",
}  # fmt: skip
