"""Which source address the kernel gives a packet of its own (inet_select_addr, ipv6_dev_get_saddr; RFC 6724)."""

from collections.abc import Callable

from netdoctor.model.network import Address, Link, Route
from netdoctor.model.snapshot import NamespaceId
from netdoctor.walk.addressing import PREFIX_BITS, common_bits, contains, is_multicast, number
from netdoctor.walk.view import CannotTell, View

SCOPES = {"global": 0, "site": 200, "link": 253, "host": 254, "nowhere": 255}
LINK_SCOPE, GLOBAL_SCOPE = 2, 14
LABELS = (
    ("::1/128", 0), ("::/96", 3), ("::ffff:0:0/96", 4), ("2001:10::/28", 7), ("2001::/32", 6), ("2002::/16", 2),
    ("3ffe::/16", 12), ("fec0::/10", 11), ("fc00::/7", 5), ("::/0", 1),
)  # fmt: skip
"""ip6addrlbl_init_table: what a namespace's policy table holds when nobody changed it, the longest prefix first."""


def select_source(
    view: View, key: NamespaceId, family: int, device: int, towards: str, route: Route | None, scope: str = "global"
) -> str:
    """The route's own preferred source, else an address chosen for the device; "" when the namespace has none.

    towards: the gateway (IPv4) or the destination (IPv6). scope: what an IPv4 address must reach without a route.
    """
    if family == 6 and route and route.next_hop_id:
        return _by_object6(view, key, device, towards)
    if route and route.preferred_source:
        return route.preferred_source
    if family == 6:
        return _select6(view, key, device, towards)
    return _chosen4(view, key, device, towards if ":" not in towards else "", route, scope)


def _chosen4(view: View, key: NamespaceId, device: int, towards: str, route: Route | None, scope: str) -> str:
    """inet_select_addr. Raises CannotTell where the next hop remembers what was chosen under other circumstances.

    A next-hop object chose by a scope of its own (nh_create_ipv4); host addresses count while route_localnet is on.
    """
    limit = SCOPES.get(route.scope if route else scope, 0)
    found = _select4(view, key, device, towards, limit)
    others = {found}
    if route and route.next_hop_id:
        gateway = any(hop.index == device and hop.gateway for hop in route.next_hops)
        others.add(_select4(view, key, device, towards, SCOPES["link"] - gateway))
    if device and view.conf_or(key, view.device_name(key, device), "route_localnet"):
        local = _select4(view, key, device, towards, limit, SCOPES["link"])
        others, found = ({*others, local}, found) if route else ({local}, local)
    if len(others) > 1:
        where = f"from {view.device_name(key, device)}"
        raise CannotTell(f"which source address goes {where}: {' or '.join(sorted(others))} hangs on the past", key)
    return found


def _select4(view: View, key: NamespaceId, device: int, towards: str, limit: int, ceiling: int = 254) -> str:
    """The device's address on the gateway's subnet, its first one, else any device's; by scope, host at most `ceiling`."""
    owned = [one for one in view.addresses(key) if one.family == 4 and "secondary" not in one.flags]
    here = [one for one in owned if one.index == device and min(SCOPES.get(one.scope, 0), ceiling) <= limit]
    near = next((one for one in here if towards and _on_link(one, towards)), None)
    if near or here:
        return (near or here[0]).local
    elsewhere = (one for one in owned if one.scope != "link" and SCOPES.get(one.scope, 0) <= limit)
    return next((one.local for one in elsewhere), "")


def _on_link(one: Address, address: str) -> bool:
    anchor = one.peer or one.local
    bits = PREFIX_BITS[one.family] - one.prefix_length
    return number(anchor) >> bits == number(address) >> bits


def _by_object6(view: View, key: NamespaceId, device: int, towards: str) -> str:
    """By a next-hop object: routes that share one share its cache, and whichever filled it tells the source.

    Of a group the first member's device counts, whichever is chosen (fib6_info_nh_dev). Raises CannotTell.
    """
    sharing = [
        one
        for one in view.routes(key)
        if one.family == 6 and one.next_hop_id and any(hop.index == device for hop in one.next_hops)
    ]
    found = {one.preferred_source or _select6(view, key, one.next_hops[0].index, towards) for one in sharing}
    if len(found) > 1:
        which = " or ".join(sorted(found))
        raise CannotTell(f"which source address goes with a shared next-hop object: {which}", key)
    return found.pop() if found else _select6(view, key, device, towards)


def _select6(view: View, key: NamespaceId, device: int, towards: str) -> str:
    """The highest by RFC 6724's rules in order; of equals the first in the kernel's list."""
    link = view.link(key, device) if device else None
    here_only = is_multicast(towards) or _scope(towards) <= LINK_SCOPE
    if link is not None and view.conf(key, 6, link.name, "use_oif_addrs_only"):
        here_only = True
    candidates = [
        one
        for one in view.addresses(key)
        if one.family == 6
        and (one.index == device or not (here_only and device))
        and ("tentative" not in one.flags or "optimistic" in one.flags)
    ]
    for rule in _rules(view, key, link, towards):
        if len(candidates) < 2:
            break
        marks = [rule(one) for one in candidates]
        candidates = [one for one, mark in zip(candidates, marks, strict=True) if mark == max(marks)]
    return candidates[0].local if candidates else ""


def _rules(view: View, key: NamespaceId, link: Link | None, towards: str) -> tuple[Callable[[Address], int], ...]:
    """ipv6_get_saddr_eval: itself, scope, preferred, device, label, privacy, ORCHID, prefix, not optimistic; more is better."""
    wanted = _scope(towards)
    device = link.index if link else 0
    label = _label(view, key, towards, device)
    orchid = contains("2001:10::/28", towards)

    def own(one: Address) -> str:
        return view.device_name(key, one.index)

    return (
        lambda one: one.local == towards,
        lambda one: -_scope(one.local) if _scope(one.local) >= wanted else _scope(one.local) - 128,
        lambda one: not _avoided(view, key, one, own(one)),
        lambda one: not device or one.index == device,
        lambda one: _label(view, key, one.local, one.index) == label,
        lambda one: ("temporary" in one.flags) == (view.conf(key, 6, own(one), "use_tempaddr") >= 2),
        lambda one: contains("2001:10::/28", one.local) == orchid,
        lambda one: min(common_bits(one.local, towards), one.prefix_length) if towards else 0,
        lambda one: "optimistic" not in one.flags,
    )


def _avoided(view: View, key: NamespaceId, one: Address, own: str) -> bool:
    """Deprecated, or optimistic where those are not to be used; loopback and mapped addresses never are."""
    if contains("::/96", one.local) or contains("::ffff:0:0/96", one.local):
        return False
    if "deprecated" in one.flags:
        return True
    if "optimistic" not in one.flags:
        return False
    return not (view.conf(key, 6, "all", "use_optimistic") or view.conf(key, 6, own, "use_optimistic"))


def _scope(address: str) -> int:
    """__ipv6_addr_src_scope; ::1 is link-local by RFC 6724."""
    value = number(address) if address else 0
    if value >> 120 == 0xFF:
        return value >> 112 & 0xF
    if value >> 118 == 0x3FA or value == 1:
        return LINK_SCOPE
    return 5 if value >> 118 == 0x3FB else GLOBAL_SCOPE


def _label(view: View, key: NamespaceId, address: str, index: int) -> int:
    """The address's label by the namespace's policy table (ipv6_addr_label)."""
    for one in view.labels(key):
        if one.index in (0, index) and contains(one.prefix, address or "::"):
            return one.label
    return next((label for prefix, label in LABELS if contains(prefix, address or "::")), 0)
