"""Whatever is asked, rulesets, the tables that are loaded, their generation and connections stay as they were."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest
from lab import World
from lab.world import PROJECT
from walk.netfilter.inside import call_inside

from netdoctor.netlink.wire import NETLINK_NETFILTER, Reader
from netdoctor.observe.nftables import generation

STATE = """
for family in ip ip6 arp; do echo $family $(sort /proc/net/${family}_tables_names | xargs); done
nft -a list ruleset
ipset save
conntrack -L 2>/dev/null | sort
ls /sys/module | grep -E '^(x_|ip_|ip6_|arp_|nf_|nft_|xt_|ebt|ip_set)' | sort
ip -d -o link | sed -E 's/(promiscuity|allmulti) [0-9]+//g'
"""
LEGACY = "iptables-legacy-save -c; grep -q . /proc/net/ip6_tables_names && exit 1; true"
RULESETS = {
    "nothing": ("true", "true"),
    "legacy": ("iptables-legacy -A FORWARD -m conntrack --ctstate NEW -j ACCEPT; iptables-legacy -t nat -N X", LEGACY),
    "legacy arp": ("arptables-legacy -A INPUT -s 10.9.9.9 -j DROP", "true"),
    "legacy six": ("ip6tables-legacy -t mangle -A FORWARD -j ACCEPT", "ip6tables-legacy-save | sed 's/ .[0-9]*:.*//'"),
    "iptables-nft": ("iptables-nft -A FORWARD -s 10.0.0.0/24 -j ACCEPT; ip6tables-nft -t raw -N X", "iptables-nft-save -c"),
    "nft": (
        "nft 'table inet t { set s { type ipv4_addr; flags interval; elements = { 8.0.0.0/8, * }; }; chain c { type filter "
        "hook forward priority 0; ip daddr @s counter accept; }; }'; nft 'table arp a { }'; nft 'table bridge b { }'",
        "true",
    ),
    "ipset": ("ipset create s hash:ip; ipset add s 8.8.8.8; iptables-legacy -A FORWARD -m set --match-set s dst", LEGACY),
}  # fmt: skip
COMMANDS = (
    ("check", "NS", "--no-probe"), ("check", "NS", "--no-probe", "-f", "json"), ("check", "--all", "--no-probe"),
    ("snapshot", "NS", "--no-probe", "-o", "/dev/null"), ("list",), ("check", "NS", "--no-probe", "--to", "fd00::1"),
)  # fmt: skip


@pytest.fixture(params=RULESETS)
def laid(request: pytest.FixtureRequest) -> Iterator[tuple[World, str]]:
    """The host with one of the rulesets, and how its counters are read."""
    make, counted = RULESETS[request.param]
    with World("veth-nft") as world:
        world.sh(make)
        yield world, STATE + counted


def state(world: World, read: str) -> list[str]:
    lines = [world.sh(read, role=role) for role in ("host", "ns1")]
    return [line for role in lines for line in role.splitlines() if not line.startswith("# ")]


def number(world: World) -> int:
    def ask() -> int:
        with Reader(NETLINK_NETFILTER) as reader:
            return generation(reader)

    return call_inside(world.name("host"), ask)


def netdoctor(world: World, *words: str) -> int:
    command = ["ip", "netns", "exec", world.name("host"), sys.executable, "-m", "netdoctor"]
    words = tuple(world.name("ns1") if word == "NS" else word for word in words)
    return subprocess.run(
        [*command, *words], env={**os.environ, "PYTHONPATH": str(PROJECT)}, capture_output=True, timeout=60, check=False
    ).returncode  # fmt: skip


def test_no_command_leaves_a_trace(laid: tuple[World, str]) -> None:
    world, read = laid
    monitor = subprocess.Popen(
        ["ip", "netns", "exec", world.name("host"), "nft", "monitor"], stdout=subprocess.PIPE, text=True
    )
    try:
        time.sleep(0.2)
        before, counted = state(world, read), number(world)
        for words in COMMANDS:
            assert netdoctor(world, *words) in (0, 1), words
            assert (number(world), state(world, read)) == (counted, before), words
    finally:
        monitor.terminate()
        said = monitor.communicate()[0]
    assert said == "", "nft monitor saw the ruleset change"


def test_a_probe_moves_counters_and_nothing_else(laid: tuple[World, str]) -> None:
    world, _ = laid
    still = STATE.replace("conntrack -L 2>/dev/null | sort", "true").replace("nft -a", "nft -s -a")
    before, counted = state(world, still), number(world)
    assert netdoctor(world, "check", "NS") in (0, 1)
    assert (number(world), state(world, still)) == (counted, before)
