"""Can a connection be opened, and does somebody listen at the other end?"""

from typing import Final

from netdoctor.checks import ground
from netdoctor.checks.ownership import lasting_sysctl
from netdoctor.model.change import Change, SetSysctl
from netdoctor.model.diagnosis import Cause
from netdoctor.model.journey import Step
from netdoctor.model.snapshot import Snapshot

ID: Final = "transport"
LAYER: Final = "transport"
KINDS = ("local-port", "deliver")
CAUSES = {
    "local-ports-reserved": "All ephemeral ports are reserved (net.ipv4.ip_local_reserved_ports): no connection can be opened "
    '("Cannot assign requested address"). Fix: reserve only what is needed.',
    "local-ports-exhausted": "The ephemeral port range (net.ipv4.ip_local_port_range) is used up. Verify: `ss -s`. "
    "Fix: a wider range, and fewer connections left open.",
    "service-not-listening": "The packet arrives and nothing listens on that port: the connection is refused.",
    "service-on-other-address": "The service listens on another address only (127.0.0.1): from outside it is refused.",
    "echo-ignored": "The destination is told not to answer pings (icmp_echo_ignore_all).",
}


def cause(step: Step, snapshot: Snapshot) -> Cause:
    """What the ends of the connection lack."""
    facts = step.facts
    sysctl = facts.get("sysctl", "")
    return Cause(
        slug=step.cause,
        layer=LAYER,
        namespace=step.namespace,
        object=f"sysctl {sysctl.replace('/', '.')} = {facts.get('value', '')}"
        if sysctl
        else f"port {facts.get('port')}/{facts.get('protocol')}",
        summary=step.summary,
        expected=f"{sysctl.replace('/', '.')} = {facts.get('wanted', '') or '(empty)'}"
        if sysctl
        else "a listening service",
        observed=step.because[0].text if step.because else "",
        evidence=ground.evidence(step),
        changes=_changes(step),
        advice=()
        if sysctl
        else ("start the service, or let it listen on the container's address (0.0.0.0), not on 127.0.0.1 only",),
        lasting=lasting_sysctl(sysctl, facts.get("wanted", "")) if sysctl else "",
    )


def _changes(step: Step) -> tuple[Change, ...]:
    if "sysctl" not in step.facts:
        return ()
    return (SetSysctl(namespace=step.namespace, key=step.facts["sysctl"], value=step.facts.get("wanted", "")),)
