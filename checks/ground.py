"""Reading the snapshot to find what a change needs: the rule itself, the gateway that is implied, the subnet."""

from netdoctor.model.change import ChainRef
from netdoctor.model.firewall import Chain, Rule, Table
from netdoctor.model.journey import Step
from netdoctor.model.network import Address, Link, PolicyRule, Route
from netdoctor.model.snapshot import Namespace, NamespaceId, Snapshot
from netdoctor.model.unknown import Unknown
from netdoctor.walk.addressing import contains, network_of
from netdoctor.walk.route_text import route_text, rule_text
from netdoctor.walk.view import View


def links(snapshot: Snapshot, key: NamespaceId) -> tuple[Link, ...]:
    found = snapshot.namespaces[key].links if key in snapshot.namespaces else ()
    return () if isinstance(found, Unknown) else found


def link(snapshot: Snapshot, key: NamespaceId, name: str) -> Link | None:
    return next((one for one in links(snapshot, key) if one.name == name), None)


def addresses(snapshot: Snapshot, key: NamespaceId) -> tuple[Address, ...]:
    found = snapshot.namespaces[key].addresses if key in snapshot.namespaces else ()
    return () if isinstance(found, Unknown) else found


def routes(snapshot: Snapshot, key: NamespaceId) -> tuple[Route, ...]:
    found = snapshot.namespaces[key].routes if key in snapshot.namespaces else ()
    return () if isinstance(found, Unknown) else found


def policy_rules(snapshot: Snapshot, key: NamespaceId) -> tuple[PolicyRule, ...]:
    found = snapshot.namespaces[key].rules if key in snapshot.namespaces else ()
    return () if isinstance(found, Unknown) else found


def name(snapshot: Snapshot, key: NamespaceId) -> str:
    return snapshot.namespaces[key].name if key in snapshot.namespaces else key


def addresses_on(snapshot: Snapshot, key: NamespaceId, device: str, family: int) -> tuple[Address, ...]:
    found = link(snapshot, key, device)
    return tuple(one for one in addresses(snapshot, key) if found and one.index == found.index and one.family == family)


def other_end(snapshot: Snapshot, key: NamespaceId, one: Link) -> tuple[NamespaceId, Link] | None:
    """The visible other end of a veth (or the device under a macvlan), and the bridge it is a port of instead."""
    if key not in snapshot.namespaces or not one.lower:
        return None
    there: NamespaceId | Unknown = key
    if one.lower_namespace is not None:
        there = snapshot.namespaces[key].peers.get(str(one.lower_namespace), Unknown("not looked up"))
    if isinstance(there, Unknown):
        return None
    peer = next((entry for entry in links(snapshot, there) if entry.index == one.lower), None)
    return (there, peer) if peer else None


def router_addresses(snapshot: Snapshot, key: NamespaceId, family: int) -> list[tuple[str, str, str]]:
    """(gateway address, device of `key` towards it, its owner): stacks right behind this namespace's cables, in its subnets."""
    found = []
    for one in links(snapshot, key):
        end = other_end(snapshot, key, one) if one.kind == "veth" and one.up else None
        if end is None:
            continue
        there, peer = end
        if there != snapshot.host and sysctl(snapshot, there, f"net/ipv{family}/ip_forward") == "0":
            continue
        if peer.master:
            peer = next((entry for entry in links(snapshot, there) if entry.index == peer.master), peer)
        mine = [entry for entry in addresses_on(snapshot, key, one.name, family) if entry.scope == "global"]
        for entry in addresses_on(snapshot, there, peer.name, family):
            if entry.scope == "global" and any(
                contains(network_of(own.local, own.prefix_length), entry.local) and own.local != entry.local
                for own in mine
            ):
                found.append((entry.local, one.name, there))
    return found


def subnet_of(snapshot: Snapshot, source: str) -> str:
    """The subnet of the interface that has this address, as its own namespace sees it; the address alone otherwise."""
    for key in (snapshot.target, *snapshot.namespaces):
        for one in addresses(snapshot, key):
            if one.local == source and one.prefix_length < (32 if one.family == 4 else 128):
                return network_of(one.local, one.prefix_length)
    return f"{source}/{128 if ':' in source else 32}"


def find_route(snapshot: Snapshot, key: NamespaceId, text: str) -> Route | None:
    """The route that prints as `text`."""
    view = View(snapshot)
    return next((route for route in routes(snapshot, key) if route_text(view, key, route) == text), None)


def find_policy_rule(snapshot: Snapshot, key: NamespaceId, text: str) -> PolicyRule | None:
    return next((rule for rule in policy_rules(snapshot, key) if rule_text(rule) == text), None)


def tables(snapshot: Snapshot, key: NamespaceId) -> tuple[Table, ...]:
    found = snapshot.namespaces[key].ruleset.tables if key in snapshot.namespaces else ()
    return () if isinstance(found, Unknown) else found


def find_table(snapshot: Snapshot, key: NamespaceId, at: ChainRef) -> Table | None:
    wanted = (at.backend, at.family, at.table)
    return next((one for one in tables(snapshot, key) if (one.backend, one.family, one.name) == wanted), None)


def find_chain(snapshot: Snapshot, key: NamespaceId, at: ChainRef) -> Chain | None:
    table = find_table(snapshot, key, at)
    return table.chain(at.chain) if table else None


def chain_ref(facts: dict[str, str], chain: str = "") -> ChainRef:
    """The chain that a hook or nat step names in its facts."""
    return ChainRef(
        backend=facts["backend"],  # type: ignore[arg-type]
        family=facts.get("rule_family", facts["family"]),  # type: ignore[arg-type]
        table=facts["table"],
        chain=chain or facts["chain"],
    )


def find_rule(snapshot: Snapshot, key: NamespaceId, at: ChainRef, line: int) -> Rule | None:
    chain = find_chain(snapshot, key, at)
    if chain is None or isinstance(chain.rules, Unknown):
        return None
    return next((rule for rule in chain.rules if rule.line == line), None)


def namespace(snapshot: Snapshot, key: NamespaceId) -> Namespace | None:
    return snapshot.namespaces.get(key)


def sysctl(snapshot: Snapshot, key: NamespaceId, path: str) -> str:
    found = snapshot.namespaces[key].sysctls.get(path, "") if key in snapshot.namespaces else ""
    return "" if isinstance(found, Unknown) else found


def evidence(step: Step) -> tuple[str, ...]:
    """What the step was decided by, as its own tools print it, and what was seen where it showed."""
    found = [because.text for because in step.because]
    if step.packet and not step.packet.startswith(" ->"):
        found.append(f"packet: {step.packet}")
    if "symptom" in step.facts:
        found.append(f"seen as: {step.facts['symptom']}")
    return tuple(found)
