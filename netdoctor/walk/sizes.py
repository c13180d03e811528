"""Packets too big for the way: what the sender is told, and what vanishes (net/ipv4/ip_forward.c, ip_output.c, veth.c)."""

import itertools
from typing import TYPE_CHECKING

from msgspec.structs import replace

from netdoctor.model.journey import Because, Step
from netdoctor.model.network import Link
from netdoctor.model.snapshot import NamespaceId
from netdoctor.walk.layer2 import Point, link_text
from netdoctor.walk.packet import ICMP, ICMP6, TCP, UDP, Packet
from netdoctor.walk.routing import Lookup, Query, lookup
from netdoctor.walk.source_address import select_source
from netdoctor.walk.trail import Dead, Trail
from netdoctor.walk.validity import SYN

if TYPE_CHECKING:
    from netdoctor.walk.walker import Walker

VXLAN_OUTER_BYTES = {4: 36, 6: 56}
ERROR_BYTES = 576


def check_leaving(walker: "Walker", key: NamespaceId, device: Link, packet: Packet, found: Lookup) -> None:
    """A packet of our own is cut to the interface's size before it leaves: only a DF packet that cannot be cut dies.

    Echo replies are always cut (icmp_reply, icmpv6_echo_reply); on their way they stand for what the peer sends by TCP.
    """
    limit = route_mtu(device, found)
    if packet.length_bytes <= limit or not packet.dont_fragment or packet.protocol == TCP or _echo_reply(packet):
        return
    if packet.source and walker.view.local_addresses(key, packet.source):
        walker.trail.dies(
            walker.trail.step(
                "mtu",
                key,
                "block",
                f"{packet.length_bytes} bytes do not fit the {limit} of {device.name}",
                Because(kind="link", namespace=key, text=link_text(device)),
                device=device.name,
                packet=str(packet),
                cause="packet-too-big",
                facts={"link": device.name, "mtu": str(limit), "length": str(packet.length_bytes)},
            )  # fmt: skip
        )


def cut(packet: Packet, device: Link, found: Lookup) -> Packet:
    """The packet as it goes onto the link: a piece of it where it is too big and may be cut (ip_fragment, ip6_fragment)."""
    limit = route_mtu(device, found)
    if packet.length_bytes <= limit or (packet.dont_fragment and not _echo_reply(packet)):
        return packet
    return replace(packet, length_bytes=limit)


def _echo_reply(packet: Packet) -> bool:
    return (packet.protocol, packet.icmp_type) in ((ICMP, 0), (ICMP6, 129))


def route_mtu(device: Link, found: Lookup) -> int:
    """The route's own mtu, else the interface's."""
    return found.route.mtu_bytes if found.route and found.route.mtu_bytes else device.mtu_bytes


def check_forwarding(walker: "Walker", key: NamespaceId, packet: Packet, found: Lookup) -> Packet:
    """ip_forward: too big and not to be cut -> an ICMP error goes back, and must get there; else the sender never learns.

    Returns the packet as the sender, once told, makes it. Raises Dead with cause pmtu-black-hole.
    """
    device = walker.view.link(key, packet.out_device)
    if device is None:
        return packet
    limit = route_mtu(device, found)
    if packet.length_bytes <= limit or (packet.family == 4 and not packet.dont_fragment):
        return packet
    segment = _clamped(walker, key, packet, limit) if packet.protocol == TCP else packet.length_bytes
    if segment <= limit:
        text = f"TCP's segments are clamped to {segment} bytes (MSS) in {walker.view.name(key)}"
        walker.trail.passed("mtu", key, text, device=device.name)
        return replace(packet, length_bytes=segment)
    lost = _error_lost(walker, key, packet, limit)
    name = walker.view.name(key)
    text = f"{packet.length_bytes} bytes do not fit the {limit} of {device.name} in {name}"
    because = Because(kind="link", namespace=key, text=link_text(device))
    facts = {
        "link": device.name,
        "mtu": str(limit),
        "length": str(packet.length_bytes),
        "router": name,
        "mtu_namespace": key,
    }
    if lost is None:
        walker.trail.add(
            walker.trail.step(
                "mtu", key, "pass", f"{text}: the sender is told (ICMP) and sends less", because, device=device.name
            )
        )
        return replace(packet, length_bytes=limit)
    where = walker.view.name(lost.namespace)
    facts |= {f"lost_{name}": value for name, value in lost.facts.items()} | {
        "lost_cause": lost.cause,
        "lost_device": lost.device,
    }
    walker.trail.dies(
        walker.trail.step(
            "mtu",
            lost.namespace,
            "block",
            f"{text}, and the ICMP error (frag-needed) never reaches the sender: {lost.summary} in {where}",
            because,
            *lost.because,
            device=device.name,
            packet=str(packet),
            cause="pmtu-black-hole",
            facts=facts,
        )  # fmt: skip
    )
    return None


def _clamped(walker: "Walker", key: NamespaceId, packet: Packet, limit: int) -> int:
    """The size that rules of this router leave to the flow's segments (TCPMSS, nft's maxseg): they rewrite the SYN's MSS."""
    quiet = Trail(walker.trail.direction)
    view = packet.conntrack
    opening = replace(packet, tcp_flags=SYN, conntrack=replace(view, state="new") if view is not None else None)
    try:
        for hook in ("forward", "postrouting"):
            walker.firewall.run(quiet, key, hook, opening)
    except Dead:
        return packet.length_bytes
    headers = 40 if packet.family == 4 else 60
    sizes = [packet.length_bytes]
    for because in (one for step in quiet.steps for one in step.because):
        if "clamp-mss-to-pmtu" in because.text or "maxseg size set rt mtu" in because.text:
            sizes.append(limit)
        words = because.text.split()
        for word, after in itertools.pairwise(words):
            if word == "--set-mss" and after.isdigit():
                sizes.append(int(after) + headers)
        if "maxseg size set" in because.text and words[-1].isdigit():
            sizes.append(int(words[-1]) + headers)
    return min(sizes)


def _error_lost(walker: "Walker", key: NamespaceId, packet: Packet, limit: int) -> Step | None:
    """Sends the ICMP error on its way (icmp_send, icmp6_send): the step that kills it, or None when it arrives."""
    back = lookup(walker.view, key, Query(packet.family, "", packet.source))
    index = back.hop.index if back.hop else 0
    source = select_source(walker.view, key, packet.family, index, packet.source, back.route)
    error = Packet(
        family=packet.family,
        source=source,
        destination=packet.source,
        protocol=ICMP if packet.family == 4 else ICMP6,
        icmp_type=3 if packet.family == 4 else 2,
        icmp_code=4 if packet.family == 4 else 0,
        length_bytes=min(ERROR_BYTES, limit),
        ether_type=packet.ether_type,
    )
    if not source:
        return walker.trail.step(
            "mtu", key, "block", "the router has no address to send the error from", cause="no-error-source"
        )
    other = walker.another()
    other.connections.related = True
    journey = other.one_way(key, error, "reply")
    return next((step for step in journey.steps if step.outcome == "block"), None)


def check_wire(walker: "Walker", points: tuple[Point, ...], packet: Packet) -> None:
    """__dev_forward_skb and br_dev_queue_push_xmit: a frame bigger than the next device's MTU is dropped in silence.

    A bridge, a macvlan, a VLAN and a tunnel take what comes up to them without looking at their own MTU; a veth's end looks.
    TCP's segments may pass as one offloaded super-packet, so for TCP it is only a doubt.
    """
    for point in points:
        link = walker.view.link(point.namespace, point.device)
        if link is None or point.kind not in ("ingress", "egress") or packet.length_bytes <= link.mtu_bytes:
            continue
        if point.kind == "ingress" and link.kind != "veth":
            continue
        outcome = "unknown" if packet.protocol == TCP else "block"
        step = walker.trail.step(
            "mtu", point.namespace, "unknown" if outcome == "unknown" else "block",
            f"{packet.length_bytes} bytes do not fit the {link.mtu_bytes} of {link.name} in {walker.view.name(point.namespace)}: "
            "such frames vanish there without an error",
            Because(kind="link", namespace=point.namespace, text=link_text(link)), device=link.name, packet=str(packet),
            cause="mtu-mismatch", facts={"link": link.name, "mtu": str(link.mtu_bytes), "length": str(packet.length_bytes)},
        )  # fmt: skip
        walker.trail.add(step)
        if outcome == "block":
            raise Dead(step)


def check_underlay(walker: "Walker", point: Point, packet: Packet) -> None:
    """A tunnel's outer packet, walked like any other from the tunnel's namespace to its remote end."""
    family = 6 if ":" in point.remote else 4
    outer = Packet(
        family=6 if family == 6 else 4,
        source=point.local,
        destination=point.remote,
        protocol=UDP,
        source_port=49152,
        destination_port=point.udp_port,
        ttl=0,
        length_bytes=packet.length_bytes + VXLAN_OUTER_BYTES[family] + 14,
        ether_type=0x86DD if family == 6 else 0x0800,
    )
    _doubt_pieces(walker, point, packet, outer)
    other = walker.another()
    other.tunnel = True
    journey = other.one_way(point.namespace, outer, walker.trail.direction)
    fatal = next((step for step in journey.steps if step.outcome == "block"), None)
    if fatal is not None:
        walker.trail.dies(
            replace(
                fatal,
                summary=f"the tunnel {point.device}'s outer packet: {fatal.summary}",
                facts={**fatal.facts, "tunnel": point.device},
            )
        )
    for step in journey.steps:
        if step.outcome == "unknown":
            walker.trail.add(replace(step, summary=f"the tunnel {point.device}'s outer packet: {step.summary}"))


def _doubt_pieces(walker: "Walker", point: Point, packet: Packet, outer: Packet) -> None:
    """A tunnel whose own MTU leaves no room for its headers sends its packets in two pieces, which many networks lose."""
    key = point.namespace
    found = lookup(walker.view, key, Query(outer.family, outer.source, outer.destination, 0, "", "", UDP))
    device = walker.view.link(key, found.hop.index) if found.hop else None
    tunnel = walker.view.link(key, point.device)
    if device is None or tunnel is None or outer.length_bytes <= route_mtu(device, found):
        return
    limit = route_mtu(device, found)
    room = limit - (outer.length_bytes - packet.length_bytes)
    walker.trail.add(
        walker.trail.step(
            "mtu", key, "unknown",
            f"the MTU {tunnel.mtu_bytes} of {tunnel.name} leaves no room for the tunnel's headers in the {limit} of {device.name}: "
            "full-size packets go out in two pieces, which many networks lose",
            Because(kind="link", namespace=key, text=link_text(tunnel)), Because(kind="link", namespace=key, text=link_text(device)),
            device=tunnel.name, packet=str(packet), cause="tunnel-mtu-too-big",
            facts={"link": tunnel.name, "mtu": str(tunnel.mtu_bytes), "length": str(packet.length_bytes), "wanted": str(room)},
        )
    )  # fmt: skip
