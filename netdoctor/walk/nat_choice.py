"""Which address and port NAT takes where a rule leaves a choice (net/netfilter/nf_nat_core.c)."""

from ipaddress import ip_address

from netdoctor.model.network import ConntrackTuple
from netdoctor.walk.netfilter import Binding
from netdoctor.walk.netfilter.jhash import WORD, jhash
from netdoctor.walk.packet import ICMP, ICMP6, TCP, UDP

HASHED_BYTES = 16
"""union nf_inet_addr: an IPv4 address is hashed with twelve zero bytes behind it."""
SCTP, DCCP, UDPLITE = 132, 33, 136


def address_of(binding: Binding, flow: ConntrackTuple, zone: int) -> str:
    """The address of the binding's range that this flow gets, always the same one (get_unique_tuple).

    A source within the range stays. Else a hash of both addresses decides; only a connection that already comes from
    the same source and port could have it otherwise (find_appropriate_src).
    """
    low, high = ip_address(binding.address_min).packed, ip_address(binding.address_max).packed
    if low == high:
        return binding.address_min
    own = ip_address(flow.source).packed
    if binding.manip == "source" and low <= own <= high and not _random(binding) and _fits(binding, flow.source_port):
        return flow.source
    return str(ip_address(_hashed(binding, flow, zone, low, high)))


def _hashed(binding: Binding, flow: ConntrackTuple, zone: int, low: bytes, high: bytes) -> bytes:
    """find_best_ips_proto, word by word."""
    persistent = "persistent" in binding.flags
    source, destination = ip_address(flow.source).packed, ip_address(flow.destination).packed
    seed = 0 if persistent else int.from_bytes(destination[-4:], "little") ^ zone
    number = jhash(source.ljust(HASHED_BYTES, b"\0"), seed)
    chosen, full = b"", False
    for place in range(0, len(low), 4):
        first, last = (int.from_bytes(end[place : place + 4], "big") for end in (low, high))
        start, distance = (0, WORD) if full else (first, last - first + 1 & WORD)
        chosen += (start + (number * distance >> 32) & WORD).to_bytes(4, "big")
        full = full or chosen[place:] != high[place : place + 4]
        if not persistent:
            aimed = chosen if binding.manip == "destination" else destination
            number ^= int.from_bytes(aimed[place : place + 4], "little")
    return chosen


def chance(binding: Binding, flow: ConntrackTuple) -> str:
    """Why nobody can tell the port (of an echo: its id) that the flow gets, "" where it can be told.

    A port within the range is kept. Else a source NAT draws one, and so does any with "random"; a destination NAT
    takes the range's first (nf_nat_l4proto_unique_tuple).
    """
    source, echo = binding.manip == "source", flow.protocol in (ICMP, ICMP6)
    if flow.protocol not in (TCP, UDP, SCTP, DCCP, UDPLITE, ICMP, ICMP6):
        return ""
    drawn = _random(binding) or (source and not _fits(binding, flow.source_port))
    given = binding.port_min and binding.port_max != binding.port_min
    if not drawn or not (given or (not binding.port_min and (source or echo))):
        return ""
    among = f" from {binding.port_min} to {binding.port_max}" if given else ""
    return f"NAT draws the {'id' if echo else 'port'}{among} by lot"


def _random(binding: Binding) -> bool:
    return bool({"random", "random-fully"} & set(binding.flags))


def _fits(binding: Binding, port: int) -> bool:
    return not binding.port_min or binding.port_min <= port <= binding.port_max
