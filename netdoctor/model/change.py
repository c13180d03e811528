"""One desired edit as data. fix/ knows its four readings: as typed, the inverse, on the model, on the kernel."""

import msgspec

from .firewall import Backend, Rule, TableFamily
from .network import Address, FdbEntry, Neighbour, PolicyRule, Qdisc, Route, TrafficFilter, XfrmPolicy
from .snapshot import NamespaceId


class Edit(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag=True):
    """Base: in which namespace."""

    namespace: NamespaceId


class SetSysctl(Edit, frozen=True):
    """key: path under /proc/sys, "net/ipv4/ip_forward"."""

    key: str
    value: str


class SetLink(Edit, frozen=True):
    """Changes only what is not None. master 0 takes the link out of its bridge."""

    link: str
    up: bool | None = None
    mtu_bytes: int | None = None
    mac: str | None = None
    no_arp: bool | None = None
    master: str | None = None


class SetBridgePort(Edit, frozen=True):
    """option: state, isolated, locked, learning, flood, mcast_flood, bcast_flood, hairpin (as `bridge link` names them)."""

    link: str
    option: str
    value: int


class SetBridge(Edit, frozen=True):
    """option as `ip link set type bridge` names it: stp_state, vlan_filtering ..."""

    link: str
    option: str
    value: int


class AddAddress(Edit, frozen=True):
    link: str
    address: Address


class DeleteAddress(Edit, frozen=True):
    link: str
    address: Address


class AddRoute(Edit, frozen=True):
    """The route's next hops carry interface indexes of this namespace."""

    route: Route


class DeleteRoute(Edit, frozen=True):
    route: Route


class AddPolicyRule(Edit, frozen=True):
    rule: PolicyRule


class DeletePolicyRule(Edit, frozen=True):
    rule: PolicyRule


class SetNeighbour(Edit, frozen=True):
    link: str
    neighbour: Neighbour


class DeleteNeighbour(Edit, frozen=True):
    link: str
    neighbour: Neighbour


class FlushRouteCache(Edit, frozen=True):
    """Forgets learned redirects and path MTUs. Nothing to put back: they are learned again."""

    family: int = 4


class AddFdbEntry(Edit, frozen=True):
    link: str
    entry: FdbEntry


class DeleteFdbEntry(Edit, frozen=True):
    link: str
    entry: FdbEntry


class AddQdisc(Edit, frozen=True):
    link: str
    qdisc: Qdisc
    filters: tuple[TrafficFilter, ...] = ()


class DeleteQdisc(Edit, frozen=True):
    """Deletes the qdisc with the filters it carries. Without a faithful inverse (BPF bytecode) the plan is disruptive."""

    link: str
    qdisc: Qdisc
    filters: tuple[TrafficFilter, ...] = ()


class AddXfrmPolicy(Edit, frozen=True):
    policy: XfrmPolicy


class DeleteXfrmPolicy(Edit, frozen=True):
    policy: XfrmPolicy


class ChainRef(msgspec.Struct, frozen=True, kw_only=True):
    """Which chain of which table of which backend."""

    backend: Backend
    family: TableFamily
    table: str
    chain: str


class InsertRule(Edit, frozen=True):
    """Puts `rule` at 1-based `line`; 0 appends."""

    at: ChainRef
    rule: Rule
    line: int = 0


class DeleteRule(Edit, frozen=True):
    at: ChainRef
    rule: Rule


class ReplaceRule(Edit, frozen=True):
    at: ChainRef
    before: Rule
    after: Rule


class SetChainPolicy(Edit, frozen=True):
    at: ChainRef
    policy: str


class AddChain(Edit, frozen=True):
    """Makes a base chain (and its table where it does not exist). kind: filter, nat or route."""

    at: ChainRef
    hook: str
    kind: str
    priority: int
    policy: str = "accept"


class DeleteChain(Edit, frozen=True):
    """Takes away an empty chain; its table too when `with_table`."""

    at: ChainRef
    with_table: bool = False
    hook: str = ""
    kind: str = ""
    priority: int = 0
    policy: str = "accept"


Change = (
    SetSysctl
    | SetLink
    | SetBridgePort
    | SetBridge
    | AddAddress
    | DeleteAddress
    | AddRoute
    | DeleteRoute
    | AddPolicyRule
    | DeletePolicyRule
    | SetNeighbour
    | DeleteNeighbour
    | FlushRouteCache
    | AddFdbEntry
    | DeleteFdbEntry
    | AddQdisc
    | DeleteQdisc
    | AddXfrmPolicy
    | DeleteXfrmPolicy
    | InsertRule
    | DeleteRule
    | ReplaceRule
    | SetChainPolicy
    | AddChain
    | DeleteChain
)
