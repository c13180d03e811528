"""What looks at a frame inside a bridge: the bridge family's hooks, and the ip, ip6 and arp hooks of br_netfilter.

Sources: net/bridge/br_input.c and br_forward.c, net/bridge/br_netfilter_hooks.c and br_netfilter_ipv6.c.
"""

from msgspec.structs import replace

from netdoctor.model.network import Link
from netdoctor.model.snapshot import NamespaceId
from netdoctor.walk.hooks import FIRST, LAST, Firewall
from netdoctor.walk.layer2 import Point
from netdoctor.walk.packet import Packet
from netdoctor.walk.trail import Dead, Trail
from netdoctor.walk.view import View

ARP, IPV4, IPV6 = 0x0806, 0x0800, 0x86DD
PACKET_HOST, PACKET_OTHERHOST = 0, 3
BRIDGE_NETFILTER = 0
"""NF_BR_PRI_BRNF: where br_netfilter stands among the chains of the bridge's prerouting and forward hooks."""
PASSED_OVER = (
    "chains of priority 0 made before the first bridge never see packets that br_netfilter shows to the ip hooks"
)
CHANGEABLE = ("mark", "priority", "tos", "ttl", "source", "destination", "source_port", "destination_port")


class Diverted(Exception):
    """A rule of the bridge's prerouting hook sends the frame another way: it has a new address, or only a new MAC."""

    def __init__(self, point: Point, packet: Packet, *, readdressed: bool) -> None:
        super().__init__(f"{packet} in {point.device}")
        self.point = point
        self.packet = packet
        self.readdressed = readdressed


class Bridging:
    """Asks the hooks of one crossing after the other; steps go on the trail, a sure drop raises Dead."""

    def __init__(self, view: View, firewall: Firewall) -> None:
        self.view = view
        self.firewall = firewall

    def cross(self, trail: Trail, point: Point, bridge: Link, packet: Packet) -> Packet:
        """The frame as it leaves the bridge by a port or towards the bridge's own stack. Raises Dead, Diverted.

        A port is named where the frame has one: none in comes from the bridge's own stack, none out goes up there.
        """
        if point.in_port:
            if packet.destination_mac == bridge.mac:
                packet = replace(packet, link_type=PACKET_HOST)
            before, packet = packet, self._prerouting(trail, point, bridge, packet)
            if packet.destination != before.destination:
                raise Diverted(point, packet, readdressed=True)
            packet = self.late_prerouting(trail, point, packet)
            if packet.destination_mac != before.destination_mac:
                raise Diverted(point, packet, readdressed=False)
        return self.onwards(trail, point, bridge, packet)

    def onwards(self, trail: Trail, point: Point, bridge: Link, packet: Packet) -> Packet:
        """From where the bridge has decided by which port the frame goes out."""
        key = point.namespace
        if point.in_port and not point.out_port:
            return self._bridge_hook(trail, key, "input", packet, point.in_port, "")
        if point.in_port:
            packet = self._forward(trail, point, bridge, packet)
        else:
            packet = self._bridge_hook(trail, key, "output", packet, "", point.out_port)
        return self._postrouting(trail, point, bridge, packet)

    def _prerouting(self, trail: Trail, point: Point, bridge: Link, packet: Packet) -> Packet:
        """The bridge's chains up to br_netfilter, which takes the frame out of the hook to ask the ip hooks."""
        key, port = point.namespace, point.in_port
        shown = packet.ether_type != ARP and self.calls(key, bridge, packet)
        packet = self._up_to_bridge_netfilter(trail, key, "prerouting", packet, (port, ""), shown=shown)
        if not shown:
            return packet
        inside = replace(packet, in_device=bridge.name, in_port=port, out_device="", out_port="")
        return replace(self.firewall.run(trail, key, "prerouting", _for_host(inside)), link_type=packet.link_type)

    def _up_to_bridge_netfilter(
        self, trail: Trail, key: NamespaceId, hook: str, packet: Packet, ports: tuple[str, str], *, shown: bool
    ) -> Packet:
        """The chains of a lower priority, and those of the same: what is shown to the ip hooks may never come to these.

        br_nf_hook_thresh goes on behind its priority, so chains older than the first bridge are passed over then.
        """
        if not shown:
            return self._bridge_hook(trail, key, hook, packet, *ports, last=BRIDGE_NETFILTER)
        packet = self._bridge_hook(trail, key, hook, packet, *ports, last=BRIDGE_NETFILTER - 1)
        quiet = Trail(trail.direction)
        try:
            after = self._bridge_hook(quiet, key, hook, packet, *ports, first=BRIDGE_NETFILTER, last=BRIDGE_NETFILTER)
        except Dead as dead:
            *before, step = quiet.steps
            summary = f"{step.summary.replace(' drops it', ' may drop it')}: {PASSED_OVER}"
            facts = {**dead.step.facts, "why": PASSED_OVER}
            trail.steps += [*before, replace(step, outcome="unknown", summary=summary, facts=facts)]
            return packet
        trail.steps += quiet.steps
        changed = [name for name in CHANGEABLE if getattr(after, name) != getattr(packet, name)]
        return replace(after, unsure=(*after.unsure, *((name, PASSED_OVER) for name in changed)))

    def late_prerouting(self, trail: Trail, point: Point, packet: Packet) -> Packet:
        """The chains after br_netfilter."""
        key, port = point.namespace, point.in_port
        return self._bridge_hook(trail, key, "prerouting", packet, port, "", first=BRIDGE_NETFILTER + 1)

    def _forward(self, trail: Trail, point: Point, bridge: Link, packet: Packet) -> Packet:
        """br_nf_forward: IP only when prerouting passed by the ip hooks too; ARP with the ports as its devices."""
        key, ports = point.namespace, (point.in_port, point.out_port)
        shown = self.calls(key, bridge, packet) if packet.ether_type == ARP else bool(packet.in_port)
        packet = self._up_to_bridge_netfilter(trail, key, "forward", packet, ports, shown=shown)
        if not shown:
            return self._bridge_hook(trail, key, "forward", packet, *ports, first=BRIDGE_NETFILTER + 1)
        if packet.ether_type == ARP:
            inside = replace(packet, in_device=point.in_port, out_device=point.out_port)
            packet = self.firewall.frame(trail, key, "arp", "forward", inside)
        else:
            inside = replace(packet, in_device=bridge.name, out_device=bridge.name, out_port=point.out_port)
            packet = replace(self.firewall.run(trail, key, "forward", _for_host(inside)), link_type=packet.link_type)
        return self._bridge_hook(trail, key, "forward", packet, *ports, first=BRIDGE_NETFILTER + 1)

    def _postrouting(self, trail: Trail, point: Point, bridge: Link, packet: Packet) -> Packet:
        """br_nf_post_routing comes last; what only left the own stack has had its postrouting there."""
        packet = self._bridge_hook(trail, point.namespace, "postrouting", packet, "", point.out_port)
        if not packet.out_port:
            return packet
        inside = replace(packet, in_device="", out_device=bridge.name)
        after = self.firewall.run(trail, point.namespace, "postrouting", _for_host(inside))
        return replace(after, in_port="", out_port="", link_type=packet.link_type)

    def _bridge_hook(
        self, trail: Trail, key: NamespaceId, hook: str, packet: Packet, in_port: str, out_port: str,
        first: int = FIRST, last: int = LAST,
    ) -> Packet:  # fmt: skip
        """One hook of the bridge family, whose devices are the ports."""
        inside = replace(packet, in_device=in_port, out_device=out_port)
        return self.firewall.frame(trail, key, "bridge", hook, inside, first=first, last=last)

    def calls(self, key: NamespaceId, bridge: Link, packet: Packet) -> bool:
        """Whether the namespace or the bridge itself asks for the packet to be shown to the protocol's own hooks."""
        options = bridge.bridge
        name, own = {
            ARP: ("arptables", options is not None and options.nf_call_arptables),
            IPV4: ("iptables", options is not None and options.nf_call_iptables),
            IPV6: ("ip6tables", options is not None and options.nf_call_ip6tables),
        }[packet.ether_type]
        return own or self.view.number(key, f"net/bridge/bridge-nf-call-{name}") != 0


def _for_host(packet: Packet) -> Packet:
    """The ip hooks are not to see that a frame is for others (setup_pre_routing, br_nf_forward_ip)."""
    return replace(packet, link_type=PACKET_HOST) if packet.link_type == PACKET_OTHERHOST else packet
