"""Which chains a hook runs and in which order."""

from lab import World
from walk.netfilter.forwarding import TOPOLOGY, Forwarding, Probe

from netdoctor.model.firewall import Chain, Ruleset, Table
from netdoctor.walk.netfilter import base_chains
from netdoctor.walk.packet import UDP


def filter_chain(name: str, hook: str = "forward", priority: int = 0) -> Chain:
    return Chain(name=name, hook=hook, type="filter", priority=priority)


def nat_chain(name: str, priority: int) -> Chain:
    return Chain(name=name, hook="postrouting", type="nat", priority=priority)


def names(ruleset: Ruleset, family: str, hook: str, device: str = "") -> list[str]:
    return [f"{base.table.name}.{base.chain.name}" for base in base_chains(ruleset, family, hook, device)]  # type: ignore[arg-type]


def test_by_priority_and_the_youngest_first_among_equals() -> None:
    legacy = Table(backend="iptables-legacy", family="ip", name="filter", chains=(filter_chain("FORWARD"),))
    old = Table(backend="nft", family="ip", name="old", chains=(filter_chain("a"), filter_chain("early", priority=-10)))
    young = Table(backend="nft", family="inet", name="young", chains=(filter_chain("b"), filter_chain("c")))
    ruleset = Ruleset(tables=(legacy, old, young))
    assert names(ruleset, "ip", "forward") == ["old.early", "young.c", "young.b", "old.a", "filter.FORWARD"]
    assert names(ruleset, "ip6", "forward") == ["young.c", "young.b"]


def test_nat_chains_share_one_place() -> None:
    nat = Table(backend="nft", family="ip", name="n", chains=(nat_chain("late", 300), nat_chain("soon", -300)))
    security = Table(backend="nft", family="ip", name="s", chains=(filter_chain("f", "postrouting", 50),))
    after = Table(backend="nft", family="ip", name="z", chains=(filter_chain("g", "postrouting", 150),))
    ruleset = Ruleset(tables=(nat, security, after))
    assert names(ruleset, "ip", "postrouting") == ["s.f", "n.soon", "n.late", "z.g"]


def test_ingress_runs_on_its_devices_only() -> None:
    chain = Chain(name="in", hook="ingress", type="filter", devices=("eth0",))
    ruleset = Ruleset(tables=(Table(backend="nft", family="netdev", name="n", chains=(chain,)),))
    assert names(ruleset, "netdev", "ingress", "eth0") == ["n.in"]
    assert names(ruleset, "netdev", "ingress", "eth1") == []


def test_a_dormant_table_runs_nothing() -> None:
    table = Table(backend="nft", family="ip", name="t", dormant=True, chains=(filter_chain("f"),))
    assert names(Ruleset(tables=(table,)), "ip", "forward") == []


def test_the_kernel_runs_the_youngest_first() -> None:
    with World(TOPOLOGY) as world:
        for table in ("first", "second"):
            chain = "chain c { type filter hook forward priority 0; counter drop; }"
            world.sh(f"nft 'table ip {table} {{ {chain}; }}'")
        forwarding = Forwarding(world)
        assert not forwarding.passes(Probe(UDP, "10.1.0.2", "10.2.0.2", 30000, 80))
        counted = {
            table: "packets 1" in world.run("host", "nft", "list", "table", "ip", table)
            for table in ("first", "second")
        }
        assert counted == {"first": False, "second": True}
        assert names(forwarding.ruleset(), "ip", "forward") == ["second.c", "first.c"]
        forwarding.close()
