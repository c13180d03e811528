"""Rulesets: nf_tables (native and as iptables-nft writes it) and legacy xtables, as one shape.

A rule is a sequence of expressions. A legacy rule is the same: its ip header test, its matches, its target.
"""

from functools import cached_property
from typing import Literal

from .expression import AnyExpression, Expression, Opaque, VerdictCode
from .network import Fact
from .unknown import UNREAD, Unknown

__all__ = [
    "AnyExpression", "Backend", "Chain", "Expression", "IpSet", "Opaque", "Rule", "Ruleset", "Set", "SetElement",
    "Table", "TableFamily",
]  # fmt: skip

Backend = Literal["nft", "iptables-nft", "iptables-legacy"]
TableFamily = Literal["ip", "ip6", "inet", "arp", "bridge", "netdev"]


class Rule(Fact, frozen=True):
    """One rule. `handle` for nf_tables, `line` (1-based within its chain) for both; packets is None without a counter.

    raw: the payload of NFTA_RULE_EXPRESSIONS, or the legacy rule's whole struct ipt_entry or ip6t_entry;
    userdata, compat: the payloads of NFTA_RULE_USERDATA and NFTA_RULE_COMPAT. With them a rule goes back verbatim.
    """

    handle: int = 0
    line: int = 0
    expressions: tuple[AnyExpression, ...] = ()
    comment: str = ""
    raw: bytes = b""
    userdata: bytes = b""
    compat: bytes = b""
    packets: int | None = None
    bytes: int | None = None


class Chain(Fact, frozen=True):
    """One chain. A base chain has `hook`; legacy built-in chains have theirs and the table's fixed priority.

    type: filter, nat or route. devices: only ingress and egress chains have them.
    """

    name: str
    handle: int = 0
    hook: str = ""
    type: str = ""
    priority: int = 0
    policy: str = "accept"
    devices: tuple[str, ...] = ()
    rules: tuple[Rule, ...] | Unknown = UNREAD


class SetElement(Fact, frozen=True):
    """One element. key_end: the inclusive end of a concatenated interval; interval_end: the key is the first one past a
    plain interval; value, verdict and chain: what a map maps to; catchall has no key."""

    key: bytes = b""
    key_end: bytes = b""
    interval_end: bool = False
    catchall: bool = False
    value: bytes = b""
    verdict: VerdictCode | Literal[""] = ""
    chain: str = ""
    object: str = ""
    timeout_ms: int = 0
    expires_ms: int = 0
    comment: str = ""
    expressions: tuple[AnyExpression, ...] = ()


class Set(Fact, frozen=True):
    """One nf_tables set or map. key_type is nft's own number; fields: the lengths of a concatenation's parts in bytes.

    flags: anonymous, constant, interval, map, timeout, eval, object, concat, expr.
    object_type: what a map to objects maps to, NFT_OBJECT_*; size: how many elements fit, 0 for any number; expressions:
    what each element gets that a rule adds.
    answers: a key in hex digits -> what the kernel found for it, while the elements are not read: one or none.
    """

    name: str
    handle: int = 0
    flags: tuple[str, ...] = ()
    key_type: int = 0
    key_length: int = 0
    value_type: int = 0
    value_length: int = 0
    fields: tuple[int, ...] = ()
    object_type: int = 0
    size: int = 0
    expressions: tuple[AnyExpression, ...] = ()
    elements: tuple[SetElement, ...] | Unknown = UNREAD
    answers: dict[str, tuple[SetElement, ...] | Unknown] = {}


class IpSet(Fact, frozen=True):
    """One ipset. type: "hash:ip" ...; members as `ipset save` prints them, "10.0.0.0/8,tcp:80"; "!" before nomatch.

    mark_mask: the bits of packets' marks that a hash:ip,mark looks at.
    """

    index: int
    name: str = ""
    type: str = ""
    family: Literal["ip", "ip6", ""] = ""
    members: tuple[str, ...] | Unknown = UNREAD
    mark_mask: int = 0xFFFFFFFF


class Table(Fact, frozen=True, dict=True):
    """One table of one backend. dormant: its base chains are not hooked. owned: only the program that made it may change it."""

    backend: Backend
    family: TableFamily
    name: str
    handle: int = 0
    dormant: bool = False
    owned: bool = False
    chains: tuple[Chain, ...] = ()
    sets: tuple[Set, ...] = ()

    @cached_property
    def base_chains(self) -> tuple[Chain, ...]:
        """The chains that hang in a hook."""
        return tuple(chain for chain in self.chains if chain.hook)

    def chain(self, name: str) -> Chain | None:
        return self._chains.get(name)

    def set(self, name: str) -> Set | None:
        return self._sets.get(name)

    @cached_property
    def _chains(self) -> dict[str, Chain]:
        return {chain.name: chain for chain in self.chains}

    @cached_property
    def _sets(self) -> dict[str, Set]:
        return {each.name: each for each in self.sets}


class Ruleset(Fact, frozen=True):
    """Every table of a namespace, nf_tables and legacy, in the kernel's order; the ipsets that rules refer to."""

    tables: tuple[Table, ...] | Unknown = UNREAD
    ipsets: tuple[IpSet, ...] | Unknown = UNREAD
