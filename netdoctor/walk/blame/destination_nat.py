"""Destination translations that lead nowhere, and service addresses that lost theirs."""

import re

from msgspec.structs import replace

from netdoctor.model.expression import Verdict
from netdoctor.model.firewall import Chain, Table
from netdoctor.model.journey import Because, RoundTrip, Step
from netdoctor.model.snapshot import NamespaceId, Need
from netdoctor.model.unknown import Unknown
from netdoctor.walk.addressing import contains, is_private, network_of
from netdoctor.walk.blame.grounds import uplink_names
from netdoctor.walk.blame.source_nat import bare, exit_of, leaving_packet
from netdoctor.walk.connections import Connections
from netdoctor.walk.hooks import Firewall
from netdoctor.walk.netfilter import BaseChain, HookFacts, NatMiss, RuleRef, base_chains, evaluate, explain_nat_misses
from netdoctor.walk.netfilter import rule_text as print_rule
from netdoctor.walk.packet import Packet
from netdoctor.walk.view import View


def dead_target(view: View, trip: RoundTrip, fatal: Step) -> Step | None:
    """A destination NAT sends the packet to somebody who is not there: the rule is stale."""
    if fatal.direction != "forward" or fatal.kind not in (
        "address-owner",
        "deliver",
        "neighbour",
        "source-validation",
        "route",
        "hook",
    ):
        return None
    if fatal.cause == "service-on-other-address":
        return None
    if fatal.kind in ("neighbour", "source-validation") and fatal.cause not in ("martian", "next-hop-unowned"):
        return None
    nat = next(
        (
            step
            for step in trip.forward.steps
            if (step.kind == "nat" and "destination NAT" in step.summary)
            or (step.kind == "nat" and step.summary.startswith(("redirect", "netmap")))
        ),
        None,
    )
    if nat is None:
        return None
    if fatal.cause == "duplicate-address" and fatal.namespace == trip.flow.namespace:
        return _hairpin(view, trip, nat)
    target = nat.packet.split(" -> ")[1].split(" ")[0]
    if fatal.kind == "hook" and (
        fatal.namespace != nat.namespace or not _nobody_has(view, nat.namespace, bare(target))
    ):
        return None
    why = fatal.summary
    hijacked = _is_hijacked(view, trip, nat)
    how = f"takes a flow that is meant for {trip.flow.destination} and sends it" if hijacked else "sends it"
    return replace(
        nat,
        outcome="block",
        cause="dnat-hijack" if hijacked else "dnat-target-dead",
        summary=f"{nat.summary.split(':')[0]} in {view.name(nat.namespace)} {how} to {target}, where it dies: {why}",
        direction="forward",
        facts={**nat.facts, "target": target, "asked": trip.flow.destination},
    )


def _nobody_has(view: View, key: NamespaceId, address: str) -> bool:
    """True when an address in one of this host's own container networks is nobody's: no rule about it matters then."""
    link = next(
        (
            view.link(key, one.index)
            for one in view.addresses(key)
            if contains(network_of(one.local, one.prefix_length), address)
        ),
        None,
    )
    if link is None or link.kind not in ("bridge", "veth") or link.name in uplink_names(view, key):
        return False
    if not view.snapshot.surveyed and not view.snapshot.complete:
        view.lack(Need(namespace=key, subject="neighbourhood"))
        return False
    owned = (
        one.local == address
        for each in view.snapshot.namespaces.values()
        if not isinstance(each.addresses, Unknown)
        for one in each.addresses
    )
    known = (one.address == address and bool(one.mac) and one.state != "failed" for one in view.neighbours(key))
    return not any(owned) and not any(known)


def _is_hijacked(view: View, trip: RoundTrip, nat: Step) -> bool:
    """True when the rule asks nothing of the destination, and the one asked for is not an address of its host."""
    asks = re.search(r"-d \S|--dst-type|daddr", nat.facts.get("rule", ""))
    return asks is None and not any(one.local == trip.flow.destination for one in view.addresses(nat.namespace))


def _hairpin(view: View, trip: RoundTrip, nat: Step) -> Step:
    """DNAT sends the flow back to its own sender, who sees its own address as the source: the host must put its own there."""
    name = view.name(nat.namespace)
    target = nat.packet.partition(" -> ")[2].partition(" ")[0]
    address, _, port = target.partition(":")
    device = next(
        (
            s.facts.get("device", "")
            for s in reversed(trip.forward.steps)
            if s.kind == "route" and s.namespace == nat.namespace
        ),
        "",
    )
    return replace(
        nat,
        outcome="block",
        cause="hairpin-masquerade-missing",
        summary=f"{name} turns the flow back to its sender ({nat.summary.partition(': ')[2]}) without masquerade: "
        f"{address} gets a packet from itself and drops it",
        facts={
            **nat.facts,
            "source": address,
            "device": device,
            "port": port,
            "protocol": trip.flow.protocol,
            "table_family": nat.facts["family"],
            "family": str(trip.flow.family),
        },
    )


def unserved(view: View, trip: RoundTrip, fatal: Step, beyond: frozenset[NamespaceId]) -> Step | None:
    """A virtual service address that went out to upstream: its siblings have DNAT rules here, it has none."""
    if (
        fatal.direction != "forward"
        or fatal.namespace not in beyond
        or fatal.kind not in ("route", "forwarding", "address-owner")
        or not is_private(trip.flow.destination)
        or trip.flow.destination not in fatal.packet.partition(" -> ")[2]  # it was translated: it has its rule
    ):
        return None
    host = view.snapshot.host
    firewall = Firewall(view, Connections())
    family = "ip" if trip.flow.family == 4 else "ip6"
    chains = tuple(base for base in base_chains(view.namespace(host).ruleset, family, "prerouting") if base.is_nat)  # type: ignore[arg-type]
    out = exit_of(view, trip)
    if out is None or not chains:
        return None
    packet = replace(leaving_packet(trip, out), destination=trip.flow.destination, in_device="", out_device="")
    met = [chain for base in chains for chain in _met(base, packet, firewall.facts(host))]
    siblings = _service_rules(met, trip.flow.destination) or [
        miss
        for miss in explain_nat_misses(chains, packet, firewall.facts(host))
        for one in miss.misses
        if one.field == "destination" and _near(one.expected, trip.flow.destination)
        if any(miss.rule.chain == chain.name for _, chain in met)
    ]
    if not siblings:
        return None
    rule = siblings[0].rule
    return Step(
        kind="nat", namespace=host, outcome="block", direction="forward", cause="service-rule-missing", packet=fatal.packet,
        summary=f"no DNAT rule for the service address {trip.flow.destination}: it is routed out as if it were a host, while its neighbours have theirs in {rule.table} {rule.chain}",
        because=(Because(kind="rule", namespace=host, text=f"{rule.table} {rule.chain} has, for example: {rule.text}"),),
        facts={"destination": trip.flow.destination, "chain": rule.chain, "table": rule.table},
    )  # fmt: skip


def _met(base: BaseChain, packet: Packet, facts: HookFacts) -> list[tuple[Table, Chain]]:
    """The chains that the packet surely comes to: whoever walks it has read them."""
    found = [(base.table, base.chain)]
    for ref in evaluate(base, packet, facts).matched:
        last = ref.rule.expressions[-1] if ref.rule and ref.rule.expressions else None
        target = base.table.chain(last.chain) if isinstance(last, Verdict) and last.chain else None
        found += [(base.table, target)] if target else []
    return found


def _service_rules(met: list[tuple[Table, Chain]], destination: str) -> list[NatMiss]:
    """Jump rules to per-service chains, as kube-proxy writes them, for addresses near the one asked for."""
    for table, chain in met:
        for rule in chain.rules if not isinstance(chain.rules, Unknown) else ():
            text = print_rule(table, chain, rule)
            words = text.split()
            if "-d" in words and _near(words[words.index("-d") + 1], destination):
                ref = RuleRef(
                    backend=table.backend, family=table.family, table=table.name, chain=chain.name, line=rule.line,
                    text=text,
                )  # fmt: skip
                return [NatMiss(rule=ref, kind="dnat")]
    return []


def _near(prefix: str, address: str) -> bool:
    """Within the same /16 (or /96): where one service range lies."""
    if "/" not in prefix:
        prefix += "/128" if ":" in prefix else "/32"

    return (":" in prefix) == (":" in address) and contains(
        network_of(address, 96 if ":" in address else 16), prefix.split("/")[0]
    )
