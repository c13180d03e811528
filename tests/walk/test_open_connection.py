"""Full-size TCP packets are data of an open connection: rules for new flows do not see them, rules for open ones do."""

from collections.abc import Iterator

import pytest
from lab import World
from walk.test_worlds import examined


@pytest.fixture(scope="module")
def shared() -> Iterator[World]:
    with World("veth") as world:
        yield world


@pytest.fixture
def world(shared: World) -> Iterator[World]:
    yield shared
    shared.sh("iptables-nft -F; iptables-nft -t mangle -F")


def verdict(world: World, *, probe: bool) -> tuple[str, str]:
    found = examined(world, "8.8.8.8", port="80/tcp", probe=probe).diagnosis
    return found.verdict, found.causes[0].slug if found.causes else ""


@pytest.mark.parametrize("probe", [False, True])
def test_a_rule_against_large_packets_of_open_connections(world: World, probe: bool) -> None:
    world.sh("iptables-nft -A FORWARD -m conntrack --ctstate ESTABLISHED -m length --length 1000: -j DROP")
    assert verdict(world, probe=probe) == ("fail", "large-packets-dropped")


@pytest.mark.parametrize("probe", [False, True])
def test_a_rule_against_large_first_packets(world: World, probe: bool) -> None:
    world.sh("iptables-nft -A FORWARD -m conntrack --ctstate NEW -m length --length 1000: -j DROP")
    world.sh("iptables-nft -A FORWARD -p tcp --syn -m length --length 1000: -j DROP")
    assert verdict(world, probe=probe) == ("pass", "")


@pytest.mark.parametrize("probe", [False, True])
def test_a_rule_on_the_segment_size_that_a_syn_offers(world: World, probe: bool) -> None:
    world.sh("iptables-nft -A FORWARD -p tcp --syn -m tcpmss --mss 1400:1500 -j DROP")
    assert verdict(world, probe=probe) == ("fail", "rule-drops")
