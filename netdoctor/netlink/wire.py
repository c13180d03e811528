"""Bytes on a netlink socket: headers, attributes, dumps. Sources: linux/netlink.h, libnetlink(3)."""

import errno
import os
import socket
import struct
from collections.abc import Iterator

NETLINK_ROUTE, NETLINK_XFRM, NETLINK_NETFILTER, NETLINK_SOCK_DIAG = 0, 6, 12, 4
F_REQUEST, F_ACK, F_DUMP, F_DUMP_INTR = 0x1, 0x4, 0x300, 0x10
NLMSG_ERROR, NLMSG_DONE = 2, 3
SOL_NETLINK, NETLINK_EXT_ACK, NETLINK_GET_STRICT_CHK = 270, 11, 12
ATTRIBUTE_TYPE = 0x3FFF
BUFFER_BYTES = 1 << 18
TRIES_WHEN_INTERRUPTED = 3

HEADER = struct.Struct("=IHHII")
ATTRIBUTE = struct.Struct("=HH")

Attributes = dict[int, memoryview]


class Interrupted(OSError):
    """The kernel marked every try of a dump as changed while it was read."""


def attributes(payload: memoryview) -> Attributes:
    """Type -> value of a run of attributes; of repeated types the last (see `each` for lists)."""
    return dict(each(payload))


def each(payload: memoryview) -> Iterator[tuple[int, memoryview]]:
    """The attributes in order, nested and byte-order bits masked off."""
    offset, end = 0, len(payload)
    while offset + 4 <= end:
        length, kind = ATTRIBUTE.unpack_from(payload, offset)
        if length < 4:
            return
        yield kind & ATTRIBUTE_TYPE, payload[offset + 4 : offset + length]
        offset += (length + 3) & ~3


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded."""
    return ATTRIBUTE.pack(4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def text(value: memoryview) -> str:
    """A NUL-terminated string; bytes that are not UTF-8 stay recognisable."""
    return bytes(value).split(b"\0", 1)[0].decode("utf-8", "backslashreplace")


def u8(value: memoryview) -> int:
    return value[0]


def u16(value: memoryview) -> int:
    return int.from_bytes(value[:2], "little")


def u32(value: memoryview) -> int:
    return int.from_bytes(value[:4], "little")


def s32(value: memoryview) -> int:
    return int.from_bytes(value[:4], "little", signed=True)


def u64(value: memoryview) -> int:
    return int.from_bytes(value[:8], "little")


def be16(value: memoryview) -> int:
    return int.from_bytes(value[:2], "big")


def be32(value: memoryview) -> int:
    return int.from_bytes(value[:4], "big")


def be64(value: memoryview) -> int:
    return int.from_bytes(value[:8], "big")


def address(value: memoryview | bytes) -> str:
    """An IPv4 or IPv6 address by its length."""
    return socket.inet_ntop(socket.AF_INET if len(value) == 4 else socket.AF_INET6, bytes(value))


def mac(value: memoryview | bytes) -> str:
    return bytes(value).hex(":")


class Reader:
    """One netlink socket in the namespace of the thread that makes it. Only GET requests.

    The caller names request types; those that are not GETs are refused here (rtnetlink: type % 4 == 2; the others by list).
    """

    def __init__(self, protocol: int) -> None:
        self.protocol = protocol
        self.sequence = 0
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        if protocol == NETLINK_ROUTE:
            self.socket.setsockopt(SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1)
        self.socket.bind((0, 0))

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> "Reader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def dump(self, kind: int, body: bytes) -> list[memoryview]:
        """Every message of a dump, header stripped; read again when the kernel says it changed meanwhile.

        Raises Interrupted, or OSError with the kernel's errno.
        """
        for _ in range(TRIES_WHEN_INTERRUPTED):
            self._send(kind, F_REQUEST | F_DUMP, body)
            messages, interrupted = self._receive(many=True)
            if not interrupted:
                return messages
        raise Interrupted(errno.EINTR, "changing while read")

    def get(self, kind: int, body: bytes, flags: int = 0) -> memoryview:
        """The one answer to one question. Raises OSError with the kernel's errno (ENOENT: there is none)."""
        self._send(kind, F_REQUEST | flags, body)
        messages, _ = self._receive(many=False)
        return messages[0]

    def _send(self, kind: int, flags: int, body: bytes) -> None:
        if not is_get(self.protocol, kind):
            raise AssertionError(f"netlink request {self.protocol}/{kind} is not a GET")
        self.sequence += 1
        self.socket.send(HEADER.pack(16 + len(body), kind, flags, self.sequence, 0) + body)

    def _receive(self, *, many: bool) -> tuple[list[memoryview], bool]:
        messages: list[memoryview] = []
        interrupted = False
        while True:
            view = memoryview(self.socket.recv(BUFFER_BYTES))
            offset = 0
            while offset + 16 <= len(view):
                length, kind, flags, sequence, _ = HEADER.unpack_from(view, offset)
                body = view[offset + 16 : offset + length]
                offset += (length + 3) & ~3
                if sequence != self.sequence:
                    continue
                interrupted |= bool(flags & F_DUMP_INTR)
                if kind == NLMSG_DONE:
                    raise_for(s32(body)) if len(body) >= 4 else None
                    return messages, interrupted
                if kind == NLMSG_ERROR:
                    raise_for(s32(body))
                    return messages, interrupted
                messages.append(body)
                if not many:
                    return messages, interrupted


def raise_for(code: int) -> None:
    """Raises OSError for a negative errno."""
    if code < 0:
        raise OSError(-code, os.strerror(-code))


NFNL_GETS = {
    (1, 1), (1, 4), (1, 5),                          # conntrack: get, stats per cpu, stats
    (10, 1), (10, 4), (10, 7), (10, 10), (10, 13), (10, 16), (10, 19),  # nf_tables: table chain rule set elem gen obj
    (6, 6), (6, 7), (6, 13), (6, 1),                 # ipset: list, save, header, protocol
}  # fmt: skip
XFRM_GETS = {0x12, 0x15}


def is_get(protocol: int, kind: int) -> bool:
    """True for requests that only read."""
    if protocol == NETLINK_ROUTE:
        return kind % 4 == 2
    if protocol == NETLINK_NETFILTER:
        return (kind >> 8, kind & 0xFF) in NFNL_GETS
    if protocol == NETLINK_XFRM:
        return kind in XFRM_GETS
    return protocol == NETLINK_SOCK_DIAG and kind == 20
