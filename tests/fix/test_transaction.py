"""Plans run whole or not at all, survive a crash in the journal, and are undone to the start."""

from pathlib import Path

import pytest
from fix.repair_world import World, differing, normal

from netdoctor.errors import NetdoctorError
from netdoctor.fix import journal as journals
from netdoctor.fix.plan import Plan, make_plan
from netdoctor.fix.ruleset_effect import find_chain
from netdoctor.fix.transaction import reopen, roll_back, run
from netdoctor.model.change import AddRoute, ChainRef, Change, DeleteRoute, DeleteRule, SetLink, SetSysctl
from netdoctor.model.firewall import Rule
from netdoctor.model.network import NextHop, Route


@pytest.fixture(autouse=True)
def state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NETDOCTOR_STATE_DIR", str(tmp_path))
    return tmp_path


def default_route(world: World) -> Route:
    routes = world.snapshot().namespaces[world.id("ns1")].routes
    return next(route for route in routes if route.destination == "0.0.0.0/0")  # type: ignore[union-attr]


def changes(world: World) -> list[Change]:
    return [
        SetLink(namespace=world.id("ns1"), link="veth1", up=False),
        SetLink(namespace=world.id("ns1"), link="veth1", up=True),
        AddRoute(namespace=world.id("ns1"), route=default_route(world)),
        SetSysctl(namespace=world.id("host"), key="net/ipv4/ip_forward", value="1"),
    ]


def begin(world: World, plan: Plan) -> journals.Journal:
    paths = {handle.id: handle.path for handle in world.handles.values()}
    return journals.start(plan, world.id("host"), paths, purpose="fix ns1")


def test_plan_says_what_to_type_and_how_to_undo_it(world: World) -> None:
    plan = make_plan(changes(world), world.snapshot())
    name = world.names["ns1"]
    assert plan.commands == (
        ("ip", "-n", name, "link", "set", "dev", "veth1", "down"),
        ("ip", "-n", name, "link", "set", "dev", "veth1", "up"),
        ("ip", "-n", name, "route", "add", "default", "via", "10.0.0.1", "dev", "veth1"),
        ("sysctl", "-w", "net.ipv4.ip_forward=1"),
    )
    assert plan.undo_commands[0] == ("sysctl", "-w", "net.ipv4.ip_forward=0")
    assert ("ip", "-n", name, "link", "set", "dev", "veth1", "up") in plan.undo_commands


def test_run_and_undo_give_the_start(world: World) -> None:
    world.sh("host", "sysctl -qw net.ipv4.conf.veth0.forwarding=1")
    before = world.snapshot()
    plan = make_plan(changes(world), before)
    journal = begin(world, plan)
    assert run(plan, world.fds, journal) == plan.commands
    assert journal.statuses == ["done"] * 4
    found = journals.last(world.id("host"))
    assert found is not None and found.id == journal.id and found.plan == plan
    result = roll_back(found, reopen(found))
    assert result.complete
    assert not differing(normal(world.snapshot(), flags=False), normal(before, flags=False))
    assert journals.last(world.id("host")) is None


def test_undo_twice_says_it_stands_already(world: World) -> None:
    plan = make_plan([SetSysctl(namespace=world.id("host"), key="net/ipv4/ip_forward", value="1")], world.snapshot())
    journal = begin(world, plan)
    run(plan, world.fds, journal)
    world.sh("host", "sysctl -qw net.ipv4.ip_forward=0")
    result = roll_back(journal, world.fds)
    assert result.complete and not result.commands and result.already


def test_interfaces_the_snapshot_did_not_read_are_put_back_too(world: World) -> None:
    world.sh("host", "sysctl -qw net.ipv4.conf.veth0.forwarding=1")
    snapshot = world.snapshot()
    namespace = snapshot.namespaces[world.id("host")]
    from msgspec.structs import replace

    partial = replace(namespace, sysctls={"net/ipv4/ip_forward": "0"})
    snapshot = replace(snapshot, namespaces={**snapshot.namespaces, namespace.id: partial})
    plan = make_plan([SetSysctl(namespace=namespace.id, key="net/ipv4/ip_forward", value="1")], snapshot)
    journal = begin(world, plan)
    run(plan, world.fds, journal)
    roll_back(journal, world.fds)
    assert world.sh("host", "cat /proc/sys/net/ipv4/conf/veth0/forwarding").strip() == "1"


def test_failing_step_undoes_the_ones_before(world: World) -> None:
    before = world.snapshot()
    lost = Route(family=4, table=254, destination="192.0.2.0/24", next_hops=(NextHop(index=99, gateway="10.0.0.1"),))
    plan = make_plan([*changes(world), AddRoute(namespace=world.id("ns1"), route=lost)], before)
    journal = begin(world, plan)
    with pytest.raises(NetdoctorError, match="route add"):
        run(plan, world.fds, journal)
    assert not differing(normal(world.snapshot(), flags=False), normal(before, flags=False))
    assert journal.statuses == ["undone"] * 4 + ["pending"]


def test_what_was_there_before_is_not_taken_away(world: World) -> None:
    plan = make_plan([AddRoute(namespace=world.id("ns1"), route=default_route(world))], world.snapshot())
    with pytest.raises(NetdoctorError, match="File exists"):
        run(plan, world.fds, begin(world, plan))
    assert default_route(world)


def test_gone_namespace_is_told(world: World) -> None:
    plan = make_plan([DeleteRoute(namespace=world.id("ns1"), route=default_route(world))], world.snapshot())
    journal = begin(world, plan)
    run(plan, world.fds, journal)
    result = roll_back(journal, {world.id("host"): world.handles["host"].fd})
    assert not result.complete and "gone" in result.unrestored[0].why
    assert journals.last(world.id("host")) is not None


def test_nothing_changes_without_a_journal(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NETDOCTOR_STATE_DIR", "/proc/nowhere")
    with pytest.raises(NetdoctorError, match="NETDOCTOR_STATE_DIR"):
        begin(world, make_plan([], world.snapshot()))


def test_ids_cannot_leave_the_folder() -> None:
    with pytest.raises(NetdoctorError):
        journals.load("../../etc/passwd")


def native_rules(world: World) -> tuple[ChainRef, tuple[Rule, ...]]:
    at = ChainRef(backend="nft", family="inet", table="mine", chain="forward")
    chain = find_chain(world.snapshot().namespaces[world.id("host")], at)
    assert chain is not None
    return at, chain.rules  # type: ignore[return-value]


@pytest.mark.parametrize(
    "rule",
    [
        "tcp dport { 80, 443 } counter drop",
        "ip saddr { 10.0.0.0/8, 192.0.2.1-192.0.2.7 } accept",
        "tcp dport vmap { 22 : accept, 23 : drop }",
        "ip saddr . tcp dport { 10.0.0.2 . 80, 10.0.0.3 . 443 } drop",
    ],
)
def test_anonymous_sets_come_back_with_their_rule(world: World, rule: str) -> None:
    world.sh(
        "host", "nft add table inet mine; nft add chain inet mine forward '{ type filter hook forward priority 0; }'"
    )
    world.sh("host", f"nft add rule inet mine forward '{rule}'; nft add rule inet mine forward accept")
    start = world.sh("host", "nft -s list ruleset")
    at, rules = native_rules(world)
    plan = make_plan([DeleteRule(namespace=world.id("host"), at=at, rule=rules[0])], world.snapshot())
    journal = begin(world, plan)
    run(plan, world.fds, journal)
    assert world.sh("host", "nft -s list ruleset") != start
    result = roll_back(journals.load(journal.id), world.fds)
    assert result.complete, result.unrestored
    assert world.sh("host", "nft -s list ruleset") == start


def test_twins_both_come_back_and_none_comes_twice(world: World) -> None:
    world.sh("host", "iptables -A FORWARD -j DROP; iptables -A FORWARD -j DROP")
    start = world.sh("host", "iptables -S FORWARD")
    at = ChainRef(backend="iptables-nft", family="ip", table="filter", chain="FORWARD")
    chain = find_chain(world.snapshot().namespaces[world.id("host")], at)
    assert chain is not None
    rules: tuple[Rule, ...] = chain.rules  # type: ignore[assignment]
    plan = make_plan([DeleteRule(namespace=world.id("host"), at=at, rule=rule) for rule in rules], world.snapshot())
    journal = begin(world, plan)
    run(plan, world.fds, journal)
    world.sh("host", "iptables -A FORWARD -j DROP")
    roll_back(journal, world.fds)
    assert world.sh("host", "iptables -S FORWARD") == start
