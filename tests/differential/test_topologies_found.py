"""What random topologies have brought to light, each as a small world of its own."""

import random

import pytest

from netdoctor.model.journey import Flow

from .topologies import Sketch, bridge, chain, macvlan
from .topologies_odd import Lines
from .topologies_trial import Trial, Verdict

pytestmark = pytest.mark.usefixtures("lab")
FAMILIES = (4, 6)
MAC = "02:00:00:00:00:77"


def ping(destination: str, length_bytes: int = 84, *, whole: bool = False) -> Flow:
    family = 6 if ":" in destination else 4
    return Flow(
        namespace="", family=family, destination=destination, protocol="icmp", length_bytes=length_bytes, dont_fragment=whole
    )  # fmt: skip


def verdict(sketch: Sketch, lines: Lines, role: str, flow: Flow) -> Verdict:
    """Of one packet after these lines; the walk and the kernel agree on it."""
    trial = Trial(sketch.kind, sketch, [("as found", lines)], random.Random(1))
    (found,) = trial.verdicts([(role, flow)])
    assert not found.wrong, str(found)
    return found


def causes(found: Verdict) -> list[str]:
    return [step.cause for step in found.trip.steps if step.outcome != "pass"]


@pytest.mark.parametrize("family", FAMILIES)
def test_an_interface_without_arp_does_not_answer_either(family: int) -> None:
    """arp_rcv returns at once on IFF_NOARP; ndisc_send_na's answer goes to the device's own MAC."""
    sketch = chain(random.Random(1), 0)
    found = verdict(
        sketch, [("ip", "ns2", "link set left arp off")], "ns1", ping("10.77.1.2" if family == 4 else "fd77:1::2")
    )
    assert found.says == "lost"
    assert causes(found) == ["arp-off"]


@pytest.mark.parametrize("family", FAMILIES)
def test_two_containers_with_one_mac_do_not_reach_each_other(family: int) -> None:
    """The bridge learns the sender's MAC before it looks the destination up: the frame would go back out of its port."""
    lines = [("ip", role, f"link set eth0 address {MAC}") for role in ("ns1", "ns2")]
    found = verdict(bridge(random.Random(1)), lines, "ns1", ping("10.77.1.11" if family == 4 else "fd77:1::b"))
    assert found.says == "lost"
    assert "mac-duplicate" in causes(found)


def test_frames_for_a_mac_that_two_containers_have_are_a_doubt() -> None:
    """They go to whichever spoke last, which the packet's own way may change."""
    lines = [("ip", role, f"link set eth0 address {MAC}") for role in ("ns1", "ns2")]
    found = verdict(bridge(random.Random(1)), lines, "host", ping("10.77.1.10"))
    assert found.says == "cannot tell"
    assert set(causes(found)) == {"mac-duplicate"}


def test_a_container_with_the_mac_of_its_own_port_hears_the_bridge() -> None:
    """br_dev_xmit sends by the forwarding entry, and that of a port's own MAC names the port."""
    lines = [
        ("ip", "host", f"link set port1 address {MAC}"),
        ("ip", "host", f"link set br0 address {MAC}"),
        ("ip", "ns1", f"link set eth0 address {MAC}"),
    ]
    verdict(bridge(random.Random(1)), lines, "host", ping("10.77.1.10"))


def test_a_container_with_the_mac_that_its_bridge_was_given_does_not() -> None:
    lines = [("ip", "host", f"link set br0 address {MAC}"), ("ip", "ns1", f"link set eth0 address {MAC}")]
    found = verdict(bridge(random.Random(1)), lines, "host", ping("10.77.1.10"))
    assert found.says == "lost"
    assert causes(found) == ["mac-duplicate"]


@pytest.mark.parametrize("sketch", [macvlan(random.Random(1)), bridge(random.Random(1))], ids=["macvlan", "bridge"])
def test_only_a_cable_looks_at_the_size_of_what_comes_in(sketch: Sketch) -> None:
    """A macvlan or a bridge with a smaller MTU takes full-size frames (no is_skb_forwardable on their way up)."""
    if sketch.kind == "macvlan":
        lines, role, flow = [("ip", "ns1", "link set eth0 mtu 1300")], "out", ping("10.77.1.10", 1400, whole=True)
    else:
        lines, role, flow = [("ip", "host", "link set br0 mtu 1300")], "ns1", ping("10.77.1.1", 1400, whole=True)
    found = verdict(sketch, lines, role, flow)
    assert found.became.taken_by
    assert found.says == "arrives"


@pytest.mark.parametrize("family", FAMILIES)
def test_the_answer_to_a_packet_in_pieces_is_as_long_as_the_whole(family: int) -> None:
    """The asker cuts its packet to its own MTU, the answer comes uncut and too big for the asker's end of the cable."""
    sketch = chain(random.Random(1), 0)
    lines = [("ip", "ns2", "link set left mtu 1300")]
    found = verdict(sketch, lines, "ns2", ping("10.77.1.1" if family == 4 else "fd77:1::1", 1400))
    assert found.says == "answer lost"
    assert causes(found) == ["mtu-mismatch"]


def test_answers_live_as_long_as_their_senders_default_says() -> None:
    lines = [("sysctl", "ns2", "net/ipv4/ip_default_ttl=1")]
    found = verdict(chain(random.Random(1), 1), lines, "ns1", ping("10.77.2.2"))
    assert found.says == "answer lost"
    assert [step.kind for step in found.trip.steps if step.outcome != "pass"] == ["ttl"]
