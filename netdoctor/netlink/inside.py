"""Being inside a namespace: one worker thread hops by setns; sockets opened there stay there."""

import ctypes
import os
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Generic, TypeVar

CLONE_NEWNET = 0x40000000
T = TypeVar("T")

_libc = ctypes.CDLL(None, use_errno=True)


def enter(fd: int) -> None:
    """Moves the calling thread into the network namespace behind `fd`. Raises OSError (EPERM without CAP_SYS_ADMIN)."""
    if _libc.setns(fd, CLONE_NEWNET) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))


class Call(Generic[T]):
    """One call waiting to be run inside a namespace, then its outcome. (concurrent.futures would load logging.)"""

    __slots__ = ("_call", "_done", "_error", "_value", "fd")

    def __init__(self, fd: int, call: Callable[[], T]) -> None:
        self.fd = fd
        self._call = call
        self._done = threading.Lock()
        self._done.acquire()
        self._value: T | None = None
        self._error: BaseException | None = None

    def run(self) -> None:
        """Runs it, in the worker."""
        try:
            self._value = self._call()
        except BaseException as error:
            self._error = error
        self._done.release()

    def refuse(self, error: BaseException) -> None:
        """Ends it without running it: the namespace could not be entered."""
        self._error = error
        self._done.release()

    def result(self) -> T:
        """Waits; the call's own exception is raised here."""
        with self._done:
            if self._error is not None:
                raise self._error
            return self._value  # type: ignore[return-value]


class Worker:
    """A thread that runs calls inside namespaces, one at a time, so that the main thread never leaves its own."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[Call[object] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="netns", daemon=True)
        self._thread.start()

    def run(self, fd: int, call: Callable[[], T]) -> T:
        """`call()` inside the namespace behind `fd`; its exceptions come back."""
        waiting = Call(fd, call)
        self._calls.put(waiting)  # type: ignore[arg-type]
        return waiting.result()

    def close(self) -> None:
        self._calls.put(None)
        self._thread.join()

    def _run(self) -> None:
        inside = -1
        while (waiting := self._calls.get()) is not None:
            if waiting.fd != inside:
                try:
                    enter(waiting.fd)
                except OSError as error:
                    waiting.refuse(error)
                    continue
                inside = waiting.fd
            waiting.run()
