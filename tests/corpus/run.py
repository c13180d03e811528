#!/usr/bin/env python3
"""Runs the corpus against netdoctor and prints a table and totals; or proves that the cases themselves hold.

usage: run.py [--only GLOB[,GLOB]] [--jobs 2] [--json FILE] [--no-fix] [--verify] [--verbose] [--tree DIR]

A glob is matched against the case's id and FAMILY/ID: --only 'nat/*,masquerade-*'. Needs root.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from pathlib import Path
from typing import TypeVar

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from lab import LabError, registry

from corpus.cases import Case, load
from corpus.score import MARKS, Score, score
from corpus.verify import verify

T = TypeVar("T")
SHORT = {"detected": "det", "layer": "lay", "slug": "slg", "named": "nam", "where": "whe", "all": "all", "fixed": "fix"}
SHORT |= {"recheck": "rec", "minimal": "min", "undone": "und", "no_harm": "nhm", "quiet": "qui", "readonly": "ro"}


def select(globs: str) -> list[Case]:
    wanted = globs.split(",")
    cases = load().values()
    return [
        case for case in cases if any(fnmatch(case.id, g) or fnmatch(f"{case.family}/{case.id}", g) for g in wanted)
    ]


def run_all(cases: list[Case], jobs: int, work: Callable[[Case], T]) -> Iterator[tuple[Case, T | LabError]]:
    """Results in the cases' order, as they come."""

    def guarded(case: Case) -> T | LabError:
        try:
            return work(case)
        except LabError as error:
            return error

    with ThreadPoolExecutor(jobs) as pool:
        yield from zip(cases, pool.map(guarded, cases), strict=True)


def verify_all(cases: list[Case], jobs: int) -> int:
    bad = 0
    for case, error in run_all(cases, jobs, verify):
        bad += error is not None
        print(f"{'FAIL' if error else 'ok  '} {case.family}/{case.id} {error or ''}", flush=True)
    print(f"{len(cases) - bad} of {len(cases)} cases hold")
    return 1 if bad else 0


def row(result: Score) -> str:
    marks = " ".join(
        f"{'-' if mark not in result.marks else 'yes' if result.marks[mark] else 'NO':>3}" for mark in MARKS
    )
    return f"{result.case.family + '/' + result.case.id:52} {marks} {result.seconds:5.2f}s"


def totals(results: list[Score]) -> dict[str, str]:
    values = {mark: [result.marks[mark] for result in results if mark in result.marks] for mark in MARKS}
    return {mark: f"{sum(marks)}/{len(marks)}" for mark, marks in values.items() if marks}


def score_all(cases: list[Case], options: argparse.Namespace) -> int:
    results: list[Score] = []
    broken: list[str] = []
    print(f"{'':52} {' '.join(f'{SHORT[mark]:>3}' for mark in MARKS)}")
    for case, result in run_all(cases, options.jobs, lambda case: score(case, not options.no_fix)):
        if isinstance(result, LabError):
            broken.append(case.id)
            print(f"{case.family + '/' + case.id:52} LAB: {result}", flush=True)
            continue
        results.append(result)
        print(row(result), flush=True)
        if options.verbose and result.missed:
            print("".join(f"    {line}\n" for line in [result.said, *result.notes]), end="", flush=True)
    summary = totals(results)
    print(json.dumps(summary, indent=1))
    if options.json:
        options.json.write_text(json.dumps(as_data(results, summary, broken), indent=1) + "\n")
    return 2 if broken else int(any(result.missed for result in results))


def as_data(results: list[Score], summary: dict[str, str], broken: list[str]) -> dict[str, object]:
    cases = [
        {
            "id": result.case.id,
            "family": result.case.family,
            "missed": result.missed,
            "marks": result.marks,
            "said": result.said,
            "seconds": round(result.seconds, 3),
            "fix_seconds": round(result.fix_seconds, 3),
            "notes": result.notes,
        }
        for result in results
    ]
    return {"totals": summary, "lab_errors": broken, "cases": cases}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="*", help="globs, comma-separated")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write totals and every result there")
    parser.add_argument("--no-fix", action="store_true", help="check only")
    parser.add_argument("--verify", action="store_true", help="prove the cases, without netdoctor")
    parser.add_argument("--verbose", action="store_true", help="what netdoctor said where a mark is missed")
    parser.add_argument("--tree", help="score the netdoctor of another checkout")
    options = parser.parse_args()
    if options.tree:
        os.environ["NETDOCTOR_TREE"] = str(Path(options.tree).resolve())
    cases = select(options.only)
    if os.geteuid() != 0 or not cases:
        print("run.py: needs root" if cases else f"run.py: no case matches {options.only}", file=sys.stderr)
        return 2
    registry.reap()
    began = time.monotonic()
    code = verify_all(cases, options.jobs) if options.verify else score_all(cases, options)
    print(f"{len(cases)} cases in {time.monotonic() - began:.0f} s")
    return code


if __name__ == "__main__":
    sys.exit(main())
