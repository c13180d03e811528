"""TCX programs, which tc does not list: seen, named where a probe dies, and not taken for absent where nobody may ask."""

import ctypes
import os
import platform
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from lab import World

from netdoctor import target
from netdoctor.model.journey import Flow
from netdoctor.model.network import TrafficFilter
from netdoctor.model.snapshot import Provenance
from netdoctor.model.unknown import Unknown
from netdoctor.netlink.inside import Worker
from netdoctor.observe.observer import Observer
from netdoctor.walk.filters import LIMIT
from netdoctor.walk.walker import walk

BPF_PROG_LOAD, BPF_LINK_CREATE, BPF_PROG_TYPE_SCHED_CLS = 5, 28, 3
ATTACH = {"ingress": 46, "egress": 47}
TCX_PASS, TCX_DROP = 0, 2
SYS_BPF = {"x86_64": 321, "aarch64": 280}
UNPRIVILEGED = """
from netdoctor.netlink.wire import NETLINK_ROUTE, Reader
from netdoctor.observe.links import read_links
from netdoctor.observe.traffic_control import read_filters, read_qdiscs
reader = Reader(NETLINK_ROUTE)
for link in read_links(reader):
    for found in read_filters(reader, link, read_qdiscs(reader)):
        print(found.kind, found.unread)
"""


def bpf(command: int, attr: bytes) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(attr, 128)
    fd = libc.syscall(SYS_BPF[platform.machine()], command, buffer, 128)
    if fd < 0:
        raise OSError(ctypes.get_errno(), f"bpf({command})")
    return int(fd)


def attached(index: int, side: str, verdict: int) -> int:
    """The descriptor of the link that holds a program `return verdict` at one side of a device."""
    code = ctypes.create_string_buffer(struct.pack("<BBhiBBhi", 0xB7, 0, 0, verdict, 0x95, 0, 0, 0))
    licence = ctypes.create_string_buffer(b"GPL")
    places = ctypes.addressof(code), ctypes.addressof(licence)
    program = bpf(BPF_PROG_LOAD, struct.pack("<IIQQ", BPF_PROG_TYPE_SCHED_CLS, 2, *places))
    try:
        return bpf(BPF_LINK_CREATE, struct.pack("<IIII", program, index, ATTACH[side], 0))
    finally:
        os.close(program)


@pytest.fixture
def attach(world: World) -> Iterator[Callable[[str, str, int], None]]:
    """attach("veth0", "ingress", TCX_DROP) on a device of the host."""
    worker, handle, held = Worker(), target.resolve(world.name("host")), list[int]()

    def make(device: str, side: str, verdict: int) -> None:
        index = int(world.run("host", "cat", f"/sys/class/net/{device}/ifindex"))
        try:
            held.append(worker.run(handle.fd, lambda: attached(index, side, verdict)))
        except OSError as error:
            pytest.skip(f"no TCX here: {error}")

    yield make
    for fd in held:
        os.close(fd)
    handle.close()
    worker.close()


@pytest.mark.parametrize("side", ["ingress", "egress"])
def test_a_tcx_program_that_drops_is_named(world: World, attach: Callable[[str, str, int], None], side: str) -> None:
    attach("veth0", side, TCX_DROP)
    assert not world.run("host", "tc", "filter", "show", "dev", "veth0", side).strip()
    said = world.netdoctor("check", "ns1")
    (cause,) = said.report["root_causes"]
    assert cause["id"] == "tc-filter-drops"
    assert f"tcx program at {side} of veth0" in cause["summary"]


def test_a_tcx_program_that_lets_packets_through_is_no_fault(
    world: World, attach: Callable[[str, str, int], None]
) -> None:
    attach("veth0", "ingress", TCX_PASS)
    said = world.netdoctor("check", "ns1")
    assert said.code == 0, said.report


def test_what_must_not_be_asked_is_not_taken_for_absent() -> None:
    command = ["unshare", "--user", "--map-root-user", "--net", sys.executable, "-c", UNPRIVILEGED]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    if done.returncode and "unshare" in done.stderr:
        pytest.skip(done.stderr)
    assert done.stdout.startswith("tcx the kernel does not tell"), done.stderr


def test_what_could_not_be_asked_is_said_once_and_spoils_nothing(world: World) -> None:
    host, inside = target.resolve(world.name("host")), target.resolve(world.name("ns1"))
    observer = Observer(inside, host)
    try:
        snapshot = observer.begin(Provenance())
        flow = Flow(namespace=inside.id, family=4, destination="8.8.8.8", protocol="icmp")
        while (trip := walk(snapshot, flow)).needs:
            snapshot = observer.answer(snapshot, trip.needs)
            snapshot = _refused(snapshot)
    finally:
        observer.close()
    assert trip.arrives
    assert [step.facts for step in trip.doubts] == [{LIMIT: "tcx"}] * 2, "once each way"
    assert not any(step.cause for step in trip.doubts)


def _refused(snapshot):  # type: ignore[no-untyped-def]
    """As where the kernel does not answer: one entry a device that says why."""
    from msgspec.structs import replace

    one = (TrafficFilter(index=1, side="ingress", kind="tcx", unread="no permission"),)
    changed = {}
    for key, namespace in snapshot.namespaces.items():
        filters = {name: one for name, found in namespace.filters.items() if not isinstance(found, Unknown)}
        changed[key] = replace(namespace, filters=filters)
    return replace(snapshot, namespaces=changed)
