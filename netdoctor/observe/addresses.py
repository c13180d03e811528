"""RTM_GETADDR -> Addresses. Attribute numbers: linux/if_addr.h."""

import struct

from netdoctor.model.network import Address
from netdoctor.netlink.wire import Reader, address, attributes, text, u32

RTM_GETADDR = 22
IFADDR = struct.Struct("=BBBBI")
AF_INET, AF_INET6 = 2, 10
SCOPES = {0: "global", 200: "site", 253: "link", 254: "host", 255: "nowhere"}
FLAGS = (
    (0x01, "secondary"), (0x02, "nodad"), (0x04, "optimistic"), (0x08, "dadfailed"), (0x10, "homeaddress"),
    (0x20, "deprecated"), (0x40, "tentative"), (0x80, "permanent"), (0x100, "mngtmpaddr"), (0x200, "noprefixroute"),
)  # fmt: skip
FOREVER = 0xFFFFFFFF


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
        flags=tuple(name for bit, name in FLAGS if flags & bit and not (bit == 1 and family == AF_INET6)),
        label=text(found[3]) if 3 in found else "",
        broadcast=address(found[4]) if 4 in found else "",
        valid_s=None if valid == FOREVER else valid,
        preferred_s=None if preferred == FOREVER else preferred,
    )
