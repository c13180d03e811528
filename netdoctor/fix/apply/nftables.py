"""Edits of nf_tables: rules verbatim, byte for byte, in one batch. Numbers: linux/netfilter/nf_tables.h."""

import errno
import struct
from collections.abc import Sequence

from netdoctor.fix.ruleset_effect import place
from netdoctor.model.change import AddChain, ChainRef, DeleteChain, DeleteRule, InsertRule, ReplaceRule, SetChainPolicy
from netdoctor.model.firewall import Rule
from netdoctor.netlink.wire import NETLINK_NETFILTER, attribute
from netdoctor.observe.nftables import read_chains

from .writer import F_APPEND, F_CREATE, F_REPLACE, Request, Writer

NEWTABLE, DELTABLE, NEWCHAIN, DELCHAIN, NEWRULE, DELRULE = 0, 2, 3, 5, 6, 8
FAMILIES = {"inet": 1, "ip": 2, "arp": 3, "netdev": 5, "bridge": 7, "ip6": 10}
HOOKS = {"prerouting": 0, "input": 1, "forward": 2, "output": 3, "postrouting": 4}
HOOKS_OF = {"arp": {"input": 0, "output": 1}, "netdev": {"ingress": 0, "egress": 1}}
POLICIES = {"drop": 0, "accept": 1}
NESTED = 0x8000
Edit = InsertRule | DeleteRule | ReplaceRule | SetChainPolicy | AddChain | DeleteChain


def edit_nftables(change: Edit, before: Sequence[Request] = ()) -> None:
    """Writes the edit in the calling thread's namespace, all or nothing, after the requests it needs `before`.

    Raises OSError (ENOENT: no such rule).
    """
    with Writer(NETLINK_NETFILTER) as writer:
        writer.send_batch([*before, *_requests(change)])


def _requests(change: Edit) -> list[Request]:
    at = change.at
    match change:
        case InsertRule(rule=rule, line=line):
            return [_insert(at, rule, line)]
        case DeleteRule(rule=rule):
            body = _header(at) + _text(1, at.table) + _text(2, at.chain) + attribute(3, _handle(at, rule))
            return [Request(DELRULE, body)]
        case ReplaceRule(before=old, after=new):
            return [Request(NEWRULE, _rule(at, new) + attribute(3, _handle(at, old)), F_REPLACE)]
        case SetChainPolicy(policy=policy):
            body = _header(at) + _text(1, at.table) + _text(3, at.chain) + attribute(5, _be32(POLICIES[policy]))
            return [Request(NEWCHAIN, body, F_CREATE)]
        case AddChain():
            return [Request(NEWTABLE, _header(at) + _text(1, at.table), F_CREATE), _chain(change)]
        case DeleteChain(with_table=with_table):
            gone = [Request(DELCHAIN, _header(at) + _text(1, at.table) + _text(3, at.chain))]
            return [*gone, Request(DELTABLE, _header(at) + _text(1, at.table))] if with_table else gone


def _header(at: ChainRef) -> bytes:
    return struct.pack("!BBH", FAMILIES[at.family], 0, 0)


def _text(kind: int, value: str) -> bytes:
    return attribute(kind, value.encode() + b"\0")


def _be32(value: int) -> bytes:
    return struct.pack("!i" if value < 0 else "!I", value)


def _rule(at: ChainRef, rule: Rule) -> bytes:
    """NFTA_RULE_{TABLE, CHAIN, EXPRESSIONS, USERDATA, COMPAT} as the rule was dumped or composed."""
    if not rule.raw:
        raise OSError(errno.EINVAL, f"a rule of {at.table} {at.chain} without its bytes cannot be written")
    body = _header(at) + _text(1, at.table) + _text(2, at.chain) + attribute(4 | NESTED, rule.raw)
    if rule.compat:
        body += attribute(5 | NESTED, rule.compat)
    return body + attribute(7, rule.userdata) if rule.userdata else body


def _insert(at: ChainRef, rule: Rule, line: int) -> Request:
    """Line 0 and lines past the end append; line 1 is the head; others go before the rule that has the line now."""
    body = _rule(at, rule)
    if line == 1:
        return Request(NEWRULE, body, F_CREATE)
    rules = present(at) if line else ()
    if not line or line > len(rules):
        return Request(NEWRULE, body, F_CREATE | F_APPEND)
    return Request(NEWRULE, body + attribute(6, struct.pack("!Q", rules[line - 1].handle)), F_CREATE)


def present(at: ChainRef) -> tuple[Rule, ...]:
    """The chain's rules now."""
    return read_chains(at.family, at.table, (at.chain,)).get(at.chain, ())


def _handle(at: ChainRef, rule: Rule) -> bytes:
    """The handle the rule has now: the one it was seen with, if that still is this rule, else found by content."""
    rules = present(at)
    index = place(rules, rule)
    if index is None:
        raise OSError(errno.ENOENT, f"{at.family} {at.table} {at.chain}: the rule is not there")
    return struct.pack("!Q", rules[index].handle)


def _chain(change: AddChain) -> Request:
    at = change.at
    body = _header(at) + _text(1, at.table) + _text(3, at.chain)
    if change.hook:
        number = HOOKS_OF.get(at.family, HOOKS)[change.hook]
        hook = attribute(1, _be32(number)) + attribute(2, _be32(change.priority))
        body += attribute(4 | NESTED, hook) + attribute(5, _be32(POLICIES[change.policy])) + _text(7, change.kind)
    return Request(NEWCHAIN, body, F_CREATE)
