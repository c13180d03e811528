"""ipsets by netlink, of the calling thread's namespace. Source: linux/netfilter/ipset/ip_set.h, ip_set_core.c."""

import errno
import os
import struct

from netdoctor.model.firewall import IpSet
from netdoctor.model.unknown import Unknown
from netdoctor.netlink.wire import (
    NETLINK_NETFILTER,
    Attributes,
    Reader,
    address,
    attribute,
    attributes,
    be16,
    be32,
    each,
    mac,
    text,
    u8,
)

LIST = 6 << 8 | 7
PROTOCOL_VERSION, LIST_HEADER_FLAG = 7, 4
PHYSDEV, NOMATCH, WILDCARD = 2, 4, 128
PROTOCOL, NAME, TYPE, FAMILY, FLAGS, DATA, ENTRIES, INDEX = 1, 2, 3, 5, 6, 7, 8, 11
IP, IP_TO, CIDR, PORT, PORT_TO, PROTO, ENTRY_FLAGS, MARK = 1, 2, 3, 4, 5, 7, 8, 10
MARK_MASK, NETMASK, ELEMENTS = 11, 20, 24
ETHER, SET_NAME, IP2, CIDR2, IP2_TO, IFACE = 17, 18, 20, 21, 22, 23
PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp", 58: "icmpv6", 132: "sctp"}
MOST_MEMBERS = 65536
NOT_THERE = (errno.ENOENT, errno.EOPNOTSUPP, errno.EPROTONOSUPPORT, errno.EINVAL)


def read_ipsets() -> tuple[IpSet, ...] | Unknown:
    """Every ipset with its members; very large ones without. None where ipset is not loaded."""
    if os.path.exists("/proc/modules") and not os.path.isdir("/sys/module/ip_set"):
        return ()
    try:
        with Reader(NETLINK_NETFILTER) as reader:
            return tuple(_set(reader, attributes(message[4:])) for message in _list(reader, flags=LIST_HEADER_FLAG))
    except PermissionError:
        return Unknown("no permission to read ipsets (needs CAP_NET_ADMIN)")
    except OSError as error:
        return () if error.errno in NOT_THERE else Unknown(f"ipsets could not be read: {error.strerror}")


def _list(reader: Reader, name: str = "", flags: int = 0) -> list[memoryview]:
    body = bytes(4) + attribute(PROTOCOL, bytes([PROTOCOL_VERSION]))
    if name:
        body += attribute(NAME, name.encode() + b"\0")
    if flags:
        body += attribute(FLAGS, struct.pack("!I", flags))
    return reader.dump(LIST, body)


def _set(reader: Reader, head: Attributes) -> IpSet:
    name = text(head[NAME])
    options = attributes(head[DATA]) if DATA in head else {}
    count = be32(options[ELEMENTS]) if ELEMENTS in options else 0
    netmask = f"/{u8(options[NETMASK])}" if NETMASK in options else ""
    members: tuple[str, ...] | Unknown = Unknown(f"it has {count} members")
    if count <= MOST_MEMBERS:
        members = tuple(
            member_text(attributes(entry), netmask)
            for message in _list(reader, name)
            for _, entry in each(attributes(message[4:]).get(ENTRIES, memoryview(b"")))
        )
    family = u8(head[FAMILY]) if FAMILY in head else 0
    return IpSet(
        index=be16(head[INDEX]) if INDEX in head else -1, name=name, type=text(head[TYPE]),
        family="ip" if family == 2 else "ip6" if family == 10 else "", members=members,
        mark_mask=be32(options[MARK_MASK]) if MARK_MASK in options else 0xFFFFFFFF,
    )  # fmt: skip


def member_text(entry: Attributes, netmask: str = "") -> str:
    """A member as `ipset save` prints it; "!" before one marked nomatch."""
    parts: list[str] = []
    if IP in entry:
        parts.append(_address(entry, IP, CIDR, IP_TO) + netmask)
    if ETHER in entry:
        parts.append(mac(entry[ETHER]))
    if PORT in entry:
        parts.append(_port(entry))
    if MARK in entry:
        parts.append(hex(be32(entry[MARK])))
    if IP2 in entry:
        parts.append(_address(entry, IP2, CIDR2, IP2_TO))
    flags = be32(entry[ENTRY_FLAGS]) if ENTRY_FLAGS in entry else 0
    if IFACE in entry:
        device = text(entry[IFACE])
        parts.append(("physdev:" if flags & PHYSDEV else "") + device + (" wildcard" if flags & WILDCARD else ""))
    if SET_NAME in entry:
        parts.append(text(entry[SET_NAME]))
    return ("!" if flags & NOMATCH else "") + ",".join(parts)


def _address(entry: Attributes, place: int, cidr: int, end: int) -> str:
    """An address, prefix or range; each address is nested in an attribute of its family."""
    first = address(next(each(entry[place]))[1])
    if cidr in entry:
        return f"{first}/{u8(entry[cidr])}"
    if end in entry:
        last = address(next(each(entry[end]))[1])
        return first if first == last else f"{first}-{last}"
    return first


def _port(entry: Attributes) -> str:
    """ "tcp:80", "80" in a bitmap, "icmp:8/0" (type and code share the port's two bytes)."""
    port = be16(entry[PORT])
    if PROTO not in entry:
        return str(port) if PORT_TO not in entry else f"{port}-{be16(entry[PORT_TO])}"
    number = u8(entry[PROTO])
    name = PROTOCOLS.get(number, str(number))
    return f"{name}:{port >> 8}/{port & 0xFF}" if name.startswith("icmp") else f"{name}:{port}"
