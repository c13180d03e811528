"""Route lookup against the kernel: the same random rules, routes and questions, asked of both (RTM_GETROUTE)."""

import os
import random
import socket
import struct
from collections.abc import Iterator

import pytest
from lab import World

from netdoctor import target
from netdoctor.model.snapshot import Provenance
from netdoctor.netlink.wire import NETLINK_ROUTE, Reader, address, attribute, attributes, u32
from netdoctor.observe.observer import Observer
from netdoctor.walk.routing import Query, lookup
from netdoctor.walk.view import View

RTM_GETROUTE, RTM_F_LOOKUP_TABLE = 26, 0x1000
RTMSG = struct.Struct("=BBBBBBBBI")
ERRNO_TYPES = {101: ("none",), 113: ("unreachable",), 13: ("prohibit",), 22: ("blackhole",)}
TYPES = {1: "unicast", 2: "local", 3: "broadcast"}
PREFIXES = (
    "0.0.0.0/0",
    "8.0.0.0/8",
    "8.8.0.0/16",
    "8.8.8.0/24",
    "8.8.8.8/32",
    "10.0.0.0/8",
    "172.30.0.0/16",
    "172.30.4.0/24",
)
DESTINATIONS = (
    "8.8.8.8",
    "8.8.8.9",
    "8.8.4.4",
    "8.1.1.1",
    "9.9.9.9",
    "10.0.0.1",
    "10.0.0.2",
    "10.7.7.7",
    "172.30.4.4",
    "172.30.9.9",
)
GATEWAYS = ("10.0.0.1", "10.0.0.9", "")
SPECIAL = ("blackhole", "unreachable", "prohibit", "throw")


def routes(dice: random.Random) -> list[str]:
    """`ip route` and `ip rule` lines of one random world."""
    lines = []
    for _ in range(dice.randint(4, 14)):
        table = dice.choice(("main", "main", "100", "200"))
        prefix, metric = dice.choice(PREFIXES), dice.choice((0, 10, 50))
        tail = f"table {table} metric {metric}"
        if dice.random() < 0.25:
            lines.append(f"route replace {dice.choice(SPECIAL)} {prefix} {tail}")
            continue
        gateway = dice.choice(GATEWAYS)
        tos = dice.choice(("", "", "", "tos 0x10"))
        via = f"via {gateway} " if gateway else ""
        lines.append(f"route replace {prefix} {tos} {via}dev veth1 {tail}")
    for number in range(dice.randint(0, 5)):
        what = dice.choice(
            (
                "from 10.0.0.2",
                "to 8.8.8.0/24",
                "fwmark 0x5/0xff",
                "fwmark 7",
                "not fwmark 5",
                "ipproto tcp dport 443",
                "tos 0x10",
            )
        )
        action = dice.choice(
            ("lookup 100", "lookup 200", "lookup main suppress_prefixlength 0", "unreachable", "prohibit", "blackhole")
        )
        lines.append(f"rule add pref {1000 + number * 10} {what} {action}")
    return lines


def questions(dice: random.Random) -> Iterator[Query]:
    for destination in DESTINATIONS:
        yield Query(
            family=4,
            source=dice.choice(("10.0.0.2", "")),
            destination=destination,
            mark=dice.choice((0, 5, 7, 0x105)),
            protocol=dice.choice((1, 6)),
            source_port=40000,
            destination_port=dice.choice((80, 443)),
            tos=dice.choice((0, 0x10)),
        )


def ask_kernel(reader: Reader, query: Query) -> tuple[str, int, str]:
    """(type, table, gateway) as the kernel answers; for errors the table is 0."""
    source = attribute(2, socket.inet_aton(query.source)) if query.source else b""
    body = RTMSG.pack(socket.AF_INET, 32, 32 if query.source else 0, query.tos, 0, 0, 0, 0, RTM_F_LOOKUP_TABLE)
    body += attribute(1, socket.inet_aton(query.destination)) + source
    body += attribute(16, struct.pack("=I", query.mark)) + attribute(27, bytes([query.protocol]))
    body += attribute(28, struct.pack("!H", query.source_port)) + attribute(
        29, struct.pack("!H", query.destination_port)
    )
    try:
        answer = reader.get(RTM_GETROUTE, body)
    except OSError as error:
        return ERRNO_TYPES[error.errno or 0][0], 0, ""
    found = attributes(answer[12:])
    gateway = address(found[5]) if 5 in found else ""
    return TYPES[RTMSG.unpack_from(answer)[7]], u32(found[15]), gateway


def compare(rounds: int, seed: int) -> None:
    dice = random.Random(seed)
    with World("veth") as world:
        for number in range(rounds):
            lines = routes(dice)
            world.run("ns1", "sh", "-c", "ip route flush table main; ip route flush table 100; ip route flush table 200; "
                      "ip rule flush; ip rule add pref 32766 lookup main; ip rule add pref 32767 lookup default; "
                      "ip addr flush dev veth1; ip addr add 10.0.0.2/24 dev veth1; true")  # fmt: skip
            for line in lines:
                world.run("ns1", "sh", "-c", f"ip {line} 2>/dev/null || true")
            _compare_one(world, dice, f"seed {seed} round {number}: {lines}")


def _compare_one(world: World, dice: random.Random, told: str) -> None:
    observer = Observer(target.resolve(world.name("ns1")), target.resolve(world.name("host")))
    try:
        snapshot = observer.begin(Provenance())
        view = View(snapshot)
        reader = observer.reader(snapshot.target, NETLINK_ROUTE)
        for query in questions(dice):
            theirs = ask_kernel(reader, query)
            found = lookup(view, snapshot.target, query)
            route_table = found.route.table if found.route and found.type in TYPES.values() else 0
            kind = (
                "none" if found.type == "unreachable" and found.route is None else found.type
            )  # ENETUNREACH: fib4_rule_action
            ours = (kind, route_table, found.hop.gateway if found.hop and found.type == "unicast" else "")
            assert ours == theirs, f"{query}: kernel {theirs}, walk {ours}; {told}"
    finally:
        observer.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make namespaces")
def test_random_routes_and_rules_as_the_kernel_answers() -> None:
    compare(rounds=6, seed=20261)


@pytest.mark.soak
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to make namespaces")
@pytest.mark.parametrize("seed", range(20))
def test_many_random_routes_and_rules(seed: int) -> None:
    compare(rounds=25, seed=seed)
