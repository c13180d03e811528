"""The evaluator against the kernel: random rulesets, real packets, the same verdict."""

import random
import subprocess
from collections.abc import Iterator

import pytest
from lab import World
from walk.netfilter.forwarding import TOPOLOGY, Forwarding, random_probe
from walk.netfilter.random_rules import iptables_rules, nft_rules

PROBES = 8
BUSY_S = 1.0
RESTORE = {"iptables-nft": "iptables-nft-restore", "iptables-legacy": "iptables-legacy-restore", "nft": "nft -f -"}


@pytest.fixture(scope="module")
def forwarding() -> Iterator[Forwarding]:
    with World(TOPOLOGY) as world:
        made = Forwarding(world)
        yield made
        made.close()


def load(forwarding: Forwarding, backend: str, rules: str) -> bool:
    """False for rules that contradict themselves so that their tool refuses them."""
    command = ["ip", "netns", "exec", forwarding.world.name("host"), *RESTORE[backend].split()]
    return subprocess.run(command, input=rules, capture_output=True, text=True, check=False).returncode == 0


def clear(forwarding: Forwarding, backend: str) -> None:
    if backend == "iptables-legacy":
        script = "".join(f"*{table}\n:FORWARD ACCEPT\nCOMMIT\n" for table in ("filter", "mangle"))
        load(forwarding, backend, script)
    else:
        forwarding.world.run("host", "nft", "flush", "ruleset")


def generated(choice: random.Random, backend: str) -> str:
    return nft_rules(choice) if backend == "nft" else iptables_rules(choice, marks=choice.random() < 0.5)


def compare(forwarding: Forwarding, backend: str, seed: int) -> int:
    """How many of the packets the evaluator could not tell the verdict of; the others it told rightly."""
    unknown = 0
    choice = random.Random(seed)
    while not load(forwarding, backend, rules := generated(choice, backend)):
        pass
    try:
        ruleset = forwarding.ruleset()
        for _ in range(PROBES):
            probe = random_probe(choice)
            results = forwarding.predicted(ruleset, probe)
            if any(result.verdict == "unknown" for result in results):
                unknown += 1
                continue
            met = [(result.rule.text, [ref.text for ref in result.matched]) for result in results]
            said = f"{seed}\n{rules}\n{probe} {met}"
            expected = results[-1].verdict == "accept"
            again = probe._replace(source_port=probe.source_port - 10000)
            assert forwarding.passes(probe) is expected or forwarding.passes(again, BUSY_S) is expected, said
    finally:
        clear(forwarding, backend)
    return unknown


@pytest.mark.parametrize("backend", sorted(RESTORE))
def test_same_verdict(forwarding: Forwarding, backend: str) -> None:
    unknown = sum(compare(forwarding, backend, seed) for seed in range(6))
    assert unknown <= PROBES


@pytest.mark.soak
@pytest.mark.parametrize("backend", sorted(RESTORE))
def test_same_verdict_for_long(forwarding: Forwarding, backend: str) -> None:
    unknown = sum(compare(forwarding, backend, seed) for seed in range(1000, 1150))
    assert unknown <= 10 * PROBES
