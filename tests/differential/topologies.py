"""Random small topologies: chains of routers, a bridge, macvlans on a LAN, two hosts with a vxlan, both families."""

import itertools
import random
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from lab.topology import Topology

FORWARDS = "net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1"
MACVLAN_MODES = ("bridge", "bridge", "private", "vepa")


class Wire(NamedTuple):
    """An interface with addresses: where flows start and end, and what oddities are done to."""

    role: str
    device: str
    number: int
    host: int

    @property
    def v4(self) -> str:
        return f"10.77.{self.number}.{self.host}"

    @property
    def v6(self) -> str:
        return f"fd77:{self.number:x}::{self.host:x}"

    def addresses(self) -> tuple[str, str]:
        return f"{self.role} {self.device} {self.v4}/24", f"{self.role} {self.device} {self.v6}/64"


class Sketch(NamedTuple):
    """A topology with what is known of it. `lines`: ("ip" or "bridge" or "sysctl", role, words) done after it is built."""

    kind: str
    topology: Topology
    wires: tuple[Wire, ...]
    ports: tuple[tuple[str, str], ...] = ()
    lines: tuple[tuple[str, str, str], ...] = ()
    tunnels: tuple[tuple[str, str], ...] = ()

    @property
    def routers(self) -> tuple[str, ...]:
        return tuple(entry.split()[0] for entry in self.topology.sysctls if "ip_forward=1" in entry)


def _topology(
    roles: tuple[str, ...],
    wires: list[Wire],
    *,
    cables: list[str],
    routes: list[str],
    routers: tuple[str, ...],
    bridges: tuple[str, ...] = (),
) -> Topology:
    addresses = tuple(line for wire in wires for line in wire.addresses())
    return Topology(
        title="random",
        roles=roles,
        cables=tuple(cables),
        bridges=bridges,
        addresses=addresses,
        routes=tuple(routes),
        sysctls=tuple(f"{role} {FORWARDS}" for role in routers),
    )


def default(role: str, towards: Wire) -> list[str]:
    return [f"{role} default via {towards.v4}", f"{role} default via {towards.v6}"]


def subnet(role: str, number: int, towards: Wire) -> list[str]:
    return [f"{role} 10.77.{number}.0/24 via {towards.v4}", f"{role} fd77:{number:x}::/64 via {towards.v6}"]


def chain(dice: random.Random, routers: int | None = None) -> Sketch:
    """ns1 -- r1 -- ... -- rN -- ns2; without routers the two ends of one cable."""
    count = dice.choice((0, 1, 1, 2, 2, 3, 4)) if routers is None else routers
    roles = ("ns1", *(f"r{n}" for n in range(1, count + 1)), "ns2")
    pairs = [
        (Wire(left, "right", n + 1, 1), Wire(right, "left", n + 1, 2))
        for n, (left, right) in enumerate(itertools.pairwise(roles))
    ]
    wires = [wire for pair in pairs for wire in pair]
    routes = []
    for place, role in enumerate(roles):
        for number in range(1, len(pairs) + 1):
            if number > place + 1:
                routes += subnet(role, number, pairs[place][1])
            elif number < place:
                routes += subnet(role, number, pairs[place - 1][0])
    cables = [f"{one.role}:{one.device} {other.role}:{other.device}" for one, other in pairs]
    return Sketch("chain", _topology(roles, wires, cables=cables, routes=routes, routers=roles[1:-1]), tuple(wires))


def bridge(dice: random.Random) -> Sketch:
    """A host with 2-4 containers on br0 and an uplink."""
    names = tuple(f"ns{n}" for n in range(1, dice.choice((2, 3, 4)) + 1))
    host, up, out = Wire("host", "br0", 1, 1), Wire("host", "up0", 2, 1), Wire("out", "eth0", 2, 2)
    inside = [Wire(name, "eth0", 1, 10 + n) for n, name in enumerate(names)]
    ports = [f"port{n}" for n in range(1, len(names) + 1)]
    cables = [f"host:{port} {wire.role}:eth0" for port, wire in zip(ports, inside, strict=True)]
    routes = [line for wire in inside for line in default(wire.role, host)] + default("out", up)
    wires = [host, up, out, *inside]
    made = _topology(
        ("host", *names, "out"),
        wires,
        cables=[*cables, "host:up0 out:eth0"],
        routes=routes,
        routers=("host",),
        bridges=(f"host br0 {' '.join(ports)}",),
    )
    return Sketch("bridge", made, tuple(wires), tuple(("host", port) for port in ports))


def macvlan(dice: random.Random) -> Sketch:
    """2-3 macvlans of any mode on the host's uplink; the LAN's router is their gateway."""
    names = tuple(f"ns{n}" for n in range(1, dice.choice((2, 3)) + 1))
    host, out, far = Wire("host", "up0", 1, 1), Wire("out", "eth0", 1, 254), Wire("far", "eth0", 2, 2)
    beyond = Wire("out", "eth1", 2, 1)
    lan = [host, out, far, beyond]
    inside = [Wire(name, "eth0", 1, 10 + n) for n, name in enumerate(names)]
    routes = [*default("host", out), *default("far", beyond)]
    lines: list[tuple[str, str, str]] = []
    for wire in inside:
        mode = dice.choice(MACVLAN_MODES)
        lines.append(("ip", "host", f"link add link up0 name eth0 netns {{{wire.role}}} type macvlan mode {mode}"))
        lines += [("ip", wire.role, f"addr add {address} dev eth0") for address in (f"{wire.v4}/24", f"{wire.v6}/64")]
        lines.append(("ip", wire.role, "link set eth0 up"))
        lines += [("ip", wire.role, f"route add default via {address}") for address in (out.v4, out.v6)]
    made = _topology(
        ("host", *names, "out", "far"),
        lan,
        cables=["host:up0 out:eth0", "out:eth1 far:eth0"],
        routes=routes,
        routers=("out",),
    )
    return Sketch("macvlan", made, (*lan, *inside), (), tuple(lines))


def vxlan(dice: random.Random) -> Sketch:
    """Two hosts, a bridge and a container on each, a vxlan between the bridges; the underlay has a router or not."""
    routed = dice.random() < 0.5
    h1, h2 = Wire("host", "up0", 2, 1), Wire("host2", "up0", 3 if routed else 2, 2)
    wires = [h1, h2]
    cables, routes = ["host:port1 ns1:eth0", "host2:port1 ns2:eth0"], []
    if routed:
        r1, r2 = Wire("r1", "left", 2, 2), Wire("r1", "right", 3, 1)
        wires += [r1, r2]
        cables += ["host:up0 r1:left", "r1:right host2:up0"]
        routes += default("host", r1) + default("host2", r2)
    else:
        cables.append("host:up0 host2:up0")
    b1, b2 = Wire("host", "br0", 1, 1), Wire("host2", "br0", 1, 2)
    inside = [Wire("ns1", "eth0", 1, 11), Wire("ns2", "eth0", 1, 12)]
    wires += [b1, b2, *inside]
    routes += default("ns1", b1) + default("ns2", b2)
    lines = []
    for role, here, there in (("host", h1, h2), ("host2", h2, h1)):
        lines += [
            ("ip", role, f"link add vx0 type vxlan id 42 dstport 4789 local {here.v4} remote {there.v4} dev up0"),
            ("ip", role, "link set vx0 mtu 1450 master br0 up"),
        ]
    lines += [("ip", role, "link set eth0 mtu 1450") for role in ("ns1", "ns2")]
    roles = ("host", "host2", "ns1", "ns2", *(["r1"] if routed else []))
    made = _topology(
        roles,
        wires,
        cables=cables,
        routes=routes,
        routers=("host", "host2", *(["r1"] if routed else [])),
        bridges=("host br0 port1", "host2 br0 port1"),
    )
    ports = (("host", "port1"), ("host2", "port1"))
    return Sketch("vxlan", made, tuple(wires), ports, tuple(lines), (("host", "vx0"), ("host2", "vx0")))


KINDS: dict[str, Callable[[random.Random], Sketch]] = {
    "bridge": bridge,
    "chain": chain,
    "macvlan": macvlan,
    "vxlan": vxlan,
}


def quiet(sketch: Sketch) -> Sketch:
    """Its proxies answer at once: by itself the kernel waits up to 0.8 s."""
    devices = dict.fromkeys(tuple(entry.split()[:2]) for entry in sketch.topology.addresses)
    settings = tuple(f"{role} net.ipv4.neigh.{device}.proxy_delay=0" for role, device in devices)
    return sketch._replace(topology=replace(sketch.topology, sysctls=(*sketch.topology.sysctls, *settings)))
