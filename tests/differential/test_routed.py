"""Routed packets through random rulesets: the walk says what the kernel does.

NETDOCTOR_SEED=N runs the ruleset of one seed again.
"""

import os
import random
from collections.abc import Iterator

import pytest
from lab import World

from . import iptables_words, nft_words
from .box import TOPOLOGY, Box
from .iptables_rules import Rules
from .tally import MAKERS, PACKETS, Tally
from .trial import Trial

CASES = 10_000
RULESETS = 3
ENOUGH, SELDOM_PERCENT, ARRIVING = 100, 5, range(30, 71)
UNFORESEEABLE = (*iptables_words.UNFORESEEABLE, *nft_words.UNFORESEEABLE)
"""Rate, chance, quota and time; and cgroups, which only the sender's own socket has."""
WORDS = {
    "iptables-nft": (*iptables_words.CONDITIONS, *iptables_words.TARGETS),
    "iptables-legacy": (*iptables_words.CONDITIONS, *iptables_words.TARGETS),
    "nft": (*nft_words.CONDITIONS, *nft_words.STATEMENTS),
    "both": (),
}


@pytest.fixture
def box() -> Iterator[Box]:
    with World(TOPOLOGY) as world:
        made = Box(world)
        yield made
        made.close()


def seeds(count: int, start: int) -> list[int]:
    """So many seeds from the first one on; the one asked for when one is."""
    asked = os.environ.get("NETDOCTOR_SEED")
    print(f"seeds {start} to {start + count - 1}")
    return [int(asked)] if asked else list(range(start, start + count))


def test_without_rules_everything_comes_out_as_foretold(box: Box) -> None:
    trial = Trial(box, Rules((), {}), box.loaded(), random.Random(1))
    verdicts = list(trial.verdicts(60))
    assert not [str(verdict) for verdict in verdicts if verdict.wrong]
    assert all(verdict.seen for verdict in verdicts)


@pytest.mark.parametrize("backend", sorted(MAKERS))
def test_random_rules_do_as_foretold(box: Box, backend: str) -> None:
    tally = Tally(box, backend)
    for seed in seeds(RULESETS, 0):
        tally.run(seed)
    assert not tally.failures, "\n\n".join(tally.failures[:5])
    assert tally.cases >= PACKETS


@pytest.mark.soak
@pytest.mark.parametrize("backend", sorted(MAKERS))
def test_thousands_of_packets_do_as_foretold(box: Box, backend: str) -> None:
    tally = Tally(box, backend)
    for seed in seeds(CASES // PACKETS + 1, random.randrange(1 << 30)):
        tally.run(seed)
    print(tally)
    assert not tally.failures, f"{len(tally.failures)} disagreements\n" + "\n\n".join(tally.failures)
    assert tally.cases >= CASES
    assert round(100 * tally.arrived / tally.cases) in ARRIVING
    names = {word.name for word in WORDS[backend]}
    assert not {name: tally.reached[name] for name in names if tally.reached[name] < ENOUGH}
    assert not {
        name: tally.percent(name) for name in names - set(UNFORESEEABLE) if tally.percent(name) >= SELDOM_PERCENT
    }
