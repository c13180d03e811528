"""Does every stack on the way have a usable route onwards, and back?"""

from typing import Final

from msgspec.structs import replace

from netdoctor.checks import ground
from netdoctor.checks.gateways import add_default, has_alternative, mend_gateway
from netdoctor.model.change import AddPolicyRule, AddRoute, Change, DeletePolicyRule, DeleteRoute, FlushRouteCache
from netdoctor.model.diagnosis import Cause
from netdoctor.model.journey import Step
from netdoctor.model.network import Family, NextHop, PolicyRule, Route
from netdoctor.model.snapshot import Snapshot
from netdoctor.walk.addressing import contains, network_of

ID: Final = "route"
LAYER: Final = "route"
KINDS = ("route",)
MAIN = 254
CAUSES = {
    "default-route-missing": "The namespace has no default route: packets that leave its subnet have nowhere to go "
    '("Network is unreachable"). Verify: `ip route` inside. Fix: `ip route add default via GATEWAY`. An internal network has '
    "none by design: then ask about a destination inside it.",
    "route-missing": "No route matches the destination. Verify: `ip route get DESTINATION`.",
    "route-refuses": "A blackhole, unreachable or prohibit route covers the destination (kill switches, leftovers). "
    "Verify: `ip route get DESTINATION`. Fix: delete it, or add a better route.",
    "policy-rule-refuses": "A policy rule refuses the packet before any table is asked. Verify: `ip rule`.",
    "gateway-dead": "The route's gateway is an address that nobody on that link has: ARP for it fails. "
    "Verify: `ip neigh show GATEWAY` says FAILED. Fix: the right gateway.",
    "route-on-link-wrong": "The route takes a far destination for a neighbour (no `via`), so the namespace asks for its MAC in vain.",
    "local-route-captures": "A local route that no address made (TPROXY, any-IP recipes, left over) keeps the packets in this "
    "namespace. Verify: `ip route get DESTINATION` says local. Fix: delete the route or the policy rule that leads to it.",
    "subnets-overlap": "Two interfaces have overlapping subnets (a container network inside the LAN's or the VPN's range): the longer "
    "prefix wins, and addresses of the other network are asked for on the wrong link. Verify: `ip route get DESTINATION`. Fix: another "
    "range for the container network; until then a route for the single destination.",
    "route-to-dead-device": "The route leads into a tunnel whose program is gone: packets vanish there. Verify: `ip link show dev IFACE` "
    "says NO-CARRIER or DOWN. Fix: bring the tunnel up, or delete its routes and rules.",
    "return-route-missing": "The request arrives, but there is no route back to the asker: answers go elsewhere or nowhere. "
    "Verify: `ip route get ASKER` there. Fix: the route back.",
    "return-route-captured": "A better route (VPN, second network with the same subnet, policy rule) takes the answers away. "
    "Verify: `ip route get ASKER` there names another interface. Fix: remove that route or give the asker's subnet its own rule.",
    "policy-table-without-route": "A policy rule sends the packet to a table that has no route for it; it falls through to the main "
    "table and leaves the wrong way. Verify: `ip rule`, `ip route show table N`. Fix: the table's lost route.",
    "main-table-unused": "No policy rule looks into table main (rule 32766 is gone). Fix: `ip rule add pref 32766 lookup main`.",
    "own-address-not-local": "The host has the address but its local table does not say so.",
    "routing-loop": "The packet goes round between routers until its TTL is used up.",
    "unreadable": "A fact on the way could not be read.",
}


def cause(step: Step, snapshot: Snapshot) -> Cause:
    """The missing or wrong route, told with its repair."""
    facts = step.facts
    return Cause(
        slug=step.cause,
        layer=LAYER,
        namespace=step.namespace,
        object=_object(step),
        summary=step.summary,
        expected=_expected(step),
        observed=facts.get("route") or "no route",
        evidence=ground.evidence(step),
        changes=_changes(step, snapshot),
        advice=_advice(step),
        reverts="the network daemon or runtime that owns these routes may write them anew"
        if facts.get("route")
        else "",
        lasting="make it part of what sets the interface up (netplan, networkd, ifupdown, the runtime's network): "
        "routes of an interface vanish when it goes down",
    )


def _object(step: Step) -> str:
    facts = step.facts
    if step.cause == "policy-table-without-route":
        return f"route table {facts['table']} (policy rule {facts['fell_through']})"
    if step.cause in ("default-route-missing", "main-table-unused"):
        return "default route" if step.cause == "default-route-missing" else "policy rule 32766"
    if step.cause == "policy-rule-refuses":
        return f"policy rule {facts.get('rule_text', '')}"
    if step.cause == "return-route-missing":
        return f"route back to {facts['asker']}"
    if facts.get("route"):
        table = facts.get("table", "")
        by_rule = (
            f" (by policy rule {facts['rule_text']})"
            if table not in ("254", "255", "253") and facts.get("rule_text")
            else ""
        )
        return f"route {facts['route']}{by_rule}"
    return f"route to {facts.get('destination', '')}"


def _expected(step: Step) -> str:
    facts = step.facts
    return {
        "default-route-missing": "a default route via the gateway",
        "gateway-dead": f"a gateway that exists{': ' + facts['candidates'] if facts.get('candidates') else ''}",
        "return-route-missing": f"a route to {facts.get('asker', '')} by {facts.get('link', '')}",
        "return-route-captured": f"the way back to {facts.get('asker', '')} by {facts.get('link', '')}",
    }.get(step.cause, f"a usable route to {facts.get('destination', '')}")


def _changes(step: Step, snapshot: Snapshot) -> tuple[Change, ...]:
    if step.cause == "default-route-missing":
        return add_default(step, snapshot)
    if "cache <redirected>" in step.facts.get("route", ""):
        return (FlushRouteCache(namespace=step.namespace, family=4),)
    if step.cause in ("gateway-dead", "route-on-link-wrong"):
        return mend_gateway(step, snapshot)
    if step.cause == "route-to-dead-device":
        return _leave_dead_device(step, snapshot)
    if step.cause in ("route-refuses", "policy-rule-refuses", "local-route-captures"):
        return _remove_refusal(step, snapshot)
    if step.cause == "return-route-captured":
        return _release(step, snapshot)
    if step.cause == "return-route-missing":
        return _way_back(step, snapshot)
    if step.cause == "subnets-overlap":
        return _past_overlap(step, snapshot)
    if step.cause == "main-table-unused":
        family: Family = 6 if step.facts.get("family") == "6" else 4
        return (AddPolicyRule(namespace=step.namespace, rule=PolicyRule(family=family, priority=32766, table=MAIN)),)
    return ()


def _leave_dead_device(step: Step, snapshot: Snapshot) -> tuple[Change, ...]:
    """In main the shadowing route goes; for a table of its own the packet's subnet is sent to main by a rule before it."""
    facts = step.facts
    route = ground.find_route(snapshot, step.namespace, facts.get("route", ""))
    rule = ground.find_policy_rule(snapshot, step.namespace, facts.get("rule_text", ""))
    if route is not None and route.table == MAIN:
        return (DeleteRoute(namespace=step.namespace, route=route),) if has_alternative(step, snapshot, route) else ()
    if rule is None or rule.priority < 2 or rule.table in (253, 254, 255):
        return ()
    end = facts["source"] if step.direction == "forward" else facts["destination"]
    subnet = ground.subnet_of(snapshot, end)
    free = _free_priority(snapshot, step.namespace, rule)
    first = PolicyRule(
        family=rule.family, priority=free, source=subnet if step.direction == "forward" else "",
        destination="" if step.direction == "forward" else subnet, table=MAIN,
    )  # fmt: skip
    return (AddPolicyRule(namespace=step.namespace, rule=first),)


def _free_priority(snapshot: Snapshot, key: str, rule: PolicyRule) -> int:
    """The nearest unused priority before a rule's."""
    used = {one.priority for one in ground.policy_rules(snapshot, key) if one.family == rule.family}
    return next((number for number in range(rule.priority - 1, 0, -1) if number not in used), rule.priority)


def _remove_refusal(step: Step, snapshot: Snapshot) -> tuple[Change, ...]:
    facts = step.facts
    rule = ground.find_policy_rule(snapshot, step.namespace, facts.get("rule_text", ""))
    if step.cause == "policy-rule-refuses" or (
        facts.get("table", "254") != "254" and rule and rule.table not in (253, 254, 255)
    ):
        return (DeletePolicyRule(namespace=step.namespace, rule=rule),) if rule else ()
    route = ground.find_route(snapshot, step.namespace, facts.get("route", ""))
    return (DeleteRoute(namespace=step.namespace, route=route),) if route else ()


def _release(step: Step, snapshot: Snapshot) -> tuple[Change, ...]:
    """Answers are taken by a foreign route: a rule of a custom table is passed by, a route that somebody set is removed."""
    facts = step.facts
    rule = ground.find_policy_rule(snapshot, step.namespace, facts.get("rule_text", ""))
    if rule is not None and rule.table not in (253, 254, 255) and rule.priority > 1:
        first = PolicyRule(
            family=rule.family,
            priority=_free_priority(snapshot, step.namespace, rule),
            destination=ground.subnet_of(snapshot, facts["asker"]),
            table=MAIN,
        )
        return (AddPolicyRule(namespace=step.namespace, rule=first),)
    route = ground.find_route(snapshot, step.namespace, facts.get("route", ""))
    if route is not None and route.protocol == "kernel":
        return _single_way_back(step, snapshot)
    if route is None:
        return ()
    return (DeleteRoute(namespace=step.namespace, route=route),)


def _way_back(step: Step, snapshot: Snapshot) -> tuple[Change, ...]:
    """The way the request came is the way back: by the interface, via the router that sent it unless it is attached there."""
    facts, key = step.facts, step.namespace
    link = ground.link(snapshot, key, facts["link"])
    if link is None:
        return ()
    asker, subnet = facts["asker"], ground.subnet_of(snapshot, facts["asker"])
    family: Family = 6 if ":" in asker else 4
    own = ground.addresses_on(snapshot, key, link.name, family)
    covering = next((one for one in own if contains(network_of(one.local, one.prefix_length), asker)), None)
    if covering is not None:
        route = Route(
            family=family, table=MAIN, destination=network_of(covering.local, covering.prefix_length), protocol="kernel",
            scope="link" if family == 4 else "global", preferred_source=covering.local if family == 4 else "",
            priority=256 if family == 6 else 0, next_hops=(NextHop(index=link.index),),
        )  # fmt: skip
        return (AddRoute(namespace=key, route=route),)
    router = _router_behind(snapshot, key, link.name, family)
    if router:
        route = Route(
            family=family, table=MAIN, destination=subnet, priority=1024 if family == 6 else 0,
            next_hops=(NextHop(index=link.index, gateway=router),),
        )  # fmt: skip
        return (AddRoute(namespace=key, route=route),)
    single = f"{asker}/{128 if family == 6 else 32}"
    route = Route(
        family=family, table=MAIN, destination=single, scope="link" if family == 4 else "global",
        priority=1024 if family == 6 else 0, next_hops=(NextHop(index=link.index),),
    )  # fmt: skip
    return (AddRoute(namespace=key, route=route),)


def _single_way_back(step: Step, snapshot: Snapshot) -> tuple[Change, ...]:
    """A connected subnet of another interface covers the asker: a route for the asker alone beats it."""
    link = ground.link(snapshot, step.namespace, step.facts["link"])
    asker = step.facts["asker"]
    if link is None or ":" in asker:
        return ()
    route = Route(family=4, table=MAIN, destination=f"{asker}/32", scope="link", next_hops=(NextHop(index=link.index),))
    return (AddRoute(namespace=step.namespace, route=route),)


def _router_behind(snapshot: Snapshot, key: str, device: str, family: int) -> str:
    """The address of the stack at the other end of this cable, in our own subnet there, if there is exactly one."""
    link = ground.link(snapshot, key, device)
    end = ground.other_end(snapshot, key, link) if link else None
    if end is None:
        return ""
    there, peer = end
    mine = ground.addresses_on(snapshot, key, device, family)
    found = [
        one.local
        for one in ground.addresses_on(snapshot, there, peer.name, family)
        if any(contains(network_of(own.local, own.prefix_length), one.local) for own in mine) and one.scope == "global"
    ]
    return found[0] if len(found) == 1 else ""


def _past_overlap(step: Step, snapshot: Snapshot) -> tuple[Change, ...]:
    """The wider network's route for the one address asked about: the longest prefix of all."""
    wider = ground.find_route(snapshot, step.namespace, step.facts["wider"])
    if wider is None:
        return ()
    address = step.facts["next_hop"]
    single = replace(
        wider,
        destination=f"{address}/{128 if wider.family == 6 else 32}",
        protocol="boot",
        priority=wider.priority if wider.family == 6 else 0,
    )
    return (AddRoute(namespace=step.namespace, route=single),)


def _advice(step: Step) -> tuple[str, ...]:
    facts = step.facts
    if step.cause == "policy-table-without-route":
        return (
            f"put back the route that table {facts['table']} had: ip route add default via GATEWAY dev IFACE table {facts['table']}",
        )
    if step.cause == "subnets-overlap":
        return ("give one of the two networks another range: the route for this one address helps only it",)
    if step.cause in ("default-route-missing", "gateway-dead", "route-on-link-wrong"):
        return (
            "the right gateway is what the network's router has on this link: ip route replace default via GATEWAY",
        )
    return ()
