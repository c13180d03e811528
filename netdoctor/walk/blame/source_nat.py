"""Sources that should have been translated: answers to them find no way back from beyond."""

from msgspec.structs import replace

from netdoctor.model.journey import Because, RoundTrip, Step
from netdoctor.model.network import Address
from netdoctor.model.snapshot import NamespaceId
from netdoctor.walk.addressing import contains, is_link_local, is_private
from netdoctor.walk.connections import Connections
from netdoctor.walk.hooks import Firewall
from netdoctor.walk.netfilter import NatMiss, base_chains, explain_nat_misses
from netdoctor.walk.packet import ICMP, ICMP6, TCP, UDP, Packet
from netdoctor.walk.view import View

NUMBERS = {"icmp": ICMP, "tcp": TCP, "udp": UDP}


class Exit:
    """How the flow left the host towards upstream: by which devices, with which source after NAT and before."""

    def __init__(
        self, namespace: NamespaceId, device: str, source: str, destination: str, *, in_device: str, original: str
    ) -> None:
        self.namespace = namespace
        self.device = device
        self.source = source
        self.destination = destination
        self.in_device = in_device
        self.original = original

    @property
    def rewritten(self) -> bool:
        """True when the host translated the source."""
        return self.source != self.original


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
    original = route.facts.get("source", "")
    destination = route.facts.get("destination", "")
    device = route.facts.get("device", "")
    return Exit(host, device, bare(source), destination, in_device=route.facts.get("in_device", ""), original=original)


def bare(end: str) -> str:
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
    own = [one for one in view.addresses(out.namespace) if one.local == out.source]
    if own and out.rewritten:
        return _wrong_source(view, trip, out, own)
    if own or not _needs_nat(view, trip, out):
        return None
    return _nat_step(view, trip, out, fatal.direction == "reply", "block")


def _wrong_source(view: View, trip: RoundTrip, out: Exit, own: list[Address]) -> Step | None:
    """Translated to an address of the host that answers cannot be sent to: another interface's."""
    link = view.link(out.namespace, out.device)
    facts = _nat_facts(trip, out)
    if link is None or any(one.index == link.index for one in own) or not facts.get("rule"):
        return None
    return Step(
        kind="nat", namespace=out.namespace, outcome="block", device=out.device, cause="translated-to-wrong-source",
        summary=f"source NAT in {view.name(out.namespace)} gives {out.source}, an address of another interface than {out.device}: "
        "nothing beyond knows the way back to it",
        because=_nat_because(trip, out), packet=f"{out.source} -> {out.destination}",
        facts={**facts, "rule_family": facts["family"], "source": out.source, "device": out.device,
               "destination": out.destination, "family": str(trip.flow.family), "original": out.original,
               "own": _own_address(view, out, trip.flow.family)},
    )  # fmt: skip


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
        "original": out.original,
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


def _serves_another_network(view: View, out: Exit, prefix: str) -> bool:
    """True when the rule's subnet is one of this host's, and not the one the packet came in by: it is right as it is."""
    served = {one.index for one in view.addresses(out.namespace) if "/" in prefix and contains(prefix, one.local)}
    link = view.link(out.namespace, out.in_device)
    return bool(served) and link is not None and link.index not in served


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
            "path": rule.path, "comment": rule.comment,
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
        if set(fields) == {"source"} and not _serves_another_network(view, out, fields["source"].expected):
            facts["expected_source"] = fields["source"].expected
            return (
                "masquerade-wrong-source",
                f"the {miss.kind} rule in {name} is for {fields['source'].expected}, which does not cover {out.source}",
                facts,
                because,
            )
        if set(fields) == {"protocol"}:
            wanted = facts["expected_protocol"] = fields["protocol"].expected
            return (
                "masquerade-wrong-protocol",
                f"the {miss.kind} rule in {name} is for {wanted} only, and the packet is {fields['protocol'].observed}",
                facts,
                because,
            )
    return "masquerade-missing", f"no masquerade or source NAT rule in {name} takes this packet", {}, ()
