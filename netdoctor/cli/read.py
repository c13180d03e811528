"""Reading what is known: explain, list, schema and saved reports."""

from typing import Any

import click

from netdoctor.cli.options import showing
from netdoctor.cli.output import EXIT, parse_outputs, put, show
from netdoctor.errors import NetdoctorError


@click.command()
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


@click.command("list")
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


@click.command()
def schema() -> int:
    """The JSON Schema of --format json."""
    from netdoctor.reports import json

    put(json.schema())
    return 0


@click.command("report")
@click.argument("source", metavar="FILE")
@showing
def report(source: str, **options: Any) -> int:
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
