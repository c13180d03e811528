#!/usr/bin/env python3
"""What large rulesets cost: a check, a whole snapshot, and what iptables-save and nft list ruleset take for the same.

usage: bench_firewall.py [--services 4500] [--flat 20000] [--rounds 3] [--only legacy|iptables-nft|nft]

Kube-proxy's shape (4,500 services: 50,000 rules in 18,000 chains) and one flat chain whose last rule drops, in each
backend, beside the empty ruleset. The ways take turns. CPU is user + system time of the process and its children;
reading the kernel counts as system time. Prints a table; judges nothing. Needs root.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from bench_check import Cost, compile_all, measure
from lab import World, registry
from large_rulesets import SERVED, flat_iptables, flat_nft, kube_iptables, kube_nft

SERVER = "8.8.8.8"
ICMP_DROP = "-A FORWARD -d 8.8.8.8/32 -p icmp -j DROP"
NFT_ICMP_DROP = f"ip daddr {SERVER} meta l4proto icmp counter drop"
BACKENDS = ("legacy", "iptables-nft", "nft")


def load(world: World, command: str, text: str) -> None:
    """Puts a ruleset into the host."""
    began = time.monotonic()
    with tempfile.NamedTemporaryFile("w", suffix=".rules") as file:
        file.write(text)
        file.flush()
        where = ["ip", "netns", "exec", world.name("host"), "sh", "-c", f"{command} {file.name}"]
        subprocess.run(where, check=True, stdout=subprocess.DEVNULL, timeout=600)
    print(f"  ({len(text.splitlines())} lines loaded in {time.monotonic() - began:.1f} s)", flush=True)


def kube(world: World, backend: str, services: int) -> None:
    if backend == "nft":
        load(world, "nft -f", kube_nft(services, SERVER))
    else:
        load(world, f"iptables-{backend.removeprefix('iptables-')}-restore --noflush", kube_iptables(services, SERVER))


def flat(world: World, backend: str, rules: int) -> None:
    world.sh("iptables-legacy -F FORWARD; iptables-legacy -P FORWARD ACCEPT" if backend == "legacy" else "true")
    if backend == "nft":
        load(world, "nft -f", flat_nft(rules, NFT_ICMP_DROP))
    else:
        load(world, f"iptables-{backend.removeprefix('iptables-')}-restore --noflush", flat_iptables(rules, ICMP_DROP))


def ways(world: World, backend: str, file: str) -> dict[str, list[str]]:
    """Name -> command, all from inside the host."""
    inside = ["ip", "netns", "exec", world.name("host")]
    doctor = [*inside, sys.executable, "-m", "netdoctor"]
    target = world.name("ns1")
    save = f"iptables-{backend.removeprefix('iptables-')}-save" if backend != "nft" else "iptables-nft-save"
    return {
        save: [*inside, save, "-c"],
        "nft list ruleset": [*inside, "nft", "-a", "list", "ruleset"],
        "check": [*doctor, "check", target],
        f"check --to {SERVED} --port 80/tcp": [*doctor, "check", target, "--to", SERVED, "--port", "80/tcp"],
        "snapshot": [*doctor, "snapshot", target, "-o", file],
        "check --from": [*doctor, "check", "--from", file],
    }


def measured(title: str, commands: dict[str, list[str]], rounds: int) -> None:
    costs: dict[str, list[Cost]] = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            costs[name].append(measure(command))
    for name, runs in costs.items():
        cpu, wall = (statistics.median(getattr(run, key) for run in runs) for key in ("cpu_ms", "wall_ms"))
        print(f"{title + ': ' + name:58} {cpu:8.0f} {wall:8.0f} {max(run.rss_mb for run in runs):8.0f}", flush=True)


def told(world: World, asked: tuple[str, ...]) -> str:
    """The verdict, and what is named."""
    report = world.netdoctor("check", "ns1", *asked).report
    causes = [f"{one['id']}: {one.get('summary', '')[:100]}" for one in report.get("root_causes") or []]
    return f"{report.get('verdict')} {'; '.join(causes)}"


def bench(title: str, backend: str, prepare: Callable[[World], None], rounds: int) -> None:
    with World("veth-legacy" if backend == "legacy" else "veth") as world, tempfile.TemporaryDirectory() as folder:
        prepare(world)
        file = f"{folder}/snapshot.json"
        measured(title, ways(world, backend, file), rounds)
        for asked in ((), ("--to", SERVED, "--port", "80/tcp")):
            print(f"  (check {' '.join(asked)}: {told(world, asked)})")
        print(f"  (the snapshot's file: {os.path.getsize(file) / 1e6:.1f} MB)")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--services", type=int, default=4500)
    parser.add_argument("--flat", type=int, default=20000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=BACKENDS)
    options = parser.parse_args()
    registry.reap()
    compile_all()
    print(f"{'median of ' + str(options.rounds):58} {'CPU ms':>8} {'wall ms':>8} {'peak MB':>8}")
    for backend in (options.only,) if options.only else BACKENDS:
        bench(f"{backend} empty", backend, lambda _: None, options.rounds)
        bench(f"{backend} kube", backend, lambda world, b=backend: kube(world, b, options.services), options.rounds)  # type: ignore[misc]
        bench(f"{backend} flat", backend, lambda world, b=backend: flat(world, b, options.flat), options.rounds)  # type: ignore[misc]
    return 0


if __name__ == "__main__":
    sys.exit(main())
