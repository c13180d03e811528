"""Does connection tracking know the flow when its answer comes back?"""

from typing import Final

from netdoctor.checks import ground
from netdoctor.checks.ownership import lasting_sysctl
from netdoctor.model.change import Change, DeleteRule, SetSysctl
from netdoctor.model.diagnosis import Cause
from netdoctor.model.journey import Step
from netdoctor.model.snapshot import Snapshot

ID: Final = "conntrack"
LAYER: Final = "conntrack"
KINDS = ("conntrack",)
DEFAULTS = {"udp": "30", "icmp": "30", "tcp": "120"}
CAUSES = {
    "notrack": "A raw rule exempts the flow from connection tracking (NOTRACK), so NAT never sees it and its source stays private. "
    "Verify: `iptables -t raw -S`, `nft list ruleset | grep notrack`. Fix: delete or narrow the rule.",
    "conntrack-timeout-zero": "The flow's conntrack timeout is 0: the entry is gone before the answer comes, which then meets no "
    "translation. Verify: `sysctl net.netfilter | grep timeout`. Fix: the default.",
    "conntrack-zone-mismatch": "A rule puts the flow's first packet in a conntrack zone and its answer in another. Fix: the same zone "
    "on both sides, or none.",
    "conntrack-table-full": "The connection tracking table is full: new flows are dropped. Verify: nf_conntrack_count against "
    "nf_conntrack_max, `conntrack -S`. Fix: raise nf_conntrack_max (global to the machine), and find who fills it.",
    "answer-not-translated": "The answer comes back to the host and belongs to no flow that conntrack knows.",
    "answer-misdelivered": "The answer ends in a namespace that did not ask.",
}


def cause(step: Step, snapshot: Snapshot) -> Cause:
    """Why the flow is not tracked, told with its repair."""
    facts = step.facts
    sysctl = facts.get("sysctl", "")
    return Cause(
        slug=step.cause,
        layer=LAYER,
        namespace=step.namespace,
        object=f"sysctl {sysctl.replace('/', '.')}" if sysctl else _rule(facts) or "connection tracking table",
        summary=step.summary,
        expected="the flow is tracked, so that its answer is translated back",
        observed=step.because[0].text if step.because else "",
        evidence=ground.evidence(step),
        changes=_changes(step, snapshot),
        advice=("raise net.netfilter.nf_conntrack_max on the machine, and see who holds the entries: conntrack -L",)
        if step.cause == "conntrack-table-full"
        else (),
        lasting=lasting_sysctl(sysctl, DEFAULTS[facts["protocol"]]) if sysctl and "protocol" in facts else "",
    )


def _rule(facts: dict[str, str]) -> str:
    return (
        f"{facts['backend']} {facts['table']} {facts['chain']} rule {facts['line']}: {facts['rule']}"
        if facts.get("rule")
        else ""
    )


def _changes(step: Step, snapshot: Snapshot) -> tuple[Change, ...]:
    facts = step.facts
    if step.cause == "conntrack-timeout-zero":
        return (SetSysctl(namespace=step.namespace, key=facts["sysctl"], value=DEFAULTS[facts["protocol"]]),)
    if step.cause in ("notrack", "conntrack-zone-mismatch") and facts.get("rule"):
        at = ground.chain_ref(
            {key: value for key, value in facts.items() if key != "family"}
            | {"family": facts.get("rule_family", facts["family"])}
        )
        rule = ground.find_rule(snapshot, step.namespace, at, int(facts["line"]))
        return (DeleteRule(namespace=step.namespace, at=at, rule=rule),) if rule else ()
    return ()
