"""A packet meets conntrack: it gets its connection, a new one, or none (nf_conntrack_core.c nf_conntrack_in)."""

from msgspec.structs import replace

from netdoctor.model.journey import Because
from netdoctor.model.snapshot import NamespaceId
from netdoctor.model.unknown import Unknown
from netdoctor.walk.connections import Connections
from netdoctor.walk.hook_steps import describe, rule_facts
from netdoctor.walk.netfilter import TEMPLATE, RuleRef
from netdoctor.walk.packet import ICMP, ICMP6, TCP, UDP, ConntrackView, Packet
from netdoctor.walk.trail import Trail
from netdoctor.walk.validity import UNTRACKED_ICMP6, begins
from netdoctor.walk.view import View

LOOSE = "net/netfilter/nf_conntrack_tcp_loose"
TIMEOUTS = {
    ICMP: ("net/netfilter/nf_conntrack_icmp_timeout",),
    ICMP6: ("net/netfilter/nf_conntrack_icmpv6_timeout",),
    UDP: ("net/netfilter/nf_conntrack_udp_timeout",),
    TCP: ("net/netfilter/nf_conntrack_tcp_timeout_syn_sent",),
}


def track(
    view: View, connections: Connections, trail: Trail, key: NamespaceId, packet: Packet, wanted: dict[str, object]
) -> Packet:
    """nf_conntrack_in: the packet gets its connection, a new one if it belongs to none."""
    if packet.conntrack is not None and packet.conntrack.state == "untracked":
        rule = wanted["notrack"]
        because = (Because(kind="rule", namespace=key, text=describe(rule)),) if isinstance(rule, RuleRef) else ()
        facts = rule_facts(rule, "prerouting") if isinstance(rule, RuleRef) else {}
        if because:
            trail.add(trail.step("conntrack", key, "pass", "not tracked: a rule says notrack", *because, facts=facts))
        return packet
    if packet.conntrack is not None and TEMPLATE not in packet.conntrack.status:
        return packet
    if packet.protocol == ICMP6 and packet.icmp_type in UNTRACKED_ICMP6:
        return replace(packet, conntrack=ConntrackView(state="untracked"))
    if connections.related:
        return replace(packet, conntrack=ConntrackView(state="related", direction="reply"))
    zone = wanted["zone"] if isinstance(wanted["zone"], int) else 0
    found = connections.find(key, packet, zone)
    if found is None:
        if not begins(packet, loose=view.number(key, LOOSE, 1) != 0):
            return replace(packet, conntrack=ConntrackView(state="invalid"))
        _check_room(view, trail, key)
        connection = connections.begin(key, packet, zone)
        connection.forgotten = _zero_timeout(view, key, packet)
        return replace(packet, conntrack=connection.view("original", packet))
    connection, direction = found
    if not connection.goes_on(packet, direction):
        return replace(packet, conntrack=ConntrackView(state="invalid"))
    return replace(packet, conntrack=connection.view(direction, packet))


def _check_room(view: View, trail: Trail, key: NamespaceId) -> None:
    table = view.namespace(key).conntrack
    if not isinstance(table, Unknown) and table.maximum and table.count >= table.maximum:
        text = f"nf_conntrack_count {table.count} of nf_conntrack_max {table.maximum}"
        trail.dies(
            trail.step(
                "conntrack",
                key,
                "block",
                f"the connection tracking table is full ({text})",
                Because(kind="sysctl", namespace=key, text=text),
                cause="conntrack-table-full",
                facts={"count": str(table.count), "maximum": str(table.maximum)},
            )  # fmt: skip
        )


def _zero_timeout(view: View, key: NamespaceId, packet: Packet) -> str:
    """The sysctl that makes conntrack forget this flow at once, if one does."""
    for path in TIMEOUTS.get(packet.protocol, ()):
        if view.number(key, path, 30) <= 0:
            return path
    return ""
