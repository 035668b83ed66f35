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
from cl_forget.ground.errors import UserError


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


def crew(count: int, **environment: str) -> processes.Crew:
    """Fresh processes."""
    spawn = multiprocessing.get_context("spawn")
    return processes.Crew(count, spawn, processes.end_with_parent, (), environment)


def wait_for(file: Path) -> int:
    """The process."""
    while not file.exists():
        time.sleep(0.01)
    return os.getpid()


def test_who_is_killed_takes_nobody_with_it_and_has_a_successor(tmp_path: Path) -> None:
    with crew(2) as workers:
        beside = workers.submit(wait_for, tmp_path / "go")
        killed = workers.submit(signal.raise_signal, signal.SIGKILL)
        with pytest.raises(
            processes.WorkerDied, match=r"killed, probably because memory ran out; use fewer --jobs"
        ):
            workers.result(killed)
        (tmp_path / "go").touch()
        successor = workers.submit(os.getpid)
        found = {workers.result(successor), workers.result(beside)}
        assert len(found) == 2 and os.getpid() not in found
        for process in found:  # which have nothing to do
            os.kill(process, signal.SIGKILL)
            while Path(f"/proc/{process}").exists():  # until their end is noticed
                time.sleep(0.01)
        calls = [(str(number),) for number in range(5)]
        made = {number: workers.result(future) for number, future in workers.each(int, calls)}
        assert made == {number: number for number in range(5)}


def test_variables_are_those_of_the_processes_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    for given, seen in ((None, "1"), ("3", "3")):
        if given is not None:
            monkeypatch.setenv("OMP_NUM_THREADS", given)
        before = dict(os.environ)
        with crew(1, OMP_NUM_THREADS="1") as workers:
            assert workers.result(workers.submit(os.getenv, "OMP_NUM_THREADS")) == seen
            assert dict(os.environ) == before


def test_processes_that_cannot_begin_were_not_killed_for_memory() -> None:
    with (
        processes.Crew(1, multiprocessing.get_context("spawn"), os._exit, (1,)) as workers,
        pytest.raises(UserError, match=r"before it could begin.*__main__") as caught,
    ):
        workers.result(workers.submit(os.getpid))
    assert not isinstance(caught.value, processes.WorkerDied)
