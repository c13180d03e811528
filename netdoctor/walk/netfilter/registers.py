"""nf_tables registers that know which of their bits nobody knows."""

import struct

import msgspec

from netdoctor.model.unknown import Unknown

WORD = 4
WORDS = 20


class Bits(msgspec.Struct, frozen=True):
    """Bytes of which the bits set in `hidden` are not known, for the reason `why`."""

    value: bytes
    hidden: bytes = b""
    why: str = ""

    @property
    def known(self) -> bool:
        return not any(self.hidden)

    @property
    def least(self) -> bytes:
        """The smallest value it can have, compared byte by byte."""
        return bytes(v & ~h & 0xFF for v, h in zip(self.value, self._darkness, strict=True))

    @property
    def most(self) -> bytes:
        """The greatest."""
        return bytes(v | h for v, h in zip(self.value, self._darkness, strict=True))

    @property
    def _darkness(self) -> bytes:
        return self.hidden.ljust(len(self.value), b"\0")

    def cut(self, offset: int, length: int) -> "Bits":
        """A part of it; past the end it is shorter than asked."""
        end = offset + length
        return Bits(self.value[offset:end], self.hidden[offset:end], self.why)

    def equals(self, other: bytes) -> bool | Unknown:
        """False as soon as one known bit differs; Unknown when only hidden bits could."""
        hidden = self.hidden.ljust(len(self.value), b"\0")
        for mine, theirs, dark in zip(self.value, other, hidden, strict=False):
            if (mine ^ theirs) & ~dark & 0xFF:
                return False
        return True if self.known else Unknown(self.why)


def hidden_bits(length: int, why: str) -> Bits:
    """`length` bytes of which nothing is known."""
    return Bits(bytes(length), b"\xff" * length, why)


def u32(number: int) -> Bits:
    """A number as the kernel keeps it in a register."""
    return Bits(struct.pack("=I", number & 0xFFFFFFFF))


def small(modulus: int, offset: int, why: str) -> Bits:
    """A number nobody knows between offset and offset + modulus - 1: the bits above it are known to be zero."""
    if offset:
        return hidden_bits(4, why) if offset + modulus > 1 << 32 else _below(offset + modulus, why)
    return _below(modulus, why)


def _below(end: int, why: str) -> Bits:
    return Bits(bytes(4), struct.pack("=I", (1 << (end - 1).bit_length()) - 1), why)


def place(register: int) -> int:
    """The byte offset of a register: 1-4 are 16 bytes wide, 8 and up 4 bytes, over the same store."""
    return (register * 4 if register <= 4 else register - 4) * WORD


class Registers:
    """The register file of one rule's evaluation."""

    def __init__(self) -> None:
        self._value = bytearray(WORDS * WORD)
        self._hidden = bytearray(WORDS * WORD)
        self._why = ""

    def store(self, register: int, bits: Bits) -> None:
        """Writes whole words, zero padded, as nft_data is written."""
        start = place(register)
        length = min(-(-len(bits.value) // WORD) * WORD, len(self._value) - start)
        self._value[start : start + length] = bits.value.ljust(length, b"\0")[:length]
        self._hidden[start : start + length] = bits.hidden.ljust(length, b"\0")[:length]
        self._why = bits.why or self._why

    def load(self, register: int, length: int) -> Bits:
        start = place(register)
        hidden = bytes(self._hidden[start : start + length])
        return Bits(bytes(self._value[start : start + length]), hidden, self._why if any(hidden) else "")
