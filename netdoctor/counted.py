"""What the counters say of the probe: which rules it met, and with that which doubts are none. Pure."""

from collections.abc import Iterator

from netdoctor.conclusion import COUNTED, FAILED, TARGET
from netdoctor.model import expression as e
from netdoctor.model.evidence import Evidence, RuleCount
from netdoctor.model.firewall import Chain, Rule
from netdoctor.model.journey import RoundTrip, Step
from netdoctor.model.snapshot import NamespaceId, Snapshot
from netdoctor.model.unknown import Unknown
from netdoctor.walk.worlds import RuleKey, Settled, rule_identity

ChainName = tuple[str, str, str, str]
"""Backend, family, table, chain."""

MANY_RULES = 5000
ACTING = (
    e.Verdict, e.Reject, e.Log, e.Nat, e.Masquerade, e.Redirect, e.Immediate, e.MetaSet, e.CtSet, e.XtTarget, e.Notrack,
    e.Queue, e.Counter,
)  # fmt: skip


def worth_counting(
    evidence: Evidence | None, trip: RoundTrip, snapshot: Snapshot
) -> dict[NamespaceId, tuple[ChainName, ...]]:
    """The chains whose counters would tell something of a probe that failed: the deciding rule's, the doubtful rules'."""
    ping = evidence.of(TARGET) if evidence else None
    return {} if ping is None or ping.answer not in FAILED else chains_in_question(trip, snapshot)


def chains_in_question(trip: RoundTrip, snapshot: Snapshot) -> dict[NamespaceId, tuple[ChainName, ...]]:
    """The chain of the rule that decides, else those of the rules in doubt."""
    found: dict[NamespaceId, dict[ChainName, None]] = {}
    for step in (trip.fatal,) if trip.fatal else trip.doubts:
        for name in _chains_of(step):
            chain = find_chain(snapshot, step.namespace, name)
            if chain is not None and not isinstance(chain.rules, Unknown) and len(chain.rules) <= MANY_RULES:
                found.setdefault(step.namespace, {})[name] = None
    return {namespace: tuple(names) for namespace, names in found.items()}


def _chains_of(step: Step) -> Iterator[ChainName]:
    for prefix in ("", "doubt_"):
        names = tuple(step.facts.get(prefix + key, "") for key in ("backend", "family", "table", "chain"))
        if all(names):
            yield names  # type: ignore[misc]


def find_chain(snapshot: Snapshot, namespace: NamespaceId, name: ChainName) -> Chain | None:
    """The chain as it was read."""
    ruleset = snapshot.namespaces[namespace].ruleset
    for table in () if isinstance(ruleset.tables, Unknown) else ruleset.tables:
        if (table.backend, table.family, table.name) == name[:3]:
            return table.chain(name[3])
    return None


def settled_by(evidence: Evidence | None, snapshot: Snapshot) -> Settled:
    """Which counted rules met the probe and which did not; those that other packets meet as well tell nothing.

    Nor does a probe that got through, where one before it did not.
    """
    probe = evidence.of(COUNTED) if evidence else None
    if evidence is None or probe is None or probe.answer not in FAILED:
        return {}
    return _moved(evidence.counters, snapshot)


def met_by(counts: tuple[RuleCount, ...], snapshot: Snapshot) -> Settled:
    """Which counted rules surely met the probe: of the others it is too early to tell."""
    return {
        namespace: met
        for namespace, rules in _moved(counts, snapshot).items()
        if (met := {rule: True for rule, moved in rules.items() if moved})
    }


def _moved(counts: tuple[RuleCount, ...], snapshot: Snapshot) -> dict[NamespaceId, dict[RuleKey, bool]]:
    found: dict[NamespaceId, dict[RuleKey, bool]] = {}
    for one in counts:
        name = (one.backend, one.family, one.table, one.chain)
        chain = find_chain(snapshot, one.namespace, name) if one.namespace in snapshot.namespaces else None
        rules = () if chain is None or isinstance(chain.rules, Unknown) else chain.rules
        rule = next((rule for rule in rules if rule.line == one.line), None)
        busy = one.quiet > 0 and one.after > one.before
        if rule is not None and not busy and counts_what_it_takes(rule):
            found.setdefault(one.namespace, {})[*name, rule_identity(rule)] = one.after > one.before
    return found


def counts_what_it_takes(rule: Rule) -> bool:
    """True when the rule's counter moves with just the packets that meet all its conditions."""
    if rule.expressions and isinstance(rule.expressions[0], e.XtHeader):
        return True
    place = next((number for number, each in enumerate(rule.expressions) if isinstance(each, e.Counter)), None)
    return place is not None and all(isinstance(each, ACTING) for each in rule.expressions[place:])


def counter_lines(evidence: Evidence | None, told: Step | None) -> tuple[str, ...]:
    """The counter of the rule that a step tells of, in words; nothing where it was not counted."""
    facts = told.facts if told else {}
    wanted = tuple(facts.get(key, "") for key in ("backend", "family", "table", "chain", "line"))
    for one in evidence.counters if evidence else ():
        here = told is not None and one.namespace == told.namespace
        if here and (one.backend, one.family, one.table, one.chain, str(one.line)) == wanted:
            return (_line(one),)
    return ()


def _line(one: RuleCount) -> str:
    what = f"rule {one.line}" if one.line else "the policy"
    moved = one.after - one.before
    said = (
        f"counted {moved} packet{'s' if moved != 1 else ''}"
        if moved
        else "did not count it: the packet may not get there"
    )
    noise = f" ({one.quiet} in as long a time before it)" if one.quiet else ""
    return f"counter: {what} of {one.table} {one.chain} {said} while one probe was sent{noise}: {one.before} -> {one.after}"
