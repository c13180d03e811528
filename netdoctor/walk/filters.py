"""What looks at a frame between the stacks: XDP, tc, netdev and bridge hooks, br_netfilter, queues."""

from msgspec.structs import replace

from netdoctor.model.journey import Because, Step
from netdoctor.model.network import Link, Qdisc, TrafficFilter
from netdoctor.model.snapshot import NamespaceId
from netdoctor.walk.hooks import Firewall
from netdoctor.walk.layer2 import Point
from netdoctor.walk.packet import Packet
from netdoctor.walk.trail import Dead, Trail
from netdoctor.walk.view import View

NFPROTO_CALLS = {4: "iptables", 6: "ip6tables"}
ETHERNET_HEADER_BYTES = 14


class Filters:
    """Asks every point of a chosen way; steps go on the trail, a sure drop raises Dead."""

    def __init__(self, view: View, firewall: Firewall) -> None:
        self.view = view
        self.firewall = firewall

    def pass_points(self, trail: Trail, points: tuple[Point, ...], packet: Packet) -> Packet:
        """The packet after every filter of the way, in order."""
        for point in points:
            link = self.view.link(point.namespace, point.device)
            if link is None:
                continue
            if point.kind == "egress":
                self._egress(trail, point, link, packet)
            elif point.kind == "ingress":
                self._ingress(trail, point, link, packet)
            elif point.kind == "bridge":
                packet = self._bridge(trail, point, link, packet)
        return packet

    def _egress(self, trail: Trail, point: Point, link: Link, packet: Packet) -> None:
        """__dev_queue_xmit: netdev egress hook, tc egress, then the queue."""
        self._note(
            trail,
            self.firewall.frame(
                trail, point.namespace, "netdev", "egress", replace(packet, out_device=link.name), link.name
            ),
        )
        self._traffic_control(trail, point.namespace, link, "egress")
        self._queue(trail, point.namespace, link, packet)

    def _ingress(self, trail: Trail, point: Point, link: Link, packet: Packet) -> None:
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
        packet = replace(packet, in_device=link.name)
        self._note(trail, self.firewall.frame(trail, point.namespace, "netdev", "ingress", packet, link.name))

    def _bridge(self, trail: Trail, point: Point, link: Link, packet: Packet) -> Packet:
        """The bridge family's hooks; and the ip hooks for frames that stay in the bridge (br_netfilter_hooks.c)."""
        key = point.namespace
        inside = replace(packet, in_device=point.in_port or link.name, out_device=point.out_port or "")
        hooks = ["prerouting"] if point.in_port else ["output"]
        hooks += (
            ["forward", "postrouting"]
            if point.in_port and point.out_port
            else ["input" if point.in_port else "postrouting"]
        )
        for hook in hooks:
            self._note(trail, self.firewall.frame(trail, key, "bridge", hook, inside))
        if point.in_port and point.out_port and packet.ether_type != 0x0806 and self._calls_iptables(key, link, packet):
            bridged = replace(packet, in_device=link.name, in_port=point.in_port, out_device="", conntrack=None)
            bridged = self.firewall.run(trail, key, "prerouting", bridged)
            bridged = replace(bridged, out_device=link.name, out_port=point.out_port)
            bridged = self.firewall.run(trail, key, "forward", bridged)
            bridged = self.firewall.run(trail, key, "postrouting", replace(bridged, in_device="", in_port=""))
            packet = replace(packet, source=bridged.source, source_port=bridged.source_port, mark=bridged.mark)
        return packet

    def _calls_iptables(self, key: NamespaceId, bridge: Link, packet: Packet) -> bool:
        name = NFPROTO_CALLS[packet.family]
        options = bridge.bridge
        own = options is not None and (options.nf_call_iptables if packet.family == 4 else options.nf_call_ip6tables)
        return own or self.view.number(key, f"net/bridge/bridge-nf-call-{name}") == 1

    def _traffic_control(self, trail: Trail, key: NamespaceId, link: Link, side: str) -> None:
        """tc filters and TCX programs: what they do with this packet is only known for the plainest of them."""
        for one in self.view.filters(key, link.name):
            if one.side != side:
                continue
            step = self._filter_step(trail, key, link, one)
            if step is not None:
                trail.add(step)
                if step.outcome == "block":
                    raise Dead(step)

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

    @staticmethod
    def _note(trail: Trail, step: Step | None) -> None:
        if step is not None:
            trail.add(step)
            if step.outcome == "block":
                raise Dead(step)


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
