"""The report for a ticket."""

from collections.abc import Callable

import msgspec
import pytest

from netdoctor.reports.markdown import LIMIT_BYTES, render

from .sample_all import ALL


@pytest.mark.parametrize("name", ["wrong_egress", "hostile", "fixed"])
def test_it_reads_as_agreed(name: str, golden: Callable[[str, str], None]) -> None:
    golden(f"{name}.md", render(ALL[name]()))


@pytest.mark.parametrize("name", ALL)
def test_it_fits_into_a_comment(name: str) -> None:
    assert len(render(ALL[name]()).encode()) <= LIMIT_BYTES


def test_a_long_report_is_cut_between_sections_and_says_so() -> None:
    report = ALL["wrong_egress"]()
    text = render(msgspec.structs.replace(report, path=report.path * 60))
    assert len(text.encode()) <= LIMIT_BYTES
    assert "masquerade-wrong-egress" in text
    assert "Cut here" in text
    assert text.count("<details>") == text.count("</details>")


def test_even_one_endless_summary_fits() -> None:
    report = msgspec.structs.replace(ALL["healthy"](), summary="网" * 50_000)
    assert len(render(report).encode()) <= LIMIT_BYTES


def test_hostile_text_makes_no_markup() -> None:
    outside, fence = [], ""
    for line in render(ALL["hostile"]()).splitlines():
        if line.startswith("```") and not fence:
            fence = line[: len(line) - len(line.lstrip("`"))]
        elif fence and line == fence:
            fence = ""
        elif not fence:
            outside.append(line)
    assert not fence
    text = "\n".join(line for line in outside if "**Object:**" not in line)
    assert "\n## owned" not in text
    assert "<script" not in text.replace("\\<script", "")
    assert "@all" not in text
