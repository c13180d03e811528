"""Making networks and taking them away: build, destroy and the demo's sandbox."""

from typing import Any

import click

from netdoctor.errors import NetdoctorError


@click.command()
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


@click.command()
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


@click.command()
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
