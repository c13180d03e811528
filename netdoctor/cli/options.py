"""The options that several commands share, and what they come to."""

import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from netdoctor.model.diagnosis import Question
    from netdoctor.probing import Options

FORMATS = ("terminal", "json", "html", "markdown", "junit")
DEFAULT_DEST = "8.8.8.8"


def asking(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that make a question."""
    for option in reversed(
        (
            click.option(
                "--to", "dest", metavar="DEST", default=None, help="Address, DNS name or ns:NAME.  [default: 8.8.8.8]"
            ),
            click.option("--port", default="", metavar="N/tcp|N/udp", help="Ask for a service instead of a ping."),
            click.option("--no-probe", is_flag=True, help="Send no packet: predict from the kernel's state alone."),
            click.option(
                "--send",
                "send",
                type=click.Choice(["http"]),
                help="Try large data through the port by an HTTP request.",
            ),
        )
    ):
        command = option(command)
    return command


def showing(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say how results are shown."""
    for option in reversed(
        (
            click.option("--format", "-f", "form", type=click.Choice(FORMATS), default="terminal", show_default=True),
            click.option(
                "--output",
                "-o",
                "outputs",
                multiple=True,
                metavar="FMT=PATH",
                help="Also write FMT to PATH; repeatable.",
            ),
            click.option("--verbose", "-v", count=True, help="Every step and probe; -vv also what decided them."),
            click.option("--quiet", "-q", count=True, help="Findings only; -qq: exit code only."),
            click.option("--color", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True),
            click.option("--width", type=click.IntRange(20, 400), default=None, hidden=True),
        )
    ):
        command = option(command)
    return command


def asked_question(ns: str, options: dict[str, Any]) -> "Question":
    from netdoctor import question

    return question.parse(ns, DEFAULT_DEST if options["dest"] is None else options["dest"], options["port"])


def examination_options(options: dict[str, Any]) -> "Options":
    from netdoctor.probing import Options

    return Options(probe=not options["no_probe"], http=options.get("send") == "http", tell=progress(options))


def progress(options: dict[str, Any]) -> Callable[[str], None]:
    """Says on stderr how far it is, on a terminal only."""
    quiet = options.get("quiet") or os.environ.get("TERM") == "dumb" or os.environ.get("CI")
    if quiet or not sys.stderr.isatty() or options.get("form") not in (None, "terminal"):
        return lambda _: None

    def tell(text: str) -> None:
        sys.stderr.write(f"\r\x1b[K{text} ..." if text else "\r\x1b[K")
        sys.stderr.flush()

    return tell
