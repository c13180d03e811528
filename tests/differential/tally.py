"""Many rulesets one after another: what disagreed, how much of the rules was reached, how often nobody could tell."""

import random
from collections import Counter

from . import nft_words
from .box import TABLES, Box
from .iptables_rules import Rules, iptables_rules
from .iptables_words import IPSETS, UNFORESEEABLE
from .nft_rules import nft_rules
from .trial import Maker, Trial, Verdict

PACKETS = 40
MAKERS: dict[str, Maker] = {
    "iptables-nft": lambda dice: iptables_rules(dice, "nft"),
    "iptables-legacy": lambda dice: iptables_rules(dice, "legacy"),
    "nft": nft_rules,
    "both": lambda dice: nft_rules(dice, (1,), iptables_rules(dice, "legacy")),
}


class Tally:
    """The cases of one backend so far."""

    def __init__(self, box: Box, backend: str) -> None:
        self.box = box
        self.backend = backend
        self.cases = self.arrived = self.untold = 0
        self.reached: Counter[str] = Counter()
        self.doubted: Counter[str] = Counter()
        self.failures: list[str] = []
        if backend != "nft":
            assert not box.tool("ipset -exist restore", IPSETS)
        if backend in ("iptables-legacy", "both"):
            box.legacy = [(family, table) for family in ("ip", "ip6") for table in TABLES]

    def run(self, seed: int, packets: int = PACKETS) -> None:
        """One ruleset and its packets. What disagrees is tried again: a stray packet does not come twice."""
        rules, verdicts = self._tried(seed, packets)
        for verdict in verdicts:
            self._count(rules, verdict)
        wrong = [verdict for verdict in verdicts if verdict.wrong]
        if wrong:
            again = {verdict.number for verdict in self._tried(seed, packets)[1] if verdict.wrong}
            self.failures += [self._told(seed, rules, verdict) for verdict in wrong if verdict.number in again]

    def _tried(self, seed: int, packets: int) -> tuple[Rules, list[Verdict]]:
        rules = MAKERS[self.backend](random.Random(seed))
        self.box.tool("nft flush ruleset", "")
        for command, text in rules.inputs:
            complaint = self.box.tool(command, text)
            assert not complaint, f"seed {seed}: {command}: {complaint}\n{text}"
        self.box.forget_connections()
        trial = Trial(self.box, rules, self.box.loaded(), random.Random(seed))
        return rules, list(trial.verdicts(packets))

    def _count(self, rules: Rules, verdict: Verdict) -> None:
        self.cases += 1
        self.arrived += verdict.seen is not None
        self.untold += bool(verdict.foretold.doubts)
        self.reached.update({word for label in verdict.reached for word in rules.words.get(label, ())})
        doubted = rules.words.get(verdict.first_doubt, ())
        guilty = [word for word in doubted if word in (*UNFORESEEABLE, *nft_words.UNFORESEEABLE)] or doubted
        self.doubted.update(guilty)

    def _told(self, seed: int, rules: Rules, verdict: Verdict) -> str:
        labels = set(verdict.moved) | set(verdict.foretold.met)
        lines = [
            line
            for _, text in rules.inputs
            for line in text.splitlines()
            if labels & set(line.replace('"', " ").split())
        ]
        return f"{self.backend} seed {seed} {verdict}\n" + "\n".join(f"      {line}" for line in lines)

    def __str__(self) -> str:
        """The report: arrivals, doubts, and per word how often it was reached and how often nobody could tell."""
        share = f"{100 * self.arrived / max(self.cases, 1):.0f} % arrived, {100 * self.untold / max(self.cases, 1):.0f} % not told"
        lines = [f"{self.backend}: {self.cases} cases, {len(self.failures)} disagreements, {share}"]
        for word, count in sorted(self.reached.items()):
            lines.append(f"  {word:20} reached {count:6}  cannot tell {self.percent(word):5.1f} %")
        return "\n".join(lines)

    def percent(self, word: str) -> float:
        """How often in a hundred a rule with the word was the first that nobody could tell."""
        return 100 * self.doubted[word] / max(self.reached[word], 1)
