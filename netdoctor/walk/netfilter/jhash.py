"""The kernel's hash of a few bytes (include/linux/jhash.h: lookup3)."""

import struct

ARBITRARY = 0xDEADBEEF
WORD = 0xFFFFFFFF


def jhash(key: bytes, seed: int) -> int:
    """jhash(key, length, seed), 32 bits, of a little-endian machine."""
    a = b = c = (ARBITRARY + len(key) + seed) & WORD
    offset = 0
    while len(key) - offset > 12:
        x, y, z = struct.unpack_from("<3I", key, offset)
        a, b, c = _mix((a + x) & WORD, (b + y) & WORD, (c + z) & WORD)
        offset += 12
    if len(key) == offset:
        return c
    x, y, z = struct.unpack("<3I", key[offset:].ljust(12, b"\0"))
    return _final((a + x) & WORD, (b + y) & WORD, (c + z) & WORD)


def _rotated(word: int, bits: int) -> int:
    return (word << bits | word >> (32 - bits)) & WORD


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    for bits in ((4, 6, 8), (16, 19, 4)):
        a = (a - c & WORD) ^ _rotated(c, bits[0])
        c = c + b & WORD
        b = (b - a & WORD) ^ _rotated(a, bits[1])
        a = a + c & WORD
        c = (c - b & WORD) ^ _rotated(b, bits[2])
        b = b + a & WORD
    return a, b, c


def _final(a: int, b: int, c: int) -> int:
    for bits in ((14, 11, 25), (16, 4, 14)):
        c = (c ^ b) - _rotated(b, bits[0]) & WORD
        a = (a ^ c) - _rotated(c, bits[1]) & WORD
        b = (b ^ a) - _rotated(a, bits[2]) & WORD
    return (c ^ b) - _rotated(b, 24) & WORD
