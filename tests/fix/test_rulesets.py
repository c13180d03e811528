"""Edits of iptables-nft, legacy and native rulesets: verbatim, and still readable by their own tools."""

import fcntl
import os
import subprocess
import time
from pathlib import Path
from threading import Timer

import pytest
from fix.repair_world import World, prove

from netdoctor.errors import NetdoctorError
from netdoctor.fix.apply import xtables
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
from netdoctor.walk.netfilter import RuleSpec, compose

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


SAVERS = ("iptables-nft-save", "ip6tables-nft-save", "iptables-legacy-save", "ip6tables-legacy-save")


def tables_printed(world: World) -> list[str]:
    """Every table that a saver prints, "iptables-nft-save *filter". A table it cannot print fails the test."""
    found = []
    for saver in SAVERS:
        said = world.sh("host", f"{saver} 2>&1")
        assert "incompatible" not in said, said
        found += [f"{saver} {line}" for line in said.splitlines() if line.startswith("*")]
    return found


@pytest.mark.parametrize("at", [COMPAT, LEGACY], ids=lambda at: at.backend)
@pytest.mark.parametrize("family", ["ip", "ip6"])
def test_every_table_still_prints_after_each_change_and_its_undo(world: World, at: ChainRef, family: str) -> None:
    tool = ("ip6tables" if family == "ip6" else "iptables") + at.backend.removeprefix("iptables")
    at = ChainRef(backend=at.backend, family=family, table="filter", chain="FORWARD")  # type: ignore[arg-type]
    nat = ChainRef(backend=at.backend, family=at.family, table="nat", chain="POSTROUTING")
    source = "fd00::/64" if family == "ip6" else "10.0.0.0/24"
    world.sh("host", f"{tool} -A FORWARD -s {source} -m conntrack --ctstate NEW -m comment --comment x -j DROP")
    world.sh("host", f"{tool} -t nat -A POSTROUTING -s {source} -o eth7 -j MASQUERADE")
    where, start = world.id("host"), tables_printed(world)
    accept = compose(
        RuleSpec(verdict="accept", in_device="veth0", out_device="eth7", ct_states=("related", "established")),
        at.backend,
        at.family,
    )
    list_accept = compose(RuleSpec(verdict="accept", source=source, destination=source), at.backend, at.family)
    masquerade = compose(RuleSpec(verdict="masquerade", source=source, out_device="eth7"), at.backend, at.family)
    old, translation = rules(world, at)[0], rules(world, nat)[0]
    for change in (
        InsertRule(namespace=where, at=at, rule=accept, line=1),
        InsertRule(namespace=where, at=at, rule=list_accept, line=0),
        ReplaceRule(namespace=where, at=at, before=old, after=accept),
        DeleteRule(namespace=where, at=at, rule=old),
        SetChainPolicy(namespace=where, at=at, policy="drop"),
        InsertRule(namespace=where, at=nat, rule=masquerade, line=1),
        DeleteRule(namespace=where, at=nat, rule=translation),
    ):  # fmt: skip
        world.apply(change)
        assert tables_printed(world) == start, change
        world.apply(inverse_of(change, old, translation))
        assert tables_printed(world) == start, change


def inverse_of(change: Change, old: Rule, translation: Rule) -> Change:
    match change:
        case InsertRule(rule=rule):
            return DeleteRule(namespace=change.namespace, at=change.at, rule=rule)
        case ReplaceRule(before=before, after=after):
            return ReplaceRule(namespace=change.namespace, at=change.at, before=after, after=before)
        case DeleteRule(at=at):
            rule = translation if at.table == "nat" else old
            return InsertRule(namespace=change.namespace, at=at, rule=rule, line=1)
        case SetChainPolicy():
            return SetChainPolicy(namespace=change.namespace, at=change.at, policy="accept")
    raise AssertionError(change)


def test_a_legacy_edit_keeps_the_counters_of_the_other_rules(world: World) -> None:
    lines = "*filter\\n[7:700] -A FORWARD -s 10.0.0.2/32 -j ACCEPT\\n[9:900] -A FORWARD -d 10.0.0.2/32 -j ACCEPT\\nCOMMIT\\n"
    world.sh("host", f"printf '{lines}' | iptables-legacy-restore -c")
    rule = compose(RuleSpec(verdict="accept", in_device="veth0"), "iptables-legacy", "ip")
    change = InsertRule(namespace=world.id("host"), at=LEGACY, rule=rule, line=2)
    world.apply(change)
    saved = world.sh("host", "iptables-legacy-save -c")
    assert (
        "[7:700] -A FORWARD -s 10.0.0.2/32 -j ACCEPT\n[0:0] -A FORWARD -i veth0 -j ACCEPT\n[9:900] -A FORWARD" in saved
    )


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A lock of the test's own: the machine's is everybody's."""
    path = tmp_path / "xtables.lock"
    path.touch()
    monkeypatch.setattr(xtables, "XTABLES_LOCK", str(path))
    return path


def accepted(world: World) -> InsertRule:
    rule = compose(RuleSpec(verdict="accept", in_device="veth0"), "iptables-legacy", "ip")
    return InsertRule(namespace=world.id("host"), at=LEGACY, rule=rule, line=0)


def test_a_legacy_edit_waits_for_the_lock(world: World, lock: Path) -> None:
    load(world, "iptables-legacy")
    held = os.open(lock, os.O_RDWR)
    fcntl.flock(held, fcntl.LOCK_EX)
    Timer(0.5, os.close, [held]).start()
    began = time.monotonic()
    world.apply(accepted(world))
    assert time.monotonic() - began > 0.3
    assert "-A FORWARD -i veth0 -j ACCEPT" in save(world, "iptables-legacy")


def test_a_lock_that_nobody_lets_go_is_an_error(world: World, lock: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(xtables, "LOCK_PATIENCE_S", 0.2)
    load(world, "iptables-legacy")
    start, held = save(world, "iptables-legacy"), os.open(lock, os.O_RDWR)
    fcntl.flock(held, fcntl.LOCK_EX)
    with pytest.raises(NetdoctorError, match="is held by another process"):
        world.apply(accepted(world))
    os.close(held)
    assert save(world, "iptables-legacy") == start


def test_the_lock_is_the_one_that_iptables_takes(world: World, lock: Path) -> None:
    with xtables._locked():
        inside = ["ip", "netns", "exec", world.names["host"]]
        env = {**os.environ, "XTABLES_LOCKFILE": str(lock)}
        command = [*inside, "iptables-legacy", "-w", "1", "-A", "FORWARD", "-j", "ACCEPT"]
        said = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=20)
    assert said.returncode == 4 and "holding the xtables lock" in said.stderr
