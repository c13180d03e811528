"""Netfilter as the kernel runs it: which chains a hook has, what they do to a packet, and how their rules read."""

from .encode import CannotEncode, encode_expressions
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
from .rule_spec import amended, compat_of, compose
from .text import chain_text, rule_text
from .traverse import evaluate

__all__ = [
    "BaseChain", "Binding", "CannotEncode", "ChainResult", "Doubt", "HookFacts", "Miss", "NatMiss", "RuleRef",
    "RuleSpec", "RulesetNeed", "amended", "base_chains", "chain_text", "compat_of", "compose", "encode_expressions",
    "evaluate", "explain_nat_misses", "rule_text",
]  # fmt: skip
