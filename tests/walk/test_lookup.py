"""Single lookups on hand-made namespaces: what the kernel does at the corners, each found by asking it."""

import pytest
from msgspec import structs

from netdoctor.model.network import Address, Link, Neighbour, NextHop, PolicyRule, Route
from netdoctor.model.snapshot import Namespace, Snapshot
from netdoctor.walk.packet import ICMP, TCP, Packet
from netdoctor.walk.routing import Query, address_type, lookup, query_out
from netdoctor.walk.source_address import select_source
from netdoctor.walk.validation import martian, refuse_source
from netdoctor.walk.view import CannotTell, View

KEY = "1:1"
LINKS = (
    Link(index=1, name="lo", loopback=True, up=True),
    *(Link(index=n, name=f"d{n}", up=True) for n in (2, 3, 4)),
)
RULES = tuple(
    PolicyRule(family=family, priority=priority, table=table)
    for family, numbers in ((4, ((0, 255), (32766, 254), (32767, 253))), (6, ((0, 255), (32766, 254))))
    for priority, table in numbers
)


def view(
    *routes: Route, rules: tuple[PolicyRule, ...] = (), addresses: tuple[Address, ...] = (), custom: bool = True,
    neighbours: tuple[Neighbour, ...] = (), **sysctls: str,
) -> View:  # fmt: skip
    """A namespace of these routes. sysctls: v4_d2_rp_filter="1"."""
    paths = {}
    for name, value in sysctls.items():
        family, device, option = name.split("_", 2)
        paths[f"net/ip{family}/conf/{device}/{option}"] = value
    namespace = Namespace(
        id=KEY, name="box", links=LINKS, routes=routes, rules=(*RULES, *rules), addresses=addresses, neighbours=neighbours,
        custom_rules=custom, sysctls=paths, devices_read=("lo", "d2", "d3", "d4"),
    )  # fmt: skip
    return View(Snapshot(host=KEY, target=KEY, namespaces={KEY: namespace}, complete=True))


def route(destination: str, index: int = 2, gateway: str = "", **more: object) -> Route:
    family = 6 if ":" in destination else 4
    hops = (NextHop(index=index, gateway=gateway),)
    return Route(**{"family": family, "table": 254, "destination": destination, "next_hops": hops} | more)  # type: ignore[arg-type]


def out(destination: str, **more: object) -> Query:
    return Query(**{"family": 6 if ":" in destination else 4, "source": "", "destination": destination} | more)  # type: ignore[arg-type]


ANY_IP = route("10.0.0.0/8", 1, table=255, type="local", scope="host")


@pytest.mark.parametrize(("custom", "answer"), [(False, "unicast"), (True, "local")])
def test_local_and_main_are_one_trie_until_the_first_own_rule(custom: bool, answer: str) -> None:
    """fib_unmerge: until then the longest prefix of both wins, afterwards table local comes first."""
    box = view(ANY_IP, route("10.1.0.0/24"), custom=custom)
    assert lookup(box, KEY, out("10.1.0.9")).type == answer
    assert address_type(box, KEY, "10.1.0.9") == answer


def test_goto_without_its_target_goes_on() -> None:
    rules = (
        PolicyRule(family=4, priority=10, action="goto", goto=20),
        PolicyRule(family=4, priority=30, action="prohibit"),
    )
    assert lookup(view(route("0.0.0.0/0"), rules=rules), KEY, out("9.9.9.9")).type == "prohibit"


def test_goto_jumps() -> None:
    rules = (
        PolicyRule(family=4, priority=10, action="goto", goto=20),
        PolicyRule(family=4, priority=15, action="prohibit"),
        PolicyRule(family=4, priority=20, action="nop"),
    )
    assert lookup(view(route("0.0.0.0/0"), rules=rules), KEY, out("9.9.9.9")).type == "unicast"


def test_a_dead_next_hop_object_hides_all_prefixes_of_its_network_number() -> None:
    """fib_table_lookup, `goto miss`: the leaf 10.0.0.0 holds the /24 and the /16, but not 0.0.0.0/0."""
    dead = (NextHop(index=2, gateway="10.9.9.9", flags=("dead",)),)
    hidden = route("10.0.0.0/24", next_hops=dead, next_hop_id=7)
    box = view(hidden, route("10.0.0.0/16", 3), route("0.0.0.0/0", 4))
    assert lookup(box, KEY, out("10.0.0.5")).hop == NextHop(index=4)


def test_default_routes_take_turns() -> None:
    """fib_select_default: the one of tos 0 after the one of the packet's tos, too."""
    box = view(route("0.0.0.0/0", 2, "10.0.0.1", tos=0x10, priority=10), route("0.0.0.0/0", 3, "10.1.0.1"))
    found = lookup(box, KEY, out("9.9.9.9", tos=0x10))
    assert [way.hop.gateway for way in found.ways if way.hop] == ["10.0.0.1", "10.1.0.1"]


def test_source_specific_routes_hide_the_plain_one_beside_them() -> None:
    """fib6_node_lookup_1: no source fits, so the search goes on at the shorter prefix; ::/0 is never passed by."""
    special, plain = route("2001:db8::/32", 2, source="fd00:3::/32"), route("2001:db8::/32", 3)
    box = view(special, plain, route("::/0", 4), v6_all_forwarding="1")
    assert lookup(box, KEY, out("2001:db8::7", source="fd00:9::1")).hop == NextHop(index=4)
    assert lookup(box, KEY, out("2001:db8::7", source="fd00:3::1")).hop == NextHop(index=2)
    box = view(route("::/0", 2, source="fd00:3::/32"), route("::/0", 3), v6_all_forwarding="1")
    assert lookup(box, KEY, out("2001:db8::7")).hop == NextHop(index=3)


def test_source_specific_routes_over_a_longer_prefix_are_a_doubt() -> None:
    """fib6_purge_rt may have left the node with its child's prefix, by which it is passed by."""
    box = view(route("2001::/20", 2, source="fd00::/32"), route("2001::6/128", 3), v6_all_forwarding="1")
    with pytest.raises(CannotTell):
        lookup(box, KEY, out("2001::48", source="fd00::4"))


@pytest.mark.parametrize(("forwarding", "gateway"), [("0", "fd00::2"), ("1", "fd00::1")])
def test_a_host_passes_by_a_router_that_does_not_answer(forwarding: str, gateway: str) -> None:
    """rt6_score_route with RT6_LOOKUP_F_REACHABLE; a router does not look."""
    silent = Neighbour(family=6, index=2, address="fd00::1", state="failed")
    routes = (route("::/0", 2, "fd00::1", preference="high"), route("::/0", 3, "fd00::2"))
    box = view(*routes, neighbours=(silent,), v6_all_forwarding=forwarding)
    found = lookup(box, KEY, out("2001:db8::1"))
    assert found.hop is not None and found.hop.gateway == gateway


def test_of_one_metric_the_interface_it_came_in_by_is_preferred() -> None:
    box = view(route("::/0", 2, "fd00::1"), route("::/0", 3, "fd00::2"), v6_all_forwarding="1")
    found = lookup(box, KEY, out("2001:db8::1", source="fd00::9", in_device="d3"))
    assert found.hop is not None and found.hop.index == 3


def test_ports_of_icmp_are_its_type_and_code() -> None:
    rule = PolicyRule(family=4, priority=5, action="prohibit", destination_ports=(2048, 2048))
    ping = Packet(family=4, source="", destination="9.9.9.9", protocol=ICMP, icmp_type=8)
    assert lookup(view(route("0.0.0.0/0"), rules=(rule,)), KEY, query_out(ping)).type == "prohibit"


def test_a_selector_no_packet_shows_is_a_doubt_only_where_the_rest_matches() -> None:
    rule = PolicyRule(family=6, priority=5, table=100, destination="2001:db8::/32", unread=("flow label",))
    box = view(route("::/0"), rules=(rule,), v6_all_forwarding="1")
    assert lookup(box, KEY, out("2600::1")).type == "unicast"
    with pytest.raises(CannotTell):
        lookup(box, KEY, out("2001:db8::1"))


def own(local: str, length: int, index: int = 2, **more: object) -> Address:
    family = 6 if ":" in local else 4
    return Address(**{"index": index, "family": family, "local": local, "prefix_length": length} | more)  # type: ignore[arg-type]


def test_the_gateways_subnet_and_the_routes_scope_choose_the_source() -> None:
    box = view(addresses=(own("10.9.0.1", 24, scope="link"), own("10.0.0.5", 24), own("10.1.0.5", 24)))
    assert select_source(box, KEY, 4, 2, "10.1.0.1", route("0.0.0.0/0", 2, "10.1.0.1")) == "10.1.0.5"
    assert select_source(box, KEY, 4, 2, "", route("0.0.0.0/0")) == "10.0.0.5"
    assert select_source(box, KEY, 4, 2, "", route("7.7.7.7/32", scope="link")) == "10.9.0.1"


def test_a_next_hop_object_remembers_a_source_of_its_own_scope() -> None:
    box = view(addresses=(own("10.9.0.1", 24, scope="link"), own("10.0.0.5", 24)))
    with pytest.raises(CannotTell):
        select_source(box, KEY, 4, 2, "", route("0.0.0.0/0", next_hop_id=3))


def test_labels_choose_before_the_longest_match() -> None:
    """RFC 6724 rule 6: a ULA does not go with a global destination, however near its bits."""
    addresses = (own("fd00::5", 64), own("2001:db8::3", 64))
    assert select_source(view(addresses=addresses), KEY, 6, 2, "3000::1", None) == "2001:db8::3"


@pytest.mark.parametrize(
    ("source", "destination", "which"),
    [("0.0.0.9", "10.0.0.1", ""), ("0.0.0.0", "10.0.0.1", "source"), ("10.0.0.1", "0.0.0.7", ""),
     ("10.0.0.1", "0.0.0.0", "destination"), ("255.255.255.255", "10.0.0.1", "source"), ("224.0.0.5", "10.0.0.1", "source"),
     ("10.0.0.1", "127.0.0.1", "destination"), ("::ffff:1.2.3.4", "2001:db8::1", "source")],
)  # fmt: skip
def test_martians(source: str, destination: str, which: str) -> None:
    packet = Packet(family=6 if ":" in source else 4, source=source, destination=destination, protocol=TCP)
    assert martian(view(), KEY, "d2", packet) == which


def coming(source: str) -> Packet:
    return Packet(
        family=4, source=source, destination="9.9.9.9", protocol=TCP, source_port=5000, destination_port=80, mark=7
    )


def test_the_reverse_lookup_has_the_ports_changed_over_and_the_mark_only_by_sysctl() -> None:
    back = route("10.0.0.0/8", 2)
    by_port = PolicyRule(family=4, priority=5, table=100, protocol=TCP, source_ports=(80, 80))
    by_mark = PolicyRule(family=4, priority=5, table=100, fwmark=7)
    elsewhere = route("0.0.0.0/0", 3, table=100)
    addresses = (own("10.0.0.1", 8), own("10.9.0.1", 8, 3))
    for rule, more, passes in (
        (by_port, {}, False),
        (by_mark, {}, True),
        (by_mark, {"v4_d2_src_valid_mark": "1"}, False),
    ):
        box = view(back, elsewhere, rules=(rule,), addresses=addresses, v4_d2_rp_filter="1", **more)
        assert (refuse_source(box, KEY, "d2", coming("10.0.0.9"), "d3") is None) is passes


def test_accept_local_does_not_lift_strict_reverse_path_filtering() -> None:
    mine = route("10.0.0.1/32", 2, table=255, type="local", scope="host", protocol="kernel")
    addresses = (own("10.0.0.1", 24), own("10.1.0.1", 24, 3))
    for mode, passes in (("0", True), ("1", False), ("2", True)):
        box = view(mine, addresses=addresses, v4_d3_rp_filter=mode, v4_d3_accept_local="1")
        assert (refuse_source(box, KEY, "d3", coming("10.0.0.1"), "") is None) is passes


def test_out_where_it_came_in_with_redirects_asks_the_tables() -> None:
    """fib_validate_source: without redirects only interface addresses are looked at, and a broadcast address passes."""
    broadcast = route("10.0.0.255/32", 2, table=255, type="broadcast", scope="link", protocol="kernel")
    for redirects, passes in (("0", None), ("1", False)):
        box = view(broadcast, addresses=(own("10.0.0.1", 24),), custom=False, v4_d2_send_redirects=redirects)
        if passes is None:
            with pytest.raises(CannotTell):
                refuse_source(box, KEY, "d2", coming("10.0.0.255"), "d2")
        else:
            refusal = refuse_source(box, KEY, "d2", coming("10.0.0.255"), "d2")
            assert refusal is not None and refusal.cause == "martian"


def test_a_suppressed_interface_group_is_the_chosen_next_hops_in_ipv6() -> None:
    """fib6_rule_suppress looks at the next hop that was picked, fib4_rule_suppress at the first."""
    hops = (NextHop(index=2, gateway="fe80::1"), NextHop(index=3, gateway="fe80::2"))
    rule = PolicyRule(family=6, priority=5, table=254, suppress_group=7)
    box = view(route("::/0", next_hops=hops), rules=(rule,), v6_all_forwarding="1")
    grouped = tuple(structs.replace(link, group=7) if link.index == 2 else link for link in LINKS)
    namespace = structs.replace(box.namespace(KEY), links=grouped)
    box = View(structs.replace(box.snapshot, namespaces={KEY: namespace}))
    with pytest.raises(CannotTell):
        lookup(box, KEY, out("2001:db8::1"))


def test_a_group_of_next_hop_objects_sends_from_its_first_members_interface_in_ipv6() -> None:
    addresses = (own("fd00:2::5", 64, 2), own("fd00:3::5", 64, 3))
    group = (NextHop(index=2, gateway="fe80::1"), NextHop(index=3, gateway="fe80::2"))
    grouped = route("::/0", next_hops=group, next_hop_id=9)
    assert select_source(view(grouped, addresses=addresses), KEY, 6, 3, "fd00:9::1", grouped) == "fd00:2::5"


def test_routes_that_share_a_next_hop_object_in_ipv6_leave_the_source_in_doubt() -> None:
    addresses = (own("fd00:2::5", 64, 2), own("fd00:3::5", 64, 3))
    group = (NextHop(index=2, gateway="fe80::1"), NextHop(index=3, gateway="fe80::2"))
    grouped = route("::/0", next_hops=group, next_hop_id=9)
    single = route("2001:db8::/32", next_hops=group[1:], next_hop_id=8)
    with pytest.raises(CannotTell):
        select_source(view(grouped, single, addresses=addresses), KEY, 6, 3, "fd00:9::1", grouped)
