"""Does a rule, a traffic filter or an IPsec policy stop the packet, there or back?"""

from typing import Final

from netdoctor.checks import ground, traffic
from netdoctor.checks.ownership import owner_of_rule, reverts
from netdoctor.model.change import Change, DeleteXfrmPolicy
from netdoctor.model.diagnosis import Cause
from netdoctor.model.journey import Step
from netdoctor.model.snapshot import Snapshot
from netdoctor.model.unknown import Unknown
from netdoctor.walk.ipsec import policy_text

ID: Final = "firewall"
LAYER: Final = "firewall"
KINDS = ("hook", "traffic-control", "xfrm")
CAUSES = {
    "rule-drops": "A firewall rule drops the packet. With nf_tables, an accept in one table does not end the others: each base "
    "chain of a hook must let the packet pass. Verify: the rule's counter grows with each try. Fix: delete or narrow the rule.",
    "rule-rejects": "A firewall rule refuses the packet and says so (ICMP or TCP reset): it looks like a closed port or a dead host.",
    "policy-drops": "No rule of the chain accepts the packet and the chain's policy is drop (Docker sets it on FORWARD; a flush "
    "keeps it). Verify: `iptables -S FORWARD` or `nft list chain`. Fix: accept this traffic by a rule; not: open the policy.",
    "two-firewalls": "Rules of iptables-legacy and of iptables-nft stand side by side in one namespace. Both are asked: a packet that one "
    "accepts the other may drop, and each tool shows only its own. A warning as long as both let the flow pass. Verify: "
    "`iptables-legacy-save` and `iptables-nft-save`. Fix: move the rules to one backend and empty the other.",
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
    owner, changes, lasting, advice = _repair(step, snapshot)
    return Cause(
        slug=step.cause,
        layer=LAYER,
        namespace=step.namespace,
        object=_object(step),
        summary=step.summary + _detail(step),
        expected="the flow is accepted",
        observed=step.because[0].text if step.because else "",
        evidence=(*ground.evidence(step), *_whereabouts(step, snapshot)),
        changes=changes,
        advice=(*advice, *_advice(step)),
        owner=owner,
        reverts=reverts(owner) or "a firewall reload brings back what its configuration says",
        lasting=lasting,
    )


def warnings(snapshot: Snapshot) -> tuple[Cause, ...]:
    """What looks wrong in the firewalls of the host and of the target though it stops nothing by itself."""
    found = []
    for key in dict.fromkeys((snapshot.target, snapshot.host)):
        tables = ground.tables(snapshot, key)
        if {"iptables-legacy", "iptables-nft"} <= {table.backend for table in tables}:
            from netdoctor.checks.side_by_side import warning

            found.append(warning(snapshot, key))
    return tuple(one for one in found if one is not None)


def _repair(step: Step, snapshot: Snapshot) -> tuple[str, tuple[Change, ...], str, tuple[str, ...]]:
    """Whose it is, what mends it, how that lasts, what else a person can do."""
    if step.kind == "xfrm":
        return "", _drop_policy(step, snapshot), "change what installs the policy (ipsec.conf, swanctl.conf)", ()
    if step.kind == "traffic-control":
        return "", traffic.without_qdisc(step, snapshot), "change what installs the filter at boot", ()
    from netdoctor.checks import passage, permanence

    owner = owner_of_rule(step.facts, ground.find_table(snapshot, step.namespace, ground.chain_ref(step.facts)))
    changes = passage.changes(step, snapshot, owner)
    return owner, changes, permanence.lasting(step, snapshot, changes, owner), permanence.advice(step, snapshot, owner)


def _whereabouts(step: Step, snapshot: Snapshot) -> tuple[str, ...]:
    """The chains the packet came through, the policy that waits at their end, the rule's number."""
    facts = step.facts
    if step.kind != "hook":
        return ()
    path = facts.get("path", facts["chain"])
    first = path.partition(" -> ")[0]
    base = ground.find_chain(snapshot, step.namespace, ground.chain_ref(facts, first))
    policy = f", policy of {first}: {base.policy}" if base else ""
    number = f"line {facts['line']}" if facts.get("line", "0") != "0" else ""
    number += f", handle {facts['handle']}" if number and facts.get("handle", "0") != "0" else ""
    place = f"{facts['backend']} {facts['family']} {facts['table']}"
    return (f"chain path: {place} {path}{' (' + number + ')' if number else ''}{policy}",)


def _object(step: Step) -> str:
    facts = step.facts
    if step.kind == "xfrm":
        return f"IPsec (xfrm) policy {facts.get('policy', '')}"
    if step.kind == "traffic-control":
        return traffic.name_of(facts, step.because[0].text if step.because else "")
    place = f"{facts['backend']} {facts['family']} {facts['table']} {facts.get('path', facts['chain'])}"
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


def _drop_policy(step: Step, snapshot: Snapshot) -> tuple[Change, ...]:
    namespace = ground.namespace(snapshot, step.namespace)
    if namespace is None or isinstance(namespace.policies, Unknown):
        return ()
    policy = next((one for one in namespace.policies if policy_text(one) == step.facts.get("policy")), None)
    return (DeleteXfrmPolicy(namespace=step.namespace, policy=policy),) if policy else ()


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
