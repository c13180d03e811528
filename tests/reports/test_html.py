"""The report as a page."""

import re
from html.parser import HTMLParser

import msgspec
import pytest

from netdoctor.reports import anchors, html, svg, way

from .sample_all import ALL
from .samples import cause

VOID = {"meta", "link", "br", "img", "input", "hr", "rect", "path", "circle"}


class Page(HTMLParser):
    """What a browser would find: ids, links, tags, and whether every tag is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        named = dict(attrs)
        self.attributes |= set(named)
        if named.get("id"):
            self.ids.append(str(named["id"]))
        if tag == "a":
            self.links.append(str(named.get("href")))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("name", ALL)
def test_the_page_is_well_formed_and_loads_nothing(name: str) -> None:
    text = html.render(ALL[name]())
    page = Page(text)
    assert not page.open
    assert len(page.ids) == len(set(page.ids))
    assert all(link.startswith("#") and link[1:] in page.ids for link in page.links)
    assert not page.tags & {"link", "img", "iframe", "object", "embed", "form", "base"}
    assert not {name for name in page.attributes if name.startswith("on") or name in ("style", "src", "srcset")}
    assert "default-src &#39;none&#39;" in text


@pytest.mark.parametrize("name", ALL)
def test_the_report_comes_back_from_its_page(name: str) -> None:
    report = ALL[name]()
    if name == "hostile":
        assert html.embedded(html.render(report))[0].path == report.path
    else:
        assert html.embedded(html.render(report)) == (report,)


def test_several_reports_share_a_page() -> None:
    reports = [ALL[name]() for name in ("wrong_egress", "healthy", "wrong_egress", "failed")]
    text = html.render_all("fail", reports)
    page = Page(text)
    assert not page.open
    assert len(page.ids) == len(set(page.ids))
    assert all(link[1:] in page.ids for link in page.links)
    assert html.embedded(text) == tuple(reports)


def test_one_slug_twice_is_two_places() -> None:
    report = ALL["wrong_egress"]()
    twice = msgspec.structs.replace(
        report,
        root_causes=[*report.root_causes, cause("masquerade-wrong-egress", "nat", "inet", "another rule", "another")],
    )
    page = Page(html.render(twice))
    assert len(page.ids) == len(set(page.ids))


def test_a_page_of_others_is_refused() -> None:
    with pytest.raises(ValueError, match="no netdoctor report"):
        html.embedded("<html></html>")


def test_names_of_others_stay_text() -> None:
    text = html.render(ALL["hostile"]())
    assert text.count("<script") == 2
    assert "\x1b" not in text
    assert "\u202e" not in text.partition('<script type="application/json"')[0]
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


def test_verdict_then_cause_then_way_then_checks() -> None:
    text = html.render(ALL["wrong_egress"]())
    places = [text.index(f'id="{name}"') for name in ("causes", "way", "checks", "probes", "report")]
    assert text.index("<h1") < places[0]
    assert places == sorted(places)


def test_the_failing_step_leads_to_its_cause() -> None:
    text = html.render(ALL["wrong_egress"]())
    drawing = text[text.index("<svg") : text.index("</svg>")]
    assert 'href="#masquerade-wrong-egress"' in drawing
    assert "BLOCKED" in drawing
    assert "not reached" in drawing


@pytest.mark.parametrize("name", ALL)
def test_the_drawing_needs_no_style(name: str) -> None:
    report = ALL[name]()
    for hops in way.legs(report.path).values():
        drawn = svg.draw(report, hops, anchors.of(report))
        assert " style=" not in drawn
        assert all(float(found) >= 0 for found in re.findall(r' (?:x|cx)="([-\d.]+)"', drawn))


def test_no_step_draws_nothing() -> None:
    assert svg.draw(ALL["failed"](), [], anchors.of(ALL["failed"]())) == ""
