"""The names nft knows numbers by (nftables: src/datatype.c, proto.c, meta.c, ct.c, fib.c; /etc/protocols)."""

CT_STATES = ((1, "invalid"), (2, "established"), (4, "related"), (8, "new"), (64, "untracked"))
CT_STATUS = (
    (1, "expected"), (2, "seen-reply"), (4, "assured"), (8, "confirmed"), (16, "snat"), (32, "dnat"), (512, "dying"),
)  # fmt: skip
CT_EVENTS = (
    (1, "new"), (2, "related"), (4, "destroy"), (8, "reply"), (16, "assured"), (32, "protoinfo"), (64, "helper"),
    (128, "mark"), (256, "seqadj"), (512, "secmark"), (1024, "label"),
)  # fmt: skip
TCP_FLAGS = (
    (1, "fin"), (2, "syn"), (4, "rst"), (8, "psh"), (16, "ack"), (32, "urg"), (64, "ecn"), (128, "cwr"),
)  # fmt: skip
BITS: dict[str, tuple[tuple[int, str], ...]] = {
    "ct_state": CT_STATES, "ct_status": CT_STATUS, "tcp_flag": TCP_FLAGS, "ct_event": CT_EVENTS,
    "ct_label": tuple((1 << bit, str(bit)) for bit in range(128)),
}  # fmt: skip
FORMATS = {
    "mark": "0x{:08x}", "hex": "0x{:x}", "dscp": "0x{:02x}", "ecn": "0x{:x}", "ether_type": "0x{:04x}",
    "ct_state": "0x{:x}",
}  # fmt: skip
DEFAULTS = {"devgroup": "default", "realm": "cosmos"}
"""What /etc/iproute2 calls number 0."""
ICMP_TYPES = {
    0: "echo-reply", 3: "destination-unreachable", 4: "source-quench", 5: "redirect", 8: "echo-request",
    9: "router-advertisement", 10: "router-solicitation", 11: "time-exceeded", 12: "parameter-problem",
    13: "timestamp-request", 14: "timestamp-reply", 15: "info-request", 16: "info-reply", 17: "address-mask-request",
    18: "address-mask-reply",
}  # fmt: skip
ICMP6_TYPES = {
    1: "destination-unreachable", 2: "packet-too-big", 3: "time-exceeded", 4: "parameter-problem", 128: "echo-request",
    129: "echo-reply", 130: "mld-listener-query", 131: "mld-listener-report", 132: "mld-listener-done",
    133: "nd-router-solicit", 134: "nd-router-advert", 135: "nd-neighbor-solicit", 136: "nd-neighbor-advert",
    137: "nd-redirect", 138: "router-renumbering", 141: "ind-neighbor-solicit", 142: "ind-neighbor-advert",
    143: "mld2-listener-report",
}  # fmt: skip
ICMP_CODES = {
    0: "net-unreachable", 1: "host-unreachable", 2: "prot-unreachable", 3: "port-unreachable", 4: "frag-needed",
    9: "net-prohibited", 10: "host-prohibited", 13: "admin-prohibited",
}  # fmt: skip
ICMP6_CODES = {
    0: "no-route", 1: "admin-prohibited", 3: "addr-unreachable", 4: "port-unreachable", 5: "policy-fail",
    6: "reject-route",
}  # fmt: skip
ICMPX_CODES = {0: "no-route", 1: "port-unreachable", 2: "host-unreachable", 3: "admin-prohibited"}
DSCP = {
    0: "cs0", 8: "cs1", 16: "cs2", 24: "cs3", 32: "cs4", 40: "cs5", 48: "cs6", 56: "cs7", 1: "lephb", 10: "af11",
    12: "af12", 14: "af13", 18: "af21", 20: "af22", 22: "af23", 26: "af31", 28: "af32", 30: "af33", 34: "af41",
    36: "af42", 38: "af43", 44: "va", 46: "ef",
}  # fmt: skip
PROTOCOLS = {
    0: "ip", 1: "icmp", 2: "igmp", 3: "ggp", 4: "ipencap", 5: "st", 6: "tcp", 8: "egp", 9: "igp", 12: "pup", 17: "udp",
    20: "hmp", 22: "xns-idp", 27: "rdp", 29: "iso-tp4", 33: "dccp", 36: "xtp", 37: "ddp", 38: "idpr-cmtp", 41: "ipv6",
    43: "ipv6-route", 44: "ipv6-frag", 45: "idrp", 46: "rsvp", 47: "gre", 50: "esp", 51: "ah", 57: "skip",
    58: "ipv6-icmp", 59: "ipv6-nonxt", 60: "ipv6-opts", 73: "rspf", 81: "vmtp", 88: "eigrp", 89: "ospf", 93: "ax.25",
    94: "ipip", 97: "etherip", 98: "encap", 103: "pim", 108: "ipcomp", 112: "vrrp", 115: "l2tp", 124: "isis",
    132: "sctp", 133: "fc", 135: "mobility-header", 136: "udplite", 137: "mpls-in-ip", 139: "hip", 140: "shim6",
    141: "wesp", 142: "rohc", 143: "ethernet", 262: "mptcp",
}  # fmt: skip
FIB_TYPES = ("unspec", "unicast", "local", "broadcast", "anycast", "multicast", "blackhole", "unreachable", "prohibit")
MH_TYPES = (
    "binding-refresh-request", "home-test-init", "careof-test-init", "home-test", "careof-test", "binding-update",
    "binding-acknowledgement", "binding-error", "fast-binding-update", "fast-binding-acknowledgement",
    "fast-binding-advertisement", "experimental-mobility-header", "home-agent-switch-message",
)  # fmt: skip
DCCP_TYPES = ("request", "response", "data", "ack", "dataack", "closereq", "close", "reset", "sync", "syncack")
NAMES: dict[str, dict[int, str]] = {
    "icmp_type": ICMP_TYPES, "icmpv6_type": ICMP6_TYPES, "icmp_code": ICMP_CODES, "icmpv6_code": ICMP6_CODES,
    "icmpx_code": ICMPX_CODES, "dscp": DSCP, "l4proto": PROTOCOLS, "nfproto": {2: "ipv4", 10: "ipv6"},
    "ecn": {0: "not-ect", 1: "ect1", 2: "ect0", 3: "ce"}, "ct_dir": {0: "original", 1: "reply"},
    "ether_type": {0x0800: "ip", 0x0806: "arp", 0x86DD: "ip6", 0x8100: "8021q", 0x88A8: "8021ad"},
    "pkttype": {0: "host", 1: "broadcast", 2: "multicast", 3: "other"}, "boolean": {0: "missing", 1: "exists"},
    "fib_type": dict(enumerate(FIB_TYPES)), "mh_type": dict(enumerate(MH_TYPES)),
    "dccp_type": dict(enumerate(DCCP_TYPES)),
    "iftype": {1: "ether", 512: "ppp", 768: "ipip", 769: "ipip6", 772: "loopback", 776: "sit", 778: "ipgre"},
    "arp_op": {1: "request", 2: "reply", 3: "rrequest", 4: "rreply", 8: "inrequest", 9: "inreply", 10: "nak"},
    "igmp_type": {
        0x11: "membership-query", 0x12: "membership-report-v1", 0x16: "membership-report-v2", 0x17: "leave-group",
        0x22: "membership-report-v3",
    },
}  # fmt: skip
