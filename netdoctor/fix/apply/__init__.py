"""`apply(change, handles)`: a Change written to the kernel, in its namespace. Nothing else writes configuration."""

from collections.abc import Callable, Mapping

from netdoctor.errors import NetdoctorError
from netdoctor.model.change import (
    AddChain,
    AddQdisc,
    AddXfrmPolicy,
    Change,
    DeleteChain,
    DeleteQdisc,
    DeleteRule,
    DeleteXfrmPolicy,
    FlushRouteCache,
    InsertRule,
    ReplaceRule,
    SetChainPolicy,
    SetSysctl,
)
from netdoctor.model.snapshot import NamespaceId
from netdoctor.netlink.inside import Worker


def apply(change: Change, handles: Mapping[NamespaceId, int], worker: Worker | None = None) -> None:
    """Writes one change. `handles`: namespace id -> open namespace fd.

    Raises OSError with the kernel's errno (FileExistsError: what it adds is there; FileNotFoundError,
    ProcessLookupError: what it deletes is not), NetdoctorError when it cannot be written at all.
    """
    fd = handles.get(change.namespace)
    if fd is None:
        raise NetdoctorError(f"namespace {change.namespace}: not open, so nothing can be changed in it")
    hands = worker or Worker()
    try:
        hands.run(fd, writer_of(change))
    finally:
        if worker is None:
            hands.close()


def writer_of(change: Change) -> Callable[[], None]:
    """The write itself, for a thread that is in the change's namespace."""
    match change:
        case SetSysctl(key=key, value=value):
            return lambda: write_sysctl(key, value)
        case FlushRouteCache(family=family):
            return lambda: write_sysctl(f"net/ipv{family}/route/flush", "1")
        case InsertRule() | DeleteRule() | ReplaceRule() | SetChainPolicy() | AddChain() | DeleteChain():
            if change.at.backend == "iptables-legacy":
                from .xtables import edit_legacy

                return lambda: edit_legacy(change)
            from .nftables import edit_nftables

            return lambda: edit_nftables(change)
        case AddQdisc() | DeleteQdisc():
            from .traffic_control import write_qdisc

            return lambda: write_qdisc(change)
        case AddXfrmPolicy() | DeleteXfrmPolicy():
            from .ipsec import write_policy

            return lambda: write_policy(change)
        case _:
            from .rtnetlink import write_route_netlink

            return lambda: write_route_netlink(change)


def write_sysctl(key: str, value: str) -> None:
    """Writes /proc/sys of the calling thread's namespace. Raises OSError (EACCES: read-only here)."""
    with open(f"/proc/sys/{key}", "w", encoding="ascii") as file:
        file.write(value + "\n")


def read_sysctl(key: str) -> str:
    """The text of a sysctl as the calling thread's namespace has it, blanks single."""
    with open(f"/proc/sys/{key}", encoding="ascii") as file:
        return " ".join(file.read().split())
