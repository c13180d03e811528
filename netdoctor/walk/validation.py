"""What the kernel asks of a packet that comes in, before it routes it (net/ipv4/route.c, fib_frontend.c; ipv6/ip6_input.c)."""

from typing import NamedTuple

from netdoctor.model.network import Link
from netdoctor.model.snapshot import NamespaceId
from netdoctor.walk.addressing import contains, is_loopback, is_multicast
from netdoctor.walk.packet import ICMP, ICMP6, Packet
from netdoctor.walk.routing import Lookup, Query, lookup
from netdoctor.walk.tables import rules_in_order, tables
from netdoctor.walk.view import CannotTell, View

EVERYBODY, NOBODY = "255.255.255.255", "0.0.0.0"


class Refusal(NamedTuple):
    """Why a source is not accepted: rp-filter, own-address, martian. `back` is the reverse lookup."""

    cause: str
    back: Lookup | None = None
    mode: int = 0


def query_for(packet: Packet, in_device: str) -> Query:
    """What is looked up for a packet that came in (ip_route_input_slow, ip6_route_input): ICMP shows no ports."""
    ported = packet.protocol not in (ICMP, ICMP6)
    return Query(
        family=packet.family,
        source=packet.source,
        destination=packet.destination,
        mark=packet.mark,
        in_device=in_device,
        protocol=packet.protocol,
        source_port=packet.source_port if ported else 0,
        destination_port=packet.destination_port if ported else 0,
        tos=packet.tos,
    )


def martian(view: View, key: NamespaceId, device: str, packet: Packet) -> str:
    """Which end is impossible on a wire ("source" or "destination"), or ""."""
    if packet.family == 6:
        return _martian6(packet) if device != "lo" else ""
    source, destination = packet.source, packet.destination
    if is_multicast(source) or source == EVERYBODY:
        return "source"
    if destination == EVERYBODY or source == destination == NOBODY:
        return ""
    if NOBODY in (source, destination):
        return "source" if source == NOBODY else "destination"
    if view.conf_or(key, device, "route_localnet"):
        return ""
    if is_loopback(destination):
        return "destination"
    return "source" if is_loopback(source) else ""


def _martian6(packet: Packet) -> str:
    """ip6_rcv_core."""
    if is_multicast(packet.source) or is_loopback(packet.source) or contains("::ffff:0:0/96", packet.source):
        return "source"
    return "destination" if is_loopback(packet.destination) else ""


def refuse_source(view: View, key: NamespaceId, device: str, packet: Packet, out_device: str) -> Refusal | None:
    """fib_validate_source: reverse path filtering and own addresses as sources. IPv4 only; None when it passes.

    out_device: where the packet is to leave again, "" when it is for this namespace.
    """
    if packet.family != 4 or packet.source == NOBODY:
        return None
    mode = view.conf_max(key, device, "rp_filter")
    accept_local = view.conf_or(key, device, "accept_local")
    quick = not mode and (device != out_device or not view.conf_or(key, device, "send_redirects"))
    if quick and accept_local:
        return None
    mark = packet.mark if view.conf_or(key, device, "src_valid_mark") else 0
    back = lookup(view, key, _reverse(view, key, packet, mark, out_device))
    full = _judge_reverse(view, key, device, back, mode, accept_local)
    if not quick or view.custom_rules(key) or tables(view, key).local_by_hand:
        return full
    short = Refusal("own-address") if view.local_addresses(key, packet.source) else None
    if (short is None) != (full is None):
        why = f"whether {packet.source} is looked up in the tables or among the addresses: it hangs on routes long gone"
        raise CannotTell(why, key, device)
    return short


def _reverse(view: View, key: NamespaceId, packet: Packet, mark: int, out_device: str) -> Query:
    """The answer's lookup: ends and ports changed over, coming in by where the packet leaves, with nobody's user id."""
    there = query_for(packet, "")
    query = there._replace(
        source=there.destination, destination=there.source, mark=mark, in_device=out_device,
        source_port=there.destination_port, destination_port=there.source_port,
    )  # fmt: skip
    looked_into = any(
        rule.in_device != "lo" and (rule.protocol or rule.source_ports or rule.destination_ports)
        for rule in rules_in_order(view, key, 4)
    )
    return query if looked_into else query._replace(protocol=0, source_port=0, destination_port=0)


def _judge_reverse(
    view: View, key: NamespaceId, device: str, back: Lookup, mode: int, accept_local: bool
) -> Refusal | None:
    """__fib_validate_source after its lookup."""
    if back.route is None or back.type in ("none", "blackhole", "unreachable", "prohibit"):
        return Refusal("rp-filter", back, mode) if mode else None
    if back.type != "unicast" and not (back.type == "local" and accept_local):
        return Refusal("own-address" if back.type == "local" else "martian", back, mode)
    link = view.link(key, device)
    if link is None or any(_by(view, key, hop.index, link) for hop in back.route.next_hops):
        return None
    addressed = any(one.family == 4 and one.index == link.index for one in view.addresses(key))
    if mode == 1 or (mode and not addressed):
        return Refusal("rp-filter", back, mode)
    return None


def _by(view: View, key: NamespaceId, index: int, link: Link) -> bool:
    """nhc_l3mdev_matches_dev: the interface itself, or the VRF that it is enslaved to."""
    other = view.link(key, index)
    if other is None or other.index == link.index:
        return other is not None
    return bool(link.vrf_table and other.master == link.index)
