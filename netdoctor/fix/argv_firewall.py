"""Edits of a ruleset as iptables or nft commands. Pure."""

from typing import assert_never

from netdoctor.model.change import AddChain, ChainRef, DeleteChain, DeleteRule, InsertRule, ReplaceRule, SetChainPolicy
from netdoctor.model.firewall import Chain, Rule, Table
from netdoctor.model.snapshot import Namespace

from .ruleset_effect import find_chain, find_table, place
from .seen import known

Argv = tuple[str, ...]
Edit = InsertRule | DeleteRule | ReplaceRule | SetChainPolicy | AddChain | DeleteChain


def commands(change: Edit, namespace: Namespace) -> tuple[Argv, ...]:
    """What a person types inside the namespace; nothing for a built-in chain that iptables makes by itself."""
    return _nft(change, namespace) if change.at.backend == "nft" else _iptables(change, namespace)


def tool(at: ChainRef, namespace: Namespace) -> str:
    """iptables or ip6tables; with the backend named where legacy and nf_tables tables stand side by side."""
    name = "ip6tables" if at.family == "ip6" else "iptables"
    legacy = any(table.backend == "iptables-legacy" for table in known(namespace.ruleset.tables))
    if at.backend == "iptables-legacy":
        return f"{name}-legacy"
    return f"{name}-nft" if legacy else name


def _iptables(change: Edit, namespace: Namespace) -> tuple[Argv, ...]:
    at = change.at
    start = (tool(at, namespace), *(() if at.table == "filter" else ("-t", at.table)))
    match change:
        case InsertRule(rule=rule, line=line):
            where = ("-I", at.chain, str(line)) if line else ("-A", at.chain)
            return ((*start, *where, *_specification(change, rule, namespace)),)
        case DeleteRule(rule=rule):
            return ((*start, "-D", at.chain, *_specification(change, rule, namespace)),)
        case ReplaceRule(before=old, after=new):
            number = _line(change, old, namespace)
            return ((*start, "-R", at.chain, str(number), *_specification(change, new, namespace)),)
        case SetChainPolicy(policy=policy):
            return ((*start, "-P", at.chain, policy.upper()),)
        case AddChain(hook=hook, policy=policy):
            if not hook:
                return ((*start, "-N", at.chain),)
            return () if policy == "accept" else ((*start, "-P", at.chain, policy.upper()),)
        case DeleteChain(hook=hook):
            return _nft(change, namespace) if hook and at.backend != "iptables-legacy" else ((*start, "-X", at.chain),)
        case _:
            assert_never(change)


def _line(change: Edit, rule: Rule, namespace: Namespace) -> int:
    chain = find_chain(namespace, change.at)
    index = place(known(chain.rules), rule) if chain else None
    return rule.line if index is None else index + 1


def _text(change: Edit, rule: Rule, namespace: Namespace) -> str:
    from netdoctor.walk.netfilter import rule_text

    at = change.at
    chain = find_chain(namespace, at) or Chain(name=at.chain)
    table = find_table(namespace, at) or Table(backend=at.backend, family=at.family, name=at.table, chains=(chain,))
    return str(rule_text(table, chain, rule))


def _specification(change: Edit, rule: Rule, namespace: Namespace) -> Argv:
    """The rule's words without "-A CHAIN"."""
    return words(_text(change, rule, namespace))[2:]


def words(text: str) -> Argv:
    r"""The arguments of a line of iptables-save: double quotes group, a backslash takes the next character as it is."""
    found: list[str] = []
    current: list[str] = []
    quoted = started = False
    characters = iter(text)
    for character in characters:
        if character == "\\" and quoted:
            current.append(next(characters, ""))
        elif character == '"':
            quoted, started = not quoted, True
        elif character == " " and not quoted:
            if started:
                found.append("".join(current))
            current, started = [], False
        else:
            current.append(character)
            started = True
    return (*found, "".join(current)) if started else tuple(found)


def _nft(change: Edit, namespace: Namespace) -> tuple[Argv, ...]:
    at = change.at
    chain = (at.family, at.table, at.chain)
    match change:
        case InsertRule(rule=rule, line=line):
            return (_nft_insert(change, rule, line, namespace),)
        case DeleteRule(rule=rule):
            return (("nft", "delete", "rule", *chain, "handle", _handle(change, rule, namespace)),)
        case ReplaceRule(before=old, after=new):
            handle = _handle(change, old, namespace)
            return (("nft", "replace", "rule", *chain, "handle", handle, _text(change, new, namespace)),)
        case SetChainPolicy(policy=policy):
            return (("nft", "chain", *chain, f"{{ policy {policy} ; }}"),)
        case AddChain(hook=hook, kind=kind, priority=priority, policy=policy):
            base = f"{{ type {kind} hook {hook} priority {priority} ; policy {policy} ; }}"
            make = ("nft", "add", "chain", *chain, *((base,) if hook else ()))
            return (("nft", "add", "table", at.family, at.table), make)
        case DeleteChain(with_table=with_table):
            if with_table:
                return (("nft", "delete", "table", at.family, at.table),)
            return (("nft", "delete", "chain", *chain),)
        case _:
            assert_never(change)


def _handle(change: Edit, rule: Rule, namespace: Namespace) -> str:
    """The rule's handle; the kernel gives a rule that is still to be added its own, `nft -a list chain` tells it then."""
    chain = find_chain(namespace, change.at)
    rules = known(chain.rules) if chain else ()
    index = place(rules, rule)
    return str((rule.handle if index is None else rules[index].handle) or "HANDLE")


def _nft_insert(change: InsertRule, rule: Rule, line: int, namespace: Namespace) -> Argv:
    at = change.at
    chain = find_chain(namespace, at)
    rules = known(chain.rules) if chain else ()
    text = _text(change, rule, namespace)
    if not line or line > len(rules):
        return ("nft", "add", "rule", at.family, at.table, at.chain, text)
    before = () if line == 1 else ("handle", str(rules[line - 1].handle))
    return ("nft", "insert", "rule", at.family, at.table, at.chain, *before, text)
