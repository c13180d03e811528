"""The healthy world that the checks' tests edit: the article's, read whole, once a run."""

import os
from pathlib import Path

import pytest
from lab import World
from lab.command import netdoctor

from netdoctor import saved
from netdoctor.model.snapshot import Snapshot


@pytest.fixture(scope="session")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """The veth world after a good answer, with everything read."""
    return _read("veth", tmp_path_factory.mktemp("veth"))


@pytest.fixture(scope="session")
def bridged(tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    """The bridge world (docker0, three containers) after a good answer, with everything read."""
    return _read("bridge", tmp_path_factory.mktemp("bridge"))


def _read(topology: str, folder: Path) -> Snapshot:
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    path = folder / "snapshot.json"
    with World(topology) as world:
        done = netdoctor("snapshot", world.name("ns1"), "-o", str(path), world=world)
        assert done.returncode == 0, done.stderr
    return saved.read(str(path)).snapshot
