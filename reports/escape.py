"""Hostile text made harmless. Interface names, aliases, rule comments and DNS answers are written by others."""

import re
import shlex
from collections.abc import Iterable

# Patterns are text, compiled at first use: the terminal report, which needs none, must start fast.
_MARKDOWN = r"[\\`*\[\]<>|~&$]|(?<![^\W_])_|_(?![^\W_])|^[-+=#]"
_NUMBERED = r"^(\d{1,9})([.)])(?=\s|$)"
_REFERENCE = r"(?<!\w)([@#])(?=\w)|(?<=:)()(?=//)|(?<=www)()(?=\.)"
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_FENCE = r"`+"


def terminal(text: str, *, unicode: bool = True) -> str:
    """One line that moves no cursor, rings no bell and turns no direction.

    What cannot be seen is shown as \\x1b, \\u202e, \\n. Without `unicode` so is everything beyond ASCII.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if char.isprintable() and (unicode or char.isascii()) else _visible(char) for char in text)


def command(argv: Iterable[str], *, unicode: bool = True) -> str:
    """The command as a shell takes it; an argument with invisible characters becomes $'...' (bash, zsh, ksh)."""
    return " ".join(_argument(argument, unicode=unicode) for argument in argv)


def markdown(text: str) -> str:
    """Text that Markdown shows as it is: no emphasis, link, image, HTML, mention, table cell or line of its own."""
    shown = re.sub(_NUMBERED, r"\1\\\2", re.sub(_MARKDOWN, r"\\\g<0>", terminal(text)))
    # Mentions, references and bare links are found in the finished text, where only a break of the node helps.
    return re.sub(_REFERENCE, lambda found: f"{found[1] or ''}<!-- -->", shown, flags=re.IGNORECASE)


def fenced(lines: Iterable[str], language: str = "") -> str:
    """A fenced code block whose fence no line in it can close. The lines must hold no control characters."""
    body = "\n".join(lines)
    longest = max((len(run) for run in re.findall(_FENCE, body)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{body}\n{fence}"


def code(text: str) -> str:
    """An inline code span holding exactly the text; not for table cells, which a | in it would end."""
    shown = terminal(text) or " "
    longest = max((len(run) for run in re.findall(_FENCE, shown)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if shown[0] == "`" or shown[-1] == "`" else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def _visible(char: str) -> str:
    point = ord(char)
    if char in _NAMED:
        return _NAMED[char]
    if 0xDC80 <= point <= 0xDCFF:
        return f"\\x{point - 0xDC00:02x}"
    if point < 0x100:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


def _argument(argument: str, *, unicode: bool) -> str:
    if argument.isprintable() and (unicode or argument.isascii()):
        return shlex.quote(argument)
    raw = b"".join(_bytes(char) for char in argument)
    return "$'" + "".join(_shell_byte(byte) for byte in raw) + "'"


def _bytes(char: str) -> bytes:
    """The byte or bytes the kernel gave for this character."""
    return bytes([ord(char) - 0xDC00]) if 0xDC80 <= ord(char) <= 0xDCFF else char.encode(errors="backslashreplace")


def _shell_byte(byte: int) -> str:
    if byte in b"\\'":
        return "\\" + chr(byte)
    return chr(byte) if 0x20 <= byte < 0x7F else f"\\x{byte:02x}"
