"""Does every stack on the way have the addresses that the others count on, and only its own?"""

from typing import Final

from msgspec.structs import replace

from netdoctor.checks import ground
from netdoctor.checks.memory import remembered, remembered_by_flows
from netdoctor.model.change import AddAddress, AddRoute, Change, DeleteAddress, DeleteRoute, SetLink, SetSysctl
from netdoctor.model.diagnosis import Cause
from netdoctor.model.journey import Step
from netdoctor.model.network import Address, Link
from netdoctor.model.snapshot import Snapshot
from netdoctor.walk.addressing import contains, network_of

ID: Final = "address"
LAYER: Final = "address"
IPV6_MINIMUM_MTU_BYTES = 1280
KINDS = ("source-address", "address-owner")
CAUSES = {
    "address-missing": "The interface has no address of the family asked about, so packets have no source. "
    "Verify: `ip addr show dev IFACE`. Fix: give it the address it should have; only whoever assigned it knows which.",
    "ipv6-disabled": "IPv6 is switched off on the interface (net.ipv6.conf.*.disable_ipv6). Fix: set it to 0 and add the address.",
    "gateway-address-missing": "The container's gateway address exists nowhere: the host's end of the cable (or the bridge) lost "
    "it, so ARP for the gateway stays unanswered. Verify: `ip addr show dev IFACE` on the host. Fix: add it again.",
    "address-prefix-narrow": "The host's address is there but its prefix does not cover the container, so the way back leads "
    "elsewhere. `ip addr add 10.0.0.1` without a length gives /32. Fix: the same address with the container's length.",
    "duplicate-address": "The address is configured twice. A host that has the container's address drops its packets as forged "
    "and keeps the answers. Verify: `ip addr | grep ADDRESS` in both. Fix: take it off where it does not belong.",
    "address-dad-failed": "Duplicate address detection failed: another machine had the IPv6 address first. "
    "Verify: `ip -6 addr` shows dadfailed. Fix: remove the other one, then add this again.",
    "address-wrong-subnet": "The container's address is of another network than the link it sits on (stale configuration, wrong "
    "--ip): the router there has no way back to it. Verify: `ip addr` on both ends. Fix: an address of the link's network.",
    "address-prefix-wide": "The container's prefix is too short (a /8 where the link is a /24): it takes far addresses for neighbours "
    "and asks for their MAC in vain. Verify: `ip addr` on both ends. Fix: the link's prefix length.",
    "next-hop-unowned": "Nobody on the link has the next hop's address.",
    "destination-unowned": "The destination should be a neighbour, and nobody on that link has its address.",
}


def cause(step: Step, snapshot: Snapshot) -> Cause:
    """The missing, wrong or duplicate address, told with its repair."""
    device = step.facts.get("link", step.device)
    address = step.facts.get("address") or step.facts.get("gateway") or step.facts.get("next_hop", "")
    return Cause(
        slug=step.cause,
        layer=LAYER,
        namespace=step.namespace,
        object=" ".join(part for part in (f"interface {device}", f"address {address}" if address else "") if part),
        summary=step.summary + _also(step, snapshot),
        expected=_expected(step, device),
        observed=_observed(step, snapshot, device),
        evidence=ground.evidence(step),
        changes=_changes(step, snapshot, device),
        advice=_advice(step),
    )


def _also(step: Step, snapshot: Snapshot) -> str:
    if step.cause != "duplicate-address":
        return ""
    if "holders" in step.facts or step.namespace == snapshot.target:
        return " (a duplicate address)"
    return f" (duplicate address: {ground.name(snapshot, snapshot.target)} and {ground.name(snapshot, step.namespace)} both have it)"


def _expected(step: Step, device: str) -> str:
    return {
        "gateway-address-missing": f"{step.facts.get('gateway', 'an address in the container subnet')} on {device}",
        "address-missing": f"an address on {device}",
        "address-prefix-narrow": f"a prefix that covers {step.facts.get('asker', '')}",
        "duplicate-address": "each address in one place only",
    }.get(step.cause, "")


def _observed(step: Step, snapshot: Snapshot, device: str) -> str:
    found = ground.addresses_on(snapshot, step.namespace, device, int(step.facts.get("family", "4")))
    return f"{device}: " + (", ".join(f"{one.local}/{one.prefix_length}" for one in found) or "no address")


def _changes(step: Step, snapshot: Snapshot, device: str) -> tuple[Change, ...]:
    if step.cause == "gateway-address-missing":
        return _missing_gateway(step, snapshot, device)
    if step.cause in ("address-prefix-narrow", "address-prefix-wide"):
        return (
            _resized(step, snapshot, device)
            if "wanted_length" in step.facts or step.cause.endswith("wide")
            else _wider(step, snapshot, device)
        )
    if step.cause == "duplicate-address":
        return _undouble(step, snapshot)
    if step.cause == "address-wrong-subnet":
        return _without_source_hint(step, snapshot)
    if step.cause == "ipv6-disabled":
        return (SetSysctl(namespace=step.namespace, key=step.facts["sysctl"], value="0"),)
    if step.cause == "address-missing":
        return _implied_address(step, snapshot, device)
    return ()


def _new(snapshot: Snapshot, step: Step, device: str, local: str, length: int) -> Address | None:
    link = ground.link(snapshot, step.namespace, device)
    if link is None:
        return None
    return Address(
        index=link.index, family=6 if ":" in local else 4, local=local, prefix_length=length, flags=("permanent",)
    )


def _missing_gateway(step: Step, snapshot: Snapshot, device: str) -> tuple[Change, ...]:
    """The container's own route and prefix say what the gateway's address was."""
    gateway, length, asker = step.facts.get("gateway", ""), step.facts.get("length", ""), step.facts.get("asker", "")
    if not gateway and asker:
        gateway, length = _gateway_by_route(snapshot, asker)
    if not gateway or not length:
        return ()
    address = _new(snapshot, step, device, gateway, int(length))
    return (AddAddress(namespace=step.namespace, link=device, address=address),) if address else ()


def _gateway_by_route(snapshot: Snapshot, asker: str) -> tuple[str, str]:
    """(gateway, prefix length) of the namespace that has the asker's address, from its default route."""
    for key in snapshot.namespaces:
        mine = next((one for one in ground.addresses(snapshot, key) if one.local == asker), None)
        if mine is None or key == snapshot.host:
            continue
        for route in ground.routes(snapshot, key):
            if route.family == mine.family and route.next_hops and route.next_hops[0].gateway:
                gateway = route.next_hops[0].gateway
                if contains(network_of(mine.local, mine.prefix_length), gateway):
                    return gateway, str(mine.prefix_length)
    return "", ""


def _wider(step: Step, snapshot: Snapshot, device: str) -> tuple[Change, ...]:
    """The same address with the prefix length that the container has on the other end."""
    asker, local = step.facts["asker"], step.facts["local"]
    lengths = {
        one.prefix_length
        for key in snapshot.namespaces
        for one in ground.addresses(snapshot, key)
        if one.local == asker
    }
    old = next(
        (
            one
            for one in ground.addresses_on(snapshot, step.namespace, device, int(step.facts["family"]))
            if one.local == local
        ),
        None,
    )
    if len(lengths) != 1 or old is None:
        return ()
    length = lengths.pop()
    if not contains(network_of(local, length), asker):
        return ()
    new = _new(snapshot, step, device, local, length)
    if new is None:
        return ()
    return (
        AddAddress(namespace=step.namespace, link=device, address=new),
        DeleteAddress(namespace=step.namespace, link=device, address=old),
    )


def _resized(step: Step, snapshot: Snapshot, device: str) -> tuple[Change, ...]:
    """The container's address with the prefix length of its link's network."""
    local, length = step.facts["local"], int(step.facts["length"])
    old = next((one for one in ground.addresses(snapshot, step.namespace) if one.local == local), None)
    new = _new(snapshot, step, device, local, length)
    if old is None or new is None:
        return ()
    return (
        AddAddress(namespace=step.namespace, link=device, address=new),
        DeleteAddress(namespace=step.namespace, link=device, address=old),
    )


def _without_source_hint(step: Step, snapshot: Snapshot) -> tuple[Change, ...]:
    """A route's `src` chose the foreign address though the interface has one of the right network: the route without it."""
    key, address = step.namespace, step.facts["address"]
    fits = [
        one for one in ground.addresses_on(snapshot, key, step.facts["link"], int(step.facts["family"]))
        if one.local != address and contains(network_of(one.local, one.prefix_length), step.facts["other"].partition("/")[0])
    ]  # fmt: skip
    routes = [
        route
        for route in ground.routes(snapshot, key)
        if route.preferred_source == address and route.protocol != "kernel"
    ]
    if not fits or not routes:
        return ()
    changes: list[Change] = []
    for route in routes:
        changes.append(DeleteRoute(namespace=key, route=route))
        changes.append(AddRoute(namespace=key, route=replace(route, preferred_source=fits[0].local)))
    return tuple(changes)


def _undouble(step: Step, snapshot: Snapshot) -> tuple[Change, ...]:
    """Takes the container's address off the host, unless it is the host's only one there: then the container has the gateway's."""
    address = step.facts.get("source") or step.facts.get("asker") or step.facts.get("address", "")
    again = _again(step, snapshot, address)
    doubles = [one for one in ground.addresses(snapshot, step.namespace) if one.local == address]
    if not doubles or step.namespace == snapshot.target:
        return ()
    changes: list[Change] = []
    for one in doubles:
        device = next((link for link in ground.links(snapshot, step.namespace) if link.index == one.index), None)
        others = [
            other
            for other in ground.addresses(snapshot, step.namespace)
            if other.local != address
            and other.family == one.family
            and contains(network_of(other.local, other.prefix_length), address)
        ]
        if device is None or not others:
            return ()
        changes.append(DeleteAddress(namespace=step.namespace, link=device.name, address=one))
    return (*changes, *again)


def _again(step: Step, snapshot: Snapshot, address: str) -> tuple[Change, ...]:
    """An address that failed duplicate detection in the container is tried once more when the other holder is gone."""
    for one in ground.addresses(snapshot, snapshot.target):
        if one.local == address and "dadfailed" in one.flags:
            link = next((entry for entry in ground.links(snapshot, snapshot.target) if entry.index == one.index), None)
            new = Address(
                index=one.index,
                family=one.family,
                local=one.local,
                prefix_length=one.prefix_length,
                flags=("permanent", "nodad"),
            )
            if link is not None:
                delete = DeleteAddress(namespace=snapshot.target, link=link.name, address=one)
                return (delete, AddAddress(namespace=snapshot.target, link=link.name, address=new))
    return ()


def _implied_address(step: Step, snapshot: Snapshot, device: str) -> tuple[Change, ...]:
    """A host route to one single address by the cable's other end says which address the container had."""
    link = ground.link(snapshot, step.namespace, device)
    end = ground.other_end(snapshot, step.namespace, link) if link else None
    if end is None:
        return ()
    there, peer = end
    single = "/32" if step.facts.get("family", "4") == "4" else "/128"
    hosts = [
        route.destination.removesuffix(single)
        for route in ground.routes(snapshot, there)
        if route.destination.endswith(single) and route.type == "unicast" and route.next_hops and route.next_hops[0].index == peer.index
        and not route.next_hops[0].gateway and not route.destination.startswith("fe80")
    ]  # fmt: skip
    family = 4 if single == "/32" else 6
    known = remembered(snapshot, there, peer, link, family) if link and not hosts else []
    known = known or ([] if hosts else remembered_by_flows(snapshot, there, peer, family))
    if len(hosts) + len(known) != 1:
        return ()
    local, length = (hosts[0], int(single[1:])) if hosts else known[0]
    address = _new(snapshot, step, device, local, length)
    if address is None:
        return ()
    return (*_large_enough(step, link, peer), AddAddress(namespace=step.namespace, link=device, address=address))


def _large_enough(step: Step, link: Link | None, peer: Link) -> tuple[Change, ...]:
    """A link that is too small for IPv6 gets the MTU of its other end first."""
    if step.facts.get("family") != "6" or link is None or link.mtu_bytes >= IPV6_MINIMUM_MTU_BYTES:
        return ()
    return (SetLink(namespace=step.namespace, link=link.name, mtu_bytes=max(peer.mtu_bytes, IPV6_MINIMUM_MTU_BYTES)),)


def _advice(step: Step) -> tuple[str, ...]:
    if step.cause == "address-missing":
        return (
            "give it the address that its network plan (IPAM, compose file, CNI, DHCP) has for it; nothing here tells which",
        )
    if step.cause == "duplicate-address":
        return ("give the container another address, or take this one off the other holder",)
    if step.cause in ("destination-unowned", "next-hop-unowned"):
        return ("start the machine that should have the address, or ask for another",)
    return ()
