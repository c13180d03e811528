"""A host with rules between a pretend container and a pretend internet: packets go in, what comes out is seen.

ns1 eth0 -- left host right -- eth0 inet;  host other -- eth1 inet. Nothing but the tests' own packets is on the wires.
"""

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from typing import NamedTuple

from lab import World
from lab.topology import Topology
from msgspec.structs import replace

from netdoctor import target
from netdoctor.model.firewall import Ruleset
from netdoctor.model.snapshot import Need, Provenance, Snapshot
from netdoctor.model.unknown import Unknown
from netdoctor.observe.observer import Observer
from netdoctor.walk.packet import ICMP, ICMP6, TCP, UDP

from .counts import Counts, Place
from .packets import Seen, read, tag_of

OURS = 0x77
ETH_P_ALL, OUTGOING = 0x0003, 4
IPV6_HDRINCL, SO_MARK, SO_ATTACH_FILTER, IPV6_RECVPKTINFO = 36, 36, 26, 49
LISTENED = (53, 80, 90, 1000, 8080)
TABLES = ("raw", "mangle", "nat", "filter", "security")
WIRES = {"left": ("ns1", "eth0"), "right": ("inet", "eth0"), "other": ("inet", "eth1")}
QUIET = f"""table netdev quiet {{
chain in {{ type filter hook ingress devices = {{ %s }} priority 0; policy drop; }}
chain out {{ type filter hook egress devices = {{ %s }} priority 0; policy drop; meta mark {OURS} accept; }}
}}
"""
TOPOLOGY = Topology(
    title="A host that forwards between a container and two ways out, without rules",
    roles=("ns1", "host", "inet"),
    cables=("host:left ns1:eth0", "host:right inet:eth0", "host:other inet:eth1"),
    addresses=(
        "ns1 eth0 10.1.0.2/24", "host left 10.1.0.1/24", "host right 10.2.0.1/24", "host right 10.2.0.5/24",
        "host other 10.3.0.1/24", "inet eth0 10.2.0.2/24", "inet eth1 10.3.0.2/24",
        "ns1 eth0 fd01::2/64", "host left fd01::1/64", "host right fd02::1/64", "host other fd03::1/64",
        "inet eth0 fd02::2/64", "inet eth1 fd03::2/64",
    ),
    routes=(
        "ns1 default via 10.1.0.1", "ns1 default via fd01::1", "host default via 10.2.0.2", "host default via fd02::2",
        "host 10.2.0.0/24 via 10.3.0.2 table 99", "host 10.9.0.0/24 via 10.3.0.2 table 99",
        "host fd02::/64 via fd03::2 table 99", "host fd09::/64 via fd03::2 table 99",
    ),
    sysctls=(
        "host net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0",
        "host net.ipv4.conf.left.rp_filter=0 net.ipv4.conf.right.rp_filter=0 net.ipv4.conf.other.rp_filter=0",
        "host net.ipv4.icmp_echo_ignore_all=1 net.ipv6.icmp.echo_ignore_all=1 net.ipv4.conf.all.send_redirects=0",
        "host net.ipv4.conf.left.send_redirects=0 net.ipv4.conf.right.send_redirects=0 net.ipv4.icmp_ratelimit=0",
        "host net.ipv6.icmp.ratelimit=0 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.other.send_redirects=0",
    ),
    setup="""
ip rule add fwmark 2/2 lookup 99
ip -6 rule add fwmark 2/2 lookup 99
for family in -4 -6; do
  for pair in left:ns1:eth0 right:inet:eth0 other:inet:eth1; do
    IFS=: read -r device role peer <<<"$pair"
    mac=$($role ip -o link show "$peer" | sed -E 's/.*link.ether ([0-9a-f:]+) .*/\\1/')
    for last in 2 3 9; do
      case $family:$device in
        -4:left) to=10.1.0.$last;; -4:right) to=10.2.0.$last;; -4:other) to=10.3.0.$last;;
        -6:left) to=fd01::$last;; -6:right) to=fd02::$last;; -6:other) to=fd03::$last;;
      esac
      ip neigh replace $to dev $device lladdr $mac nud permanent
    done
  done
done
""",
)  # fmt: skip


class Label(NamedTuple):
    """What a counter belongs to: the rule's comment, and its chain."""

    rule: str
    chain: str


class Loaded(NamedTuple):
    """A ruleset that stands in the host: as the product reads it, whose each counter is, and which rules have one."""

    ruleset: Ruleset
    labels: dict[Place, Label]
    counters: frozenset[Place]


class Box:
    """The world with its sockets. `send` and `send_own` put packets in, `met` says what became of them."""

    wires = WIRES

    def __init__(self, world: World, roles: tuple[str, ...] = ("ns1", "inet"), host_roles: str = "host") -> None:
        self.world = world
        self.observer = Observer(target.resolve(world.name(host_roles)), target.resolve(world.name(host_roles)))
        self.host = self.observer.host
        self.handles = {role: target.resolve(world.name(role)) for role in roles}
        self.taps = {role: self._in(role, _tap) for role in roles}
        wires = self.wires
        self.injectors = {wire: self._in(wires[wire][0], lambda wire=wire: _injector(wires[wire][1])) for wire in wires}
        self.macs = {wire: (_mac(world, *wires[wire]), _mac(world, "host", wire)) for wire in wires}
        self.own, self.inside, self.listeners = self.observer.inside(self.host, _sockets_of_host)
        self.counts = self.observer.inside(self.host, Counts)
        self.base = self._read()
        for role in roles:
            devices = ",".join(link.split("@")[0] for link in _links(world, role))
            world.sh(f"nft -f - <<'E'\n{QUIET % (devices, devices)}E", role)
        self.legacy: list[tuple[str, str]] = []

    def _read(self) -> Snapshot:
        """The host whole, and the namespaces behind its links: these before they get the rules that keep them quiet."""
        snapshot = self.observer.complete(self.observer.begin(Provenance()))
        host = snapshot.namespaces[self.host]
        assert not isinstance(host.links, Unknown)
        ids = {link.lower_namespace for link in host.links} - {None}
        peers = [Need(namespace=self.host, subject="peer", key=(str(nsid),)) for nsid in ids]
        return self.observer.answer(replace(snapshot, complete=False), peers)

    def close(self) -> None:
        for each in (*self.taps.values(), *self.injectors.values(), *self.own.values(), *self.inside.values()):
            each.close()
        for listener in self.listeners:
            listener.close()
        self.counts.close()
        self.observer.close()
        for handle in self.handles.values():
            handle.close()

    def _in(self, role: str, make):  # type: ignore[no-untyped-def]
        return self.observer.worker.run(self.handles[role].fd, make)

    # Rules -------------------------------------------------------------------------------------------------------

    def tool(self, command: str, text: str) -> str:
        """Runs a tool in the host with `text` as its input; what it complained of, "" when it took it."""
        env = {**os.environ, "XTABLES_LOCKFILE": f"/run/{self.world.prefix}.lock"}
        done = self.observer.inside(
            self.host,
            lambda: subprocess.run(
                command.split(), input=text, capture_output=True, text=True, check=False, env=env, timeout=30
            ),
        )
        return "" if done.returncode == 0 else done.stderr.strip() or f"exit {done.returncode}"

    def loaded(self) -> Loaded:
        """The host's ruleset now, whole."""
        snapshot = self.unread()
        whole = self.observer.answer(snapshot, [Need(namespace=self.host, subject="ruleset")])
        ruleset = whole.namespaces[self.host].ruleset
        return Loaded(ruleset, dict(_labels(ruleset)), frozenset(self.counted()))

    def with_sets(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot with the elements that the sets have now."""
        tables = snapshot.namespaces[self.host].ruleset.tables
        known = [table for table in tables if table.sets] if not isinstance(tables, Unknown) else []
        needs = [
            Need(namespace=self.host, subject="set", key=(one.family, one.name, *(each.name for each in one.sets if "eval" in each.flags)))
            for one in known
        ]  # fmt: skip
        return self.observer.answer(snapshot, needs)

    def unread(self) -> Snapshot:
        """The host with the heads of its ruleset only, as a check begins with."""
        fresh = self.observer.answer(self.base, [Need(namespace=self.host, subject="namespace")])
        return self.snapshot(fresh.namespaces[self.host].ruleset)

    def snapshot(self, ruleset: Ruleset) -> Snapshot:
        """The host as it is, with this ruleset."""
        host = replace(self.base.namespaces[self.host], ruleset=ruleset)
        return replace(self.base, namespaces={**self.base.namespaces, self.host: host}, complete=False)

    def counted(self) -> dict[Place, int]:
        """The packets of every counter."""
        return {**self.counts.nf_tables(), **(self.counts.legacy(self.legacy) if self.legacy else {})}

    def forget_connections(self) -> None:
        """Flushes conntrack: no flow of an earlier ruleset is known any more."""
        self.tool("conntrack -F", "")

    # Packets -----------------------------------------------------------------------------------------------------

    def send(self, wire: str, datagram: bytes) -> None:
        """Lets a datagram come in by the host's interface of this name."""
        there, here = self.macs[wire]
        kind = b"\x08\x00" if datagram[0] >> 4 == 4 else b"\x86\xdd"
        frame = bytes.fromhex(here.replace(":", "")) + bytes.fromhex(there.replace(":", "")) + kind + datagram
        self.injectors[wire].send(frame)

    def send_own(self, datagram: bytes, destination: str, mark: int = 0) -> bool:
        """Sends a datagram from the host itself; False when the kernel refuses it at once (a rule dropped it)."""
        sock = self.own[datagram[0] >> 4]
        sock.setsockopt(socket.SOL_SOCKET, SO_MARK, mark)
        try:
            sock.sendto(datagram, (destination, 0))
        except PermissionError:
            return False
        except OSError:
            return False
        return True

    def met(self) -> Iterator[tuple[int, Seen]]:
        """Tag and looks of everything that has come out of the host or to its sockets since the last call."""
        for role, tap in self.taps.items():
            for raw, address in _all_of(tap):
                if address[2] != OUTGOING and (seen := read(raw, f"{role}:{address[0]}")) is not None:
                    yield tag_of(raw), seen
        for (family, protocol), sock in self.inside.items():
            for raw, address in _all_of(sock):
                if family == 4 and (seen := read(raw, "host")) is not None:
                    yield tag_of(raw), seen
                elif family == 6:
                    first, second = int.from_bytes(raw[:2], "big"), int.from_bytes(raw[2:4], "big")
                    echo = protocol == ICMP6
                    first, second = (int.from_bytes(raw[4:6], "big"), 0) if echo else (first, second)
                    kind = raw[0] if echo else 0
                    yield tag_of(raw), Seen("host", address[0], "", protocol, first, second, kind, 0, 0)


def _all_of(sock: socket.socket) -> Iterator[tuple[bytes, tuple[str, int, int]]]:
    with contextlib.suppress(BlockingIOError):
        while True:
            yield sock.recvfrom(4096)


def _labels(ruleset: Ruleset) -> Iterator[tuple[Place, Label]]:
    """Whose each counter is."""
    for table in ruleset.tables if not isinstance(ruleset.tables, Unknown) else ():
        ordinal = 0
        for chain in table.chains:
            ordinal += table.backend == "iptables-legacy" and not chain.hook
            for rule in chain.rules if not isinstance(chain.rules, Unknown) else ():
                label = Label(rule.comment, chain.name)
                if table.backend == "iptables-legacy":
                    yield (f"legacy {table.family}", table.name, "", ordinal), label
                    ordinal += 1
                else:
                    yield (table.family, table.name, chain.name, rule.handle), label
            ordinal += 1


def _links(world: World, role: str) -> list[str]:
    lines = world.run(role, "ip", "-o", "link").splitlines()
    return [name for line in lines if (name := line.split(":")[1].strip()) != "lo"]


def _mac(world: World, role: str, device: str) -> str:
    return world.run(role, "ip", "-o", "link", "show", device).split("link/ether ")[1].split()[0]


def _tap() -> socket.socket:
    """Sees every interface of its namespace, before any rule there."""
    tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
    tap.setblocking(False)
    return tap


def _injector(device: str) -> socket.socket:
    raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    raw.setsockopt(socket.SOL_SOCKET, SO_MARK, OURS)
    raw.bind((device, 0))
    return raw


def _sockets_of_host() -> tuple[dict[int, socket.socket], dict[tuple[int, int], socket.socket], list[socket.socket]]:
    """What sends, what sees arrivals after every rule, and what listens without ever answering."""
    own = {4: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)}
    own[4].setsockopt(socket.IPPROTO_IP, socket.IP_HDRINCL, 1)
    own[6] = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_RAW)
    own[6].setsockopt(socket.IPPROTO_IPV6, IPV6_HDRINCL, 1)
    inside = {}
    for family, domain, protocols in ((4, socket.AF_INET, (TCP, UDP, ICMP)), (6, socket.AF_INET6, (TCP, UDP, ICMP6))):
        for protocol in protocols:
            inside[family, protocol] = socket.socket(domain, socket.SOCK_RAW, protocol)
            inside[family, protocol].setblocking(False)
    listeners = [_listener(kind, port) for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM) for port in LISTENED]
    return own, inside, listeners


def _listener(kind: int, port: int) -> socket.socket:
    """A socket of both families whose filter takes nothing: whoever comes gets no answer, not even a refusal."""
    import ctypes
    import struct

    sock = socket.socket(socket.AF_INET6, kind)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    program = ctypes.create_string_buffer(struct.pack("=HBBI", 6, 0, 0, 0))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HxxxxxxQ", 1, ctypes.addressof(program)))
    sock.bind(("::", port))
    if kind == socket.SOCK_STREAM:
        sock.listen(1)
    return sock


def patience(first_s: float = 0.0) -> Iterator[None]:
    """Turns to look again, each after a longer pause: 0, 2, 10, 50, 250 ms."""
    for pause in (first_s, 0.002, 0.01, 0.05, 0.25):
        time.sleep(pause)
        yield
