"""A route with several next hops: the walk goes by each of them and says when the packet's fate depends on which."""

from collections.abc import Iterator

import pytest
from lab import World

from .test_worlds import examined, walked


@pytest.fixture(scope="module")
def shared() -> Iterator[World]:
    with World("veth") as world:
        world.ip("inet", ["addr add 192.168.0.2/24 dev up0"])
        yield world


def _default(world: World, *gateways: str) -> None:
    hops = " ".join(f"nexthop via {gateway} dev wlp1s0" for gateway in gateways)
    world.ip("host", [f"route replace default {hops}"])


def test_two_that_work_make_no_difference(shared: World) -> None:
    _default(shared, "192.168.0.1", "192.168.0.2")
    trip = walked(shared)
    assert trip.fatal is None
    remarks = [step for step in trip.forward.steps if "by a hash of the flow" in step.summary]
    assert [step.outcome for step in remarks] == ["pass"]
    assert "192.168.0.1" in remarks[0].summary and "192.168.0.2" in remarks[0].summary


@pytest.mark.parametrize("gateways", [("192.168.0.1", "192.168.0.77"), ("192.168.0.77", "192.168.0.1")])
def test_a_dead_one_is_what_it_depends_on(shared: World, gateways: tuple[str, str]) -> None:
    _default(shared, *gateways)
    trip = walked(shared)
    assert trip.fatal is None
    doubts = [step for step in trip.forward.steps if step.outcome == "unknown"]
    assert len(doubts) == 1
    assert "depends on which next hop" in doubts[0].summary and "via 192.168.0.77" in doubts[0].summary


def test_two_dead_ones_are_a_fault(shared: World) -> None:
    _default(shared, "192.168.0.77", "192.168.0.78")
    trip = walked(shared)
    assert trip.fatal is not None and trip.fatal.outcome == "block"


def test_a_group_of_next_hop_objects_passes_by_a_failed_gateway(shared: World) -> None:
    """nexthop_select_path_hthr: a member whose neighbour entry is invalid is not taken."""
    shared.ip("host", [
        "nexthop add id 1 via 192.168.0.1 dev wlp1s0", "nexthop add id 2 via 192.168.0.77 dev wlp1s0",
        "nexthop add id 3 group 1/2", "route del default", "route add default nhid 3",
        "neigh replace 192.168.0.77 dev wlp1s0 nud failed",
    ])  # fmt: skip
    try:
        trip = walked(shared)
        assert trip.fatal is None
        assert not [step for step in trip.forward.steps if step.outcome == "unknown"]
    finally:
        shared.ip("host", ["route del default", "nexthop flush", "route add default via 192.168.0.1"])


def test_a_probe_that_passes_is_a_pass(shared: World) -> None:
    _default(shared, "192.168.0.1", "192.168.0.2")
    found = examined(shared, probe=True)
    assert found.diagnosis.verdict in ("pass", "warn")


def test_a_connection_is_routed_again_once_its_source_is_chosen(shared: World) -> None:
    """ip_route_connect looks up twice in IPv4: `from` rules hold for TCP, and not for a ping without a source."""
    shared.ip("ns1", ["rule add from 10.0.0.2 prohibit"])
    try:
        assert walked(shared).fatal is None
        assert not shared.probe("tcp 8.8.8.8:80")
        trip = walked(shared, port="80/tcp")
        assert trip.fatal is not None and trip.fatal.cause == "policy-rule-refuses"
    finally:
        shared.ip("ns1", ["rule del from 10.0.0.2 prohibit"])


def test_a_source_specific_default_is_found(shared: World) -> None:
    """ip6_dst_lookup_tail: no route without a source, so one is chosen first."""
    shared.ip("host", ["addr add fd00::1/64 dev veth0 nodad"])
    shared.ip("ns1", ["addr add fd00::2/64 dev veth1 nodad", "route add ::/0 from fd00::/64 via fd00::1 dev veth1"])
    shared.sh("while ip -6 -o addr show tentative | grep -q fd00; do sleep 0.02; done", "ns1")
    trip = walked(shared, "2001:db8::8")
    assert any("2001:db8::8 goes via fd00::1" in step.summary for step in trip.forward.steps)
