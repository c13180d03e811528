"""netdoctor as a person runs it: its exit code, stdout and stderr."""

import os
import subprocess
import sys
from pathlib import Path

from .world import World

PROJECT = Path(__file__).resolve().parents[2]
Done = subprocess.CompletedProcess[str]


def netdoctor(*words: str, world: World | None = None, typed: str | None = None, **env: str) -> Done:
    """Runs this checkout's netdoctor, in the world's host where one is given. Nobody sits at its stdin."""
    inside = ("ip", "netns", "exec", world.name("host")) if world else ()
    return subprocess.run(
        [*inside, sys.executable, "-m", "netdoctor", *words],
        input=typed or "",
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "PYTHONPATH": str(PROJECT), **env},
    )


def refused(done: Done, *said: str) -> None:
    """Asserts exit code 2, one line on stderr that says these words, nothing on stdout."""
    assert done.returncode == 2, done
    assert done.stderr.startswith("netdoctor: ") and done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.isprintable() or done.stderr[:-1].isprintable(), done.stderr
    assert not done.stdout, done.stdout
    for words in said:
        assert words in done.stderr, done.stderr
