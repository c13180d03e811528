"""Do full-size packets fit, or are their senders told?"""

from typing import Final

from netdoctor.checks import ground, traffic
from netdoctor.model.change import ChainRef, Change, DeleteRule, InsertRule, SetLink
from netdoctor.model.diagnosis import Cause
from netdoctor.model.journey import Step
from netdoctor.model.snapshot import Snapshot

ID: Final = "mtu"
LAYER: Final = "mtu"
KINDS = ("mtu",)
CAUSES = {
    "pmtu-black-hole": "A link on the way is smaller than the sender's packets, and the ICMP message that says so (frag-needed) is "
    "dropped: small requests work, large transfers hang. Verify: `ping -M do -s 1472`. Fix: let the ICMP through; or clamp the "
    "MSS; or lower the container's MTU.",
    "mtu-mismatch": "The two ends of a cable have different MTUs: frames bigger than the receiver's vanish without an error. "
    "Verify: `ip link` on both ends. Fix: the same MTU.",
    "tunnel-mtu-too-big": "The tunnel's MTU leaves no room for its outer headers (VXLAN: 50 bytes) in the MTU of the link under it: "
    "full-size packets are cut in two, and firewalls and clouds lose the pieces. Verify: `ping -M do -s 1400` through the tunnel. Fix: "
    "the link's MTU less the headers.",
    "large-packets-dropped": "A rule or filter drops full-size packets only (a length match, a small queue): small requests work, "
    "large transfers hang. Verify: `ping -M do -s 1472`. Fix: delete or narrow the rule.",
    "packet-too-big": "The packet may not be cut and does not fit the interface it leaves by.",
    "large-data-stalls": "The connection is made, and large data does not get through.",
    "no-error-source": "The router has no address to send the ICMP error from.",
}


def cause(step: Step, snapshot: Snapshot) -> Cause:
    """The link that is too small and what silences it, told with its repair."""
    facts = step.facts
    return Cause(
        slug=step.cause,
        layer=LAYER,
        namespace=step.namespace,
        object=_object(step),
        summary=step.summary,
        expected=f"packets of {facts.get('length', '1500')} bytes pass, or their sender is told",
        observed=step.because[0].text if step.because else "",
        evidence=ground.evidence(step),
        changes=_changes(step, snapshot),
        advice=(
            "or clamp TCP's segment size: iptables -t mangle -A FORWARD -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu",
        ),
        lasting="set the container network's MTU to the smallest on the way (docker: com.docker.network.driver.mtu)",
    )


def _object(step: Step) -> str:
    """The link that is too small and the rule that hides it; or the rule, filter or queue that takes no full-size packets."""
    facts = step.facts
    rule = (
        f"{facts['lost_chain']} rule {facts.get('lost_line')}: {facts.get('lost_rule', '')}"
        if facts.get("lost_chain")
        else ""
    )
    if facts.get("mtu"):
        return f"MTU {facts['mtu']} of {facts.get('link', step.device)}" + (
            f"; {rule} drops ICMP frag-needed" if rule else ""
        )
    if rule:
        return f"{facts['lost_backend']} {facts['lost_family']} {facts['lost_table']} {rule}"
    if "lost_link" in facts:
        return traffic.name_of(facts, step.because[0].text if step.because else "")
    return f"the way by {facts.get('link', step.device)}" + (f": {facts['rule']}" if facts.get("rule") else "")


def _changes(step: Step, snapshot: Snapshot) -> tuple[Change, ...]:
    facts = step.facts
    if step.cause == "mtu-mismatch":
        return (
            (SetLink(namespace=step.namespace, link=facts["link"], mtu_bytes=int(facts["length"])),)
            if int(facts["length"]) <= 9000
            else ()
        )
    if step.cause == "tunnel-mtu-too-big":
        return (SetLink(namespace=step.namespace, link=facts["link"], mtu_bytes=int(facts["wanted"])),)
    if not facts.get("lost_chain"):
        return traffic.without_qdisc(step, snapshot) if "lost_link" in facts else ()
    at = ChainRef(
        backend=facts["lost_backend"], family=facts["lost_family"], table=facts["lost_table"], chain=facts["lost_chain"],  # type: ignore[arg-type]
    )  # fmt: skip
    line = int(facts["lost_line"])
    if not line:
        from netdoctor.walk.netfilter import RuleSpec, compose

        spec = RuleSpec(verdict="accept", protocol="icmp", ct_states=("related",))
        return (InsertRule(namespace=step.namespace, at=at, rule=compose(spec, at.backend, at.family), line=1),)
    rule = ground.find_rule(snapshot, step.namespace, at, line)
    return (DeleteRule(namespace=step.namespace, at=at, rule=rule),) if rule else ()
