"""Matches on packets made here: owners, groups, packet types in the output hook, against the kernel."""

import os
import socket
from collections.abc import Iterator

import pytest
from lab import World
from walk.netfilter.test_xt_against_kernel import clear
from walk.netfilter.xt_probes import TOPOLOGY, Host, alone, counters, text

from netdoctor.model.network import ConntrackTuple
from netdoctor.netlink.inside import enter
from netdoctor.walk.packet import UDP, ConntrackView, Packet

USER, GROUP, OTHER = 1234, 2345, 3456
RULES = (
    f"-m owner --uid-owner {USER}", f"-m owner ! --uid-owner {USER}", "-m owner --uid-owner 0-1233",
    f"-m owner --gid-owner {GROUP}", f"-m owner ! --gid-owner {GROUP}", f"-m owner --gid-owner {OTHER}",
    f"-m owner --gid-owner {OTHER} --suppl-groups", f"-m owner --gid-owner {GROUP} --suppl-groups",
    "-m owner --socket-exists", "-m owner ! --socket-exists", f"-m owner --uid-owner {USER} ! --gid-owner {GROUP}",
    f"-m owner ! --socket-exists --uid-owner {USER}", "-m pkttype --pkt-type unicast", "-m pkttype --pkt-type multicast",
    "-m pkttype ! --pkt-type multicast", "-m addrtype --src-type LOCAL",
    "-m addrtype --dst-type MULTICAST", "-m conntrack --ctstate NEW", "-m devgroup --dst-group 0", "-m cgroup --cgroup 77",
    "-m physdev ! --physdev-is-bridged", "-m policy --dir out --pol none", "-o right", "! -o left",
)  # fmt: skip
DESTINATIONS = ("10.2.0.2", "224.0.0.251")


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with World(TOPOLOGY) as world:
        made = Host(world)
        yield made
        made.close()


@pytest.mark.parametrize("backend", ["iptables-legacy", "iptables-nft"])
@pytest.mark.parametrize("destination", DESTINATIONS)
def test_packets_of_a_user(host: Host, backend: str, destination: str) -> None:
    world = host.world
    world.run("host", "ip", "route", "replace", "224.0.0.0/4", "dev", "right", "src", "10.2.0.1")
    script = "\n".join(("*filter", *(f"-A OUTPUT -d {destination} {words}" for words in RULES), "COMMIT"))
    world.sh(f"iptables-{backend.removeprefix('iptables-')}-restore <<'X'\n{script}\nX")
    try:
        before = host.ruleset()
        send_as_user(world, destination)
        after = host.ruleset()
    finally:
        clear(host, "iptables-nft", 4)
        if backend == "iptables-legacy":
            world.run("host", "iptables-legacy", "-F")
    packet = outgoing(destination)
    doubts = []
    old, new = (counters(ruleset, backend, "ip", "filter", "OUTPUT") for ruleset in (before, after))
    for one, two in zip(old, new, strict=True):
        result = alone(before, one, packet, host.facts())
        moved = one[2].packets != two[2].packets
        if result.verdict == "unknown":
            doubts.append(text(one).split("-m ")[1])
        else:
            assert (result.verdict == "drop") is moved, text(one)
    assert sorted(doubts) == ["cgroup --cgroup 77", f"owner --gid-owner {OTHER} --suppl-groups"]


def send_as_user(world: World, destination: str) -> None:
    """A datagram of a socket of USER, in GROUP and OTHER. A child of this process: another user may not run our Python."""
    fd = os.open(f"/run/netns/{world.name('host')}", os.O_RDONLY)
    child = os.fork()
    if not child:
        code = 1
        try:
            enter(fd)
            os.setgroups([OTHER])
            os.setresgid(GROUP, GROUP, GROUP)
            os.setresuid(USER, USER, USER)
            sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sender.bind(("10.2.0.1", 5000))
            sender.sendto(b"hello", (destination, 53))
            code = 0
        finally:
            os._exit(code)
    os.close(fd)
    assert os.waitpid(child, 0)[1] == 0


def outgoing(destination: str) -> Packet:
    sides = ("10.2.0.1", destination), (5000, 53)
    original, reply = (
        ConntrackTuple(protocol=UDP, source=sides[0][a], destination=sides[0][b], source_port=sides[1][a], destination_port=sides[1][b])
        for a, b in ((0, 1), (1, 0))
    )  # fmt: skip
    return Packet(
        family=4, source="10.2.0.1", destination=destination, protocol=UDP, source_port=5000, destination_port=53,
        length_bytes=33, out_device="right", user_id=USER, group_id=GROUP,
        conntrack=ConntrackView(state="new", original=original, reply=reply),
    )  # fmt: skip
