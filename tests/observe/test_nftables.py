"""Reading rulesets leaves no trace and takes only what was asked for."""

from collections.abc import Iterator

import pytest
from lab import World
from lab.topology import Topology
from walk.netfilter.inside import call_inside

from netdoctor.model.expression import Cmp, Counter, Meta, Opaque, Verdict
from netdoctor.model.firewall import Ruleset, Table
from netdoctor.model.unknown import UNREAD, Unknown
from netdoctor.observe.nft_expressions import decode
from netdoctor.observe.nft_sets import read_set
from netdoctor.observe.nftables import read_chains, read_ruleset
from netdoctor.walk.netfilter.encode import encode

EMPTY = Topology(title="A lone namespace", roles=("host",))
LISTS = ("/proc/thread-self/net/ip_tables_names", "/proc/thread-self/net/ip6_tables_names")


@pytest.fixture
def host() -> Iterator[World]:
    with World(EMPTY) as world:
        yield world


def read(world: World) -> tuple[Table, ...]:
    found = call_inside(world.name("host"), read_ruleset)
    assert not isinstance(found.tables, Unknown)
    return found.tables


def names() -> list[str]:
    found = []
    for path in LISTS:
        with open(path, encoding="ascii") as listing:
            found.append(listing.read())
    return found


def test_an_empty_namespace_has_nothing_and_gets_nothing(host: World) -> None:
    assert call_inside(host.name("host"), read_ruleset) == Ruleset(tables=(), ipsets=())
    assert call_inside(host.name("host"), names) == ["", ""]
    assert host.run("host", "nft", "list", "ruleset") == ""


def test_only_tables_in_use_are_opened(host: World) -> None:
    host.sh("iptables-legacy -t mangle -A FORWARD -j ACCEPT")
    before = call_inside(host.name("host"), names)
    assert [(table.backend, table.name) for table in read(host)] == [("iptables-legacy", "mangle")]
    assert call_inside(host.name("host"), names) == before


def test_chains_are_listed_and_their_rules_left_unread(host: World) -> None:
    host.sh("iptables-nft -A FORWARD -j DROP; iptables-nft -P FORWARD DROP; nft 'table inet mine { chain c { }; }'")
    iptables, mine = read(host)
    assert (iptables.backend, mine.backend) == ("iptables-nft", "nft")
    chain = iptables.chain("FORWARD")
    assert chain is not None
    assert (chain.hook, chain.priority, chain.policy, chain.rules) == ("forward", 0, "drop", UNREAD)


def test_native_tables_with_iptables_names_are_native(host: World) -> None:
    host.sh("nft 'table ip filter { chain forward { type filter hook forward priority 0; }; }'")
    assert read(host)[0].backend == "nft"


def test_only_the_chains_asked_for_are_read(host: World) -> None:
    host.sh("iptables-nft -N A; iptables-nft -N B; iptables-nft -A A -i veth0 -j DROP; iptables-nft -A B -j ACCEPT")
    found = call_inside(host.name("host"), lambda: read_chains("ip", "filter", ("A", "gone")))
    assert (sorted(found), found["gone"]) == (["A", "gone"], ())
    rule = found["A"][0]
    assert rule.expressions == (
        Meta(key="iifname", register=1), Cmp(operator="eq", register=1, value=b"veth0\0"), Counter(), Verdict(code="drop"),
    )  # fmt: skip
    assert (rule.line, rule.packets, rule.bytes) == (1, 0, 0)


def test_set_elements(host: World) -> None:
    host.sh(
        "nft 'table ip t { map m { type ipv4_addr : verdict; flags interval; elements = "
        '{ 10.0.0.0/8 comment "all of it" : drop, 11.0.0.1 : jump u }; }; chain u { }; }\''
    )
    found = call_inside(host.name("host"), lambda: read_set("ip", "t", "m"))
    assert not isinstance(found.elements, Unknown)
    starts = sorted(
        (each.key, each.verdict, each.chain, each.comment) for each in found.elements if not each.interval_end
    )
    assert starts == [(b"\x0a\0\0\0", "drop", "", "all of it"), (b"\x0b\0\0\x01", "jump", "u", "")]


def test_a_set_that_is_gone_says_so(host: World) -> None:
    with pytest.raises(FileNotFoundError):
        call_inside(host.name("host"), lambda: read_set("ip", "t", "m"))


@pytest.mark.parametrize("raw", [b"", b"\x08\0\x01\0cmp\0", encode(Opaque(name="martian", raw=b"\x08\0\x01\0abcd"))])
def test_bytes_that_make_no_sense_are_opaque(raw: bytes) -> None:
    assert isinstance(decode(raw), Opaque)


def test_a_user_without_rights_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> tuple[Table, ...]:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("netdoctor.observe.nftables.read_nft_tables", refuse)
    tables = read_ruleset().tables
    assert isinstance(tables, Unknown)
    assert "CAP_NET_ADMIN" in tables.why
