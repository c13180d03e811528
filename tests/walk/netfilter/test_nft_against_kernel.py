"""Each nf_tables match alone against the kernel: packets through the forward hook, and whose counter moved."""

import os
import random
import socket
import struct
import time
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest
from lab import World
from lab.topology import Topology
from msgspec.structs import replace
from walk.netfilter.forwarding import checksum, whole_ruleset

from netdoctor.model import expression as e
from netdoctor.model.firewall import Rule, Ruleset
from netdoctor.model.network import ConntrackTuple, Link
from netdoctor.model.unknown import Unknown
from netdoctor.netlink.inside import Worker
from netdoctor.observe.nftables import read_chains
from netdoctor.walk.netfilter import BaseChain, HookFacts, base_chains
from netdoctor.walk.netfilter.state import Alternatives, Pending, State
from netdoctor.walk.netfilter.step import step
from netdoctor.walk.packet import ICMP, ICMP6, TCP, UDP, ConntrackView, Packet, with_priority_of_tos

RULES = Path(__file__).parent / "rules" / "expressions.nft"
MATCHES = (
    e.Meta, e.Payload, e.Cmp, e.Range, e.Bitwise, e.Byteorder, e.Lookup, e.Ct, e.Fib, e.Rt, e.Xfrm, e.Osf, e.Numgen,
    e.Hash, e.Exthdr, e.Immediate,
)  # fmt: skip
MARKS = """
table inet marks { chain p { type filter hook prerouting priority -150;
 th dport 53 meta mark set 0x10 ct mark set 0x20
 th dport 443 meta mark set 2
 }
}
"""
TOPOLOGY = Topology(
    title="A host that forwards whatever comes from one namespace to another",
    roles=("ns1", "host", "inet"),
    cables=("host:left ns1:eth0", "host:right inet:eth0"),
    addresses=("host left 10.1.0.1/24", "host right 10.2.0.1/24", "host left fd01::1/64", "host right fd02::1/64"),
    routes=("host default via 10.2.0.2", "host default via fd02::2"),
    sysctls=(
        "host net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 net.ipv6.conf.all.forwarding=1",
        "host net.ipv4.conf.left.rp_filter=0 net.ipv4.conf.right.rp_filter=0",
    ),
    setup="""
ip neigh replace 10.2.0.2 dev right lladdr 02:00:00:00:00:99 nud permanent
ip neigh replace fd02::2 dev right lladdr 02:00:00:00:00:99 nud permanent
""",
)
OWN_MAC = "00:01:02:03:04:05"
SOURCES = {
    4: ("10.0.0.1", "192.168.3.1", "1.2.3.4", "10.1.0.2", "192.168.2.9"),
    6: ("::2", "fd00::1", "1234::", "fd01::2"),
}
DESTINATIONS = {
    4: ("192.168.3.100", "10.0.0.2", "192.168.5.1", "10.0.0.1"),
    6: ("fd00::9", "2001:db8::2", "2001:db8::7"),
}
PORTS = (22, 33, 53, 80, 443, 1024, 5353, 60000)
KINDS = {ICMP: ((8, 0), (0, 0), (3, 4), (5, 1), (13, 0), (11, 0)), ICMP6: ((128, 0), (129, 0), (1, 4), (2, 0), (3, 0))}
SYN_ACK = 0x12
OPTIONS = (
    b"",
    b"\x02\x04\x05\x50",
    bytes.fromhex("020405b40402080a0000000100000000") + b"\x01\x03\x03\x07",
    b"\x01\x01\x12\x02",
    bytes.fromhex("1e0c0010") + bytes(8),
    b"\x05\x0a\0\0\0\1\0\0\0\1\0\0",
    b"\x06\x06\0\0\0\0\x08\x02",
    b"\x01\x01\x08\x0a\0\0\0\1\0\0\0\1",
    b"\xff\x04\x05\x06",
    b"\x22\x02\x13\x02",
    b"\x02\x03\x01\x01",
)
QUOTED = bytes([0x45, 0, 0, 28])
PATIENCE_S = 2.0


class Lab:
    """The host with its rules: `counted(packet)` sends a packet and gives which rules counted it."""

    def __init__(self, world: World, scratch: Path) -> None:
        self.worker = Worker()
        self.fds = {role: os.open(f"/run/netns/{world.name(role)}", os.O_RDONLY) for role in ("ns1", "host", "inet")}
        self.links = {link.name: link for link in links_of(world)}
        self.wire = self.worker.run(self.fds["ns1"], lambda: packet_socket("eth0"))
        self.far = self.worker.run(self.fds["inet"], lambda: packet_socket("eth0"))
        text = RULES.read_text()
        world.run("host", "nft", "-f", str(RULES))
        head, lines = first_table(text)
        kept = [line for line, rule in zip(lines, self.rules(), strict=True) if is_match(rule)]
        world.run("host", "nft", "flush", "ruleset")
        body = "\n".join(f"{line} counter" for line in kept)
        path = scratch / "matches.nft"
        path.write_text(f"{head} chain f {{ type filter hook forward priority 0;\n{body}\n}}\n}}\n{MARKS}")
        world.run("host", "nft", "-f", str(path))
        self.lines = kept
        self.ruleset: Ruleset = self.worker.run(self.fds["host"], whole_ruleset)
        self.base: BaseChain = base_chains(self.ruleset, "ip", "forward")[0]

    def close(self) -> None:
        self.wire.close()
        self.far.close()
        for fd in self.fds.values():
            os.close(fd)
        self.worker.close()

    def rules(self) -> tuple[Rule, ...]:
        return self.worker.run(self.fds["host"], lambda: read_chains("inet", "t", ["f"])["f"])

    def counted(self, packet: Packet) -> list[bool]:
        before = [rule.packets for rule in self.rules()]
        frame = bytes.fromhex(self.links["left"].mac.replace(":", "") + OWN_MAC.replace(":", ""))
        datagram, identity = packet_bytes(packet)
        while drained(self.far):
            pass
        self.wire.send(frame + struct.pack("!H", packet.ether_type) + datagram)
        arrived(self.far, packet.family, identity)
        return [rule.packets != old for rule, old in zip(self.rules(), before, strict=True)]

    def addressed(self, packet: Packet) -> Packet:
        """The packet with the MAC address that it is sent to and what it carries."""
        headers = (20 if packet.family == 4 else 40) + {TCP: 20, UDP: 8}.get(packet.protocol, 8)
        size = packet.length_bytes - headers - len(packet.tcp_options or b"")
        start = QUOTED if packet.protocol in (ICMP, ICMP6) else b""
        return replace(packet, destination_mac=self.links["left"].mac, payload=start.ljust(size, b"\0"))

    def foretold(self, packet: Packet) -> list[bool | None]:
        rules = self.base.chain.rules
        assert not isinstance(rules, Unknown)
        return [self.meets(rule, packet) for rule in rules]

    def meets(self, rule: Rule, packet: Packet) -> bool | None:
        state = State(self.base, packet, facts(self.links))
        doubtful = False
        for expression in rule.expressions:
            outcome = step(state, expression)
            assert not isinstance(outcome, Pending)
            if outcome is False:
                return False
            doubtful = doubtful or isinstance(outcome, Unknown | Alternatives)
        return None if doubtful else True


def facts(links: dict[str, Link]) -> HookFacts:
    return HookFacts(
        links=links, ipsec=False, address_type=lambda address, device: "unicast",
        fib_device=lambda address, mark, device: "left" if address.startswith(("10.1.", "fd01:")) else "right",
    )  # fmt: skip


def links_of(world: World) -> Iterator[Link]:
    for line in world.run("host", "ip", "-o", "link").splitlines():
        index, name = line.split(": ")[:2]
        mac = line.split(" brd ")[0].split()[-1]
        loopback = name == "lo"
        yield Link(
            index=int(index), name=name.split("@")[0], mac=mac, loopback=loopback, kind="" if loopback else "veth",
            hardware=772 if loopback else 1,
        )  # fmt: skip


def packet_socket(device: str) -> socket.socket:
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    made.bind((device, 3))
    made.setblocking(False)
    return made


def drained(wire: socket.socket) -> bytes:
    try:
        return wire.recv(4096)
    except BlockingIOError:
        return b""


def arrived(wire: socket.socket, family: int, identity: int) -> None:
    """Waits until the packet came through; the IPv4 id, or the IPv6 flow label, tells it from others."""
    deadline = time.monotonic() + PATIENCE_S
    place = slice(18, 20) if family == 4 else slice(16, 18)
    while time.monotonic() < deadline:
        frame = drained(wire)
        if frame[12:14] == (b"\x08\x00" if family == 4 else b"\x86\xdd") and frame[place] == struct.pack(
            "!H", identity
        ):
            return
        if not frame:
            time.sleep(0.0005)
    raise AssertionError("the packet did not come through")


def first_table(text: str) -> tuple[str, list[str]]:
    """What stands before chain f of the first table, and the lines of that chain."""
    head, rest = text.split(" chain f {\n", 1)
    return head, [line.strip() for line in rest.split("\n }\n", 1)[0].splitlines()[1:]]


def is_match(rule: Rule) -> bool:
    verdicts = any(isinstance(each, e.Lookup) and each.destination == 0 for each in rule.expressions)
    verdicts = verdicts or any(isinstance(each, e.Exthdr) and not each.register for each in rule.expressions)
    return bool(rule.expressions) and not verdicts and all(isinstance(each, MATCHES) for each in rule.expressions)


IDENTITIES = iter(range(1000, 60000))


def packet_bytes(packet: Packet) -> tuple[bytes, int]:
    """The packet before the host forwards it: its time to live is one more."""
    identity = next(IDENTITIES)
    source, destination = ip_address(packet.source).packed, ip_address(packet.destination).packed
    size = packet.length_bytes - (20 if packet.family == 4 else 40)
    body = transport_bytes(packet, size)
    pseudo = source + destination + struct.pack("!IxxxB", size, packet.protocol)
    place = {TCP: 16, UDP: 6, ICMP: 2, ICMP6: 2}[packet.protocol]
    total = checksum((b"" if packet.protocol == ICMP else pseudo) + body)
    body = body[:place] + struct.pack("!H", total or 0xFFFF) + body[place + 2 :]
    if packet.family == 6:
        first = 0x60000000 | packet.tos << 20 | identity
        return struct.pack(
            "!IHBB", first, size, packet.protocol, packet.ttl + 1
        ) + source + destination + body, identity
    fragment = 0x4000 if packet.dont_fragment else 0
    head = struct.pack(
        "!BBHHHBBH", 0x45, packet.tos, packet.length_bytes, identity, fragment, packet.ttl + 1, packet.protocol, 0
    )
    total = checksum(head + source + destination)
    return head[:10] + struct.pack("!H", total) + source + destination + body, identity


def transport_bytes(packet: Packet, size: int) -> bytes:
    ports = struct.pack("!HH", packet.source_port, packet.destination_port)
    if packet.protocol == UDP:
        return (ports + struct.pack("!HH", size, 0)).ljust(size, b"\0")
    if packet.protocol == TCP:
        options = packet.tcp_options or b""
        head = struct.pack("!IIBBHHH", 22, 0, 0x50 + len(options) * 4, packet.tcp_flags, 1000, 0, 0)
        return (ports + head + options).ljust(size, b"\0")
    head = struct.pack("!BBHHH", packet.icmp_type, packet.icmp_code, 0, packet.icmp_id, 1)
    return (head + QUOTED).ljust(size, b"\0")


def random_packet(choice: random.Random) -> Packet:
    """One packet as the forward hook sees it."""
    family = choice.choice((4, 4, 6))
    protocol = choice.choice((TCP, TCP, UDP, ICMP if family == 4 else ICMP6))
    echo = protocol in (ICMP, ICMP6)
    kind, code = choice.choice(KINDS[protocol]) if echo else (0, 0)
    source, destination = choice.choice(SOURCES[family]), choice.choice(DESTINATIONS[family])
    ports = (0, 0) if echo else (choice.choice((22, choice.randrange(2000, 60000))), choice.choice(PORTS))
    number = choice.randrange(1, 60000) if echo else 0
    options = choice.choice(OPTIONS) if protocol == TCP else None
    mark = {53: 0x10, 443: 2}.get(ports[1], 0)
    flags = choice.choice((2, 2, 0x10, 0x12, 0x18)) if protocol == TCP else 0
    queried = (protocol in (TCP, UDP) and flags != SYN_ACK) or (kind, code) in ((8, 0), (13, 0), (128, 0))
    view = ConntrackView(
        state="new" if queried else "invalid", mark=0x20 if ports[1] == 53 else 0,
        original=ConntrackTuple(
            protocol=protocol, source=source, destination=destination, source_port=ports[0] or number,
            destination_port=ports[1] or number,
        ),
        reply=ConntrackTuple(
            protocol=protocol, source=destination, destination=source, source_port=ports[1] or number,
            destination_port=ports[0] or number,
        ),
    )  # fmt: skip
    packet = Packet(
        family=family, source=source, destination=destination, protocol=protocol, source_port=ports[0],
        destination_port=ports[1], icmp_type=kind, icmp_code=code, icmp_id=number,
        tcp_flags=flags, tcp_options=options,
        ttl=choice.choice((44, 63, 9, 10, 48)), length_bytes=choice.choice((100, 120, 232) if options else (68, 100, 232)),
        tos=choice.choice((0, 0, 0x20, 0xB8, 0x01, 0x03)), dont_fragment=choice.random() < 0.5, mark=mark,
        in_device="left", out_device="right", ether_type=0x0800 if family == 4 else 0x86DD, conntrack=view,
        source_mac=OWN_MAC, destination_mac="",
    )  # fmt: skip
    return with_priority_of_tos(packet) if family == 4 else packet


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with World(TOPOLOGY) as world:
        made = Lab(world, tmp_path_factory.mktemp("rules"))
        yield made
        made.close()


def compare(lab: Lab, seeds: range) -> tuple[int, int, set[str]]:
    """How many answers were sure and how many not; the rules that some packet met. Wrong answers fail."""
    sure = unsure = 0
    met: set[str] = set()
    sent: set[tuple[object, ...]] = set()
    for seed in seeds:
        packet = lab.addressed(random_packet(random.Random(seed)))
        key = (packet.source, packet.destination, packet.protocol, packet.source_port, packet.destination_port)
        if key in sent and packet.source_port:
            continue
        sent.add(key)
        foretold, counted = lab.foretold(packet), lab.counted(packet)
        wrong = [
            f"{line}: we said {said}" for line, said, came in zip(lab.lines, foretold, counted, strict=True) if said not in (None, came)
        ]  # fmt: skip
        assert wrong == [], f"seed {seed}: {packet!r}"
        sure += sum(said is not None for said in foretold)
        unsure += sum(said is None for said in foretold)
        met |= {line for line, came in zip(lab.lines, counted, strict=True) if came}
    return sure, unsure, met


def test_every_match_as_the_kernel_has_it(lab: Lab) -> None:
    sure, unsure, met = compare(lab, range(60))
    assert len(lab.lines) > 450
    assert unsure < 0.12 * (sure + unsure)
    assert len(met) > 150


@pytest.mark.soak
def test_every_match_for_long(lab: Lab) -> None:
    sure, unsure, _ = compare(lab, range(1000, 3000))
    assert unsure < 0.12 * (sure + unsure)
