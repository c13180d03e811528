"""The demo's private world: it works, every fault breaks it, and nothing of it is left."""

import os
import subprocess

import pytest

from netdoctor.errors import NetdoctorError
from netdoctor.topology import sandbox
from netdoctor.topology.faults import FAULTS, Fault, fault
from netdoctor.topology.sandbox import Sandbox, faulty, in_sandbox


def pings(name: str) -> bool:
    command = ["ip", "netns", "exec", name, "ping", "-c1", "-W1", "8.8.8.8"]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def own_names() -> list[str]:
    """Named namespaces, without those of worlds that other tests make and take down meanwhile."""
    found = os.listdir("/run/netns") if os.path.isdir("/run/netns") else []
    return sorted(name for name in found if not name.startswith(("nd-", "lab-")))


@pytest.mark.parametrize("broken", FAULTS, ids=lambda each: each.title[:30])
def test_each_fault_breaks_the_network_and_comes_out_again(broken: Fault) -> None:
    def act(box: Sandbox) -> int:
        healthy = pings(box.container)
        with faulty(box, broken) as commands:
            sick = not pings(box.container)
        return 0 if healthy and sick and commands and pings(box.container) else 1

    assert in_sandbox(act) == 0


def test_nothing_is_left_and_the_exit_code_comes_through() -> None:
    before = own_names()
    assert in_sandbox(lambda box: 7) == 7
    assert own_names() == before


def test_without_root_too() -> None:
    if os.geteuid() != 0:
        pytest.skip("the other tests run without root already")
    script = "import sys; from netdoctor.topology.sandbox import in_sandbox; sys.exit(in_sandbox(lambda box: 5))"
    import sys

    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, "-c", script]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 5 or "user namespaces" in done.stderr or "Permission denied" in done.stderr


def test_remedy_is_one_line_and_names_the_switch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox.Path, "read_text", lambda self: "0\n" if "max_user" in str(self) else _missing())
    monkeypatch.setattr(sandbox.os, "geteuid", lambda: 1000)
    said = str(sandbox._explained(PermissionError(1, "Operation not permitted")))
    assert "user.max_user_namespaces=10000" in said and "\n" not in said


def _missing() -> str:
    raise FileNotFoundError


def test_faults_are_found_by_slug() -> None:
    assert fault("ip-forward-off") is not None
    assert fault("no-such-thing") is None
    assert len({each.title for each in FAULTS}) == len(FAULTS)


def test_setting_up_that_fails_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(sandbox, "_leave_the_machine", refuse)
    with pytest.raises(NetdoctorError, match="sandbox could not be made"):
        in_sandbox(lambda box: 0)
