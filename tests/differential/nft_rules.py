"""Random native nft rulesets: tables of several families, several base chains a hook, sets, maps, NAT."""

import random

from .iptables_rules import Rules
from .iptables_words import ADDRESSES, Word
from .nft_words import CONDITIONS, COUNTED_BEFORE, NAMES, OF_ONE_FAMILY, STATEMENTS, UNCOUNTED, UNFORESEEABLE

HOOKS = ("prerouting", "input", "forward", "output", "postrouting")
PRIORITIES = {
    "raw": (-310, -300, -250),
    "filter": (-150, -50, 0, 10, 50, 120),
    "route": (-150, 0),
    "nat": (-110, -100, 90, 100),
}
NO_RULES = Rules((), {})
DEADLY = ("drop", "reject", "reject tcp")
WEIGHTS = {
    "accept": 3, "drop": 3, "jump": 2, "reject": 2, "none": 2, "tproxy": 3, "ct zone set": 2, "notrack": 2,
    "masquerade": 2, "snat": 2,
}  # fmt: skip
SETS = """set near4 { type ipv4_addr; elements = { 10.1.0.2, 10.2.0.3 } }
set wide4 { type ipv4_addr; flags interval; elements = { 10.2.0.0/31, 10.2.0.3-10.2.0.9, 10.1.0.3 } }
set pairs4 { type ipv4_addr . inet_service; flags interval; elements = { 10.1.0.0/30 . 50-90, 10.1.0.3 . 1000 } }
set seen4 { type ipv4_addr; flags dynamic; size 1000; }
map marks4 { type ipv4_addr : mark; elements = { 10.2.0.2 : 1, 10.9.0.9 : 2 } }
set near6 { type ipv6_addr; elements = { fd01::2, fd02::3 } }
set wide6 { type ipv6_addr; flags interval; elements = { fd02::/127, fd02::3-fd02::9, fd01::3 } }
set pairs6 { type ipv6_addr . inet_service; flags interval; elements = { fd01::/126 . 50-90, fd01::3 . 1000 } }
set seen6 { type ipv6_addr; flags dynamic; size 1000; }
map marks6 { type ipv6_addr : mark; elements = { fd02::2 : 1, fd09::9 : 2 } }
map ports { type inet_service : verdict; elements = { 80 : accept, 53 : drop } }
"""


def nft_rules(dice: random.Random, tables: tuple[int, ...] = (2, 3), others: Rules = NO_RULES) -> Rules:
    """Two to three tables, or so many, beside others; in an inet table each rule is of one family or the other."""
    words = dict(others.words)
    families = dice.sample(("ip", "ip6", "inet", "inet"), dice.choice(tables))
    text = "".join(_Table(dice, family, number, words).text() for number, family in enumerate(families))
    names = {name for rule in words.values() for name in rule}
    return Rules((*others.inputs, ("nft -f -", text)), words, moving="dynamic set" in names)


class _Table:
    """Writes one table."""

    def __init__(self, dice: random.Random, family: str, number: int, words: dict[str, tuple[str, ...]]) -> None:
        self.dice = dice
        self.family = family
        self.name = f"t{number}"
        self.words = words
        self.number = 0

    def text(self) -> str:
        chains: list[str] = []
        for hook in HOOKS:
            for kind in self.kinds(hook):
                chains += self.tree(hook, kind)
        return "\n".join([f"table {self.family} {self.name} {{", SETS.strip(), *chains, "}", ""])

    def kinds(self, hook: str) -> list[str]:
        dice = self.dice
        kinds = ["filter"] * dice.choice((0, 1, 1, 2))
        kinds += ["nat"] * (hook != "forward" and dice.random() < 0.4)
        kinds += ["raw"] * (hook in ("prerouting", "output") and dice.random() < 0.3)
        return kinds + ["route"] * (hook == "output" and dice.random() < 0.4)

    def tree(self, hook: str, kind: str) -> list[str]:
        """A base chain with two chains to jump to, which are written before it."""
        self.number += 1
        names = [f"{hook[:4].upper()}{self.number}{level}" for level in ("", "a", "b")]
        policy = "drop" if kind == "filter" and self.dice.random() < 0.12 else "accept"
        priority = self.dice.choice(PRIORITIES[kind])
        if kind == "nat":
            priority = self.dice.choice(
                [one for one in PRIORITIES["nat"] if (one < 0) == (hook in ("prerouting", "output"))]
            )
        typed = {"raw": "filter"}.get(kind, kind)
        lines: list[str] = []
        for level in (2, 1, 0):
            head = f"type {typed} hook {hook} priority {priority}; policy {policy};" if level == 0 else ""
            rules = [self.rule(hook, kind, names, level) for _ in range(2 if level else self.dice.choice((2, 3, 4)))]
            lines += [f"chain {names[level]} {{ {head}", *rules, "}"]
        return lines

    def rule(self, hook: str, kind: str, names: list[str], level: int) -> str:
        number = {"ip": 4, "ip6": 6}.get(self.family) or self.dice.choice((4, 6))
        statement = self.pick(STATEMENTS, hook, kind, number, level)
        chosen: list[Word] = []
        count = self.dice.choice((0, 1, 1, 2)) if statement.name not in DEADLY else self.dice.choice((1, 2))
        while len(chosen) < count:
            word = self.pick(CONDITIONS, hook, kind, number, level)
            if (word.group or word.name) not in {one.group or one.name for one in (*chosen, statement)}:
                chosen.append(word)
        label = f"r{len(self.words)}"
        self.words[label] = (*(word.name for word in chosen), statement.name)
        parts = [self.dice.choice(word.texts) for word in (*chosen, statement)]
        before, acting = _split(parts.pop(), statement.name)
        guard = "meta nfproto NFPROTO" if self.family == "inet" and statement.name in OF_ONE_FAMILY else ""
        counted = [] if statement.name in UNCOUNTED else ["counter"]
        acts = [*counted, acting] if statement.name in COUNTED_BEFORE else [acting, *counted]
        line = " ".join(part for part in (guard, *parts, before, *acts) if part)
        line = self.filled(line, number)
        for mark, name in (("%1", names[1]), ("%2", names[2]), ("%D", "drop" if kind != "nat" else "accept")):
            line = line.replace(mark, name)
        return f'{line} comment "{label}"'

    def pick(self, words: tuple[Word, ...], hook: str, kind: str, number: int, level: int) -> Word:
        fitting = [
            word for word in words
            if (not word.chains or hook in word.chains) and (not word.tables or kind in word.tables) and number in word.families
            and (word.name != "nfproto" or self.family == "inet")
        ]  # fmt: skip
        weights = [0.08 if word.name in UNFORESEEABLE else WEIGHTS.get(word.name, 1) for word in fitting]
        while True:
            word = self.dice.choices(fitting, weights)[0]
            if level == 2 and word.name in ("jump", "goto", "verdict map"):
                continue
            if word.name in DEADLY and kind != "filter" and self.dice.random() < 0.8:
                continue
            if level == 1 and word.name in ("jump", "goto"):
                return word._replace(texts=(word.texts[1],))
            return word

    def filled(self, line: str, number: int) -> str:
        names = {**ADDRESSES[number], **NAMES[number]}
        names["ICMPPROTO"] = "icmp" if number == 4 else "ipv6-icmp"
        names["NFPROTOETH"] = "ip" if number == 4 else "ip6"
        line = line.replace("%A", str(number))
        for name, value in names.items():
            line = line.replace(f"{{{name}}}", f"[{value}]" if number == 6 and ":" in value else value)
        return " ".join(
            "-".join(names.get(end, end) for end in part.rstrip(",").split("-")) + ("," if part.endswith(",") else "")
            for part in line.split(" ")
        )


def _split(statement: str, name: str) -> tuple[str, str]:
    """What of a statement is tested before the counter, and what is done after it."""
    if name == "dynamic lookup":
        return statement, ""
    if statement.startswith("meta l4proto "):
        words = statement.split(" ")
        return " ".join(words[:3]), " ".join(words[3:])
    if statement.startswith("udp dport set"):
        return "meta l4proto udp", statement
    return "", statement
