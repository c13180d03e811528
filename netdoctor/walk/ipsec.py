"""IPsec policies on the way: one that blocks, or wants a transform that nobody has set up (net/xfrm/xfrm_policy.c)."""

from netdoctor.model.journey import Because, Step
from netdoctor.model.network import XfrmPolicy
from netdoctor.model.snapshot import NamespaceId
from netdoctor.walk.addressing import contains
from netdoctor.walk.packet import ICMP, ICMP6, TCP, UDP, Packet
from netdoctor.walk.trail import Trail
from netdoctor.walk.view import View


def policy_step(view: View, trail: Trail, key: NamespaceId, direction: str, packet: Packet) -> Step | None:
    """The step that a policy of this direction ("out", "in", "fwd") makes of the packet; None when none applies.

    Of several that select it the one with the lowest priority counts, the oldest of equal ones (xfrm_policy_lookup).
    """
    device = _device(view, key, direction, packet)
    found = [one for one in view.policies(key) if one.direction == direction and _selects(one, packet, device)]
    if not found or _exempt(view, key, direction, packet):
        return None
    policy = min(found, key=lambda one: (one.priority, one.index))
    text = policy_text(policy)
    because = Because(kind="xfrm", namespace=key, text=text)
    facts = {"policy": text, "index": str(policy.index), "direction": direction}
    if policy.action == "block":
        return trail.step(
            "xfrm", key, "block", f"an IPsec (xfrm) {direction} policy blocks {policy.source} to {policy.destination}", because,
            packet=str(packet), cause="xfrm-policy-blocks", facts=facts,
        )  # fmt: skip
    needed = [one for one in policy.templates if not one.optional]
    if not needed:
        return None
    if direction != "out":
        return trail.step(
            "xfrm", key, "block", f"an IPsec (xfrm) {direction} policy wants {needed[0].protocol}, and this packet comes in clear",
            because, packet=str(packet), cause="xfrm-policy-unmet", facts=facts,
        )  # fmt: skip
    for template in needed:
        if not any(
            state.protocol == template.protocol and state.destination == template.destination
            for state in view.states(key)
        ):
            return trail.step(
                "xfrm", key, "block",
                f"an IPsec (xfrm) policy wants {template.protocol} for {policy.source} to {policy.destination}, "
                "and there is no security association",
                because, packet=str(packet), cause="xfrm-no-state", facts=facts,
            )  # fmt: skip
    return trail.step(
        "xfrm", key, "unknown", "IPsec takes the packet: what happens in the tunnel is not followed", because, cause="xfrm-tunnel",
        facts=facts,
    )  # fmt: skip


def _device(view: View, key: NamespaceId, direction: str, packet: Packet) -> int:
    """Which interface a selector may ask for: the route's, which for what is taken in is loopback (xfrm_decode_session)."""
    if direction == "in":
        return next((link.index for link in view.links(key) if link.loopback), 0)
    link = view.link(key, packet.out_device)
    return link.index if link else 0


def _exempt(view: View, key: NamespaceId, direction: str, packet: Packet) -> bool:
    """IPv4 asks no policies on interfaces with disable_policy or disable_xfrm, which loopback has from the start."""
    name = packet.out_device if direction == "out" else packet.in_device
    link = view.link(key, name)
    if packet.family != 4 or link is None:
        return False
    return link.loopback or view.conf_or(key, name, "disable_xfrm" if direction == "out" else "disable_policy")


def _selects(policy: XfrmPolicy, packet: Packet, device: int) -> bool:
    if policy.family != packet.family or policy.interface:
        return False
    if not contains(policy.source, packet.source) or not contains(policy.destination, packet.destination):
        return False
    if policy.protocol and policy.protocol != packet.protocol:
        return False
    if (packet.mark & policy.mark_mask) != policy.mark or policy.device not in (0, device):
        return False
    source_port, destination_port = _ports(packet)
    return policy.source_port in (0, source_port) and policy.destination_port in (0, destination_port)


def _ports(packet: Packet) -> tuple[int, int]:
    if packet.protocol in (ICMP, ICMP6):
        return packet.icmp_type, packet.icmp_code
    return (packet.source_port, packet.destination_port) if packet.protocol in (TCP, UDP) else (0, 0)


def policy_text(policy: XfrmPolicy) -> str:
    """The policy as `ip xfrm policy` prints it, on one line."""
    words = ["src", policy.source, "dst", policy.destination, "dir", policy.direction]
    if policy.action == "block":
        words += ["action", "block"]
    if policy.priority:
        words += ["priority", str(policy.priority)]
    for one in policy.templates:
        words += ["tmpl", "src", one.source, "dst", one.destination, "proto", one.protocol]
        words += ["reqid", str(one.request_id), "mode", one.mode]
    return " ".join(words)
