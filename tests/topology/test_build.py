"""Building and destroying a container's network on a host of our own."""

import subprocess
from pathlib import Path

import pytest
from topology.conftest import Host

from netdoctor.errors import NetdoctorError
from netdoctor.topology.build import build
from netdoctor.topology.destroy import destroy


def test_reference_network_works_and_goes_without_a_trace(host: Host) -> None:
    before, name = host.state(), host.container()
    outcome = host.inside(lambda: build(name))
    assert outcome.code == 0
    assert outcome.commands == (
        ("ip", "netns", "add", name),
        ("ip", "link", "add", "veth0", "type", "veth", "peer", "name", "veth1", "netns", name),
        ("ip", "address", "add", "10.0.0.1/24", "dev", "veth0"),
        ("ip", "link", "set", "dev", "veth0", "up"),
        ("ip", "-n", name, "address", "add", "10.0.0.2/24", "dev", "veth1"),
        ("ip", "-n", name, "link", "set", "dev", "veth1", "up"),
        ("ip", "-n", name, "link", "set", "dev", "lo", "up"),
        ("ip", "-n", name, "route", "add", "default", "via", "10.0.0.1", "dev", "veth1"),
        ("sysctl", "-w", "net.ipv4.ip_forward=1"),
        ("iptables", "-t", "nat", "-A", "POSTROUTING", "-s", "10.0.0.0/24", "-o", "wlp1s0", "-j", "MASQUERADE"),
    )
    assert host.pings(name)
    again = host.inside(lambda: build(name))
    assert (again.code, again.commands, again.notes) == (0, (), ("nothing to do",))
    assert host.inside(lambda: destroy(name)).code == 0
    assert host.state() == before
    assert host.inside(lambda: destroy(name)).notes == ("nothing to do",)


def test_commands_printed_are_the_commands_that_work(host: Host) -> None:
    name = host.container()
    planned = host.inside(lambda: build(name, dry_run=True))
    assert not Path(f"/run/netns/{name}").exists()
    for command in planned.commands:
        subprocess.run(["ip", "netns", "exec", host.name, *command] if command[1] != "netns" else command, check=True)
    assert host.pings(name)


def test_what_broke_is_built_again(host: Host) -> None:
    name = host.container()
    host.inside(lambda: build(name))
    host.sh(f"iptables -t nat -F POSTROUTING; sysctl -qw net.ipv4.ip_forward=0; ip -n {name} link set veth1 down")
    assert not host.pings(name)
    outcome = host.inside(lambda: build(name))
    assert outcome.code == 0 and len(outcome.commands) == 4
    assert host.pings(name)


def test_two_containers_share_a_bridge_until_the_last_goes(host: Host) -> None:
    before = host.state()
    first, second = host.container(1), host.container(2)
    for name in (first, second):
        assert host.inside(lambda name=name: build(name, bridge="br0")).code == 0  # type: ignore[misc]
        assert host.pings(name)
    assert host.pings(second, "10.0.0.2")
    assert host.sh("iptables-save").count("MASQUERADE") == 1
    host.inside(lambda: destroy(first))
    assert host.pings(second)
    host.inside(lambda: destroy(second))
    assert host.state() == before


def test_two_containers_without_a_bridge_get_subnets_of_their_own(host: Host) -> None:
    before = host.state()
    for number in (1, 2):
        assert host.inside(lambda number=number: build(host.container(number))).code == 0  # type: ignore[misc]
    assert host.pings(host.container(2)) and "10.0.1.1/24" in host.sh("ip -o addr show veth2")
    with pytest.raises(NetdoctorError, match="--subnet"):
        host.inside(lambda: build(host.container(3), subnet="10.0.0.0/24"))
    for number in (1, 2):
        host.inside(lambda number=number: destroy(host.container(number)))  # type: ignore[misc]
    assert host.state() == before


@pytest.mark.parametrize(
    "firewall",
    [
        "iptables-nft -P FORWARD DROP",
        "iptables-legacy -P FORWARD DROP; iptables-legacy -t nat -L >/dev/null",
        "nft add table inet mine; nft add chain inet mine gate '{ type filter hook forward priority 0; policy drop; }';"
        "nft add table ip nat; nft add chain ip nat post '{ type nat hook postrouting priority 100; }'",
    ],
    ids=["iptables-nft", "iptables-legacy", "nft"],
)
def test_dropping_forward_policy_is_opened_for_the_container_alone(host: Host, firewall: str) -> None:
    host.sh(firewall)
    before, name = host.state(), host.container()
    outcome = host.inside(lambda: build(name))
    assert outcome.code == 0, outcome.notes
    assert host.pings(name)
    host.inside(lambda: destroy(name))
    assert host.state() == before


def test_forwarding_stays_when_it_was_on_or_others_need_it(host: Host) -> None:
    host.sh("ip link add other type veth peer name rehto; ip link set other up")
    name = host.container()
    host.inside(lambda: build(name))
    outcome = host.inside(lambda: destroy(name))
    assert any("ip_forward stays 1" in note and "other" in note for note in outcome.notes)
    assert host.sh("cat /proc/sys/net/ipv4/ip_forward").strip() == "1"


def test_failing_half_way_leaves_nothing(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    from netdoctor.fix import transaction

    before, name = host.state(), host.container()
    real = transaction.apply

    def fail_at_the_rule(change: object, *rest: object) -> None:
        if type(change).__name__ == "InsertRule":
            raise OSError(1, "no more rules today")
        real(change, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(transaction, "apply", fail_at_the_rule)
    outcome = host.inside(lambda: build(name))
    assert outcome.code == 1 and "no more rules today" in outcome.notes[0]
    assert not Path(f"/run/netns/{name}").exists()
    assert host.state() == before


def test_strangers_are_left_alone(host: Host) -> None:
    name = host.container()
    subprocess.run(["ip", "netns", "add", name], check=True)
    for act in (build, destroy):
        with pytest.raises(NetdoctorError, match="did not build it"):
            host.inside(lambda act=act: act(name))  # type: ignore[misc]
    for bad in ("", "a/b", "..", "-x"):
        with pytest.raises(NetdoctorError):
            host.inside(lambda bad=bad: build(bad))  # type: ignore[misc]


def test_existing_address_translation_is_enough(host: Host) -> None:
    host.sh("iptables -t nat -A POSTROUTING -o wlp1s0 -j MASQUERADE")
    name = host.container()
    outcome = host.inside(lambda: build(name))
    assert not any("MASQUERADE" in command for command in outcome.commands)
    assert host.pings(name)


def test_name_made_under_ip_netns_exec_is_seen_outside(host: Host) -> None:
    import sys

    script = "import sys; from netdoctor.topology.build import build; sys.exit(build(sys.argv[1]).code)"
    command = ["ip", "netns", "exec", host.name, sys.executable, "-c", script, host.container()]
    assert subprocess.run(command, check=False).returncode == 0
    assert host.pings(host.container())
