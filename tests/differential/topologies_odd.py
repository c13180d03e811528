"""Faults and oddities for random topologies: each is some lines of ip, bridge or sysctl, and a name to count it by."""

import random
from collections.abc import Callable

from .topologies import Sketch, Wire

Lines = list[tuple[str, str, str]]


def _ip(role: str, *lines: str) -> Lines:
    return [("ip", role, line) for line in lines]


def _neighbour_of(dice: random.Random, sketch: Sketch, wire: Wire) -> Wire | None:
    others = [one for one in sketch.wires if one.number == wire.number and one.role != wire.role]
    return dice.choice(others) if others else None


def _random_mac(dice: random.Random) -> str:
    return "02:" + ":".join(f"{dice.randrange(256):02x}" for _ in range(5))


def link_down(dice: random.Random, sketch: Sketch) -> Lines:
    wire = dice.choice(sketch.wires)
    return _ip(wire.role, f"link set {wire.device} down")


def link_bounced(dice: random.Random, sketch: Sketch) -> Lines:
    wire = dice.choice(sketch.wires)
    return _ip(wire.role, f"link set {wire.device} down", f"link set {wire.device} up")


def port_down(dice: random.Random, sketch: Sketch) -> Lines:
    role, port = dice.choice(sketch.ports)
    return _ip(role, f"link set {port} down")


def loopback_down(dice: random.Random, sketch: Sketch) -> Lines:
    return _ip(dice.choice(sketch.wires).role, "link set lo down")


def address_missing(dice: random.Random, sketch: Sketch) -> Lines:
    wire = dice.choice(sketch.wires)
    return _ip(wire.role, f"addr del {dice.choice((f'{wire.v4}/24', f'{wire.v6}/64'))} dev {wire.device}")


def address_wrong(dice: random.Random, sketch: Sketch) -> Lines:
    wire = dice.choice(sketch.wires)
    return _ip(
        wire.role,
        f"addr add 10.77.{dice.choice((wire.number, 60))}.77/24 dev {wire.device}",
        f"addr del {wire.v4}/24 dev {wire.device}",
    )


def mask_wrong(dice: random.Random, sketch: Sketch) -> Lines:
    wire = dice.choice(sketch.wires)
    if dice.random() < 0.5:
        bits = dice.choice((16, 25, 28, 30, 32))
        return _ip(
            wire.role,
            f"addr del {wire.v4}/24 dev {wire.device}",
            f"addr add {wire.v4}/{bits} dev {wire.device}",
        )
    bits = dice.choice((16, 32, 125, 128))
    return _ip(
        wire.role,
        f"addr del {wire.v6}/64 dev {wire.device}",
        f"addr add {wire.v6}/{bits} dev {wire.device} nodad",
    )


def second_address(dice: random.Random, sketch: Sketch) -> Lines:
    wire, number = dice.choice(sketch.wires), dice.choice((1, 2, 3, 50))
    return _ip(
        wire.role,
        f"addr add 10.77.{number}.{dice.randrange(100, 120)}/24 dev {wire.device}",
        f"addr add fd77:{number:x}::{dice.randrange(100, 120):x}/64 dev {wire.device} nodad",
    )


def address_of_other(dice: random.Random, sketch: Sketch) -> Lines:
    """A duplicate: another's address as a second one, on the loopback so that nobody else is told of it, or on a wire."""
    wire, other = dice.choice(sketch.wires), dice.choice(sketch.wires)
    if wire.role == other.role or wire.number == other.number:
        return []
    return _ip(wire.role, f"addr add {other.v4}/32 dev lo", f"addr add {other.v6}/128 dev lo nodad")


def neighbour_wrong(dice: random.Random, sketch: Sketch) -> Lines:
    wire = dice.choice(sketch.wires)
    other = _neighbour_of(dice, sketch, wire)
    if other is None:
        return []
    address = dice.choice((other.v4, other.v6))
    return _ip(wire.role, f"neigh replace {address} lladdr {_random_mac(dice)} dev {wire.device} nud permanent")


def neighbour_stale(dice: random.Random, sketch: Sketch) -> Lines:
    wire = dice.choice(sketch.wires)
    other = _neighbour_of(dice, sketch, wire)
    if other is None:
        return []
    address = dice.choice((other.v4, other.v6))
    return _ip(
        wire.role, f"neigh replace {address} lladdr {{mac {other.role} {other.device}}} dev {wire.device} nud permanent"
    )


def route_odd(dice: random.Random, sketch: Sketch) -> Lines:
    role = dice.choice(sketch.topology.roles)
    target = dice.choice(sketch.wires)
    kind = dice.choice(("blackhole", "unreachable", "prohibit"))
    return _ip(role, dice.choice((
        f"route add {kind} {target.v4}/32", f"route add {kind} {target.v6}/128",
        f"route add {kind} 10.77.{target.number}.0/25",
    )))  # fmt: skip


def route_missing(dice: random.Random, sketch: Sketch) -> Lines:
    entry = dice.choice(sketch.topology.routes)
    role, route = entry.split(maxsplit=1)
    return _ip(role, f"{'-6 ' if ':' in route else ''}route del {route}")


def route_elsewhere(dice: random.Random, sketch: Sketch) -> Lines:
    """A route to one address by another neighbour, who may send it on or not."""
    wire, target = dice.choice(sketch.wires), dice.choice(sketch.wires)
    other = _neighbour_of(dice, sketch, wire)
    if other is None or target.role == wire.role:
        return []
    return _ip(
        wire.role, f"route replace {target.v4}/32 via {other.v4}", f"route replace {target.v6}/128 via {other.v6}"
    )


def route_direct(dice: random.Random, sketch: Sketch) -> Lines:
    """A route that takes a far address for a near one: only a proxy answers for it."""
    wire, target = dice.choice(sketch.wires), dice.choice(sketch.wires)
    if target.role == wire.role:
        return []
    return _ip(wire.role, f"route replace {target.v4}/32 dev {wire.device}")


def proxy_arp(dice: random.Random, sketch: Sketch) -> Lines:
    wire, target = dice.choice(sketch.wires), dice.choice(sketch.wires)
    other = _neighbour_of(dice, sketch, wire)
    if other is None or target.role in (wire.role, other.role) or target.number == wire.number:
        return []
    lines = _ip(wire.role, f"route replace {target.v4}/32 dev {wire.device}")
    return [*lines, ("sysctl", other.role, f"net/ipv4/conf/{other.device}/proxy_arp=1")]


def arp_behaviour(dice: random.Random, sketch: Sketch) -> Lines:
    wire = dice.choice(sketch.wires)
    name, value = dice.choice((
        ("arp_ignore", 1), ("arp_ignore", 2), ("arp_ignore", 8), ("arp_filter", 1), ("arp_announce", 1), ("arp_announce", 2),
    ))  # fmt: skip
    return [("sysctl", wire.role, f"net/ipv4/conf/{dice.choice((wire.device, 'all'))}/{name}={value}")]


def forwarding_off(dice: random.Random, sketch: Sketch) -> Lines:
    if not sketch.routers:
        return []
    role = dice.choice(sketch.routers)
    device = dice.choice([wire.device for wire in sketch.wires if wire.role == role])
    family, where = dice.choice(("ipv4", "ipv6")), dice.choice((device, "all"))
    return [("sysctl", role, f"net/{family}/conf/{where}/forwarding=0")]


def rp_filter(dice: random.Random, sketch: Sketch) -> Lines:
    role = dice.choice(sketch.topology.roles)
    devices = [wire.device for wire in sketch.wires if wire.role == role]
    return [("sysctl", role, f"net/ipv4/conf/{dice.choice((*devices, 'all'))}/rp_filter={dice.choice((1, 1, 2))}")]


def port_flag(dice: random.Random, sketch: Sketch) -> Lines:
    role, port = dice.choice(sketch.ports)
    flag = dice.choice((
        "isolated on", "learning off", "flood off", "learning off flood off", "mcast_flood off", "bcast_flood off",
        "hairpin on", "locked on", "state 0", "state 4",
    ))  # fmt: skip
    return [("bridge", role, f"link set dev {port} {flag}")]


def ports_isolated(dice: random.Random, sketch: Sketch) -> Lines:
    return [("bridge", role, f"link set dev {port} isolated on") for role, port in sketch.ports[:2]]


def static_entry(dice: random.Random, sketch: Sketch) -> Lines:
    """A static forwarding entry, on the right port or not."""
    role, port = dice.choice(sketch.ports)
    inside = [wire for wire in sketch.wires if wire.number == 1 and wire.device == "eth0"]
    wire = dice.choice(inside)
    return [("bridge", role, f"fdb replace {{mac {wire.role} eth0}} dev {port} master static")]


def mac_of_bridge(dice: random.Random, sketch: Sketch) -> Lines:
    """A container with the MAC of the bridge, or the bridge with the container's."""
    role, _ = dice.choice(sketch.ports)
    wire = dice.choice([one for one in sketch.wires if one.number == 1 and one.device == "eth0"])
    mac = _random_mac(dice)
    return [*_ip(role, f"link set br0 address {mac}"), *_ip(wire.role, f"link set eth0 address {mac}")]


def mac_duplicate(dice: random.Random, sketch: Sketch) -> Lines:
    inside = [one for one in sketch.wires if one.number == 1 and one.device == "eth0"]
    first, second = dice.sample(inside, 2)
    mac = _random_mac(dice)
    return [*_ip(first.role, f"link set eth0 address {mac}"), *_ip(second.role, f"link set eth0 address {mac}")]


def mtu_small(dice: random.Random, sketch: Sketch) -> Lines:
    wire = dice.choice(sketch.wires)
    return _ip(wire.role, f"link set {wire.device} mtu {dice.choice((1280, 1300, 1400, 1450))}")


def default_ttl(dice: random.Random, sketch: Sketch) -> Lines:
    return [("sysctl", dice.choice(sketch.topology.roles), f"net/ipv4/ip_default_ttl={dice.choice((1, 2, 3))}")]


def echo_ignored(dice: random.Random, sketch: Sketch) -> Lines:
    role = dice.choice(sketch.topology.roles)
    return [("sysctl", role, dice.choice(("net/ipv4/icmp_echo_ignore_all=1", "net/ipv6/icmp/echo_ignore_all=1")))]


def no_arp(dice: random.Random, sketch: Sketch) -> Lines:
    wire = dice.choice(sketch.wires)
    return _ip(wire.role, f"link set {wire.device} arp off")


def ipv6_disabled(dice: random.Random, sketch: Sketch) -> Lines:
    wire = dice.choice(sketch.wires)
    return [("sysctl", wire.role, f"net/ipv6/conf/{wire.device}/disable_ipv6=1")]


def tunnel_odd(dice: random.Random, sketch: Sketch) -> Lines:
    role, device = dice.choice(sketch.tunnels)
    here = next(wire for wire in sketch.wires if wire.role == role and wire.device == "up0")
    other = next(wire for wire in sketch.wires if wire.role != role and wire.device == "up0")
    what = dice.choice(("down", "vni", "port", "remote", "learning"))
    if what == "down":
        return _ip(role, f"link set {device} down")
    vni, port = 43 if what == "vni" else 42, 8472 if what == "port" else 4789
    remote = "10.77.2.200" if what == "remote" else other.v4
    rest = " nolearning" if what == "learning" else ""
    return _ip(
        role, f"link del {device}",
        f"link add {device} type vxlan id {vni} dstport {port} local {here.v4} remote {remote} dev up0{rest}",
        f"link set {device} mtu 1450 master br0 up",
    )  # fmt: skip


EVERYWHERE: tuple[Callable[[random.Random, Sketch], Lines], ...] = (
    link_down, link_bounced, loopback_down, address_missing, address_wrong, mask_wrong, second_address,
    address_of_other, neighbour_wrong, neighbour_stale, route_odd, route_missing, route_elsewhere, route_direct,
    proxy_arp, arp_behaviour, forwarding_off, rp_filter, mtu_small, mtu_small, default_ttl, echo_ignored, no_arp,
    ipv6_disabled,
)  # fmt: skip
ON_PORTS = (port_down, port_flag, port_flag, port_flag, static_entry, mac_of_bridge, mac_duplicate)
SEVERAL = (ports_isolated,)


def oddities(dice: random.Random, sketch: Sketch) -> list[tuple[str, Lines]]:
    """Up to four of what may be done to this topology, by name."""
    possible: list[Callable[[random.Random, Sketch], Lines]] = list(EVERYWHERE)
    possible += [*ON_PORTS * 2] if sketch.ports else []
    possible += [*SEVERAL] if sketch.kind == "bridge" else []
    possible += [tunnel_odd] * 6 if sketch.tunnels else []
    count = dice.choices((0, 1, 2, 3, 4), (1, 4, 4, 3, 2))[0]
    made = [(one.__name__, one(dice, sketch)) for one in dice.choices(possible, k=count)]
    return [(name, lines) for name, lines in made if lines]
