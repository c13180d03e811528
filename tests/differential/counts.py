"""Every rule's packet counter, read in a few hundred microseconds and without the code under test."""

import ctypes
import os
import socket
import struct

from netdoctor.netlink.wire import NETLINK_NETFILTER, Reader

GET_RULE = 10 << 8 | 7
FAMILIES = {1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}
LEGACY = {"ip": (socket.AF_INET, 0, 88, 96), "ip6": (socket.AF_INET6, 41, 140, 152)}
INFO_BYTES, ENTRIES_HEAD_BYTES = 84, 40
Place = tuple[str, str, str, int]
"""Family, table, chain and handle of an nf_tables rule; of a legacy rule "legacy ip", table, "" and its ordinal."""


class Counts:
    """Sockets of one namespace; make it in a thread inside. Call it for the packets of every counter."""

    def __init__(self) -> None:
        self.reader = Reader(NETLINK_NETFILTER)
        self.raw = {family: socket.socket(LEGACY[family][0], socket.SOCK_RAW, 255) for family in LEGACY}
        self.libc = ctypes.CDLL(None, use_errno=True)

    def close(self) -> None:
        self.reader.close()
        for raw in self.raw.values():
            raw.close()

    def nf_tables(self) -> dict[Place, int]:
        found: dict[Place, int] = {}
        for message in self.reader.dump(GET_RULE, bytes(4)):
            raw = bytes(message)
            table = chain = ""
            handle, packets, at = 0, None, 4
            while at < len(raw):
                length, kind = struct.unpack_from("=HH", raw, at)
                value = raw[at + 4 : at + length]
                match kind & 0x3FFF:
                    case 1:
                        table = value[:-1].decode()
                    case 2:
                        chain = value[:-1].decode()
                    case 3:
                        handle = int.from_bytes(value, "big")
                    case 4:
                        packets = _counter(value)
                at += (length + 3) & ~3
            if packets is not None:
                found[FAMILIES[raw[0]], table, chain, handle] = packets
        return found

    def legacy(self, tables: list[tuple[str, str]]) -> dict[Place, int]:
        """Of the tables (family, name), which must exist: every entry in order, chain heads and policies included."""
        found: dict[Place, int] = {}
        for family, name in tables:
            blob = self._entries(family, name)
            _, _, offsets, counters = LEGACY[family]
            at = ordinal = 0
            while at < len(blob):
                (size,) = struct.unpack_from("=H", blob, at + offsets + 2)
                found[f"legacy {family}", name, "", ordinal] = struct.unpack_from("=Q", blob, at + counters)[0]
                at, ordinal = at + size, ordinal + 1
        return found

    def _entries(self, family: str, name: str) -> bytes:
        level = LEGACY[family][1]
        head = name.encode().ljust(32, b"\0")
        info = self._ask(family, level, 64, head.ljust(INFO_BYTES, b"\0"))
        (size,) = struct.unpack_from("=I", info, INFO_BYTES - 4)
        return self._ask(family, level, 65, head + struct.pack("=II", size, 0) + bytes(size))[ENTRIES_HEAD_BYTES:]

    def _ask(self, family: str, level: int, option: int, question: bytes) -> bytes:
        buffer = ctypes.create_string_buffer(question, len(question))
        length = ctypes.c_uint32(len(question))
        if self.libc.getsockopt(self.raw[family].fileno(), level, option, buffer, ctypes.byref(length)) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return buffer.raw


def _counter(expressions: bytes) -> int | None:
    """The packets of the first counter among a rule's expressions."""
    at = expressions.find(b"\x0c\x00\x01\x00counter\x00")
    if at < 0:
        return None
    data = at + 12 + 4
    while data + 4 <= len(expressions):
        length, kind = struct.unpack_from("=HH", expressions, data)
        if kind & 0x3FFF == 2:
            return int.from_bytes(expressions[data + 4 : data + 12], "big")
        data += (length + 3) & ~3
    return None
