"""A packet's way: Flow in, Journey out."""

from typing import Literal

from .network import Fact, Family
from .snapshot import NamespaceId, Need

Protocol = Literal["icmp", "tcp", "udp"]
Outcome = Literal["pass", "block", "unknown"]
Direction = Literal["forward", "reply"]

StepKind = Literal[
    "device", "carrier", "bridge", "encapsulation",
    "source-address", "address-owner",
    "neighbour",
    "route",
    "forwarding", "source-validation", "ttl",
    "hook", "traffic-control", "xfrm",
    "nat",
    "conntrack",
    "mtu",
    "upstream",
    "resolver",
    "local-port", "deliver",
]  # fmt: skip


class Flow(Fact, frozen=True):
    """What is asked of the network: a packet from a namespace to a destination."""

    namespace: NamespaceId
    family: Family
    destination: str
    protocol: Protocol
    port: int = 0
    length_bytes: int = 84
    dont_fragment: bool = False
    source: str = ""
    user_id: int = 0


class Because(Fact, frozen=True):
    """The very object that decided a step, as its own tool prints it."""

    kind: Literal[
        "link", "address", "neighbour", "route", "policy-rule", "rule", "sysctl", "bridge-port", "fdb",
        "xfrm", "filter", "socket", "conntrack", "file", "probe",
    ]  # fmt: skip
    namespace: NamespaceId
    text: str


class Step(Fact, frozen=True):
    """One decision on the way.

    `cause` is the slug of what is wrong when the outcome is block (or what may be wrong when it is unknown);
    `facts` are the words and numbers its check needs to tell it ("link", "sysctl", "gateway", "rule handle" ...).
    """

    kind: StepKind
    namespace: NamespaceId
    outcome: Outcome
    summary: str
    device: str = ""
    direction: Direction = "forward"
    packet: str = ""
    because: tuple[Because, ...] = ()
    cause: str = ""
    facts: dict[str, str] = {}


class Journey(Fact, frozen=True):
    """The way in one direction. `end`: delivered, blocked, or left (it goes where we cannot see)."""

    direction: Direction
    end: Literal["delivered", "blocked", "left", "unknown"]
    steps: tuple[Step, ...] = ()


class RoundTrip(Fact, frozen=True):
    """A flow's forward way and, if that arrives, the reply's. With `needs`, it is not finished."""

    flow: Flow
    forward: Journey
    reply: Journey | None = None
    needs: tuple[Need, ...] = ()

    @property
    def steps(self) -> tuple[Step, ...]:
        return self.forward.steps + (self.reply.steps if self.reply else ())

    @property
    def fatal(self) -> Step | None:
        """The step that kills the packet, if one surely does."""
        return next((step for step in self.steps if step.outcome == "block"), None)

    @property
    def doubts(self) -> tuple[Step, ...]:
        return tuple(step for step in self.steps if step.outcome == "unknown")

    @property
    def arrives(self) -> bool:
        """True when both ways are known to be open."""
        return self.forward.end == "delivered" and self.reply is not None and self.reply.end == "delivered"
