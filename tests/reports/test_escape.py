"""Hostile text."""

import subprocess
from itertools import product

import pytest

from netdoctor.reports import escape

NASTY = [
    "a b",
    "'",
    '"',
    "$(id)",
    "`id`",
    "\\",
    "\n",
    "\x1b[31m",
    "\x07",
    "\u202e",
    "é",
    "\udcff",
    "*",
    "!",
    "-x",
    "",
    "\t",
]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("eth0", "eth0"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\nb\r\t", "a\\nb\\r\\t"),
        ("\u202egnp", "\\u202egnp"),
        ("veth\udcff", "veth\\xff"),
        ("\u200b\u2028\x9b", "\\u200b\\u2028\\x9b"),
        ("\U000e0041", "\\U000e0041"),
        ("netz é 网", "netz é 网"),
    ],
)
def test_the_terminal_sees_only_what_can_be_seen(text: str, shown: str) -> None:
    assert escape.terminal(text) == shown


def test_without_unicode_only_ascii_is_left() -> None:
    assert escape.terminal("é网", unicode=False) == "\\xe9\\u7f51"


def test_a_shell_reads_back_what_was_meant() -> None:
    argv = ["printf", "%s\\0", *NASTY]
    line = escape.command(argv)
    assert line.isprintable()
    ran = subprocess.run(["bash", "-c", line], capture_output=True, check=True, timeout=10)
    assert ran.stdout == b"".join(text.encode(errors="surrogateescape") + b"\0" for text in NASTY)


def test_in_ascii_too() -> None:
    line = escape.command(["printf", "%s", "é网"], unicode=False)
    assert line.isascii()
    assert subprocess.run(["bash", "-c", line], capture_output=True, check=True, timeout=10).stdout == "é网".encode()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rp_filter is 1", "rp_filter is 1"),
        ("8.8.8.8 is silent", "8.8.8.8 is silent"),
        ("1. x", "1\\. x"),
        ("-A FORWARD", "\\-A FORWARD"),
        ("# x", "\\# x"),
        ("_x_ **b** `c`", "\\_x\\_ \\*\\*b\\*\\* \\`c\\`"),
        ("<img> [a](b) a|b", "\\<img\\> \\[a\\](b) a\\|b"),
        ("veth0@if3 ask @org/team", "veth0@if3 ask @<!-- -->org/team"),
        ("http://x", "http:<!-- -->//x"),
        ("a\n## b", "a\\\\n## b"),
    ],
)
def test_markdown_shows_it_as_it_is(text: str, shown: str) -> None:
    assert escape.markdown(text) == shown


@pytest.mark.parametrize("text", ["a", "`", "``a`", "a```b", ""])
def test_no_code_span_is_ended_by_its_text(text: str) -> None:
    span = escape.code(text)
    fence = span[: len(span) - len(span.lstrip("`"))]
    assert fence not in span[len(fence) : -len(fence)]


def test_no_fence_is_closed_by_a_line() -> None:
    for line, other in product(["```", "`````", "x"], repeat=2):
        opening, *body, closing = escape.fenced([line, other], "text").split("\n")
        assert closing == opening.removesuffix("text")
        assert closing not in body
