"""Netfilter as the kernel runs it: which chains a hook has, what they do to a packet, and how their rules read."""

from .explain import explain_nat_misses
from .hooks import base_chains
from .result import (
    BaseChain,
    Binding,
    ChainResult,
    Doubt,
    HookFacts,
    Miss,
    NatMiss,
    RuleRef,
    RulesetNeed,
    RuleSpec,
)
from .text import chain_text, rule_text
from .traverse import evaluate

__all__ = [
    "BaseChain", "Binding", "ChainResult", "Doubt", "HookFacts", "Miss", "NatMiss", "RuleRef", "RuleSpec",
    "RulesetNeed", "base_chains", "chain_text", "evaluate", "explain_nat_misses", "rule_text",
]  # fmt: skip
