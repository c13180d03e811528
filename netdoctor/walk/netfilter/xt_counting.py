"""Matches that count, rate, draw lots or look at the clock: a doubt, but where the answer is fixed (net/netfilter/xt_*.c)."""

import struct

from netdoctor.model.expression import XtMatch
from netdoctor.model.unknown import Unknown

from .comparisons import never_so_many
from .conntrack_view import has_entry
from .headers import packed
from .jhash import jhash
from .result import SetKey
from .state import Alternatives, Decision, Outcome, State

UNFORESEEABLE = {
    "limit": "whether the rate limit has room for the packet",
    "hashlimit": "whether the rate limit has room for the packet",
    "recent": "whether the address was seen recently",
    "statistic": "which packets the statistic takes",
    "quota": "whether the quota is used up",
    "connlimit": "how many connections there will be",
    "connbytes": "how much the connection will have carried",
    "time": "at what time the packet comes",
    "rateest": "how fast packets come",
    "cpu": "on which CPU the packet comes",
    "nfacct": "whether the counting object is over its quota",
}
NEVER_USED_UP = 1 << 60
EVER = 0xFFFFFFFF
ALL_DAY = 24 * 60 * 60 - 1


def unforeseeable(state: State, match: XtMatch) -> Outcome:
    return Unknown(f"{UNFORESEEABLE[match.name]} cannot be foreseen")


def statistic(state: State, match: XtMatch) -> Outcome:
    """struct xt_statistic_info: probability 0 never matches, 1 always, as every packet of one does."""
    mode, invert, number = struct.unpack_from("=2HI", match.info)
    if (mode == 0 and number >= 0x80000000) or (mode == 1 and number == 0):
        return not invert
    return bool(invert) if mode == 0 and number == 0 else unforeseeable(state, match)


def quota(state: State, match: XtMatch) -> Outcome:
    """struct xt_quota_info: what is left is not told, but less than the packet's length was never enough."""
    flags, size = struct.unpack_from("=I4xQ", match.info)
    if size < state.packet.length_bytes:
        return bool(flags & 1)
    return not flags & 1 if size > NEVER_USED_UP else unforeseeable(state, match)


def connlimit(state: State, match: XtMatch) -> Outcome:
    """struct xt_connlimit_info, flag 1 inverts: above a limit there cannot be more than conntrack keeps in all.

    A known connection is not always added to those counted for a key (nf_conncount.c), and where there are none left
    its packet is dropped (connlimit_mt takes no connection at all for no memory).
    """
    limit, flags = struct.unpack_from("=2I", match.info, 16)
    found: bool | Unknown = not flags & 1 if limit == 0 else bool(flags & 1)
    if limit and not never_so_many(state, limit):
        found = Unknown(f"{UNFORESEEABLE[match.name]} cannot be foreseen")
    view, key = state.packet.conntrack, _counted(state, match.info, flags)
    if view is None or "confirmed" not in view.status or not has_entry(state.packet):
        state.touched |= {} if state.in_doubt or state.doubt("conntrack") else {key: True}
        return found
    if key in (state.facts.touched | state.touched):
        return found
    why = "the limit of connections may drop packets of an open one that it has not counted"
    return Alternatives(decisions=(Decision(code="drop"),), why=why, goes_on=found is not False)


def _counted(state: State, info: bytes, flags: int) -> SetKey:
    """What the connections that a connlimit match counts together share: the match, and the masked address."""
    address = packed(state.packet.destination if flags & 2 else state.packet.source)
    masked = bytes(one & two for one, two in zip(address, info, strict=False))
    return state.set_key("connlimit counts", info[:24] + masked)


def connbytes(state: State, match: XtMatch) -> Outcome:
    """connbytes_mt: without a connection a miss. A new one has carried this packet: a rule that asks made the kernel count."""
    low, high, what, way = struct.unpack_from("=2Q2B", match.info)
    packet = state.packet
    view = packet.conntrack if has_entry(packet) else None
    if view is None:
        return False
    if why := state.doubt("conntrack"):
        return why
    if view.state != "new" or "confirmed" in view.status:
        return unforeseeable(state, match)
    there = 0 if way == 1 else 1 if what == 0 else packet.length_bytes
    return bool(low <= there <= high if high >= low else there < high or there > low)


def cluster(state: State, match: XtMatch) -> Outcome:
    """xt_cluster_mt: the node is a hash of the connection's original source, of IPv6 its first word alone."""
    total, nodes, seed, flags = struct.unpack_from("=4I", match.info)
    packet = state.packet
    view = packet.conntrack if has_entry(packet) else None
    if view is None:
        return False
    if view.original is None or "expected" in view.status or state.doubt("conntrack"):
        return Unknown("the connection that decides on the node is not known")
    node = jhash(packed(view.original.source)[:4], seed) * total >> 32
    return bool(1 << node & nodes) != bool(flags & 1)


def recent(state: State, match: XtMatch) -> Outcome:
    """struct xt_recent_mtinfo: bits 1 rcheck, 2 set, 4 update, 8 remove. Setting always matches, and is then known."""
    _, hits, kind, invert = struct.unpack_from("=2I2B", match.info)
    name = "recent " + match.info[10:211].split(b"\0")[0].decode("utf-8", "replace") + str(match.info[210])
    if kind & 2:
        state.touched_sets.add(name)
        return not invert
    if kind & 8 or hits > 1 or name not in state.touched_sets or state.in_doubt:
        return unforeseeable(state, match)
    return not invert


def time(state: State, match: XtMatch) -> Outcome:
    """struct xt_time_info: a doubt unless every date, hour and day is taken."""
    first, last, start, stop, monthdays, weekdays = struct.unpack_from("=5IB", match.info)
    days = monthdays | 1 == EVER and weekdays | 1 == 0xFF
    always = first == 0 and last >= 0x7FFFFFFF and (start, stop) == (0, ALL_DAY) and days
    return True if always else unforeseeable(state, match)


TESTS = {
    **dict.fromkeys(("limit", "hashlimit", "rateest", "cpu", "nfacct"), unforeseeable), "statistic": statistic,
    "quota": quota, "connlimit": connlimit, "connbytes": connbytes, "cluster": cluster, "recent": recent, "time": time,
}  # fmt: skip
