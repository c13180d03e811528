"""Where a frame goes that a bridge's prerouting hook readdressed: on in the bridge, or up to be routed."""

from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from netdoctor.model.network import Link
from netdoctor.model.snapshot import NamespaceId
from netdoctor.walk import refusals, route_steps
from netdoctor.walk.bridging import PACKET_HOST, Diverted
from netdoctor.walk.layer2 import End, Frame, Spread
from netdoctor.walk.packet import Packet
from netdoctor.walk.routing import Lookup, lookup
from netdoctor.walk.validation import query_for
from netdoctor.walk.view import CannotTell

if TYPE_CHECKING:
    from netdoctor.walk.walker import Walker


class Turned(NamedTuple):
    """The stack the frame gets to after all, and the frame as it comes there.

    route: of a readdressed frame that goes up, by the mark it had then: it is not routed once more (ip_rcv_finish).
    """

    end: End
    packet: Packet
    route: Lookup | None


def turned(walker: "Walker", diverted: Diverted) -> Turned:
    """br_nf_pre_routing_finish, br_handle_frame_finish. Raises Dead where the new way ends, Left where it is not seen."""
    point, packet = diverted.point, diverted.packet
    bridge, port = walker.view.link(point.namespace, point.device), walker.view.link(point.namespace, point.in_port)
    assert bridge is not None and port is not None
    mac, route = packet.destination_mac, None
    if diverted.readdressed:
        mac = _next_mac(walker, point.namespace, bridge, packet)
        if mac == bridge.mac:
            route = lookup(walker.view, point.namespace, query_for(packet, bridge.name))
            packet = replace(packet, destination_mac=mac, link_type=PACKET_HOST)
        packet = walker.filters.bridging.late_prerouting(walker.trail, point, packet)
    packet = replace(packet, destination_mac=mac)
    spread = Spread(walker.view, walker.trail, Frame(packet.source_mac, mac))
    end = next(spread.switched(point.namespace, bridge, port), None)
    if end is None:
        if spread.obstacles:
            walker.trail.dies(replace(spread.obstacles[0], packet=str(packet)))
        raise CannotTell(f"where bridge {bridge.name} sends frames for {mac}", point.namespace, bridge.name)
    crossing, *rest = end.points
    packet = walker.filters.bridging.onwards(walker.trail, crossing, bridge, packet)
    return Turned(end, walker.filters.pass_points(walker.trail, tuple(rest), packet), route)


def _next_mac(walker: "Walker", key: NamespaceId, bridge: Link, packet: Packet) -> str:
    """The new destination's MAC where its route leaves by the same bridge: then no forwarding is asked of the host.

    Else the bridge's own, by which the frame goes up and is routed.
    """
    found = lookup(walker.view, key, query_for(packet, bridge.name))
    if found.type != "unicast" or found.hop is None or found.hop.index != bridge.index:
        return bridge.mac
    if packet.family == 4 and walker.view.conf(key, 4, bridge.name, "forwarding"):
        refusals.validate_source(walker, key, bridge.name, packet, bridge.name)
    next_hop = found.hop.gateway or packet.destination
    facts = route_steps.route_facts(walker, key, packet, found)
    return walker.resolver.resolve(walker.trail, key, bridge, next_hop, packet, facts).mac
