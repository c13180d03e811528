"""Netlink attributes over bytes. Rules hold many small ones, and slices of bytes are faster to take than memoryviews."""

EMPTY = b""
ZERO = bytes(8)

Attributes = dict[int, bytes]


def attributes(raw: bytes) -> Attributes:
    """Type -> value. wire.attributes over bytes: slices of bytes are faster to take than views of a whole dump."""
    found: Attributes = {}
    offset, end = 0, len(raw)
    while offset + 4 <= end:
        length = raw[offset] | raw[offset + 1] << 8
        if length < 4:
            break
        found[raw[offset + 2] | (raw[offset + 3] & 0x3F) << 8] = raw[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


def text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("utf-8", "backslashreplace")


def be16(raw: bytes) -> int:
    return int.from_bytes(raw[:2], "big")


def be32(raw: bytes) -> int:
    return int.from_bytes(raw[:4], "big")


def be64(raw: bytes) -> int:
    return int.from_bytes(raw[:8], "big")


def userdata_comment(userdata: bytes) -> str:
    """The comment in a run of (type, length, value) bytes as libnftnl writes them."""
    offset = 0
    while offset + 2 <= len(userdata):
        kind, length = userdata[offset], userdata[offset + 1]
        if kind == 0:
            value = userdata[offset + 2 : offset + 2 + length]
            return value.split(b"\0", 1)[0].decode("utf-8", "backslashreplace")
        offset += 2 + length
    return ""
