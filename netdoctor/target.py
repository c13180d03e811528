"""What a person calls a namespace -> an open file descriptor. A typo never creates a namespace."""

import errno
import fcntl
import os

from netdoctor.errors import NetdoctorError

NETNS_FOLDER = "/run/netns"
NS_GET_NSTYPE = 0xB703
CLONE_NEWNET = 0x40000000


class Handle:
    """An open network namespace: `fd` keeps it alive, `id` (device:inode) is its identity, whatever its names."""

    __slots__ = ("fd", "id", "name", "path")

    def __init__(self, fd: int, name: str, path: str) -> None:
        self.fd = fd
        self.name = name
        self.path = path
        self.id = identity(fd)

    def close(self) -> None:
        os.close(self.fd)


def identity(fd: int) -> str:
    status = os.fstat(fd)
    return f"{status.st_dev}:{status.st_ino}"


def resolve(target: str) -> Handle:
    """`host`, a name under /run/netns, `netns:NAME`, `pid:N` or `path:/...` -> its handle.

    Raises NetdoctorError: no such namespace, a file that is none, no permission.
    """
    kind, _, rest = target.partition(":")
    if target == "host":
        return _open("/proc/thread-self/ns/net", "host")
    if kind == "pid":
        if not rest.isdigit():
            raise NetdoctorError(f"{target}: a process id is a number, as in pid:4242")
        return _open(f"/proc/{rest}/ns/net", target)
    if kind == "path":
        if not rest.startswith("/"):
            raise NetdoctorError(f"{target}: an absolute path is needed, as in path:/run/netns/ns1")
        return _open(rest, target)
    name = rest if kind == "netns" and rest else target
    if not name or "/" in name or name in (".", ".."):
        raise NetdoctorError(f"{target!r}: a namespace is a name under {NETNS_FOLDER}, pid:N or path:/...")
    return _open(f"{NETNS_FOLDER}/{name}", name)


def _open(path: str, name: str) -> Handle:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise NetdoctorError(_why_not(path, name, error)) from error
    try:
        kind = fcntl.ioctl(fd, NS_GET_NSTYPE)
    except OSError:
        kind = 0
    if kind != CLONE_NEWNET:
        os.close(fd)
        raise NetdoctorError(
            f"{name}: {path} is not a network namespace. If it was made in another mount namespace, "
            "name it by a process in it: pid:N"
        )
    return Handle(fd, name, path)


def _why_not(path: str, name: str, error: OSError) -> str:
    if error.errno == errno.ENOENT:
        if name.startswith("pid:"):
            return f"{name}: no such process"
        known = ", ".join(named()[:8])
        return f"{name}: no such network namespace ({path} does not exist); there are: {known or 'none'}"
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{name}: {path}: permission denied; run netdoctor as root"
    return f"{name}: {path}: {error.strerror}"


def named() -> list[str]:
    """The names under /run/netns, sorted."""
    try:
        return sorted(os.listdir(NETNS_FOLDER))
    except OSError:
        return []


def visible() -> list[tuple[str, str]]:
    """(path, name) of every namespace this machine shows: named ones first, then those of processes, each once.

    Two processes in one namespace share its inode; the lowest pid stands for it.
    """
    found = [(f"{NETNS_FOLDER}/{name}", name) for name in named()]
    seen: set[str] = set()
    for entry in sorted(int(entry) for entry in os.listdir("/proc") if entry.isdigit()):
        path = f"/proc/{entry}/ns/net"
        try:
            link = os.readlink(path)
        except OSError:
            continue
        if link not in seen:
            seen.add(link)
            found.append((path, f"pid:{entry}"))
    return found
