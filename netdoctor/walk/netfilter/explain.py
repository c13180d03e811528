"""Why NAT rules did not take a packet: the conditions that failed, or the rule that ended the chain before them."""

from collections.abc import Sequence

from msgspec.structs import replace

from netdoctor.model import expression as e
from netdoctor.model.firewall import Chain, Rule
from netdoctor.model.unknown import Unknown
from netdoctor.walk.packet import Packet

from .conditions import failed_conditions
from .result import BaseChain, BindingKind, HookFacts, Miss, NatMiss, RuleRef
from .state import State
from .traverse import MAXIMUM_DEPTH, rule_ref

XT_KINDS: dict[str, BindingKind] = {
    "SNAT": "snat", "DNAT": "dnat", "MASQUERADE": "masquerade", "REDIRECT": "redirect", "NETMAP": "netmap",
}  # fmt: skip
ENDS = ("accept", "drop", "queue")


def explain_nat_misses(bases: Sequence[BaseChain], packet: Packet, facts: HookFacts) -> tuple[NatMiss, ...]:
    """Every NAT rule of these chains that did not take the packet, in the packet's order.

    `misses` holds the failed conditions of the rule, or of the jump that would have led to it; `shadowed_by` the
    earlier rule that ended the chain. A rule that takes the packet is not among them, but shadows what follows.
    """
    found: list[NatMiss] = []
    for base in bases:
        _Search(base, packet, facts, found).chain(base.chain, (), 0)
    return tuple(found)


def nat_kind(rule: Rule) -> BindingKind | None:
    """What kind of NAT the rule does, if it does any."""
    for expression in rule.expressions:
        match expression:
            case e.XtTarget(name=name) if name in XT_KINDS:
                return XT_KINDS[name]
            case e.Nat(kind=kind):
                return kind
            case e.Masquerade():
                return "masquerade"
            case e.Redirect():
                return "redirect"
    return None


class _Search:
    """One base chain's search."""

    def __init__(self, base: BaseChain, packet: Packet, facts: HookFacts, found: list[NatMiss]) -> None:
        self.base = base
        self.packet = packet
        self.facts = facts
        self.found = found
        self.ended: RuleRef | None = None
        self.jumps: tuple[tuple[str, int], ...] = ()

    def chain(self, chain: Chain, inherited: tuple[Miss, ...], depth: int) -> None:
        """Looks at a chain's rules; `inherited`: why the packet does not even come here."""
        if isinstance(chain.rules, Unknown) or depth > MAXIMUM_DEPTH:
            return
        returned: RuleRef | None = None
        for rule in chain.rules:
            misses = failed_conditions(State(self.base, self.packet, self.facts), rule.expressions)
            kind, verdict = nat_kind(rule), _verdict(rule)
            shadow = self.ended or returned
            if kind is not None and (misses or inherited or shadow):
                ref = self.ref(chain, rule)
                self.found.append(NatMiss(rule=ref, kind=kind, misses=inherited + misses, shadowed_by=shadow))
            elif kind is not None:
                self.ended = self.ref(chain, rule)
            if verdict is not None and verdict.chain:
                outside = self.jumps
                self.jumps = (*outside, (chain.name, rule.line))
                self.jump(verdict.chain, inherited + misses, depth, chain)
                self.jumps = outside
            reached = not misses and not inherited and shadow is None and not _uncertain(rule)
            if reached and verdict is not None and verdict.code in ENDS:
                self.ended = self.ref(chain, rule)
            elif reached and verdict is not None and verdict.code == "return":
                returned = self.ref(chain, rule)

    def ref(self, chain: Chain, rule: Rule) -> RuleRef:
        return replace(rule_ref(self.base, chain, rule, self.facts), jumps=self.jumps)

    def jump(self, name: str, inherited: tuple[Miss, ...], depth: int, origin: Chain) -> None:
        target = self.base.table.chain(name)
        if target is not None and target.name != origin.name:
            self.chain(target, inherited, depth + 1)


def _verdict(rule: Rule) -> e.Verdict | None:
    last = rule.expressions[-1] if rule.expressions else None
    return last if isinstance(last, e.Verdict) else None


def _uncertain(rule: Rule) -> bool:
    """A rule that matches only now and then does not surely end the chain."""
    sometimes = ("limit", "statistic", "hashlimit", "recent", "quota", "connlimit", "time")
    return any(
        isinstance(each, e.Limit | e.Quota | e.Connlimit | e.Opaque | e.Numgen)
        or (isinstance(each, e.XtMatch) and each.name in sometimes)
        for each in rule.expressions
    )
