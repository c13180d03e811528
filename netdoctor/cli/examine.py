"""Looking, nothing changed: check and snapshot."""

from typing import TYPE_CHECKING, Any

import click

from netdoctor.cli.options import asked_question, asking, examination_options, showing
from netdoctor.cli.output import EXIT, exit_code, parse_outputs, put, rendered_all, reported, show
from netdoctor.errors import NetdoctorError

if TYPE_CHECKING:
    from netdoctor.examination import Examined
    from netdoctor.model.diagnosis import Question, Report


@click.command()
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
    examined = _offline(source, options) if source else _examine(asked_question(ns or "", options), options)
    report = reported(examined)
    show(report, outputs, options)
    return exit_code(report.verdict, fail_on)


def _examine(asked: "Question", options: dict[str, Any]) -> "Examined":
    from netdoctor.examination import Examination

    how = examination_options(options)
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


def _check_all(outputs: list[tuple[str, str]], fail_on: str, options: dict[str, Any]) -> int:
    from netdoctor.inventory import inventory
    from netdoctor.saved import write_text

    names = [one.name for one in inventory() if one.attached_by]
    reports = [_one_of_all(asked_question(name, options), options) for name in names]
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
        return reported(_examine(asked, options))
    except NetdoctorError as error:
        from netdoctor.reports.flatten import error_report

        return error_report(asked, str(error))


@click.command()
@click.argument("ns")
@asking
@click.option("--output", "-o", "path", required=True, metavar="SNAPSHOT.json")
def snapshot(ns: str, path: str, **options: Any) -> int:
    """Save the whole state on the way, with what the probes saw, for `check --from`. Changes no configuration."""
    from netdoctor import saved
    from netdoctor.examination import Examination

    saved.check_writable(path)
    asked = asked_question(ns, options)
    with Examination(asked, examination_options(options)) as examination:
        examined = examination.run()
        whole = examination.observer.complete(examined.snapshot)
    kept = saved.Saved(format=saved.FORMAT, question=asked, snapshot=whole, evidence=examined.case.evidence)
    saved.write(path, kept)
    click.echo(f"{examined.diagnosis.verdict}: {examined.diagnosis.summary}", err=True)
    return EXIT[examined.diagnosis.verdict]
