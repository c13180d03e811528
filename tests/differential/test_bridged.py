"""Frames through random rulesets: the walk says what the kernel does."""

import random
from collections import Counter
from collections.abc import Iterator

import pytest
from lab import World

from .bridged_box import TOPOLOGY, BridgedBox
from .bridged_rules import CHAINS, Rules, bridged_rules
from .bridged_trial import BridgedTrial, Verdict

BACKENDS = ("nft", "iptables-nft", "iptables-legacy")
FRAMES, RULESETS = 12, 4
SOAK_CASES = 10_000
RARE = 100
EMPTY = {
    table: "".join(f":{chain} ACCEPT\n" for chain in chains.split())
    for table, chains in {
        "raw": "PREROUTING OUTPUT", "mangle": "PREROUTING INPUT FORWARD OUTPUT POSTROUTING",
        "nat": "PREROUTING INPUT OUTPUT POSTROUTING", "filter": "INPUT FORWARD OUTPUT",
    }.items()
}  # fmt: skip


@pytest.fixture(scope="module")
def box() -> Iterator[BridgedBox]:
    with World(TOPOLOGY) as world:
        made = BridgedBox(world)
        yield made
        made.close()


def cleared(box: BridgedBox) -> None:
    box.tool("nft -f -", "flush ruleset")
    for family in ("ip", "ip6"):
        names = [name for its, name in box.legacy if its == family]
        if names:
            text = "".join(f"*{name}\n{EMPTY[name]}COMMIT\n" for name in names)
            complaint = box.tool(f"{family}tables-legacy-restore", text)
            assert not complaint, complaint
    box.forget_connections()


def standing(box: BridgedBox, backend: str, dice: random.Random) -> Rules:
    """A random ruleset that the tools take (some contradict themselves), loaded."""
    macs = {role: box.mac(role) for role in ("ns1", "ns2", "ns3")} | {"br0": box.bridge_mac}
    complaints: list[str] = []
    for _ in range(40):
        cleared(box)
        rules = bridged_rules(dice, backend, macs)
        complaints = [complaint for command, text in rules.inputs if (complaint := box.tool(command, text))]
        if not complaints:
            box.legacy = legacy_tables(box)
            return rules
    raise AssertionError(f"no ruleset is taken: {complaints}")


def legacy_tables(box: BridgedBox) -> list[tuple[str, str]]:
    def read() -> list[tuple[str, str]]:
        found = []
        for family in ("ip", "ip6"):
            with open(f"/proc/thread-self/net/{family}_tables_names") as names:
                found += [(family, name) for name in names.read().split()]
        return found

    return box.observer.inside(box.host, read)


def verdicts(box: BridgedBox, backend: str, seed: int) -> Iterator[tuple[Rules, Verdict]]:
    """The cases of one random ruleset."""
    dice = random.Random(seed)
    rules = standing(box, backend, dice)
    try:
        trial = BridgedTrial(box, box.loaded(), dice)
        for verdict in trial.verdicts(FRAMES):
            yield rules, verdict
    finally:
        cleared(box)


def told(seed: int, rules: Rules, verdict: Verdict) -> str:
    text = "\n".join(f"# {command}\n{text}" for command, text in rules.inputs)
    return f"seed {seed}\n{text}\n{verdict}"


def _words(backend: str, rules: Rules, label: str = "") -> set[str]:
    """The words of one rule, or of all. The native tables beside iptables are not what a backend of it is counted by."""
    found = rules.words[label] if label else set().union(*rules.words.values())
    if backend == "nft":
        return {_plain(word) for word in found}
    return {word for word in found if word.startswith("iptables ")}


def _plain(word: str) -> str:
    """Without the family of the table it stands in: "bridge ether type" is "ether type"."""
    family, _, rest = word.partition(" ")
    return rest if family in CHAINS and rest else word


def test_without_rules_everything_arrives_as_foretold(box: BridgedBox) -> None:
    trial = BridgedTrial(box, box.loaded(), random.Random(1))
    found = list(trial.verdicts(60))
    assert not [str(verdict) for verdict in found if verdict.wrong]
    assert all(verdict.seen for verdict in found if not verdict.frame.packet.arp_operation)


@pytest.mark.parametrize("backend", BACKENDS)
def test_random_rules(box: BridgedBox, backend: str) -> None:
    first = random.randrange(1 << 30)
    print(f"seeds {first} to {first + RULESETS - 1}")
    for seed in range(first, first + RULESETS):
        for rules, verdict in verdicts(box, backend, seed):
            assert not verdict.wrong, told(seed, rules, verdict)


@pytest.mark.soak
@pytest.mark.parametrize("backend", BACKENDS)
def test_random_rules_for_long(box: BridgedBox, backend: str) -> None:
    seed = first = random.randrange(1 << 30)
    cases, arrived, doubtful, words = 0, 0, 0, Counter[str]()
    failures: list[str] = []
    while cases < SOAK_CASES or (min(words.values()) < RARE and cases < 4 * SOAK_CASES):
        for rules, verdict in verdicts(box, backend, seed):
            failures += [told(seed, rules, verdict)] if verdict.wrong else []
            cases, arrived = cases + 1, arrived + bool(verdict.seen)
            doubtful += bool(verdict.foretold.doubts)
            words.update(dict.fromkeys(_words(backend, rules), 0))
            for label, count in verdict.moved.items():
                words.update(dict.fromkeys(_words(backend, rules, label), count))
        seed += 1
    print(
        f"{backend}: {cases} cases from seed {first}, {arrived / cases:.0%} arrive, {doubtful / cases:.1%} cannot be told"
    )
    print("\n".join(f"  {count:6} {word}" for word, count in words.most_common()))
    assert not failures, f"{len(failures)} disagreements\n" + "\n\n".join(failures)
    assert doubtful / cases < 0.05
    assert 0.3 < arrived / cases < 0.7
    assert min(words.values()) >= RARE
