"""Counters around a probe settle what the walk cannot foresee: the rule that took it is named, one that did not is not."""

import errno
import os
import socket
import struct
from collections.abc import Iterator

import pytest
from lab import World
from test_examination import live

from netdoctor.examination import Examined, offline
from netdoctor.netlink.inside import Worker
from netdoctor.netlink.wire import NETLINK_NETFILTER

DOUBTFUL = {
    "hashlimit": "{tool} -A FORWARD -i veth0 -m hashlimit --hashlimit-above 1/hour --hashlimit-burst 1 --hashlimit-mode srcip "
    "--hashlimit-name nd -j DROP; ns1 ping -c 2 -i 0.1 -W 0.1 8.8.8.8 >/dev/null || true",
    "quota": "{tool} -A FORWARD -m quota --quota 10 -j ACCEPT; {tool} -A FORWARD -o wlp1s0 -j DROP",
    "random": "{tool} -A FORWARD -m statistic --mode random --probability 0.9999 -j DROP",
    "limit": "{tool} -A FORWARD -m limit --limit 1/day --limit-burst 1 -j ACCEPT; {tool} -A FORWARD -j REJECT; "
    "ns1 ping -c 1 -W 0.1 8.8.8.8 >/dev/null || true",
}
TOOLS = ("iptables-nft", "iptables-legacy")


@pytest.fixture(scope="module")
def shared() -> Iterator[World]:
    with World("veth") as world:
        yield world


@pytest.fixture
def world(shared: World) -> Iterator[World]:
    yield shared
    shared.sh(
        "iptables-nft -F; iptables-legacy -F; nft delete table ip doubt || true; inet ip addr replace 8.8.8.8/32 dev lo"
    )


def settled(world: World) -> Examined:
    """The live diagnosis, which its saved snapshot tells as well."""
    found, kept = live(world, "ns1", "8.8.8.8")
    assert offline(kept.snapshot, kept.question, kept.evidence).diagnosis == found.diagnosis
    return found


@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("name", sorted(DOUBTFUL))
def test_the_rule_whose_counter_moved_is_named(world: World, tool: str, name: str) -> None:
    world.sh(DOUBTFUL[name].format(tool=tool))
    found = settled(world)
    cause = found.diagnosis.causes[0]
    assert (found.diagnosis.verdict, found.diagnosis.basis) == ("fail", "confirmed")
    assert cause.layer == "firewall" and cause.slug in ("rule-drops", "rule-rejects")
    assert any(
        line.startswith("counter: rule ") and "counted 1 packet while one probe was sent" in line
        for line in cause.evidence
    )
    assert len(found.diagnosis.causes) == 1


def test_a_native_rule_with_its_counter_after_the_doubt(world: World) -> None:
    world.sh("nft add table ip doubt; nft 'add chain ip doubt f { type filter hook forward priority 5; }'")
    world.sh("nft add rule ip doubt f numgen random mod 100000 '<' 99990 counter drop")
    found = settled(world)
    assert found.diagnosis.basis == "confirmed" and "ip doubt f" in found.diagnosis.causes[0].object


def test_a_counter_before_the_doubt_settles_nothing(world: World) -> None:
    world.sh("nft add table ip doubt; nft 'add chain ip doubt f { type filter hook forward priority 5; }'")
    world.sh("nft add rule ip doubt f counter numgen random mod 100000 '<' 99990 drop")
    found = settled(world)
    assert found.diagnosis.verdict == "fail" and found.diagnosis.basis != "confirmed"
    assert "ip doubt f" in found.diagnosis.causes[0].object


@pytest.mark.parametrize("tool", TOOLS)
def test_a_doubtful_rule_that_did_not_take_the_packet_is_not_blamed(world: World, tool: str) -> None:
    world.sh(
        f"{tool} -A FORWARD -m hashlimit --hashlimit-above 1000/sec --hashlimit-name calm -j DROP; inet ip addr del 8.8.8.8/32 dev lo"
    )
    found = settled(world)
    assert found.diagnosis.verdict == "fail"
    assert [cause.layer for cause in found.diagnosis.causes] == ["upstream"]


# Queues --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tool", TOOLS)
def test_a_queue_nobody_listens_on_drops(world: World, tool: str) -> None:
    world.sh(f"{tool} -A FORWARD -j NFQUEUE --queue-num 7")
    found = settled(world)
    cause = found.diagnosis.causes[0]
    assert (cause.slug, found.diagnosis.basis, found.mended) == ("queue-unserved", "confirmed", True)


@pytest.mark.parametrize("tool", TOOLS)
def test_a_queue_with_bypass_that_nobody_listens_on_passes(world: World, tool: str) -> None:
    world.sh(f"{tool} -A FORWARD -j NFQUEUE --queue-num 7 --queue-bypass")
    found = settled(world)
    assert not found.diagnosis.causes and not found.case.legs[0].trip.doubts


@pytest.mark.parametrize("tool", TOOLS)
def test_a_program_that_holds_the_queue_is_what_it_depends_on(world: World, tool: str) -> None:
    world.sh(f"{tool} -A FORWARD -j NFQUEUE --queue-num 7")
    worker, fd = Worker(), os.open(f"/run/netns/{world.name('host')}", os.O_RDONLY)
    listening = worker.run(fd, lambda: listener(7))
    try:
        found = settled(world)
        assert found.diagnosis.verdict == "fail" and found.diagnosis.causes[0].slug == "rule-drops"
        assert "listens on queue 7 decides" in found.case.legs[0].trip.doubts[0].summary
    finally:
        listening.close()
        os.close(fd)
        worker.close()


def listener(queue: int) -> socket.socket:
    """A socket that is given the queue's packets and never answers (linux/netfilter/nfnetlink_queue.h: NFQNL_CFG_CMD_BIND)."""
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER)
    made.bind((0, 0))
    config, command, bind = 3 << 8 | 2, 1, struct.pack("!BxH", 1, socket.AF_INET)
    body = struct.pack("!BBH", socket.AF_UNSPEC, 0, queue) + struct.pack("=HH", 4 + len(bind), command) + bind
    made.send(struct.pack("=IHHII", 16 + len(body), config, 1 | 4, 1, 0) + body)
    code = struct.unpack_from("=i", made.recv(4096), 16)[0]
    assert code == 0, errno.errorcode.get(-code, code)
    return made
