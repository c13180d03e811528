"""The Snapshot: everything that was seen, immutable; observe extends it, walk only reads it."""

from typing import Literal

from .firewall import Backend, Ruleset
from .network import (
    Address,
    AddressLabel,
    ConntrackEntry,
    ConntrackTable,
    Fact,
    FdbEntry,
    Link,
    Neighbour,
    PolicyRule,
    Qdisc,
    ResolvConf,
    Route,
    Socket,
    TrafficFilter,
    XfrmPolicy,
    XfrmState,
)
from .unknown import UNREAD, Unknown

NamespaceId = str
"""Device and inode of the namespace, "4:4026532177": its identity, whatever its names."""

Subject = Literal[
    "namespace", "peer", "device", "filters", "ruleset", "chains", "legacy-chains", "set", "element", "sockets", "queues",
    "conntrack", "neighbourhood",
]  # fmt: skip


class Need(Fact, frozen=True):
    """A fact the walk lacked. `key` depends on the subject:

    namespace      ()                        the namespace's base facts
    peer           (nsid,)                   which namespace IFLA_LINK_NETNSID `nsid` is
    device         (device name,)            the device's sysctls
    filters        (device name,)            its tc filters, TCX and XDP programs
    ruleset        ()                        every chain and set
    chains         (family, table, chain...) the rules of these chains of nf_tables
    legacy-chains  (family, table, chain...) the same of legacy xtables
    set            (family, table, set)      its elements
    element        (family, table, set, key) its element for this key in hex digits
    sockets        ()                        bound sockets
    queues         ()                        the netfilter queues somebody listens on
    conntrack      ()                        the entries that stood before the probe
    neighbourhood  ()                        every other namespace this machine can see
    """

    namespace: NamespaceId
    subject: Subject
    key: tuple[str, ...] = ()


def chains_subject(backend: Backend) -> Literal["chains", "legacy-chains"]:
    """Which subject the chains of a backend's table are: an nf_tables table and a legacy one may have one name."""
    return "legacy-chains" if backend == "iptables-legacy" else "chains"


class Namespace(Fact, frozen=True):
    """One network namespace as it was read.

    sysctls: path under /proc/sys -> text, "net/ipv4/conf/veth0/rp_filter" -> "1"; Unknown where it could not be read.
    custom_rules: IPv4 has or once had policy rules of its own: its local and main tables are searched apart.
    labels: IPv6's address labels, () when they are the kernel's own.
    peers: IFLA_LINK_NETNSID of this namespace -> which namespace that is.
    filters, device names whose filters were read -> their filters.
    """

    id: NamespaceId
    name: str
    names: tuple[str, ...] = ()
    path: str = ""
    links: tuple[Link, ...] | Unknown = UNREAD
    addresses: tuple[Address, ...] | Unknown = UNREAD
    routes: tuple[Route, ...] | Unknown = UNREAD
    rules: tuple[PolicyRule, ...] | Unknown = UNREAD
    custom_rules: bool | Unknown = UNREAD
    labels: tuple[AddressLabel, ...] | Unknown = ()
    neighbours: tuple[Neighbour, ...] | Unknown = UNREAD
    fdb: tuple[FdbEntry, ...] | Unknown = UNREAD
    qdiscs: tuple[Qdisc, ...] | Unknown = UNREAD
    filters: dict[str, tuple[TrafficFilter, ...] | Unknown] = {}
    policies: tuple[XfrmPolicy, ...] | Unknown = UNREAD
    states: tuple[XfrmState, ...] | Unknown = UNREAD
    sockets: tuple[Socket, ...] | Unknown = UNREAD
    queues: tuple[int, ...] | Unknown = UNREAD
    sysctls: dict[str, str | Unknown] = {}
    devices_read: tuple[str, ...] = ()
    peers: dict[str, NamespaceId | Unknown] = {}
    ruleset: Ruleset = Ruleset()
    conntrack: ConntrackTable | Unknown = UNREAD
    conntrack_entries: tuple[ConntrackEntry, ...] | Unknown = UNREAD
    resolver: ResolvConf | Unknown = UNREAD


class Provenance(Fact, frozen=True):
    """Who looked, when, on what, with which rights."""

    netdoctor: str = ""
    kernel: str = ""
    hostname: str = ""
    started_utc: str = ""
    arguments: tuple[str, ...] = ()
    user_id: int = 0


class Snapshot(Fact, frozen=True):
    """The state of every namespace on the way. `host` is the namespace netdoctor runs in, `target` the one asked about.

    complete: nothing more can be had (a saved snapshot). surveyed: every visible namespace was read.
    """

    host: NamespaceId
    target: NamespaceId
    namespaces: dict[NamespaceId, Namespace] = {}
    complete: bool = False
    surveyed: bool = False
    provenance: Provenance = Provenance()
