"""Throw-away worlds: a namespace that plays the host, a container behind a veth, read into a Snapshot."""

import secrets
import subprocess
import time

from msgspec.structs import replace

from netdoctor.fix.apply import apply
from netdoctor.fix.effect import effect
from netdoctor.fix.inverse import inverse
from netdoctor.model.change import Change
from netdoctor.model.firewall import Ruleset
from netdoctor.model.network import Address, Link, Route
from netdoctor.model.snapshot import Namespace, Snapshot
from netdoctor.model.unknown import Unknown
from netdoctor.netlink.inside import Worker
from netdoctor.netlink.wire import NETLINK_ROUTE, NETLINK_XFRM, Reader
from netdoctor.observe import addresses, ipsec, links, neighbours, routes, sysctls, traffic_control
from netdoctor.target import Handle, resolve


class World:
    """Two namespaces, "host" and "ns1", joined by veth0 - veth1 as in a hand-made container network."""

    def __init__(self) -> None:
        self.prefix = f"nd-{secrets.token_hex(3)}"
        self.names = {role: f"{self.prefix}-{role}" for role in ("host", "ns1")}
        self.worker = Worker()
        self.handles: dict[str, Handle] = {}

    def up(self) -> None:
        for role, name in self.names.items():
            subprocess.run(["ip", "netns", "add", name], check=True)
            self.handles[role] = resolve(name)
        self.sh("host", f"ip link add veth0 type veth peer name veth1 netns {self.names['ns1']}")
        self.sh("host", "ip link set lo up; ip link set veth0 up; ip addr add 10.0.0.1/24 dev veth0")
        self.sh("ns1", "ip link set lo up; ip link set veth1 up; ip addr add 10.0.0.2/24 dev veth1")
        self.sh("ns1", "ip route add default via 10.0.0.1")

    def down(self) -> None:
        self.worker.close()
        for handle in self.handles.values():
            handle.close()
        for name in self.names.values():
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)

    def sh(self, role: str, script: str) -> str:
        command = ["ip", "netns", "exec", self.names[role], "sh", "-ec", script]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    @property
    def fds(self) -> dict[str, int]:
        return {handle.id: handle.fd for handle in self.handles.values()}

    def id(self, role: str) -> str:
        return self.handles[role].id

    def snapshot(self) -> Snapshot:
        found = {role: self._namespace(role) for role in self.names}
        return Snapshot(
            host=self.id("host"), target=self.id("ns1"), namespaces={each.id: each for each in found.values()}
        )

    def _namespace(self, role: str) -> Namespace:
        handle = self.handles[role]

        def read() -> Namespace:
            with Reader(NETLINK_ROUTE) as reader, Reader(NETLINK_XFRM) as xfrm:
                seen = links.read_links(reader)
                qdiscs = traffic_control.read_qdiscs(reader)
                values: dict[str, str | Unknown] = dict(sysctls.read_global())
                for device in ("default", *(link.name for link in seen)):
                    values |= sysctls.read_device(device)
                return Namespace(
                    id=handle.id,
                    name=self.names[role],
                    path=handle.path,
                    links=seen,
                    addresses=addresses.read_addresses(reader),
                    routes=routes.read_routes(reader),
                    rules=routes.read_rules(reader),
                    neighbours=neighbours.read_neighbours(reader),
                    fdb=neighbours.read_fdb(reader),
                    qdiscs=qdiscs,
                    filters={link.name: traffic_control.read_filters(reader, link, qdiscs) for link in seen},
                    policies=ipsec.read_policies(xfrm),
                    sysctls=values,
                    peers={"0": self.id("ns1" if role == "host" else "host")},
                    ruleset=_ruleset(),
                )

        return self.worker.run(handle.fd, read)

    def apply(self, change: Change) -> None:
        apply(change, self.fds, self.worker)


def _ruleset() -> Ruleset:
    """The whole ruleset, every chain read."""
    try:
        from netdoctor.observe.nftables import read_chains, read_ruleset
    except ImportError:
        return Ruleset()

    ruleset = read_ruleset()
    if isinstance(ruleset.tables, Unknown):
        return ruleset
    tables = []
    for table in ruleset.tables:
        if table.backend != "iptables-legacy":
            rules = read_chains(table.family, table.name, tuple(chain.name for chain in table.chains))
            chains = tuple(replace(chain, rules=rules.get(chain.name, ())) for chain in table.chains)
            table = replace(table, chains=chains)  # noqa: PLW2901
        tables.append(table)
    return replace(ruleset, tables=tuple(tables))


def _address(address: Address) -> Address:
    flags = tuple(sorted(set(address.flags) - {"tentative", "nodad", "permanent"}))
    return replace(address, flags=flags, valid_s=None, preferred_s=None)


def _link(link: Link) -> tuple[object, ...]:
    shown = (link.index, link.name, link.up, link.carrier, link.no_arp, link.master, link.qdisc, link.bridge)
    port = link.port and replace(link.port, state=3)
    return (*shown, port, *(() if link.bridge else (link.mtu_bytes, link.mac)))


def _route(route: Route) -> Route:
    return replace(route, expires_s=None)


def normal(snapshot: Snapshot, *, flags: bool = True) -> dict[str, object]:
    """What two observations of one state share: no counters, no learned neighbours, no timers, no DAD.

    flags False leaves linkdown aside: the kernel sets it up to a second late.
    """
    found: dict[str, object] = {}
    for key, namespace in snapshot.namespaces.items():
        assert not isinstance(namespace.links, Unknown) and not isinstance(namespace.routes, Unknown)
        assert not isinstance(namespace.addresses, Unknown) and not isinstance(namespace.qdiscs, Unknown)
        assert not isinstance(namespace.neighbours, Unknown) and not isinstance(namespace.fdb, Unknown)
        seen = [_route(route) for route in namespace.routes if not _link_local(route)]
        if not flags:
            seen = [replace(r, next_hops=tuple(replace(h, flags=()) for h in r.next_hops)) for r in seen]
        found[f"{key} links"] = [_link(link) for link in namespace.links]
        found[f"{key} addresses"] = sorted(
            str(_address(each)) for each in namespace.addresses if each.scope != "link" or each.family == 4
        )
        found[f"{key} routes"] = sorted(str(route) for route in seen)
        found[f"{key} rules"] = namespace.rules
        found[f"{key} neighbours"] = sorted(
            str(each) for each in namespace.neighbours if each.state == "permanent" or each.proxy
        )
        lasting = [each for each in namespace.fdb if each.state == "static" or each.destination]
        found[f"{key} fdb"] = sorted(str(each) for each in lasting)
        found[f"{key} qdiscs"] = sorted(
            (each.index, each.kind, each.parent, str(each.options)) for each in namespace.qdiscs
        )
        found[f"{key} filters"] = namespace.filters
        found[f"{key} policies"] = [replace(each, index=0) for each in namespace.policies]  # type: ignore[union-attr]
        found[f"{key} sysctls"] = namespace.sysctls
        found[f"{key} ruleset"] = _rules(namespace)
    return found


def _link_local(route: Route) -> bool:
    return route.destination.startswith(("fe80:", "ff00:")) or route.type == "anycast"


def _rules(namespace: Namespace) -> list[object]:
    from netdoctor.fix.ruleset_effect import _uncounted

    if isinstance(namespace.ruleset.tables, Unknown):
        return [namespace.ruleset.tables]
    return [
        (
            table.backend,
            table.family,
            table.name,
            chain.name,
            chain.hook,
            chain.policy,
            chain.priority,
            rule and _uncounted(rule),
        )
        for table in namespace.ruleset.tables
        for chain in table.chains
        for rule in (chain.rules or (None,))  # type: ignore[union-attr]
    ]


def prove(world: World, change: Change) -> None:
    """Apply equals effect; applied and inverted gives the start, for one change."""
    before = world.snapshot()
    expected = effect(change, before)
    back = inverse(change, before)
    assert normal(expected) != normal(before), "the change changed nothing on the model"
    world.apply(change)
    _same(_settled(world, expected), expected, "apply is not effect")
    for each in back:
        world.apply(each)
    _same(_settled(world, before), before, f"{back} does not give the start")


def _same(found: dict[str, object], wanted: Snapshot, what: str) -> None:
    unlike = differing(found, normal(wanted, flags=False))
    if unlike:
        raise AssertionError(what + "".join(f"\n{key}\n  found  {a}\n  wanted {b}" for key, (a, b) in unlike.items()))


def differing(found: dict[str, object], wanted: dict[str, object]) -> dict[str, tuple[list[str], list[str]]]:
    """Subject -> (what was found only, what was wanted only)."""
    result: dict[str, tuple[list[str], list[str]]] = {}
    for key, value in wanted.items():
        left, right = _lines(found[key]), _lines(value)
        if left != right:
            result[key] = (sorted(left - right), sorted(right - left))
    return result


def _lines(value: object) -> set[str]:
    if isinstance(value, dict):
        return {f"{key}: {each}" for key, each in value.items()}
    return {str(each) for each in value} if isinstance(value, (list, tuple)) else {str(value)}


def _settled(world: World, expected: Snapshot) -> dict[str, object]:
    """The observed state, once DAD is over or after patience ran out."""
    wanted = normal(expected, flags=False)
    for _ in range(40):
        found = normal(world.snapshot(), flags=False)
        if not differing(found, wanted):
            break
        time.sleep(0.05)
    return found
