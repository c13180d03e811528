"""DNS questions and answers (RFC 1035), and the two probes that only they need: over TCP, and open to any answerer."""

import errno
import os
import socket
import struct
import time

from netdoctor.model.evidence import TRUNCATED, Answer, Ping
from netdoctor.model.snapshot import NamespaceId

DNS_PORT = 53
HEADER_BYTES = 12
TRUNCATION_BIT = 0x0200


class NameProbe:
    """One question for a name's addresses to one server: `found`, and in `detail` what else the server said."""

    protocol = "udp"

    def __init__(self, leg: str, namespace: NamespaceId, address: str, made: socket.socket, name: str) -> None:
        self.leg, self.namespace, self.address, self.name = leg, namespace, address, name
        self.socket = made
        self.identifier = os.urandom(2)
        self.answer: Answer = "not-sent"
        self.rtt_ms: float | None = None
        self.error = self.detail = self.answered_from = ""
        self.found: list[str] = []
        self.sent = 0
        self.started = time.monotonic()

    @property
    def done(self) -> bool:
        return self.answer not in ("not-sent", "silent")

    def fileno(self) -> int:
        return self.socket.fileno()

    def _take(self, message: bytes) -> None:
        self.found += answers(message)
        self.detail = said(message)
        self.answer = "reply"
        self.rtt_ms = round((time.monotonic() - self.started) * 1000, 3)

    def _failed(self, code: int, *, came: bool) -> None:
        self.error = os.strerror(code)
        self.answer = "refused" if code == errno.ECONNREFUSED else "error" if came else "local-error"

    def result(self) -> Ping:
        return Ping(
            leg=self.leg, namespace=self.namespace, address=self.address, protocol=self.protocol, port=DNS_PORT,
            answer=self.answer, rtt_ms=self.rtt_ms, error=self.error, sent=self.sent,
            received=int(self.answer == "reply"), detail=self.detail, offender=self.answered_from,
        )  # fmt: skip

    def close(self) -> None:
        self.socket.close()


class NameOverTcp(NameProbe):
    """The question over TCP, two bytes of length before each message (RFC 1035 4.2.2)."""

    protocol = "tcp"
    connected = False
    received = b""

    @property
    def writing(self) -> bool:
        return not self.connected

    def next_send(self) -> float | None:
        return self.started if self.answer == "not-sent" else None

    def send(self) -> None:
        self.sent, self.answer = 1, "silent"
        code = self.socket.connect_ex((self.address, DNS_PORT))
        if code not in (0, errno.EINPROGRESS):
            self._failed(code, came=False)

    def receive(self) -> None:
        try:
            if not self.connected:
                code = self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if code:
                    self._failed(code, came=True)
                    return
                self.connected = True
                message = query(self.name, self.identifier)
                self.socket.send(struct.pack("!H", len(message)) + message)
                return
            chunk = self.socket.recv(1 << 16)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._failed(error.errno or 0, came=True)
            return
        self.received += chunk
        whole = len(self.received) > 2 and len(self.received) >= 2 + struct.unpack_from("!H", self.received)[0]
        if whole:
            self._take(self.received[2:])
        elif not chunk:
            self.answer, self.error = "error", "the connection was closed without an answer"


class NameFromAnybody(NameProbe):
    """The question from a socket that is not connected: it sees an answer that comes from another address, too."""

    def next_send(self) -> float | None:
        return None if self.done or self.sent >= 2 else self.started + (0.0, 0.2)[self.sent]

    def send(self) -> None:
        self.sent += 1
        try:
            self.socket.sendto(query(self.name, self.identifier), (self.address, DNS_PORT))
            self.answer = "silent"
        except OSError as error:
            self._failed(error.errno or 0, came=False)

    def receive(self) -> None:
        try:
            data, sender = self.socket.recvfrom(4096)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self._failed(error.errno or 0, came=True)
            return
        if data[:2] == self.identifier:
            self.answered_from = f"{sender[0]} port {sender[1]}"
            self._take(data)


def query(name: str, identifier: bytes, kind: int = 1) -> bytes:
    """A DNS question (RFC 1035 4): one name, recursion desired."""
    labels = b"".join(bytes([len(label)]) + label for label in name.rstrip(".").encode("idna").split(b".") if label)
    return identifier + struct.pack("!5H", 0x100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", kind, 1)


def answers(message: bytes) -> list[str]:
    """The A and AAAA records of a DNS answer. Anything malformed ends the reading."""
    if len(message) < HEADER_BYTES:
        return []
    questions, count = struct.unpack_from("!HH", message, 4)
    offset, found = HEADER_BYTES, []
    try:
        for _ in range(questions):
            offset = _skip_name(message, offset) + 4
        for _ in range(count):
            offset = _skip_name(message, offset)
            kind, _, _, length = struct.unpack_from("!HHIH", message, offset)
            data = message[offset + 10 : offset + 10 + length]
            if kind == 1 and length == 4:
                found.append(socket.inet_ntop(socket.AF_INET, data))
            elif kind == 28 and length == 16:
                found.append(socket.inet_ntop(socket.AF_INET6, data))
            offset += 10 + length
    except (struct.error, IndexError):
        pass
    return found


def said(message: bytes) -> str:
    """What the server says beside the records: TRUNCATED when it wants to be asked over TCP, an error, or nothing."""
    if len(message) < HEADER_BYTES:
        return "malformed"
    flags = struct.unpack_from("!H", message, 2)[0]
    if flags & TRUNCATION_BIT:
        return TRUNCATED
    code = flags & 15
    return {0: "", 2: "SERVFAIL", 3: "NXDOMAIN", 5: "REFUSED"}.get(code, f"RCODE {code}")


def _skip_name(message: bytes, offset: int) -> int:
    while message[offset]:
        if message[offset] >= 0xC0:
            return offset + 2
        offset += 1 + message[offset]
    return offset + 1
