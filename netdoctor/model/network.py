"""What rtnetlink, /proc and sock_diag tell of one namespace, in the kernel's own words."""

from typing import Literal

import msgspec

Family = Literal[4, 6]


class Fact(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of everything observed: immutable, and short when saved."""


class BridgeOptions(Fact, frozen=True):
    """IFLA_INFO_DATA of a bridge (linux/if_link.h)."""

    stp: bool = False
    forward_delay_s: float = 0.0
    vlan_filtering: bool = False
    vlan_default_pvid: int = 1
    nf_call_iptables: bool = False
    nf_call_ip6tables: bool = False
    nf_call_arptables: bool = False
    mcast_snooping: bool = True


class BridgePort(Fact, frozen=True):
    """IFLA_INFO_SLAVE_DATA of a bridge port. state: 0 disabled, 1 listening, 2 learning, 3 forwarding, 4 blocking."""

    state: int = 3
    hairpin: bool = False
    learning: bool = True
    unicast_flood: bool = True
    multicast_flood: bool = True
    broadcast_flood: bool = True
    isolated: bool = False
    locked: bool = False
    neighbour_suppress: bool = False
    proxy_arp: bool = False
    vlans: tuple[int, ...] = ()
    pvid: int = 0


class VxlanOptions(Fact, frozen=True):
    """IFLA_INFO_DATA of a vxlan device."""

    vni: int
    local: str = ""
    remote: str = ""
    port: int = 4789
    learning: bool = True
    external: bool = False


class Link(Fact, frozen=True):
    """One interface. `lower` is IFLA_LINK: a veth's peer, or the device under a macvlan, vlan or vxlan.

    `lower_namespace` is IFLA_LINK_NETNSID (an id valid only in this namespace), None when `lower` is in this one.
    """

    index: int
    name: str
    kind: str = ""
    hardware: int = 1
    up: bool = False
    carrier: bool = False
    loopback: bool = False
    no_arp: bool = False
    point_to_point: bool = False
    promiscuous: bool = False
    operstate: str = "unknown"
    mtu_bytes: int = 1500
    mac: str = ""
    master: int = 0
    lower: int = 0
    lower_namespace: int | None = None
    group: int = 0
    tx_queue_length: int = 1000
    qdisc: str = ""
    xdp_program: int = 0
    alias: str = ""
    permanent_mac: str = ""
    bridge: BridgeOptions | None = None
    port: BridgePort | None = None
    vxlan: VxlanOptions | None = None
    macvlan_mode: str = ""
    vlan_id: int = 0
    vrf_table: int = 0
    slave_kind: str = ""


class Address(Fact, frozen=True):
    """One address of an interface: `local` with its prefix length; `peer` differs from it only on point to point."""

    index: int
    family: Family
    local: str
    prefix_length: int
    peer: str = ""
    broadcast: str = ""
    scope: str = "global"
    flags: tuple[str, ...] = ()
    label: str = ""
    valid_s: int | None = None
    preferred_s: int | None = None


class NextHop(Fact, frozen=True):
    """One way out of a route. flags: dead, linkdown, onlink, pervasive."""

    index: int = 0
    gateway: str = ""
    weight: int = 1
    flags: tuple[str, ...] = ()


class Route(Fact, frozen=True):
    """One route of one table. `destination` is a prefix; an empty `next_hops` goes with types that need none.

    cached: an exception the kernel learned (redirect, path MTU), not configuration. expires_s 0: no longer valid.
    """

    family: Family
    table: int
    destination: str
    type: str = "unicast"
    priority: int = 0
    tos: int = 0
    protocol: str = "boot"
    scope: str = "global"
    preferred_source: str = ""
    source: str = ""
    next_hops: tuple[NextHop, ...] = ()
    next_hop_id: int = 0
    mtu_bytes: int = 0
    hop_limit: int = 0
    preference: str = ""
    expires_s: int | None = None
    cached: bool = False


class AddressLabel(Fact, frozen=True):
    """One entry of the policy table by which IPv6 source addresses are chosen (`ip addrlabel`). index 0: any device."""

    prefix: str
    label: int
    index: int = 0


class PolicyRule(Fact, frozen=True):
    """One `ip rule`. fwmark None means it does not look at the mark, and dscp None not at the DSCP.

    A port mask of 0 goes with a range. unread: selectors that no model of a packet has.
    """

    family: Family
    priority: int
    action: str = "lookup"
    table: int = 0
    source: str = ""
    destination: str = ""
    in_device: str = ""
    out_device: str = ""
    fwmark: int | None = None
    fwmask: int = 0xFFFFFFFF
    tos: int = 0
    protocol: int = 0
    source_ports: tuple[int, int] | None = None
    destination_ports: tuple[int, int] | None = None
    uids: tuple[int, int] | None = None
    suppress_prefix_length: int | None = None
    suppress_group: int | None = None
    goto: int = 0
    invert: bool = False
    l3mdev: bool = False
    dscp: int | None = None
    dscp_mask: int = 0x3F
    source_port_mask: int = 0
    destination_port_mask: int = 0
    unread: tuple[str, ...] = ()


class Neighbour(Fact, frozen=True):
    """One ARP or ND entry; `proxy` entries are answered for, not used."""

    family: Family
    index: int
    address: str
    mac: str = ""
    state: str = "none"
    proxy: bool = False
    router: bool = False
    externally_learned: bool = False


class FdbEntry(Fact, frozen=True):
    """One forwarding entry of a bridge port (`master` set) or of a vxlan (`destination` set)."""

    index: int
    mac: str
    master: int = 0
    vlan: int = 0
    state: str = "reachable"
    sticky: bool = False
    destination: str = ""
    vni: int = 0
    port: int = 0
    via: int = 0


class Qdisc(Fact, frozen=True):
    """One queueing discipline with what its options and statistics say ("limit", "rate_bytes", "burst_bytes")."""

    index: int
    kind: str
    handle: str
    parent: str
    options: dict[str, int] = {}
    sent_packets: int = 0
    drops: int = 0
    backlog_packets: int = 0


class TrafficFilter(Fact, frozen=True):
    """One tc filter (or TCX/XDP program, kind "tcx") at the ingress or egress of a device.

    unread: not a filter, but why it cannot be told whether there are any of this kind, at either side.
    """

    index: int
    side: Literal["ingress", "egress"]
    kind: str
    priority: int = 0
    protocol: str = "all"
    handle: int = 0
    chain: int = 0
    actions: tuple[str, ...] = ()
    redirect_index: int = 0
    program: str = ""
    unread: str = ""


class XfrmTemplate(Fact, frozen=True):
    """What a policy wants done: a transform between two ends."""

    source: str
    destination: str
    protocol: str
    mode: str
    request_id: int = 0
    optional: bool = False


class XfrmPolicy(Fact, frozen=True):
    """One IPsec policy. direction: in, out, fwd. action: allow or block.

    device: the interface its selector asks for. For ICMP the ports are type and code.
    """

    direction: str
    family: Family
    source: str
    destination: str
    action: str
    protocol: int = 0
    source_port: int = 0
    destination_port: int = 0
    priority: int = 0
    index: int = 0
    interface: int = 0
    device: int = 0
    mark: int = 0
    mark_mask: int = 0
    templates: tuple[XfrmTemplate, ...] = ()


class XfrmState(Fact, frozen=True):
    """One IPsec security association."""

    family: Family
    source: str
    destination: str
    protocol: str
    spi: int
    mode: str
    request_id: int = 0


class Socket(Fact, frozen=True):
    """One bound socket. `address` is "0.0.0.0" or "::" for any; state: listen, established, ... as ss prints it.

    transparent: whether it has IP_TRANSPARENT; None where the kernel does not say.
    """

    protocol: Literal["tcp", "udp"]
    family: Family
    address: str
    port: int
    state: str
    remote: str = ""
    remote_port: int = 0
    device: int = 0
    v6_only: bool = False
    transparent: bool | None = None


class ResolvConf(Fact, frozen=True, tag="resolv-conf"):
    """resolv.conf and hosts as the container's processes see them."""

    path: str
    nameservers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    hosts_path: str = ""
    hosts: dict[str, tuple[str, ...]] = {}


class ConntrackTuple(Fact, frozen=True):
    """One direction of a connection; for ICMP the ports are the id."""

    protocol: int
    source: str
    destination: str
    source_port: int = 0
    destination_port: int = 0


class ConntrackEntry(Fact, frozen=True):
    """One conntrack entry: both tuples, status bits by name (seen-reply, assured, confirmed, snat, dnat ...)."""

    original: ConntrackTuple
    reply: ConntrackTuple
    status: tuple[str, ...] = ()
    timeout_s: int = 0
    mark: int = 0
    zone: int = 0


class ConntrackTable(Fact, frozen=True, tag="conntrack-table"):
    """How full the table is; `maximum` is global to the machine, `count` this namespace's."""

    count: int
    maximum: int
    insert_failed: int = 0
    drop: int = 0
    early_drop: int = 0
    invalid: int = 0
