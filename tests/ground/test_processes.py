"""Processes beside this one are forked off a server only where nothing forbids it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import cl_forget.ground.processes as processes


def test_a_gpu_or_another_system_gets_fresh_interpreters(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    driver = tmp_path / "driver"
    monkeypatch.setattr(processes, "DRIVERS", (str(driver),))
    monkeypatch.setattr(sys, "platform", "linux")
    assert processes.context([]).get_start_method() == "forkserver"
    driver.touch()
    assert processes.context([]).get_start_method() == "spawn"
    driver.unlink()
    monkeypatch.setattr(sys, "platform", "darwin")
    assert processes.context([]).get_start_method() == "spawn"


def work_for(pipe: Any, method: str) -> None:
    """What the killed process does: it has a worker, and waits for it."""
    with ProcessPoolExecutor(
        1, multiprocessing.get_context(method), initializer=processes.end_with_parent
    ) as pool:
        pipe.send(pool.submit(os.getpid).result())
        pool.submit(signal.pause).result()


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_worker_ends_with_the_process_that_it_works_for(method: str) -> None:
    here, there = multiprocessing.Pipe()
    killed = multiprocessing.get_context("spawn").Process(target=work_for, args=(there, method))
    killed.start()
    worker = here.recv()
    os.kill(worker, 0)
    killed.kill()
    killed.join()
    for _ in range(100):
        try:
            state = Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return
        if state == "Z":
            return
        time.sleep(0.1)
    pytest.fail("the worker lives on")
