"""The picture of the terminal."""

import re

from netdoctor.reports.picture import svg

from .sample_all import ALL


def test_it_shows_the_report_and_loads_nothing() -> None:
    drawn = svg(ALL["wrong_egress"]())
    assert "masquerade-wrong-egress" in drawn
    assert "netdoctor&#160;check" in drawn or "netdoctor check ns1" in drawn
    assert not re.findall(r"url\(['\"]?http|@font-face", drawn)
