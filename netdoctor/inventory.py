"""What namespaces there are, and by what they hang on this host: for `list` and `check --all`."""

from netdoctor.model.network import Fact
from netdoctor.model.snapshot import Need, Provenance
from netdoctor.model.unknown import Unknown
from netdoctor.observe.observer import Observer
from netdoctor.target import resolve


class Entry(Fact, frozen=True):
    """One namespace. attached_by: the host's interfaces that lead into it."""

    name: str
    names: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    attached_by: tuple[str, ...] = ()


def inventory() -> tuple[Entry, ...]:
    """Every visible namespace but this one, each once, by name."""
    observer = Observer(resolve("host"), resolve("host"))
    try:
        snapshot = observer.begin(Provenance())
        host = snapshot.host
        snapshot = observer.answer(snapshot, [Need(namespace=host, subject="neighbourhood")])
        links = snapshot.namespaces[host].links
        nsids = (
            {link.lower_namespace for link in links if link.lower_namespace is not None}
            if not isinstance(links, Unknown)
            else set()
        )
        snapshot = observer.answer(
            snapshot, [Need(namespace=host, subject="peer", key=(str(nsid),)) for nsid in sorted(nsids)]
        )
        leads: dict[str, list[str]] = {}
        for link in links if not isinstance(links, Unknown) else ():
            there = snapshot.namespaces[host].peers.get(str(link.lower_namespace))
            if isinstance(there, str):
                leads.setdefault(there, []).append(link.name)
        found = []
        for key, namespace in snapshot.namespaces.items():
            if key == host:
                continue
            addresses = () if isinstance(namespace.addresses, Unknown) else namespace.addresses
            shown = tuple(f"{one.local}/{one.prefix_length}" for one in addresses if one.scope == "global")
            found.append(
                Entry(
                    name=namespace.name, names=namespace.names, addresses=shown, attached_by=tuple(leads.get(key, ()))
                )
            )
        return tuple(sorted(found, key=lambda one: one.name))
    finally:
        observer.close()
