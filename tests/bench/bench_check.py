#!/usr/bin/env python3
"""What a check costs beside doing the same by hand, on the article's network. Prints a table; judges nothing.

usage: bench_check.py [--rounds 15] [--faults]

By hand: ip, sysctl, iptables-save, nft, conntrack in both namespaces and four pings, as one shell script. The ways take
turns, so that a busy machine slows all alike. CPU is user + system time of the process and its children. With --faults
also how long it takes from the question to the verdict on common faults. Needs root.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from corpus.cases import load
from corpus.verify import inject, prepare
from lab import World, registry
from lab.world import PROJECT

FAULTS = (
    "host-end-down",
    "port-disabled",
    "gateway-mac-wrong",
    "container-default-gone",
    "gateway-address-nobody-has",
    "ip-forward-off",
    "forward-policy-drop",
    "masquerade-gone",
    "frag-needed-dropped",
    "destination-drops",
)
READ = """
ip addr; ip route show table all; ip rule; ip neigh; bridge link; tc qdisc
sysctl net.ipv4.ip_forward net.ipv4.conf.all.rp_filter net.ipv4.conf.all.forwarding
iptables-nft-save; iptables-legacy-save; nft list ruleset; conntrack -L
"""
PINGS = ("ns1 10.0.0.1", "ns1 192.168.0.1", "ns1 8.8.8.8", "host 8.8.8.8")


class Cost(NamedTuple):
    wall_ms: float
    cpu_ms: float
    rss_mb: float


def measure(command: list[str], stdin: str = "") -> Cost:
    """One run's cost. The peak is of the largest process in it."""
    env = {**os.environ, "PYTHONPATH": str(PROJECT)}
    began = time.monotonic()
    child = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env, text=True
    )
    if child.stdin:
        child.stdin.write(stdin)
        child.stdin.close()
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    return Cost((time.monotonic() - began) * 1000, (used.ru_utime + used.ru_stime) * 1000, used.ru_maxrss / 1024)


def by_hand(world: World) -> str:
    """The shell script: the same reading in the host and in the container, then the pings."""
    read = "".join(f"ip netns exec {world.name(role)} sh -c '{READ}'\n" for role in ("host", "ns1"))
    pings = [pair.split() for pair in PINGS]
    return read + "".join(f"ip netns exec {world.name(role)} ping -c1 -W1 {dest}\n" for role, dest in pings)


def ways(world: World) -> dict[str, tuple[list[str], str]]:
    """Name -> the command and what it reads on stdin."""
    inside = [
        "ip",
        "netns",
        "exec",
        world.name("host"),
        sys.executable,
        "-m",
        "netdoctor",
        "check",
        world.name("ns1"),
    ]
    return {
        "by hand": (["sh"], by_hand(world)),
        "netdoctor check": (inside, ""),
        "netdoctor check --format json": ([*inside, "--format", "json"], ""),
        "netdoctor check --no-probe": ([*inside, "--no-probe", "--format", "json"], ""),
    }


def compile_all() -> None:
    """As an installed package is: with its bytecode beside it, whatever the environment says of writing it."""
    places = [str(PROJECT / folder) for folder in ("netdoctor", "checks", "reports")]
    subprocess.run([sys.executable, "-m", "compileall", "-q", *places], check=False, stdout=subprocess.DEVNULL)


def side_by_side(rounds: int) -> None:
    compile_all()
    with World("veth") as world:
        costs: dict[str, list[Cost]] = {name: [] for name in ways(world)}
        for _ in range(rounds + 1):  # the first round fills caches and is left out
            for name, (command, stdin) in ways(world).items():
                costs[name].append(measure(command, stdin))
    floor = statistics.median(cost.cpu_ms for cost in costs["by hand"][1:])
    print(f"{'median of ' + str(rounds):34} {'CPU ms':>8} {'ratio':>6} {'wall ms':>8} {'peak MB':>8}")
    for name, runs in costs.items():
        cpu, wall = (statistics.median(getattr(run, key) for run in runs[1:]) for key in ("cpu_ms", "wall_ms"))
        peak = max(run.rss_mb for run in runs[1:])
        print(f"{name:34} {cpu:8.1f} {cpu / floor:6.2f} {wall:8.1f} {peak:8.1f}")


def time_to_verdict() -> None:
    cases = load()
    print(f"\n{'time to verdict':34} {'CPU ms':>8} {'':6} {'wall ms':>8}  verdict")
    for name in FAULTS:
        with World(cases[name].world) as world:
            prepare(world, cases[name])
            inject(world, cases[name])
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            said = world.netdoctor("check", *cases[name].question)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu_ms = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000
        top = (said.report.get("root_causes") or [{}])[0]
        verdict = f"{said.report.get('verdict')} {top.get('id', '')}"
        print(f"{name:34} {cpu_ms:8.1f} {'':6} {said.seconds * 1000:8.1f}  {verdict}", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--faults", action="store_true", help="also the time to verdict on common faults")
    options = parser.parse_args()
    registry.reap()
    side_by_side(options.rounds)
    if options.faults:
        time_to_verdict()
    return 0


if __name__ == "__main__":
    sys.exit(main())
