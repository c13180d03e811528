"""What the random rulesets found: each disagreement once, as small as it gets, beside what the kernel does."""

from collections.abc import Iterator
from random import Random
from typing import NamedTuple

import pytest
from lab import World
from msgspec.structs import replace

from netdoctor.walk.packet import ICMP, TCP, UDP, Packet

from .box import TOPOLOGY, Box
from .flows import Sent
from .foretold import Oracle
from .iptables_rules import Rules
from .trial import Reached, Trial

INSIDE, OUTSIDE, HOST = "10.1.0.2", "10.2.0.2", "10.1.0.1"
INSIDE_6, OUTSIDE_6, HOST_6 = "fd01::2", "fd02::2", "fd01::1"


def packet(source: str, destination: str, protocol: int = UDP, **fields: int) -> Packet:
    family = 6 if ":" in source else 4
    own = {"user_id": 0, "group_id": 0} if source in (HOST, HOST_6, "10.2.0.1") else {}
    ports = {"source_port": 30000, "destination_port": 80} if protocol != ICMP else {"icmp_type": 8, "icmp_id": 7}
    flags = {"tcp_flags": 2} if protocol == TCP else {}
    kind = {"ether_type": 0x0800 if family == 4 else 0x86DD, "length_bytes": 100}
    return Packet(
        family=family,
        source=source,
        destination=destination,
        protocol=protocol,
        **{**ports, **own, **flags, **kind, **fields},
    )  # type: ignore[arg-type]


def nft(*chains: str, family: str = "inet") -> tuple[str, str]:
    return "nft -f -", f"table {family} t {{\n" + "\n".join(chains) + "\n}\n"


def iptables(table: str, *rules: str, tool: str = "iptables-nft") -> tuple[str, str]:
    lines = "".join(f"-A {rule}\n" for rule in rules)
    return f"{tool}-restore", f"*{table}\n{lines}COMMIT\n"


class Found(NamedTuple):
    """Rules, packets one after another, and the labels of the rules that the last one meets; came: where it comes out."""

    inputs: tuple[tuple[str, str], ...]
    packets: tuple[Sent, ...]
    met: set[str]
    came: str = "inet:eth0"


COMMENT = "-m comment --comment"
FOUND = {
    "an answer without a connection is invalid and not translated": Found(
        (
            iptables("nat", f"PREROUTING {COMMENT} nat -j DNAT --to-destination {OUTSIDE}"),
            iptables("filter", f"INPUT -m conntrack --ctstate INVALID {COMMENT} invalid"),
        ),
        (Sent("left", packet(INSIDE, HOST, TCP, tcp_flags=0x12)),), {"invalid"}, "host",
    ),
    "an echo reply without a request is invalid": Found(
        (iptables("filter", f"FORWARD -m conntrack --ctstate INVALID {COMMENT} invalid"),),
        (Sent("left", packet(INSIDE, OUTSIDE, ICMP, icmp_type=0)),), {"invalid"},
    ),
    "notrack counts from the next rule on": Found(
        (iptables("raw", f"PREROUTING {COMMENT} not -j CT --notrack", f"PREROUTING -m conntrack --ctstate INVALID {COMMENT} invalid",
                  f"PREROUTING -m conntrack --ctstate UNTRACKED {COMMENT} untracked"),),
        (Sent("left", packet(INSIDE, OUTSIDE)),), {"not", "untracked"},
    ),
    "a packet whose zone was chosen has a state and nothing else": Found(
        (nft("chain p { type filter hook prerouting priority raw;", 'ct zone set 1 counter comment "zone"',
             'ct direction original counter comment "direction"', 'ct state new counter comment "new"', "}"),),
        (Sent("left", packet(INSIDE, OUTSIDE)),), {"zone", "new"},
    ),
    "a zone makes an untracked packet one to be tracked": Found(
        (nft("chain p { type filter hook prerouting priority raw;", 'notrack counter comment "not"', 'ct zone set 1 counter comment "zone"', "}",
             "chain f { type filter hook forward priority 0;", 'ct state new ct zone 1 counter comment "tracked"', "}"),),
        (Sent("left", packet(INSIDE, OUTSIDE)),), {"not", "zone", "tracked"},
    ),
    "an IPv6 address of one's own is unicast too": Found(
        (iptables("mangle", f"PREROUTING -m addrtype --dst-type UNICAST {COMMENT} unicast", tool="ip6tables-nft"),),
        (Sent("left", packet(INSIDE_6, HOST_6)),), {"unicast"}, "host",
    ),
    "another interface's address is unicast on this one": Found(
        (iptables("filter", f"INPUT -m addrtype --dst-type UNICAST --limit-iface-in {COMMENT} unicast"),),
        (Sent("right", packet(OUTSIDE, HOST)),), {"unicast"}, "host",
    ),
    "a socket bound to any address counts only when asked for": Found(
        (iptables("mangle", f"PREROUTING -m socket {COMMENT} bound", f"PREROUTING -m socket --nowildcard {COMMENT} any"),),
        (Sent("left", packet(INSIDE, OUTSIDE)),), {"any"},
    ),
    "a mark set in the filter table does not route again": Found(
        (iptables("filter", f"OUTPUT {COMMENT} save -j CONNMARK --set-xmark 2", f"OUTPUT {COMMENT} restore -j CONNMARK --restore-mark"),),
        (Sent("", packet("10.2.0.1", OUTSIDE)),), {"save", "restore"},
    ),
    "a mark set in the mangle table does": Found(
        (iptables("mangle", f"OUTPUT {COMMENT} mark -j MARK --set-xmark 2"),),
        (Sent("", packet("10.2.0.1", OUTSIDE)),), {"mark"}, "inet:eth1",
    ),
    "a redirected packet of one's own is masqueraded to the loopback address": Found(
        (iptables("nat", f"OUTPUT -p udp {COMMENT} redirect -j REDIRECT --to-ports 53", f"POSTROUTING {COMMENT} masquerade -j MASQUERADE",
                  tool="ip6tables-nft"),),
        (Sent("", packet(HOST_6, INSIDE_6)),), {"redirect", "masquerade"}, "host",
    ),
    "a key added to a set is there for the chains that follow": Found(
        (nft("set s { type ipv4_addr; flags dynamic; size 9; }", "chain p { type filter hook prerouting priority 0;",
             'ip saddr @s counter comment "early"', 'add @s { ip saddr } counter comment "add"', "}",
             "chain f { type filter hook forward priority 0;", 'ip saddr @s counter comment "late"', "}"),),
        (Sent("left", packet(INSIDE, OUTSIDE)),), {"add", "late"},
    ),
    "no device leads to an address of one's own": Found(
        (nft("chain p { type filter hook prerouting priority 0;", 'fib daddr oif exists counter comment "own"', "}"),),
        (Sent("left", packet(INSIDE, HOST)),), set(), "host",
    ),
    "an accept in one nat chain is not the last word of the next": Found(
        (nft("chain a { type nat hook prerouting priority -110;", 'counter accept comment "first"', "}",
             "chain b { type nat hook prerouting priority -100;", f'meta nfproto ipv4 counter dnat ip to {OUTSIDE} comment "second"', "}"),),
        (Sent("left", packet(INSIDE, "10.9.0.9")),), {"first", "second"},
    ),
    "an answer has its own address back before later filters, nat chain in the hook or not": Found(
        (nft("chain s { type nat hook postrouting priority 100;", 'oifname right counter masquerade comment "masquerade"', "}",
             "chain p { type filter hook prerouting priority 0;", f'ip daddr {INSIDE} counter comment "back"', "}"),),
        (Sent("left", packet(INSIDE, OUTSIDE)), Sent("right", packet(OUTSIDE, "10.2.0.1", source_port=80, destination_port=30000, user_id=0))),
        {"back"}, "ns1:eth0",
    ),
    "conntrack's mark outlives the packet": Found(
        (iptables("mangle", f"FORWARD -i left {COMMENT} set -j CONNMARK --set-xmark 5", f"FORWARD -m connmark --mark 5 {COMMENT} marked"),),
        (Sent("left", packet(INSIDE, OUTSIDE)), Sent("right", packet(OUTSIDE, INSIDE, source_port=80, destination_port=30000))),
        {"marked"}, "ns1:eth0",
    ),
    "a packet to oneself is confirmed before it comes in": Found(
        (iptables("filter", f"OUTPUT -m conntrack --ctstatus CONFIRMED {COMMENT} out", f"INPUT -m conntrack --ctstatus CONFIRMED {COMMENT} in"),),
        (Sent("", packet(HOST, HOST)),), {"in"}, "host",
    ),
    "a segment with data and without options is given no maximum segment size": Found(
        (iptables("mangle", f"OUTPUT -p tcp --tcp-flags SYN,RST SYN {COMMENT} clamp -j TCPMSS --set-mss 1200",
                  f"POSTROUTING -p tcp --tcp-flags SYN,RST SYN -m tcpmss --mss 1:1400 {COMMENT} size"),),
        (Sent("", packet("10.2.0.1", OUTSIDE, TCP)),), {"clamp"},
    ),
    "what comes by loopback passes prerouting": Found(
        (iptables("mangle", f"PREROUTING -i lo {COMMENT} loop"),), (Sent("", packet(HOST, HOST)),), {"loop"}, "host",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    with World(TOPOLOGY) as world:
        made = Box(world)
        yield made
        made.close()


@pytest.mark.parametrize("name", FOUND)
def test_found(box: Box, name: str) -> None:
    found = FOUND[name]
    box.tool("nft flush ruleset", "")
    box.forget_connections()
    for command, text in found.inputs:
        assert not box.tool(command, text)
    trial = Trial(box, Rules(found.inputs, {}), box.loaded(), Random(0))
    oracle = Oracle(box, trial.snapshot)
    for sent in found.packets:
        verdict = trial.one(oracle, sent)
        assert not verdict.wrong, str(verdict)
    assert set(verdict.moved) == found.met, str(verdict)
    assert verdict.seen is not None and verdict.seen.place == found.came, str(verdict)
    assert not verdict.foretold.doubts, str(verdict)


def test_what_is_made_from_an_uncertain_value_is_uncertain(box: Box) -> None:
    rules = ("FORWARD -m statistic --mode random --probability 0.5 -j TTL --ttl-inc 1", "FORWARD -j TTL --ttl-dec 2")
    box.tool("nft flush ruleset", "")
    assert not box.tool(*iptables("mangle", *rules))
    trial = Trial(box, Rules((), {}), box.loaded(), Random(0))
    verdict = trial.one(Oracle(box, trial.snapshot), Sent("left", packet(INSIDE, OUTSIDE)))
    assert verdict.seen is not None and "field ttl" in verdict.foretold.doubts, str(verdict)


@pytest.mark.parametrize("options", ["", " --persistent"])
@pytest.mark.parametrize("target", ["DNAT", "SNAT"])
@pytest.mark.parametrize("family", [4, 6])
def test_of_a_range_of_addresses_each_flow_gets_the_one_that_the_hash_says(
    box: Box, family: int, target: str, options: str
) -> None:
    near, far, prefix = ("10.1.0.", "10.2.0.", "") if family == 4 else ("fd01::", "fd02::", "6")
    where = "PREROUTING" if target == "DNAT" else "POSTROUTING"
    word = "destination" if target == "DNAT" else "source"
    rule = f"{where} -p udp -j {target} --to-{word} {far}2-{far}3{options}"
    box.tool("nft flush ruleset", "")
    box.forget_connections()
    assert not box.tool(*iptables("nat", rule, tool=f"ip{prefix}tables-nft"))
    trial = Trial(box, Rules((), {}), box.loaded(), Random(0))
    chosen = set()
    for number in range(20, 32):
        aimed = f"{far}{2 + number % 2}"
        sent = Sent("left", packet(f"{near}{number}", aimed, source_port=30000 + number))
        verdict = trial.one(Oracle(box, trial.snapshot), sent)
        assert not verdict.wrong and not verdict.foretold.doubts, str(verdict)
        assert verdict.seen is not None, str(verdict)
        chosen.add(getattr(verdict.seen, word))
    assert len(chosen) == 2


def test_a_port_that_nat_draws_is_doubted_by_rules_that_ask_for_it_and_by_no_others(box: Box) -> None:
    box.tool("nft flush ruleset", "")
    box.forget_connections()
    assert not box.tool(*iptables("nat", "POSTROUTING -p udp -j MASQUERADE --to-ports 50000-50100"))
    rules = (
        'udp sport 50000 counter comment "port"',
        'meta l4proto udp ct reply proto-dst 50000 counter comment "tuple"',
        'meta l4proto udp ct original proto-src 30000 counter comment "original"',
        'udp dport 80 counter comment "other"',
    )
    assert not box.tool(*nft("chain p { type filter hook postrouting priority 120;", *rules, "}"))
    trial = Trial(box, Rules((), {}), box.loaded(), Random(0))
    with Reached() as reached:
        verdict = trial.one(Oracle(box, trial.snapshot), Sent("left", packet(INSIDE, OUTSIDE)))
    assert not verdict.wrong, str(verdict)
    assert reached.in_doubt == {"port", "tuple"}
    assert {"original", "other"} <= set(verdict.moved)


def test_what_is_invalid_on_its_way_out_is_looked_up_again_when_it_comes_in_by_loopback(box: Box) -> None:
    """There a zone can make it the answer to a known flow: translated back, it claims to come from outside, and dies."""
    box.tool("nft flush ruleset", "")
    box.forget_connections()
    raw = iptables("raw", f"PREROUTING {COMMENT} zone -j CT --zone 1")
    nat = iptables("nat", f"INPUT {COMMENT} nat -j SNAT --to-source {HOST}")
    assert not box.tool(*raw) and not box.tool(*nat)
    trial = Trial(box, Rules((), {}), box.loaded(), Random(0))
    oracle = Oracle(box, trial.snapshot)
    asked = trial.one(oracle, Sent("left", packet(INSIDE, "10.3.0.1", ICMP)))
    assert asked.seen is not None and asked.seen.source == HOST and not asked.wrong, str(asked)
    answer = packet("10.3.0.1", HOST, ICMP, icmp_type=0, user_id=0, group_id=0)
    verdict = trial.one(oracle, Sent("", answer))
    assert not verdict.wrong and verdict.seen is None, str(verdict)
    assert verdict.moved["zone"] == 1 and not verdict.foretold.doubts, str(verdict)


@pytest.mark.parametrize(("chain", "passes"), [("INPUT -m state --state ESTABLISHED", False), ("PREROUTING", True)])
def test_a_limit_of_connections_may_drop_an_open_one_that_it_has_not_counted(
    box: Box, chain: str, passes: bool
) -> None:
    """It does when the one that it counted before is gone."""
    box.tool("nft flush ruleset", "")
    limit = f"{chain} -m connlimit --connlimit-upto 5000 --connlimit-mask 0"
    assert not box.tool(*iptables("nat", "PREROUTING -p tcp -j REDIRECT --to-ports 8080", tool="ip6tables-nft"))
    assert not box.tool(*iptables("mangle", limit, tool="ip6tables-nft"))
    for port in (30000, 30001):
        box.forget_connections()
        trial = Trial(box, Rules((), {}), box.loaded(), Random(0))
        oracle = Oracle(box, trial.snapshot)
        first = packet(INSIDE_6, "fd03::1", TCP, source_port=port)
        answer = packet(HOST_6, INSIDE_6, TCP, source_port=8080, destination_port=port, tcp_flags=0x12)
        trial.one(oracle, Sent("left", first))
        trial.one(oracle, Sent("", answer, 5000, 1001))
        verdict = trial.one(oracle, Sent("left", replace(first, tcp_flags=0x10), 1001, 5001))
        assert not verdict.wrong, str(verdict)
        assert bool(verdict.foretold.doubts) is not passes, str(verdict)
    assert (verdict.seen is not None) is passes, str(verdict)
