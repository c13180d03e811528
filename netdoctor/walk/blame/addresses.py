"""Addresses that are there twice, or of another network than their link."""

from msgspec.structs import replace

from netdoctor.model.journey import Because, RoundTrip, Step
from netdoctor.model.snapshot import NamespaceId
from netdoctor.walk.addressing import contains, network_of
from netdoctor.walk.blame.grounds import askers_gateway, global_addresses, share_subnet, source_of, stacks_on
from netdoctor.walk.routing import Query, lookup
from netdoctor.walk.view import View


def duplicated(view: View, trip: RoundTrip) -> Step | None:
    """An address that the packet relies on is configured in two stacks of one link: the packet went to the wrong one."""
    for step in trip.steps:
        if step.kind == "neighbour" and step.outcome == "pass" and step.facts.get("next_hop"):
            found = _duplicate(view, step, step.facts["next_hop"])
        elif step.kind == "source-address" and step.direction == "forward" and step.device:
            address = step.facts.get("address") or source_of(step)
            found = (
                _duplicate(view, replace(step, facts={**step.facts, "link": step.device}), address) if address else None
            )
        else:
            continue
        if found is not None:
            return found
    return None


def _duplicate(view: View, step: Step, address: str) -> Step | None:
    link = view.link(step.namespace, step.facts["link"])
    if link is None:
        return None
    owners = [
        (there, other)
        for there, other in stacks_on(view, step.namespace, link)
        if any(one.local == address for one in view.addresses(there))
    ]
    if any(one.local == address for one in view.addresses(step.namespace)):
        owners.append((step.namespace, link))
    places = list(dict.fromkeys(there for there, _ in owners))
    if len(places) < 2:
        return None
    snapshot = view.snapshot
    strangers = [there for there in places if there not in (snapshot.host, snapshot.target)]
    spare = snapshot.host in places and _has_another(view, snapshot.host, address)
    wrong = strangers[0] if strangers else snapshot.host if spare or snapshot.target not in places else snapshot.target
    device = next(other.name for there, other in owners if there == wrong)
    names = " and ".join(view.name(there) for there in places)
    return replace(
        step,
        kind="address-owner",
        namespace=wrong,
        outcome="block",
        device=device,
        cause="duplicate-address",
        summary=f"{address} is configured twice on one link, in {names}: packets for it go to whichever answered",
        facts={"link": device, "address": address, "holders": names},
    )


def _has_another(view: View, key: NamespaceId, address: str) -> bool:
    """True when the namespace has an address of its own in the same subnet: then this one is the one too many."""
    return any(
        one.local != address and contains(network_of(one.local, one.prefix_length), address)
        for one in view.addresses(key)
        if (":" in one.local) == (":" in address)
    )


def foreign_address(view: View, trip: RoundTrip, fatal: Step) -> Step | None:
    """The container's address belongs to another subnet than the link it sits on: the router there has no way back to it."""
    target = trip.flow.namespace
    entry = next(
        (
            one
            for one in trip.forward.steps
            if one.kind == "device" and one.outcome == "pass" and one.namespace != target
        ),
        None,
    )
    if entry is None or target == view.snapshot.host:
        return None
    source, router, family = source_of(entry), entry.namespace, trip.flow.family
    came = view.link(router, entry.device)
    mine = next((one for one in view.addresses(target) if one.local == source), None)
    theirs = global_addresses(view, router, came, family) if came else []
    if came is None or mine is None or not theirs or any(one.peer for one in (*theirs, mine)):
        return None
    gateway = askers_gateway(view, source)
    if any(share_subnet(mine, one) for one in theirs) or (gateway and not view.local_addresses(router, gateway[0])):
        return None
    back = lookup(view, router, Query(family, "", source))
    if back.hop is not None and back.hop.index == came.index:
        return None
    device = view.device_name(target, mine.index)
    text, there = f"{source}/{mine.prefix_length}", f"{theirs[0].local}/{theirs[0].prefix_length}"
    return replace(
        fatal,
        kind="address-owner",
        namespace=target,
        outcome="block",
        device=device,
        cause="address-wrong-subnet",
        summary=f"{device} in {view.name(target)} has {text}, but its link's network is {there} ({came.name} in {view.name(router)})",
        because=(Because(kind="address", namespace=target, text=f"inet {text} dev {device}"),),
        facts={"link": device, "address": source, "family": str(family), "other": there, "symptom": fatal.summary},
    )
