"""nf_tables registers that know which of their bits nobody knows."""

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
        start, length = place(register), -(-len(bits.value) // WORD) * WORD
        self._value[start : start + length] = bits.value.ljust(length, b"\0")
        self._hidden[start : start + length] = bits.hidden.ljust(length, b"\0")
        self._why = bits.why or self._why

    def load(self, register: int, length: int) -> Bits:
        start = place(register)
        hidden = bytes(self._hidden[start : start + length])
        return Bits(bytes(self._value[start : start + length]), hidden, self._why if any(hidden) else "")
