"""The laboratory for every test: `world` (the article's veth world) and `make_world("bridge")`.

Tests that need it are skipped, with the reason, where neither root nor a user namespace is to be had.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from lab import World, registry, rootless

NO_LAB = ""
if os.geteuid() != 0:
    try:
        rootless.become_root()
    except rootless.NotPermitted as error:
        NO_LAB = f"network namespaces need root or user namespaces: {error}"


def pytest_sessionstart(session: pytest.Session) -> None:
    """Takes down worlds whose owner was killed. Once a run: the workers of xdist leave it to their controller."""
    if not NO_LAB and not hasattr(session.config, "workerinput"):
        registry.reap()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Soak and bench tests run when asked for: -m soak, or the path itself."""
    if config.option.markexpr:
        return
    asked = " ".join(config.args)
    for item in items:
        for marker in ("soak", "bench"):
            if item.get_closest_marker(marker) and f"tests/{marker}" not in asked:
                item.add_marker(pytest.mark.skip(reason=f"left out of ordinary runs: pytest -m {marker}"))


@pytest.fixture
def lab() -> None:
    """For tests that build their worlds themselves."""
    if NO_LAB:
        pytest.skip(NO_LAB)


@pytest.fixture
def make_world(lab: None) -> Iterator[Callable[[str], World]]:
    """make_world("bridge") builds a world; all are gone when the test ends."""
    with ExitStack() as stack:
        yield lambda topology="veth": stack.enter_context(World(topology))


@pytest.fixture
def world(make_world: Callable[[str], World]) -> World:
    """The article's world: ns1 on a veth pair, the host, MASQUERADE, an uplink, 8.8.8.8."""
    return make_world("veth")
