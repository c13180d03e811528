"""Random flows: a first packet and what may follow it, both ways."""

import random
from collections.abc import Iterator
from ipaddress import ip_address
from itertools import count
from typing import NamedTuple

from msgspec.structs import replace

from netdoctor.walk.packet import ICMP, ICMP6, TCP, UDP, Packet

from .box import WIRES
from .packets import Seen, minimum_bytes

PORTS = (53, 80, 80, 1000)
ECHO = {4: (8, 0), 6: (128, 129)}
ADDRESSES = {
    4: {"inside": ("10.1.0.2", "10.1.0.3"), "outside": ("10.2.0.2", "10.2.0.3", "10.9.0.9"),
        "host": ("10.1.0.1", "10.2.0.1", "10.2.0.5", "10.3.0.1")},
    6: {"inside": ("fd01::2", "fd01::3"), "outside": ("fd02::2", "fd02::3", "fd09::9"),
        "host": ("fd01::1", "fd02::1", "fd03::1")},
}  # fmt: skip
OWN_SOURCE = {"inside": 0, "outside": 1}
FIRST_FLAGS = (2, 2, 2, 2, 2, 2, 0x10, 0x04, 0x11, 0x03, 0x12)
TOS = (0, 0, 0, 0x10, 0x20)
TTLS = (64, 64, 64, 255, 40)
MARKS = (0, 0, 0, 0, 1, 2)


class Sent(NamedTuple):
    """One packet and where it goes in: the host's interface, or "" for the host's own."""

    wire: str
    packet: Packet
    sequence: int = 1000
    acknowledged: int = 0


class Flows:
    """Flows with numbers of their own, so that no two are one connection."""

    def __init__(self, dice: random.Random) -> None:
        self.dice = dice
        self._numbers: Iterator[int] = count(dice.randrange(20000, 30000))

    def first(self) -> Sent:
        """A first packet: forwarded from inside or from outside, to the host, or the host's own."""
        dice = self.dice
        family = dice.choice((4, 4, 6))
        start = dice.choices(("inside", "outside", "own"), (6, 2, 3))[0]
        places = ADDRESSES[family]
        if start == "own":
            side = dice.choice(("inside", "outside", "outside", "outside"))
            destination = dice.choice(places[side])
            source = places["host"][OWN_SOURCE[side]]
            wire = ""
        else:
            source = dice.choice(places[start])
            goal = dice.choice(
                ("host", "inside" if start == "outside" else "outside", "outside" if start == "inside" else "host")
            )
            destination = dice.choice(places[goal])
            wire = "left" if start == "inside" else "right"
        return Sent(wire, self._packet(family, source, destination, own=not wire))

    def _packet(self, family: int, source: str, destination: str, *, own: bool) -> Packet:
        dice = self.dice
        protocol = dice.choice((TCP, UDP, ICMP if family == 4 else ICMP6))
        echo, number = protocol in (ICMP, ICMP6), next(self._numbers)
        length = minimum_bytes(family, protocol) + dice.choice((0, 0, 4, 20, 52, 120, 301))
        return Packet(
            family=4 if family == 4 else 6, source=source, destination=destination, protocol=protocol,
            source_port=0 if echo else number, destination_port=0 if echo else dice.choice(PORTS),
            icmp_type=ECHO[family][0] if echo else 0, icmp_id=number if echo else 0,
            tcp_flags=dice.choice(FIRST_FLAGS) if protocol == TCP else 0, ttl=dice.choice(TTLS), length_bytes=length,
            tos=dice.choice(TOS), mark=dice.choice(MARKS) if own else 0, user_id=0 if own else None,
            group_id=0 if own else None, ether_type=0x0800 if family == 4 else 0x86DD,
        )  # fmt: skip

    def confirmed(self, sent: Sent) -> Sent:
        """What the asker sends when the answer has come: the handshake's end, another datagram, another ping."""
        if sent.packet.protocol != TCP:
            return sent
        return sent._replace(packet=replace(sent.packet, tcp_flags=0x10), sequence=1001, acknowledged=5001)

    def answer(self, sent: Sent, seen: Seen) -> Sent | None:
        """The answer to a packet that came out looking like this; None to what nobody answers.

        Nor to what a raw socket answers only because it is routed without its source: nothing else goes from a
        loopback address to a foreign one.
        """
        packet = sent.packet
        if packet.protocol == TCP and packet.tcp_flags != 2:
            return None
        own = seen.place == "host"
        if own and ip_address(seen.destination).is_loopback and seen.source not in ADDRESSES[packet.family]["host"]:
            return None
        wire = "" if own else next(wire for wire, (role, device) in WIRES.items() if f"{role}:{device}" == seen.place)
        echo = packet.protocol in (ICMP, ICMP6)
        back = Packet(
            family=packet.family, source=seen.destination, destination=seen.source, protocol=packet.protocol,
            source_port=0 if echo else seen.destination_port, destination_port=0 if echo else seen.source_port,
            icmp_type=ECHO[packet.family][1] if echo else 0, icmp_id=seen.source_port if echo else 0,
            tcp_flags=0x12 if packet.protocol == TCP else 0, ttl=self.dice.choice(TTLS),
            length_bytes=packet.length_bytes, tos=self.dice.choice(TOS), user_id=0 if own else None,
            group_id=0 if own else None, ether_type=packet.ether_type,
        )  # fmt: skip
        return Sent(wire, back, 5000, 1001)
