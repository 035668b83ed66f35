"""How processes that work side by side are started."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor
from concurrent.futures import wait as wait_for
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.context import BaseContext
from pathlib import Path
from types import TracebackType
from typing import Any

from cl_forget.ground.errors import UserError

#: Files of the drivers of GPUs. A process that has asked for its GPUs must not be forked, and libraries ask.
DRIVERS = ("/dev/nvidiactl", "/dev/nvidia0", "/dev/kfd", "/dev/dxg")


def context(modules: Sequence[str]) -> BaseContext:
    """What processes that do a run each are started with; none of them inherits threads or locks of this one.

    On a machine without a GPU they are forked off a server that has imported the heavy modules for all of them, which
    takes seconds. It keeps the environment of the first call: hand the environment over where it can change. Anywhere
    else each is a fresh interpreter.

    Args:
        modules: what the server imports; the first call of this process decides.
    """
    if sys.platform != "linux" or any(Path(driver).exists() for driver in DRIVERS):
        return multiprocessing.get_context("spawn")
    forked = multiprocessing.get_context("forkserver")
    forked.set_forkserver_preload(list(modules))
    return forked


def end_with_parent() -> None:
    """Called in a process that works for another: it ends when that one does, even killed at once.

    Otherwise it would go on with what it has begun, and hold the folders that the next command wants.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


#: The system does not say why it killed a process; a lack of memory is the usual reason.
KILLED = "its process was killed, probably because memory ran out; use fewer --jobs, or begin anew with small batches"


class WorkerDied(UserError):
    """The process that worked on a call was ended from outside; what it has written down stays."""


@dataclass
class _Worker:
    """One process. `ready` is over once it has begun to take calls."""

    pool: ProcessPoolExecutor
    ready: Future[int]

    @property
    def began(self) -> bool:
        return self.ready.done() and self.ready.exception() is None


class Crew:
    """Processes that work side by side, each in a pool of its own.

    A pool of several ends them all when one dies, and does not say which call that one was at. Here the others go on,
    and the next call gets a new process.

    Args:
        count: processes; each is started when it is needed.
        context: what they are started with.
        initializer, initargs: called in each before all else.
        environment: variables that they have where this process has none of that name.
    """

    def __init__(
        self,
        count: int,
        context: BaseContext,
        initializer: Callable[..., object],
        initargs: tuple[Any, ...],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._context, self._initializer, self._initargs = context, initializer, initargs
        self._environment = environment or {}
        self._idle: list[_Worker | None] = [None] * count
        self._busy: dict[Future[Any], _Worker] = {}

    def __enter__(self) -> Crew:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends the processes; after an error nobody waits here for those that are at work."""
        for worker in [*self._idle, *self._busy.values()]:
            if worker is not None:
                worker.pool.shutdown(wait=kind is None, cancel_futures=True)

    @property
    def idle(self) -> bool:
        """Whether a process has nothing to do."""
        return bool(self._idle)

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Let an idle process make a call; `result` frees it afterwards."""
        worker = self._idle.pop()
        if worker is not None:
            try:
                future = worker.pool.submit(function, *arguments)
            except BrokenProcessPool:  # it was ended while it had nothing to do
                worker = None
        if worker is None:
            pool = ProcessPoolExecutor(1, self._context, self._initializer, self._initargs)
            with _environment(self._environment):  # a pool starts its process at the first call
                worker = _Worker(pool, pool.submit(os.getpid))
            future = worker.pool.submit(function, *arguments)
        self._busy[future] = worker
        return future

    def over(self) -> list[Future[Any]]:
        """The calls that are over, of which there is one at least when this returns."""
        return list(wait_for(self._busy, return_when=FIRST_COMPLETED).done)

    def result(self, future: Future[Any]) -> Any:
        """What a call has returned; raises what it raised.

        Raises:
            WorkerDied: its process was ended meanwhile.
            UserError: its process has not even begun.
        """
        worker = self._busy.pop(future)
        try:
            result = future.result()
        except BrokenProcessPool:
            self._idle.append(None)
            if worker.began:
                raise WorkerDied(KILLED) from None
            raise UserError(
                "a process of --jobs ended before it could begin; what it said stands above. In a script of your "
                "own, call this below `if __name__ == '__main__':`."
            ) from None
        except BaseException:
            self._idle.append(worker)
            raise
        self._idle.append(worker)
        return result

    def each(
        self, function: Callable[..., Any], calls: Sequence[tuple[Any, ...]]
    ) -> Iterator[tuple[int, Future[Any]]]:
        """Make several calls, as many at a time as there are processes.

        Yields:
            The position of each call as it is over, for `result`.
        """
        left, running = list(enumerate(calls)), dict[Future[Any], int]()
        while left or running:
            while left and self.idle:
                position, arguments = left.pop(0)
                running[self.submit(function, *arguments)] = position
            for future in self.over():
                yield running.pop(future), future


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """With these variables, where there are none of that name."""
    new = {name: value for name, value in variables.items() if name not in os.environ}
    os.environ.update(new)
    try:
        yield
    finally:
        for name in new:
            os.environ.pop(name, None)
