"""argv -> one straight line: the commands, each importing what it needs when it runs, and how every error leaves."""

import os
import sys
from typing import Any

import click

from netdoctor import __version__
from netdoctor.cli import examine, read, repair, topology
from netdoctor.errors import NetdoctorError

USAGE = 2
INTERRUPTED = 130


class Failing(click.Group):
    """Every expected error is one line on stderr (JSON under --format json) and exit code 2; SIGINT is 130."""

    def main(self, *args: Any, **extra: Any) -> Any:
        extra["standalone_mode"] = False
        try:
            code = super().main(*args, **extra)
            sys.exit(code if isinstance(code, int) else 0)
        except NetdoctorError as error:
            fail(str(error))
        except PermissionError as error:
            fail(f"permission denied: {error.filename or error.strerror}; run netdoctor as root")
        except click.exceptions.Abort:
            sys.exit(INTERRUPTED)
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)
        except click.exceptions.Exit as leaving:
            sys.exit(leaving.exit_code)
        except click.exceptions.NoArgsIsHelpError as error:
            error.show()
            sys.exit(USAGE)
        except click.ClickException as error:
            fail(error.format_message())
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)


def fail(message: str) -> None:
    """One line, exit 2."""
    if _wants_json(sys.argv[1:]):
        from netdoctor.reports import json

        print(json.render_error(message), end="")
    from netdoctor.reports import escape

    print(f"netdoctor: {escape.terminal(' '.join(message.split()))}", file=sys.stderr)
    sys.exit(USAGE)


def _wants_json(words: list[str]) -> bool:
    pairs = zip(words, [*words[1:], ""], strict=False)
    return any(
        (word in ("--format", "-f") and after == "json") or word in ("--format=json", "-fjson") for word, after in pairs
    )


@click.group(cls=Failing, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, "-V", "--version", prog_name="netdoctor", message="%(prog)s %(version)s")
def main() -> None:
    """A doctor for container networking on Linux: finds the point where the packet dies, proves it, and mends it."""


for command in (
    examine.check,
    examine.snapshot,
    repair.fix,
    repair.undo,
    topology.build,
    topology.destroy,
    topology.demo,
    read.explain,
    read.list_,
    read.report,
    read.schema,
):
    main.add_command(command)
