"""Real programs' rulesets in real namespaces: the healthy way passes, each known break names its rule, owner and repair."""

import re
import subprocess
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from corpus.cases import Case, read_case
from corpus.score import collateral, describe, names
from corpus.verify import inject, prepare
from lab import World
from lab.world import difference

from rulesets.worlds import DATA, WORLDS

HERE = Path(__file__).resolve().parent
SAID = ("owner", "path", "fix", "lasting", "advice")
SAVERS = ("iptables-nft-save", "ip6tables-nft-save", "iptables-legacy-save", "ip6tables-legacy-save")


@dataclass(frozen=True)
class Break:
    """A case with what must be said of it beside slug and names."""

    case: Case
    said: dict[str, str]


def breaks() -> Iterator[Break]:
    for kind, tables in tomllib.loads((HERE / "cases.toml").read_text()).items():
        for table in tables:
            said = {key: str(table.pop(key)) for key in SAID if key in table}
            for world in table.pop("worlds"):
                case = read_case({**table, "id": f"{table['id']}-{world}", "world": world}, "rulesets", kind)
                tool = "iptables-legacy" if "legacy" in world else "iptables-nft"
                yield Break(with_tools(case, tool), said)


def with_tools(case: Case, tool: str) -> Case:
    def told(text: str) -> str:
        return text.replace("$IPT", tool).replace("$DATA", str(DATA))

    return replace(case, prepare=told(case.prepare), inject=told(case.inject), repair=told(case.repair))


BREAKS = {each.case.id: each for each in breaks()}
SAMPLE = (
    *("docker-accept-gone-docker28", "docker-networks-isolated-docker-legacy", "docker-published-port-stale-docker"),
    *("firewalld-policy-gone-firewalld", "ufw-route-rule-gone-ufw", "podman-masquerade-gone-podman-nft"),
    *("libvirt-rejects-answers-libvirt", "cni-accept-gone-cni", "fail2ban-bans-by-set-fail2ban-nft"),
    *("kube-no-endpoints-kube", "tailscale-guards-its-range-tailscale", "mullvad-kill-switch-mullvad"),
)
"""One of each owner; the others under -m soak."""


def parameters() -> list[object]:
    return [pytest.param(name, marks=[] if name in SAMPLE else pytest.mark.soak) for name in BREAKS]


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.usefixtures("lab")
def test_the_healthy_way_passes(name: str) -> None:
    topology = WORLDS[name]
    with World(topology) as world:
        before = world.state()
        for spec in topology.healthy:
            assert world.probe(spec, tries=3), spec
            role, question = asked(spec)
            if role != "inet":
                said = world.netdoctor("check", role, *question)
                assert said.code == 0 and said.report["verdict"] == "pass", describe(said.report, said.stderr)
                assert said.report["basis"] == "confirmed"
        assert not difference(before, world.state())


def asked(spec: str) -> tuple[str, list[str]]:
    role, found, rest = spec.partition(": ")
    kind, dest = (rest if found else spec).split()[:2]
    host, _, port = dest.partition(":")
    return role if found else "ns1", ["--to", host, *(["--port", f"{port}/tcp"] if kind != "ping" else [])]


@pytest.mark.parametrize("name", parameters())
@pytest.mark.usefixtures("lab")
def test_the_break_is_named_and_mended(name: str) -> None:
    case, wanted = BREAKS[name].case, BREAKS[name].said
    with World(WORLDS[case.world]) as world:
        prepare(world, case)
        healthy = world.state()
        inject(world, case)
        faulty = world.state()
        report = world.netdoctor("check", *case.question)
        assert report.code == 1, describe(report.report, report.stderr)
        told(report.report["root_causes"][0], case, wanted)
        assert not difference(faulty, world.state())
        mended(world, case, healthy, faulty)


def told(cause: dict[str, Any], case: Case, wanted: dict[str, str]) -> None:
    text = f"{cause['id']}: {cause['object']} | {cause['fix']} | {cause['lasting']} | {cause['advice']}"
    assert cause["id"] in case.slugs and names(cause, case.names), text
    assert cause["owner"].startswith(wanted.get("owner", "")), cause["owner"]
    assert wanted.get("owner") != "" or not cause["owner"], cause["owner"]
    assert wanted.get("path", "") in cause["object"], text
    assert any(wanted.get("path", "") in line for line in cause["evidence"]), cause["evidence"]
    commands = "\n".join(" ".join(one) for one in cause["fix"])
    if wanted.get("fix") == "":
        assert not commands
    assert re.search(wanted.get("fix", ""), commands), commands
    assert wanted.get("lasting", "") in cause["lasting"], cause["lasting"]
    assert wanted.get("advice", "") in " ".join(cause["advice"]), cause["advice"]


def mended(world: World, case: Case, healthy: list[str], faulty: list[str]) -> None:
    """After the repair it works and little else changed, every table still prints, and undo brings the break back."""
    said = world.netdoctor("fix", *case.question, "--yes")
    if not case.fixable:
        assert said.code in (1, 3) and not difference(faulty, world.state()), describe(said.report, said.stderr)
        return
    assert said.report.get("fixed") is True, describe(said.report, said.stderr)
    assert all(world.probe(spec, tries=3) for spec in case.probes)
    assert len(collateral(healthy, faulty, world.state())) <= 4
    for saver in SAVERS:
        assert "incompatible" not in world.sh(f"{saver} 2>&1")
    assert world.netdoctor("check", *case.question).code == 0
    assert world.netdoctor("undo").code == 0
    assert not difference(faulty, world.state())


def test_the_sample_is_of_the_breaks() -> None:
    assert set(SAMPLE) <= set(BREAKS)


@pytest.mark.usefixtures("lab")
def test_two_backends_side_by_side_are_a_warning() -> None:
    with World(WORLDS["docker"]) as world:
        world.sh("iptables-legacy -A FORWARD -s 203.0.113.7 -j DROP")
        said = world.netdoctor("check", "ns1")
        assert said.code == 0 and said.report["verdict"] == "warn"
        (warning,) = said.report["warnings"]
        assert warning["id"] == "two-firewalls" and warning["namespace"] == "host"
        assert "iptables-legacy (filter) beside iptables-nft (filter, nat)" in warning["object"]
        assert "must be accepted by both" in warning["summary"]
        world.sh("iptables-legacy -F")
        assert world.netdoctor("check", "ns1").report["verdict"] == "pass"


OWNED = """table inet firewalld { flags owner; \
chain filter_FORWARD { type filter hook forward priority 10; ct state established accept; jump filter_FORWARD_dispatch; reject with icmpx admin-prohibited; }; \
chain filter_FORWARD_dispatch { iifname "veth0" jump filter_FWD_internal_dispatch_stage2; jump filter_FWD_public_dispatch_stage2; }; \
chain filter_FWD_internal_dispatch_stage2 { }; chain filter_FWD_public_dispatch_stage2 { }; chain filter_FWD_internal_allow { }; }
"""


@pytest.mark.usefixtures("lab")
def test_a_table_that_only_its_maker_may_change_is_left_to_it() -> None:
    """firewalld 2 holds its table with the owner flag: the repair is its command, not a write that the kernel refuses."""
    with World("veth") as world:
        command = ["ip", "netns", "exec", world.name("host"), "nft", "-i"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as maker:
            assert maker.stdin
            maker.stdin.write(OWNED.replace("\\\n", ""))
            maker.stdin.flush()
            while "firewalld" not in world.sh("nft list tables"):
                assert maker.poll() is None
                time.sleep(0.05)
            said = world.netdoctor("check", "ns1")
            fixed = world.netdoctor("fix", "ns1", "--yes")
            maker.stdin.close()
        (cause,) = said.report["root_causes"]
        assert cause["owner"] == "firewalld" and not cause["fix"] and fixed.code == 1
        assert "only firewalld may change table inet firewalld" in cause["advice"][0]
        assert "--add-ingress-zone internal --add-egress-zone public" in cause["advice"][0]
