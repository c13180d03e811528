"""`netdoctor demo`: build, check, break, diagnose, fix and check again, all in a private world that vanishes afterwards."""

import os
import sys
import tempfile
from collections.abc import Callable, Iterable
from typing import IO, NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from netdoctor import mending
from netdoctor.errors import NetdoctorError
from netdoctor.examination import Examination, Examined
from netdoctor.fix.argv import Argv
from netdoctor.model.diagnosis import Question, Report
from netdoctor.probing import Options
from netdoctor.reports import escape, html, terminal
from netdoctor.reports.flatten import report_of
from netdoctor.saved import check_writable, write_text
from netdoctor.topology.build import build
from netdoctor.topology.faults import DEFAULT, FAULTS, Fault, fault
from netdoctor.topology.sandbox import Sandbox, faulty, in_sandbox

DEFAULT_REPORT = "netdoctor-demo.html"
MAX_WIDTH = 100
HEALTHY = ("pass", "warn")


class Outcome(NamedTuple):
    """How one fault went. mender: the netdoctor command that mended it; commands: what that ran."""

    report: Report
    named: bool
    healthy: bool
    mender: str
    commands: tuple[Argv, ...]
    after: Report


def run_one(slug: str, path: str) -> int:
    """Breaks one step, finds it and mends it; 0 when it was named and mended.

    path: where the HTML report of the broken world goes; "" is netdoctor-demo.html here, or in a temporary folder.
    Raises NetdoctorError for an unknown slug, a path that cannot be written, a machine that allows no sandbox.
    """
    broken = fault(slug or DEFAULT)
    if broken is None:
        known = ", ".join(dict.fromkeys(each.slug for each in FAULTS))
        raise NetdoctorError(f"--fault {slug}: no such fault in the demo; there are: {known}")
    path = _writable(path)
    console = _console()
    # Written outside: the sandbox has a /run of its own, and what is written there goes with it.
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="surrogateescape") as page:
        code = in_sandbox(lambda sandbox: _story(sandbox, broken, console, page))
        page.seek(0)
        text = page.read()
    if text:
        write_text(path, text)
        console.print("\nThe HTML report of the broken network", style="bold")
        console.print(Text(f"  {path}"), soft_wrap=True)
        console.print("Next: netdoctor demo --all-faults, netdoctor list, netdoctor check NS", style="dim")
    return code


def run_all() -> int:
    """Every step of the building removed in turn; 0 when each was named and mended."""
    console = _console()
    return in_sandbox(lambda sandbox: _tour(sandbox, console))


def _console() -> Console:
    console = Console(highlight=False, markup=False, emoji=False)
    if console.width > MAX_WIDTH:
        console = Console(highlight=False, markup=False, emoji=False, width=MAX_WIDTH)
    return console


def _writable(path: str) -> str:
    """Where the page can go, asked before anything else runs. Raises NetdoctorError."""
    if path:
        check_writable(path)
        return path
    if os.access(os.getcwd(), os.W_OK) and not os.path.isdir(DEFAULT_REPORT):
        return DEFAULT_REPORT
    return os.path.join(tempfile.mkdtemp(prefix="netdoctor-"), DEFAULT_REPORT)


def _progress() -> Callable[[str], None]:
    """Says on stderr how far it is, on a terminal only."""
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb" or os.environ.get("CI"):
        return lambda _: None

    def tell(text: str) -> None:
        sys.stderr.write(f"\r\x1b[K{text} ..." if text else "\r\x1b[K")
        sys.stderr.flush()

    return tell


def _report(examined: Examined) -> Report:
    return report_of(examined.snapshot, examined.case, examined.diagnosis)


def _looked(examination: Examination) -> Report:
    """The report of a patient look: a link that has just come up may lose its first packets."""
    report = _report(mending.verified(examination))
    examination.options.tell("")
    return report


def _ordeal(sandbox: Sandbox, broken: Fault, examination: Examination, show: Callable[[Report], None]) -> Outcome:
    """Diagnoses the broken world, shows that, mends it and looks again."""
    found = examination.run()
    examination.options.tell("")
    report = _report(found)
    show(report)
    named = bool(report.root_causes) and report.root_causes[0].id == broken.slug
    mender, commands = _mended(sandbox, examination, found)
    after = _looked(examination)
    return Outcome(report, named, after.verdict in HEALTHY, mender, commands, after)


def _mended(sandbox: Sandbox, examination: Examination, found: Examined) -> tuple[str, tuple[Argv, ...]]:
    """What mended it. `fix` guesses no address: only the description that the network was built from tells it."""
    plan = mending.prescribed(found)
    if plan.items:
        return f"fix {sandbox.container}", mending.mend(examination, found, plan).applied
    outcome = build(sandbox.container)
    return f"build {sandbox.container}", outcome.commands


# One fault -------------------------------------------------------------------------------------------------------


def _story(sandbox: Sandbox, broken: Fault, console: Console, page: IO[str]) -> int:
    """The six stages of `netdoctor demo`, inside the sandbox."""
    name = sandbox.container
    console.print("A container, its host and a pretend internet, in a sandbox of their own.", style="dim")
    _stage(console, "Build", f"netdoctor build {name}")
    _commands(console, sandbox.commands)
    with Examination(Question(target=name), Options(tell=_progress())) as examination:
        _stage(console, "Check", f"netdoctor check {name}")
        _told(console, _looked(examination))
        with faulty(sandbox, broken) as commands:
            _stage(console, "Break it", broken.title)
            _commands(console, commands)
            _stage(console, "Diagnose", f"netdoctor check {name}")

            def show(report: Report) -> None:
                _told(console, report)
                page.write(html.render(report))
                page.flush()

            outcome = _ordeal(sandbox, broken, examination, show)
            _stage(console, "Fix", f"netdoctor {outcome.mender}")
            _commands(console, outcome.commands)
            if outcome.mender != f"fix {name}":
                console.print("  fix guesses nothing: what the network was built from has it", style="dim")
            _stage(console, "Check again", f"netdoctor check {name}")
            _told(console, outcome.after, verbosity=-1)
    return 0 if outcome.named and outcome.healthy else 1


def _stage(console: Console, title: str, text: str) -> None:
    mark = "▶ " if _unicode(console) else "> "
    console.print()
    console.print(Text.assemble((f"{mark}{title}", "bold magenta"), ("  ", ""), (text, "bold")))


def _commands(console: Console, commands: Iterable[Argv]) -> None:
    """Whole lines, so that they can be copied."""
    for command in commands:
        console.print(Text(f"  {escape.command(list(command), unicode=_unicode(console))}", "cyan"), soft_wrap=True)


def _told(console: Console, report: Report, verbosity: int = 0) -> None:
    colour = console.color_system is not None and not console.no_color
    text = terminal.render(report, width=console.width, colour=colour, unicode=_unicode(console), verbosity=verbosity)
    console.file.write(text)
    console.file.flush()


def _unicode(console: Console) -> bool:
    return console.encoding.lower().replace("-", "") == "utf8"


# Every fault -----------------------------------------------------------------------------------------------------


def _tour(sandbox: Sandbox, console: Console) -> int:
    """The table of `netdoctor demo --all-faults`, inside the sandbox."""
    tell = _progress()
    outcomes = []
    with Examination(Question(target=sandbox.container), Options()) as examination:
        for number, broken in enumerate(FAULTS, 1):
            tell(f"{number} of {len(FAULTS)}: {broken.title}")
            with faulty(sandbox, broken):
                outcomes.append((broken, _ordeal(sandbox, broken, examination, lambda _: None)))
    tell("")
    console.print(_table(console, outcomes))
    named = sum(outcome.named for _, outcome in outcomes)
    mended = sum(outcome.healthy for _, outcome in outcomes)
    console.print(f"{named} of {len(FAULTS)} named, {mended} of {len(FAULTS)} mended", style="bold")
    return 0 if named == mended == len(FAULTS) else 1


def _table(console: Console, outcomes: list[tuple[Fault, Outcome]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("step removed", overflow="fold")
    table.add_column("dies at", min_width=20, overflow="fold")
    table.add_column("cause named", no_wrap=True)
    table.add_column("mended by", no_wrap=True)
    for broken, outcome in outcomes:
        cause = outcome.report.root_causes[0] if outcome.report.root_causes else None
        # An object's rule follows a colon: the place alone says enough here.
        where = f"{cause.layer} in {cause.namespace}: {cause.object.partition(': ')[0]}" if cause else "nowhere"
        table.add_row(
            Text(broken.title),
            Text(where),
            _marked(console, cause.id if cause else outcome.report.verdict, good=outcome.named),
            _marked(console, outcome.mender.split()[0] if outcome.healthy else "nothing", good=outcome.healthy),
        )
    return table


def _marked(console: Console, text: str, *, good: bool) -> Text:
    glyphs = "✓✗" if _unicode(console) else "+x"
    return Text(f"{glyphs[0] if good else glyphs[1]} {text}", "green" if good else "bold red")
