"""`fix` and `undo` at the command line: nothing without consent, the fault mended, everything put back exactly."""

import json
from pathlib import Path

import jsonschema
import pytest
from lab import World
from lab.command import netdoctor, refused
from lab.world import difference

BREAK_MASQUERADE = (
    "iptables-nft -t nat -F POSTROUTING; iptables-nft -t nat -A POSTROUTING -s 10.0.0.0/24 -o eth0 -j MASQUERADE"
)


@pytest.fixture
def state(tmp_path: Path) -> dict[str, str]:
    """An environment whose journals go with the test."""
    return {"NETDOCTOR_STATE_DIR": str(tmp_path / "state")}


def test_fix_asks_and_nobody_answers(world: World, state: dict[str, str]) -> None:
    world.sh(BREAK_MASQUERADE)
    before = world.state()
    done = netdoctor("fix", world.name("ns1"), world=world, **state)
    assert done.returncode == 2 and "--yes" in done.stderr and "undo: " in done.stderr
    assert not difference(before, world.state())


def test_dry_run_shows_the_plan_and_changes_nothing(world: World, state: dict[str, str]) -> None:
    world.sh(BREAK_MASQUERADE)
    before = world.state()
    done = netdoctor("fix", world.name("ns1"), "--dry-run", "--format", "json", world=world, **state)
    said = json.loads(done.stdout)
    assert done.returncode == 1 and said["fixed"] is False and said["applied"] == []
    assert said["root_causes"][0]["fix"]
    assert not difference(before, world.state())


def test_fix_mends_and_undo_returns_the_state_exactly(world: World, state: dict[str, str]) -> None:
    world.sh(BREAK_MASQUERADE)
    world.sysctl("host", "net.ipv4.ip_forward=0")
    before = world.state()
    done = netdoctor("fix", world.name("ns1"), "--yes", "--format", "json", world=world, **state)
    said = json.loads(done.stdout)
    jsonschema.validate(said, json.loads(netdoctor("schema").stdout))
    assert done.returncode == 0 and said["fixed"] and len(said["applied"]) == len(said["undo"]) == 2
    assert world.probe("ping 8.8.8.8", tries=3)
    undone = netdoctor("undo", world=world, **state)
    assert undone.returncode == 0 and "is undone" in undone.stdout
    assert not difference(before, world.state())
    assert netdoctor("undo", world=world, **state).stdout == "nothing to undo\n"


def test_fix_of_a_healthy_network_does_nothing(world: World, state: dict[str, str]) -> None:
    before = world.state()
    done = netdoctor("fix", world.name("ns1"), "--yes", "--format", "json", world=world, **state)
    assert done.returncode == 0 and json.loads(done.stdout)["fixed"] is True
    assert not difference(before, world.state())


def test_fix_touches_nothing_when_its_report_cannot_be_written(world: World, state: dict[str, str]) -> None:
    world.sh(BREAK_MASQUERADE)
    before = world.state()
    refused(netdoctor("fix", world.name("ns1"), "--yes", "-o", "html=/no/such/x", world=world, **state), "cannot write")
    assert not difference(before, world.state())


def test_fix_needs_a_journal_before_it_changes_anything(world: World) -> None:
    world.sh(BREAK_MASQUERADE)
    before = world.state()
    done = netdoctor("fix", world.name("ns1"), "--yes", world=world, NETDOCTOR_STATE_DIR="/proc/nowhere")
    refused(done, "journal", "NETDOCTOR_STATE_DIR")
    assert not difference(before, world.state())


def test_a_repair_that_does_not_help_is_undone(world: World, state: dict[str, str]) -> None:
    """The host forwards again, and what lies behind it stays dead."""
    world.sh("inet ip addr del 8.8.8.8/32 dev lo")
    world.sysctl("host", "net.ipv4.ip_forward=0")
    before = world.state()
    done = netdoctor("fix", world.name("ns1"), "--yes", "--format", "json", world=world, **state)
    assert done.returncode == 1 and json.loads(done.stdout)["fixed"] is False
    assert not difference(before, world.state())


def test_undo_by_id_and_in_order(world: World, state: dict[str, str]) -> None:
    before = world.state()
    faults = ("sysctl -qw net.ipv4.ip_forward=0", BREAK_MASQUERADE)
    journals = []
    for fault in faults:
        world.sh(fault)
        done = netdoctor("fix", world.name("ns1"), "--yes", "--format", "json", world=world, **state)
        journals.append(json.loads(done.stdout)["journal"])
    assert len(set(journals)) == 2
    assert netdoctor("undo", journals[0], world=world, **state).returncode == 0
    assert not world.probe("ping 8.8.8.8")
    world.sysctl("host", "net.ipv4.ip_forward=1")
    assert netdoctor("undo", world=world, **state).returncode == 0
    world.sh("iptables-nft -t nat -F POSTROUTING")
    world.sh("iptables-nft -t nat -A POSTROUTING -s 10.0.0.0/24 -o wlp1s0 -j MASQUERADE")
    assert not difference(before, world.state())


def test_undo_of_another_host_is_refused(world: World, state: dict[str, str]) -> None:
    world.sysctl("host", "net.ipv4.ip_forward=0")
    done = netdoctor("fix", world.name("ns1"), "--yes", "--format", "json", world=world, **state)
    refused(netdoctor("undo", json.loads(done.stdout)["journal"], **state), "another host")
    assert netdoctor("undo", **state).stdout == "nothing to undo\n"
    assert world.probe("ping 8.8.8.8", tries=3)


def test_fix_says_what_its_undo_could_not_give_back(world: World, state: dict[str, str]) -> None:
    world.sh(
        "tc qdisc add dev veth0 root handle 1: htb default 10; "
        "tc class add dev veth0 parent 1: classid 1:10 htb rate 8bit burst 1b cburst 1b"
    )
    world.run("ns1", "sh", "-c", "ping -c3 -i .2 -W1 8.8.8.8 || true")
    done = netdoctor("fix", world.name("ns1"), "--yes", world=world, **state)
    assert done.returncode == 0 and "undo would not give back exactly" in done.stderr and "htb" in done.stderr
