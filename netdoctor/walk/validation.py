"""What the kernel asks of a packet that comes in, before it routes it (net/ipv4/route.c, fib_frontend.c)."""

from typing import NamedTuple

from netdoctor.model.snapshot import NamespaceId
from netdoctor.walk.addressing import is_loopback, is_multicast
from netdoctor.walk.packet import Packet
from netdoctor.walk.routing import LOCAL, Lookup, Query, lookup
from netdoctor.walk.view import View


class Refusal(NamedTuple):
    """Why a source is not accepted: rp-filter, own-address, martian. `back` is the reverse lookup."""

    cause: str
    back: Lookup | None = None
    mode: int = 0


def query_for(packet: Packet, in_device: str) -> Query:
    return Query(
        family=packet.family,
        source=packet.source,
        destination=packet.destination,
        mark=packet.mark,
        in_device=in_device,
        protocol=packet.protocol,
        source_port=packet.source_port,
        destination_port=packet.destination_port,
        tos=packet.tos,
    )


def martian(view: View, key: NamespaceId, device: str, packet: Packet) -> str:
    """Which end is impossible on a wire ("source" or "destination"), or ""."""
    if device == "lo":
        return ""
    if is_multicast(packet.source):
        return "source"
    allowed = packet.family == 4 and view.conf_or(key, device, "route_localnet")
    if is_loopback(packet.source) and not allowed:
        return "source"
    return "destination" if is_loopback(packet.destination) and not allowed else ""


def refuse_source(view: View, key: NamespaceId, device: str, packet: Packet, out_device: str) -> Refusal | None:
    """fib_validate_source: reverse path filtering and own addresses as sources. IPv4 only; None when it passes."""
    if packet.family != 4 or device == "lo":
        return None
    mode = view.conf_max(key, device, "rp_filter")
    accept_local = view.conf_or(key, device, "accept_local")
    if not mode and device != out_device:
        if accept_local:
            return None
        if not _custom_routing(view, key):
            return Refusal("own-address") if view.local_addresses(key, packet.source) else None
    mark = packet.mark if view.conf_or(key, device, "src_valid_mark") else 0
    back = lookup(
        view,
        key,
        Query(4, packet.destination, packet.source, mark=mark, in_device=out_device, protocol=packet.protocol),
    )
    return _judge_reverse(view, key, device, back, mode, accept_local)


def _judge_reverse(
    view: View, key: NamespaceId, device: str, back: Lookup, mode: int, accept_local: bool
) -> Refusal | None:
    """__fib_validate_source after its lookup."""
    if back.type == "none" or back.type in ("blackhole", "unreachable", "prohibit"):
        return Refusal("rp-filter", back, mode) if mode else None
    if back.type != "unicast":
        if back.type == "local" and accept_local:
            return None
        return Refusal("own-address" if back.type == "local" else "martian", back, mode)
    if back.route and any(view.device_name(key, hop.index) == device for hop in back.route.next_hops):
        return None
    link = view.link(key, device)
    addressed = any(one.family == 4 and link and one.index == link.index for one in view.addresses(key))
    if mode == 1 or (mode and not addressed):
        return Refusal("rp-filter", back, mode)
    return None


def _custom_routing(view: View, key: NamespaceId) -> bool:
    """fib4_has_custom_rules or custom local routes: then own addresses are told by the reverse lookup."""
    rules = [rule for rule in view.rules(key) if rule.family == 4]
    standard = {(0, 255), (32766, 254), (32767, 253)}
    if any((rule.priority, rule.table) not in standard or rule.source or rule.fwmark is not None for rule in rules):
        return True
    return any(
        route.table == LOCAL and route.family == 4 and route.type == "local" and route.protocol != "kernel"
        for route in view.routes(key)
    )
