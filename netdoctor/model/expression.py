"""What a rule is made of: nf_tables expressions, and the xtables header, matches and targets.

Field names and key names are nf_tables' own, as `nft --debug=netlink` prints them. A register is numbered as the kernel
numbers it (1-4: 16 bytes each, 8-23: 4 bytes each). Source: linux/netfilter/nf_tables.h, linux/netfilter/x_tables.h.
"""

from typing import Literal

from .network import Fact

VerdictCode = Literal["accept", "drop", "queue", "continue", "break", "jump", "goto", "return", "stolen"]
Comparison = Literal["eq", "neq", "lt", "lte", "gt", "gte"]
PayloadBase = Literal["link", "network", "transport", "inner", "tunnel"]
BitwiseOperation = Literal["bool", "lshift", "rshift", "and", "or", "xor"]


class Expression(Fact, frozen=True, tag_field="is"):
    """Base of the expressions; each subclass is tagged with the kernel's name of it."""


class Opaque(Expression, frozen=True, tag="opaque"):
    """An expression we cannot read: the rule's outcome is Unknown, never a guess. `raw`: its NFTA_EXPR_DATA."""

    name: str
    raw: bytes = b""


class XtHeader(Expression, frozen=True, tag="xt-header"):
    """struct ipt_ip or ip6t_ip6. Devices end in "+" when only a prefix is compared; `invert` holds IPT_INV_* bits."""

    family: Literal["ip", "ip6"]
    source: bytes = b""
    source_mask: bytes = b""
    destination: bytes = b""
    destination_mask: bytes = b""
    in_device: str = ""
    out_device: str = ""
    protocol: int = 0
    tos: int = 0
    flags: int = 0
    invert: int = 0


class XtMatch(Expression, frozen=True, tag="match"):
    """One xtables match; `info` is the kernel's own struct, read by (name, revision) in walk.netfilter."""

    name: str
    revision: int = 0
    info: bytes = b""


class XtTarget(Expression, frozen=True, tag="target"):
    """One xtables target other than the standard verdicts; `info` as in XtMatch."""

    name: str
    revision: int = 0
    info: bytes = b""


class Verdict(Expression, frozen=True, tag="verdict"):
    """A verdict: nf_tables' immediate into register 0, or xtables' standard target."""

    code: VerdictCode
    chain: str = ""


class Immediate(Expression, frozen=True, tag="immediate"):
    register: int
    value: bytes


class Meta(Expression, frozen=True, tag="meta"):
    """Loads metadata: mark, iifname, l4proto, nfproto ..."""

    key: str
    register: int


class MetaSet(Expression, frozen=True, tag="meta-set"):
    key: str
    register: int


class Payload(Expression, frozen=True, tag="payload"):
    base: PayloadBase
    offset: int
    length: int
    register: int


class PayloadSet(Expression, frozen=True, tag="payload-set"):
    base: PayloadBase
    offset: int
    length: int
    register: int
    checksum_type: int = 0
    checksum_offset: int = 0
    checksum_flags: int = 0


class Cmp(Expression, frozen=True, tag="cmp"):
    operator: Comparison
    register: int
    value: bytes


class Range(Expression, frozen=True, tag="range"):
    operator: Literal["eq", "neq"]
    register: int
    low: bytes
    high: bytes


class Bitwise(Expression, frozen=True, tag="bitwise"):
    """operation: bool (source & mask ^ xor), lshift or rshift (by `value`); and, or, xor with the register `second`."""

    source: int
    destination: int
    length: int
    operation: BitwiseOperation = "bool"
    mask: bytes = b""
    xor: bytes = b""
    value: bytes = b""
    second: int = 0


class Byteorder(Expression, frozen=True, tag="byteorder"):
    source: int
    destination: int
    operation: Literal["ntoh", "hton"]
    length: int
    size: int


class Lookup(Expression, frozen=True, tag="lookup"):
    """Finds register's value in a set; `destination` is None for a plain set, 0 for a verdict map."""

    set: str
    register: int
    destination: int | None = None
    invert: bool = False


class Ct(Expression, frozen=True, tag="ct"):
    """direction: None, 0 original, 1 reply."""

    key: str
    register: int
    direction: int | None = None


class CtSet(Expression, frozen=True, tag="ct-set"):
    key: str
    register: int
    direction: int | None = None


class Fib(Expression, frozen=True, tag="fib"):
    """result: oif, oifname or type; flags: saddr, daddr, mark, iif, oif, present."""

    register: int
    result: str
    flags: tuple[str, ...]


class Rt(Expression, frozen=True, tag="rt"):
    key: str
    register: int


class SocketLookup(Expression, frozen=True, tag="socket"):
    key: str
    register: int
    level: int = 0


class Xfrm(Expression, frozen=True, tag="xfrm"):
    """Loads from the IPsec transform the packet came (direction 0) or will leave through (1): spi, reqid, saddr_in ..."""

    key: str
    register: int
    direction: int = 0
    number: int = 0


class Osf(Expression, frozen=True, tag="osf"):
    """Loads the name (flags 1: with the version) of the operating system that a SYN looks like."""

    register: int
    ttl: int = 0
    flags: int = 0


class Numgen(Expression, frozen=True, tag="numgen"):
    mode: Literal["inc", "random"]
    modulus: int
    register: int
    offset: int = 0


class Hash(Expression, frozen=True, tag="hash"):
    mode: Literal["jhash", "symhash"]
    register: int
    modulus: int
    source: int = 0
    length: int = 0
    seed: int | None = None
    offset: int = 0


class Exthdr(Expression, frozen=True, tag="exthdr"):
    """operation: 0 IPv6 extension header, 1 TCP option, 2 IPv4 option, 3 SCTP chunk, 4 DCCP option; flags 1: only
    whether it is present. `source` is set when it writes; without either register the TCP option is taken out."""

    operation: int
    type: int
    offset: int
    length: int
    flags: int = 0
    register: int = 0
    source: int = 0


class Limit(Expression, frozen=True, tag="limit"):
    """`unit_s` seconds; kind: packets or bytes; `over` for `limit rate over`."""

    rate: int
    unit_s: int
    burst: int = 0
    kind: Literal["packets", "bytes"] = "packets"
    over: bool = False


class Quota(Expression, frozen=True, tag="quota"):
    bytes: int
    consumed: int = 0
    over: bool = False


class Connlimit(Expression, frozen=True, tag="connlimit"):
    count: int
    over: bool = False


class Counter(Expression, frozen=True, tag="counter"):
    packets: int = 0
    bytes: int = 0


class Last(Expression, frozen=True, tag="last"):
    """`last used`: statistics only."""


class Log(Expression, frozen=True, tag="log"):
    prefix: str = ""
    group: int | None = None
    level: int | None = None
    flags: int = 0
    snap_length: int | None = None
    queue_threshold: int | None = None


class Reject(Expression, frozen=True, tag="reject"):
    """kind: 0 icmp, 1 tcp reset, 2 icmpx."""

    kind: int
    code: int = 0


class Nat(Expression, frozen=True, tag="nat"):
    """Registers are 0 where not given; flags are NF_NAT_RANGE_* bits."""

    kind: Literal["snat", "dnat"]
    family: Literal["ip", "ip6"]
    address_min: int = 0
    address_max: int = 0
    port_min: int = 0
    port_max: int = 0
    flags: int = 0


class Masquerade(Expression, frozen=True, tag="masq"):
    port_min: int = 0
    port_max: int = 0
    flags: int = 0


class Redirect(Expression, frozen=True, tag="redir"):
    port_min: int = 0
    port_max: int = 0
    flags: int = 0


class Notrack(Expression, frozen=True, tag="notrack"):
    """Takes the packet out of conntrack's sight."""


class Queue(Expression, frozen=True, tag="queue"):
    """flags: 1 bypass, 2 cpu-fanout; `register` holds the number where it is not a constant."""

    number: int = 0
    total: int = 1
    flags: int = 0
    register: int = 0


class Objref(Expression, frozen=True, tag="objref"):
    """Refers to a named counter, quota, limit, ct helper ... by name, or through a map."""

    kind: int = 0
    name: str = ""
    set: str = ""
    register: int = 0


class Tproxy(Expression, frozen=True, tag="tproxy"):
    family: int
    address: int = 0
    port: int = 0


class Dup(Expression, frozen=True, tag="dup"):
    address: int = 0
    device: int = 0


class Forward(Expression, frozen=True, tag="fwd"):
    device: int
    address: int = 0
    family: int = 0


class Synproxy(Expression, frozen=True, tag="synproxy"):
    mss: int = 0
    window_scale: int = 0
    flags: int = 0


class FlowOffload(Expression, frozen=True, tag="flow_offload"):
    """Gives an established flow to a flowtable: its later packets go past the forward hook."""

    table: str


class Dynset(Expression, frozen=True, tag="dynset"):
    """Adds or updates a set element from the packet path; with nested expressions it is a meter."""

    set: str
    operation: Literal["add", "update", "delete"]
    key: int
    value: int = 0
    timeout_ms: int = 0
    invert: bool = False
    expressions: tuple["AnyExpression", ...] = ()


AnyExpression = (
    Opaque | XtHeader | XtMatch | XtTarget | Verdict | Immediate | Meta | MetaSet | Payload | PayloadSet | Cmp | Range
    | Bitwise | Byteorder | Lookup | Ct | CtSet | Fib | Rt | SocketLookup | Xfrm | Osf | Numgen | Hash | Exthdr | Limit
    | Quota | Connlimit | Counter | Last | Log | Reject | Nat | Masquerade | Redirect | Notrack | Queue | Objref | Tproxy
    | Dup | Forward | Synproxy | FlowOffload | Dynset
)  # fmt: skip
