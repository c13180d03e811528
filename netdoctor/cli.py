"""argv -> one straight line. Nothing else: every command imports what it needs when it runs."""

import gc
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from netdoctor import __version__
from netdoctor.errors import NetdoctorError

if TYPE_CHECKING:
    from netdoctor.examination import Examined
    from netdoctor.model.diagnosis import Question, Report

FORMATS = ("terminal", "json", "html", "markdown", "junit")
DEFAULT_DEST = "8.8.8.8"
EXIT = {"pass": 0, "warn": 0, "fail": 1, "error": 2, "undetermined": 3}
USAGE = 2
INTERRUPTED = 130


class Failing(click.Group):
    """Every expected error is one line on stderr (JSON under --format json) and exit code 2; SIGINT is 130."""

    def main(self, *args: Any, **extra: Any) -> Any:
        gc.disable()  # a run is short and makes few cycles: collecting costs more than it frees
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


@main.command()
@click.argument("ns", required=False)
@asking
@showing
@click.option("--all", "everything", is_flag=True, help="Every container attached to this host.")
@click.option("--from", "source", metavar="SNAPSHOT", help="Offline: diagnose a saved snapshot.")
@click.option(
    "--fail-on", type=click.Choice(["fail", "warn", "never"]), default="fail", show_default=True, help="Inclusive."
)
def check(ns: str | None, everything: bool, source: str | None, fail_on: str, **options: Any) -> int:
    """Can NS reach a destination, and if not: what stops the packet, and what mends it?

    NS is a name under /run/netns, pid:N or path:/...  Changes no configuration.
    """
    outputs = parse_outputs(options["outputs"])
    if sum(bool(one) for one in (ns, everything, source)) != 1:
        raise NetdoctorError("check wants one of: a namespace, --all, --from SNAPSHOT")
    if everything:
        return _check_all(outputs, fail_on, options)
    examined = _offline(source, options) if source else _examine(_question(ns or "", options), options)
    report = _report(examined)
    show(report, outputs, options)
    return exit_code(report.verdict, fail_on)


def exit_code(verdict: str, fail_on: str = "fail") -> int:
    """The contract's exit codes."""
    if verdict == "warn" and fail_on == "warn":
        return 1
    if verdict in ("fail", "warn") and fail_on == "never":
        return 0
    return EXIT[verdict]


def _question(ns: str, options: dict[str, Any]) -> "Question":
    from netdoctor import question

    return question.parse(ns, DEFAULT_DEST if options["dest"] is None else options["dest"], options["port"])


def _options(options: dict[str, Any]) -> Any:
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


def _examine(asked: "Question", options: dict[str, Any]) -> "Examined":
    from netdoctor.examination import Examination

    how = _options(options)
    with Examination(asked, how) as examination:
        try:
            return examination.run()
        finally:
            how.tell("")


def _offline(source: str, options: dict[str, Any]) -> "Examined":
    from netdoctor import question, saved
    from netdoctor.examination import offline

    kept = saved.read(source)
    asked = question.parse(
        kept.question.target, options["dest"] or kept.question.dest, options["port"] or kept.question.port
    )
    same = (asked.dest, asked.port) == (kept.question.dest, kept.question.port)
    try:
        return offline(kept.snapshot, asked, kept.evidence if same and not options["no_probe"] else None)
    except (ValueError, LookupError) as error:
        # Its types are right and what it says is not: a route to "zzz", a link that is nowhere.
        raise NetdoctorError(f"{source}: the snapshot does not hold together: {error!r}") from error


def _report(examined: "Examined") -> "Report":
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


def _check_all(outputs: list[tuple[str, str]], fail_on: str, options: dict[str, Any]) -> int:
    from netdoctor.inventory import inventory
    from netdoctor.saved import write_text

    names = [one.name for one in inventory() if one.attached_by]
    reports = [_one_of_all(_question(name, options), options) for name in names]
    order = ("fail", "error", "undetermined", "warn", "pass")
    worst = min((report.verdict for report in reports), key=order.index, default="pass")
    for form, path in outputs:
        write_text(path, rendered_all(worst, reports, form, options, to_file=True))
    if options["quiet"] < 2 or options["form"] != "terminal":
        put(rendered_all(worst, reports, options["form"], options))
    return exit_code(worst, fail_on)


def _one_of_all(asked: "Question", options: dict[str, Any]) -> "Report":
    """A namespace that cannot be examined (it is gone by now) is an error of its own; the others stand."""
    try:
        return _report(_examine(asked, options))
    except NetdoctorError as error:
        from netdoctor.reports.flatten import error_report

        return error_report(asked, str(error))


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


@main.command()
@click.argument("ns")
@asking
@click.option("--output", "-o", "path", required=True, metavar="SNAPSHOT.json")
def snapshot(ns: str, path: str, **options: Any) -> int:
    """Save the whole state on the way, with what the probes saw, for `check --from`. Changes no configuration."""
    from netdoctor import saved
    from netdoctor.examination import Examination

    saved.check_writable(path)
    asked = _question(ns, options)
    with Examination(asked, _options(options)) as examination:
        examined = examination.run()
        whole = examination.observer.complete(examined.snapshot)
    kept = saved.Saved(format=saved.FORMAT, question=asked, snapshot=whole, evidence=examined.case.evidence)
    saved.write(path, kept)
    click.echo(f"{examined.diagnosis.verdict}: {examined.diagnosis.summary}", err=True)
    return EXIT[examined.diagnosis.verdict]


@main.command()
@click.argument("ns")
@asking
@showing
@click.option("--dry-run", is_flag=True, help="Show the plan, change nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def fix(ns: str, dry_run: bool, yes: bool, **options: Any) -> int:
    """Repair what stops NS: show the plan, ask, apply it, look again, and undo everything if it did not help."""
    from netdoctor import mending
    from netdoctor.examination import Examination

    outputs = parse_outputs(options["outputs"])
    asked = _question(ns, options)
    how = _options(options)
    with Examination(asked, how) as examination:
        found = examination.run()
        how.tell("")
        report = _report(found)
        plan = mending.prescribed(found)
        if found.diagnosis.verdict != "fail" or dry_run or not plan.items:
            show(
                _with(
                    report, applied=None if not found.diagnosis.causes else [], fixed=report.verdict in ("pass", "warn")
                ),
                outputs,
                options,
            )
            if found.diagnosis.verdict == "fail" and not plan.items and not dry_run:
                click.echo("netdoctor: nothing that is safe to change would mend this; nothing was changed", err=True)
            return EXIT[report.verdict]
        agree(plan, report.summary, yes=yes)
        done = mending.mend(examination, found, plan)
    result = _with(
        report,
        applied=[list(command) for command in done.applied],
        undo=[list(command) for command in done.undo],
        fixed=done.fixed,
        journal=done.journal,
    )
    show(result, outputs, options)
    if done.rolled_back is not None and not done.rolled_back.complete:
        for left in done.rolled_back.unrestored:
            click.echo(
                f"netdoctor: could not be undone: {' '.join(' '.join(one) for one in left.command)}: {left.why}",
                err=True,
            )
    return 0 if done.fixed else 1


def _with(report: "Report", **values: Any) -> "Report":
    from msgspec.structs import replace

    return replace(report, **values)


def agree(plan: Any, summary: str, *, yes: bool) -> None:
    """Shows what is wrong and the plan with each step's inverse, and asks. Raises NetdoctorError when declined or nobody can be asked."""
    from netdoctor.reports import escape

    if yes:
        return
    click.echo(escape.terminal(summary), err=True)
    for item in plan.items:
        for command in item.typed:
            click.echo(f"  {escape.command(command)}", err=True)
        for back in item.undo:
            for command in back.typed:
                click.echo(f"      undo: {escape.command(command)}", err=True)
    if not sys.stdin.isatty():
        raise NetdoctorError(
            "fix changes this host: there is no terminal to ask at; say --yes to apply the plan, or --dry-run to see it"
        )
    if not click.confirm("Apply these changes?", default=False, err=True):
        raise NetdoctorError("declined; nothing was changed")


@main.command()
@click.argument("number", required=False, metavar="[ID]")
def undo(number: str | None) -> int:
    """Roll back the last fix on this host, or the one with this id."""
    import shlex

    from netdoctor import mending

    identity, result = mending.undo(number or "")
    if not identity:
        click.echo("nothing to undo")
        return 0
    for command in result.commands:
        click.echo(shlex.join(command))
    for command in result.already:
        click.echo(f"already so: {shlex.join(command)}")
    for left in result.unrestored:
        click.echo(f"could not be undone: {'; '.join(shlex.join(one) for one in left.command)}: {left.why}", err=True)
    click.echo(f"fix {identity} is undone" if result.complete else f"fix {identity} is only partly undone")
    return 0 if result.complete else 1


@main.command()
@click.argument("ns")
@click.option(
    "--subnet", default="", metavar="PREFIX", help="The container's subnet.  [default: 10.0.0.0/24 or the next free]"
)
@click.option("--bridge", default="", metavar="NAME", help="Attach by this bridge, shared by several namespaces.")
@click.option("--dry-run", is_flag=True, help="Show the commands, change nothing.")
def build(ns: str, subnet: str, bridge: str, dry_run: bool) -> int:
    """Make a container's network on this host: namespace, veth, addresses, route, forwarding, masquerade."""
    from netdoctor.topology.build import build as make

    return _outcome(make(ns, subnet=subnet, bridge=bridge, dry_run=dry_run))


@main.command()
@click.argument("ns")
@click.option("--dry-run", is_flag=True, help="Show the commands, change nothing.")
def destroy(ns: str, dry_run: bool) -> int:
    """Take away exactly what `build` made for NS."""
    from netdoctor.topology.destroy import destroy as unmake

    return _outcome(unmake(ns, dry_run=dry_run))


def _outcome(outcome: Any) -> int:
    import shlex

    for command in outcome.commands:
        click.echo(shlex.join(command))
    for note in outcome.notes:
        click.echo(note, err=True)
    return int(outcome.code)


@main.command()
@click.argument("slug")
def explain(slug: str) -> int:
    """What a cause means, how to verify it by hand, and what mends it."""
    import textwrap

    from netdoctor import checks

    found = checks.explanation(slug)
    if found is None:
        known = sorted(name for check in checks.ORDER for name in check.CAUSES)
        near = [name for name in known if any(word in name for word in slug.split("-"))] or known
        raise NetdoctorError(f"{slug}: no such cause; perhaps {', '.join(near[:6])}")
    check, text = found
    click.echo(f"{slug}  (layer {check.LAYER})\n")
    for part in (
        text.replace("Verify:", "\nVerify:")
        .replace("Fix:", "\nFix:")
        .replace("False alarm:", "\nFalse alarm:")
        .split("\n")
    ):
        click.echo(textwrap.fill(part.strip(), 100))
    return 0


@main.command("list")
@click.option("--format", "-f", "form", type=click.Choice(["terminal", "json"]), default="terminal", show_default=True)
def list_(form: str) -> int:
    """The network namespaces that can be seen from here, with what attaches them to this host."""
    from netdoctor.inventory import inventory

    found = inventory()
    if form == "json":
        import msgspec

        put(msgspec.json.format(msgspec.json.encode(found), indent=2).decode() + "\n")
        return 0
    for one in found:
        attached = f"  attached by {', '.join(one.attached_by)}" if one.attached_by else ""
        click.echo(f"{one.name:24} {', '.join(one.addresses) or 'no address':40}{attached}".rstrip())
    if not found:
        click.echo("no namespace besides this one is visible")
    return 0


@main.command()
def schema() -> int:
    """The JSON Schema of --format json."""
    from netdoctor.reports import json

    put(json.schema())
    return 0


@main.command("report")
@click.argument("source", metavar="FILE")
@showing
def report_(source: str, **options: Any) -> int:
    """Show a saved JSON or HTML report again, in any format."""
    from pathlib import Path

    import msgspec

    from netdoctor.reports import html, json

    try:
        text = Path(source).read_text(encoding="utf-8", errors="surrogateescape")
        found = html.embedded(text) if text.lstrip().startswith("<") else json.parse_any(text)
    except OSError as error:
        raise NetdoctorError(f"{source}: {error.strerror}") from error
    except (msgspec.MsgspecError, ValueError) as error:
        raise NetdoctorError(f"{source}: not a report of netdoctor: {error}") from error
    for one in found:
        show(one, parse_outputs(options["outputs"]), options)
    return max((EXIT[one.verdict] for one in found), default=0)


@main.command()
@click.option(
    "--fault", "slug", default="", metavar="SLUG", help="Which step to break.  [default: masquerade-wrong-egress]"
)
@click.option(
    "--all-faults", is_flag=True, help="Remove each step in turn, show that the packet dies just there, mend it."
)
@click.option("--output", "-o", "path", default="", metavar="REPORT.html", help="Where the HTML report goes.")
def demo(slug: str, all_faults: bool, path: str) -> int:
    """See it work, in a private sandbox with its own pretend internet: build, break, diagnose, fix. Touches nothing else."""
    from netdoctor.demo import run_all, run_one

    if all_faults and (slug or path):
        raise NetdoctorError("demo --all-faults takes neither --fault nor --output")
    return run_all() if all_faults else run_one(slug, path)


if __name__ == "__main__":
    main()
