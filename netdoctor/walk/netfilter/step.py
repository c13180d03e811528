"""One expression at a time: which function runs which."""

from collections.abc import Callable
from typing import Any

from netdoctor.model import expression as e

from . import comparisons, conntrack_view, header_bytes, loads, metadata, statements
from .state import Outcome, State
from .xt_header import header
from .xt_match import match
from .xt_target import target


def nothing(state: State, expression: object) -> Outcome:
    """Counts, logs or copies: the packet goes on."""
    return True


# Any: each function takes its own expression type, which the key of the table states.
STEPS: dict[type, Callable[[State, Any], Outcome]] = {
    e.XtHeader: header, e.XtMatch: match, e.XtTarget: target, e.Verdict: statements.verdict,
    e.Immediate: loads.immediate, e.Meta: metadata.meta, e.Payload: header_bytes.payload, e.Ct: conntrack_view.ct,
    e.Fib: loads.fib, e.Rt: loads.rt, e.SocketLookup: loads.socket_lookup, e.Numgen: loads.numgen,
    e.Hash: loads.numgen, e.Exthdr: loads.exthdr, e.Cmp: comparisons.cmp, e.Range: comparisons.within,
    e.Bitwise: comparisons.bitwise, e.Byteorder: comparisons.byteorder, e.Lookup: comparisons.lookup,
    e.Limit: comparisons.counting, e.Quota: comparisons.counting, e.Connlimit: comparisons.counting,
    e.Counter: nothing, e.Last: nothing, e.Log: nothing, e.Dup: nothing, e.Reject: statements.reject,
    e.Nat: statements.nat, e.Masquerade: statements.masquerade, e.Redirect: statements.masquerade,
    e.Notrack: statements.notrack, e.Queue: statements.queue, e.MetaSet: statements.meta_set,
    e.PayloadSet: header_bytes.payload_set, e.CtSet: conntrack_view.ct_set, e.Objref: statements.objref,
    e.Dynset: statements.dynset, e.Tproxy: statements.tproxy, e.Forward: statements.steals,
    e.Synproxy: statements.steals, e.FlowOffload: nothing, e.Xfrm: loads.xfrm, e.Osf: loads.osf,
    e.Opaque: statements.opaque,
}  # fmt: skip


def step(state: State, expression: e.AnyExpression) -> Outcome:
    """Runs one expression on the state."""
    return STEPS[type(expression)](state, expression)
