"""Faults of links and addresses that show as missing routes or silent gateways, and answers that take the wrong way."""

from msgspec.structs import replace

from netdoctor.model.journey import Because, RoundTrip, Step
from netdoctor.model.network import Address, Link
from netdoctor.model.snapshot import NamespaceId
from netdoctor.model.unknown import Unknown
from netdoctor.walk.addressing import contains, is_loopback, network_of
from netdoctor.walk.layer2 import Frame, Spread, link_text
from netdoctor.walk.routing import Query, lookup, route_text, rule_text
from netdoctor.walk.trail import Trail
from netdoctor.walk.view import View

ALWAYS_DOWN_KINDS = ("ifb", "dummy", "tun", "sit", "gre", "ipip", "tunl", "ip6tnl", "erspan")


def duplicated(view: View, trip: RoundTrip) -> Step | None:
    """An address that the packet relies on is configured in two stacks of one link: the packet went to the wrong one."""
    for step in trip.steps:
        if step.kind == "neighbour" and step.outcome == "pass" and step.facts.get("next_hop"):
            found = _duplicate(view, step, step.facts["next_hop"])
        elif step.kind == "source-address" and step.direction == "forward" and step.device:
            address = step.facts.get("address") or _source_of(step)
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
        for there, other in _stacks_on(view, step.namespace, link)
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


def unbridged(view: View, trip: RoundTrip) -> Step | None:
    """The request came to the host by a cable that is no port of the bridge by which the host would answer."""
    host = view.snapshot.host
    entry = _entry_to(trip, host)
    if entry is None or trip.flow.namespace == host:
        return None
    source = _source_of(entry)
    came = view.link(host, entry.device)
    back = lookup(view, host, Query(trip.flow.family, "", source)) if source else None
    bridge = view.link(host, back.hop.index) if back and back.hop and back.type == "unicast" else None
    if came is None or bridge is None or bridge.kind != "bridge" or bridge.index == came.index:
        return None
    if _global_addresses(view, host, came, trip.flow.family):
        return None
    port = came if came.kind == "veth" and not came.master else _port_of(view, trip, host, came)
    if port is None or not _directly_attached(view, host, came, source):
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


def _entry_to(trip: RoundTrip, key: NamespaceId) -> Step | None:
    """The step by which the request first comes into a namespace."""
    return next(
        (one for one in trip.forward.steps if one.kind == "device" and one.outcome == "pass" and one.namespace == key),
        None,
    )


def _global_addresses(view: View, key: NamespaceId, link: Link, family: int) -> list[Address]:
    return [
        one for one in view.addresses(key) if one.index == link.index and one.family == family and one.scope == "global"
    ]


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


def _source_of(step: Step) -> str:
    """The source address of the packet as this step saw it."""
    source = step.packet.partition(" -> ")[0]
    if source.startswith("["):
        return source[1:].partition("]")[0]
    return source.partition(":")[0] if source.count(":") == 1 else source


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
    source, router, family = _source_of(entry), entry.namespace, trip.flow.family
    came = view.link(router, entry.device)
    mine = next((one for one in view.addresses(target) if one.local == source), None)
    theirs = _global_addresses(view, router, came, family) if came else []
    if came is None or mine is None or not theirs or any(one.peer for one in (*theirs, mine)):
        return None
    gateway = _askers_gateway(view, source)
    if any(_share(mine, one) for one in theirs) or (gateway and not view.local_addresses(router, gateway[0])):
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


def _share(mine: Address, other: Address) -> bool:
    """True when either address lies in the other's subnet."""
    return contains(network_of(other.local, other.prefix_length), mine.local) or contains(
        network_of(mine.local, mine.prefix_length), other.local
    )


def captured_locally(view: View, trip: RoundTrip, fatal: Step) -> Step | None:
    """A `local` route that nobody's address made (TPROXY and any-IP recipes) keeps the packet in a stack that is not its end."""
    if fatal.kind not in ("deliver", "hook") or fatal.direction != "forward" or is_loopback(trip.flow.destination):
        return None
    route = next(
        (
            step
            for step in reversed(trip.forward.steps)
            if step.kind == "route"
            and step.outcome == "pass"
            and step.namespace == fatal.namespace
            and step.facts.get("type") == "local"
        ),
        None,
    )
    if route is None:
        return _local_route(view, trip, fatal)
    if view.local_addresses(route.namespace, route.facts["destination"]):
        return None
    return _captured(view, route)


def _local_route(view: View, trip: RoundTrip, fatal: Step) -> Step | None:
    """The same for a packet that came in: its input route is looked up again."""
    entry = _entry_to(trip, fatal.namespace)
    destination = fatal.facts.get("address") or fatal.facts.get("destination", "")
    if entry is None or not destination or view.local_addresses(fatal.namespace, destination):
        return None
    mark = next(
        (
            int(s.facts["mark"])
            for s in reversed(trip.forward.steps)
            if s.namespace == fatal.namespace and "mark" in s.facts
        ),
        0,
    )
    for value in (mark, *_marks(view, fatal.namespace)):
        found = lookup(
            view, fatal.namespace, Query(trip.flow.family, _source_of(entry), destination, value, entry.device)
        )
        if found.type == "local" and found.route is not None:
            facts = {
                "destination": destination,
                "route": route_text(view, fatal.namespace, found.route),
                "table": str(found.route.table),
            }
            if found.rule is not None:
                facts["rule_text"] = rule_text(found.rule)
            because = (Because(kind="route", namespace=fatal.namespace, text=facts["route"]),)
            return _captured(view, replace(entry, facts=facts, because=because))
    return None


def _marks(view: View, key: NamespaceId) -> list[int]:
    return [rule.fwmark for rule in view.rules(key) if rule.fwmark]


def _captured(view: View, step: Step) -> Step:
    name = view.name(step.namespace)
    return replace(
        step,
        kind="route",
        outcome="block",
        cause="local-route-captures",
        summary=f"{name} keeps packets to {step.facts['destination']} for itself by the route {step.facts['route']}, and nothing there takes them",
    )


def dead_device(view: View, trip: RoundTrip, fatal: Step) -> Step | None:
    """The route leads into a tunnel that nobody serves any more."""
    if fatal.cause != "carrier-missing" or fatal.facts.get("kind") not in ("tun", "wireguard", "dummy", "ifb"):
        return None
    journey = trip.forward.steps if fatal.direction == "forward" else trip.reply.steps if trip.reply else ()
    route = next(
        (s for s in reversed(journey) if s.kind == "route" and s.outcome == "pass" and s.namespace == fatal.namespace),
        None,
    )
    if route is None or not route.facts.get("route"):
        return None
    return replace(
        route,
        outcome="block",
        cause="route-to-dead-device",
        device=fatal.device,
        summary=f"{view.name(fatal.namespace)} sends it by {route.facts['route']}, and {fatal.summary}",
        because=(*route.because, *fatal.because),
    )


def misrouted_reply(view: View, trip: RoundTrip, fatal: Step, beyond: frozenset[NamespaceId]) -> Step | None:
    """A stack of the forward way sends the answer by another interface than the request came in by, and it is lost."""
    if fatal.direction != "reply" or trip.reply is None:
        return None
    entries: dict[NamespaceId, str] = {}
    for step in trip.forward.steps:
        if step.kind == "device" and step.outcome == "pass" and step.namespace not in beyond:
            entries.setdefault(step.namespace, step.device)
    for step in trip.reply.steps:
        came_by = entries.get(step.namespace)
        if step.kind != "route" or came_by in (None, "lo") or step.namespace == trip.flow.namespace:
            continue
        gone_by = step.facts.get("device", "")
        if step.outcome == "pass" and gone_by == came_by:
            continue
        if step.cause == "route-refuses":
            return None
        if step.outcome == "pass" and step.facts.get("type") == "local":
            continue
        if step.facts.get("destination") != _asker(trip, step):
            continue
        return _return_step(view, trip, step, came_by or "")
    return None


def _asker(trip: RoundTrip, step: Step) -> str:
    """The source of the request as it entered this step's namespace."""
    for one in trip.forward.steps:
        if one.kind == "device" and one.outcome == "pass" and one.namespace == step.namespace:
            return _source_of(one)
    return ""


def _return_step(view: View, trip: RoundTrip, step: Step, came_by: str) -> Step:
    """Why this stack has no way back: its address there covers too little, a better route captures it, or none is there."""
    key, asker = step.namespace, step.facts["destination"]
    name = view.name(key)
    link = view.link(key, came_by)
    own = _global_addresses(view, key, link, trip.flow.family) if link else []
    gone = step.facts.get("device", "")
    gone_text = f"goes by {gone} ({step.facts.get('route', '')})" if gone else step.summary.split(": ")[-1]
    facts = {**step.facts, "link": came_by, "asker": asker, "gone_by": gone, "family": str(trip.flow.family)}
    narrow = _narrow(own, asker) if _directly_attached(view, key, link, asker) else None
    if narrow is not None:
        text = f"{narrow.local}/{narrow.prefix_length}"
        return replace(
            step, kind="address-owner", outcome="block", cause="address-prefix-narrow", device=came_by,
            summary=f"{came_by} in {name} has {text}, whose prefix does not cover {asker}: the way back {gone_text}",
            because=(Because(kind="address", namespace=key, text=f"inet {text} dev {came_by}"), *step.because),
            facts={**facts, "address": text, "local": narrow.local, "length": str(narrow.prefix_length)},
        )  # fmt: skip
    gateway = _askers_gateway(view, asker) if own and _directly_attached(view, key, link, asker) else None
    if gateway is not None and not view.local_addresses(key, gateway[0]):
        return replace(
            step,
            kind="address-owner",
            outcome="block",
            cause="gateway-address-missing",
            device=came_by,
            summary=f"{came_by} in {name} does not have {gateway[0]}, the gateway of {asker}, but {own[0].local}/{own[0].prefix_length}: "
            f"the way back {gone_text}",
            because=(
                Because(
                    kind="address", namespace=key, text=f"inet {own[0].local}/{own[0].prefix_length} dev {came_by}"
                ),
                *step.because,
            ),
            facts={**facts, "gateway": gateway[0], "length": str(gateway[1])},
        )
    captured = bool(gone) and not step.facts.get("prefix", "").endswith("/0")
    alone = _has_single_address(view, asker)
    if not own and not alone and _directly_attached(view, key, link, asker) and not captured:
        return replace(
            step, kind="address-owner", outcome="block", cause="gateway-address-missing", device=came_by,
            summary=f"{came_by} in {name} has no address, so {name} has no route back to {asker}: it {gone_text}",
            because=(Because(kind="link", namespace=key, text=link_text(link)) if link else step.because[0], *step.because), facts={name: value for name, value in facts.items() if name != "gateway"},
        )  # fmt: skip
    cause = "return-route-captured" if captured else "return-route-missing"
    text = (
        f"{name} sends the answers for {asker} away by {gone} ({step.facts.get('route', '')}), not back by {came_by}"
        if captured
        else f"{name} has no route back to {asker} by {came_by}: it {gone_text}"
    )
    return replace(step, outcome="block", cause=cause, summary=text, device=came_by, facts=facts)


def _has_single_address(view: View, asker: str) -> bool:
    """True for a container with a /32 (/128): its host has a route to it and no subnet."""
    for namespace in view.snapshot.namespaces.values():
        for one in () if isinstance(namespace.addresses, Unknown) else namespace.addresses:
            if one.local == asker:
                return one.prefix_length == (32 if one.family == 4 else 128)
    return False


def _askers_gateway(view: View, asker: str) -> tuple[str, int] | None:
    """The on-link gateway of the stack that has this address, with its prefix length."""
    for key, namespace in view.snapshot.namespaces.items():
        if (
            isinstance(namespace.addresses, Unknown)
            or isinstance(namespace.routes, Unknown)
            or key == view.snapshot.host
        ):
            continue
        mine = next((one for one in namespace.addresses if one.local == asker), None)
        for route in namespace.routes if mine else ():
            for hop in route.next_hops:
                if mine and hop.gateway and contains(network_of(mine.local, mine.prefix_length), hop.gateway):
                    return hop.gateway, mine.prefix_length
    return None


def _narrow(own: list[Address], asker: str) -> Address | None:
    """An address that should have made the route back and whose prefix is too long for it."""
    if not own or any(contains(network_of(one.local, one.prefix_length), asker) or one.peer for one in own):
        return None
    near = [one for one in own if contains(network_of(one.local, 16 if one.family == 4 else 48), asker)]
    return near[0] if near else None


def _directly_attached(view: View, key: NamespaceId, link: Link | None, asker: str) -> bool:
    """True when the stack that has the asker's address is on the link itself, not behind a router."""
    if link is None:
        return False
    spread = Spread(view, Trail(), Frame(link.mac, "ff:ff:ff:ff:ff:ff"))
    for end in spread.ends(key, link):
        if end.namespace != key and any(
            one.local == asker and one.index == end.link.index for one in view.addresses(end.namespace)
        ):
            return True
    return False


def lost_table(view: View, trip: RoundTrip, fatal: Step, beyond: frozenset[NamespaceId]) -> Step | None:
    """The packet was meant for a routing table of its own, found no route there, and died where main sent it."""
    if fatal.namespace not in beyond:
        return None
    for step in trip.forward.steps:
        if step.kind == "route" and step.namespace not in beyond and step.facts.get("fell_through"):
            table = step.facts["fell_through_table"]
            name = view.name(step.namespace)
            return replace(
                step, outcome="block", cause="policy-table-without-route",
                summary=f"table {table} in {name} has no route to {step.facts['destination']}: the packet that rule "
                f"{step.facts['fell_through']} sends there falls through to {step.facts.get('route', 'main')}",
                facts={**step.facts, "table": table},
            )  # fmt: skip
    return None


def uplink_names(view: View, key: NamespaceId) -> set[str]:
    """The interfaces of a namespace's default routes."""
    return {
        view.device_name(key, hop.index)
        for route in view.routes(key)
        if route.destination in ("0.0.0.0/0", "::/0") and route.type == "unicast"
        for hop in route.next_hops
        if hop.gateway
    }


def unowned_next_hop(view: View, trip: RoundTrip, fatal: Step) -> Step | None:
    """Nobody has the next hop: the gateway's address is missing over there, or the route names a wrong gateway."""
    if fatal.cause != "next-hop-unowned":
        return None
    key, link = fatal.namespace, view.link(fatal.namespace, fatal.facts["link"])
    gateway, next_hop = fatal.facts.get("gateway", ""), fatal.facts["next_hop"]
    if link is None:
        return None
    family = 6 if ":" in next_hop else 4
    others = _stacks_on(view, key, link)
    isolated = _macvlan_isolation(view, fatal, key, link, next_hop)
    if isolated is not None:
        return isolated
    if gateway:
        return _dead_gateway(view, fatal, key, link, gateway, others, family)
    wide = _too_wide(view, key, link, next_hop, others)
    if wide is not None:
        mine, length = wide
        text = f"{mine.local}/{mine.prefix_length}"
        return replace(
            fatal,
            kind="address-owner",
            cause="address-prefix-wide",
            summary=f"{link.name} in {view.name(key)} has {text}, so {next_hop} looks like a neighbour, and nobody there has it: "
            f"the link's network is a /{length}",
            because=(*fatal.because, Because(kind="address", namespace=key, text=f"inet {text} dev {link.name}")),
            facts={**fatal.facts, "address": text, "local": mine.local, "length": str(length), "family": str(family)},
        )
    owner = _owner_elsewhere(view, next_hop)
    route = fatal.facts.get("route", "")
    if route.startswith("default") or (owner is None and _outside_own_subnets(view, key, link, next_hop)):
        return replace(
            fatal, kind="route", cause="route-on-link-wrong",
            summary=f"{view.name(key)} takes {next_hop} for a neighbour on {link.name} ({route}), and nobody there has it",
            because=(*fatal.because, Because(kind="route", namespace=key, text=route)),
        )  # fmt: skip
    if key == view.snapshot.host and link.name in uplink_names(view, key):
        return replace(
            fatal,
            kind="upstream",
            namespace="upstream",
            cause="destination-silent",
            summary=f"nobody on the uplink {link.name} of {view.name(key)} has the address {next_hop}",
            facts={**fatal.facts, "object": f"upstream: {next_hop}"},
        )
    return replace(
        fatal,
        cause="destination-unowned",
        summary=f"nobody on {link.name} of {view.name(key)} has the address {next_hop}",
    )


def _macvlan_isolation(view: View, fatal: Step, key: NamespaceId, link: Link, address: str) -> Step | None:
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
    owner = _owner_elsewhere(view, address)
    for other in view.links(owner) if owner else ():
        if (
            other.kind == "macvlan"
            and other.lower == lower.index
            and "bridge" not in (link.macvlan_mode and other.macvlan_mode)
        ):
            text = (
                f"{link.name} ({link.macvlan_mode}) and {other.name} in {view.name(owner or '')} ({other.macvlan_mode}) stand on {lower.name}: "
                "macvlans only talk to each other in mode bridge"
            )
            return replace(
                fatal, kind="carrier", cause="macvlan-mode", summary=text, facts={**fatal.facts, "kind": "macvlan"}
            )
    return None


def _too_wide(
    view: View, key: NamespaceId, link: Link, next_hop: str, others: list[tuple[NamespaceId, Link]]
) -> tuple[Address, int] | None:
    """The address whose short prefix makes the next hop look on-link, and the length that the link's router has."""
    mine = next(
        (
            one
            for one in view.addresses(key)
            if one.index == link.index and contains(network_of(one.local, one.prefix_length), next_hop)
        ),
        None,
    )
    for there, other in others if mine is not None else ():
        for one in _global_addresses(view, there, other, mine.family if mine else 4):
            network = network_of(one.local, one.prefix_length)
            if (
                mine
                and one.prefix_length > mine.prefix_length
                and contains(network, mine.local)
                and not contains(network, next_hop)
            ):
                return mine, one.prefix_length
    return None


def _dead_gateway(
    view: View,
    fatal: Step,
    key: NamespaceId,
    link: Link,
    gateway: str,
    others: list[tuple[NamespaceId, Link]],
    family: int,
) -> Step:
    """Whose fault a silent gateway is: a stack over there without an address should have it, else the route is wrong."""
    route = fatal.facts.get("route", "")
    because = (*fatal.because, Because(kind="route", namespace=key, text=route))
    own = [one for one in view.addresses(key) if one.index == link.index and one.family == family]
    routers = [(there, other) for there, other in others if _is_router_side(view, there, other)]
    addressed = [
        one.local
        for there, other in routers
        for one in view.addresses(there)
        if one.index == other.index and one.family == family and one.scope == "global"
        and any(contains(network_of(mine.local, mine.prefix_length), one.local) for mine in own)
    ]  # fmt: skip
    expected = any(contains(network_of(mine.local, mine.prefix_length), gateway) for mine in own)
    expected = expected and not _other_way_out(view, key, link, family)
    if routers and not addressed and expected and not _specific(fatal) and key != view.snapshot.host:
        there, other = routers[0]
        mine = next(one for one in own if contains(network_of(one.local, one.prefix_length), gateway))
        return replace(
            fatal, kind="address-owner", namespace=there, device=other.name, cause="gateway-address-missing", because=because,
            summary=f"{other.name} in {view.name(there)} does not have the address {gateway}, which {view.name(key)} uses as its gateway: nobody has it",
            facts={**fatal.facts, "link": other.name, "gateway": gateway, "length": str(mine.prefix_length), "asker": mine.local,
                   "family": str(family)},
        )  # fmt: skip
    return replace(
        fatal, kind="route", cause="gateway-dead", because=because,
        summary=f"{view.name(key)} sends it via {gateway} ({route}), an address that nobody on {link.name} has",
        facts={**fatal.facts, "candidates": " ".join(dict.fromkeys(addressed)), "gateway": gateway, "family": str(family)},
    )  # fmt: skip


def _other_way_out(view: View, key: NamespaceId, link: Link, family: int) -> bool:
    """True when another interface of the namespace leads to a router that has an address in its subnet."""
    for other in view.links(key):
        if other.index == link.index or other.kind != "veth" or not other.up:
            continue
        mine = _global_addresses(view, key, other, family)
        for there, end in _stacks_on(view, key, other) if mine else ():
            if _is_router_side(view, there, end) and any(
                _share(own, one) for own in mine for one in _global_addresses(view, there, end, family)
            ):
                return True
    return False


def _specific(fatal: Step) -> bool:
    return not fatal.facts.get("prefix", "/0").endswith("/0")


def _stacks_on(view: View, key: NamespaceId, link: Link) -> list[tuple[NamespaceId, Link]]:
    """The stacks that a broadcast from this interface gets to."""
    spread = Spread(view, Trail(), Frame(link.mac, "ff:ff:ff:ff:ff:ff"))
    return [
        (end.namespace, end.link)
        for end in spread.ends(key, link)
        if (end.namespace, end.link.index) != (key, link.index)
    ]


def _is_router_side(view: View, there: NamespaceId, other: Link) -> bool:
    """A stack that forwards (or is the host's): it could be the gateway."""
    return there == view.snapshot.host or view.number(there, "net/ipv4/ip_forward") == 1 or other.kind == "bridge"


def _outside_own_subnets(view: View, key: NamespaceId, link: Link, address: str) -> bool:
    return not any(
        contains(network_of(one.local, one.prefix_length), address)
        for one in view.addresses(key)
        if one.index == link.index and one.family == (6 if ":" in address else 4)
    )


def _owner_elsewhere(view: View, address: str) -> NamespaceId | None:
    for key, namespace in view.snapshot.namespaces.items():
        if not isinstance(namespace.addresses, Unknown) and any(one.local == address for one in namespace.addresses):
            return key
    return None


def routeless(view: View, fatal: Step) -> Step | None:
    """No route: because the interface is gone, down or without address; or only the route is."""
    if fatal.cause != "route-missing":
        return None
    key = fatal.namespace
    family = 6 if ":" in fatal.facts["destination"] else 4
    outward = [link for link in view.links(key) if not link.loopback and link.kind not in ALWAYS_DOWN_KINDS]
    for link in outward:
        if link.kind == "veth" and link.up:
            view.peer(key, link)
    if not outward:
        return replace(
            fatal, kind="device", cause="interface-missing", summary=f"{view.name(key)} has no network interface besides lo",
            because=tuple(Because(kind="link", namespace=key, text=link_text(link)) for link in view.links(key)), facts={**fatal.facts},
        )  # fmt: skip
    outward = _uplink_candidates(view, key, outward) if key == view.snapshot.host else outward
    outward = [link for link in outward if link.name != fatal.facts.get("in_device")] or outward
    down = [link for link in outward if not link.up]
    addressed = {
        one.index
        for one in view.addresses(key)
        if one.family == family and not (family == 6 and one.local.startswith("fe80"))
    }
    if down and not any(link.up and link.index in addressed for link in outward):
        return replace(
            fatal, kind="device", cause="link-down", device=down[0].name,
            summary=f"interface {down[0].name} in {view.name(key)} is down, and its routes are gone with it",
            because=(Because(kind="link", namespace=key, text=link_text(down[0])),),
            facts={**fatal.facts, "link": down[0].name, "kind": down[0].kind},
        )  # fmt: skip
    if outward and not any(link.index in addressed for link in outward):
        return _addressless(view, fatal, key, outward[0], family)
    single = _single_address(view, key, outward, family)
    if single is not None:
        return _too_narrow(view, fatal, key, *single)
    default = any(route.destination in ("0.0.0.0/0", "::/0") and route.family == family for route in view.routes(key))
    cause = "route-missing" if default else "default-route-missing"
    skipped = fatal.facts.get("skipped", "")
    text = (
        f": the route there is ({skipped}) is not usable"
        if skipped
        else ", and no default route"
        if not default
        else ""
    )
    main_unused = not any(rule.family == family and rule.table == 254 for rule in view.rules(key))
    if main_unused:
        cause, text = "main-table-unused", ": no policy rule looks into table main"
    kind = "IPv6 route" if family == 6 else "route"
    return replace(
        fatal, cause=cause, summary=f"{view.name(key)} has no {kind} to {fatal.facts['destination']}{text}",
        facts={**fatal.facts, "family": str(family), "link": outward[0].name if outward else ""},
    )  # fmt: skip


def _single_address(
    view: View, key: NamespaceId, links: list[Link], family: int
) -> tuple[Link, Address, Address] | None:
    """A /32 (or /128) whose link's router has a whole network around it, and no route that would make up for it."""
    if key == view.snapshot.host or any(
        route.family == family
        and route.next_hops
        and route.table == 254
        and not route.destination.startswith("fe80")
        and route.type == "unicast"
        for route in view.routes(key)
    ):
        return None
    for link in links:
        for mine in _global_addresses(view, key, link, family):
            if mine.prefix_length != (32 if family == 4 else 128) or mine.peer:
                continue
            for there, other in _stacks_on(view, key, link) if link.up else ():
                for one in _global_addresses(view, there, other, family):
                    if one.prefix_length < mine.prefix_length and contains(
                        network_of(one.local, one.prefix_length), mine.local
                    ):
                        return link, mine, one
    return None


def _too_narrow(view: View, fatal: Step, key: NamespaceId, link: Link, mine: Address, other: Address) -> Step:
    text = f"{mine.local}/{mine.prefix_length}"
    return replace(
        fatal,
        kind="address-owner",
        cause="address-prefix-narrow",
        device=link.name,
        summary=f"{link.name} in {view.name(key)} has {text}: no neighbour is on-link for it, and it has no route to a gateway",
        because=(Because(kind="address", namespace=key, text=f"inet {text} dev {link.name}"),),
        facts={
            **fatal.facts,
            "link": link.name,
            "address": text,
            "local": mine.local,
            "length": str(other.prefix_length),
            "asker": other.local,
            "family": str(mine.family),
            "wanted_length": str(other.prefix_length),
        },
    )


def _addressless(view: View, fatal: Step, key: NamespaceId, link: Link, family: int) -> Step:
    """The interface is up and has no address of the family: switched off, or never given."""
    path = f"net/ipv6/conf/{link.name}/disable_ipv6"
    if family == 6 and view.conf(key, 6, link.name, "disable_ipv6"):
        return replace(
            fatal, kind="source-address", cause="ipv6-disabled", device=link.name,
            summary=f"IPv6 is switched off on {link.name} in {view.name(key)}: {path.replace('/', '.')} is 1",
            because=(Because(kind="sysctl", namespace=key, text=f"{path.replace('/', '.')} = 1"),),
            facts={**fatal.facts, "link": link.name, "sysctl": path, "wanted": "0", "family": "6"},
        )  # fmt: skip
    name = "IPv6" if family == 6 else "IPv4"
    small = f" (its MTU {link.mtu_bytes} is below IPv6's 1280)" if family == 6 and link.mtu_bytes < 1280 else ""
    return replace(
        fatal, kind="source-address", cause="address-missing", device=link.name,
        summary=f"{link.name} in {view.name(key)} has no {name} address{small}",
        because=(Because(kind="link", namespace=key, text=link_text(link)),),
        facts={**fatal.facts, "link": link.name, "family": str(family), "mtu": str(link.mtu_bytes)},
    )  # fmt: skip


def _uplink_candidates(view: View, key: NamespaceId, links: list[Link]) -> list[Link]:
    """The host's interfaces that may lead out: not bridges, not their ports, not the cables of containers we know."""
    found = []
    for link in links:
        if (
            link.kind == "bridge"
            or link.master
            or (link.kind in ("vxlan", "veth") and _leads_to_target(view, key, link))
        ):
            continue
        found.append(link)
    return found


def _leads_to_target(view: View, key: NamespaceId, link: Link) -> bool:
    if link.lower_namespace is None:
        return False
    return view.namespace(key).peers.get(str(link.lower_namespace)) == view.snapshot.target
