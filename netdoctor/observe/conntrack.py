"""nf_conntrack by netlink -> the table's fill and single entries. Numbers: linux/netfilter/nfnetlink_conntrack.h."""

import errno
import os
import socket
import struct

from netdoctor.model.network import ConntrackEntry, ConntrackTable, ConntrackTuple
from netdoctor.model.unknown import Unknown
from netdoctor.netlink.wire import Attributes, Reader, address, attribute, attributes, be16, be32, u8

CT_GET, CT_GET_STATS_CPU = 0x0101, 0x0104
ICMP, ICMPV6, TCP, UDP = 1, 58, 6, 17
STATUS = (
    (0x1, "expected"), (0x2, "seen-reply"), (0x4, "assured"), (0x8, "confirmed"), (0x10, "snat"), (0x20, "dnat"),
    (0x80, "snat-done"), (0x100, "dnat-done"), (0x200, "dying"), (0x400, "fixed-timeout"),
)  # fmt: skip
COUNT, MAXIMUM = "/proc/sys/net/netfilter/nf_conntrack_count", "/proc/sys/net/netfilter/nf_conntrack_max"


def in_use() -> bool:
    """True when connection tracking is loaded: asking netlink for it may otherwise load it."""
    return os.path.exists(COUNT)


def read_table(reader: Reader) -> ConntrackTable | Unknown:
    """How full the namespace's table is and what it refused."""
    try:
        with open(COUNT) as count, open(MAXIMUM) as maximum:
            found = ConntrackTable(count=int(count.read()), maximum=int(maximum.read()))
    except OSError as error:
        return Unknown(f"{COUNT}: {error.strerror}")
    try:
        messages = reader.dump(CT_GET_STATS_CPU, struct.pack("!BBH", 0, 0, 0))
    except OSError:
        return found
    totals = {2: 0, 3: 0, 6: 0, 8: 0, 9: 0, 10: 0}
    for message in messages:
        for kind, value in attributes(message[4:]).items():
            if kind in totals:
                totals[kind] += be32(value)
    return ConntrackTable(
        count=found.count,
        maximum=found.maximum,
        invalid=totals[3],
        insert_failed=totals[8],
        drop=totals[9],
        early_drop=totals[10],
    )


def find(reader: Reader, wanted: ConntrackTuple, zone: int = 0) -> ConntrackEntry | None:
    """The entry with this tuple in either direction, or None."""
    family = socket.AF_INET6 if ":" in wanted.source else socket.AF_INET
    body = struct.pack("!BBH", family, 0, 0) + attribute(1 | 0x8000, _tuple(wanted, family))
    if zone:
        body += attribute(18, struct.pack("!H", zone))
    try:
        return _entry(reader.get(CT_GET, body))
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.EINVAL):
            return None
        raise


def dump(reader: Reader, family: int) -> tuple[ConntrackEntry, ...]:
    """Every entry of one family (4 or 6)."""
    number = socket.AF_INET if family == 4 else socket.AF_INET6
    return tuple(_entry(message) for message in reader.dump(CT_GET, struct.pack("!BBH", number, 0, 0)))


def _tuple(wanted: ConntrackTuple, family: int) -> bytes:
    source, destination = socket.inet_pton(family, wanted.source), socket.inet_pton(family, wanted.destination)
    first, second = (1, 2) if family == socket.AF_INET else (3, 4)
    ip = attribute(first, source) + attribute(second, destination)
    proto = attribute(1, bytes([wanted.protocol]))
    if wanted.protocol in (ICMP, ICMPV6):
        base = 4 if wanted.protocol == ICMP else 7
        kind = 8 if wanted.protocol == ICMP else 128
        proto += attribute(base, struct.pack("!H", wanted.source_port))
        proto += attribute(base + 1, bytes([kind])) + attribute(base + 2, bytes([0]))
    else:
        proto += attribute(2, struct.pack("!H", wanted.source_port))
        proto += attribute(3, struct.pack("!H", wanted.destination_port))
    return attribute(1 | 0x8000, ip) + attribute(2 | 0x8000, proto)


def _entry(message: memoryview) -> ConntrackEntry:
    found = attributes(message[4:])
    status = be32(found[3]) if 3 in found else 0
    return ConntrackEntry(
        original=_read_tuple(attributes(found[1])),
        reply=_read_tuple(attributes(found[2])),
        status=tuple(name for bit, name in STATUS if status & bit),
        timeout_s=be32(found[7]) if 7 in found else 0,
        mark=be32(found[8]) if 8 in found else 0,
        zone=be16(found[18]) if 18 in found else 0,
    )


def _read_tuple(found: Attributes) -> ConntrackTuple:
    ip, proto = attributes(found[1]), attributes(found[2])
    number = u8(proto[1])
    source = ip.get(1, ip.get(3))
    destination = ip.get(2, ip.get(4))
    identifier = proto.get(4, proto.get(7))
    if identifier is not None:
        sport = dport = be16(identifier)
    else:
        sport = be16(proto[2]) if 2 in proto else 0
        dport = be16(proto[3]) if 3 in proto else 0
    return ConntrackTuple(
        protocol=number,
        source=address(source) if source is not None else "",
        destination=address(destination) if destination is not None else "",
        source_port=sport,
        destination_port=dport,
    )
