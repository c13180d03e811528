"""Numbers of 32 bits of which some bits may be hidden."""

import msgspec

from .registers import Bits

FULL = 0xFFFFFFFF


class Word(msgspec.Struct, frozen=True):
    """A number; the bits set in `hidden` are not known (and zero in `value`)."""

    value: int
    hidden: int = 0

    @property
    def most(self) -> int:
        """The largest number it could be; `value` is the smallest."""
        return self.value | self.hidden

    def masked(self, mask: int) -> "Word":
        return Word(self.value & mask, self.hidden & mask)

    def shifted_left(self, bits: int) -> "Word":
        return Word(self.value << bits & FULL, self.hidden << bits & FULL)

    def shifted_right(self, bits: int) -> "Word":
        return Word(self.value >> bits, self.hidden >> bits)

    def within(self, low: int, high: int) -> bool | None:
        """Whether it lies between both, inclusive; None when that hangs on hidden bits."""
        if low <= self.value and self.most <= high:
            return True
        if self.most < low or high < self.value or (low == high and (self.value ^ low) & ~self.hidden):
            return False
        return None


HIDDEN = Word(0, FULL)


def word_at(raw: Bits, offset: int, length: int = 4) -> Word | None:
    """The big-endian number at an offset; None past the end."""
    if offset < 0 or offset + length > len(raw.value):
        return None
    part = raw.cut(offset, length)
    hidden = int.from_bytes(part.hidden.ljust(length, b"\0"), "big")
    return Word(int.from_bytes(part.value, "big") & ~hidden, hidden)
