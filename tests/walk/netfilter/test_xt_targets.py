"""What targets do to packets, against the kernel: the bytes that leave, and which rules behind them are met."""

from collections.abc import Iterator

import msgspec
import pytest
from lab import World
from walk.netfilter.test_xt_against_kernel import clear
from walk.netfilter.xt_probes import TOPOLOGY, Host, at_forward, counters

from netdoctor.walk.netfilter import ChainResult, base_chains, evaluate
from netdoctor.walk.netfilter.headers import packet_bytes
from netdoctor.walk.packet import TCP, UDP, Family, Packet

SYN_OPTIONS = bytes.fromhex("020405b40402080a000000010000000001030307")
SEGMENT = Packet(
    family=4, source="10.1.0.2", destination="10.2.0.2", protocol=TCP, source_port=1024, destination_port=80,
    tcp_flags=0xC2, tos=0x11, ttl=64, length_bytes=60, in_device="left", source_mac="02:aa:00:00:00:01",
    tcp_options=SYN_OPTIONS, payload=b"",
)  # fmt: skip
SEGMENT_6 = msgspec.structs.replace(
    SEGMENT, family=6, source="fd01::2", destination="fd02::2", length_bytes=80, ether_type=0x86DD
)
DATAGRAM = msgspec.structs.replace(
    SEGMENT, protocol=UDP, tcp_flags=0, tcp_options=None, length_bytes=33, payload=b"hello"
)
BACKENDS = ("iptables-legacy", "iptables-nft")
REWRITES: tuple[tuple[Packet, str], ...] = (
    (SEGMENT, "-j DSCP --set-dscp 0x10"), (SEGMENT, "-j TOS --set-tos 0x10/0x3f"), (SEGMENT, "-j TOS --and-tos 0xf0"),
    (SEGMENT, "-j TOS --xor-tos 0xff"), (SEGMENT_6, "-j DSCP --set-dscp 0x2e"), (SEGMENT_6, "-j TOS --or-tos 0x08"),
    (SEGMENT, "-p tcp -j ECN --ecn-tcp-remove"), (SEGMENT, "-p tcp -j ECN --ecn-ip-ect 2"),
    (SEGMENT, "-p tcp -m tcp --syn -j TCPMSS --set-mss 1000"), (SEGMENT, "-p tcp -m tcp --syn -j TCPMSS --set-mss 1500"),
    (SEGMENT_6, "-p tcp -m tcp --syn -j TCPMSS --set-mss 1220"), (SEGMENT, "-p tcp -j TCPOPTSTRIP --strip-options 2,8"),
    (SEGMENT, "-p tcp -j TCPOPTSTRIP --strip-options 3,253"), (SEGMENT_6, "-p tcp -j TCPOPTSTRIP --strip-options sack-permitted"),
    (DATAGRAM, "-j DSCP --set-dscp 1"), (DATAGRAM, "-p udp -j CHECKSUM --checksum-fill"),
)  # fmt: skip
PREFIXES = ("fd02::/64 2001:db8::/64", "fd02::/48 2001:db8:1::/48", "fd02::/32 2001:db8::/48")
MARKS = """
-A FORWARD -j MARK --set-mark 0x12
-A FORWARD -m mark --mark 0x12
-A FORWARD -j MARK --or-mark 0x100
-A FORWARD -m mark --mark 0x112
-A FORWARD -j MARK --and-mark 0xf0f
-A FORWARD -m mark --mark 0x102
-A FORWARD -j MARK --xor-mark 0x3
-A FORWARD -m mark --mark 0x101
-A FORWARD -j MARK --set-xmark 0x40/0xf
-A FORWARD -m mark --mark 0x140
-A FORWARD -m connmark --mark 0
-A FORWARD -j CONNMARK --save-mark
-A FORWARD -m connmark --mark 0x140
-A FORWARD -j CONNMARK --set-xmark 0x7/0xff
-A FORWARD -m connmark --mark 0x107
-A FORWARD -j CONNMARK --restore-mark --nfmask 0xff --ctmask 0xff
-A FORWARD -m mark --mark 0x107
-A FORWARD -j CONNMARK --save-mark --nfmask 0xf --ctmask 0xf0
-A FORWARD -m connmark --mark 0x107
-A FORWARD -m connmark --mark 0x100
-A FORWARD -j CONNMARK --set-mark 0x3 --left-shift-mark 4
-A FORWARD -m connmark --mark 0x30
-A FORWARD -m connmark --mark 0x3
-A FORWARD -j CONNMARK --restore-mark --right-shift-mark 4
-A FORWARD -m mark --mark 0x3
-A FORWARD -j CONNMARK --and-mark 0x2
-A FORWARD -m connmark ! --mark 0
-A FORWARD -j TTL --ttl-set 9
-A FORWARD -m ttl --ttl-eq 9
-A FORWARD -j TTL --ttl-inc 3
-A FORWARD -m ttl --ttl-eq 12
-A FORWARD -j TTL --ttl-dec 2
-A FORWARD -m ttl --ttl-eq 10
-A FORWARD -j DSCP --set-dscp 0x2e
-A FORWARD -m dscp --dscp 0x2e
-A FORWARD -m tos --tos 0xb9
-A FORWARD -m u32 --u32 "0>>16&0xff=0xb9&&8>>24=10"
-A FORWARD -p tcp -m tcp --syn -j TCPMSS --set-mss 900
-A FORWARD -p tcp -m tcpmss --mss 900
-A FORWARD -p tcp -j TCPOPTSTRIP --strip-options mss
-A FORWARD -p tcp -m tcpmss --mss 1:65535
-A FORWARD -p tcp -m tcp --tcp-option 2
-A FORWARD -p tcp -m tcp --tcp-option 8
-A FORWARD -p tcp -j ECN --ecn-tcp-remove
-A FORWARD -p tcp -m ecn --ecn-tcp-ece
-A FORWARD -j CLASSIFY --set-class 1:2
-A FORWARD -j LOG
-A FORWARD -j NFLOG
-A FORWARD -j AUDIT --type accept
-A FORWARD -m comment --comment last
"""


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    with World(TOPOLOGY) as world:
        made = Host(world)
        yield made
        made.close()


def load(host: Host, backend: str, family: Family, script: str) -> None:
    tool = "iptables" if family == 4 else "ip6tables"
    host.world.sh(f"{tool}-{backend.removeprefix('iptables-')}-restore <<'X'\n*mangle\n{script}\nCOMMIT\nX")


def clear_mangle(host: Host, backend: str, family: Family) -> None:
    clear(host, "iptables-nft", family)
    if backend == "iptables-legacy":
        host.world.sh(f"{'iptables' if family == 4 else 'ip6tables'}-legacy -t mangle -F")


def walked(host: Host, packet: Packet, hook: str) -> ChainResult:
    family = "ip" if packet.family == 4 else "ip6"
    return evaluate(base_chains(host.ruleset(), family, hook)[0], at_forward(packet), host.facts())


def agree(ours: Packet, raw: bytes) -> None:
    """Every bit we claim to know is so on the wire."""
    mine = packet_bytes(ours)
    assert len(mine.value) == len(raw)
    differ = [
        place for place, (a, b, dark) in enumerate(zip(mine.value, raw, mine.hidden, strict=True)) if (a ^ b) & ~dark
    ]
    assert differ == [], f"{mine.value.hex()} {raw.hex()}"


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("packet", "words"), REWRITES)
def test_packets_as_they_leave(host: Host, backend: str, packet: Packet, words: str) -> None:
    hook = "postrouting" if "CHECKSUM" in words else "forward"
    load(host, backend, packet.family, f"-A {hook.upper()} {words}")
    try:
        agree(walked(host, packet, hook).packet, host.through(packet))
    finally:
        clear_mangle(host, backend, packet.family)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("prefixes", PREFIXES)
def test_prefixes_are_translated(host: Host, backend: str, prefixes: str) -> None:
    source, destination = prefixes.split()
    load(host, backend, 6, f"-A POSTROUTING -j SNPT --src-pfx {source.replace('fd02', 'fd01')} --dst-pfx {destination}")
    try:
        agree(walked(host, SEGMENT_6, "postrouting").packet, host.through(SEGMENT_6))
    finally:
        clear_mangle(host, backend, 6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_rules_behind_targets_are_met_as_in_the_kernel(host: Host, backend: str) -> None:
    load(host, backend, 4, MARKS)
    try:
        before = host.ruleset()
        result = walked(host, SEGMENT, "forward")
        host.through(SEGMENT)
        after = counters(host.ruleset(), backend, "ip", "mangle", "FORWARD")
        old = counters(before, backend, "ip", "mangle", "FORWARD")
        moved = [two[2].line for one, two in zip(old, after, strict=True) if one[2].packets != two[2].packets]
        assert [ref.line for ref in result.matched] == moved
        assert result.doubts == ()
    finally:
        clear_mangle(host, backend, 4)
