"""Reading the Snapshot while walking: what was not read becomes a Need, what could not be read a CannotTell."""

from typing import NoReturn, TypeVar

from netdoctor.model.firewall import Table
from netdoctor.model.network import (
    Address,
    AddressLabel,
    FdbEntry,
    Link,
    Neighbour,
    PolicyRule,
    Qdisc,
    Route,
    Socket,
    TrafficFilter,
    XfrmPolicy,
    XfrmState,
)
from netdoctor.model.snapshot import Namespace, NamespaceId, Need, Snapshot
from netdoctor.model.unknown import UNREAD, Unknown

T = TypeVar("T")


class Lacking(Exception):
    """The walk cannot go on before these needs are met."""

    def __init__(self, *needs: Need) -> None:
        super().__init__(needs)
        self.needs = needs


class CannotTell(Exception):
    """A fact on the way is Unknown; `why` names it."""

    def __init__(self, why: str, namespace: NamespaceId = "", device: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.namespace = namespace
        self.device = device


class View:
    """One Snapshot, read fact by fact."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self._links: dict[NamespaceId, dict[int | str, Link]] = {}

    def lack(self, *needs: Need) -> NoReturn:
        """Asks for facts. In a complete snapshot nothing more can be had: CannotTell."""
        if self.snapshot.complete:
            need = needs[0]
            raise CannotTell(f"the snapshot does not hold {need.subject} {' '.join(need.key)}".rstrip(), need.namespace)
        raise Lacking(*needs)

    def namespace(self, key: NamespaceId) -> Namespace:
        if key not in self.snapshot.namespaces:
            self.lack(Need(namespace=key, subject="namespace"))
        return self.snapshot.namespaces[key]

    def name(self, key: NamespaceId) -> str:
        """How the namespace is called in sentences."""
        found = self.snapshot.namespaces.get(key)
        return found.name if found else key

    def known(self, key: NamespaceId, value: T | Unknown, subject: str) -> T:
        if isinstance(value, Unknown):
            raise CannotTell(f"{subject} of {self.name(key)}: {value.why}", key)
        return value

    def links(self, key: NamespaceId) -> tuple[Link, ...]:
        return self.known(key, self.namespace(key).links, "links")

    def link(self, key: NamespaceId, device: int | str) -> Link | None:
        """By index or by name; None when there is none."""
        if key not in self._links:
            links = self.links(key)
            self._links[key] = {**{link.name: link for link in links}, **{link.index: link for link in links}}
        return self._links[key].get(device)

    def device_name(self, key: NamespaceId, index: int) -> str:
        link = self.link(key, index)
        return link.name if link else f"if{index}"

    def addresses(self, key: NamespaceId) -> tuple[Address, ...]:
        return self.known(key, self.namespace(key).addresses, "addresses")

    def routes(self, key: NamespaceId) -> tuple[Route, ...]:
        return self.known(key, self.namespace(key).routes, "routes")

    def rules(self, key: NamespaceId) -> tuple[PolicyRule, ...]:
        return self.known(key, self.namespace(key).rules, "policy rules")

    def custom_rules(self, key: NamespaceId) -> bool:
        """True when IPv4's local table is searched before main, not together with it (fib_has_custom_rules).

        Where it could not be read, the rules that stand now tell: tables made one are the rule.
        """
        found = self.namespace(key).custom_rules
        if not isinstance(found, Unknown):
            return found
        standard = [(rule.priority, rule.table) for rule in self.rules(key) if rule.family == 4]
        return standard != [(0, 255), (32766, 254), (32767, 253)]

    def labels(self, key: NamespaceId) -> tuple[AddressLabel, ...]:
        """IPv6's address labels where somebody changed them, the longest prefix first."""
        return self.known(key, self.namespace(key).labels, "address labels")

    def neighbours(self, key: NamespaceId) -> tuple[Neighbour, ...]:
        return self.known(key, self.namespace(key).neighbours, "neighbours")

    def fdb(self, key: NamespaceId) -> tuple[FdbEntry, ...]:
        return self.known(key, self.namespace(key).fdb, "forwarding entries")

    def qdiscs(self, key: NamespaceId) -> tuple[Qdisc, ...]:
        return self.known(key, self.namespace(key).qdiscs, "qdiscs")

    def policies(self, key: NamespaceId) -> tuple[XfrmPolicy, ...]:
        return self.known(key, self.namespace(key).policies, "IPsec policies")

    def states(self, key: NamespaceId) -> tuple[XfrmState, ...]:
        return self.known(key, self.namespace(key).states, "IPsec states")

    def tables(self, key: NamespaceId) -> tuple[Table, ...]:
        return self.known(key, self.namespace(key).ruleset.tables, "firewall tables")

    def sockets(self, key: NamespaceId) -> tuple[Socket, ...]:
        found = self.namespace(key).sockets
        if found == UNREAD:
            self.lack(Need(namespace=key, subject="sockets"))
        return self.known(key, found, "sockets")

    def queues(self, key: NamespaceId) -> tuple[int, ...] | Unknown:
        """The netfilter queues that a program listens on."""
        found = self.namespace(key).queues
        if found == UNREAD and not self.snapshot.complete:
            self.lack(Need(namespace=key, subject="queues"))
        return found

    def filters(self, key: NamespaceId, device: str) -> tuple[TrafficFilter, ...]:
        found = self.namespace(key).filters
        if device not in found:
            self.lack(Need(namespace=key, subject="filters", key=(device,)))
        return self.known(key, found[device], f"tc filters of {device}")

    def sysctl(self, key: NamespaceId, path: str, default: str) -> str:
        """A sysctl's text; `default` where this kernel does not have it."""
        namespace = self.namespace(key)
        found = namespace.sysctls.get(path)
        if found is None:
            parts = path.split("/")
            if len(parts) > 4 and parts[2] in ("conf", "neigh") and parts[3] not in (*namespace.devices_read, "all"):
                self.lack(Need(namespace=key, subject="device", key=(parts[3],)))
            return default
        return self.known(key, found, path)

    def number(self, key: NamespaceId, path: str, default: int = 0) -> int:
        text = self.sysctl(key, path, str(default))
        return int(text) if text.lstrip("-").isdigit() else default

    def conf(self, key: NamespaceId, family: int, device: str, option: str, default: int = 0) -> int:
        """net.ipvX.conf.DEVICE.OPTION."""
        return self.number(key, f"net/ipv{family}/conf/{device}/{option}", default)

    def conf_max(self, key: NamespaceId, device: str, option: str) -> int:
        """IN_DEV_MAXCONF: the larger of "all" and the device."""
        return max(self.conf(key, 4, "all", option), self.conf(key, 4, device, option))

    def conf_or(self, key: NamespaceId, device: str, option: str) -> bool:
        """IN_DEV_ORCONF: "all" or the device."""
        return bool(self.conf(key, 4, "all", option) or self.conf(key, 4, device, option))

    def peer(self, key: NamespaceId, link: Link) -> tuple[NamespaceId, Link] | Unknown | None:
        """The other end of a veth, or the device under a macvlan/vlan/vxlan: where it lives and what it is.

        Unknown: its namespace is not visible from here. None: it does not exist.
        """
        if not link.lower:
            return None
        there = key
        if link.lower_namespace is not None:
            found = self.namespace(key).peers.get(str(link.lower_namespace))
            if found is None:
                self.lack(Need(namespace=key, subject="peer", key=(str(link.lower_namespace),)))
            if isinstance(found, Unknown):
                return found
            there = found
        other = self.link(there, link.lower)
        return (there, other) if other else None

    def local_addresses(self, key: NamespaceId, address: str) -> tuple[Address, ...]:
        """The interface addresses equal to `address`."""
        return tuple(one for one in self.addresses(key) if one.local == address)
