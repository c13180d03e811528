"""A snapshot as a file: the question, the kernel's state, and what the probes saw."""

import os
from pathlib import Path

import msgspec

from netdoctor.errors import NetdoctorError
from netdoctor.model.diagnosis import Question
from netdoctor.model.evidence import Evidence
from netdoctor.model.network import Fact
from netdoctor.model.snapshot import Snapshot

FORMAT = "netdoctor-snapshot-1"


class Saved(Fact, frozen=True):
    """What `netdoctor snapshot` writes and `check --from` reads."""

    format: str
    question: Question
    snapshot: Snapshot
    evidence: Evidence | None = None


def write(path: str, saved: Saved) -> None:
    """Writes the file whole or not at all. Raises NetdoctorError."""
    write_text(path, msgspec.json.encode(saved))


def read(path: str) -> Saved:
    """Raises NetdoctorError for a file that cannot be read or is no snapshot."""
    try:
        saved = msgspec.json.decode(Path(path).read_bytes(), type=Saved)
    except OSError as error:
        raise NetdoctorError(f"{path}: {error.strerror}") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise NetdoctorError(f"{path}: not a snapshot of netdoctor: {error}") from error
    if saved.format != FORMAT:
        raise NetdoctorError(f"{path}: snapshot format {saved.format!r}, expected {FORMAT!r}")
    missing = {saved.snapshot.host, saved.snapshot.target} - saved.snapshot.namespaces.keys()
    if missing:
        raise NetdoctorError(f"{path}: the snapshot lacks its own namespaces: {', '.join(sorted(missing))}")
    return saved


def check_writable(path: str) -> None:
    """Asked before anything happens that could then not be told. Raises NetdoctorError where `write_text` would."""
    folder = os.path.dirname(os.path.abspath(path))
    if path in ("-", "/dev/stdout"):
        return
    if os.path.isdir(path):
        raise NetdoctorError(f"{path}: cannot write: it is a directory")
    if not os.path.isdir(folder):
        raise NetdoctorError(f"{path}: cannot write: there is no directory {folder}")
    special = os.path.exists(path) and not os.path.isfile(path)
    if not os.access(path if special else folder, os.W_OK):
        raise NetdoctorError(f"{path}: cannot write: permission denied")


def write_text(path: str, text: str | bytes) -> None:
    """Replaces the file at once: a temporary one in the same folder, then a rename. Raises NetdoctorError.

    text: a large one comes as bytes already, to be held only once.
    """
    if path in ("-", "/dev/stdout"):
        shown = text if isinstance(text, str) else text.decode()
        print(shown, end="" if shown.endswith("\n") else "\n")
        return
    import tempfile

    content = text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
    folder = os.path.dirname(os.path.abspath(path))
    temporary = ""
    try:
        if os.path.exists(path) and not os.path.isfile(path):
            with open(path, "wb") as file:
                file.write(content)
            return
        number, temporary = tempfile.mkstemp(prefix=".netdoctor-", dir=folder)
        with os.fdopen(number, "wb") as file:
            file.write(content)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)
        raise NetdoctorError(f"{path}: cannot write: {error.strerror}") from error
