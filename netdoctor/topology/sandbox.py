"""A private world for `netdoctor demo`: host, container and a pretend internet in namespaces of our own.

Nothing of the machine is touched: own network namespaces, own mounts, an empty /run, state kept in it. Needs root or
unprivileged user namespaces, and none of ip, nft, iptables or ping.
"""

import ctypes
import errno
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from netdoctor.errors import NetdoctorError
from netdoctor.fix import journal as journals
from netdoctor.fix.apply import apply
from netdoctor.fix.argv import Argv
from netdoctor.fix.journal import STATE_FOLDER_VARIABLE
from netdoctor.fix.plan import make_plan
from netdoctor.fix.transaction import roll_back, run
from netdoctor.model.change import AddAddress, AddRoute, Change, DeleteRule, SetLink
from netdoctor.model.network import Address, NextHop, Route
from netdoctor.netlink.inside import Worker
from netdoctor.target import Handle, resolve

from . import names, state
from .build import build
from .described import Described
from .faults import Fault
from .structure import make_veth
from .world import look, settle

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWNET = 0x00020000, 0x10000000, 0x40000000
MS_REC, MS_PRIVATE = 0x4000, 0x40000
CONTAINER, INTERNET = "ns1", "internet"
UPLINK, FAR_UPLINK = "wlp1s0", "up0"
HOST_ADDRESS, ROUTER_ADDRESS, PREFIX_LENGTH = "192.168.0.147", "192.168.0.1", 24
ANSWERING = ("8.8.8.8", "1.1.1.1")
STATE_INSIDE = "/run/netdoctor"
MAIN = 254

_libc = ctypes.CDLL(None, use_errno=True)


class Sandbox(msgspec.Struct, frozen=True, kw_only=True):
    """What stands inside: the container's name and description, and the commands that its making stands for."""

    container: str
    wanted: Described
    commands: tuple[Argv, ...]


def in_sandbox(act: Callable[[Sandbox], int]) -> int:
    """Runs `act` in a child process inside a fresh sandbox and returns its exit code; all vanishes with the child.

    Raises NetdoctorError, with the remedy, where this machine does not allow it.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        os._exit(_child(act, writing))
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read().decode()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if said:
        raise NetdoctorError(said)
    return status if status >= 0 else 128 - status


def _child(act: Callable[[Sandbox], int], writing: int) -> int:
    """The child's whole life; only set-up errors go through the pipe."""
    try:
        try:
            sandbox = _set_up()
        except (OSError, NetdoctorError) as error:
            os.write(writing, str(_explained(error)).encode())
            return 2
        os.close(writing)
        return act(sandbox)
    except SystemExit as leaving:
        return leaving.code if isinstance(leaving.code, int) else 0 if leaving.code is None else 1
    except KeyboardInterrupt:
        return 130
    except BaseException:
        traceback.print_exc()
        return 70
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def _set_up() -> Sandbox:
    _leave_the_machine()
    os.environ[STATE_FOLDER_VARIABLE] = STATE_INSIDE
    host = resolve("host")
    names.make(INTERNET)
    internet = resolve(INTERNET)
    try:
        _uplink(host, internet)
    finally:
        internet.close()
        host.close()
    outcome = build(CONTAINER)
    if outcome.code:
        raise NetdoctorError("; ".join(outcome.notes))
    built = state.load(_host_id(), CONTAINER)
    if built is None:
        raise NetdoctorError("the sandbox forgot its container")
    return Sandbox(container=CONTAINER, wanted=built.wanted, commands=outcome.commands)


def _host_id() -> str:
    handle = resolve("host")
    handle.close()
    return handle.id


def _leave_the_machine() -> None:
    """New user (unless root), then mount and network namespaces; mounts private, an empty /run.

    The user namespace comes first: a network namespace made before its users are mapped gives /proc/net to nobody.
    """
    uid, gid = os.geteuid(), os.getegid()
    if uid:
        _check(_libc.unshare(CLONE_NEWUSER))
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    _check(_libc.unshare(CLONE_NEWNS | CLONE_NEWNET))
    _check(_libc.mount(b"none", b"/", None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None))
    _check(_libc.mount(b"tmpfs", b"/run", b"tmpfs", ctypes.c_ulong(0), b"mode=0755"))
    Path("/run/netns").mkdir()


def _check(result: int) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


def _explained(error: OSError | NetdoctorError) -> NetdoctorError:
    """The error with what to do about it, in one line."""
    if isinstance(error, NetdoctorError) or error.errno not in (errno.EPERM, errno.EACCES, errno.ENOSPC, errno.EINVAL):
        return NetdoctorError(f"the sandbox could not be made: {error}")
    why = error.strerror or str(error)
    return NetdoctorError(f"the sandbox could not be made ({why}): {_remedy(os.geteuid())}")


def _remedy(uid: int) -> str:
    if uid == 0:
        return "root here lacks CAP_SYS_ADMIN, as in a container; run it there with --privileged"
    switches = (
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "0"),
        ("kernel/unprivileged_userns_clone", "0", "1"),
        ("user/max_user_namespaces", "0", "10000"),
    )
    for key, forbids, allows in switches:
        try:
            value = Path(f"/proc/sys/{key}").read_text().strip()
        except OSError:
            continue
        if value == forbids:
            name = key.replace("/", ".")
            return f"{name}={value} forbids it to users; `sudo netdoctor demo`, or `sudo sysctl -w {name}={allows}`"
    return "user namespaces are forbidden to users here; `sudo netdoctor demo`"


def _uplink(host: Handle, internet: Handle) -> None:
    """The host's way out and what answers at its far end."""
    worker = Worker()
    handles = {host.id: host.fd, internet.id: internet.fd}
    try:
        make_veth(worker, host.fd, UPLINK, internet.fd, FAR_UPLINK)
        for change in _uplink_changes(host.id, internet.id):
            apply(change, handles, worker)
        apply(_default_route(worker, host), handles, worker)
    finally:
        worker.close()


def _uplink_changes(host: str, internet: str) -> list[Change]:
    def up(where: str, *links: str) -> list[Change]:
        return [SetLink(namespace=where, link=link, up=True) for link in links]

    def address(where: str, link: str, local: str, length: int) -> Change:
        return AddAddress(
            namespace=where, link=link, address=Address(index=0, family=4, local=local, prefix_length=length)
        )

    return [
        *up(host, "lo", UPLINK),
        *up(internet, "lo", FAR_UPLINK),
        address(host, UPLINK, HOST_ADDRESS, PREFIX_LENGTH),
        address(internet, FAR_UPLINK, ROUTER_ADDRESS, PREFIX_LENGTH),
        *(address(internet, "lo", each, 32) for each in ANSWERING),
    ]


def _default_route(worker: Worker, host: Handle) -> Change:
    import socket

    index = worker.run(host.fd, lambda: socket.if_nametoindex(UPLINK))
    hop = NextHop(index=index, gateway=ROUTER_ADDRESS)
    return AddRoute(namespace=host.id, route=Route(family=4, table=MAIN, destination="0.0.0.0/0", next_hops=(hop,)))


@contextmanager
def faulty(sandbox: Sandbox, fault: Fault) -> Iterator[tuple[Argv, ...]]:
    """The sandbox with a fault in it; yields the commands that broke it. Afterwards it stands as built again."""
    observer, snapshot = look(sandbox.container)
    try:
        snapshot = settle(observer, snapshot, sandbox.wanted)
        plan = make_plan(fault.inject(sandbox.wanted, snapshot), snapshot)
        handles = {key: handle.fd for key, handle in observer.handles.items()}
        journal = journals.start(plan, snapshot.host, {}, purpose=f"break {fault.slug}")
        try:
            commands = run(plan, handles, journal)
            journals.discard(journal)
            yield commands
        finally:
            if not any(isinstance(change, DeleteRule) for change in plan.changes):
                roll_back(journal, handles)
            journals.discard(journal)
            build(sandbox.container)
    finally:
        observer.close()
