"""Rulesets: nf_tables (native and as iptables-nft writes it) and legacy xtables, as one shape.

A rule is a sequence of expressions. A legacy rule is the same: its ip header test, its matches, its target.
"""

from typing import Literal

from .network import Fact
from .unknown import UNREAD, Unknown

Backend = Literal["nft", "iptables-nft", "iptables-legacy"]
TableFamily = Literal["ip", "ip6", "inet", "arp", "bridge", "netdev"]


class Expression(Fact, tag_field="is"):
    """Base of what a rule is made of; the subclasses stand below, each tagged with the kernel's name."""


class Opaque(Expression, tag="opaque"):
    """An expression, match or target we cannot read: the rule's outcome is Unknown, never a guess."""

    name: str
    revision: int = 0
    raw: bytes = b""


AnyExpression = Opaque


class Rule(Fact):
    """One rule. `handle` for nf_tables, `line` (1-based within its chain) for both; packets is None without a counter."""

    handle: int = 0
    line: int = 0
    expressions: tuple[AnyExpression, ...] = ()
    comment: str = ""
    packets: int | None = None
    bytes: int | None = None


class Chain(Fact):
    """One chain. A base chain has `hook`; legacy built-in chains have theirs and the table's fixed priority."""

    name: str
    handle: int = 0
    hook: str = ""
    type: str = ""
    priority: int = 0
    policy: str = "accept"
    devices: tuple[str, ...] = ()
    rules: tuple[Rule, ...] | Unknown = UNREAD


class Set(Fact):
    """One nf_tables set or map."""

    name: str
    elements: tuple[str, ...] | Unknown = UNREAD


class Table(Fact):
    """One table of one backend."""

    backend: Backend
    family: TableFamily
    name: str
    handle: int = 0
    chains: tuple[Chain, ...] = ()
    sets: tuple[Set, ...] = ()


class Ruleset(Fact):
    """Every table of a namespace, nf_tables and legacy."""

    tables: tuple[Table, ...] | Unknown = UNREAD
