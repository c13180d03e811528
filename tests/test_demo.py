"""The demonstration: it names and mends each fault, with and without root, tools or UTF-8, and leaves only its page."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from lab import nobody
from lab.command import netdoctor

from netdoctor.topology.faults import DEFAULT, FAULTS

pytestmark = pytest.mark.usefixtures("lab")


def names() -> list[str]:
    """Named namespaces, without those of worlds that other tests make and take down meanwhile."""
    found = os.listdir("/run/netns") if os.path.isdir("/run/netns") else []
    return sorted(name for name in found if not name.startswith(("nd-", "lab-")))


def test_one_fault_from_building_to_mending(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    done = netdoctor("demo", "-o", str(page), COLUMNS="80")
    assert done.returncode == 0 and not done.stderr
    stages = [line[2:].split("  ")[0] for line in done.stdout.splitlines() if line.startswith("▶ ")]
    assert stages == ["Build", "Check", "Break it", "Diagnose", "Fix", "Check again"]
    assert done.stdout.count("PASS") == 2 and done.stdout.count("FAIL  ns1") == 1
    assert "ip netns add ns1" in done.stdout and "-o eth0 -j MASQUERADE" in done.stdout and str(page) in done.stdout
    assert DEFAULT in page.read_text() and "<html" in page.read_text()


@pytest.mark.parametrize("slug", sorted({fault.slug for fault in FAULTS} - {DEFAULT}))
def test_each_fault_by_its_slug(slug: str, tmp_path: Path) -> None:
    done = netdoctor("demo", "--fault", slug, "-o", f"{tmp_path}/x.html")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"netdoctor explain {slug}" in done.stdout


def test_every_fault_is_named_and_mended_without_any_tool(tmp_path: Path) -> None:
    before = names()
    done = netdoctor("demo", "--all-faults", PATH="/nonexistent", COLUMNS="80")
    assert done.returncode == 0 and not done.stderr
    count = len(FAULTS)
    assert f"{count} of {count} named, {count} of {count} mended" in done.stdout
    assert all(fault.slug in done.stdout for fault in FAULTS)
    assert max(len(line) for line in done.stdout.splitlines()) <= 80
    assert [name for name in names() if not name.startswith("nd-")] == [n for n in before if not n.startswith("nd-")]


def test_a_user_without_rights_sees_it_too() -> None:
    # pytest's own folders are closed to other users.
    with tempfile.TemporaryDirectory() as folder:
        os.chown(folder, nobody.UID, nobody.UID)
        done = nobody.netdoctor("demo", "--fault", "ip-forward-off", cwd=folder)
        if "user namespaces" in done.stderr:
            pytest.skip(done.stderr)
        assert done.returncode == 0, done.stdout + done.stderr
        page = Path(folder, "netdoctor-demo.html")
        assert page.stat().st_uid == nobody.UID and "ip-forward-off" in page.read_text()


def test_where_nothing_may_be_written_the_page_goes_to_a_temporary_folder() -> None:
    done = nobody.netdoctor("demo", cwd="/")
    if "user namespaces" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    page = next(Path(line.strip()) for line in done.stdout.splitlines() if line.endswith("netdoctor-demo.html"))
    assert page.is_absolute() and DEFAULT in page.read_text()
    page.unlink()
    page.parent.rmdir()


@pytest.mark.parametrize("words", [(), ("--all-faults",)])
def test_plain_ascii_where_the_terminal_is(words: tuple[str, ...], tmp_path: Path) -> None:
    output = () if words else ("-o", f"{tmp_path}/x.html")
    done = netdoctor("demo", *words, *output, PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert done.returncode == 0 and done.stdout.isascii()


def test_a_reader_that_leaves_early_sees_no_traceback(tmp_path: Path) -> None:
    command = f"{sys.executable} -m netdoctor demo -o {tmp_path}/x.html | head -1"
    done = subprocess.run(command, shell=True, check=False, capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr and done.stdout.startswith("A container")
