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
