"""All probes of a question at once, in one loop: whatever answers first is read first."""

import select
import time
from collections.abc import Callable
from typing import Protocol

from netdoctor.model.evidence import Ping
from netdoctor.model.snapshot import NamespaceId

MAX_WAIT_S = 0.05


class Probe(Protocol):
    """What the board runs: a socket that asks, asks again, and reads answers."""

    leg: str
    namespace: NamespaceId
    started: float

    @property
    def done(self) -> bool: ...
    def fileno(self) -> int: ...
    def next_send(self) -> float | None: ...
    def send(self) -> None: ...
    def receive(self) -> None: ...
    def result(self) -> Ping: ...
    def close(self) -> None: ...


class Board:
    """Holds the probes of one question; `run` returns when all have an answer, time is up, or `enough` says so."""

    def __init__(self) -> None:
        self.probes: dict[str, Probe] = {}
        self.refusals: list[Ping] = []

    def add(self, probe: Probe) -> None:
        """Adds a probe and asks at once. One probe a leg: the first stays."""
        if probe.leg in self.probes:
            probe.close()
            return
        self.probes[probe.leg] = probe
        probe.send()

    def run(
        self,
        timeout_s: float,
        legs: tuple[str, ...] = (),
        enough: Callable[[], bool] | None = None,
        *,
        alone: bool = False,
    ) -> None:
        """Waits for the named legs (all of them when none is named). alone: nothing else asks again meanwhile."""
        until = time.monotonic() + timeout_s
        while True:
            wanted = [probe for probe in self.probes.values() if not probe.done and (not legs or probe.leg in legs)]
            now = time.monotonic()
            if not wanted or now >= until or (enough is not None and enough()):
                return
            self._turn(now, until, wanted if alone else [probe for probe in self.probes.values() if not probe.done])

    @staticmethod
    def _turn(now: float, until: float, open_ones: list[Probe]) -> None:
        poller = select.poll()
        by_number = {}
        wait = min(until - now, MAX_WAIT_S)
        for probe in open_ones:
            due = probe.next_send()
            if due is not None:
                if due <= now:
                    probe.send()
                    due = probe.next_send()
                if due is not None:
                    wait = min(wait, max(due - now, 0.0))
            events = (
                select.POLLOUT | select.POLLERR if getattr(probe, "writing", False) else select.POLLIN | select.POLLERR
            )
            if not probe.done:
                poller.register(probe.fileno(), events)
                by_number[probe.fileno()] = probe
        for number, _ in poller.poll(wait * 1000):
            by_number[number].receive()

    def results(self) -> tuple[Ping, ...]:
        return tuple(probe.result() for probe in self.probes.values()) + tuple(self.refusals)

    def close(self) -> None:
        for probe in self.probes.values():
            probe.close()
