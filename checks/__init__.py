"""The catalogue: one question a file, asked in this order.

A check declares the kinds of step it answers for (KINDS; each kind belongs to one check), the slugs it names (CAUSES, with
what `netdoctor explain` prints), and `cause(step, snapshot)`: the step told in words with the changes that mend it.
"""

from types import ModuleType

from netdoctor.checks import (
    address,
    conntrack,
    dns,
    firewall,
    forwarding,
    link,
    mtu,
    nat,
    neighbour,
    route,
    transport,
    upstream,
)
from netdoctor.model.diagnosis import Cause
from netdoctor.model.journey import Step
from netdoctor.model.snapshot import Snapshot

ORDER: tuple[ModuleType, ...] = (
    link, address, neighbour, route, forwarding, firewall, nat, conntrack, mtu, upstream, dns, transport,
)  # fmt: skip


def check_of(kind: str) -> ModuleType:
    """The check that answers for this kind of step. Raises LookupError for a kind that none declares."""
    for check in ORDER:
        if kind in check.KINDS:
            return check
    raise LookupError(kind)


def cause_of(step: Step, snapshot: Snapshot) -> Cause:
    """The step's fault in words and changes."""
    found: Cause = check_of(step.kind).cause(step, snapshot)
    return found


def warnings_of(snapshot: Snapshot) -> tuple[Cause, ...]:
    """What the checks find odd in the snapshot by themselves, whatever became of the packet."""
    return tuple(warning for check in ORDER if hasattr(check, "warnings") for warning in check.warnings(snapshot))


def explanation(slug: str) -> tuple[ModuleType, str] | None:
    """The check that names this slug and what the slug means."""
    return next(((check, check.CAUSES[slug]) for check in ORDER if slug in check.CAUSES), None)
