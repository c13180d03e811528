"""Random small topologies with faults: the walk's "arrives" and "dies" are what happens to real packets.

NETDOCTOR_SEED=N builds the worlds of one seed again.
"""

import os
import random
from collections import Counter

import pytest

from .topologies import KINDS
from .topologies_odd import EVERYWHERE, ON_PORTS, SEVERAL, tunnel_odd
from .topologies_trial import random_trial

WORLDS, SOAK_WORLDS = 2, 300
UNSURE_PERCENT, ARRIVING = 5, range(30, 71)


class Outcome:
    """What a number of worlds of one kind showed; `str` is the table of what they exercised."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.packets = self.arrived = self.unsure = 0
        self.wrong: list[str] = []
        self.worlds: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self.causes: Counter[str] = Counter()

    def run(self, seed: int) -> None:
        trial = random_trial(self.kind, seed)
        names = {name for name, _ in trial.odd} or {"nothing odd"}
        self.worlds.update(names)
        for verdict in trial.verdicts():
            self.packets += 1
            self.arrived += verdict.became.answered
            self.unsure += verdict.says == "cannot tell"
            self.sent.update(names)
            self.lost.update(names if not verdict.became.answered else ())
            self.causes.update([step.cause for step in verdict.trip.steps if step.outcome == "block"])
            if verdict.wrong:
                self.wrong.append(f"{trial.name}\n{verdict}")

    def __str__(self) -> str:
        rows = [
            f"  {name:18} {self.worlds[name]:6} {self.sent[name]:8} {self.lost[name]:6}" for name in sorted(self.worlds)
        ]
        causes = ", ".join(f"{cause} {count}" for cause, count in self.causes.most_common())
        return "\n".join(
            [
                f"{self.kind}: {self.packets} packets, {self.arrived} answered, {self.unsure} cannot tell, {len(self.wrong)} wrong",
                f"  {'oddity':18} {'worlds':>6} {'packets':>8} {'lost':>6}",
                *rows,
                f"  causes named: {causes}",
            ]
        )


def seeds(count: int, start: int) -> list[int]:
    """So many seeds from the first one on; the one asked for when one is."""
    asked = os.environ.get("NETDOCTOR_SEED")
    print(f"seeds {start} to {start + count - 1}")
    return [int(asked)] if asked else list(range(start, start + count))


@pytest.mark.usefixtures("lab")
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_random_topologies_carry_packets_as_foretold(kind: str) -> None:
    outcome = Outcome(kind)
    for seed in seeds(WORLDS, 0):
        outcome.run(seed)
    assert not outcome.wrong, "\n\n".join(outcome.wrong[:5])
    assert outcome.packets


@pytest.mark.soak
@pytest.mark.usefixtures("lab")
@pytest.mark.parametrize("kind", sorted(KINDS))
def test_hundreds_of_topologies_carry_packets_as_foretold(kind: str) -> None:
    outcome = Outcome(kind)
    for seed in seeds(SOAK_WORLDS, random.randrange(1 << 30)):
        outcome.run(seed)
    print(outcome)
    assert not outcome.wrong, "\n\n".join(outcome.wrong[:5])
    assert 100 * outcome.unsure < UNSURE_PERCENT * outcome.packets
    assert round(100 * outcome.arrived / outcome.packets) in ARRIVING
    known = {one.__name__ for one in EVERYWHERE}
    known |= {one.__name__ for one in ON_PORTS} if kind in ("bridge", "vxlan") else set()
    known |= {one.__name__ for one in SEVERAL} if kind == "bridge" else set()
    known |= {tunnel_odd.__name__} if kind == "vxlan" else set()
    assert not known - set(outcome.worlds)
