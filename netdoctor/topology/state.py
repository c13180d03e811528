"""What `build` made, on disk, so that `destroy` takes away exactly that: one file a container."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec

from netdoctor.errors import NetdoctorError
from netdoctor.fix.journal import state_folder, write_file
from netdoctor.model.change import Change
from netdoctor.model.snapshot import NamespaceId

from .described import Described

Scope = Literal["own", "bridge", "host"]


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What undoes one change, and with whom it goes: this container, the last on its bridge, the last of the host."""

    scope: Scope
    undo: Change


class Built(msgspec.Struct, frozen=True, kw_only=True):
    """One container as built. bridge_made: the bridge is ours, and goes with the last container on it."""

    name: str
    host: NamespaceId
    namespace: NamespaceId
    wanted: Described
    bridge_made: bool = False
    records: tuple[Record, ...] = ()


def folder() -> Path:
    return state_folder() / "topology"


def _path(host: NamespaceId, name: str) -> Path:
    return folder() / f"{host.replace(':', '-')}-{name}.json"


def save(built: Built) -> None:
    """On disk when this returns. Raises NetdoctorError when it cannot be kept."""
    write_file(_path(built.host, built.name), msgspec.json.encode(built))


def load(host: NamespaceId, name: str) -> Built | None:
    """What was built under this name on this host; None when nothing was."""
    path = _path(host, name)
    try:
        return msgspec.json.decode(path.read_bytes(), type=Built)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        raise NetdoctorError(f"{path}: not a state file that can be read: {error}") from error


def forget(built: Built) -> None:
    _path(built.host, built.name).unlink(missing_ok=True)


def others(host: NamespaceId, name: str) -> Iterator[Built]:
    """The other containers built on this host."""
    prefix = f"{host.replace(':', '-')}-"
    for path in sorted(folder().glob("*.json")):
        other = path.stem.removeprefix(prefix)
        if path.stem.startswith(prefix) and other != name:
            built = load(host, other)
            if built is not None:
                yield built
