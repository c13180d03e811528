"""Packets through random IPsec policies that block or let pass: the walk says what the kernel does.

Packets from outside only: of what a raw socket sends the kernel asks the policies before it has looked at its headers.
"""

import random
from collections.abc import Iterator

import pytest
from lab import World
from msgspec.structs import replace

from netdoctor.model.snapshot import NamespaceId, Need
from netdoctor.walk.packet import Packet

from .box import TOPOLOGY, Box, patience
from .flows import Flows
from .foretold import Oracle
from .packets import datagram

PREFIXES = {
    4: ("0.0.0.0/0", "10.1.0.0/24", "10.1.0.2/32", "10.2.0.0/24", "10.2.0.2/31", "10.2.0.5/32", "10.3.0.0/16"),
    6: ("::/0", "fd01::/64", "fd01::2/128", "fd02::/64", "fd02::2/127", "fd03::/64"),
}
RULESETS, PACKETS = 12, 12


class PolicyOracle(Oracle):
    """An oracle that asks the policies of what comes in, too."""

    def _deliver(self, key: NamespaceId, packet: Packet) -> None:
        self._policy(key, "in", packet)
        super()._deliver(key, packet)


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    with World(TOPOLOGY) as world:
        made = Box(world)
        yield made
        made.close()


def policies(dice: random.Random) -> list[str]:
    """As `ip -batch` takes them; of two with the same selector the kernel takes only the first."""
    lines = []
    for _ in range(dice.choice((1, 2, 3, 4))):
        family = dice.choice((4, 4, 6))
        selector = f"src {dice.choice(PREFIXES[family])} dst {dice.choice(PREFIXES[family])}"
        protocol = dice.choice(("", "", "tcp", "udp", "icmp" if family == 4 else "ipv6-icmp"))
        selector += f" proto {protocol}" if protocol else ""
        if protocol in ("tcp", "udp"):
            selector += dice.choice(("", f" dport {dice.choice((53, 80))}", f" sport {dice.choice((53, 80))}"))
        elif protocol:
            selector += dice.choice(("", " type 8" if family == 4 else " type 128", " type 3"))
        selector += dice.choice(("", "", "", " dev right", " dev left"))
        mark = dice.choice(("", "", "", " mark 1", " mark 2 mask 0x3"))
        interface = dice.choice(("", "", "", "", " if_id 7"))
        action, priority = dice.choice(("block", "block", "allow")), dice.choice((0, 10, 10, 100))
        direction = dice.choice(("in", "fwd", "out"))
        lines.append(f"xfrm policy add {selector} dir {direction}{mark} action {action} priority {priority}{interface}")
    return lines


def wrongs(box: Box, seed: int) -> Iterator[str]:
    """What the walk denies of what the kernel does with each of some packets; the empty string where they agree."""
    dice = random.Random(seed)
    box.tool("ip xfrm policy flush", "")
    lines = policies(dice)
    box.tool("ip -force -batch -", "\n".join(lines))
    snapshot = box.observer.answer(box.base, [Need(namespace=box.host, subject="namespace")])
    fresh = snapshot.namespaces[box.host]
    host = replace(box.base.namespaces[box.host], policies=fresh.policies, states=fresh.states, ruleset=fresh.ruleset)
    snapshot = replace(box.base, namespaces={**box.base.namespaces, box.host: host}, complete=False)
    flows = Flows(dice)
    for number in range(PACKETS):
        sent = next(first for first in iter(flows.first, None) if first.wire)
        told = PolicyOracle(box, snapshot).told(sent.wire, sent.packet)
        tag = dice.randrange(1 << 40) << 16 | number
        raw = datagram(sent.packet, tag, sent.sequence, sent.acknowledged)
        box.send(sent.wire, raw)
        seen = False
        for _ in patience():
            seen = seen or any(
                its == tag for its, one in box.met() if one.protocol not in (1, 58) or one.kind not in (1, 3)
            )
            if seen == (told.seen is not None):
                break
        text = "\n".join(lines)
        wrong = seen != (told.seen is not None) and not told.doubts
        yield f"seed {seed}\n{text}\n{sent}\n{told.steps}\nkernel: {'passes' if seen else 'dies'}" if wrong else ""
    box.tool("ip xfrm policy flush", "")


def test_random_policies(box: Box) -> None:
    first = random.randrange(1 << 30)
    for seed in range(first, first + RULESETS):
        for wrong in wrongs(box, seed):
            assert not wrong, wrong


@pytest.mark.soak
def test_random_policies_for_long(box: Box) -> None:
    first = random.randrange(1 << 30)
    for seed in range(first, first + 200):
        for wrong in wrongs(box, seed):
            assert not wrong, wrong
