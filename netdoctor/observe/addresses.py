"""RTM_GETADDR -> Addresses, RTM_GETADDRLABEL -> AddressLabels. Attribute numbers: linux/if_addr.h."""

import errno
import struct

from netdoctor.model.network import Address, AddressLabel
from netdoctor.netlink.wire import Reader, address, attributes, text, u32

RTM_GETADDR, RTM_GETADDRLABEL = 22, 74
IFADDR = struct.Struct("=BBBBI")
IFADDRLBL = struct.Struct("=BBBBII")
AF_INET, AF_INET6 = 2, 10
SCOPES = {0: "global", 200: "site", 253: "link", 254: "host", 255: "nowhere"}
FLAGS = (
    (0x01, "secondary"), (0x02, "nodad"), (0x04, "optimistic"), (0x08, "dadfailed"), (0x10, "homeaddress"),
    (0x20, "deprecated"), (0x40, "tentative"), (0x80, "permanent"), (0x100, "mngtmpaddr"), (0x200, "noprefixroute"),
)  # fmt: skip
FOREVER = 0xFFFFFFFF
OWN_LABELS = {
    ("::/0", 1), ("fc00::/7", 5), ("fec0::/10", 11), ("2002::/16", 2), ("3ffe::/16", 12), ("2001::/32", 6),
    ("2001:10::/28", 7), ("::ffff:0.0.0.0/96", 4), ("::/96", 3), ("::1/128", 0),
}  # fmt: skip
"""What the kernel gives every namespace (net/ipv6/addrlabel.c)."""


def read_addresses(reader: Reader) -> tuple[Address, ...]:
    """Every IPv4 and IPv6 address of the namespace, in the kernel's order."""
    return tuple(
        _address(message)
        for message in reader.dump(RTM_GETADDR, IFADDR.pack(0, 0, 0, 0, 0))
        if message[0] in (AF_INET, AF_INET6)
    )


def _address(message: memoryview) -> Address:
    family, prefix_length, flags, scope, index = IFADDR.unpack_from(message)
    found = attributes(message[8:])
    flags = u32(found[8]) if 8 in found else flags
    peer = address(found[1]) if 1 in found else ""
    local = address(found[2]) if 2 in found else peer
    preferred, valid = struct.unpack_from("=II", found[6]) if 6 in found else (FOREVER, FOREVER)
    return Address(
        index=index,
        family=4 if family == AF_INET else 6,
        local=local,
        prefix_length=prefix_length,
        peer="" if peer == local else peer,
        scope=SCOPES.get(scope, str(scope)),
        flags=_flags(flags, family),
        label=text(found[3]) if 3 in found else "",
        broadcast=address(found[4]) if 4 in found else "",
        valid_s=None if valid == FOREVER else valid,
        preferred_s=None if preferred == FOREVER else preferred,
    )


def _flags(bits: int, family: int) -> tuple[str, ...]:
    """Bit 1 is "secondary" in IPv4 and "temporary" in IPv6."""
    if family == AF_INET or not bits & 1:
        return tuple(name for bit, name in FLAGS if bits & bit)
    return ("temporary", *(name for bit, name in FLAGS if bits & bit & ~1))


def read_labels(reader: Reader) -> tuple[AddressLabel, ...]:
    """IPv6's address labels, the longest prefix first; () when they are the kernel's own, or there is no IPv6."""
    try:
        messages = reader.dump(RTM_GETADDRLABEL, IFADDRLBL.pack(AF_INET6, 0, 0, 0, 0, 0))
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EAFNOSUPPORT):
            return ()
        raise
    found = []
    for message in messages:
        _, _, length, _, index, _ = IFADDRLBL.unpack_from(message)
        values = attributes(message[12:])
        found.append(AddressLabel(prefix=f"{address(values[1])}/{length}", label=u32(values[2]), index=index))
    if {(one.prefix, one.label) for one in found} == OWN_LABELS and not any(one.index for one in found):
        return ()
    return tuple(sorted(found, key=lambda one: -int(one.prefix.rpartition("/")[2])))
