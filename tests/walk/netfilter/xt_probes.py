"""Frames of every shape that xtables matches look at, sent into a host that forwards them."""

import os
import random
import socket
import struct
from ipaddress import ip_address

import msgspec
from lab import World
from lab.topology import Topology
from walk.netfilter.forwarding import whole_ruleset

from netdoctor.model.expression import Verdict
from netdoctor.model.firewall import Chain, Rule, Ruleset, Table
from netdoctor.model.network import ConntrackTuple, Link
from netdoctor.model.unknown import Unknown
from netdoctor.netlink.inside import Worker
from netdoctor.walk.netfilter import ChainResult, HookFacts, base_chains, evaluate, rule_text
from netdoctor.walk.packet import ICMP, ICMP6, TCP, UDP, ConntrackView, Family, Packet

SCTP, GRE, UDPLITE = 132, 47, 136
LOCAL = ("10.1.0.1", "10.2.0.1", "127.0.0.1", "fd01::1", "fd02::1", "::1")
TOPOLOGY = Topology(
    title="A host that forwards IPv4 and IPv6 between two namespaces",
    roles=("ns1", "host", "inet"),
    cables=("host:left ns1:eth0", "host:right inet:eth0"),
    addresses=(
        "ns1 eth0 10.1.0.2/24", "host left 10.1.0.1/24", "host right 10.2.0.1/24", "inet eth0 10.2.0.2/24",
        "ns1 eth0 fd01::2/64", "host left fd01::1/64", "host right fd02::1/64", "inet eth0 fd02::2/64",
    ),
    routes=(
        "ns1 default via 10.1.0.1", "inet default via 10.2.0.1", "ns1 default via fd01::1", "inet default via fd02::1",
    ),
    sysctls=(
        "host net.ipv4.ip_forward=1", "host net.ipv6.conf.all.forwarding=1", "host net.ipv4.conf.all.rp_filter=0",
    ),
)  # fmt: skip
SOURCES: dict[Family, tuple[str, ...]] = {
    4: ("10.1.0.2", "10.1.0.3", "172.16.0.9"),
    6: ("fd01::2", "fd01::3", "fd99::9"),
}
DESTINATIONS: dict[Family, tuple[str, ...]] = {4: ("10.2.0.2", "10.2.0.3"), 6: ("fd02::2", "fd02::3")}
OPTIONS = (
    b"", bytes.fromhex("020405b4"), bytes.fromhex("020405b40402080a000000010000000001030307"),
    bytes.fromhex("01010101"), bytes.fromhex("0402010102040218"), bytes.fromhex("1302aabb00000000"),
)  # fmt: skip
PAYLOADS = (b"", b"hello world", b"HeLLo", bytes(40), b"GET / HTTP/1.1\r\n\r\n", b"\x00\x01\xff|\\a")
ETH_P_ALL = 0x0003
NOBODY = "02:00:00:00:00:99"
"""So that nobody answers, and nothing else passes while counters are compared."""
MACS = ("02:aa:00:00:00:01", "02:aa:00:00:00:02")


def random_packet(choice: random.Random, family: Family) -> Packet:
    """A new connection's first packet as it comes in at the host's left device."""
    protocol = choice.choice((TCP, TCP, UDP, UDP, ICMP if family == 4 else ICMP6, SCTP, GRE, UDPLITE))
    ported = protocol in (TCP, UDP, SCTP, UDPLITE)
    kinds = ((8, 0), (8, 0), (13, 0), (3, 1)) if family == 4 else ((128, 0), (128, 0), (1, 4))
    kind = choice.choice(kinds) if protocol in (ICMP, ICMP6) else (0, 0)
    options = choice.choice(OPTIONS) if protocol == TCP else None
    payload = choice.choice(PAYLOADS)
    size = (
        (20 if family == 4 else 40) + {TCP: 20 + len(options or b""), SCTP: 12, GRE: 4}.get(protocol, 8) + len(payload)
    )
    return Packet(
        family=family, source=choice.choice(SOURCES[family]), destination=choice.choice(DESTINATIONS[family]),
        protocol=protocol, source_port=choice.randrange(1024, 65535) if ported else 0,
        destination_port=choice.choice((22, 53, 80, 1000)) if ported else 0, icmp_type=kind[0], icmp_code=kind[1],
        icmp_id=choice.randrange(1, 65535) if kind[0] in (8, 128, 13) else 0,
        tcp_flags=choice.choice((2, 2, 2, 0x42, 0xC2)) if protocol == TCP else 0,
        ttl=choice.choice((64, 10, 128)), length_bytes=size, tos=choice.choice((0, 0x10, 0xB8, 1, 2)),
        in_device="left", source_mac=choice.choice(MACS), ether_type=0x0800 if family == 4 else 0x86DD,
        tcp_options=options, payload=payload,
    )  # fmt: skip


def frame(packet: Packet, destination_mac: str) -> bytes:
    """The packet as an Ethernet frame, its checksums right."""
    body = _transport(packet)
    source, destination = ip_address(packet.source).packed, ip_address(packet.destination).packed
    pseudo = source + destination + struct.pack("!II", len(body), packet.protocol)
    place = {TCP: 16, UDP: 6, UDPLITE: 6, ICMP: 2, ICMP6: 2}.get(packet.protocol)
    if place is not None:
        number = checksum(body if packet.protocol == ICMP else pseudo + body) or 0xFFFF
        body = body[:place] + struct.pack("!H", number) + body[place + 2 :]
    if packet.family == 4:
        head = struct.pack(
            "!BBHHHBBH", 0x45, packet.tos, 20 + len(body), 7, 0, packet.ttl, packet.protocol, 0
        ) + source + destination  # fmt: skip
        head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    else:
        head = (
            struct.pack("!IHBB", 6 << 28 | packet.tos << 20, len(body), packet.protocol, packet.ttl)
            + source
            + destination
        )
    macs = bytes.fromhex((destination_mac + packet.source_mac).replace(":", ""))
    return macs + struct.pack("!H", packet.ether_type) + head + body


def _transport(packet: Packet) -> bytes:
    ports, payload = struct.pack("!HH", packet.source_port, packet.destination_port), packet.payload or b""
    match packet.protocol:
        case 6:
            options = packet.tcp_options or b""
            return (
                ports
                + struct.pack("!IIBBHHH", 1, 0, 5 + len(options) // 4 << 4, packet.tcp_flags, 1000, 0, 0)
                + options
                + payload
            )
        case 17 | 136:
            return ports + struct.pack("!HH", 8 + len(payload), 0) + payload
        case 1 | 58:
            return struct.pack("!BBHHH", packet.icmp_type, packet.icmp_code, 0, packet.icmp_id, 1) + payload
        case 132:
            return ports + bytes(8) + payload
    return bytes(4) + payload


def checksum(raw: bytes) -> int:
    raw += b"\0" * (len(raw) % 2)
    total = sum(struct.unpack(f"!{len(raw) // 2}H", raw))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Host:
    """The forwarding host: frames go in at its left, its rules' counters tell which of them they met."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.worker = Worker()
        self.fds = {role: os.open(f"/run/netns/{world.name(role)}", os.O_RDONLY) for role in ("ns1", "host")}
        self.wire = self.worker.run(self.fds["ns1"], self._wire)
        self.tap = self.worker.run(self.fds["host"], self._tap)
        lines = [line.split() for line in world.run("host", "ip", "-o", "link").splitlines()]
        names = {line[1].rstrip(":").split("@")[0]: (int(line[0].rstrip(":")), line) for line in lines}
        world.run("host", "ip", "link", "set", "left", "group", "5")
        self.links = {
            name: Link(index=index, name=name, loopback=name == "lo", hardware=772 if name == "lo" else 1,
                       group=5 if name == "left" else 0)
            for name, (index, _) in names.items()
        }  # fmt: skip
        for address in (*DESTINATIONS[4], *DESTINATIONS[6]):
            world.run("host", "ip", "neigh", "replace", address, "dev", "right", "lladdr", NOBODY, "nud", "permanent")
        self.mac = names["left"][1][names["left"][1].index("link/ether") + 1]

    def close(self) -> None:
        self.wire.close()
        self.tap.close()
        for fd in self.fds.values():
            os.close(fd)
        self.worker.close()

    @staticmethod
    def _wire() -> socket.socket:
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        wire.bind(("eth0", 0))
        return wire

    @staticmethod
    def _tap() -> socket.socket:
        """Outgoing packets are shown to taps of every protocol only."""
        tap = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
        tap.bind(("right", ETH_P_ALL))
        tap.settimeout(1)
        return tap

    def through(self, packet: Packet) -> bytes:
        """Sends the packet; what leaves the host of it, from its network header on. Raises TimeoutError."""
        self.tap.setblocking(False)
        try:
            while self.tap.recv(2048):
                pass
        except BlockingIOError:
            self.tap.settimeout(1)
        self.send(packet)
        while True:
            raw, address = self.tap.recvfrom(2048)
            if address[2] == socket.PACKET_OUTGOING and raw[6 if packet.family == 6 else 9] == packet.protocol:  # type: ignore[attr-defined]
                return raw

    def send(self, packet: Packet) -> None:
        """Each packet begins a new connection."""
        self.world.run("host", "conntrack", "-F")
        self.wire.send(frame(packet, self.mac))

    def ruleset(self) -> Ruleset:
        return self.worker.run(self.fds["host"], whole_ruleset)

    def facts(self) -> HookFacts:
        return HookFacts(
            links=self.links, address_type=_address_type, fib_device=_device, ipsec=False,
            socket=lambda packet: None,
        )  # fmt: skip


def _address_type(address: str, device: str) -> str:
    near = {"left": ("10.1.0.1", "fd01::1"), "right": ("10.2.0.1", "fd02::1"), "": LOCAL}[device]
    if address in near:
        return "local"
    if ip_address(address).is_multicast:
        return "multicast"
    return "unreachable" if address.startswith("fd99") else "unicast"


def _device(address: str, mark: int, in_device: str) -> str:
    if address.startswith(("10.1.", "fd01:")):
        return "left"
    return "right" if address.startswith(("10.2.", "fd02:")) else ""


def at_forward(packet: Packet) -> Packet:
    """The packet as the forward hook sees it."""
    ports = packet.source_port or packet.icmp_id, packet.destination_port or packet.icmp_id
    original = ConntrackTuple(
        protocol=packet.protocol, source=packet.source, destination=packet.destination, source_port=ports[0],
        destination_port=ports[1],
    )  # fmt: skip
    reply = ConntrackTuple(
        protocol=packet.protocol, source=packet.destination, destination=packet.source, source_port=ports[1],
        destination_port=ports[0],
    )  # fmt: skip
    view = None if refused(packet) else ConntrackView(state="new", original=original, reply=reply)
    return msgspec.structs.replace(packet, ttl=packet.ttl - 1, out_device="right", conntrack=view)


def refused(packet: Packet) -> bool:
    """What conntrack finds no connection in: SCTP without a chunk, UDP-Lite, ICMP errors about nothing."""
    return packet.protocol in (SCTP, UDPLITE) or (packet.protocol, packet.icmp_type) in ((ICMP, 3), (ICMP6, 1))


def counters(ruleset: Ruleset, backend: str, family: str, table: str, chain: str) -> list[tuple[Table, Chain, Rule]]:
    assert not isinstance(ruleset.tables, Unknown)
    for one in ruleset.tables:
        if (one.backend, one.family, one.name) == (backend, family, table):
            found = one.chain(chain)
            assert found is not None
            assert not isinstance(found.rules, Unknown)
            return [(one, found, rule) for rule in found.rules]
    raise AssertionError(f"no {backend} {family} {table}")


def text(found: tuple[Table, Chain, Rule]) -> str:
    return rule_text(*found)


def alone(ruleset: Ruleset, found: tuple[Table, Chain, Rule], packet: Packet, facts: HookFacts) -> ChainResult:
    """What a chain of this rule alone does, with a drop behind its matches: dropped means met."""
    table, chain, rule = found
    dropping = msgspec.structs.replace(rule, expressions=(*rule.expressions, Verdict(code="drop")))
    lone = msgspec.structs.replace(table, chains=(msgspec.structs.replace(chain, rules=(dropping,), policy="accept"),))
    hooked = base_chains(
        msgspec.structs.replace(ruleset, tables=(lone,)), "ip" if packet.family == 4 else "ip6", chain.hook
    )
    return evaluate(hooked[0], packet, facts)
