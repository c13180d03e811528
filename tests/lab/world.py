"""A world: namespaces built from a Topology, what happens in them, and what they look like."""

import json
import os
import secrets
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from . import registry
from .state import read_state
from .topology import TOPOLOGIES, Topology

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parents[1]

MAC = "mac() { ip -o link show \"$1\" | sed -E 's/.*link.ether ([0-9a-f:]+) .*/\\1/'; }\n"


class LabError(Exception):
    """The laboratory itself failed: never the fault of what is tested in it."""


class Said(NamedTuple):
    """What netdoctor answered. `report` is {} when stdout was not one JSON object."""

    code: int
    report: dict[str, Any]
    stderr: str
    seconds: float


def run(command: list[str], stdin: str = "", timeout_s: float = 60, env: dict[str, str] | None = None) -> str:
    """Its stdout. Raises LabError with the end of what it said."""
    done = subprocess.run(
        command,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        env=env or dict(os.environ),
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-400:]
        raise LabError(f"{' '.join(command)[:100]}: exit {done.returncode}: {said}")
    return done.stdout


class World:
    """A context manager: built on entry, gone on exit, gone at the next session's start if its owner was killed."""

    def __init__(self, topology: str | Topology = "veth") -> None:
        self.topology = TOPOLOGIES[topology] if isinstance(topology, str) else topology
        self.prefix = f"nd-{secrets.token_hex(3)}"
        self.names = {role: f"{self.prefix}-{role}" for role in self.topology.roles}
        self._services: list[subprocess.Popen[str]] = []
        self._starting: list[subprocess.Popen[str]] = []

    def __enter__(self) -> "World":
        registry.record(self.prefix, list(self.names.values()))
        try:
            self._build()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def name(self, role: str) -> str:
        return self.names[role]

    def close(self) -> None:
        for service in self._services:
            service.kill()
            service.wait()
            if service.stdout:
                service.stdout.close()
        self._services.clear()
        registry.take_down(list(self.names.values()))
        registry.forget(self.prefix)

    # -- building

    def _build(self) -> None:
        spec = self.topology
        run(["ip", "-batch", "-"], "".join(f"netns add {name}\n" for name in self.names.values()))
        for entry in spec.resolvers:
            role, server = entry.split()
            self.write_etc(role, "resolv.conf", f"nameserver {server}\noptions timeout:1 attempts:1\n")
        self._without_duplicate_detection()
        run(["ip", "-batch", "-"], "".join(self._cable(cable) for cable in spec.cables))
        for role, lines in self._lines().items():
            self.ip(role, lines)
        self._write_sysctls()
        for entry in spec.services:
            self._start(*entry.split())
        self.sh(spec.setup)
        self._await_services()
        self._await_addresses()

    def _cable(self, cable: str) -> str:
        (role, device), (peer_role, peer) = (end.split(":") for end in cable.split())
        return f"link add {device} netns {self.name(role)} type veth peer name {peer} netns {self.name(peer_role)}\n"

    def _lines(self) -> dict[str, list[str]]:
        """ip(8) batch lines a role, in the order in which they work."""
        spec = self.topology
        lines = {role: ["link set lo up"] for role in spec.roles}
        for cable in spec.cables:
            for end in cable.split():
                role, device = end.split(":")
                lines[role].append(f"link set {device} up")
        for entry in spec.bridges:
            role, bridge, *ports = entry.split()
            lines[role] += [f"link add {bridge} type bridge", *(f"link set {port} master {bridge}" for port in ports)]
            lines[role].append(f"link set {bridge} up")
        for entry in spec.addresses:
            role, device, address = entry.split(maxsplit=2)
            lines[role].append(f"addr add {address} dev {device}")
        for entry in spec.routes:
            role, route = entry.split(maxsplit=1)
            lines[role].append(f"route add {route}")
        return lines

    def _without_duplicate_detection(self) -> None:
        """IPv6 addresses are usable at once: nobody else is on these wires, and a second a world is a long time."""
        for role in self.topology.roles:
            self.sysctl(role, "net.ipv6.conf.default.dad_transmits=0", "net.ipv6.conf.all.dad_transmits=0")

    def _write_sysctls(self) -> None:
        for entry in self.topology.sysctls:
            role, *settings = entry.split()
            self.sysctl(role, *settings)

    def _start(self, role: str, *places: str) -> None:
        script = str(HERE / "service.py")
        command = ["ip", "netns", "exec", self.name(role), sys.executable, "-I", "-S", script, *places]
        service = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._services.append(service)
        self._starting.append(service)

    def _await_services(self) -> None:
        while self._starting:
            service = self._starting.pop()
            said = service.stdout.readline() if service.stdout else ""
            if said != "ready\n":
                service.kill()
                rest = service.stdout.read() if service.stdout else ""
                raise LabError(f"the services in {self.prefix} did not start: {(said + rest)[-400:]}")

    def _await_addresses(self) -> None:
        """Even without duplicate detection an IPv6 address is tentative until the kernel's worker has run."""
        roles = {entry.split()[0] for entry in self.topology.addresses if ":" in entry}
        for role in sorted(roles):
            deadline = time.monotonic() + 3
            while run(["ip", "-n", self.name(role), "-6", "-o", "addr", "show", "tentative"]):
                if time.monotonic() > deadline:
                    raise LabError(f"addresses in {self.name(role)} stay tentative")
                time.sleep(0.01)

    # -- acting in it

    def serve(self, role: str, *places: str) -> None:
        """Starts service.py in the role and waits until it listens."""
        self._start(role, *places)
        self._await_services()

    def ip(self, role: str, lines: list[str]) -> None:
        """ip(8) commands in one process."""
        run(["ip", "-n", self.name(role), "-batch", "-"], "".join(f"{line}\n" for line in lines))

    def sysctl(self, role: str, *settings: str) -> None:
        run(["ip", "netns", "exec", self.name(role), "sysctl", "-qw", *settings])

    def write_etc(self, role: str, file: str, text: str) -> None:
        folder = registry.NETNS_ETC / self.name(role)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(text)

    def sh(self, script: str, role: str = "host") -> str:
        """Runs bash inside the role; its stdout.

        $NS1 is a role's namespace, `ns1 CMD` runs CMD there, `mac DEV` prints a device's MAC, $ETC is /etc/netns,
        $LAB and $CORPUS are the folders of the laboratory and of the corpus.
        """
        if not script.strip():
            return ""
        functions = MAC + "".join(f'{role}() {{ ip netns exec {name} "$@"; }}\n' for role, name in self.names.items())
        variables = {role.upper(): name for role, name in self.names.items()}
        env = {**os.environ, **variables, "ETC": str(registry.NETNS_ETC), "LAB": str(HERE)}
        env |= {"CORPUS": str(HERE.parent / "corpus"), "PYTHON": sys.executable}
        command = ["ip", "netns", "exec", self.name(role), "bash", "-c", f"set -euo pipefail\n{functions}{script}"]
        return run(command, env=env)

    def run(self, role: str, *command: str) -> str:
        """One command inside the role; its stdout."""
        return run(["ip", "netns", "exec", self.name(role), *command])

    # -- asking it

    def probe(self, spec: str, tries: int = 1) -> bool:
        """Whether "[ROLE:] KIND DEST [option=value ...]" works, at least once in `tries`."""
        words = spec.split()
        role = words.pop(0)[:-1] if words[0].endswith(":") else "ns1"
        script = str(HERE / "probe.py")
        command = ["ip", "netns", "exec", self.name(role), sys.executable, "-I", "-S", script, *words]
        for _ in range(tries):
            if subprocess.run(command, capture_output=True, check=False, timeout=30).returncode == 0:
                return True
        return False

    def netdoctor(self, verb: str, *arguments: str, timeout_s: float = 60) -> Said:
        """Runs netdoctor in the host role. Arguments that name a role ("ns1", "ns:ns2") become its namespace's name.

        The netdoctor is this checkout's, or the one in the folder NETDOCTOR_TREE.
        """
        named = [self._named(argument) for argument in arguments]
        tail = ["--format", "json"] if verb in ("check", "fix") and "--format" not in named else []
        command = ["ip", "netns", "exec", self.name("host"), sys.executable, "-m", "netdoctor", verb, *named, *tail]
        tree = os.environ.get("NETDOCTOR_TREE", str(PROJECT))
        env = {**os.environ, "PYTHONPATH": tree}
        began = time.monotonic()
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            env=env,
            cwd=tree,
        )
        seconds = time.monotonic() - began
        try:
            report = json.loads(done.stdout)
        except json.JSONDecodeError:
            report = {}
        return Said(done.returncode, report if isinstance(report, dict) else {}, done.stderr, seconds)

    def _named(self, argument: str) -> str:
        if argument.startswith("ns:"):
            return "ns:" + self.names.get(argument[3:], argument[3:])
        return self.names.get(argument, argument)

    def state(self) -> list[str]:
        """Every role's configuration, one normalised line a fact, "ROLE SUBJECT ...", sorted."""
        return sorted(f"{role} {line}" for role, name in self.names.items() for line in read_state(name))


def difference(before: list[str], after: list[str]) -> list[str]:
    """What changed, as "-line" and "+line"."""
    old, new = Counter(before), Counter(after)
    return sorted([f"-{line}" for line in (old - new).elements()] + [f"+{line}" for line in (new - old).elements()])
