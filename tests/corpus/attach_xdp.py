"""Attaches an XDP program that drops every packet to DEVICE (generic mode) and leaves it there.

usage: attach_xdp.py DEVICE        bpf(2) BPF_PROG_LOAD, then RTM_SETLINK with IFLA_XDP: no compiler and no libbpf
"""

import ctypes
import os
import platform
import socket
import struct
import sys

BPF_PROG_LOAD, BPF_PROG_TYPE_XDP = 5, 6
SYS_BPF = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "s390x": 351, "ppc64le": 361}
XDP_DROP, XDP_FLAGS_SKB_MODE = 1, 2
RTM_SETLINK, IFLA_XDP, IFLA_XDP_FD, IFLA_XDP_FLAGS, NLA_F_NESTED = 19, 43, 1, 3, 0x8000


def load_drop() -> int:
    """The descriptor of a program that is `return XDP_DROP`: BPF_MOV64_IMM(r0), BPF_EXIT."""
    code = ctypes.create_string_buffer(struct.pack("<BBhi", 0xB7, 0, 0, XDP_DROP) + struct.pack("<BBhi", 0x95, 0, 0, 0))
    licence = ctypes.create_string_buffer(b"GPL")
    places = ctypes.addressof(code), ctypes.addressof(licence)
    attr = ctypes.create_string_buffer(struct.pack("<IIQQ", BPF_PROG_TYPE_XDP, 2, *places), 128)
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.syscall(SYS_BPF[platform.machine()], BPF_PROG_LOAD, attr, 128)
    if fd < 0:
        raise OSError(ctypes.get_errno(), "bpf(BPF_PROG_LOAD)")
    return int(fd)


def attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("<HH", 4 + len(data), kind) + data + b"\0" * (-len(data) % 4)


def attach(device: str, fd: int) -> None:
    xdp = attribute(IFLA_XDP_FD, struct.pack("<i", fd)) + attribute(
        IFLA_XDP_FLAGS, struct.pack("<I", XDP_FLAGS_SKB_MODE)
    )
    body = struct.pack("<BxHiII", 0, 0, socket.if_nametoindex(device), 0, 0) + attribute(IFLA_XDP | NLA_F_NESTED, xdp)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as sock:
        sock.bind((0, 0))
        sock.send(struct.pack("<IHHII", 16 + len(body), RTM_SETLINK, 1 | 4, 1, 0) + body)
        error = struct.unpack("<i", sock.recv(4096)[16:20])[0]
    if error:
        raise OSError(-error, f"RTM_SETLINK {device}: {os.strerror(-error)}")


if __name__ == "__main__":
    attach(sys.argv[1], load_drop())
