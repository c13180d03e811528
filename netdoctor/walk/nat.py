"""NAT of a new flow: the address and port that a rule's binding comes to (nf_nat_core.c, nf_nat_masquerade.c)."""

from netdoctor.model.journey import Because
from netdoctor.model.snapshot import NamespaceId
from netdoctor.walk import connections as tracking
from netdoctor.walk.connections import Connection
from netdoctor.walk.hook_steps import describe, rule_facts
from netdoctor.walk.nat_choice import address_of
from netdoctor.walk.netfilter import Binding, ChainResult
from netdoctor.walk.packet import TCP, UDP, Packet
from netdoctor.walk.routing import Query, lookup
from netdoctor.walk.source_address import select_source
from netdoctor.walk.trail import Trail
from netdoctor.walk.view import View

FEW_PORTS = 64


def bind(
    view: View,
    trail: Trail,
    key: NamespaceId,
    hook: str,
    result: ChainResult,
    packet: Packet,
    connection: Connection,
) -> None:
    """Settles the connection's NAT as the rule asks; the step says what becomes of the packet. Raises Dead."""
    binding = result.binding
    assert binding is not None
    address = _new_address(view, trail, key, hook, binding, packet, result, connection)
    _doubt_ports(trail, key, hook, result, packet)
    tracking.bind(connection, binding, address)
    direction = "original"
    changed = tracking.translated(packet, connection, direction, binding.manip)
    trail.add(
        trail.step(
            "nat",
            key,
            "pass",
            f"{_verb(binding)}: {packet} becomes {changed}",
            Because(kind="rule", namespace=key, text=describe(result.rule)),
            device=packet.out_device or packet.in_device,
            packet=str(changed),
            facts=rule_facts(result.rule, hook),
        )  # fmt: skip
    )


def _doubt_ports(trail: Trail, key: NamespaceId, hook: str, result: ChainResult, packet: Packet) -> None:
    """nf_nat_l4proto_unique_tuple: a source NAT with few ports is used up by as many flows to one destination."""
    binding = result.binding
    if binding is None or binding.manip != "source" or not binding.port_min or packet.protocol not in (TCP, UDP):
        return
    count = binding.port_max - binding.port_min + 1
    if count > FEW_PORTS:
        return
    trail.add(
        trail.step(
            "nat",
            key,
            "unknown",
            f"source NAT has only {count} port{'s' if count > 1 else ''} to give: they may all be in use",
            Because(kind="rule", namespace=key, text=describe(result.rule)),
            device=packet.out_device,
            packet=str(packet),
            cause="nat-ports-used-up",
            facts={
                **rule_facts(result.rule, hook),
                "original": packet.source,
                "source": packet.source,
                "device": packet.out_device,
            },
        )  # fmt: skip
    )


def _new_address(
    view: View,
    trail: Trail,
    key: NamespaceId,
    hook: str,
    binding: Binding,
    packet: Packet,
    result: ChainResult,
    connection: Connection,
) -> str:
    """The address a binding gives: its own, or the device's (nf_nat_masquerade_ipv4, nf_nat_redirect)."""
    if binding.address_min:
        return address_of(binding, tracking.inverted(connection.reply), connection.zone)
    if binding.kind == "masquerade":
        link = view.link(key, packet.out_device)
        found = lookup(view, key, Query(packet.family, "", packet.destination, packet.mark))
        towards = found.hop.gateway if found.hop and found.hop.gateway else packet.destination
        chosen = select_source(view, key, packet.family, link.index if link else 0, towards, None)
        if not chosen:
            trail.dies(
                trail.step(
                    "nat",
                    key,
                    "block",
                    f"masquerade has no address to use: {packet.out_device} has none",
                    Because(kind="rule", namespace=key, text=describe(result.rule)),
                    device=packet.out_device,
                    packet=str(packet),
                    cause="masquerade-without-address",
                    facts={**rule_facts(result.rule, hook), "link": packet.out_device},
                )  # fmt: skip
            )
        return chosen
    if binding.kind == "redirect":
        return _redirect_address(view, key, hook, packet)
    return ""


def _redirect_address(view: View, key: NamespaceId, hook: str, packet: Packet) -> str:
    if hook == "output":
        return "127.0.0.1" if packet.family == 4 else "::1"
    link = view.link(key, packet.in_device)
    own = [one for one in view.addresses(key) if link and one.index == link.index and one.family == packet.family]
    return own[0].local if own else ""


def _verb(binding: Binding) -> str:
    return {"snat": "source NAT", "dnat": "destination NAT"}.get(binding.kind, binding.kind)
