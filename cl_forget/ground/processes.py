"""How processes that work side by side are started."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Sequence
from multiprocessing.connection import wait
from multiprocessing.context import BaseContext
from pathlib import Path

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
