"""Ping by a raw ICMP socket that was opened inside the namespace (RFC 792, RFC 4443)."""

import errno
import os
import socket
import struct
import time

from netdoctor.model.evidence import Answer, Ping
from netdoctor.model.snapshot import NamespaceId

IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, PMTUDISC_PROBE = 10, 23, 3
ECHO_REQUEST, ECHO_REPLY, ECHO_REQUEST6, ECHO_REPLY6 = 8, 0, 128, 129
ERRORS4, ERRORS6 = (3, 4, 11, 12), (1, 2, 3, 4)
RESEND_AFTER_S = (0.0, 0.25, 0.7)
PAYLOAD_BYTES = 56
UNREACHABLE4 = {
    0: "network unreachable", 1: "host unreachable", 2: "protocol unreachable", 3: "port unreachable",
    4: "fragmentation needed", 9: "network prohibited", 10: "host prohibited", 13: "administratively prohibited",
}  # fmt: skip
UNREACHABLE6 = {
    0: "no route",
    1: "administratively prohibited",
    3: "address unreachable",
    4: "port unreachable",
    5: "source refused",
    6: "rejected",
}


def open_socket(family: int, *, whole: bool = False) -> socket.socket:
    """To be called inside the namespace. whole: never cut packets, even against what was learned of the way. Raises PermissionError without CAP_NET_RAW."""
    if family == 4:
        one = socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_ICMP)
    else:
        one = socket.socket(socket.AF_INET6, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_ICMPV6)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 18)
    if whole:
        level, option = (
            (socket.IPPROTO_IP, IP_MTU_DISCOVER) if family == 4 else (socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER)
        )
        one.setsockopt(level, option, PMTUDISC_PROBE)
    return one


class Echo:
    """One address asked up to three times; the first answer ends it."""

    def __init__(
        self, leg: str, namespace: NamespaceId, address: str, made: socket.socket, size: int = PAYLOAD_BYTES
    ) -> None:
        self.leg, self.namespace, self.address = leg, namespace, address
        self.socket = made
        self.family = 6 if ":" in address else 4
        self.identifier = int.from_bytes(os.urandom(2), "big") or 1
        self.token = os.urandom(8)
        self.size = size
        self.sent = 0
        self.sent_at: list[float] = []
        self.answer: Answer = "not-sent"
        self.rtt_ms: float | None = None
        self.error = self.offender = ""
        self.started = time.monotonic()

    @property
    def done(self) -> bool:
        return self.answer not in ("not-sent", "silent")

    def fileno(self) -> int:
        return self.socket.fileno()

    def next_send(self) -> float | None:
        """When it asks again, in time.monotonic() seconds; None when it has asked often enough."""
        if self.done or self.sent >= len(RESEND_AFTER_S):
            return None
        return self.started + RESEND_AFTER_S[self.sent]

    def send(self) -> None:
        """Asks once more; an error of the send itself ends the probe."""
        kind = ECHO_REQUEST if self.family == 4 else ECHO_REQUEST6
        body = self.token + bytes(max(self.size - 8, 0))
        header = struct.pack("!BBHHH", kind, 0, 0, self.identifier, self.sent + 1)
        packet = header + body
        if self.family == 4:
            packet = struct.pack("!BBHHH", kind, 0, checksum(packet), self.identifier, self.sent + 1) + body
        self.sent += 1
        self.sent_at.append(time.monotonic())
        try:
            self.socket.sendto(packet, (self.address, 0))
            if self.answer == "not-sent":
                self.answer = "silent"
        except OSError as error:
            if error.errno == errno.ENOBUFS:
                return
            self.answer, self.error = "local-error", os.strerror(error.errno or 0)

    def receive(self) -> None:
        """Reads what came; only our own answers and errors about our own packets count."""
        while not self.done:
            try:
                data, sender = self.socket.recvfrom(2048)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self.answer, self.error = "error", os.strerror(error.errno or 0)
                return
            self._read(data[(data[0] & 15) * 4 :] if self.family == 4 else data, sender[0])

    def _read(self, message: bytes, sender: str) -> None:
        if len(message) < 8:
            return
        kind, code, _, identifier, sequence = struct.unpack_from("!BBHHH", message)
        reply = ECHO_REPLY if self.family == 4 else ECHO_REPLY6
        if kind == reply and identifier == self.identifier and message[8:16] == self.token[: len(message) - 8]:
            self.answer = "reply"
            if 1 <= sequence <= len(self.sent_at):
                self.rtt_ms = round((time.monotonic() - self.sent_at[sequence - 1]) * 1000, 3)
        elif kind in (ERRORS4 if self.family == 4 else ERRORS6) and self._is_ours(message[8:]):
            self.answer, self.offender, self.error = (
                "error",
                sender.partition("%")[0],
                describe(self.family, kind, code),
            )

    def _is_ours(self, quoted: bytes) -> bool:
        offset = (quoted[0] & 15) * 4 if self.family == 4 and quoted else 40
        if len(quoted) < offset + 8:
            return False
        destination = quoted[16:20] if self.family == 4 else quoted[24:40]
        family = socket.AF_INET if self.family == 4 else socket.AF_INET6
        identifier = struct.unpack_from("!H", quoted, offset + 4)[0]
        return bool(identifier == self.identifier and destination == socket.inet_pton(family, self.address))

    def result(self) -> Ping:
        return Ping(
            leg=self.leg, namespace=self.namespace, address=self.address, answer=self.answer, rtt_ms=self.rtt_ms, error=self.error,
            offender=self.offender, sent=self.sent, received=int(self.answer == "reply"), length_bytes=self.size + 28,
        )  # fmt: skip

    def close(self) -> None:
        self.socket.close()


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    folded: int = ~(total + (total >> 16)) & 0xFFFF
    return folded


def describe(family: int, kind: int, code: int) -> str:
    """The ICMP error in words."""
    if family == 4 and kind == 3:
        return UNREACHABLE4.get(code, f"unreachable (code {code})")
    if family == 6 and kind == 1:
        return UNREACHABLE6.get(code, f"unreachable (code {code})")
    if kind == (11 if family == 4 else 3):
        return "time to live exceeded"
    return "packet too big" if (family, kind) == (6, 2) else f"ICMP type {kind} code {code}"
