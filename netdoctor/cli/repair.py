"""Mending and taking it back: fix and undo."""

import sys
from typing import TYPE_CHECKING, Any

import click

from netdoctor.cli.options import asked_question, asking, examination_options, showing
from netdoctor.cli.output import EXIT, parse_outputs, reported, show
from netdoctor.errors import NetdoctorError

if TYPE_CHECKING:
    from netdoctor.model.diagnosis import Report


@click.command()
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
    asked = asked_question(ns, options)
    how = examination_options(options)
    with Examination(asked, how) as examination:
        found = examination.run()
        how.tell("")
        report = reported(found)
        plan = mending.prescribed(found)
        if found.diagnosis.verdict != "fail" or dry_run or not plan.items:
            applied: list[list[str]] | None = [] if found.diagnosis.causes else None
            show(_with(report, applied=applied, fixed=report.verdict in ("pass", "warn")), outputs, options)
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
    if done.rolled_back is not None:
        _tell_unrestored(done.rolled_back.unrestored)
    return 0 if done.fixed else 1


def _tell_unrestored(unrestored: Any) -> None:
    for left in unrestored:
        typed = " ".join(" ".join(one) for one in left.command)
        click.echo(f"netdoctor: could not be undone: {typed}: {left.why}", err=True)


def _with(report: "Report", **values: Any) -> "Report":
    from msgspec.structs import replace

    return replace(report, **values)


def agree(plan: Any, summary: str, *, yes: bool) -> None:
    """Shows what is wrong and the plan with each step's inverse, and asks. Raises NetdoctorError when declined or nobody can be asked."""
    from netdoctor.reports import escape

    for loss in plan.losses:
        click.echo(f"netdoctor: undo would not give back exactly: {escape.terminal(loss)}", err=True)
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


@click.command()
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
