"""Does a rule, a traffic filter or an IPsec policy stop the packet, there or back?"""

from typing import Final

from netdoctor.checks import ground
from netdoctor.checks.ownership import owner_of, reverts
from netdoctor.model.change import (
    ChainRef,
    Change,
    DeleteQdisc,
    DeleteRule,
    DeleteXfrmPolicy,
    InsertRule,
    ReplaceRule,
    SetChainPolicy,
)
from netdoctor.model.diagnosis import Cause
from netdoctor.model.firewall import Rule
from netdoctor.model.journey import Step
from netdoctor.model.snapshot import Snapshot
from netdoctor.model.unknown import Unknown
from netdoctor.walk.ipsec import policy_text

ID: Final = "firewall"
LAYER: Final = "firewall"
KINDS = ("hook", "traffic-control", "xfrm")
GENERAL_WORDS = {"-A", "-j", "DROP", "REJECT", "--reject-with", "counter", "drop", "reject", "packets", "bytes"}
CAUSES = {
    "rule-drops": "A firewall rule drops the packet. With nf_tables, an accept in one table does not end the others: each base "
    "chain of a hook must let the packet pass. Verify: the rule's counter grows with each try. Fix: delete or narrow the rule.",
    "rule-rejects": "A firewall rule refuses the packet and says so (ICMP or TCP reset): it looks like a closed port or a dead host.",
    "policy-drops": "No rule of the chain accepts the packet and the chain's policy is drop (Docker sets it on FORWARD; a flush "
    "keeps it). Verify: `iptables -S FORWARD` or `nft list chain`. Fix: accept this traffic by a rule; not: open the policy.",
    "queue-unserved": "A rule hands the packet to a netfilter queue (NFQUEUE) and no program listens there, so the kernel drops it: the "
    "intrusion prevention or filter program (Suricata, Snort, fail2ban's or a parental filter) is not running. Verify: "
    "`cat /proc/net/netfilter/nfnetlink_queue` does not list the queue. Fix: start the program, or let the rule bypass an empty queue.",
    "tc-filter-drops": "A traffic control filter or BPF program at the interface drops the packet before the firewall sees it "
    "(left over by Cilium, Calico, QoS scripts). Verify: `tc filter show dev IFACE ingress`, `bpftool net`.",
    "tc-filter-redirects": "A traffic control filter sends the packet to another interface.",
    "xdp-program": "An XDP program sees packets before everything else and may drop them. Verify: `ip link show dev IFACE`.",
    "queue-drops": "The interface's queue cannot take a packet of this size, or is backed up.",
    "xfrm-policy-blocks": "An IPsec policy with action block covers the flow. Verify: `ip xfrm policy`.",
    "xfrm-no-state": "An IPsec policy demands a transform (ESP) for the flow and there is no security association: the tunnel is "
    "down, its policy is not. Verify: `ip xfrm policy`, `ip xfrm state`. Fix: bring the tunnel up or remove the policy.",
    "xfrm-policy-unmet": "An IPsec policy wants packets of this flow to arrive encrypted, and they come in clear.",
    "xfrm-tunnel": "IPsec takes the packet into a tunnel that is not followed.",
}


def cause(step: Step, snapshot: Snapshot) -> Cause:
    """The rule, filter or policy that stops the packet, told with its repair."""
    facts = step.facts
    owner = owner_of(
        facts.get("chain", ""), facts.get("table", ""), facts.get("in_device", ""), facts.get("out_device", "")
    )
    return Cause(
        slug=step.cause,
        layer=LAYER,
        namespace=step.namespace,
        object=_object(step),
        summary=step.summary + _detail(step),
        expected="the flow is accepted",
        observed=step.because[0].text if step.because else "",
        evidence=ground.evidence(step),
        changes=_changes(step, snapshot),
        advice=_advice(step),
        owner=owner,
        reverts=reverts(owner) or "a firewall reload brings back what its configuration says",
        lasting="change the configuration that loads this ruleset (nftables.conf, iptables-persistent, firewalld, ufw, the runtime)",
    )


def _object(step: Step) -> str:
    facts = step.facts
    if step.kind == "xfrm":
        return f"IPsec (xfrm) policy {facts.get('policy', '')}"
    if step.kind == "traffic-control":
        return f"tc {facts.get('kind', 'filter')} {facts.get('side', '')} filter on {facts['link']}".replace("  ", " ")
    place = f"{facts['backend']} {facts['family']} {facts['table']} {facts['chain']}"
    return (
        f"{place} rule {facts['line']}: {facts['rule']}"
        if facts.get("line", "0") != "0"
        else f"{place} {facts['rule']}"
    )


def _detail(step: Step) -> str:
    facts = step.facts
    if step.kind != "hook":
        return ""
    if step.cause == "policy-drops":
        return f" ({facts['chain']} policy drop: no rule accepts {facts.get('source')} -> {facts.get('destination')})"
    return f" ({facts['rule']})"


def _changes(step: Step, snapshot: Snapshot) -> tuple[Change, ...]:
    if step.kind == "xfrm":
        return _drop_policy(step, snapshot)
    if step.kind == "traffic-control":
        return _drop_qdisc(step, snapshot)
    facts = step.facts
    if step.cause == "queue-unserved":
        return _bypass(step, snapshot)
    if facts.get("family") in ("bridge", "arp", "netdev"):
        if facts.get("line", "0") == "0":
            return (SetChainPolicy(namespace=step.namespace, at=ground.chain_ref(facts), policy="accept"),)
        return _delete(step, snapshot)
    if facts.get("line", "0") == "0":
        return _accept(step, snapshot, at_line=_before_goto(step, snapshot))
    if _is_catch_all(step, snapshot):
        return _accept(step, snapshot, at_line=int(facts["line"]))
    return _delete(step, snapshot)


def _delete(step: Step, snapshot: Snapshot) -> tuple[Change, ...]:
    at = ground.chain_ref(step.facts)
    rule = ground.find_rule(snapshot, step.namespace, at, int(step.facts["line"]))
    return (DeleteRule(namespace=step.namespace, at=at, rule=rule),) if rule else ()


def _bypass(step: Step, snapshot: Snapshot) -> tuple[Change, ...]:
    """The queue rule as it is, but passing packets on while no program listens."""
    from netdoctor.walk.netfilter import bypassing

    at = ground.chain_ref(step.facts)
    rule = ground.find_rule(snapshot, step.namespace, at, int(step.facts["line"]))
    after = bypassing(rule) if rule else None
    return (ReplaceRule(namespace=step.namespace, at=at, before=rule, after=after),) if rule and after else ()


def _is_catch_all(step: Step, snapshot: Snapshot) -> bool:
    """The last rule of a chain that has accepts before it and tests nothing itself: a policy in the form of a rule."""
    facts = step.facts
    chain = ground.find_chain(snapshot, step.namespace, ground.chain_ref(facts))
    if (
        chain is None
        or isinstance(chain.rules, Unknown)
        or len(chain.rules) < 2
        or chain.rules[-1].line != int(facts["line"])
    ):
        return False
    words = [word for word in facts["rule"].split() if word not in GENERAL_WORDS and word != facts["chain"]]
    return all(
        word.startswith(("icmp", "type", "with", "admin", "host", "port", "tcp", "#", "handle")) or word.isdigit()
        for word in words
    )


def _before_goto(step: Step, snapshot: Snapshot) -> int:
    """The line of the first goto of the chain: what comes after it may never be asked. 0, the end, without one."""
    chain = ground.find_chain(snapshot, step.namespace, ground.chain_ref(step.facts))
    for rule in chain.rules if chain is not None and not isinstance(chain.rules, Unknown) else ():
        if any(getattr(one, "code", "") == "goto" for one in rule.expressions):
            return rule.line
    return 0


def _accept(step: Step, snapshot: Snapshot, *, at_line: int) -> tuple[Change, ...]:
    """A rule that accepts just this traffic: by the interfaces it crosses, answers by their state."""
    facts = step.facts
    at = ground.chain_ref(facts)
    rule = _accept_rule(step, snapshot, at)
    return (InsertRule(namespace=step.namespace, at=at, rule=rule, line=at_line),) if rule else ()


def _accept_rule(step: Step, snapshot: Snapshot, at: ChainRef) -> Rule | None:
    from netdoctor.walk.netfilter import RuleSpec, compose

    facts = step.facts
    family = "ip6" if facts.get("packet_family") == "6" else "ip"
    answers = facts.get("ct_state") in ("established", "related")
    spec = RuleSpec(
        verdict="accept",
        in_device=facts.get("in_device", "") if facts["hook"] != "output" else "",
        out_device=facts.get("out_device", "") if facts["hook"] != "input" else "",
        ct_states=("related", "established") if answers else (),
    )
    return compose(spec, at.backend, at.family if at.family in ("ip", "ip6", "inet") else family)  # type: ignore[arg-type]


def _drop_policy(step: Step, snapshot: Snapshot) -> tuple[Change, ...]:
    namespace = ground.namespace(snapshot, step.namespace)
    if namespace is None or isinstance(namespace.policies, Unknown):
        return ()
    policy = next((one for one in namespace.policies if policy_text(one) == step.facts.get("policy")), None)
    return (DeleteXfrmPolicy(namespace=step.namespace, policy=policy),) if policy else ()


def _drop_qdisc(step: Step, snapshot: Snapshot) -> tuple[Change, ...]:
    """Takes away the qdisc that carries the filter, or the queue that drops; programs of others are left to a person."""
    namespace = ground.namespace(snapshot, step.namespace)
    link = ground.link(snapshot, step.namespace, step.facts["link"])
    if namespace is None or link is None or isinstance(namespace.qdiscs, Unknown) or step.facts.get("kind") == "tcx":
        return ()
    filters = namespace.filters.get(link.name, ())
    kept = () if isinstance(filters, Unknown) else filters
    wanted = ("clsact", "ingress") if step.cause != "queue-drops" else (step.facts["kind"],)
    qdisc = next(
        (
            one
            for one in namespace.qdiscs
            if one.index == link.index and one.kind in wanted and (step.cause != "queue-drops" or one.parent == "root")
        ),
        None,
    )
    if qdisc is None:
        return ()
    carried = kept if step.cause != "queue-drops" else ()
    return (DeleteQdisc(namespace=step.namespace, link=link.name, qdisc=qdisc, filters=carried),)


def _advice(step: Step) -> tuple[str, ...]:
    link = step.facts.get("link", "IFACE")
    if step.cause == "queue-unserved":
        return (
            "better than bypassing the queue: start the program that should listen on it (intrusion prevention, filter)",
        )
    if step.cause == "xdp-program":
        return (
            f"see which program it is (`bpftool net show dev {link}`); take it off with `ip link set dev {link} xdp off`",
        )
    if step.facts.get("kind") == "tcx":
        return (
            f"see which program it is (`bpftool net show dev {link}`) and detach its link (`bpftool link detach id N`)",
        )
    return ()
