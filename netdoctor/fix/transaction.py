"""Plans run step by step under a journal: all of it or, on an error, nothing; and undone later on request."""

import errno
import glob
from collections.abc import Iterable, Mapping

import msgspec

from netdoctor.errors import NetdoctorError
from netdoctor.model.change import ChainRef, Change, DeleteRule, InsertRule, ReplaceRule, SetLink, SetSysctl
from netdoctor.model.firewall import Rule
from netdoctor.model.snapshot import NamespaceId
from netdoctor.netlink.inside import Worker

from . import journal as journals
from .apply import apply, read_sysctl
from .argv import Argv
from .journal import Journal, RawSet, Remembered
from .plan import Item, Plan
from .ruleset_effect import same_content
from .sysctl_effect import derived

ALREADY = (
    errno.EEXIST,
    errno.ENOENT,
    errno.ESRCH,
    errno.EADDRNOTAVAIL,
    errno.EADDRINUSE,
)


class Unrestored(msgspec.Struct, frozen=True, kw_only=True):
    """One change of an undo that could not be made, with the command that stands for it and why."""

    change: Change
    command: tuple[Argv, ...]
    why: str


class RolledBack(msgspec.Struct, frozen=True, kw_only=True):
    """What an undo did: commands in the order they ran, what stood already, what it could not put back."""

    commands: tuple[Argv, ...] = ()
    already: tuple[Argv, ...] = ()
    unrestored: tuple[Unrestored, ...] = ()

    @property
    def complete(self) -> bool:
        return not self.unrestored


def run(plan: Plan, handles: Mapping[NamespaceId, int], journal: Journal) -> tuple[Argv, ...]:
    """Applies the plan and returns the commands it stands for.

    On any error the steps that were done are undone in reverse, and the error is raised again; a NetdoctorError tells
    what could not be put back.
    """
    worker = Worker()
    try:
        for number, item in enumerate(plan.items):
            _remember(journal, number, item, handles, worker)
            _apply_item(number, item, handles, worker, journal)
    except BaseException as error:
        result = roll_back(journal, handles)
        if not result.complete:
            left = "; ".join(f"{each.change}: {each.why}" for each in result.unrestored)
            raise NetdoctorError(f"{error}; and undoing it left: {left}") from error
        raise
    finally:
        worker.close()
    return plan.commands


def _apply_item(number: int, item: Item, handles: Mapping[NamespaceId, int], worker: Worker, journal: Journal) -> None:
    """One item. What the kernel refused did not happen, so its inverse must not run; a link may be half set."""
    journal.mark(number, "running")
    try:
        apply(item.change, handles, worker)
    except (OSError, NetdoctorError) as error:
        if not isinstance(item.change, SetLink):
            journal.mark(number, "pending")
        command = "; ".join(" ".join(each) for each in item.typed)
        why = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
        raise NetdoctorError(f"{command}: {why}") from error
    journal.mark_done(number)


def _remember(journal: Journal, number: int, item: Item, handles: Mapping[NamespaceId, int], worker: Worker) -> None:
    """Notes what the item will take along and the snapshot may not have read, as it is now."""
    change = item.change
    fd = handles.get(change.namespace)
    if fd is None:
        return
    match change:
        case SetSysctl(key=key):
            found = worker.run(fd, lambda: _sysctls_like(key))
            sysctls = (SetSysctl(namespace=change.namespace, key=name, value=value) for name, value in found.items())
            journal.remembered[number] = Remembered(sysctls=tuple(sysctls))
        case DeleteRule(at=at, rule=rule) | ReplaceRule(at=at, before=rule):
            journal.remembered[number] = worker.run(fd, lambda: _rule_as_it_is(at, rule))
        case _:
            return
    journals.write(journal)


def _rule_as_it_is(at: ChainRef, rule: Rule) -> Remembered:
    from .apply import anonymous_sets

    sets = anonymous_sets.read_raw(at, anonymous_sets.names_in(rule)) if at.backend == "nft" else ()
    return Remembered(alike=_alike(at, rule), sets=sets)


def _alike(at: ChainRef, rule: Rule) -> int:
    """How many rules of the chain say the same, in the calling thread's namespace."""
    if at.backend == "iptables-legacy":
        from .apply.xtables import present
    else:
        from .apply.nftables import present
    return sum(same_content(other, rule) for other in present(at))


def _sysctls_like(key: str) -> dict[str, str]:
    """`key` itself and every key its write changes, with their values."""
    pattern = derived(key)
    paths = glob.glob(f"/proc/sys/{pattern}") if pattern else []
    keys = [key, *sorted(path.removeprefix("/proc/sys/") for path in paths)]
    return {each: read_sysctl(each) for each in keys}


def roll_back(journal: Journal, handles: Mapping[NamespaceId, int]) -> RolledBack:
    """Undoes what the journal says was done, from the last step to the first. Safe to repeat.

    A step found as it was before is skipped; one that cannot be put back is reported and the others go on.
    """
    worker = Worker()
    commands: list[Argv] = []
    already: list[Argv] = []
    unrestored: list[Unrestored] = []
    try:
        for number in range(len(journal.plan.items) - 1, -1, -1):
            if journal.statuses[number] not in ("running", "done"):
                continue
            failed = False
            for change, command in _undo_steps(journal, number):
                why = _undo(change, journal.remembered.get(number, Remembered()), handles, worker)
                if why is None:
                    commands += command
                elif why == "":
                    already += command
                else:
                    unrestored.append(Unrestored(change=change, command=command, why=why))
                    failed = True
            if not failed:
                journal.mark(number, "undone")
    finally:
        worker.close()
    journal.undone = not unrestored
    journals.write(journal)
    return RolledBack(commands=tuple(commands), already=tuple(already), unrestored=tuple(unrestored))


def _undo_steps(journal: Journal, number: int) -> Iterable[tuple[Change, tuple[Argv, ...]]]:
    """The inverse of one item with its commands, then the sysctls that went along with it."""
    item = journal.plan.items[number]
    remembered = journal.remembered.get(number, Remembered()).sysctls
    keys = {(each.namespace, each.key) for each in remembered}
    for undo in item.undo:
        change = undo.change
        if not (isinstance(change, SetSysctl) and (change.namespace, change.key) in keys):
            yield change, undo.typed
    for change in remembered:
        name = change.key if "." in change.key else change.key.replace("/", ".")
        yield change, (("sysctl", "-w", f"{name}={change.value}"),)


def _undo(change: Change, remembered: Remembered, handles: Mapping[NamespaceId, int], worker: Worker) -> str | None:
    """None when it was put back, "" when it stood so already, else why it could not be."""
    fd = handles.get(change.namespace)
    if fd is None:
        return "its namespace is gone"
    try:
        if worker.run(fd, lambda: _stands(change, remembered)):
            return ""
        if remembered.sets and isinstance(change, InsertRule):
            worker.run(fd, lambda: _insert_with_sets(change, remembered.sets))
        else:
            apply(change, handles, worker)
    except OSError as error:
        return "" if error.errno in ALREADY else (error.strerror or str(error))
    except NetdoctorError as error:
        return str(error)
    return None


def _stands(change: Change, remembered: Remembered) -> bool:
    """True when what an undo wants is so already, in the calling thread's namespace."""
    match change:
        case SetSysctl(key=key, value=value):
            return read_sysctl(key) == value
        case InsertRule(at=at, rule=rule) if remembered.alike:
            return _alike(at, rule) >= remembered.alike
        case _:
            return False


def _insert_with_sets(change: InsertRule, sets: tuple[RawSet, ...]) -> None:
    from .apply.anonymous_sets import remaking
    from .apply.nftables import edit_nftables

    edit_nftables(change, remaking(change.at, sets))


def reopen(journal: Journal) -> dict[NamespaceId, int]:
    """Open fds of the journal's namespaces, found by identity wherever they are now; lost ones are missing."""
    import os

    from netdoctor.target import identity, visible

    wanted = {*journal.paths, journal.host}
    paths = [*journal.paths.values(), "/proc/thread-self/ns/net"]
    found: dict[NamespaceId, int] = {}
    for path in [*paths, *(path for path, _ in visible())]:
        if wanted <= found.keys():
            break
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            continue
        name = identity(fd)
        if name in wanted and name not in found:
            found[name] = fd
        else:
            os.close(fd)
    return found
