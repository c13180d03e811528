"""Faults of address translation that show elsewhere: an answer sent to an address nobody upstream knows, and the like."""

from msgspec.structs import replace

from netdoctor.model.journey import Because, RoundTrip, Step
from netdoctor.model.snapshot import NamespaceId
from netdoctor.walk.addressing import contains, is_link_local, is_private
from netdoctor.walk.connections import Connections
from netdoctor.walk.hooks import Firewall
from netdoctor.walk.netfilter import NatMiss, base_chains, explain_nat_misses
from netdoctor.walk.packet import ICMP, ICMP6, TCP, UDP, Packet
from netdoctor.walk.view import View

NUMBERS = {"icmp": ICMP, "tcp": TCP, "udp": UDP}


class Exit:
    """How the flow left the host towards upstream: by which device, with which source."""

    def __init__(self, namespace: NamespaceId, device: str, source: str, destination: str, rewritten: bool) -> None:
        self.namespace = namespace
        self.device = device
        self.source = source
        self.destination = destination
        self.rewritten = rewritten


def exit_of(view: View, trip: RoundTrip) -> Exit | None:
    """The last time the forward packet was routed by the host, and what its source was after NAT."""
    host = view.snapshot.host
    route = next(
        (
            step
            for step in reversed(trip.forward.steps)
            if step.kind == "route" and step.namespace == host and step.outcome == "pass"
        ),
        None,
    )
    if route is None or route.facts.get("type") != "unicast":
        return None
    nats = [
        step for step in trip.forward.steps if step.kind == "nat" and step.namespace == host and step.outcome == "pass"
    ]
    source = nats[-1].packet.split(" -> ")[0] if nats else route.facts.get("source", "")
    return Exit(host, route.facts.get("device", ""), _bare(source), route.facts.get("destination", ""), bool(nats))


def _bare(end: str) -> str:
    """The address of "10.0.0.2:54321" or "[fd00::1]:80"."""
    if end.startswith("["):
        return end[1:].split("]", maxsplit=1)[0]
    return end.split(":", maxsplit=1)[0] if end.count(":") == 1 else end


def untranslated(view: View, trip: RoundTrip, fatal: Step, beyond: frozenset[NamespaceId]) -> Step | None:
    """The answer dies beyond the host for want of a way to a source that the host should have translated."""
    if trip.flow.namespace == view.snapshot.host or fatal.direction != "reply" or fatal.namespace not in beyond:
        return None
    out = exit_of(view, trip)
    if out is None or fatal.kind not in ("route", "address-owner", "neighbour"):
        return None
    if fatal.facts.get("destination", fatal.facts.get("next_hop", "")) not in (out.source, ""):
        return None
    if any(one.local == out.source for one in view.addresses(out.namespace)) or not _needs_nat(view, trip, out):
        return None
    return _nat_step(view, trip, out, fatal.direction == "reply", "block")


def doubted(view: View, trip: RoundTrip) -> RoundTrip:
    """Out of sight with a private source: upstream may know it, or the answer is lost; the probe will tell."""
    if trip.forward.end != "left" or trip.flow.namespace == view.snapshot.host:
        return trip
    out = exit_of(view, trip)
    if (
        out is None
        or not is_private(out.source)
        or any(one.local == out.source for one in view.addresses(out.namespace))
    ):
        return trip
    if not _needs_nat(view, trip, out):
        return trip
    step = _nat_step(view, trip, out, False, "unknown")
    return replace(trip, forward=replace(trip.forward, steps=(*trip.forward.steps, step)))


def _needs_nat(view: View, trip: RoundTrip, out: Exit) -> bool:
    """Routed IPv6 without any NAT chain is a design, not a fault of NAT."""
    if is_link_local(out.source):
        return False
    if trip.flow.family == 4:
        return is_private(out.source)
    return any(base.is_nat for base in base_chains(view.namespace(out.namespace).ruleset, "ip6", "postrouting"))


def _nat_step(view: View, trip: RoundTrip, out: Exit, seen: bool, outcome: str) -> Step:
    """The missing or failing translation, told by the rules that came nearest to doing it."""
    notrack = next(
        (
            step
            for step in trip.forward.steps
            if step.kind == "conntrack" and step.namespace == out.namespace and "notrack" in step.summary
        ),
        None,
    )
    name = view.name(out.namespace)
    facts = {
        "source": out.source, "device": out.device, "destination": out.destination, "family": str(trip.flow.family),
        "own": _own_address(view, out, trip.flow.family),
    }  # fmt: skip
    if notrack is not None:
        return replace(
            notrack,
            outcome="block" if outcome == "block" else "unknown",
            cause="notrack",
            summary=f"a rule in {name} exempts the flow from connection tracking (notrack): it is never translated",
            facts={**notrack.facts, **facts, "rule_family": notrack.facts.get("family", "")},
        )
    if out.rewritten:
        return Step(
            kind="nat", namespace=out.namespace, outcome="block" if outcome == "block" else "unknown", device=out.device,
            summary=f"source NAT in {name} gives {out.source}, which is no address of {name}: answers to it are lost",
            cause="snat-foreign-address", because=_nat_because(trip, out), facts={**facts, **_nat_facts(trip, out)},
        )  # fmt: skip
    misses = near_misses(view, trip, out)
    cause, text, more, because = _miss_words(view, out, misses)
    return Step(
        kind="nat", namespace=out.namespace, outcome="block" if outcome == "block" else "unknown", device=out.device,
        summary=f"{text}: packets leave {out.device} with source {out.source}, " + ("and nothing beyond knows the way back" if seen else "which no router beyond may know"),
        direction="forward", cause=cause, because=because, facts={**facts, **more},
        packet=f"{out.source} -> {out.destination}",
    )  # fmt: skip


def _own_address(view: View, out: Exit, family: int) -> str:
    link = view.link(out.namespace, out.device)
    return next(
        (
            one.local
            for one in view.addresses(out.namespace)
            if link and one.index == link.index and one.family == family
        ),
        "",
    )


def _nat_because(trip: RoundTrip, out: Exit) -> tuple[Because, ...]:
    return tuple(
        because
        for step in trip.forward.steps
        if step.kind == "nat" and step.namespace == out.namespace
        for because in step.because
    )


def _nat_facts(trip: RoundTrip, out: Exit) -> dict[str, str]:
    found = [step for step in trip.forward.steps if step.kind == "nat" and step.namespace == out.namespace]
    return found[-1].facts if found else {}


def near_misses(view: View, trip: RoundTrip, out: Exit) -> tuple[NatMiss, ...]:
    """The masquerade and source NAT rules of the host's postrouting that did not take this packet."""
    firewall = Firewall(view, Connections())
    family = "ip" if trip.flow.family == 4 else "ip6"
    chains = base_chains(view.namespace(out.namespace).ruleset, family, "postrouting")  # type: ignore[arg-type]
    packet = leaving_packet(trip, out)
    found = explain_nat_misses(tuple(base for base in chains if base.is_nat), packet, firewall.facts(out.namespace))
    return tuple(miss for miss in found if miss.kind in ("masquerade", "snat"))


def leaving_packet(trip: RoundTrip, out: Exit) -> Packet:
    """The packet as the host's postrouting saw it."""
    flow = trip.flow
    protocol = NUMBERS[flow.protocol] if flow.protocol != "icmp" or flow.family == 4 else ICMP6
    mark = next(
        (
            int(step.facts.get("mark", "0"))
            for step in reversed(trip.forward.steps)
            if step.kind == "route" and step.namespace == out.namespace
        ),
        0,
    )
    return Packet(
        family=flow.family, source=out.source, destination=out.destination, protocol=protocol, source_port=54321 if flow.port else 0,
        destination_port=flow.port, icmp_type=8 if flow.protocol == "icmp" else 0, out_device=out.device, mark=mark,
    )  # fmt: skip


def _miss_words(
    view: View, out: Exit, misses: tuple[NatMiss, ...]
) -> tuple[str, str, dict[str, str], tuple[Because, ...]]:
    """Slug, sentence, facts and evidence of the nearest miss: wrong interface before wrong source before none."""
    name = view.name(out.namespace)
    ranked = sorted(misses, key=lambda miss: (miss.shadowed_by is not None and bool(miss.misses), len(miss.misses)))
    for miss in ranked:
        fields = {one.field: one for one in miss.misses}
        rule = miss.rule
        facts = {
            "backend": rule.backend, "rule_family": rule.family, "table": rule.table, "chain": rule.chain,
            "line": str(rule.line), "handle": str(rule.handle), "rule": rule.text, "kind": miss.kind,
        }  # fmt: skip
        because: tuple[Because, ...] = (
            Because(
                kind="rule",
                namespace=out.namespace,
                text=f"{rule.backend} {rule.table} {rule.chain} rule {rule.line}: {rule.text}",
            ),
        )
        if not fields and miss.shadowed_by is not None:
            other = miss.shadowed_by
            because = (
                *because,
                Because(
                    kind="rule",
                    namespace=out.namespace,
                    text=f"{other.backend} {other.table} {other.chain} rule {other.line}: {other.text}",
                ),
            )
            facts |= {
                "shadow_line": str(other.line),
                "shadow_handle": str(other.handle),
                "shadow_chain": other.chain,
                "shadow": other.text,
            }
            return (
                "masquerade-shadowed",
                f"an earlier rule in {name} ends the NAT chain before the {miss.kind} rule ({other.text})",
                facts,
                because,
            )
        if set(fields) == {"out-device"}:
            wanted = fields["out-device"].expected
            facts["expected_device"] = wanted
            return (
                "masquerade-wrong-egress",
                f"the {miss.kind} rule in {name} names the interface {wanted}, but the packet leaves by {out.device}",
                facts,
                because,
            )
        if set(fields) == {"source"}:
            facts["expected_source"] = fields["source"].expected
            return (
                "masquerade-wrong-source",
                f"the {miss.kind} rule in {name} is for {fields['source'].expected}, which does not cover {out.source}",
                facts,
                because,
            )
    return "masquerade-missing", f"no masquerade or source NAT rule in {name} takes this packet", {}, ()


def dead_target(view: View, trip: RoundTrip, fatal: Step) -> Step | None:
    """A destination NAT sends the packet to somebody who is not there: the rule is stale."""
    if fatal.direction != "forward" or fatal.kind not in (
        "address-owner",
        "deliver",
        "neighbour",
        "source-validation",
        "route",
    ):
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
    target = nat.packet.split(" -> ")[1].split(" ")[0]
    why = fatal.summary
    return replace(
        nat,
        outcome="block",
        cause="dnat-target-dead",
        summary=f"{nat.summary.split(':')[0]} in {view.name(nat.namespace)} sends it to {target}, where it dies: {why}",
        direction="forward",
        facts={**nat.facts, "target": target, "asked": trip.flow.destination},
    )


def forgotten(view: View, trip: RoundTrip, fatal: Step) -> Step | None:
    """The answer comes back to the host and is not translated: conntrack does not know it any more, or not there."""
    host = view.snapshot.host
    if fatal.direction != "reply" or fatal.namespace != host:
        return None
    translated = any(
        step.kind == "nat" and step.namespace == host and step.outcome == "pass" for step in trip.forward.steps
    )
    back = trip.reply is not None and any(
        step.kind == "nat" and step.namespace == host and step.summary.startswith("translated back")
        for step in trip.reply.steps
    )
    if not translated or back:
        return None
    return _forgotten_step(view, trip, fatal, host)


def _forgotten_step(view: View, trip: RoundTrip, fatal: Step, host: NamespaceId) -> Step | None:
    paths = {
        "icmp": "net/netfilter/nf_conntrack_icmp_timeout"
        if trip.flow.family == 4
        else "net/netfilter/nf_conntrack_icmpv6_timeout",
        "udp": "net/netfilter/nf_conntrack_udp_timeout",
        "tcp": "net/netfilter/nf_conntrack_tcp_timeout_syn_sent",
    }
    path = paths[trip.flow.protocol]
    name = view.name(host)
    if view.number(host, path, 30) <= 0:
        dotted = path.replace("/", ".")
        return replace(
            fatal, kind="conntrack", cause="conntrack-timeout-zero", namespace=host,
            summary=f"{name} forgets the flow at once ({dotted} is 0): the answer is not translated back",
            because=(Because(kind="sysctl", namespace=host, text=f"{dotted} = 0"),), facts={"sysctl": path, "protocol": trip.flow.protocol},
        )  # fmt: skip
    if fatal.cause != "answer-misdelivered":
        return None
    untracked = next(
        (
            step
            for step in (trip.reply.steps if trip.reply else ())
            if step.kind == "conntrack" and step.namespace == host and step.outcome == "pass"
        ),
        None,
    )
    if untracked is not None:
        return replace(
            untracked,
            outcome="block",
            cause="notrack",
            summary=f"a rule in {name} exempts the answer from connection tracking (notrack): it is not translated back",
            facts={**untracked.facts, "rule_family": untracked.facts.get("family", "")},
        )
    zones = _zone_rules(trip, host)
    return replace(
        fatal, kind="conntrack", cause="conntrack-zone-mismatch" if zones else "answer-not-translated", namespace=host,
        summary=f"{name} does not translate the answer back"
        + (": the flow was put in a conntrack zone that the answer is not in" if zones else ": it belongs to no flow that conntrack knows"),
        because=zones or fatal.because, facts={**fatal.facts, **(_zone_facts(trip, host) if zones else {})},
    )  # fmt: skip


def _zone_rules(trip: RoundTrip, host: NamespaceId) -> tuple[Because, ...]:
    return tuple(
        because
        for step in trip.forward.steps
        if step.kind == "hook" and step.namespace == host
        for because in step.because
        if "zone" in because.text
    )


def _zone_facts(trip: RoundTrip, host: NamespaceId) -> dict[str, str]:
    found = [
        step
        for step in trip.forward.steps
        if step.kind == "hook" and step.namespace == host and any("zone" in one.text for one in step.because)
    ]
    return found[0].facts if found else {}


def unserved(view: View, trip: RoundTrip, fatal: Step, beyond: frozenset[NamespaceId]) -> Step | None:
    """A virtual service address that went out to upstream: its siblings have DNAT rules here, it has none."""
    if (
        fatal.direction != "forward"
        or fatal.namespace not in beyond
        or fatal.kind not in ("route", "forwarding", "address-owner")
        or not is_private(trip.flow.destination)
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
    siblings = [
        miss
        for miss in explain_nat_misses(chains, packet, firewall.facts(host))
        for one in miss.misses
        if one.field == "destination" and _near(one.expected, trip.flow.destination)
    ]
    if not siblings:
        siblings = _service_rules(view, host, trip)
    if not siblings:
        return None
    rule = siblings[0].rule
    return Step(
        kind="nat", namespace=host, outcome="block", direction="forward", cause="service-rule-missing", packet=fatal.packet,
        summary=f"no DNAT rule for the service address {trip.flow.destination}: it is routed out as if it were a host, while its neighbours have theirs in {rule.table} {rule.chain}",
        because=(Because(kind="rule", namespace=host, text=f"{rule.table} {rule.chain} has, for example: {rule.text}"),),
        facts={"destination": trip.flow.destination, "chain": rule.chain, "table": rule.table},
    )  # fmt: skip


def _service_rules(view: View, host: NamespaceId, trip: RoundTrip) -> list[NatMiss]:
    """Jump rules to per-service chains, as kube-proxy writes them, for addresses near the one asked for."""
    from netdoctor.model.unknown import Unknown
    from netdoctor.walk.netfilter import RuleRef, rule_text

    for table in view.tables(host):
        for chain in table.chains if table.name == "nat" else ():
            for rule in chain.rules if not isinstance(chain.rules, Unknown) else ():
                text = rule_text(table, chain, rule)
                words = text.split()
                if "-d" in words and _near(words[words.index("-d") + 1], trip.flow.destination):
                    ref = RuleRef(
                        backend=table.backend,
                        family=table.family,
                        table=table.name,
                        chain=chain.name,
                        line=rule.line,
                        text=text,
                    )
                    return [NatMiss(rule=ref, kind="dnat")]
    return []


def _near(prefix: str, address: str) -> bool:
    """Within the same /16 (or /96): where one service range lies."""
    if "/" not in prefix:
        prefix += "/128" if ":" in prefix else "/32"
    from netdoctor.walk.addressing import network_of

    return (":" in prefix) == (":" in address) and contains(
        network_of(address, 96 if ":" in address else 16), prefix.split("/")[0]
    )
