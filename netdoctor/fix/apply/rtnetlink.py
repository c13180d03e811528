"""Links, addresses, routes, policy rules, neighbours and bridges, written through pyroute2."""

import errno
import os
import socket
from typing import TYPE_CHECKING, Any, assert_never

from netdoctor.model.change import (
    AddAddress,
    AddFdbEntry,
    AddPolicyRule,
    AddRoute,
    DeleteAddress,
    DeleteFdbEntry,
    DeleteNeighbour,
    DeletePolicyRule,
    DeleteRoute,
    SetBridge,
    SetBridgePort,
    SetLink,
    SetNeighbour,
)
from netdoctor.model.network import Address, FdbEntry, Neighbour, NextHop, PolicyRule, Route
from netdoctor.observe.addresses import FLAGS as ADDRESS_FLAGS
from netdoctor.observe.neighbours import NTF_EXT_LEARNED, NTF_MASTER, NTF_PROXY, NTF_ROUTER, NTF_SELF, NTF_STICKY
from netdoctor.observe.routes import PREFERENCES, PROTOCOLS, RULE_ACTIONS, SCOPES, TYPES

if TYPE_CHECKING:
    from pyroute2 import IPRoute

Edit = (
    SetLink
    | SetBridgePort
    | SetBridge
    | AddAddress
    | DeleteAddress
    | AddRoute
    | DeleteRoute
    | AddPolicyRule
    | DeletePolicyRule
    | SetNeighbour
    | DeleteNeighbour
    | AddFdbEntry
    | DeleteFdbEntry
)
IFF_NOARP, RTNH_F_ONLINK, FIB_RULE_INVERT = 0x80, 4, 2
STATES = {"permanent": 0x80, "noarp": 0x40, "static": 0x40, "reachable": 0x02, "stale": 0x04, "failed": 0x20, "none": 0}
GIVEN_ADDRESS_FLAGS = ("nodad", "optimistic", "homeaddress", "mngtmpaddr", "noprefixroute")
FR_ACT_TO_TBL, FR_ACT_GOTO = 1, 2
PORT_ATTRIBUTES = {
    "state": "IFLA_BRPORT_STATE",
    "hairpin": "IFLA_BRPORT_MODE",
    "learning": "IFLA_BRPORT_LEARNING",
    "flood": "IFLA_BRPORT_UNICAST_FLOOD",
    "mcast_flood": "IFLA_BRPORT_MCAST_FLOOD",
    "bcast_flood": "IFLA_BRPORT_BCAST_FLOOD",
    "isolated": "IFLA_BRPORT_ISOLATED",
    "locked": "IFLA_BRPORT_LOCKED",
    "neigh_suppress": "IFLA_BRPORT_NEIGH_SUPPRESS",
    "proxy_arp": "IFLA_BRPORT_PROXYARP",
}


def write_route_netlink(change: Edit) -> None:
    """Writes the edit in the calling thread's namespace. Raises OSError with the kernel's errno."""
    from pyroute2 import IPRoute
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        with IPRoute() as ip:
            _write(ip, change)
    except NetlinkError as error:
        raise OSError(error.code, os.strerror(error.code)) from error


def _write(ip: "IPRoute", change: Edit) -> None:
    match change:
        case AddRoute(route=route):
            ip.route("add", **_route(route))
        case DeleteRoute(route=route):
            ip.route("del", **_route(route))
        case AddPolicyRule(rule=rule):
            ip.rule("add", **_policy_rule(rule))
        case DeletePolicyRule(rule=rule):
            ip.rule("del", **_policy_rule(rule))
        case _:
            _write_on_link(ip, change, _index(ip, change.link))


def _index(ip: "IPRoute", name: str) -> int:
    found = ip.link_lookup(ifname=name)
    if not found:
        raise OSError(errno.ENODEV, f"{name}: no such interface")
    return int(found[0])


OnLink = (
    SetLink
    | SetBridgePort
    | SetBridge
    | AddAddress
    | DeleteAddress
    | SetNeighbour
    | DeleteNeighbour
    | AddFdbEntry
    | DeleteFdbEntry
)


def _write_on_link(ip: "IPRoute", change: OnLink, index: int) -> None:
    match change:
        case SetLink():
            _link(ip, change, index)
        case SetBridgePort(option=option, value=value):
            ip.brport("set", index=index, **{PORT_ATTRIBUTES[option]: value})
        case SetBridge(option=option, value=value):
            ip.link("set", index=index, kind="bridge", **{f"br_{option}": value})
        case AddAddress(address=address):
            ip.addr("add", index=index, **_address(address))
        case DeleteAddress(address=address):
            ip.addr("del", index=index, **_address(address, bare=True))
        case SetNeighbour(neighbour=entry):
            ip.neigh("replace", ifindex=index, **_neighbour(entry))
        case DeleteNeighbour(neighbour=entry):
            ip.neigh("del", ifindex=index, **_neighbour(entry))
        case AddFdbEntry(entry=entry):
            ip.fdb("append" if entry.destination else "add", ifindex=index, **_fdb(entry))
        case DeleteFdbEntry(entry=entry):
            ip.fdb("del", ifindex=index, **_fdb(entry))
        case _:
            assert_never(change)


def _link(ip: "IPRoute", change: SetLink, index: int) -> None:
    """MAC, MTU and master while the link is in its old state, then up or down."""
    if change.mac is not None:
        ip.link("set", index=index, address=change.mac)
    if change.mtu_bytes is not None:
        ip.link("set", index=index, mtu=change.mtu_bytes)
    if change.no_arp is not None:
        ip.link("set", index=index, flags=IFF_NOARP if change.no_arp else 0, change=IFF_NOARP)
    if change.master is not None:
        ip.link("set", index=index, master=_index(ip, change.master) if change.master else 0)
    if change.up is not None:
        ip.link("set", index=index, state="up" if change.up else "down")


def _number(names: dict[int, str], name: str) -> int:
    """A kernel number by its name; names the tables lack are numbers already."""
    return next((number for number, known in names.items() if known == name), -1) if not name.isdigit() else int(name)


def _family(family: int) -> int:
    return socket.AF_INET if family == 4 else socket.AF_INET6


def _address(address: Address, *, bare: bool = False) -> dict[str, Any]:
    """What RTM_NEWADDR takes; `bare`: what names an address for deletion."""
    found: dict[str, Any] = {
        "family": _family(address.family),
        "address": address.peer or address.local,
        "local": address.local,
        "prefixlen": address.prefix_length,
    }
    if address.family == 6 and not address.peer:
        del found["local"]
    if bare:
        return found
    flags = sum(bit for bit, name in ADDRESS_FLAGS if name in address.flags and name in GIVEN_ADDRESS_FLAGS)
    found["scope"] = _number(SCOPES, address.scope) if address.family == 4 else 0
    found |= {"flags": flags} if flags else {}
    found |= {"label": address.label} if address.label and address.family == 4 else {}
    found |= {"broadcast": address.broadcast} if address.broadcast else {}
    if address.valid_s is not None:
        found |= {"valid": address.valid_s, "preferred": address.preferred_s or 0}
    return found


def _route(route: Route) -> dict[str, Any]:
    found: dict[str, Any] = {
        "family": _family(route.family),
        "table": route.table,
        "type": _route_type(route),
        "proto": _number(PROTOCOLS, route.protocol),
        "scope": _number(SCOPES, route.scope),
        "priority": route.priority,
    }
    if route.destination not in ("0.0.0.0/0", "::/0"):
        found["dst"] = route.destination
    found |= {"src": route.source} if route.source else {}
    found |= {"tos": route.tos} if route.tos else {}
    found |= {"prefsrc": route.preferred_source} if route.preferred_source else {}
    metrics = {"mtu": route.mtu_bytes or None, "hoplimit": route.hop_limit or None}
    found |= {"metrics": metrics} if any(metrics.values()) else {}
    if route.family == 6 and route.preference not in ("", "medium"):
        found["pref"] = _number(PREFERENCES, route.preference)
    if route.next_hop_id:
        return found | {"nh_id": route.next_hop_id}
    return found | _next_hops(route)


def _route_type(route: Route) -> int:
    """A blackhole next-hop object makes a route print as blackhole; the route itself is unicast (fib_dump_info)."""
    if route.next_hop_id and route.type == "blackhole":
        return TYPES.index("unicast")
    return TYPES.index(route.type) if route.type in TYPES else int(route.type)


def _next_hops(route: Route) -> dict[str, Any]:
    if len(route.next_hops) == 1:
        hop = route.next_hops[0]
        return _hop(route, hop, "oif", {"flags": RTNH_F_ONLINK} if "onlink" in hop.flags else {})
    hops = [
        _hop(route, hop, "oif", {"hops": hop.weight - 1, "flags": RTNH_F_ONLINK if "onlink" in hop.flags else 0})
        for hop in route.next_hops
    ]
    return {"multipath": hops} if hops else {}


def _hop(route: Route, hop: NextHop, index_name: str, more: dict[str, Any]) -> dict[str, Any]:
    found = dict(more)
    found |= {index_name: hop.index} if hop.index else {}
    if hop.gateway and route.family == 4 and ":" in hop.gateway:
        found["via"] = {"family": socket.AF_INET6, "addr": hop.gateway}
    elif hop.gateway:
        found["gateway"] = hop.gateway
    return found


def _policy_rule(rule: PolicyRule) -> dict[str, Any]:
    found: dict[str, Any] = {
        "family": _family(rule.family),
        "priority": rule.priority,
        "action": _number(RULE_ACTIONS, rule.action) if rule.action != "lookup" else FR_ACT_TO_TBL,
        "table": rule.table,
        "flags": FIB_RULE_INVERT if rule.invert else 0,
    }
    for name, prefix in (("src", rule.source), ("dst", rule.destination)):
        if prefix:
            address, _, length = prefix.partition("/")
            found |= {name: address, f"{name}_len": int(length)}
    found |= {"goto": rule.goto} if rule.action == "goto" else {}
    found |= {"tos": rule.tos} if rule.tos else {}
    found |= {"iifname": rule.in_device} if rule.in_device else {}
    found |= {"oifname": rule.out_device} if rule.out_device else {}
    found |= {"fwmark": rule.fwmark, "fwmask": rule.fwmask} if rule.fwmark is not None else {}
    found |= {"ip_proto": rule.protocol} if rule.protocol else {}
    found |= {"sport_range": "{}:{}".format(*rule.source_ports)} if rule.source_ports else {}
    found |= {"dport_range": "{}:{}".format(*rule.destination_ports)} if rule.destination_ports else {}
    found |= {"uid_range": "{}:{}".format(*rule.uids)} if rule.uids else {}
    found |= {"l3mdev": 1} if rule.l3mdev else {}
    if rule.suppress_prefix_length is not None:
        found["suppress_prefixlen"] = rule.suppress_prefix_length
    if rule.suppress_group is not None:
        found["suppress_ifgroup"] = rule.suppress_group
    return found


def _neighbour(entry: Neighbour) -> dict[str, Any]:
    flags = (NTF_PROXY if entry.proxy else 0) | (NTF_ROUTER if entry.router else 0)
    flags |= NTF_EXT_LEARNED if entry.externally_learned else 0
    found: dict[str, Any] = {
        "family": _family(entry.family),
        "dst": entry.address,
        "state": STATES.get(entry.state, 0),
        "flags": flags,
    }
    return found | ({"lladdr": entry.mac} if entry.mac and not entry.proxy else {})


def _fdb(entry: FdbEntry) -> dict[str, Any]:
    """Entries with a master belong to the bridge above; the others to the device itself (vxlan, macvlan)."""
    flags = (NTF_MASTER if entry.master else NTF_SELF) | (NTF_STICKY if entry.sticky else 0)
    found: dict[str, Any] = {"lladdr": entry.mac, "state": STATES.get(entry.state, 0), "flags": flags}
    found |= {"dst": entry.destination} if entry.destination else {}
    found |= {"vlan": entry.vlan} if entry.vlan else {}
    found |= {"vni": entry.vni} if entry.vni else {}
    found |= {"port": entry.port} if entry.port else {}
    return found | ({"nda_ifindex": entry.via} if entry.via else {})
