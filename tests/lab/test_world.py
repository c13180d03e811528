"""The laboratory itself: worlds are healthy, quick to read twice alike, and gone afterwards."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lab import TOPOLOGIES, World, registry
from lab.state import normalise
from lab.world import difference


@pytest.mark.parametrize("name", TOPOLOGIES)
def test_every_base_world_is_healthy(name: str, make_world: Callable[[str], World]) -> None:
    world = make_world(name)
    assert [spec for spec in world.topology.healthy if not world.probe(spec, tries=3)] == []


def test_state_is_the_same_when_nothing_happened(make_world: Callable[[str], World]) -> None:
    world = make_world("dual")
    before = world.state()
    world.probe("ping 8.8.8.8", tries=2)
    assert difference(before, world.state()) == []


def test_state_shows_a_change_and_its_undoing(world: World) -> None:
    before = world.state()
    world.sh("iptables-nft -A FORWARD -d 8.8.8.8 -j DROP; ns1 ip neigh add 10.0.0.9 lladdr 02:00:00:00:00:09 dev veth1")
    changed = difference(before, world.state())
    assert any("-d 8.8.8.8/32 -j DROP" in line for line in changed)
    assert any(line.startswith("+ns1 neigh 10.0.0.9") for line in changed)
    world.sh("iptables-nft -D FORWARD -d 8.8.8.8 -j DROP; ns1 ip neigh del 10.0.0.9 dev veth1")
    assert difference(before, world.state()) == []


def test_a_probe_fails_where_it_should(world: World) -> None:
    assert world.probe("ping 8.8.8.8", tries=2)
    world.sysctl("host", "net.ipv4.ip_forward=0")
    assert not world.probe("ping 8.8.8.8")
    assert not world.probe("tcp 8.8.8.8:80")
    assert world.probe("ping 10.0.0.1")


def test_a_rule_s_chain_is_part_of_its_line() -> None:
    text = "nft table inet gate {\nnft \tchain input {\nnft \t\ttcp dport 22 accept\nnft \t}\nnft }\n"
    assert normalise(text) == ["nft table inet gate / chain input: tcp dport 22 accept"]


def test_nothing_is_left_behind() -> None:
    with World("veth") as world:
        names = list(world.names.values())
        assert all((registry.NETNS / name).exists() for name in names)
    assert not any((registry.NETNS / name).exists() for name in names)
    assert not (registry.REGISTRY / f"{world.prefix}.json").exists()


KILLED = """
import os, sys
sys.path.insert(0, sys.argv[1])
from lab import World
world = World("veth").__enter__()
print(world.prefix, flush=True)
os._exit(9)
"""


def test_the_next_session_takes_down_what_a_killed_one_left(world: World) -> None:
    tests = str(Path(__file__).parents[1])
    prefix = subprocess.run([sys.executable, "-c", KILLED, tests], capture_output=True, text=True, check=False).stdout
    left = [path.name for path in registry.NETNS.glob(f"{prefix.strip()}-*")]
    assert len(left) == 3
    assert prefix.strip() in registry.reap()
    assert not any((registry.NETNS / name).exists() for name in left)
    assert registry.inside(list(world.names.values())), "the world of a living owner stands"
