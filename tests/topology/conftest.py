"""A host with a way out, in namespaces of its own, and a state folder that goes with the test."""

import secrets
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from netdoctor.netlink.inside import Worker
from netdoctor.target import resolve

T = TypeVar("T")


class Host:
    """ "host" has wlp1s0 towards "inet", which answers as 8.8.8.8 and knows no way back to private addresses."""

    def __init__(self) -> None:
        self.prefix = f"nd-{secrets.token_hex(3)}"
        self.name, self.inet = f"{self.prefix}-host", f"{self.prefix}-inet"
        self.worker = Worker()

    def up(self) -> None:
        for name in (self.name, self.inet):
            subprocess.run(["ip", "netns", "add", name], check=True)
        self.handle = resolve(self.name)
        self.sh(
            f"ip link add wlp1s0 type veth peer name up0 netns {self.inet}; sysctl -qw net.ipv6.conf.all.disable_ipv6=1"
        )
        self.sh("ip link set lo up; ip link set wlp1s0 up; ip addr add 192.168.0.147/24 dev wlp1s0")
        script = (
            "ip link set lo up; ip link set up0 up; ip addr add 192.168.0.1/24 dev up0; ip addr add 8.8.8.8/32 dev lo"
        )
        subprocess.run(["ip", "netns", "exec", self.inet, "sh", "-ec", script], check=True)
        self.sh("ip route add default via 192.168.0.1")

    def down(self) -> None:
        self.worker.close()
        self.handle.close()
        for path in Path("/run/netns").glob(f"{self.prefix}-*"):
            subprocess.run(["ip", "netns", "del", path.name], check=False, capture_output=True)

    def sh(self, script: str) -> str:
        command = ["ip", "netns", "exec", self.name, "sh", "-ec", script]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def inside(self, call: Callable[[], T]) -> T:
        """`call()` in a thread whose network namespace is the host's."""
        return self.worker.run(self.handle.fd, call)

    def container(self, number: int = 1) -> str:
        return f"{self.prefix}-c{number}"

    def pings(self, name: str, address: str = "8.8.8.8") -> bool:
        command = ["ip", "netns", "exec", name, "ping", "-c1", "-W1", address]
        return subprocess.run(command, check=False, capture_output=True).returncode == 0

    def state(self) -> list[str]:
        """What building may change, without counters."""
        script = "ip -o link; ip -o addr; ip route show table all; nft -s list ruleset; iptables-legacy-save; sysctl -a"
        lines = self.sh(script + " -r '^net.ipv4.(conf|ip_forward)'").splitlines()
        return [line.partition(" [")[0] for line in lines if not line.startswith("#")]


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    monkeypatch.setenv("NETDOCTOR_STATE_DIR", str(tmp_path))
    made = Host()
    try:
        made.up()
        yield made
    finally:
        made.down()
