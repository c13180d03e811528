"""The three values: what is sure, what is doubtful and why, what has to be read first."""

import struct

import msgspec
import pytest
from lab import World
from lab.topology import Topology
from walk.netfilter.forwarding import whole_ruleset
from walk.netfilter.inside import call_inside

from netdoctor.model.expression import (
    AnyExpression,
    Cmp,
    Immediate,
    Limit,
    Lookup,
    Meta,
    MetaSet,
    Numgen,
    Opaque,
    Verdict,
    XtMatch,
)
from netdoctor.model.firewall import Chain, IpSet, Rule, Ruleset, Set, SetElement, Table
from netdoctor.model.unknown import UNREAD, Unknown
from netdoctor.walk.netfilter import BaseChain, ChainResult, HookFacts, base_chains, evaluate, explain_nat_misses
from netdoctor.walk.packet import ICMP, ConntrackView, Packet

PACKET = Packet(
    family=4, source="10.0.0.2", destination="8.8.8.8", protocol=ICMP, icmp_type=8, in_device="veth0",
    out_device="eth0", conntrack=ConntrackView(state="new"),
)  # fmt: skip
ACCEPT, DROP, LIMIT = Verdict(code="accept"), Verdict(code="drop"), Limit(rate=5, unit_s=1)
MARK_IS_1 = (Meta(key="mark", register=1), Cmp(operator="eq", register=1, value=b"\1\0\0\0"))
SET_MARK_1 = (Immediate(register=1, value=b"\1\0\0\0"), MetaSet(key="mark", register=1))
EMPTY = Topology(title="A lone namespace", roles=("host",))


def rule(*expressions: AnyExpression) -> Rule:
    return Rule(expressions=expressions)


def base(*rules: Rule, policy: str = "accept", more: tuple[Chain, ...] = (), sets: tuple[Set, ...] = ()) -> BaseChain:
    numbered = tuple(msgspec.structs.replace(each, line=line) for line, each in enumerate(rules, 1))
    chain = Chain(name="f", hook="forward", type="filter", policy=policy, rules=numbered)
    table = Table(backend="nft", family="ip", name="t", chains=(chain, *more), sets=sets)
    return base_chains(Ruleset(tables=(table,)), "ip", "forward")[0]


def result(*rules: Rule, policy: str = "accept", more: tuple[Chain, ...] = ()) -> ChainResult:
    return evaluate(base(*rules, policy=policy, more=more), PACKET, HookFacts())


def test_a_limited_accept_before_a_drop_is_unknown() -> None:
    found = result(rule(LIMIT, ACCEPT), rule(DROP))
    assert (found.verdict, found.otherwise) == ("unknown", "drop")
    assert [(doubt.verdict, doubt.rule.line) for doubt in found.doubts] == [("accept", 1)]
    assert "rate limit" in found.doubts[0].why


def test_doubts_that_change_nothing_are_none() -> None:
    found = result(rule(LIMIT, ACCEPT), rule(LIMIT, ACCEPT))
    assert (found.verdict, found.doubts) == ("accept", ())


def test_a_condition_that_surely_fails_settles_a_doubt_before_it() -> None:
    assert result(rule(LIMIT, *MARK_IS_1, DROP)).doubts == ()


def test_a_mark_set_in_doubt_is_uncertain_afterwards() -> None:
    found = result(rule(LIMIT, *SET_MARK_1), rule(*MARK_IS_1, DROP))
    assert found.verdict == "unknown"
    assert "mark" in found.uncertain
    assert result(rule(*SET_MARK_1), rule(*MARK_IS_1, DROP)).verdict == "drop"


def test_a_doubtful_jump_doubts_what_is_behind_it() -> None:
    chain = Chain(name="u", rules=(rule(DROP),))
    found = result(rule(LIMIT, Verdict(code="jump", chain="u")), more=(chain,))
    assert [doubt.verdict for doubt in found.doubts] == ["drop"]


def test_a_doubtful_return_leaves_the_rest_of_its_chain_in_doubt() -> None:
    chain = Chain(name="u", rules=(rule(LIMIT, Verdict(code="return")), rule(DROP)))
    found = result(rule(Verdict(code="jump", chain="u")), more=(chain,))
    assert (found.verdict, found.otherwise, found.doubts[0].verdict) == ("unknown", "accept", "drop")


def test_what_is_not_understood_may_drop() -> None:
    found = result(rule(Opaque(name="martian")))
    assert found.verdict == "unknown"
    assert "martian" in found.doubts[0].why


def test_a_verdict_map_by_chance_doubts_each_of_its_verdicts() -> None:
    number = Numgen(mode="random", modulus=2, register=1)
    elements = (SetElement(key=b"\0\0\0\0", verdict="drop"), SetElement(key=b"\1\0\0\0", verdict="accept"))
    chances = Set(name="m", flags=("map",), key_length=4, elements=elements)
    found = evaluate(
        base(rule(number, Lookup(set="m", register=1, destination=0)), sets=(chances,)), PACKET, HookFacts()
    )
    assert found.verdict == "unknown"
    assert [doubt.verdict for doubt in found.doubts] == ["drop"]


def test_chains_that_were_not_read_are_asked_for_together() -> None:
    more = (Chain(name="u"), Chain(name="v"))
    jumps = [rule(Verdict(code="jump", chain=name)) for name in ("u", "v")]
    found = result(*jumps, more=more)
    assert [(need.subject, need.key) for need in found.needs] == [("chains", ("ip", "t", "u", "v"))]


@pytest.mark.parametrize(
    ("flags", "need"), [((), ("element", ("ip", "t", "s", "00000000"))), (("anonymous",), ("set", ("ip", "t", "s")))]
)
def test_a_set_that_was_not_read_is_asked_for(flags: tuple[str, ...], need: tuple[str, tuple[str, ...]]) -> None:
    asked = rule(Meta(key="mark", register=1), Lookup(set="s", register=1), DROP)
    unread = Set(name="s", key_length=4, elements=UNREAD, flags=flags)
    found = evaluate(base(asked, sets=(unread,)), PACKET, HookFacts())
    assert [(need.subject, need.key) for need in found.needs] == [need]


@pytest.mark.parametrize(("answer", "verdict"), [((), "accept"), ((SetElement(key=bytes(4)),), "drop")])
def test_the_kernels_answer_for_a_key_decides(answer: tuple[SetElement, ...], verdict: str) -> None:
    asked = rule(Meta(key="mark", register=1), Lookup(set="s", register=1), DROP)
    known = Set(name="s", key_length=4, answers={"00000000": answer})
    assert evaluate(base(asked, sets=(known,)), PACKET, HookFacts()).verdict == verdict


def test_a_chain_that_cannot_be_read_is_unknown() -> None:
    chain = Chain(name="u", rules=Unknown("no permission"))
    found = result(rule(Verdict(code="jump", chain="u")), more=(chain,))
    assert found.verdict == "unknown"
    assert "no permission" in found.doubts[0].why


def loaded(script: str) -> Ruleset:
    with World(EMPTY) as world:
        world.sh(script)
        return call_inside(world.name("host"), whole_ruleset)


def forward(ruleset: Ruleset, packet: Packet = PACKET) -> ChainResult:
    return evaluate(base_chains(ruleset, "ip", "forward")[0], packet, HookFacts())


def test_ipsets() -> None:
    ruleset = loaded(
        "ipset create bad hash:net; ipset add bad 8.8.8.0/24; ipset add bad 8.8.8.128/25 nomatch;"
        "iptables-nft -A FORWARD -m set --match-set bad dst -j DROP"
    )
    assert forward(ruleset).verdict == "drop"
    assert forward(ruleset).rule.text == "-A FORWARD -m set --match-set bad dst -j DROP"
    assert forward(ruleset, msgspec.structs.replace(PACKET, destination="8.8.8.200")).verdict == "accept"


def test_an_address_just_put_into_a_recent_list_is_in_it() -> None:
    check = "iptables-legacy -A FORWARD -m recent --name x --rcheck --seconds 60 -j DROP"
    assert forward(loaded(f"iptables-legacy -A FORWARD -m recent --name x --set; {check}")).verdict == "drop"
    assert forward(loaded(check)).verdict == "unknown"


def test_nat_rules_that_missed_say_why() -> None:
    ruleset = loaded(
        "iptables-nft -t nat -A POSTROUTING -s 10.0.0.0/24 -o wlp1s0 -j MASQUERADE;"
        "iptables-nft -t nat -A POSTROUTING -d 8.8.8.8 -j RETURN; iptables-nft -t nat -A POSTROUTING -j MASQUERADE"
    )
    misses = explain_nat_misses(base_chains(ruleset, "ip", "postrouting"), PACKET, HookFacts())
    assert [(miss.field, miss.expected, miss.observed) for miss in misses[0].misses] == [
        ("out-device", "wlp1s0", "eth0")
    ]
    assert misses[1].misses == ()
    assert misses[1].shadowed_by is not None
    assert misses[1].shadowed_by.text == "-A POSTROUTING -d 8.8.8.8/32 -j RETURN"


def verdict_by(found: IpSet, dimensions: int, sources: int, packet: Packet = PACKET) -> str:
    """The verdict of a lone drop of what the set takes; `sources` has bit n for dimension n."""
    info = struct.pack("=H2B", found.index, dimensions, sources).ljust(48, b"\0")
    hooked = base(rule(XtMatch(name="set", revision=4, info=info), DROP))
    asked = msgspec.structs.replace(hooked, ruleset=Ruleset(tables=(hooked.table,), ipsets=(found,)))
    return evaluate(asked, packet, HookFacts()).verdict


def test_ipsets_of_kinds_this_kernel_lacks() -> None:
    marks = IpSet(index=1, name="m", type="hash:ip,mark", members=("10.0.0.2,0x10",), mark_mask=0xF0)
    assert verdict_by(marks, 2, 2, msgspec.structs.replace(PACKET, mark=0x1F)) == "drop"
    assert verdict_by(marks, 2, 2, msgspec.structs.replace(PACKET, mark=0x2F)) == "accept"
    stations = IpSet(index=1, name="s", type="hash:mac", members=("02:00:00:00:00:01",))
    assert verdict_by(stations, 1, 2, msgspec.structs.replace(PACKET, source_mac="02:00:00:00:00:01")) == "drop"
    assert verdict_by(stations, 1, 2) == "unknown"
    pairs = IpSet(index=1, name="p", type="hash:net,net", members=("10.0.0.0/24,8.0.0.0/8", "!10.0.0.0/24,8.8.8.8/32"))
    assert verdict_by(pairs, 2, 2) == "accept"
    assert verdict_by(pairs, 2, 2, msgspec.structs.replace(PACKET, destination="8.8.4.4")) == "drop"
    assert verdict_by(IpSet(index=1, type="hash:other", members=("x",)), 1, 2) == "unknown"


def test_few_connections_are_not_above_a_high_limit() -> None:
    def limited(limit: int, flags: int) -> str:
        info = bytes(16) + struct.pack("=2I", limit, flags).ljust(24, b"\0")
        hooked = base(rule(XtMatch(name="connlimit", revision=1, info=info), DROP))
        return evaluate(hooked, PACKET, HookFacts(connections=9)).verdict

    assert [limited(100, flags) for flags in (0, 1)] == ["accept", "drop"]
    assert [limited(10, flags) for flags in (0, 1)] == ["unknown", "unknown"]
    assert [limited(0, flags) for flags in (0, 1)] == ["drop", "accept"]
