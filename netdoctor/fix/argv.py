"""`typed(change, snapshot)`: the commands a person would type for a change, as argv tuples. Pure.

Sources: ip-route(8), ip-link(8), bridge(8), tc(8), iptables(8), nft(8).
"""

from typing import assert_never

from netdoctor.model.change import (
    AddAddress,
    AddChain,
    AddFdbEntry,
    AddPolicyRule,
    AddQdisc,
    AddRoute,
    AddXfrmPolicy,
    Change,
    DeleteAddress,
    DeleteChain,
    DeleteFdbEntry,
    DeleteNeighbour,
    DeletePolicyRule,
    DeleteQdisc,
    DeleteRoute,
    DeleteRule,
    DeleteXfrmPolicy,
    FlushRouteCache,
    InsertRule,
    ReplaceRule,
    SetBridge,
    SetBridgePort,
    SetChainPolicy,
    SetLink,
    SetNeighbour,
    SetSysctl,
)
from netdoctor.model.network import Address, FdbEntry, Neighbour, PolicyRule, Route, XfrmPolicy
from netdoctor.model.snapshot import Namespace, NamespaceId, Snapshot

from . import argv_firewall
from .seen import device_name

Argv = tuple[str, ...]
NAMED_AT = ("/run/netns/", "/var/run/netns/")
TABLES = {254: "main", 255: "local", 253: "default"}
NEEDS_NAMESPACE_OPTION = ("ip", "tc", "bridge")


def typed(change: Change, snapshot: Snapshot) -> tuple[Argv, ...]:
    """The commands, in order, prefixed for the namespace they act in; none for an edit of nothing."""
    namespace = snapshot.namespaces.get(change.namespace) or Namespace(id=change.namespace, name=change.namespace)
    return tuple(inside(command, change.namespace, snapshot) for command in commands(change, namespace))


def inside(command: Argv, where: NamespaceId, snapshot: Snapshot) -> Argv:
    """The command as typed from the host: ip -n ns1 ..., ip netns exec ns1 ..., nsenter --net=/proc/42/ns/net ..."""
    if where == snapshot.host:
        return command
    namespace = snapshot.namespaces.get(where)
    path = namespace.path if namespace else ""
    for folder in NAMED_AT:
        if path.startswith(folder):
            name = path.removeprefix(folder)
            if command[0] in NEEDS_NAMESPACE_OPTION:
                return (command[0], "-n", name, *command[1:])
            return ("ip", "netns", "exec", name, *command)
    return ("nsenter", f"--net={path or where}", *command)


def commands(change: Change, namespace: Namespace) -> tuple[Argv, ...]:
    """The commands as typed inside the namespace itself."""
    match change:
        case SetSysctl(key=key, value=value):
            name = key if "." in key else key.replace("/", ".")
            return (("sysctl", "-w", f"{name}={value}"),)
        case SetLink():
            return _link(change)
        case SetBridgePort(link=link, option=option, value=value):
            shown = str(value) if option == "state" else ("on" if value else "off")
            return (("bridge", "link", "set", "dev", link, option, shown),)
        case SetBridge(link=link, option=option, value=value):
            return (("ip", "link", "set", link, "type", "bridge", option, str(value)),)
        case AddAddress(link=link, address=address):
            return (("ip", "address", "add", *_address(address), "dev", link),)
        case DeleteAddress(link=link, address=address):
            return (("ip", "address", "del", *_address(address)[:3], "dev", link),)
        case AddRoute(route=route):
            return (("ip", *_family(route), "route", "add", *_route(route, namespace)),)
        case DeleteRoute(route=route):
            return (("ip", *_family(route), "route", "del", *_route(route, namespace)),)
        case AddPolicyRule(rule=rule):
            return (("ip", *_family(rule), "rule", "add", *_policy_rule(rule)),)
        case DeletePolicyRule(rule=rule):
            return (("ip", *_family(rule), "rule", "del", *_policy_rule(rule)),)
        case FlushRouteCache(family=family):
            return (("ip", f"-{family}", "route", "flush", "cache"),)
        case InsertRule() | DeleteRule() | ReplaceRule() | SetChainPolicy() | AddChain() | DeleteChain():
            return argv_firewall.commands(change, namespace)
        case _:
            return _less_common(change)


LessCommon = (
    SetNeighbour
    | DeleteNeighbour
    | AddFdbEntry
    | DeleteFdbEntry
    | AddQdisc
    | DeleteQdisc
    | AddXfrmPolicy
    | DeleteXfrmPolicy
)


def _less_common(change: LessCommon) -> tuple[Argv, ...]:
    match change:
        case SetNeighbour(link=link, neighbour=entry):
            return (("ip", "neighbour", "replace", *_neighbour(entry), "dev", link, *_neighbour_state(entry)),)
        case DeleteNeighbour(link=link, neighbour=entry):
            return (("ip", "neighbour", "del", *_neighbour(entry), "dev", link),)
        case AddFdbEntry(link=link, entry=entry):
            return (("bridge", "fdb", "append" if entry.destination else "replace", *_fdb(link, entry)),)
        case DeleteFdbEntry(link=link, entry=entry):
            return (("bridge", "fdb", "del", *_fdb(link, entry)),)
        case AddQdisc(link=link, qdisc=qdisc):
            return (
                ("tc", "qdisc", "add", "dev", link, *_qdisc_place(qdisc.kind, qdisc.parent), *_options(qdisc.options)),
            )
        case DeleteQdisc(link=link, qdisc=qdisc):
            return (("tc", "qdisc", "del", "dev", link, *_qdisc_place(qdisc.kind, qdisc.parent)[:1]),)
        case AddXfrmPolicy(policy=policy):
            return (("ip", "xfrm", "policy", "add", *_xfrm(policy), "action", policy.action, *_templates(policy)),)
        case DeleteXfrmPolicy(policy=policy):
            return (("ip", "xfrm", "policy", "delete", *_xfrm(policy)),)
        case _:
            assert_never(change)


def _link(change: SetLink) -> tuple[Argv, ...]:
    words: list[str] = []
    if change.mac is not None:
        words += ["address", change.mac]
    if change.mtu_bytes is not None:
        words += ["mtu", str(change.mtu_bytes)]
    if change.no_arp is not None:
        words += ["arp", "off" if change.no_arp else "on"]
    if change.master is not None:
        words += ["master", change.master] if change.master else ["nomaster"]
    if change.up is not None:
        words.append("up" if change.up else "down")
    return (("ip", "link", "set", "dev", change.link, *words),) if words else ()


def _address(address: Address) -> Argv:
    """The address first, with the words `ip address del` takes too, then flags."""
    if address.peer:
        words = [address.local, "peer", f"{address.peer}/{address.prefix_length}"]
    else:
        words = [f"{address.local}/{address.prefix_length}"]
    if address.scope not in ("global", "link" if address.family == 6 else "global"):
        words += ["scope", address.scope]
    return (*words, *(flag for flag in address.flags if flag in ("nodad", "noprefixroute")))


def _family(entry: Route | PolicyRule) -> Argv:
    return ("-6",) if entry.family == 6 else ()


def _route(route: Route, namespace: Namespace) -> Argv:
    default = route.destination in ("0.0.0.0/0", "::/0")
    words = [] if route.type == "unicast" else [route.type]
    words.append("default" if default else route.destination)
    words += ["from", route.source] if route.source else []
    words += ["tos", str(route.tos)] if route.tos else []
    if route.next_hop_id:
        words += ["nhid", str(route.next_hop_id)]
    elif len(route.next_hops) == 1:
        hop = route.next_hops[0]
        words += _hop(route, hop.gateway, device_name(namespace, hop.index) if hop.index else "", hop.flags)
    else:
        for hop in route.next_hops:
            device = device_name(namespace, hop.index) if hop.index else ""
            words += ["nexthop", *_hop(route, hop.gateway, device, hop.flags), "weight", str(hop.weight)]
    words += ["table", TABLES.get(route.table, str(route.table))] if route.table != 254 else []
    words += ["proto", route.protocol] if route.protocol != "boot" else []
    words += ["scope", route.scope] if route.scope == "link" and any(hop.gateway for hop in route.next_hops) else []
    words += ["src", route.preferred_source] if route.preferred_source else []
    words += ["metric", str(route.priority)] if route.priority and (route.family, route.priority) != (6, 1024) else []
    words += ["mtu", str(route.mtu_bytes)] if route.mtu_bytes else []
    words += ["hoplimit", str(route.hop_limit)] if route.hop_limit else []
    return tuple(words)


def _hop(route: Route, gateway: str, device: str, flags: tuple[str, ...]) -> list[str]:
    words: list[str] = []
    if gateway:
        crossed = route.family == 4 and ":" in gateway
        words += ["via", "inet6", gateway] if crossed else ["via", gateway]
    words += ["dev", device] if device else []
    return [*words, "onlink"] if "onlink" in flags else words


def _policy_rule(rule: PolicyRule) -> Argv:
    mark = "" if rule.fwmark is None else f"{rule.fwmark:#x}"
    if mark and rule.fwmask != 0xFFFFFFFF:
        mark = f"{mark}/{rule.fwmask:#x}"
    words = ["not"] if rule.invert else []
    words += ["from", rule.source or "all"]
    pairs = (
        ("to", rule.destination),
        ("tos", f"{rule.tos:#x}" if rule.tos else ""),
        ("fwmark", mark),
        ("iif", rule.in_device),
        ("oif", rule.out_device),
        ("uidrange", "{}-{}".format(*rule.uids) if rule.uids else ""),
        ("ipproto", str(rule.protocol) if rule.protocol else ""),
        ("sport", "{}-{}".format(*rule.source_ports) if rule.source_ports else ""),
        ("dport", "{}-{}".format(*rule.destination_ports) if rule.destination_ports else ""),
        ("priority", str(rule.priority)),
        ("suppress_prefixlength", "" if rule.suppress_prefix_length is None else str(rule.suppress_prefix_length)),
        ("suppress_ifgroup", "" if rule.suppress_group is None else str(rule.suppress_group)),
    )
    words += [word for name, value in pairs if value for word in (name, value)]
    if rule.l3mdev:
        return (*words, "l3mdev")
    if rule.action == "lookup":
        return (*words, "lookup", TABLES.get(rule.table, str(rule.table)))
    return (*words, "goto", str(rule.goto)) if rule.action == "goto" else (*words, rule.action)


def _neighbour(entry: Neighbour) -> Argv:
    return ("proxy", entry.address) if entry.proxy else (entry.address,)


def _neighbour_state(entry: Neighbour) -> Argv:
    return () if entry.proxy else (*(("lladdr", entry.mac) if entry.mac else ()), "nud", entry.state)


def _fdb(link: str, entry: FdbEntry) -> Argv:
    words = [entry.mac, "dev", link]
    words += ["dst", entry.destination] if entry.destination else []
    words += ["vni", str(entry.vni)] if entry.vni else []
    words += ["vlan", str(entry.vlan)] if entry.vlan else []
    words += ["master"] if entry.master else ["self"]
    return (*words, "static") if entry.state == "static" else tuple(words)


def _qdisc_place(kind: str, parent: str) -> Argv:
    return (kind,) if kind in ("clsact", "ingress") else (parent, kind)


def _options(options: dict[str, int]) -> Argv:
    return tuple(word for name, value in options.items() for word in (name, str(value)))


def _xfrm(policy: XfrmPolicy) -> Argv:
    words = ["dir", policy.direction, "src", policy.source, "dst", policy.destination]
    words += ["proto", str(policy.protocol)] if policy.protocol else []
    words += ["sport", str(policy.source_port)] if policy.source_port else []
    words += ["dport", str(policy.destination_port)] if policy.destination_port else []
    words += ["priority", str(policy.priority)] if policy.priority else []
    return (*words, "mark", f"{policy.mark:#x}", "mask", f"{policy.mark_mask:#x}") if policy.mark else tuple(words)


def _templates(policy: XfrmPolicy) -> Argv:
    words: list[str] = []
    for template in policy.templates:
        words += ["tmpl", "src", template.source, "dst", template.destination, "proto", template.protocol]
        words += ["reqid", str(template.request_id)] if template.request_id else []
        words += ["mode", template.mode] + (["level", "use"] if template.optional else [])
    return tuple(words)
