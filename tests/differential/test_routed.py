"""Routed packets through random rulesets: the walk says what the kernel does."""

import random
from collections.abc import Iterator

import pytest
from lab import World

from .box import TOPOLOGY, Box
from .iptables_rules import Rules
from .trial import Trial


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    with World(TOPOLOGY) as world:
        made = Box(world)
        yield made
        made.close()


def test_without_rules_everything_comes_out_as_foretold(box: Box) -> None:
    trial = Trial(box, Rules((), {}), box.loaded(), random.Random(1))
    verdicts = list(trial.verdicts(60))
    assert not [str(verdict) for verdict in verdicts if verdict.wrong]
    assert all(verdict.seen for verdict in verdicts)
