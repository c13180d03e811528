"""What stops a packet short of any rule: sources not believed, addresses not used, forwarding off, a TTL used up."""

from typing import TYPE_CHECKING

from msgspec.structs import replace

from netdoctor.model.journey import Because, StepKind
from netdoctor.model.network import Link
from netdoctor.model.snapshot import NamespaceId
from netdoctor.walk import route_steps
from netdoctor.walk.addressing import is_link_local, is_loopback
from netdoctor.walk.packet import Packet
from netdoctor.walk.route_text import route_text
from netdoctor.walk.routing import Lookup
from netdoctor.walk.validation import martian, refuse_source

if TYPE_CHECKING:
    from netdoctor.walk.walker import Walker


def refuse_failed_address(walker: "Walker", key: NamespaceId, packet: Packet, index: int, device: str) -> None:
    """An address that duplicate address detection has refused is there and never used (ipv6_get_saddr_eval)."""
    for one in walker.view.addresses(key):
        if one.index == index and one.family == packet.family and {"dadfailed", "tentative"} & set(one.flags):
            walker.trail.dies(
                walker.trail.step(
                    "source-address",
                    key,
                    "block",
                    f"{one.local} on {device} in {walker.view.name(key)} is {' '.join(one.flags)}: it is not used",
                    Because(
                        kind="address",
                        namespace=key,
                        text=f"inet6 {one.local}/{one.prefix_length} {' '.join(one.flags)}",
                    ),
                    device=device,
                    cause="address-dad-failed",
                    facts={"link": device, "address": one.local, "family": "6"},
                )  # fmt: skip
            )


def refuse_bad_source(walker: "Walker", key: NamespaceId, packet: Packet, found: Lookup) -> None:
    """ip_route_output_key_hash: a route's src must be an address of ours; a loopback source stays on lo."""
    if found.type == "local" or packet.family == 6:
        return
    device = walker._out_name(key, packet, found)
    if is_loopback(packet.source) and not walker.view.conf_or(key, device, "route_localnet"):
        path = f"net/ipv4/conf/{device}/route_localnet"
        walker.trail.dies(
            walker.trail.step(
                "source-validation",
                key,
                "block",
                f"{packet.source} may not leave by {device}: {path.replace('/', '.')} is 0",
                Because(kind="sysctl", namespace=key, text=f"{path.replace('/', '.')} = 0"),
                device=device,
                packet=str(packet),
                cause="route-localnet-off",
                facts={"link": device, "sysctl": path, "wanted": "1"},
            )  # fmt: skip
        )


def refuse_slave(walker: "Walker", key: NamespaceId, link: Link, packet: Packet) -> None:
    """IPv6 switched off on the interface: its packets are not taken (ip6_rcv_core)."""
    if packet.family == 6 and walker.view.conf(key, 6, link.name, "disable_ipv6"):
        path = f"net/ipv6/conf/{link.name}/disable_ipv6"
        walker.trail.dies(
            walker.trail.step(
                "source-address",
                key,
                "block",
                f"IPv6 is switched off on {link.name} in {walker.view.name(key)}",
                Because(kind="sysctl", namespace=key, text=f"{path.replace('/', '.')} = 1"),
                device=link.name,
                cause="ipv6-disabled",
                facts={"link": link.name, "sysctl": path, "wanted": "0"},
            )  # fmt: skip
        )


def refuse_martian(walker: "Walker", key: NamespaceId, device: str, packet: Packet) -> None:
    which = martian(walker.view, key, device, packet)
    if not which:
        return
    address = packet.source if which == "source" else packet.destination
    path = f"net/ipv4/conf/{device}/route_localnet"
    walker.trail.dies(
        walker.trail.step(
            "source-validation",
            key,
            "block",
            f"{walker.view.name(key)} drops it as a martian: {which} {address} cannot come from {device}",
            Because(kind="sysctl", namespace=key, text=f"{path.replace('/', '.')} = 0"),
            device=device,
            packet=str(packet),
            cause="martian",
            facts={"link": device, "which": which, "address": address, "sysctl": path, "wanted": "1"},
        )  # fmt: skip
    )


def refuse_link_local(walker: "Walker", key: NamespaceId, device: str, packet: Packet, out_device: str) -> None:
    """ip6_forward: a link-local source does not leave its link."""
    if packet.family == 4 or not out_device or out_device == device or not is_link_local(packet.source):
        return
    text = f"{walker.view.name(key)} does not forward {packet.source}: a link-local source stays on its link"
    facts = {"link": device, "which": "source", "address": packet.source}
    step = walker.trail.step(
        "source-validation", key, "block", text, device=device, packet=str(packet), cause="martian", facts=facts
    )
    walker.trail.dies(step)


def validate_source(walker: "Walker", key: NamespaceId, device: str, packet: Packet, out_device: str) -> None:
    """Reverse path filter, own and impossible sources, link-local ones. out_device "" for what is delivered here."""
    refuse_link_local(walker, key, device, packet, out_device)
    refusal = refuse_source(walker.view, key, device, packet, out_device)
    if refusal is None:
        return
    if (
        refusal.back is not None
        and refusal.cause == "own-address"
        and not walker.view.local_addresses(key, packet.source)
    ):
        refuse_by_local_table(walker, key, device, packet, refusal.back)
    name = walker.view.name(key)
    back = refusal.back
    if refusal.cause == "martian":
        text = f"{name} drops it as a martian: {packet.source} is no address of one host ({back.type if back else ''})"
        because = route_steps.route_because(walker, key, back) if back else ()
        facts = {"link": device, "which": "source", "address": packet.source}
        step = walker.trail.step(
            "source-validation", key, "block", text, *because, device=device, packet=str(packet), cause="martian", facts=facts
        )  # fmt: skip
        walker.trail.dies(step)
    way = ""
    if back and back.hop:
        way = walker.view.device_name(key, back.hop.index)
    facts = {"link": device, "source": packet.source, "way_back": way}
    reasons = []
    if refusal.cause == "rp-filter":
        worst = (
            "all"
            if walker.view.conf(key, 4, "all", "rp_filter") >= walker.view.conf(key, 4, device, "rp_filter")
            else device
        )
        path = f"net/ipv4/conf/{worst}/rp_filter"
        facts |= {"sysctl": path, "value": str(refusal.mode), "mark": str(packet.mark)}
        reasons.append(Because(kind="sysctl", namespace=key, text=f"{path.replace('/', '.')} = {refusal.mode}"))
        text = f"reverse path filter: {name} would answer {packet.source} by {way or 'no interface'}, not by {device}"
    else:
        text = f"{name} has {packet.source} itself: a packet from that address must be forged"
        facts["address"] = packet.source
    if back and back.route:
        reasons.append(Because(kind="route", namespace=key, text=route_text(walker.view, key, back.route)))
    kind: StepKind = "source-validation" if refusal.cause == "rp-filter" else "address-owner"
    cause = "rp-filter-drops" if refusal.cause == "rp-filter" else "duplicate-address"
    walker.trail.dies(
        walker.trail.step(
            kind, key, "block", text, *reasons, device=device, packet=str(packet), cause=cause, facts=facts
        )
    )


def refuse_by_local_table(walker: "Walker", key: NamespaceId, device: str, packet: Packet, back: Lookup) -> None:
    """A local route of a rule's table takes the source for an own address: with src_valid_mark the packet's mark chose it."""
    where = "all" if walker.view.conf(key, 4, "all", "src_valid_mark") else device
    path = f"net/ipv4/conf/{where}/src_valid_mark"
    marked = bool(packet.mark) and walker.view.conf_or(key, device, "src_valid_mark")
    route = route_text(walker.view, key, back.route) if back.route else ""
    name = walker.view.name(key)
    walker.trail.dies(
        walker.trail.step(
            "source-validation",
            key,
            "block",
            f"{name} takes the source {packet.source} for its own by the route {route}"
            + (f": {path.replace('/', '.')} is 1 and the packet has mark 0x{packet.mark:x}" if marked else ""),
            *route_steps.route_because(walker, key, back),
            device=device,
            packet=str(packet),
            cause="source-taken-for-own",
            facts={
                "link": device,
                "source": packet.source,
                "route": route,
                **({"sysctl": path, "wanted": "0"} if marked else {}),
            },
        )  # fmt: skip
    )


def refuse_forwarding(walker: "Walker", key: NamespaceId, device: str, packet: Packet) -> None:
    """IPv4: the incoming interface's own switch (ip_route_input_slow). IPv6: the namespace's (ip6_forward)."""
    if packet.family == 4:
        allowed, path = walker.view.conf(key, 4, device, "forwarding") == 1, f"net/ipv4/conf/{device}/forwarding"
        if not allowed and walker.view.number(key, "net/ipv4/ip_forward") == 0:
            path = "net/ipv4/ip_forward"
    else:
        path = "net/ipv6/conf/all/forwarding"
        allowed = walker.view.number(key, path) == 1 or walker.view.conf(key, 6, device, "force_forwarding") == 1
    if allowed:
        walker.trail.passed(
            "forwarding", key, f"{walker.view.name(key)} forwards what comes in by {device}", device=device
        )
        return
    dotted = path.replace("/", ".")
    slug = "ip-forward-off" if path.endswith(("ip_forward", "all/forwarding")) else "interface-forwarding-off"
    walker.trail.dies(
        walker.trail.step(
            "forwarding",
            key,
            "block",
            f"{walker.view.name(key)} does not forward what comes in by {device}: {dotted} is 0",
            Because(kind="sysctl", namespace=key, text=f"{dotted} = 0"),
            device=device,
            packet=str(packet),
            cause=slug,
            facts={
                "link": device,
                "sysctl": path,
                "family": str(packet.family),
                "destination": packet.destination,
                "source": packet.source,
            },
        )  # fmt: skip
    )


def count_down(walker: "Walker", key: NamespaceId, device: str, packet: Packet) -> Packet:
    if packet.ttl <= 1:
        walker.trail.dies(
            walker.trail.step(
                "ttl",
                key,
                "block",
                f"the packet's TTL is used up at {walker.view.name(key)}",
                device=device,
                packet=str(packet),
                cause="ttl-exceeded",
                facts={"ttl": str(packet.ttl)},
            )  # fmt: skip
        )
    return replace(packet, ttl=packet.ttl - 1)
