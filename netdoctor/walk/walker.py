"""The packet's way there and back: send, route, filter, resolve, carry, receive, forward, deliver, answer."""

from collections.abc import Callable

from msgspec.structs import replace

from netdoctor.model.journey import Because, Direction, Flow, Journey, RoundTrip
from netdoctor.model.network import Link
from netdoctor.model.snapshot import NamespaceId, Snapshot
from netdoctor.walk import delivery, refusals, route_steps, sizes
from netdoctor.walk.addressing import is_link_local, is_loopback
from netdoctor.walk.bridging import Diverted
from netdoctor.walk.connections import Connections, answer_to
from netdoctor.walk.filters import Filters
from netdoctor.walk.hooks import Firewall
from netdoctor.walk.ipsec import policy_step
from netdoctor.walk.layer2 import End, Point, down_step
from netdoctor.walk.neighbour import Resolver
from netdoctor.walk.packet import ICMP, ICMP6, TCP, UDP, Packet, with_priority_of_tos
from netdoctor.walk.routing import Lookup, local_device, lookup, query_out
from netdoctor.walk.source_address import select_source
from netdoctor.walk.trail import Dead, Left, Trail
from netdoctor.walk.validation import query_for
from netdoctor.walk.validity import ACK, SYN
from netdoctor.walk.view import CannotTell, Lacking, View
from netdoctor.walk.worlds import Settled, World, explored

MAX_STACKS = 24
PROTOCOLS = {"icmp": ICMP, "tcp": TCP, "udp": UDP}
ECE_CWR = 0xC0
UPDATE_PRIORITY = "net/ipv4/ip_forward_update_priority"
EPHEMERAL_PORT, PROBE_ID = 54321, 4242
LARGEST_OPENING_BYTES, PUSH = 80, 8
"""TCP packets up to this size open a connection, larger ones are data of an open one."""


def walk(snapshot: Snapshot, flow: Flow, settled: Settled | None = None) -> RoundTrip:
    """The flow's way there and back. With `needs` in the answer it is not finished: extend the snapshot and walk again.

    settled: what was seen of rules that nobody can tell of beforehand.
    """
    view = View(snapshot)

    def one_world(world: World) -> RoundTrip:
        try:
            return Walker(view, flow, world).round_trip()
        except Lacking as lacking:
            return RoundTrip(flow=flow, forward=Journey(direction="forward", end="unknown"), needs=lacking.needs)

    try:
        return explored(one_world, settled or {}, lambda trip: _attributed(view, trip))
    except Lacking as lacking:
        return RoundTrip(flow=flow, forward=Journey(direction="forward", end="unknown"), needs=lacking.needs)


def _attributed(view: View, trip: RoundTrip) -> RoundTrip:
    """The trip with what is really at fault named. Raises Lacking."""
    if trip.fatal is None and trip.forward.end != "left":
        return trip
    from netdoctor.walk import blame

    try:
        return blame.attributed(view, trip)
    except CannotTell:
        return trip


class Walker:
    """One round trip. State that outlives a hop: conntrack's flows and the trail."""

    def __init__(self, view: View, flow: Flow, world: World | None = None) -> None:
        self.view = view
        self.flow = flow
        self.world = world
        self.connections = Connections()
        self.firewall = Firewall(view, self.connections, world)
        self.filters = Filters(view, self.firewall)
        self.resolver = Resolver(view, self.filters)
        self.trail = Trail()
        self.received: tuple[NamespaceId, Packet] | None = None
        self.depth = 0
        self.route_in: Lookup | None = None
        """Of a packet that comes up from a bridge which has routed it already."""
        self.tunnel = False

    def round_trip(self) -> RoundTrip:
        packet = self._first_packet()
        if packet.protocol == TCP and packet.length_bytes > LARGEST_OPENING_BYTES:
            opening = replace(packet, length_bytes=LARGEST_OPENING_BYTES)
            opened = self._journey("forward", lambda: self._originate(self.flow.namespace, opening))
            if opened.end in ("blocked", "unknown"):
                return RoundTrip(flow=self.flow, forward=opened)
            self.connections.answered()
            self.received, self.depth = None, 0
            packet = replace(packet, tcp_flags=ACK | PUSH)
        forward = self._journey("forward", lambda: self._originate(self.flow.namespace, packet))
        if forward.end != "delivered" or self.received is None:
            return RoundTrip(flow=self.flow, forward=forward)
        there, arrived = self.received
        self.received = None
        if not packet.dont_fragment:
            arrived = replace(arrived, length_bytes=packet.length_bytes)
        reply = self._journey("reply", lambda: self._originate(there, answer_to(arrived)))
        if reply.end == "delivered" and self.received is not None:
            reply = self._check_answer(reply, *self.received)
        return RoundTrip(flow=self.flow, forward=forward, reply=reply)

    def another(self) -> "Walker":
        """A fresh walker over the same snapshot, for a packet that this one's way depends on."""
        return Walker(self.view, self.flow, self.world)

    def one_way(self, key: NamespaceId, packet: Packet, direction: Direction = "forward") -> Journey:
        """A packet that expects no answer: an ICMP error, a tunnel's outer packet."""
        return self._journey(direction, lambda: self._originate(key, packet))

    def _journey(self, direction: Direction, go: Callable[[], None]) -> Journey:
        self.trail = Trail(direction)
        try:
            go()
            end = "delivered"
        except Dead:
            end = "blocked"
        except Left:
            end = "left"
        except CannotTell as lost:
            end = "unknown"
            self.trail.add(
                self.trail.step(
                    "route",
                    lost.namespace,
                    "unknown",
                    f"cannot tell: {lost.why}",
                    device=lost.device,
                    cause="unreadable",
                )
            )
        return Journey(direction=direction, end=end, steps=tuple(self.trail.steps))  # type: ignore[arg-type]

    def _check_answer(self, reply: Journey, key: NamespaceId, packet: Packet) -> Journey:
        """The answer must come to the asker, from the address and port it was asked at."""
        flow = self.flow
        if (
            key == flow.namespace
            and packet.source == flow.destination
            and (flow.protocol == "icmp" or packet.source_port == flow.port)
        ):
            return reply
        where = self.view.name(key)
        step = self.trail.step(
            "conntrack", key, "block", f"the answer ends in {where} as {packet}: nobody asked there", packet=str(packet),
            cause="answer-misdelivered", facts={"source": packet.source, "destination": packet.destination},
        )  # fmt: skip
        return replace(reply, end="blocked", steps=(*reply.steps, step))

    def _first_packet(self) -> Packet:
        flow = self.flow
        icmp = flow.protocol == "icmp"
        return Packet(
            family=flow.family,
            source=flow.source,
            destination=flow.destination,
            protocol=PROTOCOLS[flow.protocol] if not icmp or flow.family == 4 else ICMP6,
            source_port=0 if icmp else EPHEMERAL_PORT,
            destination_port=flow.port,
            icmp_type=(8 if flow.family == 4 else 128) if icmp else 0,
            icmp_id=PROBE_ID if icmp else 0,
            tcp_flags=self._opening_flags() if flow.protocol == "tcp" else 0,
            ttl=self._default_ttl(flow.namespace, flow.family),
            length_bytes=flow.length_bytes,
            dont_fragment=flow.dont_fragment or flow.protocol == "tcp",
            ether_type=0x0800 if flow.family == 4 else 0x86DD,
            user_id=flow.user_id,
        )

    def _default_ttl(self, key: NamespaceId, family: int) -> int:
        """ip_select_ttl: of answers and tunnels' outer packets, too."""
        return self.view.number(key, "net/ipv4/ip_default_ttl", 64) if family == 4 else 64

    def _opening_flags(self) -> int:
        """SYN; with ECE and CWR where tcp_ecn asks for congestion notification (tcp_ecn_send_syn)."""
        asks = self.view.sysctl(self.flow.namespace, "net/ipv4/tcp_ecn", "2") in ("1", "3", "4")
        return SYN | (ECE_CWR if asks else 0)

    # Sending -----------------------------------------------------------------------------------------------------

    def _originate(self, key: NamespaceId, packet: Packet) -> None:
        """A packet of this namespace's own (ip_route_output_key_hash, __ip_local_out)."""
        packet = replace(packet, ttl=packet.ttl or self._default_ttl(key, packet.family))
        delivery.check_local_port(
            self.view, self.trail, key, packet, asking=key == self.flow.namespace and self.trail.direction == "forward"
        )
        packet = route_steps.sourced(self.view, key, packet)
        found = self._route_out(key, packet)
        if not packet.source:
            packet = self._with_source(key, packet, found)
            if route_steps.routed_apart(self.view, key, packet, found):
                found = self._route_out(key, packet)
        refusals.refuse_bad_source(self, key, packet, found)
        packet = replace(packet, out_device=self._out_name(key, packet, found))
        if packet.protocol == TCP and packet.tcp_flags & SYN and packet.tcp_options is None:
            packet = replace(packet, tcp_mss=self._segment_size(key, packet, found))
        self._policy(key, "out", packet)
        after = self.firewall.run(self.trail, key, "output", packet)
        if self.firewall.rerouted is not None:
            found = self._route_out(key, self.firewall.rerouted)
            after = replace(after, out_device=self._out_name(key, after, found))
            self._policy(key, "out", after)
        self._send(key, after, found)

    def _segment_size(self, key: NamespaceId, packet: Packet, found: Lookup) -> int | None:
        """What a SYN offers as its MSS: the route's MTU without the headers (ipv4_default_advmss, ip6_default_advmss)."""
        device = self.view.link(key, packet.out_device)
        return sizes.route_mtu(device, found) - (40 if packet.family == 4 else 60) if device is not None else None

    def _route_out(self, key: NamespaceId, packet: Packet) -> Lookup:
        loopback = local_device(self.view, key)
        if is_loopback(packet.destination) and loopback is not None and not loopback.up:
            self.trail.dies(down_step(self.view, self.trail, key, loopback))
        found = route_steps.chosen_way(self, key, packet, lookup(self.view, key, query_out(packet)))
        route_steps.route_step(self, key, packet, found)
        return found

    def _out_name(self, key: NamespaceId, packet: Packet, found: Lookup) -> str:
        if found.type in ("local", "anycast"):
            loopback = local_device(self.view, key)
            return loopback.name if loopback else "lo"
        return self.view.device_name(key, found.hop.index) if found.hop else ""

    def _with_source(self, key: NamespaceId, packet: Packet, found: Lookup) -> Packet:
        if found.type == "local":
            return replace(
                packet,
                source=(found.route.preferred_source if found.route and packet.family == 4 else "")
                or packet.destination,
            )
        index = found.hop.index if found.hop else 0
        towards = found.hop.gateway if found.hop and found.hop.gateway and packet.family == 4 else packet.destination
        source = select_source(self.view, key, packet.family, index, towards, found.route)
        device = self.view.device_name(key, index)
        unusable = not source or (
            packet.family == 6 and is_link_local(source) and not is_link_local(packet.destination)
        )
        if unusable:
            refusals.refuse_failed_address(self, key, packet, index, device)
            family = "IPv6" if packet.family == 6 else "IPv4"
            self.trail.dies(
                self.trail.step(
                    "source-address",
                    key,
                    "block",
                    f"{device} in {self.view.name(key)} has no {family} address to send from",
                    Because(kind="link", namespace=key, text=device),
                    device=device,
                    cause="address-missing",
                    facts={
                        "link": device,
                        "family": str(packet.family),
                        "destination": packet.destination,
                        "found": source,
                    },
                )  # fmt: skip
            )
        self.trail.passed(
            "source-address", key, f"it sends from {source}", device=device, packet=str(replace(packet, source=source))
        )
        return replace(packet, source=source)

    def _policy(self, key: NamespaceId, direction: str, packet: Packet) -> None:
        step = policy_step(self.view, self.trail, key, direction, packet)
        if step is not None:
            self.trail.add(step)
            if step.outcome == "block":
                raise Dead(step)

    def _send(self, key: NamespaceId, packet: Packet, found: Lookup) -> None:
        """ip_output and ip_finish_output: POSTROUTING, size, neighbour, and onto the link."""
        self.depth += 1
        if self.depth > MAX_STACKS:
            self.trail.dies(
                self.trail.step("route", key, "block", f"the packet goes round in circles at {self.view.name(key)}", cause="routing-loop",
                                packet=str(packet), facts={"destination": packet.destination})
            )  # fmt: skip
        device = self.view.link(key, packet.out_device)
        if device is None:
            raise CannotTell(f"no interface {packet.out_device}", key)
        before = packet
        packet = replace(self.firewall.run(self.trail, key, "postrouting", packet), in_device="")
        if packet.source != before.source:
            self._policy(key, "out", packet)
        if found.type in ("local", "anycast"):
            self._loop_back(key, device, packet)
            return
        sizes.check_leaving(self, key, device, packet, found)
        packet = sizes.cut(packet, device, found)
        next_hop = found.hop.gateway if found.hop and found.hop.gateway else packet.destination
        packet = replace(packet, source_mac=device.mac)
        hop = self.resolver.resolve(
            self.trail, key, device, next_hop, packet, route_steps.route_facts(self, key, packet, found)
        )
        self.trail.add(
            self.trail.step(
                "neighbour",
                key,
                "pass",
                hop.text,
                device=device.name,
                packet=str(packet),
                facts={"link": device.name, "next_hop": next_hop},
            )  # fmt: skip
        )
        if hop.end is None:
            raise Left("out of sight")
        self._carry(packet, hop.end, hop.mac)

    def _loop_back(self, key: NamespaceId, device: Link, packet: Packet) -> None:
        """To itself by lo: out, in again, and up. What conntrack found invalid has no entry, and is looked up again."""
        if not device.up:
            self.trail.dies(down_step(self.view, self.trail, key, device))
        if packet.conntrack is not None and packet.conntrack.state == "invalid":
            packet = replace(packet, conntrack=None)
        self._receive(End(key, device, ()), replace(packet, in_device=device.name, out_device=""))

    def _carry(self, packet: Packet, end: End, mac: str) -> None:
        """Over the wire to the next stack, past the filters in between."""
        sizes.check_wire(self, end.points, packet)
        self._underlays(end.points, packet)
        packet = replace(packet, destination_mac=mac)
        try:
            packet = self.filters.pass_points(self.trail, end.points, packet)
        except Diverted as diverted:
            from netdoctor.walk.diversion import turned

            end, packet, self.route_in = turned(self, diverted)
        first = end.points[0].device if end.points else end.link.name
        bridges = [point.device for point in end.points if point.kind == "bridge"]
        by = f" through bridge {', '.join(dict.fromkeys(bridges))}" if bridges else ""
        self.trail.add(
            self.trail.step(
                "device",
                end.namespace,
                "pass",
                f"{first} to {end.link.name} in {self.view.name(end.namespace)}{by}",
                device=end.link.name,
                packet=str(packet),
                facts=_crossing(end.points),
            )  # fmt: skip
        )
        self._receive(end, replace(packet, in_device=end.link.name, out_device="", user_id=None, group_id=None))

    def _underlays(self, points: tuple[Point, ...], packet: Packet) -> None:
        """The outer packets of tunnels on the way must arrive too."""
        for point in points:
            if point.kind == "underlay":
                sizes.check_underlay(self, point, packet)

    # Receiving ---------------------------------------------------------------------------------------------------

    def _receive(self, end: End, packet: Packet) -> None:
        """ip_rcv: PREROUTING, then the input route decides between here, onwards and nowhere.

        What comes by a bridge's port with br_netfilter has had its PREROUTING there (ip_sabotage_in). What comes by
        loopback keeps the route that it left with, unless a rule readdresses it.
        """
        key, device = end.namespace, end.link.name
        refusals.refuse_slave(self, key, end.link, packet)
        came = packet
        if not packet.in_port:
            packet = self.firewall.run(self.trail, key, "prerouting", packet)
        routed = device == "lo" and packet.destination == came.destination
        if not routed:
            refusals.refuse_martian(self, key, device, packet)
        found = self.route_in or lookup(self.view, key, query_for(packet, device))
        self.route_in = None
        if found.type in {"local", "anycast"}:
            if not routed:
                refusals.validate_source(self, key, device, packet, "")
            self._deliver(key, packet)
            return
        self._forward(key, device, packet, found)

    # Forwarding --------------------------------------------------------------------------------------------------

    def _forward(self, key: NamespaceId, device: str, packet: Packet, found: Lookup) -> None:
        """ip_forward and ip6_forward: allowed at all, a route, a believable source, IPsec policies, TTL, size, FORWARD."""
        if packet.family == 4:
            refusals.refuse_forwarding(self, key, device, packet)
        found = route_steps.chosen_way(self, key, packet, found)
        route_steps.route_step(self, key, packet, found)
        if packet.family == 6:
            refusals.refuse_forwarding(self, key, device, packet)
        out_device = self.view.device_name(key, found.hop.index) if found.hop else ""
        refusals.validate_source(self, key, device, packet, out_device)
        packet = replace(packet, out_device=out_device)
        self._policy(key, "fwd", packet)
        packet = refusals.count_down(self, key, device, packet)
        if packet.family == 4 and self.view.number(key, UPDATE_PRIORITY, 1):
            packet = with_priority_of_tos(packet)
        self._policy(key, "out", packet)
        packet = sizes.check_forwarding(self, key, packet, found)
        packet = self.firewall.run(self.trail, key, "forward", packet)
        self._send(key, packet, found)

    # Delivering --------------------------------------------------------------------------------------------------

    def _deliver(self, key: NamespaceId, packet: Packet) -> None:
        """ip_local_deliver: INPUT, IPsec, and whoever listens."""
        packet = self.firewall.run(self.trail, key, "input", packet)
        self._policy(key, "in", packet)
        asked = self.trail.direction == "forward" and not self.tunnel
        delivery.check_listener(self.view, self.trail, key, packet, asked=asked)
        self.trail.passed(
            "deliver", key, f"{self.view.name(key)} takes {packet}", device=packet.in_device, packet=str(packet)
        )
        self.received = (key, packet)


def _crossing(points: tuple[Point, ...]) -> dict[str, str]:
    """Which devices the frame left by on its way, and by which tunnel."""
    egress = [f"{point.namespace} {point.device}" for point in points if point.kind == "egress"]
    tunnels = [point.device for point in points if point.kind == "underlay"]
    return {"egress": ",".join(egress), "tunnel": ",".join(tunnels)}
