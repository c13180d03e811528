"""Does ARP or neighbour discovery find the right MAC?"""

from typing import Final

from netdoctor.checks import ground
from netdoctor.checks.ownership import lasting_sysctl
from netdoctor.model.change import Change, DeleteNeighbour, SetLink, SetNeighbour, SetSysctl
from netdoctor.model.diagnosis import Cause
from netdoctor.model.journey import Step
from netdoctor.model.network import Neighbour
from netdoctor.model.snapshot import Snapshot
from netdoctor.model.unknown import Unknown

ID: Final = "neighbour"
LAYER: Final = "neighbour"
KINDS = ("neighbour",)
CAUSES = {
    "neighbour-wrong-mac": "A permanent neighbour entry names a MAC that the address's owner does not have, so every frame goes to "
    "nobody. Verify: `ip neigh show ADDRESS` against `ip link` of the owner. Fix: delete the entry; ARP finds the right one.",
    "neighbour-stale-mac": "The neighbour entry was learned from another device and is out of date. Fix: delete it.",
    "arp-off": "The interface has ARP switched off (NOARP): neighbours get the interface's own MAC. Fix: `ip link set IFACE arp on`.",
    "arp-ignore": "arp_ignore on the owner's interface suppresses the answer (LVS and kube-proxy guides set it). "
    "Verify: `sysctl net.ipv4.conf.all.arp_ignore`. Fix: 0, or put the address on the interface that is asked.",
    "arp-filter": "arp_filter suppresses the answer because the way back to the asker leads by another interface.",
    "proxy-arp-off": "The container's gateway is an address that nobody has (169.254.1.1): the host should answer ARP for it by proxy, "
    "and proxy_arp is off on its end of the cable. Verify: `sysctl net.ipv4.conf.IFACE.proxy_arp`. Fix: 1.",
    "proxy-arp-late": "The host answers ARP by proxy only after a long random delay (neigh.IFACE.proxy_delay, in 1/100 s). Fix: 0 or 80.",
    "proxy-ndp-missing": "The router has a route to the address, and the link's machines expect it to be on the link: the router must "
    "answer neighbour discovery for it, one proxy entry an address. Verify: `ip -6 neigh show proxy`. Fix: "
    "`ip -6 neigh add proxy ADDRESS dev UPLINK` and net.ipv6.conf.UPLINK.proxy_ndp=1, or a daemon that does (ndppd).",
    "solicit-off": "neigh.IFACE.mcast_solicit is 0: the kernel never asks. Fix: 3, the default.",
}


def cause(step: Step, snapshot: Snapshot) -> Cause:
    """The wrong entry or the unanswered request, told with its repair."""
    facts = step.facts
    address = facts.get("address") or facts.get("next_hop", "")
    sysctl = facts.get("sysctl", "")
    if sysctl:
        thing = f"sysctl {sysctl.replace('/', '.')}"
    elif step.cause == "arp-off":
        thing = f"interface {facts.get('link')}"
    else:
        thing = f"neighbour {facts.get('entry') or address}"
    return Cause(
        slug=step.cause,
        layer=LAYER,
        namespace=step.namespace,
        object=thing,
        summary=step.summary + (" (a permanent entry)" if facts.get("state") == "permanent" else ""),
        expected=f"{address} at {facts['right']}" if facts.get("right") else "",
        observed=step.because[0].text if step.because else "",
        evidence=ground.evidence(step),
        changes=_changes(step, snapshot),
        lasting=lasting_sysctl(sysctl, facts.get("wanted", "0")) if sysctl else "",
    )


def _forget_own_macs(step: Step, snapshot: Snapshot) -> tuple[Change, ...]:
    """Entries that were made while ARP was off never expire."""
    namespace = ground.namespace(snapshot, step.namespace)
    link = ground.link(snapshot, step.namespace, step.facts["link"])
    if namespace is None or link is None or isinstance(namespace.neighbours, Unknown):
        return ()
    return tuple(
        DeleteNeighbour(namespace=step.namespace, link=link.name, neighbour=one)
        for one in namespace.neighbours
        if one.index == link.index and one.mac == link.mac and one.family == 4 and one.state == "noarp"
    )


def _answered_by_proxy(step: Step, snapshot: Snapshot) -> tuple[Change, ...]:
    facts, link = step.facts, ground.link(snapshot, step.namespace, step.facts["link"])
    if link is None:
        return ()
    switch = (SetSysctl(namespace=step.namespace, key=facts["switch"], value="1"),) if facts.get("switch") else ()
    entry = Neighbour(family=6, index=link.index, address=facts["address"], proxy=True)
    return (*switch, SetNeighbour(namespace=step.namespace, link=link.name, neighbour=entry))


def _changes(step: Step, snapshot: Snapshot) -> tuple[Change, ...]:
    facts = step.facts
    if "sysctl" in facts:
        return (SetSysctl(namespace=step.namespace, key=facts["sysctl"], value=facts.get("wanted", "0")),)
    if step.cause == "proxy-ndp-missing":
        return _answered_by_proxy(step, snapshot)
    if step.cause == "arp-off":
        return (*_forget_own_macs(step, snapshot), SetLink(namespace=step.namespace, link=facts["link"], no_arp=False))
    namespace = ground.namespace(snapshot, step.namespace)
    link = ground.link(snapshot, step.namespace, facts.get("link", ""))
    if namespace is None or link is None or isinstance(namespace.neighbours, Unknown):
        return ()
    entry = next(
        (
            one
            for one in namespace.neighbours
            if one.index == link.index and one.address == facts.get("address") and not one.proxy
        ),
        None,
    )
    return (DeleteNeighbour(namespace=step.namespace, link=link.name, neighbour=entry),) if entry else ()
