"""Edits of a ruleset on the model: rules in and out of chains, policies, base chains. Pure."""

from collections.abc import Callable

from netdoctor.model.change import AddChain, ChainRef, DeleteChain, DeleteRule, InsertRule, ReplaceRule, SetChainPolicy
from netdoctor.model.expression import Counter, Last, Quota
from netdoctor.model.firewall import Chain, Rule, Table
from netdoctor.model.snapshot import Namespace
from netdoctor.model.unknown import Unknown

from .seen import known, replace


def find_chain(namespace: Namespace, at: ChainRef) -> Chain | None:
    """The chain `at` names, where it was seen."""
    table = find_table(namespace, at)
    return next((chain for chain in table.chains if chain.name == at.chain), None) if table else None


def find_table(namespace: Namespace, at: ChainRef) -> Table | None:
    return next((table for table in known(namespace.ruleset.tables) if _is(table, at)), None)


def _is(table: Table, at: ChainRef) -> bool:
    """Legacy tables stand apart; an nf_tables table is the same whichever tool is said to have written it."""
    legacy = (table.backend == "iptables-legacy") == (at.backend == "iptables-legacy")
    return legacy and (table.family, table.name) == (at.family, at.table)


def place(rules: tuple[Rule, ...], rule: Rule) -> int | None:
    """The 0-based place of `rule` among `rules`: by handle when that still is the same rule, else by content."""
    by_handle = (i for i, other in enumerate(rules) if rule.handle and other.handle == rule.handle)
    found = next(by_handle, None)
    if found is not None and same_content(rules[found], rule):
        return found
    alike = [i for i, other in enumerate(rules) if same_content(other, rule)]
    return min(alike, key=lambda i: abs(i + 1 - rule.line)) if alike else None


def same_content(one: Rule, other: Rule) -> bool:
    """True when both say the same, whatever their handle, line and counters."""
    return one.comment == other.comment and _uncounted(one) == _uncounted(other)


def _uncounted(rule: Rule) -> list[object]:
    """The expressions without what the kernel counts into them."""
    found: list[object] = []
    for each in rule.expressions:
        match each:
            case Counter():
                found.append(Counter())
            case Quota():
                found.append(replace(each, consumed=0))
            case Last():
                found.append(type(each))
            case _:
                found.append(each)
    return found


def rule_inserted(namespace: Namespace, change: InsertRule) -> Namespace:
    def insert(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
        index = min(change.line - 1, len(rules)) if change.line else len(rules)
        return (*rules[:index], change.rule, *rules[index:])

    return _rules_edited(namespace, change.at, insert)


def rule_deleted(namespace: Namespace, change: DeleteRule) -> Namespace:
    def delete(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
        index = place(rules, change.rule)
        return rules if index is None else (*rules[:index], *rules[index + 1 :])

    return _rules_edited(namespace, change.at, delete)


def rule_replaced(namespace: Namespace, change: ReplaceRule) -> Namespace:
    def swap(rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
        index = place(rules, change.before)
        return rules if index is None else (*rules[:index], change.after, *rules[index + 1 :])

    return _rules_edited(namespace, change.at, swap)


def policy_set(namespace: Namespace, change: SetChainPolicy) -> Namespace:
    return _chain_edited(namespace, change.at, lambda chain: replace(chain, policy=change.policy))


def chain_added(namespace: Namespace, change: AddChain) -> Namespace:
    at = change.at
    if find_chain(namespace, at) is not None or isinstance(namespace.ruleset.tables, Unknown):
        return namespace
    chain = Chain(
        name=at.chain,
        hook=change.hook,
        type=change.kind,
        priority=change.priority,
        policy=change.policy,
        rules=(),
    )
    table = find_table(namespace, at)
    if table is None:
        made = Table(backend=at.backend, family=at.family, name=at.table, chains=(chain,))
        return _with_tables(namespace, (*known(namespace.ruleset.tables), made))
    return _table_edited(namespace, at, lambda old: replace(old, chains=(*old.chains, chain)))


def chain_deleted(namespace: Namespace, change: DeleteChain) -> Namespace:
    at = change.at
    kept = _table_edited(
        namespace, at, lambda old: replace(old, chains=tuple(chain for chain in old.chains if chain.name != at.chain))
    )
    if not change.with_table:
        return kept
    return _with_tables(kept, tuple(table for table in known(kept.ruleset.tables) if not _is(table, at)))


def _rules_edited(
    namespace: Namespace, at: ChainRef, edit: Callable[[tuple[Rule, ...]], tuple[Rule, ...]]
) -> Namespace:
    def edit_chain(chain: Chain) -> Chain:
        if isinstance(chain.rules, Unknown):
            return chain
        rules = edit(chain.rules)
        numbered = (rule if rule.line == line else replace(rule, line=line) for line, rule in enumerate(rules, 1))
        return replace(chain, rules=tuple(numbered))

    return _chain_edited(namespace, at, edit_chain)


def _chain_edited(namespace: Namespace, at: ChainRef, edit: Callable[[Chain], Chain]) -> Namespace:
    return _table_edited(
        namespace,
        at,
        lambda table: replace(
            table, chains=tuple(edit(chain) if chain.name == at.chain else chain for chain in table.chains)
        ),
    )


def _table_edited(namespace: Namespace, at: ChainRef, edit: Callable[[Table], Table]) -> Namespace:
    tables = namespace.ruleset.tables
    if isinstance(tables, Unknown):
        return namespace
    return _with_tables(namespace, tuple(edit(table) if _is(table, at) else table for table in tables))


def _with_tables(namespace: Namespace, tables: tuple[Table, ...]) -> Namespace:
    return replace(namespace, ruleset=replace(namespace.ruleset, tables=tables))
