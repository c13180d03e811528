"""Each check: silent on a healthy world, the exact cause and a repair that helps on a broken one."""

import pytest
from msgspec.structs import replace

from netdoctor.model.network import ConntrackTable, ResolvConf
from netdoctor.model.snapshot import Snapshot
from netdoctor.walk.netfilter import RuleSpec

from .model import (
    Edit,
    diagnosed,
    filtered,
    link,
    masquerade_with,
    neighbour,
    rewritten,
    route,
    slugs,
    sysctl,
    without_address,
    without_masquerade,
    without_route,
)

WRONG_MAC = "02:00:00:00:00:99"


def resolver(*servers: str) -> Edit:
    return rewritten("target", resolver=ResolvConf(path="/etc/resolv.conf", nameservers=servers))


MENDED: dict[str, tuple[str, Edit]] = {
    "the container's end is down": ("link-down", link("target", "veth1", up=False)),
    "the host's end is down": ("link-down", link("host", "veth0", up=False)),
    "the gateway's address is gone": ("gateway-address-missing", without_address("host", "veth0", "10.0.0.1")),
    "the gateway's MAC is pinned wrong": ("neighbour-wrong-mac", neighbour("target", "veth1", "10.0.0.1", WRONG_MAC)),
    "no default route": ("default-route-missing", without_route("target", "0.0.0.0/0")),
    "a blackhole": ("route-refuses", route("target", "8.8.8.0/24", kind="blackhole")),
    "a gateway that nobody is": ("gateway-dead", route("target", "8.8.8.0/24", "veth1", "10.0.0.99")),
    "a far destination taken for a neighbour": (
        "route-on-link-wrong",
        lambda snapshot: route("target", "0.0.0.0/0", "veth1")(without_route("target", "0.0.0.0/0")(snapshot)),
    ),
    "the answers' route goes nowhere": ("return-route-captured", route("host", "10.0.0.2/32", "wlp1s0", "192.168.0.1")),
    "forwarding off": ("ip-forward-off", sysctl("host", "net/ipv4/ip_forward", "0")),
    "forwarding off on one interface": (
        "interface-forwarding-off",
        sysctl("host", "net/ipv4/conf/veth0/forwarding", "0"),
    ),
    "a forward rule drops": ("rule-drops", filtered("host", "forward", RuleSpec(verdict="drop", source="10.0.0.0/24"))),
    "the forward policy drops": ("policy-drops", filtered("host", "forward", policy="drop")),
    "the container's own firewall drops": ("rule-drops", filtered("target", "output", RuleSpec(verdict="drop"))),
    "the answer is dropped": (
        "rule-drops",
        filtered("host", "forward", RuleSpec(verdict="drop", in_device="wlp1s0", destination="10.0.0.0/24")),
    ),
    "no masquerade": ("masquerade-missing", without_masquerade()),
    "masquerade on another egress": ("masquerade-wrong-egress", masquerade_with("out_device", "eth0")),
    "masquerade of another subnet": ("masquerade-wrong-source", masquerade_with("source", "10.9.9.0/24")),
}


@pytest.mark.parametrize("fault", MENDED)
def test_the_cause_is_named_and_its_repair_helps(healthy: Snapshot, fault: str) -> None:
    slug, edit = MENDED[fault]
    found = diagnosed(edit(healthy))
    assert slugs(found)[:1] == [slug], found.diagnosis.summary
    assert found.diagnosis.verdict == "fail" and found.mended
    assert found.diagnosis.causes[0].changes and found.diagnosis.causes[0].evidence


TOLD: dict[str, tuple[str, Edit, str, str]] = {
    "the uplink is down, and its routes went with it": ("link-down", link("host", "wlp1s0", up=False), "8.8.8.8", ""),
    "no address": ("address-missing", without_address("target", "veth1", "10.0.0.2"), "8.8.8.8", ""),
    "upstream filters": ("upstream-drops", filtered("inet", "input", RuleSpec(verdict="drop")), "8.8.8.8", ""),
    "no such service upstream": ("upstream-service-down", sysctl("host", "net/ipv4/ip_forward", "1"), "8.8.8.8", "81/tcp"),
    "no such service on the host": ("service-not-listening", sysctl("host", "net/ipv4/ip_forward", "1"), "10.0.0.1", "81/tcp"),
    "the conntrack table is full": (
        "conntrack-table-full",
        rewritten("host", conntrack=lambda table: ConntrackTable(count=table.maximum, maximum=table.maximum)),
        "8.8.8.8",
        "",
    ),
    "no name server": ("resolver-missing", resolver(), "files.test", ""),
    "a stub that is not there": ("resolver-loopback", resolver("127.0.0.53"), "nowhere.test", ""),
    "a server behind no route": ("default-route-missing", without_route("target", "0.0.0.0/0"), "nowhere.test", ""),
}  # fmt: skip


@pytest.mark.parametrize("fault", TOLD)
def test_the_cause_is_named_where_nothing_safe_mends_it(healthy: Snapshot, fault: str) -> None:
    slug, edit, dest, port = TOLD[fault]
    found = diagnosed(edit(healthy), dest, port)
    assert slugs(found)[:1] == [slug], found.diagnosis.summary


HARMLESS: dict[str, Edit] = {
    "nothing": lambda snapshot: snapshot,
    "a drop for other traffic": filtered("host", "forward", RuleSpec(verdict="drop", source="10.9.9.0/24")),
    "a drop after an accept": filtered("host", "forward", RuleSpec(verdict="accept"), RuleSpec(verdict="drop")),
    "a policy that drops, and rules that accept": filtered(
        "host",
        "forward",
        RuleSpec(verdict="accept", in_device="veth0"),
        RuleSpec(verdict="accept", out_device="veth0"),
        policy="drop",
    ),
    "a drop in the host's own input": filtered("host", "input", RuleSpec(verdict="drop", source="10.0.0.0/24")),
    "a blackhole for others": route("target", "10.66.0.0/16", kind="blackhole"),
    "forwarding off in the container": sysctl("target", "net/ipv4/ip_forward", "0"),
    "strict reverse path filtering": sysctl("host", "net/ipv4/conf/all/rp_filter", "1"),
    "a MAC pinned for a neighbour that is not asked": neighbour("target", "veth1", "10.0.0.77", WRONG_MAC),
    "ICMP redirects refused": sysctl("host", "net/ipv4/conf/all/accept_redirects", "0"),
    "conntrack half full": rewritten(
        "host", conntrack=lambda table: ConntrackTable(count=table.maximum // 2, maximum=table.maximum)
    ),
    "a resolver that a numeric question does not need": resolver("127.0.0.53"),
}


@pytest.mark.parametrize("oddity", HARMLESS)
def test_what_does_not_stop_the_packet_is_no_cause(healthy: Snapshot, oddity: str) -> None:
    found = diagnosed(HARMLESS[oddity](healthy))
    assert found.diagnosis.verdict == "pass" and not found.diagnosis.causes
    assert not found.diagnosis.warnings
    assert {check.status for check in found.diagnosis.checks} <= {"pass", "skip"}


def test_a_service_that_answers_is_silent(healthy: Snapshot) -> None:
    found = diagnosed(healthy, "8.8.8.8", "80/tcp")
    assert found.diagnosis.verdict == "pass" and not found.diagnosis.causes


def test_a_bridge_that_works_is_silent(bridged: Snapshot) -> None:
    found = diagnosed(bridged)
    assert found.diagnosis.verdict == "pass" and not found.diagnosis.causes


def test_two_faults_are_two_causes_in_the_packets_order(healthy: Snapshot) -> None:
    found = diagnosed(without_masquerade()(sysctl("host", "net/ipv4/ip_forward", "0")(healthy)))
    assert slugs(found) == ["ip-forward-off", "masquerade-missing"] and found.mended


def test_a_bridge_port_that_is_blocked(bridged: Snapshot) -> None:
    def blocked(snapshot: Snapshot) -> Snapshot:
        links = tuple(
            replace(one, port=replace(one.port, state=4)) if one.port and one.name == "vethaa1" else one
            for one in snapshot.namespaces[snapshot.host].links  # type: ignore[union-attr]
        )
        return rewritten("host", links=links)(snapshot)

    found = diagnosed(blocked(bridged))
    assert slugs(found)[:1] == ["bridge-port-blocked"] and found.diagnosis.causes[0].layer == "link"
