"""IPsec policies in and out (XFRM_MSG_NEWPOLICY, XFRM_MSG_DELPOLICY). Layouts: linux/xfrm.h."""

import socket
import struct
from ipaddress import ip_address, ip_network

from netdoctor.model.change import AddXfrmPolicy, DeleteXfrmPolicy
from netdoctor.model.network import Family, XfrmPolicy, XfrmTemplate
from netdoctor.netlink.wire import NETLINK_XFRM, attribute
from netdoctor.observe.ipsec import DIRECTIONS, MODES, PROTOCOLS

from .writer import F_CREATE, F_EXCLUDE, Request, Writer

XFRM_MSG_NEWPOLICY, XFRM_MSG_DELPOLICY = 0x13, 0x14
XFRMA_TMPL, XFRMA_MARK, XFRMA_IF_ID = 5, 21, 31
FOREVER = struct.pack("=QQQQQQQQ", *(2**64 - 1,) * 4, 0, 0, 0, 0) + bytes(32)


def write_policy(change: AddXfrmPolicy | DeleteXfrmPolicy) -> None:
    """Adds or deletes one policy in the calling thread's namespace. Raises OSError."""
    policy = change.policy
    selector, direction = _selector(policy), DIRECTIONS.index(policy.direction)
    with Writer(NETLINK_XFRM) as writer:
        if isinstance(change, DeleteXfrmPolicy):
            body = selector + struct.pack("=IBxxx", 0, direction)
            writer.send(Request(XFRM_MSG_DELPOLICY, body + _extras(policy)))
            return
        action = 1 if policy.action == "block" else 0
        body = selector + FOREVER + struct.pack("=IIBBBBxxxx", policy.priority, 0, direction, action, 0, 0)
        templates = b"".join(_template(each, policy.family) for each in policy.templates)
        body += attribute(XFRMA_TMPL, templates) if templates else b""
        writer.send(Request(XFRM_MSG_NEWPOLICY, body + _extras(policy), F_CREATE | F_EXCLUDE))


def _extras(policy: XfrmPolicy) -> bytes:
    mark = struct.pack("=II", policy.mark, policy.mark_mask)
    found = attribute(XFRMA_MARK, mark) if policy.mark or policy.mark_mask else b""
    return found + (attribute(XFRMA_IF_ID, struct.pack("=I", policy.interface)) if policy.interface else b"")


def _packed(text: str) -> bytes:
    return ip_address(text).packed.ljust(16, b"\0")


def _number(family: Family) -> int:
    return socket.AF_INET if family == 4 else socket.AF_INET6


def _selector(policy: XfrmPolicy) -> bytes:
    """struct xfrm_selector: daddr, saddr, dport, dport_mask, sport, sport_mask, family, prefix lengths, proto."""
    source, destination = ip_network(policy.source), ip_network(policy.destination)
    ports = struct.pack(
        "!HHHH",
        policy.destination_port,
        0xFFFF if policy.destination_port else 0,
        policy.source_port,
        0xFFFF if policy.source_port else 0,
    )
    rest = struct.pack(
        "=HBBBxxxiI", _number(policy.family), destination.prefixlen, source.prefixlen, policy.protocol, 0, 0
    )
    addresses = _packed(str(destination.network_address)) + _packed(str(source.network_address))
    return addresses + ports + rest


def _template(template: XfrmTemplate, family: Family) -> bytes:
    """struct xfrm_user_tmpl; the algorithm masks allow all."""
    protocol = next((number for number, name in PROTOCOLS.items() if name == template.protocol), 50)
    mode = MODES.index(template.mode) if template.mode in MODES else 0
    identity = _packed(template.destination) + struct.pack("=IBxxx", 0, protocol)
    number = _number(4 if "." in template.source else 6 if ":" in template.source else family)
    tail = struct.pack("=IBBBxIII", template.request_id, mode, 0, int(template.optional), *(0xFFFFFFFF,) * 3)
    return identity + struct.pack("=Hxx", number) + _packed(template.source) + tail
