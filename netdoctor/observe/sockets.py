"""sock_diag -> Sockets: who listens, and which local ports are in use. Layouts: linux/inet_diag.h."""

import socket
import struct

from netdoctor.model.network import Socket
from netdoctor.netlink.wire import Reader, attributes, u8

SOCK_DIAG_BY_FAMILY = 20
REQUEST = struct.Struct("=BBBBI")
TCP_STATES = (
    "", "established", "syn-sent", "syn-recv", "fin-wait-1", "fin-wait-2", "time-wait", "close", "close-wait",
    "last-ack", "listen", "closing",
)  # fmt: skip
INET_DIAG_SKV6ONLY, INET_DIAG_SOCKOPT = 11, 22
TRANSPARENT = 0x20
"""Its bit in struct inet_diag_sockopt."""


def read_sockets(reader: Reader) -> tuple[Socket, ...]:
    """TCP and UDP sockets of both families, all states."""
    found: list[Socket] = []
    for family in (socket.AF_INET, socket.AF_INET6):
        for protocol in (socket.IPPROTO_TCP, socket.IPPROTO_UDP):
            request = REQUEST.pack(family, protocol, 0, 0, 0xFFFFFFFF) + bytes(48)
            found += [_socket(message, protocol) for message in reader.dump(SOCK_DIAG_BY_FAMILY, request)]
    return tuple(found)


def _socket(message: memoryview, protocol: int) -> Socket:
    """struct inet_diag_msg: family, state, timer, retrans, id {sport, dport be16, src 16, dst 16, if 4, cookie 8} ..."""
    family, state = message[0], message[1]
    sport, dport = struct.unpack_from("!HH", message, 4)
    length = 4 if family == socket.AF_INET else 16
    device = struct.unpack_from("=I", message, 40)[0]
    found = attributes(message[72:])
    return Socket(
        protocol="tcp" if protocol == socket.IPPROTO_TCP else "udp",
        family=4 if family == socket.AF_INET else 6,
        address=socket.inet_ntop(family, bytes(message[8 : 8 + length])),
        port=sport,
        state=TCP_STATES[state] if state < len(TCP_STATES) else str(state),
        remote=socket.inet_ntop(family, bytes(message[24 : 24 + length])) if dport else "",
        remote_port=dport,
        device=device,
        v6_only=INET_DIAG_SKV6ONLY in found and u8(found[INET_DIAG_SKV6ONLY]) != 0,
        transparent=bool(found[INET_DIAG_SOCKOPT][0] & TRANSPARENT) if INET_DIAG_SOCKOPT in found else None,
    )
