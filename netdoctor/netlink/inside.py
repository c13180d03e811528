"""Being inside a namespace: one worker thread hops by setns; sockets opened there stay there."""

import ctypes
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import TypeVar

CLONE_NEWNET = 0x40000000
T = TypeVar("T")

_libc = ctypes.CDLL(None, use_errno=True)


def enter(fd: int) -> None:
    """Moves the calling thread into the network namespace behind `fd`. Raises OSError (EPERM without CAP_SYS_ADMIN)."""
    if _libc.setns(fd, CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


class Worker:
    """A thread that runs calls inside namespaces, one at a time, so that the main thread never leaves its own."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[tuple[int, Callable[[], object], Future[object]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="netns", daemon=True)
        self._thread.start()

    def run(self, fd: int, call: Callable[[], T]) -> T:
        """`call()` inside the namespace behind `fd`; its exceptions come back."""
        return self.start(fd, call).result()

    def start(self, fd: int, call: Callable[[], T]) -> "Future[T]":
        future: Future[T] = Future()
        self._calls.put((fd, call, future))  # type: ignore[arg-type]
        return future

    def close(self) -> None:
        self._calls.put(None)
        self._thread.join()

    def _run(self) -> None:
        inside = -1
        while (item := self._calls.get()) is not None:
            fd, call, future = item
            try:
                if fd != inside:
                    enter(fd)
                    inside = fd
                future.set_result(call())
            except BaseException as error:
                future.set_exception(error)
