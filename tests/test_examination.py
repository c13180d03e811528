"""A saved snapshot tells what the live run told; without its evidence, or asked something else, only what it can prove."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from corpus.cases import load
from corpus.verify import prepare
from lab import World
from lab.command import netdoctor

from netdoctor import question, saved
from netdoctor.examination import Examination, Examined, Options, offline
from netdoctor.model.change import SetLink
from netdoctor.netlink.inside import Worker
from netdoctor.target import resolve

CASES = load()
REPLAYED = (
    "container-end-down", "port-down", "port-disabled", "gateway-mac-wrong", "container-default-gone",
    "return-route-gone", "ip-forward-off", "rp-filter-policy-world", "another-table-drops", "nft-block-list",
    "masquerade-gone-legacy", "notrack", "frag-needed-dropped", "v6-forwarding-off", "destination-drops",
    "double-forward-and-masquerade", "name-does-not-exist", "base-veth", "base-bridge",
)  # fmt: skip


def live(world: World, target: str, dest: str, port: str = "") -> tuple[Examined, saved.Saved]:
    """What the live run finds in the world's host, and what `snapshot` would write of it, after a trip through JSON."""
    asked = question.parse(world.name(target), dest, port)

    def act() -> tuple[Examined, saved.Saved]:
        with Examination(asked, Options()) as examination:
            found = examination.run()
            whole = examination.observer.complete(found.snapshot)
        return found, saved.Saved(format=saved.FORMAT, question=asked, snapshot=whole, evidence=found.case.evidence)

    worker, host = Worker(), resolve(world.name("host"))
    try:
        found, kept = worker.run(host.fd, act)
    finally:
        worker.close()
        host.close()
    again = msgspec.json.decode(msgspec.json.encode(kept), type=saved.Saved)
    assert again == kept
    return found, again


@pytest.mark.parametrize("name", REPLAYED)
@pytest.mark.usefixtures("lab")
def test_a_snapshot_replays_to_the_same_diagnosis(name: str) -> None:
    case = CASES[name]
    dest, _, port = case.ask.partition(" ")
    with World(case.world) as world:
        prepare(world, case)
        world.sh(case.inject)
        found, kept = live(world, case.target, dest, port)
    assert offline(kept.snapshot, kept.question, kept.evidence).diagnosis == found.diagnosis
    assert found.diagnosis.verdict == ("fail" if case.layers else "pass")


@pytest.mark.parametrize("name", ["port-down", "forward-policy-drop"])
@pytest.mark.usefixtures("lab")
def test_one_fault_has_one_cause(name: str) -> None:
    """What the repair brings with it (carrier, the port's state) is no second fault."""
    case = CASES[name]
    with World(case.world) as world:
        prepare(world, case)
        world.sh(case.inject)
        found, _ = live(world, case.target, case.ask)
    assert len(found.diagnosis.causes) == 1 and found.mended
    if name == "port-down":
        assert isinstance(found.diagnosis.causes[0].changes[0], SetLink)


# At the command line -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Path]]:
    """Snapshots of a healthy world and of one whose host does not forward, written by `netdoctor snapshot`."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    folder = tmp_path_factory.mktemp("snapshots")
    found = {}
    with World("veth") as world:
        for name in ("healthy", "broken"):
            if name == "broken":
                world.sysctl("host", "net.ipv4.ip_forward=0")
            found[name] = folder / f"{name}.json"
            done = netdoctor("snapshot", world.name("ns1"), "-o", str(found[name]), world=world)
            assert done.returncode == (1 if name == "broken" else 0), done.stderr
    yield found


def asked(path: Path, *words: str) -> tuple[int, dict[str, Any]]:
    """Exit code and report of `check --from`, run where none of it exists, without PATH."""
    done = netdoctor("check", "--from", str(path), "--format", "json", *words, PATH="/nonexistent")
    return done.returncode, json.loads(done.stdout)


def test_with_evidence_the_verdict_is_the_live_one(files: dict[str, Path]) -> None:
    code, said = asked(files["healthy"])
    assert (code, said["verdict"], said["basis"]) == (0, "pass", "confirmed")
    code, said = asked(files["broken"])
    assert (code, said["verdict"], said["basis"]) == (1, "fail", "confirmed")
    assert said["root_causes"][0]["id"] == "ip-forward-off" and said["root_causes"][0]["fix"]


def test_without_evidence_the_walk_predicts(files: dict[str, Path]) -> None:
    code, said = asked(files["healthy"], "--no-probe")
    assert (code, said["verdict"], said["basis"]) == (0, "pass", "predicted")
    code, said = asked(files["broken"], "--no-probe")
    assert (code, said["verdict"], said["basis"]) == (1, "fail", "predicted")
    assert not said["probes"]


def test_another_question_is_predicted(files: dict[str, Path]) -> None:
    code, said = asked(files["broken"], "--to", "9.9.9.9")
    assert (code, said["verdict"], said["basis"]) == (1, "fail", "predicted")
    code, said = asked(files["healthy"], "--to", "9.9.9.9", "--port", "80/tcp")
    assert (code, said["verdict"], said["basis"]) == (0, "pass", "predicted")


def test_what_the_snapshot_does_not_cover_is_undetermined(files: dict[str, Path]) -> None:
    """9.9.9.9's namespace taken out of the file, the way leaves what it holds."""
    kept = json.loads(files["healthy"].read_text())
    inside = {kept["snapshot"]["host"], kept["snapshot"]["target"]}
    kept["snapshot"]["namespaces"] = {key: one for key, one in kept["snapshot"]["namespaces"].items() if key in inside}
    path = files["healthy"].with_name("left.json")
    path.write_text(json.dumps(kept))
    code, said = asked(path, "--no-probe")
    assert (code, said["verdict"]) == (3, "undetermined")


@pytest.mark.parametrize("form", ["terminal", "html", "markdown", "junit"])
def test_every_format_renders_a_replay(files: dict[str, Path], form: str) -> None:
    done = netdoctor("check", "--from", str(files["broken"]), "--format", form)
    assert done.returncode == 1 and "ip-forward-off" in done.stdout and not done.stderr


DAMAGE = {
    "truncated": lambda text: text[: len(text) // 2],
    "empty": lambda text: "",
    "another type": lambda text: "[]",
    "another format": lambda text: text.replace(saved.FORMAT, "netdoctor-snapshot-9"),
    "a host that is missing": lambda text: text.replace('"host":"', '"host":"9', 1),
    "a number for a name": lambda text: text.replace('"target":"', '"target":1,"x":"', 1),
    "a route to nowhere": lambda text: text.replace('"destination":"0.0.0.0/0"', '"destination":"zzz"'),
    "a question that is none": lambda text: text.replace('"dest":"8.8.8.8"', '"dest":"8.8.8.999"'),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_refused_in_one_line(files: dict[str, Path], damage: str, tmp_path: Path) -> None:
    path = tmp_path / "snapshot.json"
    whole = files["healthy"].read_text()
    path.write_text(DAMAGE[damage](whole))
    assert path.read_text() != whole
    done = netdoctor("check", "--from", str(path))
    assert done.returncode == 2 and not done.stdout, done.stdout
    assert done.stderr.startswith("netdoctor: ") and done.stderr.count("\n") == 1, done.stderr
