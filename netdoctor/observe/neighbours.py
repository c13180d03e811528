"""RTM_GETNEIGH -> Neighbours and FdbEntries. Numbers: linux/neighbour.h."""

import struct

from netdoctor.model.network import FdbEntry, Neighbour
from netdoctor.netlink.wire import Reader, address, attributes, be16, mac, u16, u32

RTM_GETNEIGH = 30
NDMSG = struct.Struct("=BBHiHBB")
AF_BRIDGE, AF_INET, AF_INET6 = 7, 2, 10
NTF_SELF, NTF_MASTER, NTF_STICKY, NTF_PROXY, NTF_EXT_LEARNED, NTF_ROUTER = 0x02, 0x04, 0x40, 0x08, 0x10, 0x80
STATES = (
    (0x80, "permanent"), (0x40, "noarp"), (0x02, "reachable"), (0x04, "stale"), (0x08, "delay"),
    (0x10, "probe"), (0x20, "failed"), (0x01, "incomplete"),
)  # fmt: skip


def read_neighbours(reader: Reader) -> tuple[Neighbour, ...]:
    """ARP and ND entries of every device, then the proxied addresses (NTF_PROXY)."""
    found = [
        _neighbour(message, proxy=proxy)
        for proxy in (False, True)
        for family in (AF_INET, AF_INET6)
        for message in reader.dump(RTM_GETNEIGH, NDMSG.pack(family, 0, 0, 0, 0, NTF_PROXY if proxy else 0, 0))
    ]
    return tuple(entry for entry in found if entry is not None)


def _neighbour(message: memoryview, *, proxy: bool) -> Neighbour | None:
    family, _, _, index, state, flags, _ = NDMSG.unpack_from(message)
    found = attributes(message[12:])
    if 1 not in found:
        return None
    return Neighbour(
        family=4 if family == AF_INET else 6,
        index=index,
        address=address(found[1]),
        mac=mac(found[2]) if 2 in found else "",
        state=_state(state),
        proxy=proxy,
        router=bool(flags & NTF_ROUTER),
        externally_learned=bool(flags & NTF_EXT_LEARNED),
    )


def _state(bits: int) -> str:
    return next((name for bit, name in STATES if bits & bit), "none")


def read_fdb(reader: Reader) -> tuple[FdbEntry, ...]:
    """Forwarding entries of bridge ports and of vxlan devices."""
    return tuple(
        _entry(message)
        for message in reader.dump(RTM_GETNEIGH, NDMSG.pack(AF_BRIDGE, 0, 0, 0, 0, 0, 0))
        if message[0] == AF_BRIDGE
    )


def _entry(message: memoryview) -> FdbEntry:
    _, _, _, index, state, flags, _ = NDMSG.unpack_from(message)
    found = attributes(message[12:])
    name = _state(state)
    return FdbEntry(
        index=index,
        mac=mac(found[2]) if 2 in found else "",
        master=u32(found[9]) if 9 in found else 0,
        vlan=u16(found[5]) if 5 in found else 0,
        state="static" if name == "noarp" else name,
        sticky=bool(flags & NTF_STICKY),
        destination=address(found[1]) if 1 in found else "",
        vni=u32(found[7]) if 7 in found else 0,
        port=be16(found[6]) if 6 in found else 0,
        via=u32(found[8]) if 8 in found else 0,
    )
