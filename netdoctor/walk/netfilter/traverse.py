"""A packet through one base chain and every chain it jumps to, in three values."""

from typing import Literal

import msgspec

from netdoctor.model.expression import Lookup, Verdict
from netdoctor.model.firewall import Chain, Rule
from netdoctor.model.snapshot import chains_subject
from netdoctor.model.unknown import UNREAD, Unknown
from netdoctor.walk.choices import Choices
from netdoctor.walk.packet import Packet

from .candidates import candidates
from .result import Assumption, BaseChain, ChainResult, Doubt, HookFacts, RuleRef, RulesetNeed
from .state import Alternatives, Code, Decision, Pending, State
from .step import step
from .text import rule_text

MAXIMUM_DEPTH = 128
TERMINAL: tuple[Code, ...] = ("accept", "drop", "queue")
TOGETHER = 32
"""How many jump targets or sets of one chain are worth asking for in one go."""


class Met(msgspec.Struct, frozen=True):
    """A rule that the packet meets (or may meet, when `whys` is not empty) and what it then does."""

    whys: tuple[str, ...]
    decisions: tuple[Decision, ...]


class Final(msgspec.Struct, frozen=True):
    """A verdict with the rule that gives it."""

    decision: Decision
    rule: RuleRef


class Unreadable(Exception):
    """Evaluation came to a chain that could not be read."""


class Unread(Exception):
    """Evaluation came to something not read yet."""

    def __init__(self, needs: tuple[RulesetNeed, ...]) -> None:
        super().__init__(needs)
        self.needs = needs


def evaluate(base: BaseChain, packet: Packet, facts: HookFacts, choices: Choices | None = None) -> ChainResult:
    """What the chain does to the packet. With `needs` in the result, it is not finished.

    choices: one world of several; whether a doubtful rule is met is then chosen, not left open.
    """
    walk = _Walk(State(base, packet, facts), choices)
    policy = Final(Decision(code="drop" if base.chain.policy == "drop" else "accept"), policy_ref(base))
    try:
        final = walk.chain(base.chain, 0) or policy
    except Unread as unread:
        return ChainResult(verdict="unknown", packet=packet, rule=policy.rule, needs=unread.needs)
    except Unreadable as reason:
        doubt = Doubt(rule=policy.rule, why=str(reason), verdict="drop")
        return ChainResult(verdict="unknown", packet=packet, rule=policy.rule, doubts=(doubt,))
    return walk.result(final)


def policy_ref(base: BaseChain) -> RuleRef:
    """The reference to a base chain's policy."""
    table, chain = base.table, base.chain
    text = f"-P {chain.name} {chain.policy.upper()}" if base.backend != "nft" else f"policy {chain.policy}"
    return RuleRef(backend=table.backend, family=table.family, table=table.name, chain=chain.name, text=text)


def rule_ref(base: BaseChain, chain: Chain, rule: Rule, facts: HookFacts) -> RuleRef:
    """The reference to a rule, with its text."""
    table, devices = base.table, {link.index: link.name for link in facts.links.values()}
    return RuleRef(
        backend=table.backend, family=table.family, table=table.name, chain=chain.name, line=rule.line,
        handle=rule.handle, text=rule_text(table, chain, rule, base.ruleset, devices),
        comment=rule.comment, rule=rule,
    )  # fmt: skip


def verdict_of(decision: Decision) -> Literal["accept", "drop", "queue"]:
    """The verdict of a terminal decision."""
    match decision.code:
        case "accept" | "drop" | "queue" as code:
            return code
    raise AssertionError(f"{decision.code} is not a verdict")


class _Walk:
    """One evaluation: the state, and what was met on the way."""

    def __init__(self, state: State, choices: Choices | None) -> None:
        self.state = state
        self.base = state.base
        self.choices = choices
        self.assumed: list[Assumption] = []
        self.jumps: tuple[tuple[str, int], ...] = ()
        self.matched: list[tuple[Chain, Rule]] = []
        self.doubts: list[tuple[Doubt, Final]] = []
        self.through = ""

    def chain(self, chain: Chain, depth: int) -> Final | None:
        """The verdict the packet surely gets in this chain; None when it comes out of it (or may come out of it)."""
        rules = self.rules_of(chain)
        if depth > MAXIMUM_DEPTH:
            return None
        outside, left = self.state.in_doubt, ""
        for rule in candidates(self.state, rules):
            met = self.meet(chain, rule)
            if met is None:
                continue
            if not met.whys and not self.state.in_doubt:
                self.matched.append((chain, rule))
            final, leaves = self.follow(chain, rule, met, depth)
            if final is not None and left:
                self.add_doubt(final, left)
                self.let_through(final.decision, left)
            if final is not None:
                self.state.in_doubt = outside or self.through
                return None if left else final
            if leaves and not met.whys:
                break
            left = left or (met.whys[0] if leaves else "")
            self.state.in_doubt = outside or left or self.through
        self.state.in_doubt = outside or self.through
        return None

    def meet(self, chain: Chain, rule: Rule) -> Met | None:
        """What meeting the rule comes to; in one of several worlds a doubtful rule is met or not, by choice."""
        if self.choices is None:
            return self.tried(chain, rule)
        before = self.state.kept()
        met = self.tried(chain, rule)
        if met is not None and not met.whys:
            return met
        after = self.state.kept()
        self.state.put_back(before)
        if met is None or (not met.decisions and _same_effect(before, after)):
            return None
        self.state.choices = self.choices
        met = self.chosen(chain, rule)
        self.state.choices = None
        return met

    def chosen(self, chain: Chain, rule: Rule) -> Met | None:
        """Runs a doubtful rule with every doubt decided by a choice, or by what was seen of the rule before."""
        table = self.base.table
        assumed = self.state.facts.settled.get(
            (table.backend, table.family, table.name, chain.name, rule.handle or rule.raw)
        )
        assert self.choices is not None
        for expression in () if assumed is False else rule.expressions:
            before = len(self.choices.taken)
            outcome = step(self.state, expression)
            if len(self.choices.taken) > before:
                number = f"its {expression.__struct_config__.tag} gives another number each time, {self.choices.taken[-1]} perhaps"
                self.assume(chain, rule, number, met=True)
            if outcome is False:
                return None
            if isinstance(outcome, Pending):
                raise Unread(self.needs_of(chain, outcome))
            if isinstance(outcome, Decision):
                return Met((), (outcome,))
            if isinstance(outcome, Unknown) and assumed is None:
                assumed = bool(self.choose(chain, rule, outcome.why, 2))
                if not assumed:
                    return None
            elif isinstance(outcome, Alternatives):
                taken = self.choose(chain, rule, outcome.why, len(outcome.decisions) + 1)
                if taken or not outcome.goes_on:
                    return Met((), (outcome.decisions[taken - 1],)) if taken else None
        return None if assumed is False else Met((), ())

    def choose(self, chain: Chain, rule: Rule, why: str, width: int) -> int:
        assert self.choices is not None
        taken = self.choices.choose(width)
        self.assume(chain, rule, why, met=bool(taken))
        return taken

    def assume(self, chain: Chain, rule: Rule, why: str, *, met: bool) -> None:
        ref = rule_ref(self.base, chain, rule, self.state.facts)
        self.assumed.append(Assumption(rule=ref, why=why, met=met))

    def tried(self, chain: Chain, rule: Rule) -> Met | None:
        """Runs the rule's expressions; None when the packet surely does not meet the rule or nothing comes of it."""
        outside, whys = self.state.in_doubt, list[str]()
        decisions: tuple[Decision, ...] = ()
        for expression in rule.expressions:
            outcome = step(self.state, expression)
            if outcome is False:
                self.state.in_doubt = outside
                return None
            if isinstance(outcome, Pending):
                raise Unread(self.needs_of(chain, outcome))
            if isinstance(outcome, Unknown):
                whys.append(outcome.why)
                self.state.in_doubt = outside or outcome.why
            elif isinstance(outcome, Decision):
                decisions += (outcome,)
                break
            elif isinstance(outcome, Alternatives):
                whys.append(outcome.why)
                decisions += outcome.decisions
                if not outcome.goes_on:
                    break
        self.state.in_doubt = outside
        return Met(tuple(whys), decisions)

    def follow(self, chain: Chain, rule: Rule, met: Met, depth: int) -> tuple[Final | None, bool]:
        """What the met rule's decisions come to: a sure verdict, and whether the packet leaves this chain (or may)."""
        leaves = False
        for decision in met.decisions:
            if decision.code in TERMINAL:
                ref = rule_ref(self.base, chain, rule, self.state.facts)
                final = Final(decision, msgspec.structs.replace(ref, jumps=self.jumps))
                if not met.whys:
                    return final, False
                self.add_doubt(final, met.whys[0])
                self.let_through(decision, met.whys[0])
            elif decision.code == "return":
                leaves = True
            else:
                outside = self.jumps
                self.jumps = (*outside, (chain.name, rule.line))
                final_inside = self.jump(chain, decision.chain, met, depth)
                self.jumps = outside
                if final_inside is not None:
                    return final_inside, False
                leaves = leaves or decision.code == "goto"
        return None, leaves

    def jump(self, origin: Chain, name: str, met: Met, depth: int) -> Final | None:
        """Walks the chain jumped to; in doubt its verdict becomes a doubt."""
        target = self.base.table.chain(name)
        if target is None:
            return None
        if target.rules == UNREAD:
            raise Unread((self.chains_need(origin, name),))
        outside = self.state.in_doubt
        if met.whys:
            self.state.in_doubt = outside or met.whys[0]
        final = self.chain(target, depth + 1)
        self.state.in_doubt = outside or self.through
        if final is not None and met.whys:
            self.add_doubt(final, met.whys[0])
            self.let_through(final.decision, met.whys[0])
            return None
        return final

    def let_through(self, decision: Decision, why: str) -> None:
        """After a doubtful accept nothing more is sure to happen to the packet here."""
        if decision.code != "drop":
            self.through = self.through or why
            self.state.in_doubt = self.state.in_doubt or why

    def add_doubt(self, final: Final, why: str) -> None:
        code = verdict_of(final.decision)
        self.doubts.append((Doubt(rule=final.rule, why=why, verdict=code, binding=final.decision.binding), final))

    def rules_of(self, chain: Chain) -> tuple[Rule, ...]:
        if chain.rules == UNREAD:
            table = self.base.table
            key = (table.family, table.name, chain.name)
            raise Unread((RulesetNeed(subject=chains_subject(table.backend), key=key),))
        if isinstance(chain.rules, Unknown):
            raise Unreadable(f"chain {chain.name} could not be read: {chain.rules.why}")
        return chain.rules

    def chains_need(self, origin: Chain, name: str) -> RulesetNeed:
        """The chain jumped to; with it what else the origin's rules jump to, when that is not much."""
        table, names = self.base.table, {name: None}
        rules = () if isinstance(origin.rules, Unknown) else origin.rules
        for rule in rules if len(rules) <= TOGETHER else ():
            last = rule.expressions[-1] if rule.expressions else None
            if isinstance(last, Verdict) and last.chain:
                target = table.chain(last.chain)
                names |= {last.chain: None} if target is not None and target.rules == UNREAD else {}
        return RulesetNeed(subject=chains_subject(table.backend), key=(table.family, table.name, *names))

    def needs_of(self, chain: Chain, pending: Pending) -> tuple[RulesetNeed, ...]:
        """The set looked up; with it the other unread anonymous sets of a short chain's rules."""
        table, needs = self.base.table, dict.fromkeys(pending.needs)
        rules = () if isinstance(chain.rules, Unknown) else chain.rules
        for rule in rules if len(rules) <= TOGETHER else ():
            for each in rule.expressions:
                found = table.set(each.set) if isinstance(each, Lookup) else None
                if found is not None and found.elements == UNREAD and "anonymous" in found.flags:
                    needs[RulesetNeed(subject="set", key=(table.family, table.name, found.name))] = None
        return tuple(needs)

    def result(self, final: Final) -> ChainResult:
        """Settles the doubts against the verdict that stands when none of them holds."""
        decision, state = final.decision, self.state
        code = verdict_of(decision)
        differ = [d for d in self.doubts if _fate(d[1].decision) != _fate(decision)]
        accepting = next((d[1].decision for d in differ if d[0].verdict == "accept"), decision)
        taken = accepting if code != "accept" else decision
        return ChainResult(
            verdict="unknown" if differ else code, rule=final.rule, otherwise=code,
            packet=msgspec.structs.replace(state.packet, unsure=tuple(state.uncertain.items())),
            binding=taken.binding, reject=decision.reject, queue=decision.queue, queues=decision.queues, queue_bypass=decision.bypass,
            matched=tuple(rule_ref(self.base, chain, rule, self.state.facts) for chain, rule in self.matched),
            doubts=tuple(doubt for doubt, _ in differ), uncertain=state.uncertain, notrack=state.notrack,
            zone=state.zone, helper=state.helper, tproxy=state.tproxy, assumed=tuple(self.assumed), touched=state.touched,
        )  # fmt: skip


def _fate(decision: Decision) -> object:
    """What a verdict means for the packet: which queue counts, and whether it can be passed by."""
    return decision.code, decision.binding, decision.queue, decision.queues, decision.bypass


def _same_effect(before: dict[str, object], after: dict[str, object]) -> bool:
    """True when a rule changed nothing that outlives it: it logs, counts or copies."""
    return all(before[name] == after[name] for name in before if name != "registers")
