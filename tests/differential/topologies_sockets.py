"""Sockets in every namespace of a world: real pings, datagrams and connections, and where they and their answers came."""

import contextlib
import errno
import socket
import struct
import time
from collections.abc import Iterator
from itertools import count
from typing import NamedTuple

from netdoctor.model.journey import Flow
from netdoctor.netlink.inside import Worker
from netdoctor.target import Handle

from .packets import checksum

PORT = 7777
IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, IPV6_RECVPKTINFO, IPV6_PKTINFO, IP_PKTINFO = 10, 23, 49, 50, 8
CUT, WHOLE = 0, 2
HEADS = {4: 28, 6: 48}
PAUSES = (0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.04, 0.08)
PATIENCE = (0.1, 0.2, 0.4, 0.8, 1.6)
DOMAINS = {4: socket.AF_INET, 6: socket.AF_INET6}


class Became(NamedTuple):
    """Of a packet: the roles whose stack took it ("" for none), whether the answer came, what the sender was told."""

    taken_by: tuple[str, ...]
    answered: bool
    refused: str = ""


class Ears(NamedTuple):
    """One namespace's sockets."""

    echo: dict[int, socket.socket]
    udp: dict[int, socket.socket]
    tcp: socket.socket

    def all(self) -> list[socket.socket]:
        return [*self.echo.values(), *self.udp.values(), self.tcp]


class Sockets:
    """Of every role. Close it."""

    def __init__(self, handles: dict[str, Handle]) -> None:
        self.worker = Worker()
        self.handles = handles
        self.ears = {role: self.worker.run(handle.fd, _ears) for role, handle in handles.items()}
        self.numbers = count(1)

    def close(self) -> None:
        for ears in self.ears.values():
            for one in ears.all():
                one.close()
        self.worker.close()

    def send(self, role: str, flow: Flow, *, says: str) -> Became:
        """The flow's packet for real. says: what is claimed of it; what is claimed to come is waited for longer."""
        number = next(self.numbers)
        for _ in self._heard():
            pass
        sock = self.worker.run(self.handles[role].fd, lambda: _sender(flow))
        try:
            return self._sent(sock, flow, number, says=says)
        finally:
            sock.close()

    def _sent(self, sock: socket.socket, flow: Flow, number: int, *, says: str) -> Became:
        body = (number.to_bytes(8, "big") + bytes([WHOLE if flow.dont_fragment else CUT])).ljust(
            max(9, flow.length_bytes - HEADS[flow.family]), b"\0"
        )
        taken: list[str] = []
        answered = False
        try:
            if flow.protocol == "tcp":
                sock.connect((flow.destination, PORT))
            elif flow.protocol == "udp":
                sock.connect((flow.destination, PORT))
                sock.send(body)
            else:
                sock.sendto(_echo(flow.family, number, body), (flow.destination, 0))
        except BlockingIOError:
            pass
        except OSError as error:
            return Became((), False, errno.errorcode[error.errno or 0])
        for pause in (*PAUSES, *PATIENCE):
            due = says == "arrives" or (says == "answer lost" and not taken and flow.protocol != "tcp")
            if pause >= PATIENCE[0] and not due:
                break
            time.sleep(pause)
            taken += [role for role, tag in self._heard() if tag == number]
            answered = answered or _answered(sock, flow, number)
            if answered:
                break
        return Became(tuple(dict.fromkeys(taken)), answered)

    def _heard(self) -> Iterator[tuple[str, int]]:
        """Role and number of what has come in since the last call; datagrams are answered."""
        for role, ears in self.ears.items():
            for family, sock in ears.echo.items():
                for raw in _received(sock):
                    head = raw[(raw[0] & 15) * 4 :] if family == 4 else raw
                    if head[0] in (8, 128):
                        yield role, int.from_bytes(head[8:16], "big")
            for family, sock in ears.udp.items():
                yield from ((role, number) for number in _served(sock, family))


def _ears() -> Ears:
    echo = {
        4: socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
        6: socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6),
    }
    udp = {family: socket.socket(domain, socket.SOCK_DGRAM) for family, domain in DOMAINS.items()}
    udp[6].setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    udp[6].setsockopt(socket.IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)
    udp[6].setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, CUT)
    udp[4].setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
    udp[4].setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, CUT)
    udp[4].bind(("0.0.0.0", PORT))
    udp[6].bind(("::", PORT))
    tcp = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    tcp.bind(("::", PORT))
    tcp.listen(1000)
    made = Ears(echo, udp, tcp)
    for one in made.all():
        one.setblocking(False)
    return made


def _sender(flow: Flow) -> socket.socket:
    kinds = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM, "icmp": socket.SOCK_RAW}
    icmp = socket.IPPROTO_ICMP if flow.family == 4 else socket.IPPROTO_ICMPV6
    sock = socket.socket(DOMAINS[flow.family], kinds[flow.protocol], icmp if flow.protocol == "icmp" else 0)
    if flow.protocol != "tcp":
        how = WHOLE if flow.dont_fragment else CUT
        if flow.family == 4:
            sock.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, how)
        else:
            sock.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, how)
    sock.setblocking(False)
    return sock


def _echo(family: int, number: int, body: bytes) -> bytes:
    head = struct.pack("!BBHHH", 8 if family == 4 else 128, 0, 0, 0x4E44, number & 0xFFFF)
    if family == 6:
        return head + body
    return head[:2] + struct.pack("!H", checksum(head + body)) + head[4:] + body


def _received(sock: socket.socket) -> Iterator[bytes]:
    while True:
        try:
            yield sock.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            continue


def _served(sock: socket.socket, family: int) -> Iterator[int]:
    """Answers each datagram from the address it came to, whole if it came so; their numbers."""
    while True:
        try:
            raw, controls, _, asker = sock.recvmsg(4096, 128)
        except BlockingIOError:
            return
        except OSError:
            continue
        level, kind = (socket.IPPROTO_IP, IP_PKTINFO) if family == 4 else (socket.IPPROTO_IPV6, IPV6_PKTINFO)
        info = next(value for one, other, value in controls if (one, other) == (level, kind))
        back = bytes(4) + info[8:12] + bytes(4) if family == 4 else info[:16] + bytes(4)
        with contextlib.suppress(OSError):
            sock.setsockopt(level, IP_MTU_DISCOVER if family == 4 else IPV6_MTU_DISCOVER, raw[8])
            sock.sendmsg([raw], [(level, kind, back)], 0, asker)
        yield int.from_bytes(raw[:8], "big")


def _answered(sock: socket.socket, flow: Flow, number: int) -> bool:
    if flow.protocol == "tcp":
        try:
            sock.getpeername()
        except OSError:
            return False
        return True
    for raw in _received(sock):
        if flow.protocol == "udp":
            if int.from_bytes(raw[:8], "big") == number:
                return True
            continue
        head = raw[(raw[0] & 15) * 4 :] if flow.family == 4 else raw
        if head[0] in (0, 129) and int.from_bytes(head[8:16], "big") == number:
            return True
    return False
