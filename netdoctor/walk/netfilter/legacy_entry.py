"""struct ipt_entry and ip6t_entry, written (linux/netfilter_ipv4/ip_tables.h, linux/netfilter_ipv6/ip6_tables.h)."""

import struct
from ipaddress import ip_network
from typing import Literal

from netdoctor.model import expression as e

IFNAMSIZ = 16
VERDICTS = {"drop": -1, "accept": -2, "queue": -4, "return": -5}
STANDARD_TARGET_BYTES = 40
ADDRESS_BYTES: dict[str, int] = {"ip": 4, "ip6": 16}
HEAD_BYTES = {"ip": 112, "ip6": 168}


def legacy_header(
    family: Literal["ip", "ip6"], source: str, destination: str, in_device: str, out_device: str
) -> e.XtHeader:  # fmt: skip
    """The header test for prefixes and devices; empty ones match everything."""
    any_prefix = "0.0.0.0/0" if family == "ip" else "::/0"
    here, there = (ip_network(text or any_prefix, strict=False) for text in (source, destination))
    return e.XtHeader(
        family=family, source=here.network_address.packed, source_mask=here.netmask.packed,
        destination=there.network_address.packed, destination_mask=there.netmask.packed, in_device=in_device,
        out_device=out_device,
    )  # fmt: skip


def encode_header(header: e.XtHeader) -> bytes:
    """struct ipt_ip or ip6t_ip6."""
    addresses = header.source + header.destination + header.source_mask + header.destination_mask
    names, masks = b"", b""
    for device in (header.in_device, header.out_device):
        name, mask = _device(device)
        names, masks = names + name, masks + mask
    if header.family == "ip":
        tail = struct.pack("=H2B", header.protocol, header.flags, header.invert)
    else:
        tail = struct.pack("=H3B3x", header.protocol, header.tos, header.flags, header.invert)
    return addresses + names + masks + tail


def _device(device: str) -> tuple[bytes, bytes]:
    """The name and its mask: up to and including the NUL, or up to where "+" stands."""
    if not device:
        return bytes(IFNAMSIZ), bytes(IFNAMSIZ)
    if device.endswith("+"):
        return device.encode().ljust(IFNAMSIZ, b"\0"), (b"\xff" * (len(device) - 1)).ljust(IFNAMSIZ, b"\0")
    return device.encode().ljust(IFNAMSIZ, b"\0"), (b"\xff" * (len(device) + 1)).ljust(IFNAMSIZ, b"\0")


def encode_entry(expressions: tuple[e.AnyExpression, ...]) -> bytes:
    """A whole entry: header, counters, matches, target."""
    header = expressions[0]
    assert isinstance(header, e.XtHeader)
    matches = b"".join(
        _element(each.name, each.revision, each.info) for each in expressions if isinstance(each, e.XtMatch)
    )
    head = HEAD_BYTES[header.family]
    target = _target(expressions[-1])
    offsets = struct.pack("=I2HI", 0, head + len(matches), head + len(matches) + len(target), 0)
    body = encode_header(header) + offsets
    return body.ljust(head - 16, b"\0") + bytes(16) + matches + target


def _element(name: str, revision: int, info: bytes) -> bytes:
    """struct xt_entry_match and xt_entry_target: size, name, revision, then the info aligned to 8 bytes."""
    padded = info.ljust(-(-len(info) // 8) * 8, b"\0")
    return struct.pack("=H29sB", 32 + len(padded), name.encode(), revision) + padded


def _target(expression: e.AnyExpression) -> bytes:
    if isinstance(expression, e.XtTarget):
        return _element(expression.name, expression.revision, expression.info)
    verdict = VERDICTS.get(expression.code, -5) if isinstance(expression, e.Verdict) else -5
    return struct.pack("=H29sBi4x", STANDARD_TARGET_BYTES, b"", 0, verdict)


def with_header(raw: bytes, header: e.XtHeader) -> bytes:
    """The entry with its header test replaced."""
    new = encode_header(header)
    return new + raw[len(new) :]
