"""A name asked of a namespace's name servers, as its own resolver would: over UDP, over TCP where that is not enough."""

import socket
from functools import partial
from typing import TYPE_CHECKING

from netdoctor.errors import NetdoctorError
from netdoctor.model.evidence import TRUNCATED
from netdoctor.model.snapshot import NamespaceId, Snapshot
from netdoctor.model.unknown import Unknown
from netdoctor.resolution import FROM_ANYBODY, OVER_TCP, servers

if TYPE_CHECKING:
    from netdoctor.probe.dns import NameProbe
    from netdoctor.probing import Probing

PATIENCE_S, TCP_PATIENCE_S, STRAY_PATIENCE_S = 1.7, 1.3, 0.4


def resolve(probing: "Probing", name: str, snapshot: Snapshot) -> str:
    """The address by the hosts file, else by the servers; "" for a name that they do not resolve."""
    resolver = snapshot.namespaces[snapshot.target].resolver
    if isinstance(resolver, Unknown):
        raise NetdoctorError(f"cannot resolve {name}: {resolver.why}")
    known = resolver.hosts.get(name.rstrip(".").lower(), ())
    if known or not probing.options.probe:
        return known[0] if known else ""
    probing.options.tell(f"resolving {name}")
    legs = _ask(probing, name, snapshot)
    if not _found(probing, legs):
        legs = _ask_again(probing, name, snapshot, legs)
    found = _found(probing, legs)
    return next((one for one in found if ":" not in one), found[0] if found else "")


def _ask(probing: "Probing", name: str, snapshot: Snapshot) -> list[str]:
    legs = []
    for server in servers(snapshot):
        legs.append(f"dns {server}")
        make = partial(probing.datagram, legs[-1], snapshot.target, server, 53, name)
        probing.add(legs[-1], snapshot.target, make)
    probing.board.run(PATIENCE_S, tuple(legs), lambda: bool(_found(probing, legs)))
    probing.board.run(0.05, tuple(legs))
    return legs


def _ask_again(probing: "Probing", name: str, snapshot: Snapshot, legs: list[str]) -> list[str]:
    """Nobody answered well: a truncated answer is asked for over TCP, silence once more from an open socket."""
    from netdoctor.probe.dns import NameFromAnybody, NameOverTcp

    more = []
    results = {ping.leg: ping for ping in probing.board.results()}
    for server in servers(snapshot):
        ping = results.get(f"dns {server}")
        if ping is not None and ping.detail == TRUNCATED:
            kind: type[NameProbe] = NameOverTcp
            word, sort = OVER_TCP, socket.SOCK_STREAM
        elif ping is not None and ping.answer == "silent":
            kind = NameFromAnybody
            word, sort = FROM_ANYBODY, socket.SOCK_DGRAM
        else:
            continue
        more.append(f"dns {server}{word}")
        probing.add(more[-1], snapshot.target, partial(_made, kind, more[-1], snapshot.target, server, sort, name))
    over_tcp = [leg for leg in more if leg.endswith(OVER_TCP)]
    if more:
        probing.board.run(TCP_PATIENCE_S if over_tcp else STRAY_PATIENCE_S, tuple(more))
    return [*legs, *over_tcp]


def _made(
    kind: "type[NameProbe]", leg: str, namespace: NamespaceId, server: str, sort: socket.SocketKind, name: str
) -> "NameProbe":
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    return kind(leg, namespace, server, socket.socket(family, sort | socket.SOCK_NONBLOCK), name)


def _found(probing: "Probing", legs: list[str]) -> list[str]:
    return [address for leg in legs for address in getattr(probing.board.probes.get(leg), "found", [])]
