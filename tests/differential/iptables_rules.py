"""Random iptables rulesets: every table and hook, small trees of chains, each rule labelled by its comment."""

import random
from typing import NamedTuple

from .iptables_words import ADDRESSES, CONDITIONS, HOOKS, TARGETS, UNFORESEEABLE, Word

CHAINS = {
    "raw": ("PREROUTING", "OUTPUT"),
    "mangle": HOOKS,
    "nat": ("PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"),
    "filter": ("INPUT", "FORWARD", "OUTPUT"),
    "security": ("INPUT", "FORWARD", "OUTPUT"),
}
DEADLY = ("DROP", "REJECT", "NFQUEUE")
KEEPS_FOR_FILTER = 0.85
SELDOM = {"cgroup": 0.2}
"""Stands in few chains."""
WEIGHTS = {
    "DROP": 3,
    "REJECT": 3,
    "jump": 2,
    "ACCEPT": 3,
    "none": 2,
    "TPROXY": 2,
    "CT": 2,
    "NETMAP": 0.5,
    "MASQUERADE": 2,
    "SNAT": 2,
}


class Rules(NamedTuple):
    """A ruleset as its tools' inputs, (command, text), and the names of the words in each label's rule.

    moving: packets change what it holds (sets that rules add to), so it is read anew before each flow.
    """

    inputs: tuple[tuple[str, str], ...]
    words: dict[str, tuple[str, ...]]
    moving: bool = False


def iptables_rules(dice: random.Random, backend: str) -> Rules:
    """One ruleset for both families. backend: "legacy" or "nft"."""
    words: dict[str, tuple[str, ...]] = {}
    inputs = []
    for family, tool in ((4, "iptables"), (6, "ip6tables")):
        maker = _Maker(dice, family, words)
        text = "".join(maker.table(table) for table in CHAINS)
        inputs.append((f"{tool}-{backend}-restore", text))
    return Rules(tuple(inputs), words)


class _Maker:
    """Writes one family's tables."""

    def __init__(self, dice: random.Random, family: int, words: dict[str, tuple[str, ...]]) -> None:
        self.dice = dice
        self.family = family
        self.words = words

    def table(self, table: str) -> str:
        heads, rules = [f"*{table}"], []
        for chain in CHAINS[table]:
            drops = table == "filter" and self.dice.random() < 0.3
            heads.append(f":{chain} {'DROP' if drops else 'ACCEPT'}")
            heads += [f":{chain[:4]}{number} -" for number in (1, 2)]
            busy = self.dice.random() < (0.8 if table in ("filter", "nat", "mangle") else 0.5)
            for level, count in ((0, self.dice.choice((2, 3, 4))), (1, 2), (2, 2)):
                rules += [self.rule(table, chain, level) for _ in range(count if busy else 0)]
        return "\n".join([*heads, *rules, "COMMIT", ""])

    def rule(self, table: str, chain: str, level: int) -> str:
        target = self.pick_target(table, chain, level)
        conditions = self.pick_conditions(table, chain, target)
        label = f"r{len(self.words)}"
        self.words[label] = (*(word.name for word in conditions), target.name)
        parts = [self.dice.choice(word.texts) for word in (*conditions, target)]
        name = chain if level == 0 else f"{chain[:4]}{level}"
        before, jump = _split(parts.pop())
        parts.sort(key=lambda part: not part.startswith(("-p", "! -p")))
        line = " ".join(part for part in (f"-A {name}", before, *parts, f"-m comment --comment {label}", jump) if part)
        return self.filled(line, chain, label)

    def pick_target(self, table: str, chain: str, level: int) -> Word:
        """A user chain jumps to the next one only; rules that kill are rarer outside the filter table."""
        fitting = [word for word in TARGETS if self.fits(word, table, chain)]
        while True:
            word = self.dice.choices(fitting, [WEIGHTS.get(one.name, 1) for one in fitting])[0]
            if word.name in ("jump", "goto") and level == 2:
                continue
            if word.name in DEADLY and table != "filter" and self.dice.random() < KEEPS_FOR_FILTER:
                continue
            if word.name in ("jump", "goto") and level == 1:
                return word._replace(texts=(word.texts[1],))
            return word

    def pick_conditions(self, table: str, chain: str, target: Word) -> list[Word]:
        fitting = [word for word in CONDITIONS if self.fits(word, table, chain)]
        count = self.dice.choice((0, 1, 1, 2)) if target.name not in DEADLY else self.dice.choice((1, 2))
        chosen: list[Word] = []
        weights = [SELDOM.get(one.name, 0.08) if one.name in UNFORESEEABLE else 1 for one in fitting]
        while len(chosen) < count:
            word = self.dice.choices(fitting, weights)[0]
            groups = {one.group or one.name for one in (*chosen, target)}
            if (word.group or word.name) not in groups:
                chosen.append(word)
        return chosen

    def fits(self, word: Word, table: str, chain: str) -> bool:
        here = (not word.chains or chain in word.chains) and (not word.tables or table in word.tables)
        return here and self.family in word.families

    def filled(self, line: str, chain: str, label: str) -> str:
        """The line with addresses, chains and names put in."""
        for number in (1, 2):
            line = line.replace(f"%{number}", f"{chain[:4]}{number}")
        line = line.replace("%F", str(self.family)).replace("%N", label)
        names = ADDRESSES[self.family]
        return " ".join(_addresses(part, names, self.family) for part in line.split(" "))


def _split(target: str) -> tuple[str, str]:
    """A target's protocol test, which stands first, and its jump."""
    before, found, jump = target.rpartition("-j ") if "-j " in target else target.rpartition("-g ")
    return before.strip(), found + jump


def _addresses(part: str, names: dict[str, str], family: int) -> str:
    if part in names:
        return names[part]
    for name, value in names.items():
        bracketed = f"[{value}]" if family == 6 else value
        part = part.replace(f"{{{name}}}", bracketed)
        if part.startswith(f"{name}-"):
            part = value + part[len(name) :]
        if part.endswith(f"-{name}"):
            part = part[: -len(name)] + value
    return part
