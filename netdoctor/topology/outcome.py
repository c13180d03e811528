"""What building and destroying report."""

import msgspec

from netdoctor.fix.argv import Argv


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """code: 0 done or nothing to do, 1 it did not come out as described and was undone.

    commands: what was done, as a person types it, in order; of a dry run, what would be. notes: what else to know.
    """

    code: int = 0
    commands: tuple[Argv, ...] = ()
    notes: tuple[str, ...] = ()
