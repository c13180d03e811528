"""A netlink socket that writes: requests with an acknowledgement, and the batches of nf_tables."""

import os
import socket
import struct

from netdoctor.netlink.wire import (
    F_ACK,
    F_REQUEST,
    HEADER,
    NETLINK_EXT_ACK,
    NLMSG_ERROR,
    SOL_NETLINK,
    attributes,
    s32,
    text,
)

F_REPLACE, F_EXCLUDE, F_CREATE, F_APPEND = 0x100, 0x200, 0x400, 0x800
F_CAPPED, F_ACK_ATTRIBUTES = 0x100, 0x200
NLMSGERR_ATTR_MSG = 1
BATCH_BEGIN, BATCH_END = 0x10, 0x11
NFNL_SUBSYS_NFTABLES = 10
TIMEOUT_S = 10


class Request:
    """One message of a transaction: its type, flags beside REQUEST and ACK, and body."""

    __slots__ = ("body", "flags", "kind")

    def __init__(self, kind: int, body: bytes, flags: int = 0) -> None:
        self.kind = kind
        self.body = body
        self.flags = flags


class Writer:
    """One socket in the namespace of the thread that makes it."""

    def __init__(self, protocol: int) -> None:
        self.sequence = 0
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self.socket.setsockopt(SOL_NETLINK, NETLINK_EXT_ACK, 1)
        self.socket.settimeout(TIMEOUT_S)
        self.socket.bind((0, 0))

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, request: Request) -> None:
        """One request, done when this returns. Raises OSError with the kernel's errno and words."""
        self.socket.send(self._message(request.kind, F_REQUEST | F_ACK | request.flags, request.body))
        self._acknowledged(1)

    def send_batch(self, requests: list[Request]) -> None:
        """nf_tables requests that happen all or not at all."""
        border = struct.pack("!BBH", 0, 0, NFNL_SUBSYS_NFTABLES)
        parts = [self._message(BATCH_BEGIN, F_REQUEST, border)]
        parts += [
            self._message(NFNL_SUBSYS_NFTABLES << 8 | each.kind, F_REQUEST | F_ACK | each.flags, each.body)
            for each in requests
        ]
        parts.append(self._message(BATCH_END, F_REQUEST, border))
        self.socket.send(b"".join(parts))
        self._acknowledged(len(requests))

    def _message(self, kind: int, flags: int, body: bytes) -> bytes:
        self.sequence += 1
        padded = body + b"\0" * (-len(body) % 4)
        return HEADER.pack(16 + len(body), kind, flags, self.sequence, 0) + padded

    def _acknowledged(self, count: int) -> None:
        """Reads `count` acknowledgements; the first error is raised."""
        while count > 0:
            view = memoryview(self.socket.recv(1 << 16))
            offset = 0
            while offset + 16 <= len(view):
                length, kind, flags, _, _ = HEADER.unpack_from(view, offset)
                body = view[offset + 16 : offset + length]
                offset += (length + 3) & ~3
                if kind != NLMSG_ERROR:
                    continue
                count -= 1
                if s32(body) < 0:
                    raise OSError(-s32(body), _words(-s32(body), body, flags))


def _words(code: int, body: memoryview, flags: int) -> str:
    """The errno's text, with the kernel's own sentence where it gave one (NLMSGERR_ATTR_MSG)."""
    plain = os.strerror(code)
    if not flags & F_ACK_ATTRIBUTES:
        return plain
    echoed = HEADER.unpack_from(body, 4)[0] if not flags & F_CAPPED else 16
    found = attributes(body[4 + ((echoed + 3) & ~3) :])
    return f"{plain}: {text(found[NLMSGERR_ATTR_MSG])}" if NLMSGERR_ATTR_MSG in found else plain
