"""Netfilter as the kernel runs it: which chains a hook has, what they do to a packet, and how their rules read.

What only a fault needs (explaining, composing) is loaded when it is first asked for.
"""

from typing import TYPE_CHECKING

from .compat import compat_of
from .conntrack_view import TEMPLATE
from .hooks import NAT_PRIORITY, base_chains
from .result import (
    Assumption,
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

if TYPE_CHECKING:
    from .encode import CannotEncode, encode_expressions
    from .explain import explain_nat_misses
    from .queue_rule import bypassing
    from .rule_spec import amended, compose
    from .worlds import outcomes

__all__ = [
    "NAT_PRIORITY", "TEMPLATE",
    "Assumption", "BaseChain", "Binding", "CannotEncode", "ChainResult", "Doubt", "HookFacts", "Miss", "NatMiss", "RuleRef",
    "RuleSpec", "RulesetNeed", "amended", "base_chains", "bypassing", "chain_text", "compat_of", "compose", "encode_expressions",
    "evaluate", "explain_nat_misses", "outcomes", "rule_text",
]  # fmt: skip

_LATER = {
    "CannotEncode": "encode",
    "encode_expressions": "encode",
    "explain_nat_misses": "explain",
    "amended": "rule_spec",
    "bypassing": "queue_rule",
    "compose": "rule_spec",
    "outcomes": "worlds",
}


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_LATER[name]}"), name)
