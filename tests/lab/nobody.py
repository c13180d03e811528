"""Running a command as a user without any rights (uid 65534)."""

import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
UID = 65534


@cache
def _python() -> tuple[str, ...]:
    """A Python of this version that anybody may run and that finds the same packages; () where there is none.

    The one that runs the tests may live in root's own folder.
    """
    packages = [path for path in sys.path if path.endswith("site-packages")]
    path = f"PYTHONPATH={':'.join([str(PROJECT), *packages])}"
    system = f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, system):
        command = (*_dropped(), "env", path, python)
        if shutil.which(python) and not _run((*command, "-c", "import netdoctor.cli, msgspec, pyroute2")).returncode:
            return command
    return ()


def _dropped() -> tuple[str, ...]:
    return ("setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups")


def _run(command: tuple[str, ...], **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, **options)  # type: ignore[call-overload,no-any-return]


def netdoctor(*words: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Runs netdoctor without rights; skips the test where no such user can be had."""
    python = _python()
    if not python:
        pytest.skip("no Python here that an ordinary user may run, or no right to become one")
    return _run((*python, "-m", "netdoctor", *words), **options)
