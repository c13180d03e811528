"""Connection tracking while walking: which flow a packet belongs to in each namespace, and how NAT rewrites it.

Sources: net/netfilter/nf_conntrack_core.c, nf_nat_core.c, nf_nat_masquerade.c.
"""

from msgspec.structs import replace

from netdoctor.model.network import ConntrackTuple
from netdoctor.model.snapshot import NamespaceId
from netdoctor.walk.nat_choice import chance
from netdoctor.walk.netfilter import Binding
from netdoctor.walk.packet import ICMP, ICMP6, TCP, ConntrackView, Packet
from netdoctor.walk.validity import ACK, SYN, tcp_state

ECHO_REPLY = {8: 0, 128: 129}
OTHER_END = {"source_port": "destination_port", "destination_port": "source_port", "icmp_id": "icmp_id"}


class Connection:
    """One tracked flow of one namespace. `reply` is what the answer will look like there: NAT rewrites it."""

    def __init__(self, original: ConntrackTuple, zone: int) -> None:
        self.original = original
        self.reply = inverted(original)
        self.zone = zone
        self.status: set[str] = set()
        self.mark = 0
        self.bound: set[str] = set()
        self.forgotten = ""
        self.tcp_state = "none"
        self.unsure: dict[str, str] = {}
        """Ports of the tuples that nobody can tell, as "reply destination_port" -> why."""

    def goes_on(self, packet: Packet, direction: str) -> bool:
        """Takes another packet into the flow; False for a TCP segment that its state does not allow."""
        if packet.protocol == TCP:
            old, new = self.tcp_state, tcp_state(self.tcp_state, direction, packet.tcp_flags or SYN)
            if new == "invalid":
                return False
            self.tcp_state = new
            if new == "established" and old in ("syn-recv", "established") and "seen-reply" in self.status:
                self.status.add("assured")
        if direction == "reply":
            self.status.add("seen-reply")
        return True

    def view(self, direction: str, packet: Packet) -> ConntrackView:
        state = "established" if "seen-reply" in self.status else "new"
        return ConntrackView(
            state="established" if state == "established" else "new",
            direction="original" if direction == "original" else "reply",
            status=tuple(sorted(self.status)),
            mark=self.mark,
            zone=self.zone,
            original=self.original,
            reply=self.reply,
            unsure=tuple(self.unsure.items()),
        )


class Connections:
    """Every namespace's flows of one round trip."""

    def __init__(self) -> None:
        self._by_namespace: dict[NamespaceId, list[Connection]] = {}
        self.related = False

    def find(self, key: NamespaceId, packet: Packet, zone: int = 0) -> tuple[Connection, str] | None:
        """The flow this packet belongs to and its direction there, unless conntrack has forgotten it."""
        wanted = tuple_of(packet)
        for one in self._by_namespace.get(key, []):
            if one.zone != zone or one.forgotten:
                continue
            if one.original == wanted:
                return one, "original"
            if one.reply == wanted:
                return one, "reply"
        return None

    def begin(self, key: NamespaceId, packet: Packet, zone: int = 0) -> Connection:
        connection = Connection(tuple_of(packet), zone)
        connection.goes_on(packet, "original")
        for field, why in packet.unsure:
            if field in OTHER_END:
                connection.unsure |= {f"original {field}": why, f"reply {OTHER_END[field]}": why}
        self._by_namespace.setdefault(key, []).append(connection)
        return connection

    def answered(self) -> None:
        """Every flow as it stands once its first packet was answered: what comes next belongs to an open connection."""
        for one in (one for several in self._by_namespace.values() for one in several):
            one.status |= {"seen-reply", "assured"}
            one.tcp_state = "established" if one.original.protocol == TCP else one.tcp_state

    def all_of(self, key: NamespaceId) -> tuple[Connection, ...]:
        return tuple(self._by_namespace.get(key, ()))


def tuple_of(packet: Packet) -> ConntrackTuple:
    echo = packet.protocol in (ICMP, ICMP6)
    return ConntrackTuple(
        protocol=packet.protocol,
        source=packet.source,
        destination=packet.destination,
        source_port=packet.icmp_id if echo else packet.source_port,
        destination_port=packet.icmp_id if echo else packet.destination_port,
    )


def inverted(one: ConntrackTuple) -> ConntrackTuple:
    return ConntrackTuple(
        protocol=one.protocol,
        source=one.destination,
        destination=one.source,
        source_port=one.destination_port,
        destination_port=one.source_port,
    )


def translated(packet: Packet, connection: Connection, direction: str, end: str) -> Packet:
    """The packet with one end ("source" or "destination") as the other side of its connection has it.

    An echo's id stands for the asker's port, whichever way it goes.
    """
    other = inverted(connection.reply if direction == "original" else connection.original)
    address, port = (
        (other.source, other.source_port) if end == "source" else (other.destination, other.destination_port)
    )
    changed = replace(packet, **{end: address})
    if packet.protocol not in (ICMP, ICMP6):
        return _as_sure(replace(changed, **{f"{end}_port": port}), connection, direction, f"{end}_port")
    asker = "source" if direction == "original" else "destination"
    return _as_sure(replace(changed, icmp_id=port), connection, direction, "icmp_id") if end == asker else changed


def _as_sure(packet: Packet, connection: Connection, direction: str, field: str) -> Packet:
    """The packet, this port (or id) of it as sure as the tuple that it was taken from."""
    taken = "reply" if direction == "original" else "original"
    why = connection.unsure.get(f"{taken} {OTHER_END[field]}", "")
    if dict(packet.unsure).get(field, "") == why:
        return packet
    kept = tuple(pair for pair in packet.unsure if pair[0] != field)
    return replace(packet, unsure=(*kept, (field, why)) if why else kept)


def bind(connection: Connection, binding: Binding, address: str) -> None:
    """Settles NAT for one end of a new flow: the reply's tuple gets the new address and port.

    The status says only what really changed, as the kernel's does (nf_nat_setup_info).
    """
    reply = connection.reply
    if binding.manip == "source":
        port = _port(binding, reply.destination_port)
        connection.reply = replace(reply, destination=address or reply.destination, destination_port=port)
    else:
        port = _port(binding, reply.source_port)
        connection.reply = replace(reply, source=address or reply.source, source_port=port)
    if binding.manip == "source" and connection.original.protocol in (ICMP, ICMP6):
        connection.reply = replace(connection.reply, source_port=connection.reply.destination_port)
    if why := chance(binding, inverted(reply)):
        echo = reply.protocol in (ICMP, ICMP6)
        field = "icmp_id" if echo else "destination_port" if binding.manip == "source" else "source_port"
        connection.unsure[f"reply {field}"] = why
    if connection.reply != reply:
        connection.status.add("snat" if binding.manip == "source" else "dnat")


def _port(binding: Binding, port: int) -> int:
    """nf_nat_l4proto_unique_tuple: a port within the range is kept; else the kernel takes one, the first of a DNAT's."""
    return port if not binding.port_min or binding.port_min <= port <= binding.port_max else binding.port_min


def answer_to(packet: Packet) -> Packet:
    """The packet that answers this one, as its receiver makes it."""
    return Packet(
        family=packet.family,
        source=packet.destination,
        destination=packet.source,
        protocol=packet.protocol,
        source_port=packet.destination_port,
        destination_port=packet.source_port,
        icmp_type=ECHO_REPLY.get(packet.icmp_type, packet.icmp_type),
        icmp_id=packet.icmp_id,
        ttl=0,
        tcp_flags=SYN | ACK if packet.tcp_flags & SYN else packet.tcp_flags,
        length_bytes=packet.length_bytes,
        dont_fragment=packet.dont_fragment,
        ether_type=packet.ether_type,
        unsure=tuple((OTHER_END[field], why) for field, why in packet.unsure if field in OTHER_END),
    )
