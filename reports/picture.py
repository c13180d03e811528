"""The terminal report as a picture for a README: an SVG of a terminal window."""

import io
import re

from netdoctor.model.diagnosis import Report
from netdoctor.reports import terminal

_REMOTE_FONT = re.compile(r"\s*@font-face\s*\{.*?\}", re.DOTALL)
"""The web font that rich's template names would be loaded from elsewhere."""
_FONTS = "ui-monospace, SFMono-Regular, Menlo, Consolas, DejaVu Sans Mono"


def svg(report: Report, *, width: int = 100, title: str = "") -> str:
    """What `netdoctor check` prints in colour, drawn as an SVG by rich. title: the window's, by default the command."""
    from rich.console import Console
    from rich.text import Text

    printed = terminal.render(report, width=width, colour=True, unicode=True)
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    console.print(Text.from_ansi(printed.rstrip("\n")), soft_wrap=False)
    command = " ".join(("netdoctor", *report.provenance.arguments))
    drawn = console.export_svg(title=title or command, unique_id="netdoctor")
    return _REMOTE_FONT.sub("", drawn).replace("Fira Code", _FONTS)
