"""What looks at a frame between the stacks: XDP, tc, netdev hooks, queues; what is inside a bridge is in bridging.py."""

from msgspec.structs import replace

from netdoctor.model.journey import Because, Step
from netdoctor.model.network import Link, Qdisc, TrafficFilter
from netdoctor.model.snapshot import NamespaceId
from netdoctor.walk.addressing import BROADCAST_MAC
from netdoctor.walk.bridging import Bridging
from netdoctor.walk.hooks import Firewall
from netdoctor.walk.layer2 import Point
from netdoctor.walk.packet import Packet
from netdoctor.walk.trail import Dead, Trail
from netdoctor.walk.view import View

ETHERNET_HEADER_BYTES = 14
LIMIT = "limit"
"""The fact of a step that only says what could not be looked at: no reason to think that anything is wrong."""
PACKET_HOST, PACKET_BROADCAST, PACKET_MULTICAST, PACKET_OTHERHOST = range(4)


class Filters:
    """Asks every point of a chosen way; steps go on the trail, a sure drop raises Dead."""

    def __init__(self, view: View, firewall: Firewall) -> None:
        self.view = view
        self.firewall = firewall
        self.bridging = Bridging(view, firewall)

    def pass_points(self, trail: Trail, points: tuple[Point, ...], packet: Packet) -> Packet:
        """The packet after every filter of the way, in order. Raises Dead, and Diverted (bridging.py)."""
        left: NamespaceId | None = None
        for point in points:
            link = self.view.link(point.namespace, point.device)
            if link is None:
                continue
            if point.kind == "egress":
                packet, left = self._egress(trail, point, link, packet), point.namespace
            elif point.kind == "ingress":
                packet, left = self._ingress(trail, point, link, _scrubbed(packet, left, point)), None
            elif point.kind == "bridge":
                packet, left = self.bridging.cross(trail, point, link, packet), None
        return packet

    def _egress(self, trail: Trail, point: Point, link: Link, packet: Packet) -> Packet:
        """__dev_queue_xmit: netdev egress hook, tc egress, then the queue."""
        leaving = replace(packet, in_device="", out_device=link.name)
        packet = self.firewall.frame(trail, point.namespace, "netdev", "egress", leaving, link.name)
        self._traffic_control(trail, point.namespace, link, "egress")
        self._queue(trail, point.namespace, link, packet)
        return packet

    def _ingress(self, trail: Trail, point: Point, link: Link, packet: Packet) -> Packet:
        """__netif_receive_skb_core: XDP, tc ingress, netdev ingress hook."""
        if link.xdp_program:
            trail.add(
                trail.step(
                    "traffic-control",
                    point.namespace,
                    "unknown",
                    f"an XDP program on {link.name} sees the packet first",
                    Because(
                        kind="filter", namespace=point.namespace, text=f"{link.name}: xdp prog id {link.xdp_program}"
                    ),
                    device=link.name,
                    cause="xdp-program",
                    facts={"link": link.name, "program": str(link.xdp_program)},
                )  # fmt: skip
            )
        self._traffic_control(trail, point.namespace, link, "ingress")
        arriving = replace(packet, in_device=link.name, out_device="", link_type=_link_type(packet, link))
        return self.firewall.frame(trail, point.namespace, "netdev", "ingress", arriving, link.name)

    def _traffic_control(self, trail: Trail, key: NamespaceId, link: Link, side: str) -> None:
        """tc filters and TCX programs: what they do with this packet is only known for the plainest of them."""
        for one in self.view.filters(key, link.name):
            if one.unread:
                self._limit(trail, key, link, one)
                continue
            if one.side != side:
                continue
            step = self._filter_step(trail, key, link, one)
            if step is not None:
                trail.add(step)
                if step.outcome == "block":
                    raise Dead(step)

    @staticmethod
    def _limit(trail: Trail, key: NamespaceId, link: Link, one: TrafficFilter) -> None:
        """Said once a way: it is so for every device of the machine alike, and no reason to doubt each of them."""
        if any(LIMIT in step.facts for step in trail.steps):
            return
        text = f"whether {one.kind.upper()} programs look at packets (on {link.name} and elsewhere) is not known: {one.unread}"
        trail.add(trail.step("traffic-control", key, "unknown", text, device=link.name, facts={LIMIT: one.kind}))

    def _filter_step(self, trail: Trail, key: NamespaceId, link: Link, one: TrafficFilter) -> Step | None:
        text = filter_text(link, one)
        facts = {
            "link": link.name, "side": one.side, "kind": one.kind, "program": one.program, "priority": str(one.priority),
        }  # fmt: skip
        because = Because(kind="filter", namespace=key, text=text)
        if "drop" in one.actions or _always_drops(one):
            outcome = "block" if _always_drops(one) else "unknown"
            summary = f"a tc filter at {one.side} of {link.name} {'drops' if outcome == 'block' else 'may drop'} it"
            return trail.step(
                "traffic-control", key, "block" if outcome == "block" else "unknown", summary, because,
                device=link.name, cause="tc-filter-drops", facts=facts,
            )  # fmt: skip
        if one.redirect_index:
            target = self.view.link(key, one.redirect_index)
            name = target.name if target else f"if{one.redirect_index}"
            return trail.step(
                "traffic-control", key, "unknown", f"a tc filter at {one.side} of {link.name} redirects it to {name}",
                because, device=link.name, cause="tc-filter-redirects", facts={**facts, "redirect": name},
            )  # fmt: skip
        return trail.step(
            "traffic-control", key, "unknown", f"a {one.kind} program at {one.side} of {link.name} decides",
            because, device=link.name, cause="tc-filter-drops", facts=facts,
        )  # fmt: skip

    def _queue(self, trail: Trail, key: NamespaceId, link: Link, packet: Packet) -> None:
        """Queues that cannot pass a packet of this size, or hardly any."""
        for qdisc in self.view.qdiscs(key):
            if qdisc.index != link.index:
                continue
            verdict = _starves(qdisc, packet)
            if verdict:
                outcome, text = verdict
                step = trail.step(
                    "traffic-control", key, "block" if outcome == "block" else "unknown",
                    f"the {qdisc.kind} queue of {link.name} {text}",
                    Because(kind="filter", namespace=key, text=qdisc_text(link, qdisc)), device=link.name,
                    cause="queue-drops", facts={"link": link.name, "kind": qdisc.kind, "handle": qdisc.handle},
                )  # fmt: skip
                trail.add(step)
                if step.outcome == "block":
                    raise Dead(step)


def _scrubbed(packet: Packet, left: NamespaceId | None, point: Point) -> Packet:
    """skb_scrub_packet of a veth: nothing netfilter said of the packet outlives the cable, its mark not the namespace."""
    if left is None:
        return packet
    forgotten = ("conntrack", "priority", *(() if left == point.namespace else ("mark",)))
    return replace(
        packet, conntrack=None, priority=0, mark=0 if "mark" in forgotten else packet.mark, in_port="", out_port="",
        unsure=tuple(pair for pair in packet.unsure if pair[0] not in forgotten),
    )  # fmt: skip


def _link_type(packet: Packet, link: Link) -> int:
    """eth_type_trans: whom the frame is for, as the device that gets it sees it."""
    if packet.destination_mac == BROADCAST_MAC:
        return PACKET_BROADCAST
    if int(packet.destination_mac[:2] or "0", 16) & 1:
        return PACKET_MULTICAST
    return PACKET_HOST if packet.destination_mac in ("", link.mac) or link.hardware != 1 else PACKET_OTHERHOST


def _always_drops(one: TrafficFilter) -> bool:
    """A classic BPF program of one instruction that returns TC_ACT_SHOT under direct action."""
    return one.program.replace(" ", "").startswith("dabytecode1,6002")


def _starves(qdisc: Qdisc, packet: Packet) -> tuple[str, str] | None:
    options, size = qdisc.options, packet.length_bytes + ETHERNET_HEADER_BYTES
    if qdisc.kind == "tbf":
        if options.get("limit", 1 << 30) < size:
            return "block", f"holds {options['limit']} bytes, less than this packet's {size}"
        if 0 < options.get("burst_bytes", 0) < size:
            return "block", f"has a burst of {options['burst_bytes']} bytes, less than this packet's {size}"
    if qdisc.kind == "bfifo" and options.get("limit", 1 << 30) < size:
        return "unknown", f"holds only {options['limit']} bytes"
    if qdisc.kind == "netem" and options.get("loss"):
        return "unknown", "loses packets by design (netem loss)"
    if qdisc.kind in ("htb", "tbf") and qdisc.backlog_packets and qdisc.drops + qdisc.backlog_packets > 0:
        return "unknown", f"is backed up: {qdisc.backlog_packets} packets wait, {qdisc.drops} were dropped"
    return None


def filter_text(link: Link, one: TrafficFilter) -> str:
    """The filter much as `tc filter show` prints it."""
    actions = f" action {' '.join(one.actions)}" if one.actions else ""
    program = f" {one.program}" if one.program else ""
    return f"dev {link.name} {one.side} protocol {one.protocol} pref {one.priority} {one.kind}{program}{actions}"


def qdisc_text(link: Link, qdisc: Qdisc) -> str:
    options = " ".join(f"{key} {value}" for key, value in qdisc.options.items())
    return f"qdisc {qdisc.kind} {qdisc.handle} dev {link.name} {qdisc.parent} {options} dropped {qdisc.drops}".replace(
        "  ", " "
    )
