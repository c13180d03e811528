"""Faults of links and addresses that show as missing routes or silent gateways, and answers that take the wrong way."""

from msgspec.structs import replace

from netdoctor.model.journey import Because, RoundTrip, Step
from netdoctor.model.network import Address, Link
from netdoctor.model.snapshot import NamespaceId
from netdoctor.model.unknown import Unknown
from netdoctor.walk.addressing import contains, network_of
from netdoctor.walk.layer2 import Frame, Spread, link_text
from netdoctor.walk.trail import Trail
from netdoctor.walk.view import View

ALWAYS_DOWN_KINDS = ("ifb", "dummy", "tun", "sit", "gre", "ipip", "tunl", "ip6tnl", "erspan")


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
            source = one.packet.split(" -> ")[0]
            return (
                source[1:].split("]")[0]
                if source.startswith("[")
                else source.split(":")[0]
                if source.count(":") == 1
                else source
            )
    return ""


def _return_step(view: View, trip: RoundTrip, step: Step, came_by: str) -> Step:
    """Why this stack has no way back: its address there covers too little, a better route captures it, or none is there."""
    key, asker = step.namespace, step.facts["destination"]
    name = view.name(key)
    link = view.link(key, came_by)
    own = [one for one in view.addresses(key) if link and one.index == link.index and one.family == trip.flow.family]
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
    captured = bool(gone) and not step.facts.get("prefix", "").endswith("/0")
    if not own and _directly_attached(view, key, link, asker) and not captured:
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
    if gateway:
        return _dead_gateway(view, fatal, key, link, gateway, others, family)
    owner = _owner_elsewhere(view, next_hop)
    route = fatal.facts.get("route", "")
    if route.startswith("default") or (owner is None and _outside_own_subnets(view, key, link, next_hop)):
        return replace(
            fatal, kind="route", cause="route-on-link-wrong",
            summary=f"{view.name(key)} takes {next_hop} for a neighbour on {link.name} ({route}), and nobody there has it",
            because=(*fatal.because, Because(kind="route", namespace=key, text=route)),
        )  # fmt: skip
    return replace(
        fatal,
        cause="destination-unowned",
        summary=f"nobody on {link.name} of {view.name(key)} has the address {next_hop}",
    )


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
