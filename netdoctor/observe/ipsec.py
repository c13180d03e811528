"""XFRM_MSG_GETPOLICY, XFRM_MSG_GETSA -> XfrmPolicies and XfrmStates. Layouts: linux/xfrm.h."""

import socket
import struct

from netdoctor.model.network import Family, XfrmPolicy, XfrmState, XfrmTemplate
from netdoctor.netlink.wire import Reader, attributes, u32

XFRM_MSG_GETSA, XFRM_MSG_GETPOLICY = 0x12, 0x15
DIRECTIONS = ("in", "out", "fwd")
MODES = ("transport", "tunnel", "ro", "in_trigger", "beet")
PROTOCOLS = {50: "esp", 51: "ah", 108: "comp", 43: "route2", 60: "hao"}
TEMPLATE_BYTES, SELECTOR_BYTES, LIFETIMES_BYTES = 64, 56, 64 + 32


def read_policies(reader: Reader) -> tuple[XfrmPolicy, ...]:
    """IPsec policies, without the per-socket ones."""
    found = (_policy(message) for message in reader.dump(XFRM_MSG_GETPOLICY, bytes(64)))
    return tuple(policy for policy in found if policy is not None)


def read_states(reader: Reader) -> tuple[XfrmState, ...]:
    """IPsec security associations."""
    return tuple(_state(message) for message in reader.dump(XFRM_MSG_GETSA, bytes(24)))


def _policy(message: memoryview) -> XfrmPolicy | None:
    family_number = struct.unpack_from("=H", message, 40)[0]
    family: Family = 6 if family_number == socket.AF_INET6 else 4
    priority, index, direction, action, _, _ = struct.unpack_from("=IIBBBB", message, SELECTOR_BYTES + LIFETIMES_BYTES)
    if direction >= len(DIRECTIONS):
        return None
    found = attributes(message[SELECTOR_BYTES + LIFETIMES_BYTES + 16 :])
    raw = bytes(found.get(5, memoryview(b"")))
    mark, mask = struct.unpack_from("=II", found[21]) if 21 in found else (0, 0)
    sport, dport = struct.unpack_from("!H", message, 36)[0], struct.unpack_from("!H", message, 32)[0]
    return XfrmPolicy(
        direction=DIRECTIONS[direction],
        family=family,
        source=_prefix(bytes(message[16:32]), message[43], family),
        destination=_prefix(bytes(message[0:16]), message[42], family),
        action="block" if action == 1 else "allow",
        protocol=message[44],
        source_port=sport,
        destination_port=dport,
        priority=priority,
        index=index,
        interface=u32(found[31]) if 31 in found else 0,
        device=struct.unpack_from("=i", message, 48)[0],
        mark=mark,
        mark_mask=mask,
        templates=tuple(
            _template(raw[offset : offset + TEMPLATE_BYTES])
            for offset in range(0, len(raw) - TEMPLATE_BYTES + 1, TEMPLATE_BYTES)
        ),
    )


def _template(raw: bytes) -> XfrmTemplate:
    """struct xfrm_user_tmpl: id {daddr, spi, proto, pad} 24, family 2, pad 2, saddr 16, reqid 4, mode, share, optional."""
    family: Family = 6 if struct.unpack_from("=H", raw, 24)[0] == socket.AF_INET6 else 4
    return XfrmTemplate(
        source=_address(raw[28:44], family),
        destination=_address(raw[0:16], family),
        protocol=PROTOCOLS.get(raw[20], str(raw[20])),
        request_id=struct.unpack_from("=I", raw, 44)[0],
        mode=MODES[raw[48]] if raw[48] < len(MODES) else str(raw[48]),
        optional=raw[50] != 0,
    )


def _state(message: memoryview) -> XfrmState:
    """struct xfrm_usersa_info: selector 56, id 24, saddr 16, lifetimes 96, stats 12, seq, reqid, family, mode."""
    body = SELECTOR_BYTES + 24 + 16 + LIFETIMES_BYTES + 12
    _, request_id, family_number, mode = struct.unpack_from("=IIHB", message, body)
    family: Family = 6 if family_number == socket.AF_INET6 else 4
    return XfrmState(
        family=family,
        source=_address(bytes(message[80:96]), family),
        destination=_address(bytes(message[56:72]), family),
        protocol=PROTOCOLS.get(message[76], str(message[76])),
        spi=struct.unpack_from("!I", message, 72)[0],
        mode=MODES[mode] if mode < len(MODES) else str(mode),
        request_id=request_id,
    )


def _prefix(raw: bytes, length: int, family: Family) -> str:
    return f"{_address(raw, family)}/{length}"


def _address(raw: bytes, family: Family) -> str:
    return socket.inet_ntop(socket.AF_INET, raw[:4]) if family == 4 else socket.inet_ntop(socket.AF_INET6, raw)
