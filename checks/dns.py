"""Does the container's resolver find names: resolv.conf, the servers in it, and the way to them?"""

from typing import Final

from netdoctor.checks import ground
from netdoctor.model.diagnosis import Cause
from netdoctor.model.journey import Step
from netdoctor.model.snapshot import Snapshot

ID: Final = "dns"
LAYER: Final = "dns"
KINDS = ("resolver",)
CAUSES = {
    "resolver-loopback": "resolv.conf names a loopback address (127.0.0.53, a host's stub) and nothing listens there in this "
    "namespace: loopback is the container's own, not the host's. Fix: a server that the container reaches.",
    "resolver-missing": "resolv.conf names no server. Fix: write one; the container's runtime writes this file.",
    "resolver-unreachable": "The servers in resolv.conf cannot be reached from the container. Fix: servers that can.",
    "hosts-entry-stale": "The hosts file names an address that nobody has (extra_hosts, a container's former address). "
    "Verify: `getent hosts NAME` against the name server's answer. Fix: correct or delete the line.",
    "resolver-silent": "The servers in resolv.conf do not answer.",
    "resolver-answers-elsewhere": "The server's answers come from another of its addresses than the one that was asked (a dnsmasq on all "
    "addresses of a host with several, a resolver that sends by another socket), so resolvers throw them away. Verify: `tcpdump -n "
    "udp port 53` while asking. Fix: bind the server to the address, or ask the address it answers from.",
    "resolver-not-listening": "Nothing listens for DNS at the server's address.",
    "name-not-found": "The servers answer that the name does not exist.",
}


def cause(step: Step, snapshot: Snapshot) -> Cause:
    """What keeps names from being resolved."""
    facts = step.facts
    return Cause(
        slug=step.cause,
        layer=LAYER,
        namespace=step.namespace,
        object=f"{facts.get('path', 'resolv.conf')}: nameserver {facts['server']}"
        if facts.get("server")
        else facts.get("path", "resolv.conf"),
        summary=step.summary,
        expected="" if step.cause == "hosts-entry-stale" else "a name server that answers from this namespace",
        observed=facts.get("observed", ""),
        evidence=ground.evidence(step),
        advice=(
            facts.get("advice")
            or f"write a server that this container reaches into {facts.get('path', 'resolv.conf')} (nameserver ADDRESS); the runtime's DNS setting makes it last",
        ),
    )
