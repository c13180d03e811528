"""What the kernel answers to RTM_GETROUTE, and what the walk says, in the same words."""

import errno
import socket
import struct
from typing import NamedTuple

from netdoctor.model.snapshot import NamespaceId
from netdoctor.netlink.wire import Reader, address, attribute, attributes, u32
from netdoctor.observe.routes import RTM_GETROUTE, RTMSG, TYPES
from netdoctor.walk.packet import Packet
from netdoctor.walk.routing import Lookup, Query, address_type, lookup
from netdoctor.walk.source_address import select_source
from netdoctor.walk.tables import MAIN
from netdoctor.walk.validation import martian, refuse_source
from netdoctor.walk.view import View

RTM_F_LOOKUP_TABLE = 0x1000
ERRORS = {
    "none": errno.ENETUNREACH,
    "unreachable": errno.EHOSTUNREACH,
    "prohibit": errno.EACCES,
    "blackhole": errno.EINVAL,
}


class Answer(NamedTuple):
    """An error number, or where the packet goes. source: "" when it was given or has none."""

    error: int = 0
    type: str = ""
    table: int = 0
    device: str = ""
    gateway: str = ""
    source: str = ""


def asked(reader: Reader, view: View, key: NamespaceId, query: Query) -> Answer:
    """The kernel's answer."""
    family = socket.AF_INET if query.family == 4 else socket.AF_INET6
    bits = 32 if query.family == 4 else 128
    flags = RTM_F_LOOKUP_TABLE if query.family == 4 else 0
    body = RTMSG.pack(family, bits, bits if query.source else 0, query.tos, 0, 0, 0, 0, flags)
    body += attribute(1, socket.inet_pton(family, query.destination))
    if query.source:
        body += attribute(2, socket.inet_pton(family, query.source))
    for number, device in ((3, query.in_device), (4, query.out_device)):
        link = view.link(key, device) if device else None
        if link is not None:
            body += attribute(number, struct.pack("=I", link.index))
    body += attribute(16, struct.pack("=I", query.mark)) + attribute(25, struct.pack("=I", query.user_id))
    body += attribute(27, bytes([query.protocol]))
    if query.protocol in (6, 17):
        body += attribute(28, struct.pack("!H", query.source_port)) + attribute(
            29, struct.pack("!H", query.destination_port)
        )
    try:
        answer = reader.get(RTM_GETROUTE, body)
    except OSError as error:
        return Answer(error.errno or -1)
    found = attributes(answer[12:])
    gateway = address(found[5]) if 5 in found else address(found[18][2:]) if 18 in found else ""
    kind = TYPES[RTMSG.unpack_from(answer)[7]]
    device = view.device_name(key, u32(found[4])) if 4 in found else ""
    source = address(found[7]) if 7 in found and not query.source and not query.in_device else ""
    return Answer(0, kind, u32(found[15]), device, gateway, source)


def foretold(view: View, key: NamespaceId, query: Query) -> set[Answer]:
    """Every answer that the walk says is possible. Raises CannotTell."""
    return _incoming(view, key, query) if query.in_device else _outgoing(view, key, query)


def _outgoing(view: View, key: NamespaceId, query: Query) -> set[Answer]:
    if query.family == 4 and query.source and not _is_own(view, key, query.source):
        return {Answer(errno.ENETUNREACH)}
    if query.out_device:
        link = view.link(key, query.out_device)
        if query.family == 4 and (link is None or not link.up):
            return {Answer(errno.ENETUNREACH)}
    found = lookup(view, key, query)
    if found.type == "on-link":
        link = view.link(key, query.out_device)
        index = link.index if link else 0
        source = "" if query.source else select_source(view, key, 4, index, "", None, "link")
        return {Answer(0, "unicast", 0, query.out_device, "", source)}
    if _error(found):
        return {Answer(_error(found))}
    return {_out_by(view, key, query, found.by(way)) for way in found.ways}


def _out_by(view: View, key: NamespaceId, query: Query, found: Lookup) -> Answer:
    assert found.route is not None
    index = found.hop.index if found.hop else 0
    source = ""
    if not query.source and found.type == "local" and query.family == 4:
        source = found.route.preferred_source or query.destination
    elif not query.source:
        gateway = found.hop.gateway if found.hop else ""
        towards = gateway if query.family == 4 else query.destination
        source = select_source(view, key, query.family, index, towards, found.route)
    device = view.device_name(key, index) if index else ""
    if query.family == 4 and found.type == "local":
        device = "lo"
    elif query.family == 4 and device == "lo" and query.source.startswith("127."):
        pass
    elif query.family == 4 and query.source.startswith("127.") and not view.conf_or(key, device, "route_localnet"):
        return Answer(errno.EINVAL)
    return Answer(0, found.type, _table(query, found), device, found.hop.gateway if found.hop else "", source)


def _incoming(view: View, key: NamespaceId, query: Query) -> set[Answer]:
    packet = Packet(
        family=6 if query.family == 6 else 4, source=query.source or ("::" if query.family == 6 else "0.0.0.0"),
        destination=query.destination, protocol=query.protocol, source_port=query.source_port,
        destination_port=query.destination_port, tos=query.tos, mark=query.mark,
    )  # fmt: skip
    device = query.in_device
    if query.family == 6:
        found = lookup(view, key, query)
        return (
            {Answer(_error(found))}
            if _error(found)
            else {_in_by(view, key, query, found.by(way)) for way in found.ways}
        )
    if martian(view, key, device, packet):
        return {Answer(errno.EINVAL)}
    if query.destination == "255.255.255.255":
        return {_refused(view, key, packet, device, "") or Answer(0, "broadcast", 0, "", "")}
    found = lookup(view, key, query._replace(user_id=0, out_device=""))
    forwards = view.conf(key, 4, device, "forwarding") == 1
    if _error(found):
        return {Answer(_error(found) if forwards else errno.EHOSTUNREACH)}
    if found.type in ("local", "broadcast"):
        return {_refused(view, key, packet, device, "") or _in_by(view, key, query, found)}
    if not forwards:
        return {Answer(errno.EHOSTUNREACH)}
    if found.type != "unicast":
        return {Answer(errno.EINVAL)}
    ways = (found.by(way) for way in found.ways)
    return {
        _refused(view, key, packet, device, view.device_name(key, way.hop.index)) or _in_by(view, key, query, way)
        for way in ways
        if way.hop
    }


def _refused(view: View, key: NamespaceId, packet: Packet, device: str, out_device: str) -> Answer | None:
    return Answer(errno.EINVAL) if refuse_source(view, key, device, packet, out_device) else None


def _in_by(view: View, key: NamespaceId, query: Query, found: Lookup) -> Answer:
    assert found.route is not None
    gateway = found.hop.gateway if found.hop else ""
    device = view.device_name(key, found.hop.index) if found.hop else ""
    return Answer(0, found.type, _table(query, found), device, gateway)


def _error(found: Lookup) -> int:
    if found.type == "unreachable" and found.route is None:
        return errno.ENETUNREACH
    return ERRORS.get(found.type, 0)


def _is_own(view: View, key: NamespaceId, source: str) -> bool:
    """__ip_dev_find: an interface's address, or local by the local table."""
    return bool(view.local_addresses(key, source)) or address_type(view, key, source) == "local"


def alike(theirs: Answer, ours: set[Answer]) -> bool:
    """Local deliveries are told by type and table alone: which device stands for them differs by family and way in.

    Where IPv4's local and main tables are one trie, the kernel names main.
    """
    if theirs.type in ("local", "broadcast", "anycast"):
        return any(one.type == theirs.type and theirs.table in (one.table, MAIN, 0) for one in ours) and (
            not theirs.source or any(one.source == theirs.source for one in ours)
        )
    return theirs in ours or theirs._replace(table=0) in ours


def _table(query: Query, found: Lookup) -> int:
    """The route's table; 0 where IPv6 names that of any route with the same next-hop object (they share its cache)."""
    assert found.route is not None
    return 0 if query.family == 6 and found.route.next_hop_id else found.route.table
