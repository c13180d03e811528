"""Calls inside a named namespace, in a thread of their own."""

import os
from collections.abc import Callable
from typing import TypeVar

from netdoctor.netlink.inside import Worker

T = TypeVar("T")


def call_inside(name: str, call: Callable[[], T]) -> T:
    """`call()` in the namespace /run/netns/NAME."""
    fd = os.open(f"/run/netns/{name}", os.O_RDONLY)
    worker = Worker()
    try:
        return worker.run(fd, call)
    finally:
        worker.close()
        os.close(fd)
