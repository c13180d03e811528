"""The program: `netdoctor` and `python -m netdoctor`. Starts and ends a short run without work that nobody needs."""

import gc
import os
import sys
from typing import NoReturn


def run() -> NoReturn:
    """Runs the command line and ends the process with its exit code.

    Collecting garbage while hundreds of modules load, and taking them apart again at the end, costs a fifth of a check. So
    the collector stays off, and a run that has loaded no writing library ends at once when its output is out.
    """
    gc.disable()
    from netdoctor.cli import main

    code: object = 0
    try:
        main()
    except SystemExit as leaving:
        code = leaving.code
    if "pyroute2" in sys.modules or not isinstance(code, int | None):
        sys.exit(code if isinstance(code, int | str | None) else 1)
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:
        code = 1
    os._exit(code or 0)


if __name__ == "__main__":
    run()
