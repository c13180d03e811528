#!/usr/bin/env python3
"""What a check costs on a host with many interfaces, routes and neighbours, beside the plain host and the same by hand.

usage: bench_routes.py [--rounds 5] [--interfaces 500] [--routes 20000] [--neighbours 5000]

Prints a table; judges nothing. CPU is user + system time of the process and its children. By hand: ip in both
namespaces, sysctl and two pings. Needs root.
"""

import argparse
import statistics
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from bench.bench_check import Cost, measure
from lab import World, registry

READ = "ip addr; ip route show table all; ip -6 route show table all; ip rule; ip neigh; sysctl net.ipv4.ip_forward"


def crowd(world: World, interfaces: int, routes: int, neighbours: int) -> None:
    """Fills the host: pairs of veths with an address each, routes in main and table 100, entries on the uplink."""
    pairs = range(interfaces // 2)
    world.ip("host", [f"link add c{n} type veth peer name e{n}" for n in pairs])
    world.ip("host", [f"link set c{n} up" for n in pairs] + [f"link set e{n} up" for n in pairs])
    world.ip("host", [f"addr add 10.{100 + n // 250}.{n % 250}.1/24 dev c{n}" for n in pairs])
    tables = ("main", "100")
    world.ip("host", [
        f"route add 20.{n >> 8 & 255}.{n & 255}.{n >> 16 << 6}/26 via 192.168.0.1 table {tables[n % 2]}" for n in range(routes)
    ])  # fmt: skip
    world.ip("host", [
        f"neigh add 192.168.{n >> 8 & 255}.{n & 255} dev wlp1s0 lladdr 02:00:00:00:{n >> 8:02x}:{n & 255:02x} nud permanent"
        for n in range(512, 512 + neighbours)
    ])  # fmt: skip


def costs(world: World, rounds: int) -> dict[str, list[Cost]]:
    """Both ways in turn."""
    host, inside = world.name("host"), world.name("ns1")
    check = [sys.executable, "-m", "netdoctor", "check", inside, "--no-probe"]
    hands = f"ip netns exec {host} sh -c '{READ}'\nip netns exec {inside} sh -c '{READ}'\n"
    hands += f"ip netns exec {inside} ping -c1 -W1 8.8.8.8\nip netns exec {inside} ping -c1 -W1 10.0.0.1\n"
    ways = {
        "netdoctor check --no-probe": (["ip", "netns", "exec", host, *check], ""),
        "netdoctor check": (["ip", "netns", "exec", host, *check[:-1]], ""),
        "by hand": (["sh"], hands),
    }
    found: dict[str, list[Cost]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, (command, stdin) in ways.items():
            found[name].append(measure(command, stdin))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--interfaces", type=int, default=500)
    parser.add_argument("--routes", type=int, default=20_000)
    parser.add_argument("--neighbours", type=int, default=5_000)
    asked = parser.parse_args()
    registry.reap()
    print(f"{'':36}{'CPU ms (median)':>18}{'wall ms':>10}{'MB':>8}")
    for title in ("plain", "crowded"):
        with World("veth") as world:
            if title == "crowded":
                crowd(world, asked.interfaces, asked.routes, asked.neighbours)
            for name, found in costs(world, asked.rounds).items():
                cpu, wall = (statistics.median(getattr(one, field) for one in found) for field in ("cpu_ms", "wall_ms"))
                print(f"{title + ': ' + name:36}{cpu:18.0f}{wall:10.0f}{max(one.rss_mb for one in found):8.0f}")


if __name__ == "__main__":
    main()
