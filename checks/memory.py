"""What the stack at the other end of a cable remembers of an interface that has lost its address."""

from netdoctor.checks import ground
from netdoctor.model.network import Link
from netdoctor.model.snapshot import Snapshot
from netdoctor.model.unknown import Unknown
from netdoctor.walk.addressing import contains, is_link_local, network_of


def remembered(snapshot: Snapshot, there: str, peer: Link, link: Link, family: int) -> list[tuple[str, int]]:
    """(address, prefix length) that the other end's stack last saw this interface's MAC with."""
    namespace = ground.namespace(snapshot, there)
    if namespace is None or isinstance(namespace.neighbours, Unknown):
        return []
    stack = peer.master or peer.index
    own = [one for one in ground.addresses(snapshot, there) if one.index == stack and one.family == family]
    return [
        (entry.address, one.prefix_length)
        for entry in namespace.neighbours
        for one in own
        if entry.index == stack and entry.mac == link.mac and entry.family == family and not is_link_local(entry.address)
        and contains(network_of(one.local, one.prefix_length), entry.address)
    ]  # fmt: skip


def remembered_by_flows(snapshot: Snapshot, there: str, peer: Link, family: int) -> list[tuple[str, int]]:
    """(address, prefix length) of the only foreign source in the cable's own subnet that its conntrack has flows of."""
    namespace = ground.namespace(snapshot, there)
    if namespace is None or isinstance(namespace.conntrack_entries, Unknown) or peer.master:
        return []
    ours = {one.local for one in ground.addresses(snapshot, there)}
    own = [
        one
        for one in ground.addresses_on(snapshot, there, peer.name, family)
        if not is_link_local(one.local) and one.prefix_length < (32 if family == 4 else 128)
    ]
    sources = {entry.original.source for entry in namespace.conntrack_entries} - ours
    found = {
        (source, one.prefix_length)
        for source in sources
        for one in own
        if (":" in source) == (family == 6) and contains(network_of(one.local, one.prefix_length), source)
    }
    return list(found) if len(found) == 1 else []
