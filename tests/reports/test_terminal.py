"""The report at a terminal."""

import re
import subprocess
import sys
from collections.abc import Callable

import pytest

from netdoctor.reports.ink import cells, fold
from netdoctor.reports.terminal import render, render_all

from .sample_all import ALL

SGR = re.compile(r"\x1b\[[0-9;]*m")


@pytest.mark.parametrize("name", ALL)
def test_it_reads_as_agreed(name: str, golden: Callable[[str, str], None]) -> None:
    golden(f"{name}.txt", render(ALL[name](), width=100, colour=False, unicode=True))


@pytest.mark.parametrize("name", ["wrong_egress", "undetermined"])
def test_in_detail(name: str, golden: Callable[[str, str], None]) -> None:
    golden(f"{name}-vv.txt", render(ALL[name](), width=100, colour=False, unicode=True, verbosity=2))


def test_narrow_and_ascii(golden: Callable[[str, str], None]) -> None:
    golden("wrong_egress-40-ascii.txt", render(ALL["wrong_egress"](), width=40, colour=False, unicode=False))


@pytest.mark.parametrize("width", [20, 21, 33, 55, 56, 57, 80, 132, 200])
@pytest.mark.parametrize("name", ALL)
def test_nothing_but_commands_is_wider_than_the_terminal(name: str, width: int) -> None:
    report = ALL[name]()
    programs = ("iptables ", "ip ", "sysctl ", "netdoctor ")
    for verbosity in (-1, 0, 2):
        text = render(report, width=width, colour=False, unicode=True, verbosity=verbosity)
        for line in text.splitlines():
            assert cells(line) <= width or line.strip().startswith(programs), line


@pytest.mark.parametrize("name", ALL)
def test_ascii_is_ascii_and_plain_is_plain(name: str) -> None:
    text = render(ALL[name](), width=80, colour=False, unicode=False, verbosity=2)
    assert text.isascii()
    assert "\x1b" not in text


@pytest.mark.parametrize("name", ALL)
def test_colour_changes_nothing_but_colour(name: str) -> None:
    plain = render(ALL[name](), width=80, colour=False, unicode=True)
    coloured = render(ALL[name](), width=80, colour=True, unicode=True)
    assert [line.rstrip() for line in SGR.sub("", coloured).splitlines()] == plain.splitlines()


def test_hostile_text_sends_no_control() -> None:
    text = SGR.sub("", render(ALL["hostile"](), width=80, colour=True, unicode=True, verbosity=2))
    assert all(char == "\n" or char.isprintable() for char in text)


def test_commands_can_be_copied_whole() -> None:
    report = ALL["double_fault"]()
    for width in (20, 80):
        lines = render(report, width=width, colour=False, unicode=True).splitlines()
        commands = [line.strip() for line in lines if line.startswith("    iptables -")]
        assert len(commands) == 4
        assert commands[1].endswith("--ctstate RELATED,ESTABLISHED -j ACCEPT")


def test_silence_is_healthy() -> None:
    assert len(render(ALL["healthy"](), width=100, colour=False, unicode=True).splitlines()) <= 7


def test_quiet_leaves_the_findings() -> None:
    text = render(ALL["wrong_egress"](), width=100, colour=False, unicode=True, verbosity=-1)
    assert "Checks" not in text
    assert "iptables -t nat -R POSTROUTING 1" in text


def test_words_longer_than_the_line_are_broken() -> None:
    assert fold("ab cdefgh i", 4) == ["ab", "cdef", "gh i"]
    assert fold("网络网络", 5) == ["网络", "网络"]
    assert fold("", 5) == []


def test_it_needs_no_heavy_library() -> None:
    code = "import sys, netdoctor.reports.terminal; print(*{'rich', 'jinja2', 'subprocess'} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == ""


def test_several_namespaces_have_a_line_each_and_the_broken_ones_a_report() -> None:
    reports = [ALL[name]() for name in ("healthy", "wrong_egress", "failed")]
    text = render_all("fail", reports, width=132, colour=False, unicode=True)
    first, *lines = text.splitlines()
    assert first == "✗ FAIL  3 namespaces checked"
    assert [line.split()[1] for line in lines[:3]] == ["PASS", "FAIL", "ERROR"]
    assert text.count("Cause  masquerade-wrong-egress") == 1
    assert "checks: 10 pass" not in text
