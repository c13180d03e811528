"""A rule that hands packets to a queue, made to let them pass while nobody listens there."""

import msgspec

from netdoctor.model import expression as e
from netdoctor.model.firewall import Rule

from .encode import CannotEncode, encode_expressions
from .legacy_entry import encode_entry

BYPASS = 1
FIRST_REVISION_WITH_BYPASS = 2
PLACE_OF_FLAGS = 4


def bypassing(rule: Rule) -> Rule | None:
    """The rule with its bypass flag set (xt_NFQUEUE revisions 2 and 3, nft_queue); None where it has no such flag."""
    if not rule.expressions:
        return None
    *before, last = rule.expressions
    new: e.AnyExpression
    match last:
        case e.XtTarget(name="NFQUEUE", revision=revision, info=info) if revision >= FIRST_REVISION_WITH_BYPASS:
            flags = info[PLACE_OF_FLAGS] | BYPASS
            new = msgspec.structs.replace(
                last, info=info[:PLACE_OF_FLAGS] + bytes([flags]) + info[PLACE_OF_FLAGS + 1 :]
            )
        case e.Queue(flags=flags):
            new = msgspec.structs.replace(last, flags=flags | BYPASS)
        case _:
            return None
    expressions = (*before, new)
    try:
        legacy = isinstance(expressions[0], e.XtHeader)
        raw = encode_entry(expressions) if legacy else encode_expressions(expressions)
    except CannotEncode:
        return None
    return msgspec.structs.replace(rule, handle=0, expressions=expressions, raw=raw)
