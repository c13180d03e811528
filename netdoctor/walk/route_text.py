"""Routes and policy rules in the words of ip(8)."""

from netdoctor.model.network import PolicyRule, Route
from netdoctor.model.snapshot import NamespaceId
from netdoctor.walk.addressing import prefix
from netdoctor.walk.packet import TCP, UDP
from netdoctor.walk.tables import MAIN, TABLE_NAMES
from netdoctor.walk.view import View

PROTOCOL_NAMES = {TCP: "tcp", UDP: "udp", 1: "icmp", 58: "ipv6-icmp"}


def route_text(view: View, key: NamespaceId, route: Route) -> str:
    """The route as `ip route` prints it, table included when it is not main."""
    words = [route.type] if route.type != "unicast" else []
    words.append("default" if prefix(route.destination)[2] == 0 else _short(route.destination))
    hops = route.next_hops
    for hop in hops:
        if len(hops) > 1:
            words.append("nexthop")
        if hop.gateway:
            words += ["via", hop.gateway]
        if hop.index:
            words += ["dev", view.device_name(key, hop.index)]
        if len(hops) > 1:
            words += ["weight", str(hop.weight)]
        words += [flag for flag in hop.flags if flag in ("onlink", "linkdown", "dead")]
    if route.table != MAIN:
        words += ["table", TABLE_NAMES.get(route.table, str(route.table))]
    if route.protocol not in ("boot",):
        words += ["proto", route.protocol]
    if route.scope != "global":
        words += ["scope", route.scope]
    if route.preferred_source:
        words += ["src", route.preferred_source]
    if route.priority:
        words += ["metric", str(route.priority)]
    if route.cached:
        words.append("cache <redirected>")
    return " ".join(words)


def _short(destination: str) -> str:
    return destination.removesuffix("/32") if ":" not in destination else destination.removesuffix("/128")


def rule_text(rule: PolicyRule) -> str:
    """The policy rule as `ip rule` prints it."""
    words = [f"{rule.priority}:"] + (["not"] if rule.invert else []) + ["from", rule.source or "all"]
    if rule.destination:
        words += ["to", rule.destination]
    if rule.fwmark is not None:
        mask = "" if rule.fwmask == 0xFFFFFFFF else f"/0x{rule.fwmask:x}"
        words += ["fwmark", f"0x{rule.fwmark:x}{mask}"]
    for word, value in (("iif", rule.in_device), ("oif", rule.out_device)):
        if value:
            words += [word, value]
    if rule.uids:
        words += ["uidrange", f"{rule.uids[0]}-{rule.uids[1]}"]
    if rule.protocol:
        words += ["ipproto", {TCP: "tcp", UDP: "udp", 1: "icmp"}.get(rule.protocol, str(rule.protocol))]
    for word, ports in (("sport", rule.source_ports), ("dport", rule.destination_ports)):
        if ports:
            words += [word, str(ports[0]) if ports[0] == ports[1] else f"{ports[0]}-{ports[1]}"]
    if rule.action == "lookup":
        words += ["lookup", "[l3mdev-table]" if rule.l3mdev else TABLE_NAMES.get(rule.table, str(rule.table))]
    elif rule.action == "goto":
        words += ["goto", str(rule.goto)]
    else:
        words.append(rule.action)
    if rule.suppress_prefix_length is not None:
        words += ["suppress_prefixlength", str(rule.suppress_prefix_length)]
    return " ".join(words)
