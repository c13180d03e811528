"""What a command says at its end: the report in its format, to stdout and to files, and the exit code."""

import os
import sys
from typing import TYPE_CHECKING, Any

from netdoctor.cli.options import FORMATS
from netdoctor.errors import NetdoctorError

if TYPE_CHECKING:
    from netdoctor.examination import Examined
    from netdoctor.model.diagnosis import Report

EXIT = {"pass": 0, "warn": 0, "fail": 1, "error": 2, "undetermined": 3}


def exit_code(verdict: str, fail_on: str = "fail") -> int:
    """The contract's exit codes."""
    if verdict == "warn" and fail_on == "warn":
        return 1
    if verdict in ("fail", "warn") and fail_on == "never":
        return 0
    return EXIT[verdict]


def reported(examined: "Examined") -> "Report":
    from netdoctor.reports.flatten import report_of

    return report_of(examined.snapshot, examined.case, examined.diagnosis)


def parse_outputs(words: tuple[str, ...]) -> list[tuple[str, str]]:
    """["html=r.html"] -> [("html", "r.html")]. Raises NetdoctorError, also for a path that cannot be written."""
    from netdoctor.saved import check_writable

    found = []
    for word in words:
        form, sign, path = word.partition("=")
        if not sign or form not in FORMATS or not path:
            raise NetdoctorError(f"-o {word!r}: expected FMT=PATH with FMT one of {', '.join(FORMATS)}")
        check_writable(path)
        found.append((form, path))
    return found


def show(report: "Report", outputs: list[tuple[str, str]], options: dict[str, Any]) -> None:
    """Files first, so that nothing is half said when one cannot be written; then stdout."""
    from netdoctor.saved import write_text

    for form, path in outputs:
        write_text(path, rendered(report, form, options, to_file=True))
    if options["quiet"] < 2 or options["form"] != "terminal":
        put(rendered(report, options["form"], options))


def put(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def rendered(report: "Report", form: str, options: dict[str, Any], *, to_file: bool = False) -> str:
    """The report in one format."""
    if form == "json":
        from netdoctor.reports import json

        return json.render(report)
    if form == "html":
        from netdoctor.reports import html

        return html.render(report)
    if form == "markdown":
        from netdoctor.reports import markdown

        return markdown.render(report)
    if form == "junit":
        from netdoctor.reports import junit

        return junit.render(report)
    from netdoctor.reports import terminal

    return terminal.render(report, **look(options, to_file=to_file))


def rendered_all(
    worst: Any, reports: list["Report"], form: str, options: dict[str, Any], *, to_file: bool = False
) -> str:
    """Several namespaces in one output."""
    if form == "json":
        from netdoctor.reports import json

        return json.render_all(worst, reports)
    if form == "html":
        from netdoctor.reports import html

        return html.render_all(worst, reports)
    if form == "junit":
        from netdoctor.reports import junit

        return junit.render_all(reports)
    if form == "markdown":
        from netdoctor.reports import markdown

        return "\n\n".join(markdown.render(report) for report in reports)
    from netdoctor.reports import terminal

    return terminal.render_all(worst, reports, **look(options, to_file=to_file))


def look(options: dict[str, Any], *, to_file: bool = False) -> dict[str, Any]:
    """How a terminal report is drawn here: width, colour, character set, verbosity."""
    import shutil

    tty = sys.stdout.isatty() and not to_file
    wanted = options.get("color", "auto")
    colour = wanted == "always" or (wanted == "auto" and _colour_by_environment(tty=tty))
    encoding = (sys.stdout.encoding or "ascii").lower().replace("-", "")
    width = options.get("width") or (shutil.get_terminal_size((100, 24)).columns if tty else 100)
    verbosity = -1 if options.get("quiet") else options.get("verbose", 0)
    return {"width": width, "colour": colour, "unicode": to_file or encoding == "utf8", "verbosity": verbosity}


def _colour_by_environment(*, tty: bool) -> bool:
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return tty and os.environ.get("TERM") != "dumb"
