"""The journal of one transaction: what will be done and how it is undone, on disk before the first change.

A crash leaves a file that says how far it came; `undo` reads it. Kept under /var/lib/netdoctor or $NETDOCTOR_STATE_DIR.
"""

import os
import time
from pathlib import Path
from typing import Literal

import msgspec

from netdoctor.errors import NetdoctorError
from netdoctor.model.change import SetSysctl
from netdoctor.model.snapshot import NamespaceId

from .plan import Plan

STATE_FOLDER = "/var/lib/netdoctor"
STATE_FOLDER_VARIABLE = "NETDOCTOR_STATE_DIR"
Status = Literal["pending", "running", "done", "undone"]


class RawSet(msgspec.Struct, frozen=True, kw_only=True):
    """One anonymous nf_tables set as the kernel dumped it: its attributes, and the payloads of its element lists."""

    name: str
    definition: bytes
    elements: tuple[bytes, ...] = ()


class Remembered(msgspec.Struct, frozen=True, kw_only=True):
    """What was there just before an item ran and no snapshot may hold.

    sysctls: the ones the kernel changes along. alike: how many rules of the chain said the same as the one taken out.
    sets: the anonymous sets that go with a rule.
    """

    sysctls: tuple[SetSysctl, ...] = ()
    alike: int = 0
    sets: tuple[RawSet, ...] = ()


class Journal(msgspec.Struct, kw_only=True):
    """One transaction. `paths`: where each namespace was found; `statuses`: one for each item of the plan.

    remembered: by item number.
    """

    id: str
    host: NamespaceId
    started_utc: str
    purpose: str
    plan: Plan
    statuses: list[Status]
    paths: dict[NamespaceId, str] = {}
    remembered: dict[int, Remembered] = {}
    undone: bool = False

    def mark(self, item: int, status: Status) -> None:
        """Records how far item number `item` is; on disk when this returns."""
        self.statuses[item] = status
        write(self)

    def mark_done(self, item: int) -> None:
        self.mark(item, "done")


def state_folder() -> Path:
    return Path(os.environ.get(STATE_FOLDER_VARIABLE) or STATE_FOLDER)


def folder() -> Path:
    return state_folder() / "journal"


def start(plan: Plan, host: NamespaceId, paths: dict[NamespaceId, str], purpose: str = "") -> Journal:
    """A new journal, fsync'd. Raises NetdoctorError when the folder cannot be written: then nothing may be changed."""
    now = time.time_ns()
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime(now / 1e9))
    journal = Journal(
        id=f"{stamp}-{now % 10**9:09d}",
        host=host,
        started_utc=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now / 1e9)),
        purpose=purpose,
        plan=plan,
        statuses=["pending"] * len(plan.items),
        paths=paths,
    )
    write(journal)
    return journal


def write(journal: Journal) -> None:
    """Replaces the file at once and whole: a reader sees the old or the new one."""
    write_file(folder() / f"{journal.id}.json", msgspec.json.encode(journal))


def write_file(path: Path, content: bytes) -> None:
    """Writes by way of a temporary file in the same folder, fsync'd, mode 0600."""
    temporary = path.with_suffix(".new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise NetdoctorError(
            f"{path}: cannot keep the journal ({error.strerror}), so nothing is changed; "
            f"set ${STATE_FOLDER_VARIABLE} to a folder that can be written"
        ) from error


def discard(journal: Journal) -> None:
    """Forgets a transaction that something else remembers."""
    (folder() / f"{journal.id}.json").unlink(missing_ok=True)


def _sync_folder(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def load(number: str) -> Journal:
    """The journal with this id. Raises NetdoctorError when there is none or it cannot be read."""
    if not number or "/" in number or number.startswith("."):
        raise NetdoctorError(f"{number!r} is not the id of a fix; `netdoctor undo` without one takes the last")
    path = folder() / f"{number}.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=Journal)
    except FileNotFoundError:
        raise NetdoctorError(f"{number}: no such fix under {folder()}") from None
    except (OSError, msgspec.MsgspecError) as error:
        raise NetdoctorError(f"{path}: not a journal that can be read: {error}") from error


def last(host: NamespaceId) -> Journal | None:
    """The newest journal of this host that is not undone; None when there is nothing to undo."""
    try:
        names = sorted((entry.stem for entry in folder().glob("*.json")), reverse=True)
    except OSError as error:
        raise NetdoctorError(f"{folder()}: {error.strerror}") from error
    for name in names:
        journal = load(name)
        if journal.host == host and not journal.undone and any(each != "pending" for each in journal.statuses):
            return journal
    return None
