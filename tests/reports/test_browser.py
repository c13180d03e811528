"""The page in a real browser, where one is installed."""

import shutil
import subprocess
from pathlib import Path

import pytest

from netdoctor.reports import html

from .sample_all import ALL

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip


def dom(page: str, folder: Path) -> str:
    """What the browser made of the page."""
    file = folder / "report.html"
    file.write_text(page, encoding="utf-8")
    command = [str(BROWSER), *FLAGS, f"--user-data-dir={folder / 'profile'}", "--dump-dom", file.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


def test_the_script_is_allowed_and_adds_a_copy_button_to_each_command(tmp_path: Path) -> None:
    page = html.render(ALL["double_fault"]())
    made = dom(page, tmp_path)
    assert made.count('<button type="button">Copy</button>') == page.count('<pre class="command">') == 4


def test_hostile_names_run_nothing(tmp_path: Path) -> None:
    made = dom(html.render(ALL["hostile"]()), tmp_path)
    assert made.count("<script") == 2
    assert "&lt;script&gt;alert(1)" in made
