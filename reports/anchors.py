"""Where a page's links lead: every step and finding has one id, also when a page shows several reports."""

import msgspec

from netdoctor.model.diagnosis import Report, ReportCause, ReportHop


class Anchors(msgspec.Struct, frozen=True):
    """The ids of one report on its page. Steps and findings are known by identity: equal ones may stand twice."""

    prefix: str
    steps: dict[int, int]
    findings: dict[int, str]
    slugs: dict[str, str]

    def section(self, name: str) -> str:
        """The id of a part of the page: "way", "checks"."""
        return f"{self.prefix}{name}"

    def number(self, hop: ReportHop) -> int:
        """The step's place in the whole path, from 1."""
        return self.steps[id(hop)]

    def step(self, hop: ReportHop) -> str:
        """The step's id."""
        return f"{self.prefix}step-{self.steps[id(hop)]}"

    def finding(self, cause: ReportCause) -> str:
        """The finding's id: its slug, with the finding's place where the slug stands twice."""
        return self.findings[id(cause)]

    def culprit(self, hop: ReportHop) -> str:
        """The id of the finding that stands at this step; the step's own id where none does."""
        return self.slugs.get(hop.cause, "") or self.step(hop)


def of(report: Report, prefix: str = "") -> Anchors:
    """The ids of this report. prefix keeps those of several reports apart."""
    findings: dict[int, str] = {}
    slugs: dict[str, str] = {}
    for place, cause in enumerate((*report.root_causes, *report.warnings), 1):
        name = f"{prefix}{cause.id}" if cause.id not in slugs else f"{prefix}{cause.id}-{place}"
        findings[id(cause)] = name
        slugs.setdefault(cause.id, name)
    steps = {id(hop): number for number, hop in enumerate(report.path, 1)}
    return Anchors(prefix, steps, findings, slugs)
