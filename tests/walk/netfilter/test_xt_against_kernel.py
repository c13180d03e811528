"""Every xtables match against the kernel: frames go through, and the counter of each rule says whether it was met."""

import random
from collections import Counter
from collections.abc import Iterator

import pytest
from lab import World
from walk.netfilter.xt_probes import TOPOLOGY, Host, alone, at_forward, counters, random_packet, text
from walk.netfilter.xt_rules import FORWARD, HIDDEN, PREROUTING, SETS, UNFORESEEABLE

from netdoctor.walk.packet import ICMP, ICMP6, TCP, UDP, Family

FRAMES = 25
MODELLED = (TCP, UDP, ICMP, ICMP6)
BACKENDS = (("iptables-legacy", 4), ("iptables-nft", 4), ("iptables-legacy", 6), ("iptables-nft", 6))


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with World(TOPOLOGY) as world:
        world.sh(f"ipset restore <<'X'\n{SETS}\nX")
        made = Host(world)
        yield made
        made.close()


def load(host: Host, backend: str, family: Family) -> None:
    """Chains of rules that only count; before routing none of what the neighbours say among themselves."""
    forward = [f"-A FORWARD {words}" for families, words in FORWARD if str(family) in families]
    far = "10.2.0.0/24" if family == 4 else "fd02::/64"
    prerouting = [f"-A PREROUTING -d {far} {words}" for families, words in PREROUTING if str(family) in families]
    script = "\n".join(("*filter", *forward, "COMMIT", "*raw", *prerouting, "COMMIT", ""))
    tool = "iptables" if family == 4 else "ip6tables"
    host.world.sh(f"{tool}-{backend.removeprefix('iptables-')}-restore <<'X'\n{script}X")


def clear(host: Host, backend: str, family: Family) -> None:
    tool = "iptables" if family == 4 else "ip6tables"
    if backend == "iptables-nft":
        host.world.run("host", "nft", "flush", "ruleset")
    else:
        host.world.sh(f"for t in filter raw; do {tool}-legacy -t $t -F; done")


def compared(host: Host, backend: str, family: Family, seed: int, frames: int) -> tuple[Counter[str], Counter[str]]:
    """How often each match was met, and how often the evaluator could not tell; the rest it told as the kernel did.

    Of protocols whose headers are not modelled it is not counted.
    """
    choice, met, unknown = random.Random(seed), Counter[str](), Counter[str]()
    chains = (("filter", "FORWARD", "forward"), ("raw", "PREROUTING", "prerouting"))
    tables = "ip" if family == 4 else "ip6"
    for _ in range(frames):
        packet = random_packet(choice, family)
        before = host.ruleset()
        host.send(packet)
        after = host.ruleset()
        for table, chain, hook in chains:
            old = counters(before, backend, tables, table, chain)
            new = counters(after, backend, tables, table, chain)
            for one, two in zip(old, new, strict=True):
                moved = (two[2].packets or 0) - (one[2].packets or 0)
                result = alone(before, one, at_forward(packet) if hook == "forward" else packet, host.facts())
                name = name_of(text(one))
                met[name] += moved
                if result.verdict == "unknown":
                    unknown[name] += packet.protocol in MODELLED
                else:
                    assert (result.verdict == "drop") is bool(moved), f"{seed} {text(one)} {result} {packet} {moved}"
    return met, unknown


def name_of(text: str) -> str:
    """The last match's name; of what asks for bytes that nobody can know beforehand, that."""
    if any(words in text for words in HIDDEN):
        return "hidden"
    words = text.split()
    return words[len(words) - 1 - words[::-1].index("-m") + 1] if "-m" in words else "header"


@pytest.mark.parametrize(("backend", "family"), BACKENDS)
def test_each_match_as_the_kernel_has_it(host: Host, backend: str, family: Family) -> None:
    check(host, backend, family, 7, FRAMES)


@pytest.mark.soak
@pytest.mark.parametrize(("backend", "family"), BACKENDS)
def test_each_match_as_the_kernel_has_it_for_long(host: Host, backend: str, family: Family) -> None:
    check(host, backend, family, random.randrange(1 << 30), 1000)


def check(host: Host, backend: str, family: Family, seed: int, frames: int) -> None:
    load(host, backend, family)
    try:
        met, unknown = compared(host, backend, family, seed, frames)
    finally:
        clear(host, backend, family)
    print(f"seed {seed}: met {dict(met)}, could not tell {dict(unknown)}")
    assert not {name for name, times in unknown.items() if times} - UNFORESEEABLE
