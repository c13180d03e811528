"""RTM_GETLINK -> Links. Attribute numbers: linux/if_link.h, if_bridge.h."""

import struct
from collections.abc import Callable

from netdoctor.model.network import BridgeOptions, BridgePort, Link, VxlanOptions
from netdoctor.netlink.wire import Attributes, Reader, address, attributes, be16, each, mac, s32, text, u8, u16, u32

RTM_GETLINK = 18
IFINFO = struct.Struct("=BBHiII")
IFF_UP, IFF_LOOPBACK, IFF_POINTOPOINT, IFF_NOARP, IFF_PROMISC, IFF_LOWER_UP = 0x1, 0x8, 0x10, 0x80, 0x100, 0x10000
AF_BRIDGE = 7
RTEXT_FILTER_BRVLAN = 2
OPERSTATES = ("unknown", "notpresent", "down", "lowerlayerdown", "testing", "dormant", "up")
MACVLAN_MODES = {1: "private", 2: "vepa", 4: "bridge", 8: "passthru", 16: "source"}


def read_links(reader: Reader) -> tuple[Link, ...]:
    """Every interface of the namespace, in index order; bridge ports with their VLANs."""
    links = tuple(_link(message) for message in reader.dump(RTM_GETLINK, IFINFO.pack(0, 0, 0, 0, 0, 0)))
    if not any(link.bridge and link.bridge.vlan_filtering for link in links):
        return links
    return _with_vlans(links, reader)


def _link(message: memoryview) -> Link:
    _, _, hardware, index, flags, _ = IFINFO.unpack_from(message)
    found = attributes(message[16:])
    info = attributes(found[18]) if 18 in found else {}
    kind = text(info[1]) if 1 in info else ""
    data = attributes(info[2]) if 2 in info else {}
    slave_kind = text(info[4]) if 4 in info else ""
    slave = attributes(info[5]) if 5 in info else {}
    xdp = attributes(found[43]) if 43 in found else {}
    return Link(
        index=index,
        name=text(found[3]),
        kind=kind,
        hardware=hardware,
        up=bool(flags & IFF_UP),
        carrier=bool(flags & IFF_LOWER_UP),
        loopback=bool(flags & IFF_LOOPBACK),
        no_arp=bool(flags & IFF_NOARP),
        point_to_point=bool(flags & IFF_POINTOPOINT),
        promiscuous=bool(flags & IFF_PROMISC),
        operstate=OPERSTATES[u8(found[16])] if 16 in found and u8(found[16]) < len(OPERSTATES) else "unknown",
        mtu_bytes=u32(found[4]),
        mac=mac(found[1]) if 1 in found else "",
        master=u32(found[10]) if 10 in found else 0,
        lower=u32(found[5]) if 5 in found else 0,
        lower_namespace=s32(found[37]) if 37 in found else None,
        group=u32(found[27]) if 27 in found else 0,
        tx_queue_length=u32(found[13]) if 13 in found else 0,
        qdisc=text(found[6]) if 6 in found else "",
        xdp_program=_xdp_program(xdp),
        alias=text(found[20]) if 20 in found else "",
        permanent_mac=mac(found[54]) if 54 in found else "",
        bridge=_bridge(data) if kind == "bridge" else None,
        port=_port(slave) if slave_kind == "bridge" else None,
        vxlan=_vxlan(data) if kind == "vxlan" else None,
        macvlan_mode=_number_name(data, MACVLAN_MODES) if kind in ("macvlan", "macvtap") else "",
        vlan_id=u16(data[1]) if kind == "vlan" and 1 in data else 0,
        vrf_table=u32(data[1]) if kind == "vrf" and 1 in data else 0,
        slave_kind=slave_kind,
    )


def _xdp_program(xdp: Attributes) -> int:
    """The id of the attached program (IFLA_XDP_PROG_ID), 1 when attached without a readable id, 0 without one."""
    if 2 not in xdp or u8(xdp[2]) == 0:
        return 0
    return u32(xdp[4]) if 4 in xdp else 1


def _number_name(data: Attributes, names: dict[int, str]) -> str:
    number = u32(data[1]) if 1 in data else 0
    return names.get(number, str(number))


def _bridge(data: Attributes) -> BridgeOptions:
    return BridgeOptions(
        forward_delay_s=_int(data, 1, u32) / 100,
        stp=_int(data, 5, u32) != 0,
        vlan_filtering=_int(data, 7, u8) != 0,
        vlan_default_pvid=_int(data, 39, u16),
        nf_call_iptables=_int(data, 36, u8) != 0,
        nf_call_ip6tables=_int(data, 37, u8) != 0,
        nf_call_arptables=_int(data, 38, u8) != 0,
        mcast_snooping=_int(data, 23, u8) != 0,
    )


def _port(slave: Attributes) -> BridgePort:
    def flag(kind: int, default: int) -> bool:
        return _int(slave, kind, u8, default) != 0

    return BridgePort(
        state=_int(slave, 1, u8, 3),
        hairpin=flag(4, 0),
        learning=flag(8, 1),
        unicast_flood=flag(9, 1),
        proxy_arp=flag(10, 0),
        multicast_flood=flag(27, 1),
        broadcast_flood=flag(30, 1),
        neighbour_suppress=flag(32, 0),
        isolated=flag(33, 0),
        locked=flag(39, 0),
    )


def _vxlan(data: Attributes) -> VxlanOptions:
    remote = data.get(2, data.get(16))
    local = data.get(4, data.get(17))
    return VxlanOptions(
        vni=_int(data, 1, u32),
        remote=address(remote) if remote is not None else "",
        local=address(local) if local is not None else "",
        port=be16(data[15]) if 15 in data else 8472,
        learning=_int(data, 7, u8, 1) != 0,
        external=_int(data, 25, u8) != 0,
    )


def _int(data: Attributes, kind: int, decode: Callable[[memoryview], int], default: int = 0) -> int:
    return decode(data[kind]) if kind in data else default


def _with_vlans(links: tuple[Link, ...], reader: Reader) -> tuple[Link, ...]:
    """Adds each port's VLANs and PVID (AF_BRIDGE dump with RTEXT_FILTER_BRVLAN)."""
    import msgspec

    body = IFINFO.pack(AF_BRIDGE, 0, 0, 0, 0, 0) + struct.pack("=HHI", 8, 29, RTEXT_FILTER_BRVLAN)
    vlans: dict[int, tuple[tuple[int, ...], int]] = {}
    for message in reader.dump(RTM_GETLINK, body):
        index = IFINFO.unpack_from(message)[3]
        spec = attributes(message[16:]).get(26)
        vlans[index] = _vlan_list(spec) if spec is not None else ((), 0)
    return tuple(
        msgspec.structs.replace(
            link, port=msgspec.structs.replace(link.port, vlans=vlans[link.index][0], pvid=vlans[link.index][1])
        )
        if link.port and link.index in vlans
        else link
        for link in links
    )


def _vlan_list(spec: memoryview) -> tuple[tuple[int, ...], int]:
    """IFLA_AF_SPEC of AF_BRIDGE: bridge_vlan_info {flags, vid}; ranges have begin 8 and end 16, PVID 2."""
    found: list[int] = []
    pvid = begin = 0
    for kind, value in each(spec):
        if kind != 2:
            continue
        flags, vid = struct.unpack_from("=HH", value)
        if flags & 2:
            pvid = vid
        if flags & 8:
            begin = vid
        elif flags & 16:
            found.extend(range(begin, vid + 1))
        else:
            found.append(vid)
    return tuple(found), pvid
