"""Structs of any bytes, of any length, under every name and revision: never a crash, always something to read."""

import random

import pytest

from netdoctor.model.expression import XtMatch, XtTarget
from netdoctor.model.firewall import Chain, IpSet, Rule, Ruleset, Table
from netdoctor.walk.netfilter import HookFacts, base_chains, evaluate, rule_text
from netdoctor.walk.netfilter.xt_mangling import TARGETS as MANGLING
from netdoctor.walk.netfilter.xt_match import RARER, TESTS
from netdoctor.walk.netfilter.xt_match_text import RARER as RARER_TEXTS
from netdoctor.walk.netfilter.xt_match_text import TEXTS
from netdoctor.walk.netfilter.xt_target import TARGETS
from netdoctor.walk.netfilter.xt_target_text import RARER as RARER_TARGETS
from netdoctor.walk.netfilter.xt_target_text import TEXTS as TARGET_TEXTS
from netdoctor.walk.packet import TCP, ConntrackView, Packet

MATCHES = sorted({*TESTS, *RARER, *TEXTS, *RARER_TEXTS, "unheard-of"})
TARGET_NAMES = sorted({*TARGETS, *MANGLING, *TARGET_TEXTS, *RARER_TARGETS, "UNHEARD-OF"})
SIZES = (0, 1, 3, 8, 16, 40, 100, 300, 1200, 2000)
PACKETS = (
    Packet(family=4, source="10.0.0.2", destination="8.8.8.8", protocol=TCP, in_device="veth0", out_device="eth0",
           source_mac="02:00:00:00:00:01", payload=b"hello", conntrack=ConntrackView(state="new")),
    Packet(family=6, source="fd00::2", destination="fd01::2", protocol=58, out_device="eth0", ether_type=0x86DD),
)  # fmt: skip
SETS = (
    IpSet(index=0, name="s", type="hash:ip,port", members=("10.0.0.2,tcp:80",)),
    IpSet(index=1, type="list:set", members=("s",)),
)


def blobs(choice: random.Random) -> list[bytes]:
    """Random bytes, small numbers (which pass for flags and counts), and text without an end."""
    found = []
    for size in SIZES:
        found += [
            bytes(size),
            b"\xff" * size,
            choice.randbytes(size),
            bytes(choice.choice((0, 0, 1, 2, 4)) for _ in range(size)),
        ]
    return found


def tried(expression: XtMatch | XtTarget) -> None:
    for packet in PACKETS:
        family = "ip" if packet.family == 4 else "ip6"
        rule = Rule(line=1, expressions=(expression,))
        chain = Chain(name="FORWARD", hook="forward", type="filter", rules=(rule,))
        table = Table(backend="iptables-nft", family=family, name="filter", chains=(chain,))
        ruleset = Ruleset(tables=(table,), ipsets=SETS)
        assert expression.name in rule_text(table, chain, rule, ruleset).replace("-m state", "-m conntrack").replace(
            "NOTRACK", "NOTRACK CT"
        )
        found = evaluate(base_chains(ruleset, family, "forward")[0], packet, HookFacts())
        assert found.verdict in ("accept", "drop", "unknown", "queue")


@pytest.mark.parametrize("name", MATCHES)
def test_matches_of_any_bytes(name: str) -> None:
    choice = random.Random(name)
    for revision in range(5):
        for info in blobs(choice):
            tried(XtMatch(name=name, revision=revision, info=info))


@pytest.mark.parametrize("name", TARGET_NAMES)
def test_targets_of_any_bytes(name: str) -> None:
    choice = random.Random(name)
    for revision in range(5):
        for info in blobs(choice):
            tried(XtTarget(name=name, revision=revision, info=info))
