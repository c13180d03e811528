"""Is the source translated on the true egress, and does every destination translation lead to somebody?"""

from typing import Final

from netdoctor.checks import ground
from netdoctor.checks.ownership import owner_of_device, owner_of_translation, reverts
from netdoctor.model.change import AddChain, ChainRef, Change, DeleteRule, InsertRule, ReplaceRule
from netdoctor.model.diagnosis import Cause
from netdoctor.model.firewall import Backend, Chain, Table
from netdoctor.model.journey import Step
from netdoctor.model.snapshot import Snapshot
from netdoctor.walk.addressing import contains, network_of

ID: Final = "nat"
LAYER: Final = "nat"
KINDS = ("nat",)
SOURCE_NAT_PRIORITY = 100
CAUSES = {
    "masquerade-missing": "The container's private address leaves the host as it is, and nobody beyond has a route back to it: no "
    "answer ever comes. Verify: `iptables -t nat -S POSTROUTING`; tcpdump on the uplink shows the private source. "
    "Fix: MASQUERADE for the container's subnet on the uplink. False alarm: a routed design, in which upstream knows the way back.",
    "masquerade-wrong-egress": "The MASQUERADE rule names an interface that the packet does not leave by (copied from a tutorial, "
    "interface renamed). Verify: `ip route get DESTINATION` against the rule's -o. Fix: the rule with the true egress.",
    "masquerade-wrong-source": "The MASQUERADE rule is for another subnet than the packet's source. Fix: the right subnet.",
    "masquerade-wrong-protocol": "The MASQUERADE rule is for one protocol (-p tcp) and the packet is of another: pings and DNS leave "
    "untranslated while TCP works. Verify: `iptables -t nat -S POSTROUTING`. Fix: a rule for the subnet without the protocol.",
    "masquerade-shadowed": "An earlier rule of the NAT chain (ACCEPT, RETURN) ends it before MASQUERADE is reached.",
    "masquerade-without-address": "The egress interface has no address that MASQUERADE could use: it drops the packet.",
    "snat-foreign-address": "SNAT gives the packet an address that this host does not have: answers go to somebody else.",
    "translated-to-wrong-source": "The source is translated to an address of this host, but of another interface than the one the "
    "packet leaves by: upstream has no way back to it. Verify: `tcpdump -ni UPLINK` shows the source. Fix: MASQUERADE, or SNAT to the "
    "uplink's own address.",
    "nat-ports-used-up": "The source NAT rule has only a few ports to give (--to-ports) and they are in use: further connections to the "
    "same destination are dropped. Verify: `conntrack -L`, `conntrack -S` (insert_failed). Fix: no port range.",
    "dnat-target-dead": "A DNAT or REDIRECT rule sends the flow to an address or port where nobody is (container gone, proxy "
    "stopped). Verify: the rule's target. Fix: the right target, or no rule.",
    "dnat-hijack": "A DNAT or REDIRECT rule that tests no destination address catches the container's own traffic to others, and "
    "sends it where nobody answers. Verify: `iptables -t nat -S PREROUTING`, `conntrack -L`: the reply's source is not the address "
    "asked for. Fix: the rule with the address or interface it is meant for (-d, ! -i), or no rule.",
    "hairpin-masquerade-missing": "A published port that leads back to the container itself: the packet comes back with the container's own "
    "address as its source and is dropped. Verify: `iptables -t nat -S POSTROUTING`. Fix: masquerade from the container to itself.",
    "service-rule-missing": "The service's virtual address has no DNAT rule, so it is routed like any address. "
    "Verify: `iptables -t nat -S | grep ADDRESS`. Fix: what writes these rules (kube-proxy) must sync.",
}


def cause(step: Step, snapshot: Snapshot) -> Cause:
    """The missing or wrong translation, told with its repair."""
    facts = step.facts
    owner = _owner(step, snapshot)
    changes = _changes(step, snapshot)
    return Cause(
        slug=step.cause,
        layer=LAYER,
        namespace=step.namespace,
        object=_object(step),
        summary=step.summary,
        expected=f"source NAT (masquerade) of {facts.get('source', '')} on {facts.get('device', '')}"
        if step.cause.startswith("masq")
        else "",
        observed=facts.get("rule") or "no rule takes the packet",
        evidence=(*ground.evidence(step), *_path(facts)),
        changes=changes,
        advice=_advice(step),
        owner=owner,
        reverts=reverts(owner),
        lasting=_lasting(changes, owner),
    )


def _owner(step: Step, snapshot: Snapshot) -> str:
    """Of the rule that is wrong; of the network whose rule is missing."""
    facts = step.facts
    if facts.get("rule"):
        return owner_of_translation(facts, ground.find_table(snapshot, step.namespace, ground.chain_ref(facts)))
    served = (
        link.name
        for one in ground.addresses(snapshot, step.namespace)
        for link in ground.links(snapshot, step.namespace)
        if one.index == link.index and contains(network_of(one.local, one.prefix_length), facts.get("source", ""))
    )
    return next((owner_of_device(name) for name in served), "") if facts.get("source") else ""


def _path(facts: dict[str, str]) -> tuple[str, ...]:
    path = facts.get("path", "")
    return (f"chain path: {facts['backend']} {facts['table']} {path}",) if facts.get("rule") and path else ()


def _lasting(changes: tuple[Change, ...], owner: str) -> str:
    from netdoctor.checks.permanence import of_translation

    at = next((one.at for one in changes if isinstance(one, InsertRule | ReplaceRule | DeleteRule)), None)
    return of_translation(at, owner) if at else ""


def _object(step: Step) -> str:
    facts = step.facts
    if facts.get("rule"):
        path = facts.get("path", facts["chain"])
        return f"{facts['backend']} {facts.get('rule_family', facts['family'])} {facts['table']} {path} rule {facts['line']}: {facts['rule']}"
    if step.cause == "service-rule-missing":
        return f"DNAT rule for {facts['destination']} in {facts['table']} {facts['chain']}"
    return f"masquerade rule for {facts.get('source', '')} on {facts.get('device', '')}"


def _changes(step: Step, snapshot: Snapshot) -> tuple[Change, ...]:
    if step.cause in ("masquerade-missing", "masquerade-wrong-protocol"):
        return _add_masquerade(step, snapshot)
    if step.cause == "hairpin-masquerade-missing":
        return _hairpin(step, snapshot)
    if step.cause == "masquerade-wrong-egress":
        gone = ground.link(snapshot, step.namespace, step.facts.get("expected_device", "")) is None
        return _amend(step, snapshot, "out_device", step.facts["device"]) if gone else _add_masquerade(step, snapshot)
    if step.cause == "masquerade-wrong-source":
        subnet = ground.subnet_of(snapshot, step.facts["source"])
        in_use = _is_in_use(snapshot, step.namespace, step.facts.get("expected_source", ""), subnet)
        return _add_masquerade(step, snapshot) if in_use else _amend(step, snapshot, "source", subnet)
    if step.cause == "masquerade-shadowed":
        at = ground.chain_ref(step.facts, step.facts["shadow_chain"])
        rule = ground.find_rule(snapshot, step.namespace, at, int(step.facts["shadow_line"]))
        return (DeleteRule(namespace=step.namespace, at=at, rule=rule),) if rule else ()
    if step.cause in ("snat-foreign-address", "nat-ports-used-up", "translated-to-wrong-source"):
        return _snat_to_masquerade(step, snapshot)
    if step.cause in ("dnat-target-dead", "dnat-hijack"):
        return _drop_dead_target(step, snapshot)
    return ()


def _amend(step: Step, snapshot: Snapshot, field: str, value: str) -> tuple[Change, ...]:
    from netdoctor.walk.netfilter import amended

    at = ground.chain_ref(step.facts)
    rule = ground.find_rule(snapshot, step.namespace, at, int(step.facts["line"]))
    if rule is None:
        return ()
    try:
        after = amended(rule, field, value)  # type: ignore[arg-type]
    except ValueError:
        return _add_masquerade(step, snapshot)
    return (ReplaceRule(namespace=step.namespace, at=at, before=rule, after=after),)


def _is_in_use(snapshot: Snapshot, key: str, prefix: str, wanted: str) -> bool:
    """True when the rule's subnet is one that this host still serves: then the rule is another network's."""
    if "/" not in prefix or prefix == wanted:
        return False
    return any(contains(prefix, one.local) for one in ground.addresses(snapshot, key))


def _add_masquerade(step: Step, snapshot: Snapshot) -> tuple[Change, ...]:
    """A masquerade rule for the source's subnet on the egress, in the NAT chain this host already uses."""
    from netdoctor.walk.netfilter import RuleSpec, compose

    family = "ip6" if step.facts.get("family") == "6" else "ip"
    at, missing = _nat_chain(snapshot, step.namespace, family)
    spec = RuleSpec(
        verdict="masquerade", source=ground.subnet_of(snapshot, step.facts["source"]), out_device=step.facts["device"]
    )
    rule = compose(spec, at.backend, at.family)
    insert = InsertRule(namespace=step.namespace, at=at, rule=rule, line=0)
    if not missing:
        return (insert,)
    chain = AddChain(namespace=step.namespace, at=at, hook="postrouting", kind="nat", priority=SOURCE_NAT_PRIORITY)
    return (chain, insert)


def _hairpin(step: Step, snapshot: Snapshot) -> tuple[Change, ...]:
    """Masquerade from the container to itself, for the published port alone, as Docker writes it."""
    from netdoctor.walk.netfilter import RuleSpec, compose

    facts = step.facts
    family = "ip6" if facts["family"] == "6" else "ip"
    at, missing = _nat_chain(snapshot, step.namespace, family)
    single = f"{facts['source']}/{128 if family == 'ip6' else 32}"
    ported = facts["protocol"] in ("tcp", "udp") and facts["port"].isdigit()
    spec = RuleSpec(
        verdict="masquerade",
        source=single,
        destination=single,
        protocol="tcp" if ported and facts["protocol"] == "tcp" else "udp" if ported else "",
        destination_port=int(facts["port"]) if ported else 0,
    )
    rule = compose(spec, at.backend, at.family)
    return () if missing else (InsertRule(namespace=step.namespace, at=at, rule=rule, line=0),)


def _nat_chain(snapshot: Snapshot, key: str, family: str) -> tuple[ChainRef, bool]:
    """Where this host does source NAT: the chain, and whether it has to be made first."""
    found: list[tuple[Table, Chain]] = [
        (table, chain)
        for table in ground.tables(snapshot, key)
        if table.family in (family, "inet")
        for chain in table.chains
        if chain.hook == "postrouting" and chain.type == "nat"
    ]
    if found:
        ranks: dict[Backend, int] = {"iptables-nft": 0, "iptables-legacy": 1, "nft": 2}
        legacy_only = not any(table.backend != "iptables-legacy" for table in ground.tables(snapshot, key))
        table, chain = min(
            found, key=lambda pair: (ranks[pair[0].backend], pair[0].name) if not legacy_only else (0, "")
        )
        return ChainRef(backend=table.backend, family=table.family, table=table.name, chain=chain.name), False
    backends = {table.backend for table in ground.tables(snapshot, key) if table.family == family}
    backend: Backend = "iptables-legacy" if backends == {"iptables-legacy"} else "iptables-nft"
    return ChainRef(backend=backend, family="ip6" if family == "ip6" else "ip", table="nat", chain="POSTROUTING"), True


def _snat_to_masquerade(step: Step, snapshot: Snapshot) -> tuple[Change, ...]:
    """The rule that gives the wrong address, replaced where it stands by MASQUERADE for the container's subnet."""
    at = ground.chain_ref(step.facts)
    rule = ground.find_rule(snapshot, step.namespace, at, int(step.facts["line"]))
    if rule is None or (step.cause == "translated-to-wrong-source" and "asquerade" in step.facts["rule"].lower()):
        return ()
    from netdoctor.walk.netfilter import RuleSpec, compose

    original = _before_nat(step)
    spec = RuleSpec(verdict="masquerade", source=ground.subnet_of(snapshot, original), out_device=step.facts["device"])
    after = compose(spec, at.backend, at.family)
    return (
        DeleteRule(namespace=step.namespace, at=at, rule=rule),
        InsertRule(namespace=step.namespace, at=at, rule=after, line=rule.line),
    )


def _before_nat(step: Step) -> str:
    return step.facts.get("original") or step.facts.get("source", "")


def _drop_dead_target(step: Step, snapshot: Snapshot) -> tuple[Change, ...]:
    """The rule goes when the asked address is reachable without it; a published port's new target is nobody's guess."""
    if any(one.local == step.facts.get("asked") for one in ground.addresses(snapshot, step.namespace)):
        return ()
    at = ground.chain_ref(step.facts)
    rule = ground.find_rule(snapshot, step.namespace, at, int(step.facts["line"]))
    return (DeleteRule(namespace=step.namespace, at=at, rule=rule),) if rule else ()


def _advice(step: Step) -> tuple[str, ...]:
    if step.cause == "dnat-target-dead":
        return (
            "point the rule at the address the service has now (restart what published the port), or start what should answer there",
        )
    if step.cause == "service-rule-missing":
        return ("let kube-proxy sync: restart it, and see its log for the service",)
    return ()
