"""Does every stack between the ends pass packets on: forwarding switched on, sources believed, TTL left?"""

from typing import Final

from netdoctor.checks import ground
from netdoctor.checks.ownership import lasting_sysctl
from netdoctor.model.change import Change, SetSysctl
from netdoctor.model.diagnosis import Cause
from netdoctor.model.journey import Step
from netdoctor.model.snapshot import Snapshot

ID: Final = "forwarding"
LAYER: Final = "forwarding"
KINDS = ("forwarding", "source-validation", "ttl")
LOOSE = "2"
CAUSES = {
    "ip-forward-off": "The kernel drops what comes in by one interface and would leave by another, unless forwarding is on. "
    "A host that carries containers is a router. Verify: `sysctl net.ipv4.ip_forward` (IPv6: net.ipv6.conf.all.forwarding). "
    "Fix: set it to 1. False alarm: an internal network that is meant to go nowhere.",
    "interface-forwarding-off": "ip_forward is on, but the interface that the packet comes in by has its own switch off "
    "(net.ipv4.conf.IFACE.forwarding; systemd-networkd and hardening scripts set it). Fix: set that one to 1.",
    "rp-filter-drops": "Strict reverse path filtering drops packets whose source would be answered by another interface. "
    "Verify: `nstat -az TcpExtIPReversePathFilter`. Fix: loose mode (2) on that interface, or mend the route back.",
    "martian": "An address that cannot be there (loopback, broadcast, a link-local source to be forwarded) came in by a real interface.",
    "source-taken-for-own": "A local route of another table (TPROXY, any-IP recipes) covers the packet's source, so the kernel takes it "
    "for forged; src_valid_mark lets the packet's mark choose that table. Fix: src_valid_mark 0, or no mark on packets that come in.",
    "route-localnet-off": "A packet with a loopback address was redirected out of an interface that does not allow it.",
    "ttl-exceeded": "The packet's TTL ends before its way does: a TTL of 1 set by sysctl or rule, or a routing loop.",
}


def cause(step: Step, snapshot: Snapshot) -> Cause:
    """The switch that stops forwarding, told with its repair."""
    changes = _changes(step, snapshot)
    sysctl = next((change.key for change in changes if isinstance(change, SetSysctl)), step.facts.get("sysctl", ""))
    wanted = next((change.value for change in changes if isinstance(change, SetSysctl)), "1")
    return Cause(
        slug=step.cause,
        layer=LAYER,
        namespace=changes[0].namespace if step.kind == "ttl" and changes else step.namespace,
        object=f"sysctl {step.facts.get('sysctl', sysctl).replace('/', '.')}"
        if sysctl or "sysctl" in step.facts
        else f"TTL{': ' if 'rule' in step.facts else ''}{step.facts.get('rule', '')}",
        summary=step.summary + (" (rp_filter)" if step.cause == "rp-filter-drops" else ""),
        expected=f"{sysctl.replace('/', '.')} = {wanted}" if sysctl else "",
        observed=step.because[0].text if step.because else "",
        evidence=ground.evidence(step),
        changes=changes,
        advice=("find what lowers the TTL: `sysctl net.ipv4.ip_default_ttl`, TTL rules in mangle",)
        if not sysctl
        else (),
        reverts="hardening files (CIS), systemd-networkd and `sysctl --system` may set it back" if sysctl else "",
        lasting=lasting_sysctl(sysctl, wanted) if sysctl else "",
    )


def _changes(step: Step, snapshot: Snapshot) -> tuple[Change, ...]:
    facts, key = step.facts, step.namespace
    if step.kind == "forwarding":
        return (SetSysctl(namespace=key, key=facts["sysctl"], value="1"),)
    if step.cause == "rp-filter-drops":
        return (SetSysctl(namespace=key, key=f"net/ipv4/conf/{facts['link']}/rp_filter", value=LOOSE),)
    if step.cause == "source-taken-for-own" and "sysctl" in facts:
        return (SetSysctl(namespace=key, key=facts["sysctl"], value="0"),)
    if step.cause == "martian" and facts.get("which") == "destination":
        return (SetSysctl(namespace=key, key=facts["sysctl"], value="1"),)
    if step.cause == "route-localnet-off":
        return (SetSysctl(namespace=key, key=facts["sysctl"], value="1"),)
    if step.cause == "ttl-exceeded":
        for place in (snapshot.target, snapshot.host):
            if ground.sysctl(snapshot, place, "net/ipv4/ip_default_ttl") not in ("", "64", "128", "255"):
                return (SetSysctl(namespace=place, key="net/ipv4/ip_default_ttl", value="64"),)
    return ()
