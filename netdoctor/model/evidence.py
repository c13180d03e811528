"""What the probes saw: whether it is broken, never why."""

from typing import Literal

from .network import ConntrackEntry, Fact
from .snapshot import NamespaceId

TRUNCATED = "truncated"
Answer = Literal["reply", "refused", "silent", "error", "local-error", "not-sent"]


class Ping(Fact, frozen=True):
    """One hop asked. answer: reply, refused (RST, port unreachable), silent, error (an ICMP error came: `error`,
    from `offender`), local-error (the send itself failed: `error`), not-sent.

    detail: what else was seen; of a name server TRUNCATED, NXDOMAIN ... `offender` of an answer: who gave it, if that was seen.
    """

    leg: str
    namespace: NamespaceId
    address: str
    protocol: str = "icmp"
    port: int = 0
    answer: Answer = "not-sent"
    rtt_ms: float | None = None
    error: str = ""
    offender: str = ""
    sent: int = 0
    received: int = 0
    length_bytes: int = 0
    detail: str = ""


class RuleCount(Fact, frozen=True):
    """A rule's packet counter around one probe; line 0 is the chain's policy.

    quiet: by how much it moved in as long a time before, when no probe was sent: what others send.
    """

    namespace: NamespaceId
    backend: str
    family: str
    table: str
    chain: str
    line: int
    before: int
    after: int
    quiet: int = 0


class Evidence(Fact, frozen=True):
    """Everything that was tried on the wire for one question, by leg."""

    pings: tuple[Ping, ...] = ()
    conntrack: dict[NamespaceId, tuple[ConntrackEntry, ...]] = {}
    resolved: dict[str, tuple[str, ...]] = {}
    counters: tuple[RuleCount, ...] = ()

    def of(self, leg: str) -> Ping | None:
        return next((ping for ping in self.pings if ping.leg == leg), None)
