"""Counters of rules and policies, read before and after packets, in every backend."""

from collections.abc import Iterator

import pytest
from lab import World
from lab.topology import Topology
from walk.netfilter.inside import call_inside

from netdoctor.model.unknown import Unknown
from netdoctor.observe.counters import ChainKey, Count, CounterKey, Counts, read_counters
from netdoctor.observe.nftables import read_chains

EMPTY = Topology(title="A lone namespace", roles=("host",))


@pytest.fixture
def host() -> Iterator[World]:
    with World(EMPTY) as world:
        world.sh("ip link set lo up")
        yield world


def counts(world: World, key: ChainKey) -> Counts:
    found = call_inside(world.name("host"), lambda: read_counters([key]))[key]
    assert not isinstance(found, Unknown)
    return found


def ping(world: World, address: str = "127.0.0.1") -> None:
    world.run("host", "ping", "-c1", "-W1", address)


@pytest.mark.parametrize(("tool", "address", "family"), [("iptables", "127.0.0.1", "ip"), ("ip6tables", "::1", "ip6")])
def test_legacy_rules_by_line_and_the_policy_as_zero(host: World, tool: str, address: str, family: str) -> None:
    host.sh(f"{tool}-legacy -N X; {tool}-legacy -A INPUT -i eth9; {tool}-legacy -A INPUT -j X; {tool}-legacy -A X")
    key = ChainKey("iptables-legacy", family, "filter", "INPUT")  # type: ignore[arg-type]
    assert counts(host, key) == {CounterKey(*key, line): Count(0, 0) for line in (0, 1, 2)}
    ping(host, address)
    after = {number.number: count.packets for number, count in counts(host, key).items()}
    assert after == {0: 2, 1: 0, 2: 2}
    inner = ChainKey("iptables-legacy", family, "filter", "X")  # type: ignore[arg-type]
    assert {number.number: count.packets for number, count in counts(host, inner).items()} == {1: 2}


def test_a_legacy_table_that_is_not_there_is_not_made(host: World) -> None:
    host.sh("iptables-legacy -t mangle -A INPUT -j ACCEPT")
    assert counts(host, ChainKey("iptables-legacy", "ip", "filter", "INPUT")) == {}
    assert host.run("host", "cat", "/proc/net/ip_tables_names") == "mangle\n"


def test_nft_rules_by_handle(host: World) -> None:
    host.sh('iptables-nft -A INPUT -m comment --comment "a counter" -i lo; iptables-nft -A INPUT -i eth9')
    first, second = call_inside(host.name("host"), lambda: read_chains("ip", "filter", ("INPUT",)))["INPUT"]
    key = ChainKey("iptables-nft", "ip", "filter", "INPUT")
    ping(host)
    found = counts(host, key)
    assert found[CounterKey(*key, first.handle)].packets == 2
    assert found[CounterKey(*key, second.handle)] == Count(0, 0)


def test_native_rules_and_chains_without_a_counter_have_none(host: World) -> None:
    host.sh(
        'nft \'table inet t { chain c { type filter hook input priority 0; iifname "lo" accept comment "counter"; '
        "counter packets 7 bytes 9; }; }'"
    )
    key = ChainKey("nft", "inet", "t", "c")
    assert list(counts(host, key).values()) == [Count(7, 9)]
    assert counts(host, ChainKey("nft", "inet", "t", "gone")) == {}
    assert counts(host, ChainKey("nft", "arp", "gone", "gone")) == {}


def test_base_chains_with_a_counter(host: World) -> None:
    host.sh("printf '*filter\\n:INPUT ACCEPT [5:500]\\nCOMMIT\\n' | iptables-nft-restore -c")
    key = ChainKey("iptables-nft", "ip", "filter", "INPUT")
    assert counts(host, key) == {CounterKey(*key, 0): Count(5, 500)}
    ping(host)
    assert counts(host, key)[CounterKey(*key, 0)].packets == 7
