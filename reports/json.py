"""The contract's JSON: one report, the reports of `check --all`, an error; and the JSON Schema of all three."""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec

from netdoctor.model.diagnosis import Report, Verdict

SCHEMA_VERSION = "1.0"
FIX_KEYS = ("error", "applied", "undo", "fixed", "journal")
"""Keys that only some runs have; left out of the object when they were not set."""


class _All(msgspec.Struct, frozen=True, kw_only=True):
    """What `check --all` prints; each report also has the key "target"."""

    schema_version: str
    verdict: Verdict
    reports: list[Report]


class _Several(msgspec.Struct, frozen=True, kw_only=True):
    """Tells the reports of `check --all` from a single one."""

    reports: list[Report] | None = None


class _Error(msgspec.Struct, frozen=True, kw_only=True):
    """What is printed when there is no report: usage, configuration, no such namespace, no permission."""

    schema_version: str
    verdict: Literal["error"]
    error: str


def render(report: Report) -> str:
    """The report as one indented JSON object, keys in the order of the contract, ending in a newline."""
    return _dumps(_object(report))


def render_all(verdict: Verdict, reports: Sequence[Report]) -> str:
    """The reports of several namespaces as one JSON object."""
    objects = [{"target": report.question.target, **_object(report)} for report in reports]
    return _dumps({"schema_version": SCHEMA_VERSION, "verdict": verdict, "reports": objects})


def render_error(message: str) -> str:
    """An error that left no report."""
    return _dumps({"schema_version": SCHEMA_VERSION, "verdict": "error", "error": message})


def parse(text: str | bytes) -> Report:
    """The report that `render` wrote. Raises msgspec.ValidationError when it is none."""
    return msgspec.json.decode(text, type=Report)


def parse_any(text: str | bytes) -> tuple[Report, ...]:
    """The reports that `render` or `render_all` wrote. Raises msgspec.ValidationError when they are none."""
    several = msgspec.json.decode(text, type=_Several)
    return tuple(several.reports) if several.reports is not None else (parse(text),)


def schema() -> str:
    """The JSON Schema (draft 2020-12) of everything this module prints, ending in a newline."""
    wholes, parts = msgspec.json.schema_components((Report, _All, _Error), ref_template="#/$defs/{name}")
    named = {name.removeprefix("_"): part for name, part in parts.items()}
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"netdoctor report {SCHEMA_VERSION}",
        "anyOf": [{"$ref": whole["$ref"].replace("/_", "/")} for whole in wholes],
        "$defs": named,
    }
    return _dumps(document)


def _object(report: Report) -> dict[str, Any]:
    built: dict[str, Any] = msgspec.to_builtins(report)
    return {key: value for key, value in built.items() if key not in FIX_KEYS or value not in (None, "")}


def _dumps(value: object) -> str:
    try:
        packed = msgspec.json.encode(value)
    except UnicodeEncodeError:
        # Names come from the kernel as bytes; those that are not UTF-8 hold lone surrogates, which JSON cannot.
        packed = msgspec.json.encode(_without_surrogates(value))
    return msgspec.json.format(packed, indent=2).decode() + "\n"


def _without_surrogates(value: Any) -> Any:
    match value:
        case str():
            return value.encode(errors="backslashreplace").decode()
        case dict():
            return {_without_surrogates(key): _without_surrogates(item) for key, item in value.items()}
        case list():
            return [_without_surrogates(item) for item in value]
        case _:
            return value
