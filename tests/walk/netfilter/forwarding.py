"""A host between two namespaces, packets sent through it, and what its forward hook is expected to do with them."""

import os
import random
import select
import socket
import struct
import time
from typing import NamedTuple

from lab import World
from lab.topology import Topology

from netdoctor.model.firewall import Ruleset
from netdoctor.model.network import Link
from netdoctor.model.unknown import Unknown
from netdoctor.netlink.inside import Worker
from netdoctor.observe.rulesets import RulesetReader
from netdoctor.walk.netfilter import ChainResult, HookFacts, base_chains, evaluate
from netdoctor.walk.packet import ICMP, TCP, UDP, ConntrackView, Packet

SOURCES, DESTINATIONS, PORTS = ("10.1.0.2", "10.1.0.3"), ("10.2.0.2", "10.2.0.3"), (53, 80, 1000)
HOST_ADDRESSES = ("10.1.0.1", "10.2.0.1", "127.0.0.1")
ETH_P_ALL = 0x0003
PATIENCE_S = 0.03
TOPOLOGY = Topology(
    title="A host that forwards between two namespaces, without rules",
    roles=("ns1", "host", "inet"),
    cables=("host:left ns1:eth0", "host:right inet:eth0"),
    addresses=(
        "ns1 eth0 10.1.0.2/24", "ns1 eth0 10.1.0.3/24", "host left 10.1.0.1/24", "host right 10.2.0.1/24",
        "inet eth0 10.2.0.2/24", "inet eth0 10.2.0.3/24",
    ),
    routes=("ns1 default via 10.1.0.1", "inet default via 10.2.0.1"),
    sysctls=("host net.ipv4.ip_forward=1", "host net.ipv4.conf.all.rp_filter=0"),
)  # fmt: skip


class Probe(NamedTuple):
    """One packet to be sent; of a ping the source port is the id, so that each is a new connection."""

    protocol: int
    source: str
    destination: str
    source_port: int
    destination_port: int
    length_bytes: int = 60


class Forwarding:
    """The world with its sockets: `passes(probe)` sends a packet and says whether it leaves the host."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.worker = Worker()
        self.fds = {role: os.open(f"/run/netns/{world.name(role)}", os.O_RDONLY) for role in ("ns1", "host")}
        self.wire = self.worker.run(self.fds["host"], self._tap)
        self.raw = self.worker.run(self.fds["ns1"], self._raw)
        links = world.run("host", "ip", "-o", "link")
        names = [line.split(":")[1].strip().split("@")[0] for line in links.splitlines()]
        indexes = [int(line.split(":")[0]) for line in links.splitlines()]
        pairs = zip(names, indexes, strict=True)
        for destination in DESTINATIONS:
            world.run(
                "host",
                "ip",
                "neigh",
                "replace",
                destination,
                "dev",
                "right",
                "lladdr",
                self._mac(world),
                "nud",
                "permanent",
            )
        self.links = {name: Link(index=index, name=name, loopback=name == "lo") for name, index in pairs}

    @staticmethod
    def _mac(world: World) -> str:
        """So that no packet waits for its neighbour to be resolved."""
        return world.run("inet", "ip", "-o", "link", "show", "eth0").split("link/ether ")[1].split()[0]

    def close(self) -> None:
        self.wire.close()
        self.raw.close()
        for fd in self.fds.values():
            os.close(fd)
        self.worker.close()

    @staticmethod
    def _tap() -> socket.socket:
        """Outgoing packets are shown to taps of every protocol only."""
        tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
        tap.bind(("right", ETH_P_ALL))
        tap.setblocking(False)
        return tap

    @staticmethod
    def _raw() -> socket.socket:
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
        raw.setsockopt(socket.IPPROTO_IP, socket.IP_HDRINCL, 1)
        return raw

    def passes(self, probe: Probe, patience_s: float = PATIENCE_S) -> bool:
        """Whether the packet is seen leaving."""
        self._drain()
        identity = random.randrange(1, 0xFFFF)
        self.raw.sendto(datagram(probe, identity), (probe.destination, 0))
        deadline = time.monotonic() + patience_s
        while (left := deadline - time.monotonic()) > 0:
            if not select.select([self.wire], [], [], left)[0]:
                break
            packet, address = self.wire.recvfrom(2048)
            if address[2] == socket.PACKET_OUTGOING and packet[4:6] == struct.pack("!H", identity):  # type: ignore[attr-defined]
                return True
        return False

    def _drain(self) -> None:
        while select.select([self.wire], [], [], 0)[0]:
            self.wire.recv(2048)

    def ruleset(self) -> Ruleset:
        """The host's whole ruleset."""
        return self.worker.run(self.fds["host"], whole_ruleset)

    def predicted(self, ruleset: Ruleset, probe: Probe) -> list[ChainResult]:
        """What each chain of the forward hook does, up to the one that does not accept."""
        packet = as_packet(probe)
        results: list[ChainResult] = []
        for base in base_chains(ruleset, "ip", "forward"):
            results.append(evaluate(base, packet, self.facts()))
            if results[-1].verdict not in ("accept", "unknown"):
                break
            packet = results[-1].packet
        return results

    def facts(self) -> HookFacts:
        return HookFacts(
            links=self.links, address_type=lambda address, device: "local" if address in HOST_ADDRESSES else "unicast",
            fib_device=lambda address, mark, device: "left" if address.startswith("10.1.") else "right", ipsec=False,
        )  # fmt: skip


def whole_ruleset() -> Ruleset:
    """Everything of the calling thread's namespace, rules and set elements included."""
    reader = RulesetReader()
    try:
        found = reader.whole(reader.begin())
    finally:
        reader.close()
    assert not isinstance(found.tables, Unknown)
    return found


def as_packet(probe: Probe) -> Packet:
    """The packet as the forward hook sees it: its TTL is one less by then."""
    return Packet(
        family=4, source=probe.source, destination=probe.destination, protocol=probe.protocol,
        source_port=0 if probe.protocol == ICMP else probe.source_port, destination_port=probe.destination_port,
        icmp_type=8 if probe.protocol == ICMP else 0, icmp_id=probe.source_port,
        tcp_flags=2 if probe.protocol == TCP else 0, ttl=63,
        length_bytes=probe.length_bytes, in_device="left", out_device="right", conntrack=ConntrackView(state="new"),
    )  # fmt: skip


def datagram(probe: Probe, identity: int) -> bytes:
    """An IPv4 packet with its transport header."""
    size = probe.length_bytes - 20
    ports = struct.pack("!HH", probe.source_port, probe.destination_port)
    if probe.protocol == UDP:
        body = ports + struct.pack("!HH", size, 0)
    elif probe.protocol == TCP:
        body = ports + struct.pack("!IIBBHHH", 1, 0, 0x50, 2, 1000, 0, 0)
    else:
        body = struct.pack("!BBHHH", 8, 0, 0, probe.source_port, 1)
    body = body.ljust(size, b"\0")
    if probe.protocol == TCP:
        pseudo = (
            socket.inet_aton(probe.source) + socket.inet_aton(probe.destination) + struct.pack("!BBH", 0, TCP, size)
        )
        body = body[:16] + struct.pack("!H", checksum(pseudo + body)) + body[18:]
    if probe.protocol == ICMP:
        body = body[:2] + struct.pack("!H", checksum(body)) + body[4:]
    head = struct.pack("!BBHHHBBH", 0x45, 0, probe.length_bytes, identity, 0, 64, probe.protocol, 0)
    return head + socket.inet_aton(probe.source) + socket.inet_aton(probe.destination) + body


def checksum(raw: bytes) -> int:
    total = sum(struct.unpack(f"!{len(raw) // 2}H", raw))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def random_probe(choice: random.Random) -> Probe:
    protocol = choice.choice((ICMP, UDP, TCP))
    ports = choice.randrange(20000, 60000), 0 if protocol == ICMP else choice.choice(PORTS)
    length = choice.choice((60, 100))
    return Probe(protocol, choice.choice(SOURCES), choice.choice(DESTINATIONS), *ports, length)
