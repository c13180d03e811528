"""No route at all: because the interface is gone, down or without address, or because only the route is."""

from msgspec.structs import replace

from netdoctor.model.journey import Because, Step
from netdoctor.model.network import Address, Link
from netdoctor.model.snapshot import NamespaceId, Need
from netdoctor.model.unknown import UNREAD, Unknown
from netdoctor.walk.addressing import contains, network_of
from netdoctor.walk.blame.grounds import global_addresses, stacks_on
from netdoctor.walk.layer2 import link_text
from netdoctor.walk.view import View

FEW_FLOWS = 5000
ALWAYS_DOWN_KINDS = ("ifb", "dummy", "tun", "sit", "gre", "ipip", "tunl", "ip6tnl", "erspan")


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
        for mine in global_addresses(view, key, link, family):
            if mine.prefix_length != (32 if family == 4 else 128) or mine.peer:
                continue
            for there, other in stacks_on(view, key, link) if link.up else ():
                for one in global_addresses(view, there, other, family):
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
    _look_for_its_flows(view, key, link)
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


def _look_for_its_flows(view: View, key: NamespaceId, link: Link) -> None:
    """Asks for the flows that the other end's conntrack remembers: they tell which address the interface had.

    Raises Lacking. A long table is left alone: it costs more than it tells.
    """
    found = view.peer(key, link) if link.kind == "veth" and key != view.snapshot.host else None
    if not isinstance(found, tuple):
        return
    there = view.namespace(found[0])
    table, unread = there.conntrack, there.conntrack_entries == UNREAD and not view.snapshot.complete
    if unread and not isinstance(table, Unknown) and table.count <= FEW_FLOWS:
        view.lack(Need(namespace=found[0], subject="conntrack"))


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
