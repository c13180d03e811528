"""What lies beyond this host: does the next hop answer, and does the destination?

Faults there are named as far as they can be seen or probed; their repair is advice, this host is left as it is.
"""

from typing import Final

from netdoctor.checks import ground
from netdoctor.model.diagnosis import Cause
from netdoctor.model.journey import Step
from netdoctor.model.snapshot import Snapshot

ID: Final = "upstream"
LAYER: Final = "upstream"
KINDS = ("upstream",)
CAUSES = {
    "upstream-drops": "A firewall beyond this host drops the flow.",
    "upstream-prohibits": "A firewall beyond this host refuses the flow and says so (ICMP prohibited, TCP reset).",
    "upstream-unreachable": "A router beyond this host has no way to the destination.",
    "upstream-service-down": "The destination is there, and nothing listens on the port asked for.",
    "upstream-ttl": "Packets come from beyond this host with a TTL that ends before they are delivered (a provider that sends TTL 1 to "
    "keep routers out, a mangle rule). Verify: `tcpdump -v` on the uplink shows ttl 1. Fix there; here `TTL --ttl-inc` in mangle "
    "PREROUTING gets round it.",
    "upstream-fault": "Something beyond this host stops the flow.",
    "destination-silent": "Packets leave this host rightly and no answer comes: the destination, or a network on the way, is silent. "
    "Verify from another machine.",
    "next-hop-silent": "The host's own gateway does not answer: the uplink's router or cable is dead.",
    "host-cut-off": "The host itself does not reach the destination either: the fault is not the container's.",
    "destination-refuses": "The destination refuses the connection: it is reachable and nothing listens, or its firewall says no.",
    "destination-unreachable": "A router beyond this host answers that the destination cannot be reached.",
    "unexplained": "The probe fails and no step of the walk explains it: the model and the kernel disagree, or the fault is where "
    "nothing can be seen (a driver, a program, a peer).",
}


def cause(step: Step, snapshot: Snapshot) -> Cause:
    """What was seen beyond the host; nothing is changed there."""
    facts = step.facts
    inside = step.namespace in snapshot.namespaces
    destination = facts.get("destination") or facts.get("address", "")
    return Cause(
        slug=step.cause,
        layer=LAYER,
        namespace=step.namespace if inside else "upstream",
        object=facts.get("object")
        or " ".join(
            part
            for part in ("upstream", f"towards {destination}" if destination else "", facts.get("rule", ""))
            if part
        ),
        summary=step.summary,
        expected=f"{destination or 'the destination'} answers",
        observed=step.because[0].text if step.because else step.summary,
        evidence=ground.evidence(step),
        advice=(
            facts.get("advice")
            or "report it to whoever runs that network: packets leave this host rightly, as the path shows",
        ),
    )
