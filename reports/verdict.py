"""The words and shapes for a verdict, a status, an answer: never colour alone."""

import msgspec

from netdoctor.model.diagnosis import Report


class Mark(msgspec.Struct, frozen=True):
    """How a verdict is shown."""

    glyph: str
    word: str
    colour: str


VERDICTS = {
    "pass": Mark("✓", "PASS", "green"),
    "warn": Mark("!", "WARN", "yellow"),
    "fail": Mark("✗", "FAIL", "red"),
    "undetermined": Mark("?", "UNDETERMINED", "yellow"),
    "error": Mark("✗", "ERROR", "red"),
}
_FIXED = Mark("✓", "FIXED", "green")
_NOT_FIXED = Mark("✗", "NOT FIXED", "red")

GLYPHS = {"pass": "✓", "fail": "✗", "warn": "!", "skip": "·", "unknown": "?", "error": "✗"}
WORDS = {"pass": "pass", "fail": "FAIL", "warn": "warn", "skip": "skip", "unknown": "unknown", "error": "CRASH"}
BASIS = {
    "confirmed": "walk and probe agree",
    "predicted": "by the walk alone, nothing was sent",
    "observed": "by the probe alone, the walk cannot say why",
    "contradicted": "walk and probe disagree",
}
ANSWERS = {
    "reply": ("✓", "green"),
    "refused": ("✗", "red"),
    "silent": ("✗", "red"),
    "error": ("✗", "red"),
    "local-error": ("✗", "red"),
    "not-sent": ("·", "dim"),
}


def of(report: Report) -> Mark:
    """The verdict's mark; after a fix that did something, how the fix ended."""
    if report.applied and report.fixed is not None:
        return _FIXED if report.fixed else _NOT_FIXED
    return VERDICTS[report.verdict]
