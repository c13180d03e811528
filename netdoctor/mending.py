"""`fix` and `undo`: plan what the diagnosis prescribes, apply it under a journal, look again, undo it if that did not help."""

import os
import time
from typing import NamedTuple

from netdoctor.errors import NetdoctorError
from netdoctor.examination import Examination, Examined
from netdoctor.fix import journal as journals
from netdoctor.fix.argv import Argv
from netdoctor.fix.plan import Plan, make_plan
from netdoctor.fix.transaction import RolledBack, reopen, roll_back, run
from netdoctor.model.change import Change

VERIFY_TRIES, VERIFY_PAUSE_S = 3, 0.4


class Mended(NamedTuple):
    """What a repair came to. applied, undo: commands; journal: the id `netdoctor undo` takes."""

    fixed: bool
    applied: tuple[Argv, ...] = ()
    undo: tuple[Argv, ...] = ()
    journal: str = ""
    after: Examined | None = None
    rolled_back: RolledBack | None = None


def prescribed(found: Examined) -> Plan:
    """The plan that the causes ask for together; empty where the packet would still die: then nothing is touched."""
    changes: list[Change] = [change for cause in found.diagnosis.causes for change in cause.changes]
    return make_plan(changes, found.snapshot) if changes and found.mended else Plan()


def mend(examination: Examination, found: Examined, plan: Plan) -> Mended:
    """Applies the plan and probes again; rolls everything back when the question still fails."""
    handles = {key: handle.fd for key, handle in examination.observer.handles.items()}
    paths = {key: handle.path for key, handle in examination.observer.handles.items()}
    journal = journals.start(plan, found.snapshot.host, paths, f"fix {found.case.question.target}")
    applied = run(plan, handles, journal)
    try:
        after = verified(examination)
    except BaseException:
        roll_back(journal, handles)
        raise
    if after.diagnosis.verdict in ("pass", "warn"):
        return Mended(True, applied, plan.undo_commands, journal.id, after)
    return Mended(False, applied, plan.undo_commands, journal.id, after, roll_back(journal, handles))


def verified(examination: Examination) -> Examined:
    """Looks again, patiently: after a link comes up the first packets may still get lost."""
    after = examination.run()
    for _ in range(VERIFY_TRIES - 1):
        if after.diagnosis.verdict in ("pass", "warn"):
            break
        time.sleep(VERIFY_PAUSE_S)
        after = examination.run()
    return after


def undo(number: str) -> tuple[str, RolledBack]:
    """Rolls back the last fix on this host, or the one with this id. Raises NetdoctorError when there is none."""
    from netdoctor.target import resolve

    host = resolve("host")
    if journals.folder().exists() and not os.access(journals.folder(), os.R_OK | os.X_OK):
        raise NetdoctorError(f"{journals.folder()}: permission denied; run netdoctor as root")
    try:
        journal = journals.load(number) if number else journals.last(host.id)
    finally:
        host.close()
    if journal is None:
        return "", RolledBack()
    if number and journal.host != host.id:
        raise NetdoctorError(f"{number}: that fix was made on another host namespace; run undo there")
    handles = reopen(journal)
    return journal.id, roll_back(journal, handles)
