"""Composed and corrected rules: the kernel takes them and their own tools print what was meant."""

from collections.abc import Iterator
from functools import partial

import pytest
from lab import World
from lab.topology import Topology
from walk.netfilter.forwarding import whole_ruleset
from walk.netfilter.inside import call_inside

from netdoctor.fix.apply.nftables import edit_nftables
from netdoctor.fix.apply.xtables import edit_legacy
from netdoctor.model.change import ChainRef, InsertRule, ReplaceRule
from netdoctor.model.firewall import Backend, Chain, Rule, Ruleset, Table, TableFamily
from netdoctor.model.unknown import Unknown
from netdoctor.walk.netfilter import RuleSpec, amended, compose, encode_expressions, rule_text
from netdoctor.walk.netfilter.rule_spec import AmendedField

EMPTY = Topology(title="A lone namespace", roles=("host",))
SPECS: tuple[tuple[RuleSpec, str, str], ...] = (
    (RuleSpec(verdict="accept"), "-A FORWARD -j ACCEPT", "counter packets 0 bytes 0 accept"),
    (
        RuleSpec(
            verdict="accept", source="10.0.0.0/24", in_device="veth0", out_device="eth0", comment="let it through"
        ),
        '-A FORWARD -s 10.0.0.0/24 -i veth0 -o eth0 -m comment --comment "let it through" -j ACCEPT',
        'iifname "veth0" oifname "eth0" ip saddr 10.0.0.0/24 counter packets 0 bytes 0 accept comment "let it through"',
    ),
    (
        RuleSpec(verdict="drop", destination="10.0.0.0/12", protocol="tcp", destination_port=80, ct_states=("new",)),
        "-A FORWARD -d 10.0.0.0/12 -p tcp -m tcp --dport 80 -m conntrack --ctstate NEW -j DROP",
        "ip daddr 10.0.0.0/12 tcp dport 80 ct state new counter packets 0 bytes 0 drop",
    ),
    (
        RuleSpec(verdict="accept", in_device="veth+", ct_states=("related", "established")),
        "-A FORWARD -i veth+ -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        'iifname "veth*" ct state established,related counter packets 0 bytes 0 accept',
    ),
    (
        RuleSpec(verdict="return", source="10.0.0.2", protocol="icmp"),
        "-A FORWARD -s 10.0.0.2/32 -p icmp -j RETURN",
        "ip saddr 10.0.0.2 meta l4proto icmp counter packets 0 bytes 0 return",
    ),
)
MASQUERADE = RuleSpec(verdict="masquerade", source="10.0.0.0/24", out_device="eth0")


def rules_of(world: World, backend: Backend, family: TableFamily, chain: str) -> tuple[Table, Chain, tuple[Rule, ...]]:
    found = inside(world)
    assert not isinstance(found.tables, Unknown)
    for table in found.tables:
        there = table.chain(chain)
        if (table.backend, table.family) == (backend, family) and there is not None:
            assert not isinstance(there.rules, Unknown)
            return table, there, there.rules
    raise AssertionError(chain)


def inside(world: World) -> Ruleset:
    return call_inside(world.name("host"), whole_ruleset)


def write(world: World, change: InsertRule | ReplaceRule) -> None:
    call_inside(world.name("host"), lambda: edit_nftables(change))


@pytest.fixture(scope="module")
def host() -> Iterator[World]:
    with World(EMPTY) as world:
        yield world


@pytest.mark.parametrize("family", ["ip", "inet"])
def test_native_rules_print_as_meant(host: World, family: TableFamily) -> None:
    host.sh(f"nft flush ruleset; nft 'table {family} t {{ chain f {{ type filter hook forward priority 0; }}; }}'")
    at = ChainRef(backend="nft", family=family, table="t", chain="f")
    for spec, _, _ in SPECS:
        write(host, InsertRule(namespace="", at=at, rule=compose(spec, "nft", family)))
    printed = host.run("host", "nft", "-y", "list", "chain", family, "t", "f")
    for _, _, text in SPECS:
        assert text in printed


def test_iptables_rules_print_as_meant(host: World) -> None:
    host.sh("nft flush ruleset; iptables-nft -P FORWARD ACCEPT; iptables-nft -t nat -P POSTROUTING ACCEPT")
    at = ChainRef(backend="iptables-nft", family="ip", table="filter", chain="FORWARD")
    for spec, _, _ in SPECS:
        write(host, InsertRule(namespace="", at=at, rule=compose(spec, "iptables-nft", "ip")))
    nat = ChainRef(backend="iptables-nft", family="ip", table="nat", chain="POSTROUTING")
    write(host, InsertRule(namespace="", at=nat, rule=compose(MASQUERADE, "iptables-nft", "ip")))
    saved = host.run("host", "iptables-nft-save")
    assert [line for line in saved.splitlines() if line.startswith("-A FORWARD")] == [text for _, text, _ in SPECS]
    assert "-A POSTROUTING -s 10.0.0.0/24 -o eth0 -j MASQUERADE" in saved
    assert "incompatible" not in saved


def test_composed_as_iptables_writes_it(host: World) -> None:
    """Byte for byte the expressions that iptables-nft itself leaves in the kernel."""
    host.sh("nft flush ruleset")
    for _, text, _ in SPECS:
        host.sh(f"iptables-nft {text}")
    _, _, rules = rules_of(host, "iptables-nft", "ip", "FORWARD")
    for rule, (spec, _, _) in zip(rules, SPECS, strict=True):
        composed = compose(spec, "iptables-nft", "ip")
        assert composed.expressions == rule.expressions
        assert composed.compat == rule.compat


def test_encoding_gives_back_what_was_read(host: World) -> None:
    host.sh("nft flush ruleset")
    for _, text, _ in SPECS:
        host.sh(f"iptables-nft {text}")
    table, chain, rules = rules_of(host, "iptables-nft", "ip", "FORWARD")
    at = ChainRef(backend="iptables-nft", family="ip", table="filter", chain="FORWARD")
    before = [rule_text(table, chain, rule) for rule in rules]
    for rule in rules:
        again = Rule(expressions=rule.expressions, raw=encode_expressions(rule.expressions), compat=rule.compat)
        write(host, InsertRule(namespace="", at=at, rule=again))
    table, chain, rules = rules_of(host, "iptables-nft", "ip", "FORWARD")
    assert [rule_text(table, chain, rule) for rule in rules] == before + before


@pytest.mark.parametrize("backend", ["iptables-nft", "nft"])
@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("out_device", "wlp1s0", "-s 10.0.0.0/24 -o wlp1s0"),
        ("source", "10.0.1.0/25", "-s 10.0.1.0/25 -o eth0"),
        ("source", "10.0.0.0/8", "-s 10.0.0.0/8 -o eth0"),
    ],
)
def test_correcting_a_rule(host: World, backend: Backend, field: AmendedField, value: str, expected: str) -> None:
    host.sh("nft flush ruleset")
    if backend == "nft":
        host.sh("nft -f - <<'X'\ntable ip nat { chain p { type nat hook postrouting priority 100; }; }\nX")
        host.sh("nft add rule ip nat p ip saddr 10.0.0.0/24 oifname eth0 masquerade")
        at = ChainRef(backend="nft", family="ip", table="nat", chain="p")
    else:
        host.sh("iptables-nft -t nat -A POSTROUTING -s 10.0.0.0/24 -o eth0 -j MASQUERADE")
        at = ChainRef(backend="iptables-nft", family="ip", table="nat", chain="POSTROUTING")
    rule = rules_of(host, backend, "ip", at.chain)[2][0]
    write(host, ReplaceRule(namespace="", at=at, before=rule, after=amended(rule, field, value)))
    if backend == "nft":
        words = expected.split()
        text = f'ip saddr {words[1]} oifname "{words[3]}" masquerade'
        assert text in host.run("host", "nft", "list", "chain", "ip", "nat", "p")
    else:
        assert f"-A POSTROUTING {expected} -j MASQUERADE" in host.run("host", "iptables-nft-save")


def test_a_condition_that_is_not_there_cannot_be_corrected() -> None:
    with pytest.raises(ValueError, match="source"):
        amended(compose(RuleSpec(verdict="masquerade", out_device="eth0"), "nft", "ip"), "source", "10.0.0.0/8")


V6 = (
    (RuleSpec(verdict="accept", in_device="veth0", out_device="eth0"), "-A FORWARD -i veth0 -o eth0 -j ACCEPT"),
    (
        RuleSpec(verdict="accept", source="fd00::2/128", destination="2001:db8::/32", in_device="veth0"),
        "-A FORWARD -s fd00::2/128 -d 2001:db8::/32 -i veth0 -j ACCEPT",
    ),
    (
        RuleSpec(verdict="accept", out_device="veth0", ct_states=("related", "established")),
        "-A FORWARD -o veth0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
    ),
)
V4 = tuple((spec, text) for spec, text, _ in SPECS)
NAT_RULES: dict[str, tuple[tuple[RuleSpec, str], ...]] = {
    "ip": ((MASQUERADE, "-t nat -A POSTROUTING -s 10.0.0.0/24 -o eth0 -j MASQUERADE"),),
    "ip6": (
        (
            RuleSpec(verdict="masquerade", source="fd00::/64", out_device="eth0"),
            "-t nat -A POSTROUTING -s fd00::/64 -o eth0 -j MASQUERADE",
        ),
    ),
}


@pytest.mark.parametrize("family", ["ip", "ip6"])
@pytest.mark.parametrize("backend", ["iptables-nft", "iptables-legacy"])
def test_composed_byte_for_byte_as_the_tool_writes_it(backend: Backend, family: TableFamily) -> None:
    """Written by us and by the tool's own command, the kernel holds the same bytes."""
    tool = ("ip6tables" if family == "ip6" else "iptables") + backend.removeprefix("iptables")
    edit = edit_legacy if backend == "iptables-legacy" else edit_nftables
    with World(EMPTY) as world:
        for chain, pairs in (("FORWARD", V6 if family == "ip6" else V4), ("POSTROUTING", NAT_RULES[family])):
            for _, text in pairs:
                world.sh(f"{tool} {text}")
            table, _, rules = rules_of(world, backend, family, chain)
            at = ChainRef(backend=backend, family=family, table=table.name, chain=chain)
            for spec, _ in pairs:
                change = InsertRule(namespace="", at=at, rule=compose(spec, backend, family))
                call_inside(world.name("host"), partial(edit, change))
            ours = rules_of(world, backend, family, chain)[2][len(pairs) :]
            for rule, mine, (_, text) in zip(rules, ours, pairs, strict=True):
                assert mine.expressions == rule.expressions, text
                assert written(mine, backend, family) == written(rule, backend, family), text


def written(rule: Rule, backend: Backend, family: TableFamily) -> tuple[bytes, ...]:
    """The rule's bytes, a legacy entry's without `comefrom`: the kernel's mark of which hooks reach it (a rule after an
    unconditional accept is reached by none)."""
    raw = bytes(rule.raw)
    if backend == "iptables-legacy":
        offset = 144 if family == "ip6" else 92
        raw = raw[:offset] + raw[offset + 4 :]
    return raw, rule.compat, rule.userdata
