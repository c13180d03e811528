"""Names of network namespaces under /run/netns, made and unmade as `ip netns add` and `ip netns del` do.

A name is a bind mount, seen only in mount namespaces that mounts reach. `ip netns exec HOST netdoctor ...` runs in a
private one: names are then made in the mount namespace outside, found among the ancestors of this process.
"""

import ctypes
import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from netdoctor.errors import NetdoctorError
from netdoctor.target import NETNS_FOLDER

CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000
MS_BIND, MS_REC, MS_SHARED, MNT_DETACH = 0x1000, 0x4000, 0x100000, 2

_libc = ctypes.CDLL(None, use_errno=True)


def check_name(name: str) -> None:
    """Raises NetdoctorError for what cannot be a name under /run/netns."""
    if not name or "/" in name or name in (".", "..") or name.startswith("-") or not name.isprintable():
        raise NetdoctorError(f"{name!r} is no name for a network namespace")


def path_of(name: str) -> str:
    return f"{NETNS_FOLDER}/{name}"


def make(name: str) -> str:
    """Makes a network namespace with this name; returns a note where the name will not be seen outside, else "".

    Raises NetdoctorError when the name is taken or permission is missing.
    """
    outside, note = _where()
    _in_child(outside, lambda: _make_here(name))
    if not Path(path_of(name)).exists():
        note = note or f"the name {name} is not seen under {NETNS_FOLDER} from here"
    return note


def unmake(name: str) -> None:
    """Takes the name away; the namespace ends when no process is left in it. No error when there is none."""
    outside, _ = _where()
    _in_child(outside, lambda: _unmake_here(name))


def _make_here(name: str) -> None:
    folder, path = Path(NETNS_FOLDER), path_of(name)
    folder.mkdir(parents=True, exist_ok=True)
    _share(NETNS_FOLDER)
    os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0))
    try:
        _check(_libc.unshare(CLONE_NEWNET))
        _mount("/proc/self/ns/net", path, MS_BIND)
    except OSError:
        os.unlink(path)
        raise


def _unmake_here(name: str) -> None:
    path = path_of(name)
    if _libc.umount2(path.encode(), MNT_DETACH) != 0 and ctypes.get_errno() not in (errno.EINVAL, errno.ENOENT):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    Path(path).unlink(missing_ok=True)


def _share(folder: str) -> None:
    """Makes the folder a shared mount point, so that names reach mount namespaces made later."""
    try:
        _mount("", folder, MS_SHARED | MS_REC)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        _mount(folder, folder, MS_BIND | MS_REC)
        _mount("", folder, MS_SHARED | MS_REC)


def _mount(source: str, target: str, flags: int) -> None:
    _check(_libc.mount(source.encode(), target.encode(), b"none", ctypes.c_ulong(flags), None))


def _check(result: int) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _where() -> tuple[int | None, str]:
    """(fd of the mount namespace to act in, None for this one; a note when the name may stay private)."""
    masters = _masters("/proc/self/mountinfo")
    if not masters:
        return None, ""
    here = os.readlink("/proc/self/ns/mnt")
    for process in _outer_processes():
        try:
            if os.readlink(f"/proc/{process}/ns/mnt") == here:
                continue
            if masters & _peers(f"/proc/{process}/mountinfo"):
                return os.open(f"/proc/{process}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC), ""
        except OSError:
            continue
    return (
        None,
        "this process has its own mounts (as under `ip netns exec`): the name is seen by it and its children only",
    )


def _covering(mountinfo: str) -> list[str]:
    """The optional fields of the mount that holds /run/netns: "shared:12", "master:12" (proc_pid_mountinfo(5))."""
    best: tuple[int, list[str]] = (-1, [])
    with open(mountinfo, encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            words = line.split()
            point = words[4].encode().decode("unicode_escape", "replace")
            inside = point in ("/", NETNS_FOLDER) or NETNS_FOLDER.startswith(point.rstrip("/") + "/")
            if inside and len(point) >= best[0]:
                best = (len(point), words[6 : words.index("-")])
    return best[1]


def _masters(mountinfo: str) -> set[str]:
    """The peer groups this /run/netns only listens to; empty when what is mounted here is seen outside."""
    fields = _covering(mountinfo)
    if any(field.startswith("shared:") for field in fields):
        return set()
    return {field.partition(":")[2] for field in fields if field.startswith(("master:", "propagate_from:"))}


def _peers(mountinfo: str) -> set[str]:
    return {field.partition(":")[2] for field in _covering(mountinfo) if field.startswith("shared:")}


def _outer_processes() -> Iterator[int]:
    """The first process, then this one's ancestors, nearest first."""
    yield 1
    process = os.getppid()
    while process > 1:
        yield process
        try:
            process = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            return


def _in_child(mount_namespace: int | None, act: Callable[[], None]) -> None:
    """Runs `act` in a child process, which may leave our mount and network namespaces; its OSError comes back."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        code = 0
        try:
            if mount_namespace is not None:
                _check(_libc.setns(mount_namespace, CLONE_NEWNS))
            act()
        except OSError as error:
            code = 1
            os.write(writing, f"{error.errno or 0} {error.strerror or error}".encode())
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read().decode()
    os.waitpid(child, 0)
    if mount_namespace is not None:
        os.close(mount_namespace)
    if said:
        number, _, words = said.partition(" ")
        raise OSError(int(number), words)
