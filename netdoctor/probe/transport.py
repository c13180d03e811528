"""TCP and UDP probes by ordinary sockets that were opened inside the namespace."""

import array
import contextlib
import errno
import fcntl
import os
import socket
import struct
import termios
import time

from netdoctor.model.evidence import Answer, Ping
from netdoctor.model.snapshot import NamespaceId
from netdoctor.probe.dns import answers, query, said

IP_RECVERR, IPV6_RECVERR = 11, 25
PADDING_LINES, PADDING_BYTES = 3, 1700
DATA_PATIENCE_S = 1.6
TCP_INFO_RCV_OOOPACK = 224
DNS_PORT = 53


def open_stream(family: int) -> socket.socket:
    return socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)


def open_datagram(family: int) -> socket.socket:
    one = socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    level, option = (socket.IPPROTO_IP, IP_RECVERR) if family == 4 else (socket.IPPROTO_IPV6, IPV6_RECVERR)
    one.setsockopt(level, option, 1)
    return one


class Connect:
    """One TCP connection; on a port that speaks HTTP, large data both ways (a GET with long headers, and its answer).

    detail: "large data passes", "upload stalls", "download stalls", or "" where it was not tried.
    """

    def __init__(
        self, leg: str, namespace: NamespaceId, address: str, port: int, made: socket.socket, *, http: bool
    ) -> None:
        self.leg, self.namespace, self.address, self.port = leg, namespace, address, port
        self.socket, self.http = made, http
        self.answer: Answer = "not-sent"
        self.rtt_ms: float | None = None
        self.error = self.detail = ""
        self.connected = False
        self.data_until = 0.0
        self.received = b""
        self.wanted = -1
        self.started = time.monotonic()

    @property
    def done(self) -> bool:
        return self.answer in ("refused", "error", "local-error") or (self.answer == "reply" and not self.data_until)

    @property
    def writing(self) -> bool:
        return not self.connected

    def fileno(self) -> int:
        return self.socket.fileno()

    def next_send(self) -> float | None:
        if self.answer == "not-sent":
            return self.started
        return self.data_until or None

    def send(self) -> None:
        """Starts connecting; later, when the patience for data is over, judges what came."""
        if self.answer != "not-sent":
            if time.monotonic() >= self.data_until:
                self._judge_data()
            return
        self.answer = "silent"
        code = self.socket.connect_ex((self.address, self.port))
        if code not in (0, errno.EINPROGRESS):
            self._failed(code)

    def receive(self) -> None:
        if not self.connected:
            code = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                self._failed(code, came=True)
            else:
                self._made()
            return
        try:
            chunk = self.socket.recv(1 << 16)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            chunk = b""
        self.received += chunk
        if not chunk or self._whole():
            self._judge_data()

    def _made(self) -> None:
        self.connected, self.answer = True, "reply"
        self.rtt_ms = round((time.monotonic() - self.started) * 1000, 3)
        if not self.http:
            return
        padding = "".join(f"X-Padding-{number}: {'x' * PADDING_BYTES}\r\n" for number in range(PADDING_LINES))
        request = (
            f"GET / HTTP/1.1\r\nHost: {self.address}\r\nUser-Agent: netdoctor\r\nConnection: close\r\n{padding}\r\n"
        )
        with contextlib.suppress(OSError):
            self.socket.send(request.encode())
            self.data_until = time.monotonic() + DATA_PATIENCE_S

    def _whole(self) -> bool:
        """True when an HTTP answer has come as long as it said."""
        head, end, body = self.received.partition(b"\r\n\r\n")
        if not end:
            return False
        for line in head.split(b"\r\n")[1:]:
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length" and value.strip().isdigit():
                self.wanted = int(value)
        return 0 <= self.wanted <= len(body)

    def _judge_data(self) -> None:
        """Unacknowledged bytes are a stalled upload; a gap in what came, or half an answer, a stalled download."""
        waiting = _unacknowledged(self.socket)
        over = time.monotonic() >= self.data_until
        if waiting and over:
            self.detail = "upload stalls"
        elif over and not self._whole() and (_out_of_order(self.socket) or (self.received and self.wanted >= 0)):
            self.detail = "download stalls"
        elif self.received:
            self.detail = "large data passes"
        self.data_until = 0.0

    def _failed(self, code: int, *, came: bool = False) -> None:
        self.error = os.strerror(code)
        if code == errno.ECONNREFUSED:
            self.answer = "refused"
        elif code == errno.ETIMEDOUT:
            self.answer = "silent"
        else:
            self.answer = "error" if came else "local-error"

    def result(self) -> Ping:
        return Ping(
            leg=self.leg, namespace=self.namespace, address=self.address, protocol="tcp", port=self.port, answer=self.answer,
            rtt_ms=self.rtt_ms, error=self.error, sent=1, received=int(self.answer == "reply"), detail=self.detail,
        )  # fmt: skip

    def close(self) -> None:
        self.socket.close()


def _unacknowledged(one: socket.socket) -> int:
    """Bytes sent and not yet acknowledged (SIOCOUTQ)."""
    buffer = array.array("i", [0])
    try:
        fcntl.ioctl(one.fileno(), termios.TIOCOUTQ, buffer)
    except OSError:
        return 0
    return buffer[0]


def _out_of_order(one: socket.socket) -> int:
    """Segments that came behind a gap (tcpi_rcv_ooopack)."""
    try:
        info = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 256)
    except OSError:
        return 0
    return int(struct.unpack_from("=I", info, TCP_INFO_RCV_OOOPACK)[0]) if len(info) >= TCP_INFO_RCV_OOOPACK + 4 else 0


class Datagram:
    """One UDP question; on port 53 it is a DNS query. Silence alone proves nothing."""

    def __init__(
        self, leg: str, namespace: NamespaceId, address: str, port: int, made: socket.socket, name: str = ""
    ) -> None:
        self.leg, self.namespace, self.address, self.port = leg, namespace, address, port
        self.socket = made
        self.identifier = os.urandom(2)
        self.payload = query(name or "netdoctor.test", self.identifier) if port == DNS_PORT or name else b"netdoctor"
        self.kinds = (1, 28) if name else (1,)
        self.name = name
        self.answer: Answer = "not-sent"
        self.rtt_ms: float | None = None
        self.error = self.detail = ""
        self.found: list[str] = []
        self.sent = 0
        self.started = time.monotonic()

    @property
    def done(self) -> bool:
        return self.answer in ("reply", "refused", "error", "local-error")

    def fileno(self) -> int:
        return self.socket.fileno()

    def next_send(self) -> float | None:
        return None if self.done or self.sent >= 3 else self.started + (0.0, 0.3, 0.8)[self.sent]

    def send(self) -> None:
        self.sent += 1
        try:
            if self.sent == 1:
                self.socket.connect((self.address, self.port))
            self.socket.send(self.payload)
            if self.name and self.sent == 1:
                self.socket.send(query(self.name, self.identifier, 28))
            self.answer = "silent"
        except ConnectionRefusedError:
            self.answer, self.error = "refused", "port unreachable"
        except OSError as error:
            self.answer, self.error = "local-error", os.strerror(error.errno or 0)

    def receive(self) -> None:
        try:
            data = self.socket.recv(4096)
        except (BlockingIOError, InterruptedError):
            return
        except ConnectionRefusedError:
            self.answer, self.error = "refused", "port unreachable"
            return
        except OSError as error:
            self.answer, self.error = "error", os.strerror(error.errno or 0)
            return
        if self.port == DNS_PORT or self.name:
            if data[:2] != self.identifier:
                return
            self.found += answers(data)
            self.detail = said(data)
        self.answer = "reply"
        self.rtt_ms = round((time.monotonic() - self.started) * 1000, 3)

    def result(self) -> Ping:
        return Ping(
            leg=self.leg, namespace=self.namespace, address=self.address, protocol="udp", port=self.port, answer=self.answer,
            rtt_ms=self.rtt_ms, error=self.error, sent=self.sent, received=int(self.answer == "reply"), detail=self.detail,
        )  # fmt: skip

    def close(self) -> None:
        self.socket.close()
