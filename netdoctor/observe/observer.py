"""Answers the needs of the walk: enters namespaces, reads, extends the Snapshot. Writes nothing anywhere."""

import contextlib
import errno
import os
import struct
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeVar

from msgspec.structs import replace

from netdoctor.model.firewall import Ruleset
from netdoctor.model.network import Link, PolicyRule, Qdisc, Route, TrafficFilter
from netdoctor.model.snapshot import Namespace, NamespaceId, Need, Provenance, Snapshot, Subject
from netdoctor.model.unknown import Unknown
from netdoctor.netlink.inside import Worker
from netdoctor.netlink.wire import (
    NETLINK_NETFILTER,
    NETLINK_ROUTE,
    NETLINK_SOCK_DIAG,
    NETLINK_XFRM,
    Reader,
    attribute,
    attributes,
    s32,
)
from netdoctor.observe import (
    addresses,
    conntrack,
    ipsec,
    links,
    neighbours,
    queues,
    resolver,
    routes,
    sockets,
    sysctls,
    traffic_control,
)
from netdoctor.observe.rulesets import RulesetReader
from netdoctor.target import NETNS_FOLDER, Handle, identity, named, visible

if TYPE_CHECKING:
    from netdoctor.observe import counters as counting

RTM_GETNSID = 90
DEVICES_READ_AT_ONCE = 12
WHOLE: tuple[Subject, ...] = ("sockets", "queues", "conntrack", "ruleset")
RULESETS: tuple[Subject, ...] = ("ruleset", "chains", "legacy-chains", "set", "element")
T = TypeVar("T")


class Observer:
    """Holds an open handle and the sockets of every namespace it has looked into; close it."""

    def __init__(self, target: Handle, host: Handle) -> None:
        self.worker = Worker()
        self.handles: dict[NamespaceId, Handle] = {host.id: host}
        self.handles.setdefault(target.id, target)
        self.host, self.target = host.id, target.id
        self._readers: dict[tuple[NamespaceId, int], Reader] = {}
        self._rulesets: dict[NamespaceId, RulesetReader] = {}
        self._searched: set[str] = set()

    def close(self) -> None:
        for reader in self._readers.values():
            reader.close()
        for rulesets in self._rulesets.values():
            rulesets.close()
        for handle in self.handles.values():
            handle.close()
        self.worker.close()

    def begin(self, provenance: Provenance) -> Snapshot:
        """Host and target with their base facts. Raises PermissionError where we may not enter."""
        found = {key: self._read_namespace(self.handles[key]) for key in dict.fromkeys((self.target, self.host))}
        return Snapshot(host=self.host, target=self.target, namespaces=found, provenance=provenance)

    def answer(self, snapshot: Snapshot, needs: Iterable[Need]) -> Snapshot:
        """The snapshot with these needs met, each by a fact or by Unknown(why)."""
        for need in needs:
            snapshot = self._answer(snapshot, need)
        return snapshot

    def complete(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot with everything read of the namespaces it holds: every chain, set, filter, sysctl and socket."""
        for key in list(snapshot.namespaces):
            needs = [Need(namespace=key, subject=one) for one in WHOLE]
            namespace = snapshot.namespaces[key]
            if not isinstance(namespace.links, Unknown):
                for link in namespace.links:
                    needs.append(Need(namespace=key, subject="device", key=(link.name,)))
                    needs.append(Need(namespace=key, subject="filters", key=(link.name,)))
            snapshot = self.answer(snapshot, needs)
            snapshot = self._with(snapshot, self._with_more_sysctls(snapshot.namespaces[key]))
        return replace(snapshot, complete=True)

    def _with_more_sysctls(self, namespace: Namespace) -> Namespace:
        found = self.inside(namespace.id, lambda: sysctls.read_more(namespace.devices_read))
        return replace(namespace, sysctls={**namespace.sysctls, **found})

    def inside(self, namespace: NamespaceId, call: Callable[[], T]) -> T:
        """`call()` in a thread inside the namespace."""
        return self.worker.run(self.handles[namespace].fd, call)

    def counters(
        self, namespace: NamespaceId, chains: Iterable["counting.ChainKey"]
    ) -> "dict[counting.ChainKey, counting.Counts | Unknown]":
        """The rule and policy counters of these chains now; two readings tell what was met between."""
        from netdoctor.observe.counters import read_counters

        return self.inside(namespace, lambda: read_counters(chains))

    def reader(self, namespace: NamespaceId, protocol: int) -> Reader:
        """The namespace's netlink socket of this protocol, opened once."""
        key = (namespace, protocol)
        if key not in self._readers:
            self._readers[key] = self.inside(namespace, lambda: Reader(protocol))
        return self._readers[key]

    def _answer(self, snapshot: Snapshot, need: Need) -> Snapshot:
        if need.subject == "namespace":
            return self._with(snapshot, self._read_namespace(self.handles[need.namespace]))
        if need.subject == "peer":
            return self._find_peer(snapshot, need.namespace, int(need.key[0]))
        if need.subject == "neighbourhood":
            return self._read_everything_visible(snapshot)
        namespace = snapshot.namespaces[need.namespace]
        if need.subject in RULESETS:
            return self._with(snapshot, self._ruleset(namespace, need))
        answers = {
            "device": self._device,
            "filters": self._filters,
            "sockets": self._sockets,
            "queues": self._queues,
            "conntrack": self._conntrack,
        }
        return self._with(snapshot, answers[need.subject](namespace, need.key))

    @staticmethod
    def _with(snapshot: Snapshot, namespace: Namespace) -> Snapshot:
        return replace(snapshot, namespaces={**snapshot.namespaces, namespace.id: namespace})

    def _read_namespace(self, handle: Handle) -> Namespace:
        route = self.reader(handle.id, NETLINK_ROUTE)
        found_links = _known(lambda: links.read_links(route), "links")
        found_qdiscs = _known(lambda: traffic_control.read_qdiscs(route), "qdiscs")
        found_routes = _known(lambda: routes.read_routes(route), "routes")
        found_rules = _known(lambda: routes.read_rules(route), "policy rules")
        names = self._names(handle)
        few = [link for link in found_links if not link.loopback] if not isinstance(found_links, Unknown) else []
        few = few if len(few) <= DEVICES_READ_AT_ONCE else []
        switching = not isinstance(found_links, Unknown) and any(one.kind in ("bridge", "vxlan") for one in found_links)
        rest = self.inside(handle.id, lambda: self._read_inside(handle.id, few, found_qdiscs))
        return Namespace(
            id=handle.id,
            name="host" if handle.id == self.host else handle.name,
            names=names,
            path=handle.path,
            links=found_links,
            addresses=_known(lambda: addresses.read_addresses(route), "addresses"),
            routes=found_routes,
            rules=found_rules,
            custom_rules=_custom_rules(route, found_rules, found_routes),
            labels=_known(lambda: addresses.read_labels(route), "address labels"),
            neighbours=_known(lambda: neighbours.read_neighbours(route), "neighbours"),
            fdb=_known(lambda: neighbours.read_fdb(route), "forwarding database") if switching else (),
            qdiscs=found_qdiscs,
            policies=rest.policies,
            states=rest.states,
            sysctls=rest.sysctls,
            devices_read=tuple(link.name for link in few),
            filters=rest.filters,
            peers=self._known_peers(route, few),
            ruleset=rest.ruleset,
            conntrack=rest.conntrack,
            resolver=resolver.read_resolver(names, handle.path),
        )

    def _read_inside(self, key: NamespaceId, few: list[Link], qdiscs: tuple[Qdisc, ...] | Unknown) -> Namespace:
        """What can only be read by a thread inside: /proc/sys, the firewall, IPsec. Only these fields are set."""
        found = sysctls.read_global()
        for link in few:
            found.update(sysctls.read_device(link.name))
        carried = () if isinstance(qdiscs, Unknown) else qdiscs
        route = self._reader_here(key, NETLINK_ROUTE)

        protocols = _netlink_protocols()
        xfrm = self._reader_here(key, NETLINK_XFRM) if NETLINK_XFRM in protocols else None
        tracked = conntrack.in_use() and NETLINK_NETFILTER in protocols
        return Namespace(
            id=key,
            name="",
            sysctls=found,
            filters={link.name: _filters_of(route, link, carried) for link in few},
            policies=_known(lambda: ipsec.read_policies(xfrm), "IPsec policies") if xfrm else (),
            states=_known(lambda: ipsec.read_states(xfrm), "IPsec states") if xfrm else (),
            ruleset=self._rulesets.setdefault(key, RulesetReader()).begin(),
            conntrack=_known(lambda: conntrack.read_table(self._reader_here(key, NETLINK_NETFILTER)), "conntrack")
            if tracked
            else Unknown("connection tracking is not in use"),
        )

    def _reader_here(self, key: NamespaceId, protocol: int) -> Reader:
        """Like `reader`, for a caller that is already inside."""
        if (key, protocol) not in self._readers:
            self._readers[key, protocol] = Reader(protocol)
        return self._readers[key, protocol]

    def _known_peers(self, reader: Reader, few: list[Link]) -> dict[str, NamespaceId | Unknown]:
        """Which netnsid belongs to a namespace that is held open already: the host, the target, those met before."""
        wanted = {link.lower_namespace for link in few if link.lower_namespace is not None}
        if not wanted:
            return {}
        ids = {_nsid_of(reader, handle.fd): key for key, handle in self.handles.items()}
        return {str(nsid): ids[nsid] for nsid in wanted if nsid in ids}

    def _names(self, handle: Handle) -> tuple[str, ...]:
        """The namespace's names under /run/netns."""
        found = []
        for name in named():
            with contextlib.suppress(OSError):
                status = os.stat(f"{NETNS_FOLDER}/{name}")
                if f"{status.st_dev}:{status.st_ino}" == handle.id:
                    found.append(name)
        return tuple(found)

    def _find_peer(self, snapshot: Snapshot, asking: NamespaceId, nsid: int) -> Snapshot:
        """Which of the namespaces this machine shows has this id in the asking one; it is read when found."""
        reader = self.reader(asking, NETLINK_ROUTE)
        found = next((handle for handle in self._candidates() if _nsid_of(reader, handle.fd) == nsid), None)
        namespace = snapshot.namespaces[asking]
        answer: NamespaceId | Unknown = found.id if found else Unknown(f"no visible namespace has netnsid {nsid}")
        snapshot = self._with(snapshot, replace(namespace, peers={**namespace.peers, str(nsid): answer}))
        if found and found.id not in snapshot.namespaces:
            snapshot = self._with(snapshot, self._read_namespace(found))
        return snapshot

    def _candidates(self) -> Iterable[Handle]:
        """Namespaces known already, then the named ones, then those of processes; each opened once and kept."""
        yield from list(self.handles.values())
        for path, name in _named_then_processes():
            if path in self._searched:
                continue
            self._searched.add(path)
            handle = self._open(path, name)
            if handle is not None:
                yield handle

    def _open(self, path: str, name: str) -> Handle | None:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        if identity(fd) in self.handles:
            os.close(fd)
            return None
        handle = Handle(fd, name, path)
        self.handles[handle.id] = handle
        return handle

    def _read_everything_visible(self, snapshot: Snapshot) -> Snapshot:
        for handle in list(self._candidates()):
            if handle.id not in snapshot.namespaces:
                with contextlib.suppress(OSError):
                    snapshot = self._with(snapshot, self._read_namespace(handle))
        return replace(snapshot, surveyed=True)

    def _device(self, namespace: Namespace, key: tuple[str, ...]) -> Namespace:
        found = self.inside(namespace.id, lambda: sysctls.read_device(key[0]))
        return replace(
            namespace,
            sysctls={**namespace.sysctls, **found},
            devices_read=(*namespace.devices_read, key[0]),
        )

    def _filters(self, namespace: Namespace, key: tuple[str, ...]) -> Namespace:
        reader = self.reader(namespace.id, NETLINK_ROUTE)
        known = () if isinstance(namespace.links, Unknown) else namespace.links
        link = next((one for one in known if one.name == key[0]), None)
        qdiscs = namespace.qdiscs if not isinstance(namespace.qdiscs, Unknown) else ()
        found = self.inside(namespace.id, lambda: _filters_of(reader, link, qdiscs)) if link is not None else ()
        return replace(namespace, filters={**namespace.filters, key[0]: found})

    def _ruleset(self, namespace: Namespace, need: Need) -> Namespace:
        """With a piece of the ruleset: the rules of chains, a set's elements or its answer to one key."""
        reader, key, found = self._rulesets[namespace.id], need.key, namespace.ruleset
        calls: dict[str, Callable[[], Ruleset]] = {
            "ruleset": lambda: reader.whole(found),
            "chains": lambda: reader.chains(found, key[0], key[1], key[2:]),
            "legacy-chains": lambda: reader.legacy_chains(found, key[0], key[1], key[2:]),
            "set": lambda: reader.sets(found, key[0], key[1], key[2:]),
            "element": lambda: reader.element(found, key[0], key[1], key[2], key[3]),
        }
        return replace(namespace, ruleset=self.inside(namespace.id, calls[need.subject]))

    def _sockets(self, namespace: Namespace, _: tuple[str, ...]) -> Namespace:

        reader = self.reader(namespace.id, NETLINK_SOCK_DIAG)
        return replace(namespace, sockets=_known(lambda: sockets.read_sockets(reader), "sockets"))

    def _queues(self, namespace: Namespace, _: tuple[str, ...]) -> Namespace:
        found = self.inside(namespace.id, lambda: _known(queues.read_queues, "netfilter queues"))
        return replace(namespace, queues=found)

    def _conntrack(self, namespace: Namespace, _: tuple[str, ...]) -> Namespace:
        if isinstance(namespace.conntrack, Unknown):
            return replace(namespace, conntrack_entries=())

        reader = self.reader(namespace.id, NETLINK_NETFILTER)
        found = _known(lambda: conntrack.dump(reader, 4) + conntrack.dump(reader, 6), "conntrack entries")
        return replace(namespace, conntrack_entries=found)


def _known(read: Callable[[], T], what: str) -> T | Unknown:
    """What `read` returns, or why it could not."""
    try:
        return read()
    except OSError as error:
        if error.errno in (errno.EPERM, errno.EACCES):
            return Unknown(f"{what}: permission denied")
        return Unknown(f"{what}: {error.strerror or error}")


def _custom_rules(
    reader: Reader, rules: tuple[PolicyRule, ...] | Unknown, found: tuple[Route, ...] | Unknown
) -> bool | Unknown:
    if isinstance(rules, Unknown) or isinstance(found, Unknown):
        return Unknown("routes and rules could not be read")
    return _known(lambda: routes.read_custom_rules(reader, rules, found), "policy rules")


def _filters_of(reader: Reader, link: Link, qdiscs: tuple[Qdisc, ...]) -> tuple[TrafficFilter, ...] | Unknown:
    return _known(lambda: traffic_control.read_filters(reader, link, qdiscs), f"tc filters of {link.name}")


def _nsid_of(reader: Reader, fd: int) -> int:
    """The id that the reader's namespace knows the namespace behind `fd` by, -1 when it has none."""
    try:
        answer = reader.get(RTM_GETNSID, bytes(4) + attribute(3, struct.pack("=I", fd)))
    except OSError:
        return -1
    found = attributes(answer[4:])
    return s32(found[1]) if 1 in found else -1


def _named_then_processes() -> Iterable[tuple[str, str]]:
    """Named namespaces first: the walk over /proc is made only when they do not hold the answer."""
    for name in named():
        yield f"{NETNS_FOLDER}/{name}", name
    yield from (entry for entry in visible() if entry[0].startswith("/proc/"))


def _netlink_protocols() -> set[int]:
    """Netlink families that the kernel serves in the calling thread's namespace: opening another would load it."""
    with open("/proc/thread-self/net/netlink") as file:
        next(file)
        return {int(line.split()[1]) for line in file if line.split()[2] == "0"}
