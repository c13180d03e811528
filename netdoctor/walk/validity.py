"""Which packets conntrack takes for part of a flow, and what TCP's states make of them.

Sources: net/netfilter/nf_conntrack_proto_tcp.c (tcp_conntracks, tcp_error), nf_conntrack_proto_icmp.c, _icmpv6.c.
"""

from netdoctor.walk.packet import ICMP, ICMP6, TCP, Packet

FIN, SYN, RST, ACK, URG = 1, 2, 4, 16, 32
LOOKED_AT = FIN | SYN | RST | ACK | URG
POSSIBLE = frozenset({
    SYN, SYN | URG, SYN | ACK, RST, RST | ACK, FIN | ACK, FIN | ACK | URG, ACK, ACK | URG,
})  # fmt: skip
"""Flag combinations that tcp_error lets through; PSH and the ECN bits do not count."""
BEGINNING = {ICMP: (8, 13, 15, 17), ICMP6: (128, 139)}
"""ICMP types that begin a flow: requests."""
UNTRACKED_ICMP6 = (130, 131, 132, 133, 134, 135, 136, 143)
"""Multicast listener and neighbour discovery, which conntrack leaves alone."""
STATES = (
    "none",
    "syn-sent",
    "syn-recv",
    "established",
    "fin-wait",
    "close-wait",
    "last-ack",
    "time-wait",
    "close",
    "sent2",
)
SHORT = dict(zip(("NO", "SS", "SR", "ES", "FW", "CW", "LA", "TW", "CL", "S2"), STATES, strict=True))
TABLE = {
    "original": {
        "syn": "SS SS IG IG IG IG IG SS SS S2", "synack": "IV IV SR IV IV IV IV IV IV SR",
        "fin": "IV IV FW FW LA LA LA TW CL IV", "ack": "ES IV ES ES CW CW TW TW CL IV",
        "rst": "IV CL CL CL CL CL CL CL CL CL", "none": "IV IV IV IV IV IV IV IV IV IV",
    },
    "reply": {
        "syn": "IV S2 IV IV IV IV IV SS IV S2", "synack": "IV SR IG IG IG IG IG IG IG SR",
        "fin": "IV IV FW FW LA LA LA TW CL IV", "ack": "IV IG SR ES CW CW TW TW CL IG",
        "rst": "IV CL CL CL CL CL CL CL CL CL", "none": "IV IV IV IV IV IV IV IV IV IV",
    },
}  # fmt: skip


def begins(packet: Packet, *, loose: bool) -> bool:
    """Whether a packet that belongs to no flow may begin one. loose: net.netfilter.nf_conntrack_tcp_loose."""
    if packet.protocol in BEGINNING:
        return packet.icmp_type in BEGINNING[packet.protocol]
    if packet.protocol != TCP:
        return True
    flags = packet.tcp_flags or SYN
    return tcp_state("none", "original", flags) != "invalid" and (loose or _kind(flags) == "syn")


def tcp_state(old: str, direction: str, flags: int) -> str:
    """The state after a segment; "invalid" for one that is refused, the old state for one that is ignored."""
    if flags & LOOKED_AT not in POSSIBLE:
        return "invalid"
    found = TABLE[direction][_kind(flags)].split()[STATES.index(old)]
    return "invalid" if found == "IV" else old if found == "IG" else SHORT[found]


def _kind(flags: int) -> str:
    if flags & RST:
        return "rst"
    if flags & SYN:
        return "synack" if flags & ACK else "syn"
    return "fin" if flags & FIN else "ack" if flags & ACK else "none"
