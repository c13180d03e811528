"""What rules may ask of a namespace besides the packet: links, addresses, routes, sockets, connections."""

from netdoctor.model.network import Socket
from netdoctor.model.snapshot import NamespaceId
from netdoctor.model.unknown import Unknown
from netdoctor.walk.delivery import takes
from netdoctor.walk.netfilter import HookFacts
from netdoctor.walk.packet import TCP, UDP, Packet
from netdoctor.walk.routing import Query, address_type, lookup
from netdoctor.walk.view import View
from netdoctor.walk.worlds import World


def facts_of(view: View, key: NamespaceId, world: World | None) -> HookFacts:
    """Looked up when a rule asks. `world`: one of several, with what was seen of doubtful rules."""
    tracked = view.namespace(key).conntrack
    return HookFacts(
        links={link.name: link for link in view.links(key)},
        address_type=lambda address, device: address_type(view, key, address, device),
        fib_device=lambda address, mark, in_device: _fib_device(view, key, address, mark, in_device),
        ipsec=False if not view.policies(key) else Unknown("IPsec policies are in use"),
        socket=lambda packet: _socket(view, key, packet),
        connections=tracked if isinstance(tracked, Unknown) else tracked.count,
        touched={},
        settled=world.settled.get(key, {}) if world else {},
    )


def _fib_device(view: View, key: NamespaceId, address: str, mark: int, in_device: str) -> str | Unknown:
    found = lookup(view, key, Query(6 if ":" in address else 4, "", address, mark, in_device))
    return view.device_name(key, found.hop.index) if found.hop else ""


def _socket(view: View, key: NamespaceId, packet: Packet) -> Socket | None:
    """nf_sk_lookup_slow_v4: the socket of this very flow, else one that waits at the address, else at any."""
    name = {TCP: "tcp", UDP: "udp"}.get(packet.protocol)
    if name is None:
        return None
    fits = [one for one in view.sockets(key) if one.protocol == name and one.port == packet.destination_port]
    asker = (packet.source, packet.source_port)
    joined = [one for one in fits if (one.remote, one.remote_port) == asker and one.address == packet.destination]
    waiting = [one for one in fits if not one.remote and takes(one.address, one.v6_only, packet)]
    waiting.sort(key=lambda one: one.address != packet.destination)
    return next(iter(joined + waiting), None)
