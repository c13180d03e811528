"""The structs of the few xtables matches and targets that composed rules use, as iptables fills them."""

import struct

from .xt_conntrack import STATE, STATES

COMMENT_BYTES = 256
CONNTRACK_BYTES = 168


def conntrack_info_bytes(states: tuple[str, ...]) -> bytes:
    """struct xt_conntrack_mtinfo3 that asks for the state alone."""
    mask = sum(STATES[state] for state in states)
    asked = struct.pack("=H2xH", STATE, mask)
    return (bytes(146) + asked).ljust(CONNTRACK_BYTES, b"\0")


def comment_info(comment: str) -> bytes:
    return comment.encode()[: COMMENT_BYTES - 1].ljust(COMMENT_BYTES, b"\0")


def masquerade_info(version: int) -> bytes:
    """struct nf_nat_ipv4_multi_range_compat with one empty range, or an empty struct nf_nat_range."""
    return struct.pack("=I", 1) + bytes(20) if version == 4 else bytes(40)


def tcp_info(port: int) -> bytes:
    """struct xt_tcp: any source port, one destination port."""
    return struct.pack("=4H4B", 0, 0xFFFF, port, port, 0, 0, 0, 0).ljust(16, b"\0")


def udp_info(port: int) -> bytes:
    return struct.pack("=4HB", 0, 0xFFFF, port, port, 0).ljust(16, b"\0")
