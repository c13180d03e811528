"""Matches on what the host knows besides the packet: sockets, routes, IPsec, groups (net/netfilter/xt_*.c)."""

import struct

from netdoctor.model.expression import XtMatch
from netdoctor.model.unknown import Unknown
from netdoctor.walk.packet import TCP, UDP

from .conntrack_view import has_entry
from .loads import ANY_ADDRESS, reverse_path
from .state import Outcome, State
from .statements import transparent_socket

UID, GID, SOCKET_EXISTS, OTHER_GROUPS = 1, 2, 4, 8
TRANSPARENT, NO_WILDCARD = 1, 2
ECHO = (0, 8, 128, 129)
LOOSE, VALID_MARK, ACCEPT_LOCAL, INVERT = 1, 2, 4, 8


def owner(state: State, match: XtMatch) -> Outcome:
    """struct xt_owner_match_info: bits 1 uid, 2 gid, 4 whether a socket exists, 8 the other groups too."""
    uid_min, uid_max, gid_min, gid_max, asked, invert = struct.unpack_from("=4I2B", match.info)
    packet = state.packet
    if packet.in_device:
        return not asked ^ invert
    if packet.user_id is None:
        return Unknown("the packet's owner is not known")
    if asked & invert & SOCKET_EXISTS:
        return False
    if asked & UID and (uid_min <= packet.user_id <= uid_max) == bool(invert & UID):
        return False
    if not asked & GID:
        return True
    if packet.group_id is None:
        return Unknown("the packet's owner is not known")
    fits = gid_min <= packet.group_id <= gid_max
    if not fits and asked & OTHER_GROUPS:
        return Unknown("the other groups of the packet's owner are not known")
    return bool(fits) != bool(invert & GID)


def socket(state: State, match: XtMatch) -> Outcome:
    """struct xt_socket_mtinfo: flag 1 asks for a transparent socket, 2 takes sockets bound to no address as well."""
    flags, packet = match.info[0] if match.revision else 0, state.packet
    if packet.protocol not in (TCP, UDP):
        echo = packet.icmp_type in ECHO
        return False if echo else Unknown("whether the packet is about a socket is not modelled")
    found = state.facts.socket(packet)
    if found is None or isinstance(found, Unknown):
        return found or False
    if not flags & NO_WILDCARD and found.address in ANY_ADDRESS:
        return False
    return transparent_socket(state, packet) if flags & TRANSPARENT else True


def rpfilter(state: State, match: XtMatch) -> Outcome:
    """struct xt_rpfilter_info: bits 1 loose, 2 valid mark, 4 accept local, 8 invert (ipt_rpfilter.c)."""
    flags, packet = match.info[0], state.packet
    invert = bool(flags & INVERT)
    link = state.facts.links.get(packet.in_device)
    if (link is not None and link.loopback) or packet.source == "::":
        return not invert
    if packet.source.startswith("0.") and packet.family == 4:
        return (packet.destination == "255.255.255.255") != invert
    mark = packet.mark if flags & VALID_MARK else 0
    if why := state.doubt("source") or (state.doubt("mark") if flags & VALID_MARK else None):
        return why
    device = reverse_path(state, packet.source, mark)
    if isinstance(device, Unknown):
        return device
    kind = state.facts.address_type(packet.source, "")
    if isinstance(kind, Unknown):
        return kind
    if kind == "local" and packet.family == 6:
        return bool(flags & ACCEPT_LOCAL) != invert
    accepted = kind == "unicast" or (kind == "local" and bool(flags & ACCEPT_LOCAL))
    return (accepted and bool(device) and (bool(flags & LOOSE) or device == packet.in_device)) != invert


def policy(state: State, match: XtMatch) -> Outcome:
    """struct xt_policy_info: bit 4 of its flags asks that there be no IPsec."""
    ipsec = state.facts.ipsec
    flags = int.from_bytes(match.info[304:306], "little")
    if isinstance(ipsec, Unknown):
        return ipsec
    return Unknown("the packet's IPsec transforms are not compared") if ipsec else bool(flags & 4)


def helper(state: State, match: XtMatch) -> Outcome:
    """helper_mt: about the helper of the connection that made this one expected; any other connection has none."""
    invert, name = match.info[0] != 0, match.info[4:34].split(b"\0")[0].decode("utf-8", "replace")
    packet = state.packet
    view = packet.conntrack if has_entry(packet) else None
    if view is None or "expected" not in view.status:
        return state.doubt("conntrack") or invert
    if view.helper is None:
        return Unknown("the connection's helper is not known")
    return (bool(view.helper) and name.startswith(view.helper if name else "")) != invert


def devgroup(state: State, match: XtMatch) -> Outcome:
    """struct xt_devgroup_info: bits 1 source group, 2 inverted, 4 destination group, 8 inverted."""
    flags, source, source_mask, destination, destination_mask = struct.unpack_from("=5I", match.info)
    packet = state.packet
    for bit, name, group, mask in (
        (1, packet.in_device, source, source_mask),
        (4, packet.out_device, destination, destination_mask),
    ):
        link = state.facts.links.get(name)
        if flags & bit and link is None:
            return Unknown(f"nothing is known of interface {name}")
        if flags & bit and link is not None and bool((group ^ link.group) & mask) != bool(flags & bit << 1):
            return False
    return True


def cgroup(state: State, match: XtMatch) -> Outcome:
    """cgroup_mt: packets of no socket never match, inverted or not."""
    if state.packet.in_device and state.base.hook != "input":
        return False
    return Unknown("the control group of the packet's socket is not known")


TESTS = {
    "owner": owner, "socket": socket, "rpfilter": rpfilter, "policy": policy, "helper": helper, "devgroup": devgroup,
    "cgroup": cgroup,
}  # fmt: skip
