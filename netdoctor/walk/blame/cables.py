"""Cables and ports in the wrong place: no port of the bridge, macvlans that never meet."""

from msgspec.structs import replace

from netdoctor.model.journey import Because, RoundTrip, Step
from netdoctor.model.network import Link
from netdoctor.model.snapshot import NamespaceId, Need
from netdoctor.walk.blame.grounds import directly_attached, entry_to, global_addresses, owner_elsewhere, source_of
from netdoctor.walk.layer2 import link_text
from netdoctor.walk.routing import Query, lookup
from netdoctor.walk.view import View


def unbridged(view: View, trip: RoundTrip) -> Step | None:
    """The request came to the host by a cable that is no port of the bridge by which the host would answer."""
    host = view.snapshot.host
    entry = entry_to(trip, host)
    if entry is None or trip.flow.namespace == host:
        return None
    source = source_of(entry)
    came = view.link(host, entry.device)
    back = lookup(view, host, Query(trip.flow.family, "", source)) if source else None
    bridge = view.link(host, back.hop.index) if back and back.hop and back.type == "unicast" else None
    if came is None or bridge is None or bridge.kind != "bridge" or bridge.index == came.index:
        return None
    if global_addresses(view, host, came, trip.flow.family):
        return None
    port = came if came.kind == "veth" and not came.master else _port_of(view, trip, host, came)
    if port is None or not directly_attached(view, host, came, source):
        return None
    where = "no port of it" if port.index == came.index else f"a port of {came.name}"
    return replace(
        entry,
        kind="bridge",
        outcome="block",
        device=port.name,
        cause="bridge-port-missing",
        summary=f"{port.name}, the host's end of the cable to {source}, should be a port of bridge {bridge.name} and is {where}",
        because=(Because(kind="link", namespace=host, text=link_text(port)),),
        facts={"link": port.name, "bridge": bridge.name, "came_by": came.name},
    )


def misplaced(view: View, fatal: Step) -> Step | None:
    """The cable's other end lies in a namespace that has nothing else, down and without address: it was moved there by mistake."""
    snapshot, there = view.snapshot, fatal.namespace
    link = view.link(there, fatal.facts.get("link", ""))
    if fatal.cause != "link-down" or fatal.direction != "forward" or link is None or link.kind != "veth":
        return None
    others = [one for one in view.links(there) if not one.loopback and one.index != link.index and one.up]
    if (
        there in (snapshot.host, snapshot.target)
        or others
        or any(one.index == link.index for one in view.addresses(there))
        or link.master
    ):
        return None
    found = view.peer(there, link)
    if not isinstance(found, tuple) or found[0] != snapshot.target:
        return None
    ours, here, host = found[1].name, view.name(there), view.name(snapshot.host)
    return replace(
        fatal, kind="device", cause="peer-in-wrong-namespace",
        summary=f"the other end of {ours}, {link.name}, lies in namespace {here}, down and without an address: nothing leads on from there",
        facts={**fatal.facts, "advice": f"move it back: ip -n {here} link set dev {link.name} netns {host}, then give it its address again "
               f"and set it up in {host}"},
    )  # fmt: skip


def _port_of(view: View, trip: RoundTrip, host: NamespaceId, bridge: Link) -> Link | None:
    """The port of `bridge` that leads to the flow's own namespace."""
    if bridge.kind != "bridge":
        return None
    for link in view.links(host):
        if link.master == bridge.index and link.kind == "veth":
            found = view.peer(host, link)
            if isinstance(found, tuple) and found[0] == trip.flow.namespace:
                return link
    return None


def macvlan_isolation(view: View, fatal: Step, key: NamespaceId, link: Link, address: str) -> Step | None:
    """A macvlan never talks to its parent's own stack, and to siblings only in bridge mode."""
    found = view.peer(key, link) if link.kind in ("macvlan", "macvtap") else None
    if not isinstance(found, tuple):
        return None
    there, lower = found
    if view.local_addresses(there, address):
        text = f"{address} is {view.name(there)}'s own address: a macvlan ({link.name}) never reaches the stack of its parent {lower.name}"
        return replace(
            fatal,
            kind="carrier",
            cause="macvlan-host-isolation",
            summary=text,
            facts={**fatal.facts, "kind": "macvlan"},
        )
    owner = owner_elsewhere(view, address)
    if owner is None and not view.snapshot.surveyed and not view.snapshot.complete:
        view.lack(Need(namespace=key, subject="neighbourhood"))
    for other in view.links(owner) if owner else ():
        if (
            other.kind == "macvlan"
            and other.lower == lower.index
            and {link.macvlan_mode, other.macvlan_mode} != {"bridge"}
        ):
            text = (
                f"{link.name} ({link.macvlan_mode}) and {other.name} in {view.name(owner or '')} ({other.macvlan_mode}) stand on {lower.name}: "
                "macvlans only talk to each other in mode bridge"
            )
            return replace(
                fatal, kind="carrier", cause="macvlan-mode", summary=text, facts={**fatal.facts, "kind": "macvlan"}
            )
    return None
