"""What netdoctor makes of one case: whether it saw the fault, named it, mended it and put everything back."""

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from lab import World
from lab.world import difference

from .cases import Case, Second
from .verify import inject, prepare

EXTRA_LINES = 3
# iptables-nft's tables are in the state twice, as iptables-nft-save and as nft print them: a rule is one line, not two.
SEEN_TWICE = re.compile(r"\S+ nft table ip6? (filter|nat|mangle|raw|security) / chain [A-Z]")
FAULT_MARKS = ("detected", "layer", "slug", "named", "where", "all", "fixed", "recheck", "minimal", "undone", "no_harm")
MARKS = (*FAULT_MARKS, "quiet", "readonly")


@dataclass
class Score:
    """`marks` has what was asked of this case only; `said` is the first cause (or the error) in netdoctor's words."""

    case: Case
    marks: dict[str, bool] = field(default_factory=dict)
    said: str = ""
    seconds: float = 0.0
    fix_seconds: float = 0.0
    notes: list[str] = field(default_factory=list)

    @property
    def missed(self) -> list[str]:
        return [mark for mark in MARKS if self.marks.get(mark) is False]


def score(case: Case, with_fix: bool = True) -> Score:
    """Runs the case. Raises LabError when the case itself does not hold."""
    result = Score(case)
    with World(case.world) as world:
        prepare(world, case)
        healthy = world.state()
        if not case.inject:
            score_quiet(world, result, healthy)
            return result
        inject(world, case)
        faulty = world.state()
        score_check(world, result, faulty)
        if with_fix:
            score_fix(world, result, healthy, faulty)
    return result


def score_quiet(world: World, result: Score, before: list[str]) -> None:
    """A healthy oddity: exit 0, pass or warn, nothing touched."""
    said = world.netdoctor("check", *result.case.question)
    result.seconds = said.seconds
    result.marks["quiet"] = said.code == 0 and said.report.get("verdict") in ("pass", "warn")
    result.said = describe(said.report, said.stderr)
    result.marks["readonly"] = unchanged(result, before, world.state())


def score_check(world: World, result: Score, faulty: list[str]) -> None:
    case = result.case
    said = world.netdoctor("check", *case.question)
    result.seconds = said.seconds
    causes = [cause for cause in said.report.get("root_causes") or [] if isinstance(cause, dict)]
    top = causes[0] if causes else {}
    first = Second(layers=case.layers, names=case.names)
    expected = [first] if case.second is None else [first, case.second]
    mine = next((one for one in expected if matches(top, one)), first)
    result.said = describe(said.report, said.stderr)
    result.marks["detected"] = said.code == 1 and said.report.get("verdict") == "fail"
    result.marks["layer"] = top.get("layer") in mine.layers
    result.marks["named"] = names(top, mine.names)
    if case.slugs and mine is first:
        result.marks["slug"] = top.get("id") in case.slugs
    if case.where and mine is first:
        result.marks["where"] = top.get("namespace") in {"host" if r == "host" else world.name(r) for r in case.where}
    if case.second is not None:
        result.marks["all"] = all(any(matches(cause, one) for cause in causes) for one in expected)
    result.marks["readonly"] = unchanged(result, faulty, world.state())


def score_fix(world: World, result: Score, healthy: list[str], faulty: list[str]) -> None:
    """fix --yes: it works again, check agrees, little else changed, and undo brings the fault back to the letter."""
    case = result.case
    said = world.netdoctor("fix", *case.question, "--yes")
    result.fix_seconds = said.seconds
    works = all(world.probe(spec, tries=3) for spec in case.probes)
    after = world.state()
    extra = collateral(healthy, faulty, after)
    if case.fixable:
        result.marks["fixed"] = works
    elif not works:
        result.marks["no_harm"] = not extra
    if extra and (not works or len(extra) > EXTRA_LINES):
        result.notes += [f"fix changed {line}" for line in extra[:4]]
    if not works:
        return
    result.marks["minimal"] = len(extra) <= EXTRA_LINES
    recheck = world.netdoctor("check", *case.question)
    result.marks["recheck"] = recheck.code == 0
    if recheck.code:
        result.notes.append(f"recheck: {describe(recheck.report, recheck.stderr)}")
    if said.report.get("applied"):
        score_undo(world, result, faulty)


def score_undo(world: World, result: Score, faulty: list[str]) -> None:
    done = world.netdoctor("undo")
    back = difference(faulty, world.state())
    result.marks["undone"] = done.code == 0 and not back
    result.notes += [f"undo left {line}" for line in back[:4]]
    if done.code:
        result.notes.append(f"undo: exit {done.code}: {done.stderr.strip()[-200:]}")


def collateral(healthy: list[str], faulty: list[str], after: list[str]) -> list[str]:
    """Lines that neither the fault nor its plain undoing explains."""
    before, fault, now = Counter(healthy), Counter(faulty), Counter(after)
    lost, added = (before & fault) - now, now - before - fault
    changed = [f"-{line}" for line in lost.elements()] + [f"+{line}" for line in added.elements()]
    return sorted(line for line in changed if not SEEN_TWICE.match(line[1:]))


def unchanged(result: Score, before: list[str], after: list[str]) -> bool:
    changed = difference(before, after)
    result.notes += [f"check changed {line}" for line in changed[:4]]
    return not changed


def text_of(cause: dict[str, Any]) -> str:
    parts = [cause.get("summary", ""), cause.get("object", ""), *(cause.get("evidence") or [])]
    return " ".join(map(str, parts)).lower()


def names(cause: dict[str, Any], groups: tuple[tuple[str, ...], ...]) -> bool:
    """Of every group one token stands in what is said, as a word: eth1 is not in veth1, drop is in drops."""
    text = text_of(cause)
    return all(any(stands(token.lower(), text) for token in group) for group in groups)


def stands(token: str, text: str) -> bool:
    ending = r"(s|es|d|ed|ped|ping|ing)?" if token.isalpha() else ""
    before = r"(?<!\w)(?<!\d\.)" if token[0].isdigit() else r"(?<!\w)"
    return re.search(rf"{before}{re.escape(token)}{ending}(?!\w|\.\d)", text) is not None


def matches(cause: dict[str, Any], expected: Second) -> bool:
    return cause.get("layer") in expected.layers and names(cause, expected.names)


def describe(report: dict[str, Any], stderr: str) -> str:
    """The verdict with its first cause in one line."""
    if not report:
        return f"no JSON: {stderr.strip()[-300:]}"
    causes = report.get("root_causes") or []
    if not causes:
        return f"{report.get('verdict')}: {report.get('summary') or report.get('error', '')}"
    top = causes[0]
    more = f" (+{len(causes) - 1})" if len(causes) > 1 else ""
    return f"{top.get('layer')}/{top.get('id')} in {top.get('namespace')}: {top.get('summary')}{more}"
