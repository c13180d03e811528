"""Edits of iptables-nft, legacy and native rulesets: verbatim, and still readable by their own tools."""

import pytest
from fix.repair_world import World, prove

from netdoctor.fix.argv import typed
from netdoctor.fix.ruleset_effect import find_chain
from netdoctor.model.change import (
    AddChain,
    ChainRef,
    Change,
    DeleteRule,
    InsertRule,
    ReplaceRule,
    SetChainPolicy,
)
from netdoctor.model.firewall import Rule

COMPAT = ChainRef(backend="iptables-nft", family="ip", table="filter", chain="FORWARD")
NAT = ChainRef(backend="iptables-nft", family="ip", table="nat", chain="POSTROUTING")
LEGACY = ChainRef(backend="iptables-legacy", family="ip", table="filter", chain="FORWARD")
NATIVE = ChainRef(backend="nft", family="inet", table="mine", chain="forward")
RULES = (
    "-s 10.0.0.0/24 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    '-i veth0 -p tcp -m tcp --dport 80 -m comment --comment "it\'s \\"mine\\"" -j DROP',
    "-m limit --limit 5/min -j OTHER",
    "-d 192.0.2.0/24 -j REJECT --reject-with icmp-port-unreachable",
)


def load(world: World, tool: str) -> None:
    world.sh("host", f"{tool} -N OTHER")
    for rule in RULES:
        world.sh("host", f"{tool} -A FORWARD {rule}")


def rules(world: World, at: ChainRef) -> tuple[Rule, ...]:
    chain = find_chain(world.snapshot().namespaces[world.id("host")], at)
    assert chain is not None
    return chain.rules  # type: ignore[return-value]


def save(world: World, tool: str) -> list[str]:
    return [line for line in world.sh("host", f"{tool}-save").splitlines() if not line.startswith("#")]


@pytest.mark.parametrize(("tool", "at"), [("iptables-nft", COMPAT), ("iptables-legacy", LEGACY)])
def test_each_rule_goes_and_comes_back_verbatim(world: World, tool: str, at: ChainRef) -> None:
    load(world, tool)
    start = save(world, tool)
    for rule in rules(world, at):
        prove(world, DeleteRule(namespace=world.id("host"), at=at, rule=rule))
        assert save(world, tool) == start


@pytest.mark.parametrize(("tool", "at"), [("iptables-nft", COMPAT), ("iptables-legacy", LEGACY)])
def test_rules_are_inserted_replaced_and_found_without_their_handle(world: World, tool: str, at: ChainRef) -> None:
    load(world, tool)
    where, found = world.id("host"), rules(world, at)
    moved = Rule(
        expressions=found[1].expressions, raw=found[1].raw, userdata=found[1].userdata, comment=found[1].comment
    )
    world.apply(DeleteRule(namespace=where, at=at, rule=found[1]))
    for line in (0, 1, 2):
        prove(world, InsertRule(namespace=where, at=at, rule=moved, line=line))
    prove(world, ReplaceRule(namespace=where, at=at, before=found[3], after=moved))
    with pytest.raises(FileNotFoundError):
        world.apply(DeleteRule(namespace=where, at=at, rule=moved))


@pytest.mark.parametrize(("tool", "at"), [("iptables-nft", COMPAT), ("iptables-legacy", LEGACY)])
def test_chain_policy(world: World, tool: str, at: ChainRef) -> None:
    load(world, tool)
    prove(world, SetChainPolicy(namespace=world.id("host"), at=at, policy="drop"))


def test_legacy_jump_to_a_chain_and_policy_text(world: World) -> None:
    load(world, "iptables-legacy")
    rule = rules(world, LEGACY)[2]
    world.apply(DeleteRule(namespace=world.id("host"), at=LEGACY, rule=rule))
    world.apply(InsertRule(namespace=world.id("host"), at=LEGACY, rule=rule, line=1))
    assert "-A FORWARD -m limit --limit 5/min -j OTHER" in save(world, "iptables-legacy")


def test_base_chain_with_its_table(world: World) -> None:
    change = AddChain(namespace=world.id("host"), at=NAT, hook="postrouting", kind="nat", priority=100)
    prove(world, change)
    world.apply(change)
    world.sh("host", "iptables-nft -t nat -A POSTROUTING -s 10.0.0.0/24 -j MASQUERADE")
    assert "-A POSTROUTING -s 10.0.0.0/24 -j MASQUERADE" in save(world, "iptables-nft")


def test_native_rules(world: World) -> None:
    world.sh(
        "host", "nft add table inet mine; nft add chain inet mine forward '{ type filter hook forward priority 0 ; }'"
    )
    world.sh("host", 'nft add rule inet mine forward ip saddr 10.0.0.0/24 counter accept comment \\"first\\"')
    world.sh("host", "nft add rule inet mine forward iifname veth0 tcp dport 80 counter drop")
    where = world.id("host")
    for rule in rules(world, NATIVE):
        prove(world, DeleteRule(namespace=where, at=NATIVE, rule=rule))
    prove(world, SetChainPolicy(namespace=where, at=NATIVE, policy="drop"))


def run_typed(world: World, change: Change) -> None:
    """What a person would type, run by the shell inside the host."""
    import subprocess

    for command in typed(change, world.snapshot()):
        subprocess.run(["ip", "netns", "exec", world.names["host"], *command], check=True)


@pytest.mark.parametrize(("tool", "at"), [("iptables-nft", COMPAT), ("iptables-legacy", LEGACY)])
def test_typed_commands_do_the_same(world: World, tool: str, at: ChainRef) -> None:
    load(world, tool)
    start, where = save(world, tool), world.id("host")
    for rule in rules(world, at):
        run_typed(world, DeleteRule(namespace=where, at=at, rule=rule))
        assert len(save(world, tool)) == len(start) - 1
        run_typed(world, InsertRule(namespace=where, at=at, rule=rule, line=rule.line))
        assert save(world, tool) == start
