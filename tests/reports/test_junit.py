"""The report for a CI system."""

from xml.etree import ElementTree

import pytest

from netdoctor.reports.junit import render, render_all

from .sample_all import ALL


@pytest.mark.parametrize("name", ALL)
def test_the_counts_are_those_of_the_cases(name: str) -> None:
    suite = ElementTree.fromstring(render(ALL[name]()).encode())[0]
    for key, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        assert int(suite.attrib[key]) == len(suite.findall(f"testcase/{tag}"))
    assert int(suite.attrib["tests"]) == len(suite.findall("testcase"))


@pytest.mark.parametrize("name", ALL)
def test_what_is_not_healthy_does_not_look_healthy(name: str) -> None:
    report = ALL[name]()
    suite = ElementTree.fromstring(render(report).encode())[0]
    bad = int(suite.attrib["failures"]) + int(suite.attrib["errors"])
    assert bool(bad) == (report.verdict in ("fail", "undetermined", "error"))


def test_the_failure_says_what_to_do() -> None:
    failure = ElementTree.fromstring(render(ALL["wrong_egress"]()).encode()).find(".//failure")
    assert failure is not None
    assert "masquerade-wrong-egress in host" in str(failure.text)
    assert "iptables -t nat -R POSTROUTING 1" in str(failure.text)


def test_several_suites() -> None:
    root = ElementTree.fromstring(render_all([ALL["healthy"](), ALL["failed"]()]).encode())
    assert [suite.attrib["name"] for suite in root] == ["ns1 to 8.8.8.8", "ns9 to 8.8.8.8"]
