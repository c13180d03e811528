"""What the firewall still lacks for a described container: the masquerade, and leave to be forwarded. Pure."""

from collections.abc import Iterator

from netdoctor.fix.ruleset_effect import find_chain
from netdoctor.fix.seen import known
from netdoctor.model.change import AddChain, ChainRef, Change, InsertRule
from netdoctor.model.firewall import Backend
from netdoctor.model.snapshot import Namespace, Need
from netdoctor.walk.netfilter import BaseChain, ChainResult, HookFacts, RuleSpec, base_chains, evaluate
from netdoctor.walk.packet import ICMP, ConntrackView, Packet

from .described import Described

OUTSIDE = "8.8.8.8"
SOURCE_NAT_PRIORITY = 100
ECHO_REQUEST, ECHO_REPLY = 8, 0


def _facts(host: Namespace) -> HookFacts:
    return HookFacts(links={link.name: link for link in known(host.links)})


def leaving(wanted: Described) -> Packet:
    """The container's first packet to the outside, on its way through the host."""
    return Packet(
        family=4,
        source=wanted.address,
        destination=OUTSIDE,
        protocol=ICMP,
        icmp_type=ECHO_REQUEST,
        in_device=wanted.device,
        out_device=wanted.egress,
        conntrack=ConntrackView(state="new"),
    )


def answering(wanted: Described) -> Packet:
    """The answer, its address translated back."""
    return Packet(
        family=4,
        source=OUTSIDE,
        destination=wanted.address,
        protocol=ICMP,
        icmp_type=ECHO_REPLY,
        in_device=wanted.egress,
        out_device=wanted.device,
        conntrack=ConntrackView(state="established", direction="reply", status=("seen-reply", "confirmed", "snat")),
    )


def _results(host: Namespace, wanted: Described) -> Iterator[tuple[BaseChain, ChainResult]]:
    """Every chain that has a say, with what it does to the packet or its answer."""
    facts = _facts(host)
    for base in base_chains(host.ruleset, "ip", "postrouting"):
        if base.is_nat:
            yield base, evaluate(base, leaving(wanted), facts)
    for base in base_chains(host.ruleset, "ip", "forward"):
        yield base, evaluate(base, leaving(wanted), facts)
        yield base, evaluate(base, answering(wanted), facts)


def needs(host: Namespace, wanted: Described) -> tuple[Need, ...]:
    """What of the ruleset must still be read."""
    found = {
        Need(namespace=host.id, subject=each.subject, key=each.key)
        for _, result in _results(host, wanted)
        for each in result.needs
    }
    return tuple(found)


def untranslated(host: Namespace, wanted: Described) -> tuple[Change, ...]:
    """The masquerade, unless some rule already translates what leaves by the egress; its chain where there is none."""
    for base, result in _results(host, wanted):
        if base.hook == "postrouting" and result.binding is not None:
            return ()
    at = _nat_chain(host)
    from netdoctor.walk.netfilter import compose

    spec = RuleSpec(verdict="masquerade", source=wanted.subnet, out_device=wanted.egress)
    add = InsertRule(namespace=host.id, at=at, rule=compose(spec, at.backend, at.family))
    if find_chain(host, at) is not None:
        return (add,)
    chain = AddChain(
        namespace=host.id,
        at=at,
        hook="postrouting",
        kind="nat",
        priority=SOURCE_NAT_PRIORITY,
    )
    return (chain, add)


def _nat_chain(host: Namespace) -> ChainRef:
    """POSTROUTING of the table nat in the backend this host uses; iptables over nf_tables where it uses none."""
    backends = {table.backend for table in known(host.ruleset.tables)}
    legacy_only = backends == {"iptables-legacy"}
    backend: Backend = "iptables-legacy" if legacy_only else "iptables-nft"
    at = ChainRef(backend=backend, family="ip", table="nat", chain="POSTROUTING")
    tables = known(host.ruleset.tables)
    native = next((each for each in tables if (each.backend, each.family, each.name) == ("nft", "ip", "nat")), None)
    base = next((chain for chain in native.chains if chain.hook == "postrouting"), None) if native else None
    if native and base:
        return ChainRef(backend="nft", family="ip", table="nat", chain=base.name)
    return at


def unforwarded(host: Namespace, wanted: Described) -> tuple[Change, ...]:
    """Accepting rules for chains whose policy would drop the packet or its answer."""
    from netdoctor.walk.netfilter import compose

    changes: list[Change] = []
    for base, result in _results(host, wanted):
        if base.hook != "forward" or result.verdict == "accept" or not result.rule.is_policy:
            continue
        if result.verdict == "unknown" and result.otherwise == "accept":
            continue
        at = ChainRef(backend=base.backend, family=base.table.family, table=base.table.name, chain=base.chain.name)
        out = result.packet.in_device == wanted.device
        states = () if out else ("related", "established")
        spec = RuleSpec(
            verdict="accept",
            in_device=wanted.device if out else "",
            out_device="" if out else wanted.device,
            ct_states=states,
        )
        changes.append(InsertRule(namespace=host.id, at=at, rule=compose(spec, at.backend, at.family)))
    return tuple(changes)


def obstacles(host: Namespace, wanted: Described) -> tuple[str, ...]:
    """Rules that drop the container's packets on purpose: they are left alone and told."""
    found = []
    for base, result in _results(host, wanted):
        if base.hook == "forward" and result.verdict == "drop" and not result.rule.is_policy:
            rule = result.rule
            found.append(f"{rule.table} {rule.chain}: {rule.text} drops {result.packet}; left alone")
    return tuple(dict.fromkeys(found))
