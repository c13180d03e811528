"""What goes into and comes out of evaluating one base chain."""

from collections.abc import Callable, Mapping
from typing import Literal

import msgspec

from netdoctor.model.firewall import Backend, Chain, Rule, Ruleset, Table, TableFamily
from netdoctor.model.network import Link, Socket
from netdoctor.model.unknown import Unknown
from netdoctor.walk.packet import Packet

HookFamily = Literal["ip", "ip6", "arp", "bridge", "netdev"]
ResultVerdict = Literal["accept", "drop", "queue", "unknown"]
BindingKind = Literal["snat", "dnat", "masquerade", "redirect", "netmap"]


def _no_address_type(address: str, device: str) -> Unknown:
    return Unknown(f"the type of address {address} was not looked up")


def _no_fib(address: str, mark: int, in_device: str) -> Unknown:
    return Unknown(f"the route to {address} was not looked up")


def _no_socket(packet: Packet) -> Unknown:
    return Unknown("listening sockets were not looked up")


SetKey = tuple[str, str, str, bytes]
"""Family and name of a table, the name of a set of its, and a key."""


class HookFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What rules ask for besides the packet.

    links: the namespace's interfaces by name.
    address_type(address, device): local, unicast, broadcast, multicast, blackhole, unreachable, prohibit, unspec ...
      as `ip route get` names route types; device "" asks the main question, a name restricts it to that interface.
    fib_device(address, mark, in_device): the device a route to `address` leaves by, "" when there is none.
    socket(packet): the local TCP or UDP socket that would take the packet, wherever it is routed; None: there is none.
    touched: the keys that earlier chains put into sets (True) or took out of them.
    ipsec: whether the packet came, or will leave, through an IPsec transform.
    connections: how many conntrack keeps in the namespace.
    settled: (backend, family, table, chain, handle or bytes) of rules that were seen to meet this packet, or not to.
    """

    links: Mapping[str, Link] = {}
    address_type: Callable[[str, str], str | Unknown] = _no_address_type
    fib_device: Callable[[str, int, str], str | Unknown] = _no_fib
    socket: Callable[[Packet], Socket | Unknown | None] = _no_socket
    ipsec: bool | Unknown = Unknown("IPsec policies were not looked at")
    touched: dict[SetKey, bool] = {}
    connections: int | Unknown = Unknown("connections were not counted")
    settled: Mapping[tuple[str, str, str, str, int | bytes], bool] = {}


class BaseChain(msgspec.Struct, frozen=True, kw_only=True):
    """A chain hung into a hook. `priority` is where the kernel runs it; all nat chains share their hook's nat place."""

    ruleset: Ruleset
    table: Table
    chain: Chain
    hook: str
    priority: int
    is_nat: bool = False

    @property
    def backend(self) -> Backend:
        return self.table.backend

    @property
    def reroutes(self) -> bool:
        """Whether the output hook routes a packet again that this chain changed."""
        return self.chain.type == "route" or (self.backend == "iptables-legacy" and self.table.name == "mangle")

    def __str__(self) -> str:
        return f"{self.table.backend} {self.table.family} {self.table.name} {self.chain.name}"


class RuleRef(msgspec.Struct, frozen=True, kw_only=True):
    """Which rule; line 0 is the chain's policy. `text` as iptables-save or nft prints it; `rule` None for a policy.

    jumps: (chain, line) of each jump that led from the base chain to this rule's chain, in order.
    """

    backend: Backend
    family: TableFamily
    table: str
    chain: str
    line: int = 0
    handle: int = 0
    text: str = ""
    comment: str = ""
    rule: Rule | None = None
    jumps: tuple[tuple[str, int], ...] = ()

    @property
    def is_policy(self) -> bool:
        return self.line == 0

    @property
    def path(self) -> str:
        """The chains on the way to the rule: "FORWARD -> DOCKER-USER -> QUARANTINE"."""
        return " -> ".join((*(chain for chain, _ in self.jumps), self.chain))


class Binding(msgspec.Struct, frozen=True, kw_only=True):
    """What a NAT rule asks for. Empty address: keep it (or, masquerade and redirect, the device's own address).

    manip: which end of the packet it rewrites. ports 0: keep. A netmap's address is already computed for this packet.
    flags: random, random-fully, persistent.
    """

    kind: BindingKind
    manip: Literal["source", "destination"]
    address_min: str = ""
    address_max: str = ""
    port_min: int = 0
    port_max: int = 0
    flags: tuple[str, ...] = ()


class Doubt(msgspec.Struct, frozen=True, kw_only=True):
    """A rule of which it cannot be told whether the packet meets it, and what it would do."""

    rule: RuleRef
    why: str
    verdict: Literal["accept", "drop", "queue"]
    binding: Binding | None = None


class Assumption(msgspec.Struct, frozen=True, kw_only=True):
    """What one world takes for given of a rule nobody can tell of: that the packet meets it, or not; why: as in Doubt."""

    rule: RuleRef
    why: str
    met: bool


class RulesetNeed(msgspec.Struct, frozen=True, kw_only=True):
    """What has to be read before evaluation can go on; subject and key as in model.snapshot.Need."""

    subject: Literal["chains", "legacy-chains", "set", "element"]
    key: tuple[str, ...]


class ChainResult(msgspec.Struct, frozen=True, kw_only=True):
    """What one base chain does to the packet.

    verdict unknown: some `doubts` decide; `otherwise` is the verdict when none of them matches.
    rule: the rule or policy that gave `verdict` (or `otherwise`). matched: every rule surely met, jumps included.
    packet: after the chain's changes, on the accepting way; uncertain: its fields only doubtful rules changed -> why.
    reject: how a drop is answered ("icmp-port-unreachable", "tcp-reset"), empty for silence.
    queue, queues: the first of how many queues one of which gets the packet; queue_bypass: it passes where nobody listens.
    unserved: the queue that drops the packet because nobody listens on it.
    notrack, zone, helper: what the chain asked of conntrack. tproxy: "address:port" the packet is handed to.
    assumed: in one of several worlds, what that world takes for given.
    touched: the keys that rules put into sets (True) or took out of them.
    needs: not finished; read these and evaluate again.
    """

    verdict: ResultVerdict
    packet: Packet
    rule: RuleRef
    otherwise: Literal["accept", "drop", "queue"] = "accept"
    binding: Binding | None = None
    reject: str = ""
    queue: int | None = None
    queues: int = 1
    queue_bypass: bool = False
    unserved: int | None = None
    matched: tuple[RuleRef, ...] = ()
    doubts: tuple[Doubt, ...] = ()
    uncertain: dict[str, str] = {}
    notrack: bool = False
    zone: int | None = None
    helper: str = ""
    tproxy: str = ""
    assumed: tuple[Assumption, ...] = ()
    touched: dict[SetKey, bool] = {}
    needs: tuple[RulesetNeed, ...] = ()


class Miss(msgspec.Struct, frozen=True, kw_only=True):
    """One condition of a rule that the packet does not meet.

    field: source, destination, in-device, out-device, protocol, source-port, destination-port, conntrack-state, mark,
    address-type, or the match's name.
    """

    field: str
    expected: str
    observed: str


class NatMiss(msgspec.Struct, frozen=True, kw_only=True):
    """A NAT rule that did not take the packet: which conditions failed, or which earlier rule ended the chain first."""

    rule: RuleRef
    kind: BindingKind
    misses: tuple[Miss, ...] = ()
    shadowed_by: RuleRef | None = None


class RuleSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A rule to be composed, in words. Empty fields are not tested. destination_port needs protocol tcp or udp."""

    verdict: Literal["accept", "drop", "return", "masquerade"]
    source: str = ""
    destination: str = ""
    in_device: str = ""
    out_device: str = ""
    protocol: Literal["", "tcp", "udp", "icmp", "icmpv6"] = ""
    destination_port: int = 0
    ct_states: tuple[str, ...] = ()
    ether_type: Literal["", "ip", "ip6", "arp"] = ""
    comment: str = ""
