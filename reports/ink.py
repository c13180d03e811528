"""Styled, wrapped lines for a terminal of any width, with or without colour and Unicode.

Own code, because importing a terminal library costs as much time as the whole diagnosis.
"""

import re
from collections.abc import Iterable, Sequence

import msgspec

from netdoctor.reports import escape

Span = tuple[str, str]
"""Text and the style it is printed in: words of `_SGR`, or "" for plain."""

_SGR = {"bold": "1", "dim": "2", "under": "4", "red": "31", "green": "32", "yellow": "33", "blue": "34", "cyan": "36"}
_ASCII = str.maketrans({
    "✓": "+", "✗": "x", "·": "-", "│": "|", "┆": ":", "▼": "v", "▲": "^", "○": "o", "●": "*",
    "→": "->", "←": "<-", "╰": "`", "─": "-", "├": "|", "…": "~", "⋮": ":",
})  # fmt: skip


class Ink(msgspec.Struct, frozen=True, kw_only=True):
    """What the terminal can do."""

    width: int
    colour: bool
    unicode: bool

    def own(self, text: str) -> str:
        """Our own drawing, in ASCII where there is nothing better."""
        return text if self.unicode else text.translate(_ASCII)

    def said(self, text: str) -> str:
        """Text of others, made harmless."""
        return escape.terminal(text, unicode=self.unicode)

    def packet(self, text: str) -> str:
        """A packet's addresses; its arrow as fine as the terminal allows."""
        return self.said(text).replace("->", "→") if self.unicode else self.said(text)

    def paint(self, spans: Iterable[Span]) -> str:
        """One line as it is written to the terminal."""
        made = "".join(self._painted(text, style) for text, style in spans)
        return made.rstrip(" ")

    def wrap(
        self, lead: Sequence[Span], text: str, style: str = "", *, hang: Sequence[Span] | None = None
    ) -> list[str]:
        """`lead` and then the text, wrapped; later lines start with `hang` (default: as wide as the lead, empty).

        Where the lead leaves too little room the text starts on a line of its own, little indented.
        """
        wide = sum(cells(part) for part, _ in lead)
        follow = list(hang) if hang is not None else [(" " * wide, "")]
        room = self.width - max(wide, sum(cells(part) for part, _ in follow))
        if room < min(16, self.width // 2):
            indent = self._short(follow) if hang is not None else [(" " * min(2, wide), "")]
            lines = fold(text, max(4, self.width - sum(cells(part) for part, _ in indent)))
            return [*self._lead(lead), *(self.paint([*indent, (line, style)]) for line in lines)]
        first, *rest = fold(text, room) or [""]
        return [self.paint([*lead, (first, style)]), *(self.paint([*follow, (line, style)]) for line in rest)]

    def _lead(self, lead: Sequence[Span]) -> list[str]:
        """A lead on lines of its own; folded, in the style of its last word, where it is too wide for one."""
        if sum(cells(part.rstrip()) for part, _ in lead[-1:]) + sum(cells(part) for part, _ in lead[:-1]) <= self.width:
            return [self.paint(lead)]
        style = next((style for part, style in reversed(lead) if part.strip()), "")
        return [self.paint([(line, style)]) for line in fold("".join(part for part, _ in lead), self.width)]

    def _short(self, spans: Sequence[Span]) -> list[Span]:
        """The first span: the lane's own line, without the column after it."""
        return [spans[0]] if cells(spans[0][0]) < self.width // 2 else []

    def _painted(self, text: str, style: str) -> str:
        if not (self.colour and style and text.strip()):
            return text
        codes = ";".join(_SGR[word] for word in style.split())
        return f"\x1b[{codes}m{text}\x1b[0m"


def cells(text: str) -> int:
    """How many columns the text takes."""
    if text.isascii():
        return len(text)
    import unicodedata

    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def pad(text: str, width: int) -> str:
    """The text followed by as many spaces as fill the columns."""
    return text + " " * (width - cells(text))


def fold(text: str, width: int) -> list[str]:
    """Lines of at most `width` columns, broken between words, and within those that are longer."""
    lines: list[str] = []
    line = ""
    for word in re.findall(r"\s*\S+", text):
        if line and cells(line) + cells(word) > width:
            lines.append(line)
            line = ""
        piece = word if line else word.lstrip()
        while cells(piece) > width:
            cut = _cut(piece, width)
            lines.append(piece[:cut])
            piece = piece[cut:]
        line += piece
    return [*lines, line] if line else lines


def _cut(text: str, width: int) -> int:
    """How many characters fit into the columns, at least one."""
    taken = 0
    for place, char in enumerate(text):
        taken += cells(char)
        if taken > width:
            return max(1, place)
    return len(text)
