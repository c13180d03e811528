"""Leaving out rules that a packet surely misses changes nothing of what a chain does to it."""

import random

import pytest
from lab import World
from lab.topology import Topology
from walk.netfilter.forwarding import whole_ruleset
from walk.netfilter.inside import call_inside
from walk.netfilter.random_rules import IPTABLES_CONDITIONS, NFT_CONDITIONS

from netdoctor.model.firewall import Ruleset
from netdoctor.model.network import Link
from netdoctor.walk.netfilter import ChainResult, HookFacts, base_chains, candidates, evaluate
from netdoctor.walk.packet import ICMP, TCP, UDP, ConntrackView, Packet

EMPTY = Topology(title="A lone namespace", roles=("host",))
RULES, PACKETS = 150, 150
LEGACY_ENDS = (
    "-j MARK --set-xmark 1",
    "-j MARK --set-xmark 2/3",
    "-j ACCEPT",
    "-j DROP",
    "-j RETURN",
    "-j LOG",
    "-j U",
    "",
)
NFT_ENDS = ("meta mark set 1", "meta mark set 2", "accept", "drop", "return", "counter", "jump u", "ip dscp set cs1")
AGREEING = ("ip ttl", "ip dscp", "meta mark", "ct ", "iifname", "oifname", "fib", "meta length", "@nh,", "ip saddr !=")
"""What nft takes beside any other condition."""


def address(rng: random.Random, side: int) -> str:
    return f"10.{side}.0.{rng.randrange(1, 9)}"


def narrow(rng: random.Random, nft: bool) -> str:
    """A condition that few packets meet, so that they come to the end of a long chain."""
    source, destination, port = address(rng, 1), address(rng, 2), rng.choice((53, 80, 443, 1000))
    if nft:
        return rng.choice((f"ip saddr {source} udp dport {port}", f"ip daddr {destination} tcp dport {port}",
                           f"meta mark {rng.randrange(4)} ip saddr {source}", f"ip saddr {source} ip daddr {destination}"))  # fmt: skip
    return rng.choice((f"-s {source} -p udp -m udp --dport {port}", f"-d {destination} -p tcp -m tcp --dport {port}",
                       f"-s {source} -m mark --mark {rng.randrange(4)}", f"-s {source} -d {destination}"))  # fmt: skip


def ruleset(world: World, backend: str, rng: random.Random) -> Ruleset:
    nft = backend == "native"
    lines = []
    for _ in range(RULES):
        wide = [one for one in NFT_CONDITIONS if one.startswith(AGREEING)] if nft else list(IPTABLES_CONDITIONS)
        also = rng.choice(wide) if rng.random() < 0.3 else ""
        end = rng.choice(NFT_ENDS if nft else LEGACY_ENDS)
        lines.append(
            f"{narrow(rng, nft)} {also} {end}" if nft else f"-A FORWARD {narrow(rng, nft)} {_unlike(also)} {end}"
        )
    if nft:
        body = "\n".join(lines)
        text = f"flush ruleset\ntable ip t {{ chain u {{ ip ttl 63 meta mark set 3; }}; chain c {{ type filter hook forward priority 0;\n{body}\n}}; }}"
        world.sh(f"nft -f - <<'RULES'\n{text}\nRULES")
    else:
        text = "\n".join(
            ["*mangle", ":FORWARD ACCEPT", ":U -", *lines, "-A U -m ttl --ttl-eq 63 -j MARK --set-xmark 3", "COMMIT"]
        )
        world.sh(f"iptables-{backend}-restore <<'RULES'\n{text}\nRULES")
    return call_inside(world.name("host"), whole_ruleset)


def _unlike(condition: str) -> str:
    """Without what the narrow condition says already: iptables takes each option once."""
    return "" if any(word in condition.split() for word in ("-s", "-d", "-p", "-m")) else condition


def packet(rng: random.Random) -> Packet:
    protocol = rng.choice((TCP, UDP, ICMP))
    return Packet(
        family=4, source=address(rng, 1), destination=address(rng, 2), protocol=protocol, source_port=40000,
        destination_port=0 if protocol == ICMP else rng.choice((53, 80, 443, 1000)), icmp_type=8, tcp_flags=2,
        ttl=rng.choice((63, 64)), in_device="left", out_device="right", mark=rng.randrange(3),
        unsure=rng.choice(((), (), (("mark", "nobody knows"),), (("source", "nobody knows"),))),
        conntrack=ConntrackView(state="new"),
    )  # fmt: skip


@pytest.mark.parametrize("backend", ["legacy", "nft", "native"])
def test_nothing_is_left_out_that_is_met(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(f"20261124 {backend}")
    with World(EMPTY) as world:
        whole = ruleset(world, backend, rng)
    facts = HookFacts(
        links={name: Link(index=index, name=name) for index, name in ((2, "left"), (3, "right"))},
        address_type=lambda address, device: "unicast", fib_device=lambda address, mark, device: "right", ipsec=False,
    )  # fmt: skip
    (base,) = base_chains(whole, "ip", "forward")

    met = 0

    def through(one: Packet, many: int) -> ChainResult:
        monkeypatch.setattr(candidates, "MANY", many)
        return evaluate(base, one, facts)

    for _ in range(PACKETS):
        one = packet(rng)
        filed, in_turn = through(one, 1), through(one, 10**9)
        assert filed == in_turn, one
        met += bool(in_turn.matched) or not in_turn.rule.is_policy
    assert met > PACKETS / 4
