"""Header fields as nft names them, places and lengths in bits (nftables: src/proto.c)."""

from typing import NamedTuple

LINK, NETWORK, TRANSPORT, INNER = 1, 2, 3, 4
BASES = {"link": LINK, "network": NETWORK, "transport": TRANSPORT, "inner": INNER}
BASE_WORDS = {LINK: "ll", NETWORK: "nh", TRANSPORT: "th", INNER: "ih"}


class Field(NamedTuple):
    """`only`: the ICMP type that the field belongs to, if not to all."""

    name: str
    offset: int
    bits: int
    kind: str = "integer"
    only: int | None = None


class Protocol(NamedTuple):
    """key: the field that says what comes next; bits: its length where another of the same layer may follow."""

    name: str
    base: int
    fields: tuple[Field, ...]
    key: str = ""
    uppers: dict[int, str] = {}
    bits: int = 0


def _fields(*words: str) -> tuple[Field, ...]:
    """ "saddr 96 32 address", in bits."""
    made = []
    for word in words:
        *name, offset, bits, kind = word.split(" ")
        kind, _, only = kind.partition("/")
        made.append(Field(" ".join(name), int(offset), int(bits), kind, int(only) if only else None))
    return tuple(made)


PORTS = ("sport 0 16 port", "dport 16 16 port")
TRANSPORTS = {
    50: "esp", 51: "ah", 108: "comp", 17: "udp", 136: "udplite", 6: "tcp", 33: "dccp", 132: "sctp", 1: "icmp",
    58: "icmpv6",
}  # fmt: skip
ETHER_TYPES = {0x0800: "ip", 0x0806: "arp", 0x86DD: "ip6", 0x8100: "vlan", 0x88A8: "vlan"}
PROTOCOLS: dict[str, Protocol] = {
    each.name: each
    for each in (
        Protocol("unknown", 0, ()),
        Protocol(
            "ether", LINK, _fields("daddr 0 48 mac", "saddr 48 48 mac", "type 96 16 ether_type"), "type", ETHER_TYPES, 112
        ),
        Protocol("netdev", LINK, (), "", ETHER_TYPES),
        Protocol("inet", LINK, (), "", {2: "ip", 10: "ip6"}),
        Protocol(
            "vlan", LINK, _fields("pcp 0 3 integer", "dei 3 1 integer", "id 4 12 integer", "type 16 16 ether_type"), "type",
            ETHER_TYPES, 32,
        ),
        Protocol(
            "ip", NETWORK,
            _fields(
                "version 0 4 integer", "hdrlength 4 4 integer", "dscp 8 6 dscp", "ecn 14 2 ecn", "length 16 16 integer",
                "id 32 16 integer", "frag-off 48 16 integer", "ttl 64 8 integer", "protocol 72 8 l4proto",
                "checksum 80 16 integer", "saddr 96 32 address", "daddr 128 32 address",
            ), "protocol", TRANSPORTS | {2: "igmp"},
        ),
        Protocol(
            "ip6", NETWORK,
            _fields(
                "version 0 4 integer", "dscp 4 6 dscp", "ecn 10 2 ecn", "flowlabel 12 20 integer", "length 32 16 integer",
                "nexthdr 48 8 l4proto", "hoplimit 56 8 integer", "saddr 64 128 address", "daddr 192 128 address",
            ), "nexthdr", TRANSPORTS | {2: "igmp"},
        ),
        Protocol(
            "arp", NETWORK,
            _fields(
                "htype 0 16 integer", "ptype 16 16 ether_type", "hlen 32 8 integer", "plen 40 8 integer",
                "operation 48 16 arp_op", "saddr ether 64 48 mac", "saddr ip 112 32 address", "daddr ether 144 48 mac",
                "daddr ip 192 32 address",
            ),
        ),
        Protocol("services", TRANSPORT, (), "", TRANSPORTS | {2: "igmp"}),
        Protocol("th", TRANSPORT, _fields(*PORTS)),
        Protocol(
            "tcp", TRANSPORT,
            _fields(
                *PORTS, "sequence 32 32 integer", "ackseq 64 32 integer", "doff 96 4 integer", "reserved 100 4 integer",
                "flags 104 8 tcp_flag", "window 112 16 integer", "checksum 128 16 integer", "urgptr 144 16 integer",
            ),
        ),
        Protocol("udp", TRANSPORT, _fields(*PORTS, "length 32 16 integer", "checksum 48 16 integer")),
        Protocol("udplite", TRANSPORT, _fields(*PORTS, "csumcov 32 16 integer", "checksum 48 16 integer")),
        Protocol("sctp", TRANSPORT, _fields(*PORTS, "vtag 32 32 integer", "checksum 64 32 integer")),
        Protocol("dccp", TRANSPORT, _fields(*PORTS, "type 67 4 dccp_type")),
        Protocol("esp", TRANSPORT, _fields("spi 0 32 integer", "sequence 32 32 integer")),
        Protocol(
            "ah", TRANSPORT,
            _fields(
                "nexthdr 0 8 l4proto", "hdrlength 8 8 integer", "reserved 16 16 integer", "spi 32 32 integer",
                "sequence 64 32 integer",
            ), "nexthdr", TRANSPORTS,
        ),
        Protocol("comp", TRANSPORT, _fields("nexthdr 0 8 l4proto", "flags 8 8 hex", "cpi 16 16 integer"), "nexthdr", TRANSPORTS),
        Protocol(
            "icmp", TRANSPORT,
            _fields(
                "type 0 8 icmp_type", "code 8 8 icmp_code", "checksum 16 16 integer", "id 32 16 integer/8",
                "sequence 48 16 integer/8", "gateway 32 32 integer/5", "mtu 48 16 integer/3",
            ), "type",
        ),
        Protocol(
            "icmpv6", TRANSPORT,
            _fields(
                "type 0 8 icmpv6_type", "code 8 8 icmpv6_code", "checksum 16 16 integer",
                "parameter-problem 32 32 integer/4", "mtu 32 32 integer/2", "id 32 16 integer/128",
                "sequence 48 16 integer/128", "max-delay 32 16 integer/130",
            ), "type",
        ),
        Protocol(
            "igmp", TRANSPORT,
            _fields("type 0 8 igmp_type", "mrt 8 8 integer", "checksum 16 16 integer", "group 32 32 integer"),
        ),
    )
}  # fmt: skip
"""In the order in which nft looks through them."""
