"""An experiment is its runs, one after the other; what they share is done once."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

from cl_forget.config.experiment import Experiment, folder_name
from cl_forget.config.run import Run
from cl_forget.ground.environment import quiet_libraries
from cl_forget.ground.files import StrPath
from cl_forget.ground.progress import bar, silence

if TYPE_CHECKING:
    from cl_forget.comparison.records import Result


def run_experiment(
    experiment: Experiment,
    output: StrPath,
    resume: bool = False,
    on_run: Callable[[Run, int, int], None] = lambda run, number, total: None,
    jobs: int = 1,
) -> list[Result]:
    """Simulate every run of an experiment.

    Args:
        experiment: the validated experiment.
        output: its folder; each run gets `<method>-seed<seed>` below it.
        resume: go on from what the folder holds.
        on_run: called with (run, its number from 1, how many there are) as a run starts, or with several
            jobs as it ends.
        jobs: processes that work side by side, each with its share of the processor's threads. Small models
            gain from it: two threads rarely halve their steps, two runs at once do.

    Returns:
        One result per run, in order.
    """
    from cl_forget.comparison.records import Result

    runs = experiment.runs()
    folders = [Path(output) / run_folder(run) for run in runs]
    if jobs > 1:
        _side_by_side(runs, folders, resume, on_run, jobs)
        return [Result.load(folder) for folder in folders]
    return _one_by_one(runs, folders, resume, partial(_numbered, on_run, runs))


def _numbered(on_run: Callable[[Run, int, int], None], runs: list[Run], run: Run) -> None:
    on_run(run, runs.index(run) + 1, len(runs))


def _one_by_one(
    runs: list[Run], folders: list[Path], resume: bool, on_run: Callable[[Run], None] = lambda run: None
) -> list[Result]:
    """Simulate in order; runs with the same fine-tuning share it."""
    from cl_forget.run.cleanup import drop_stages
    from cl_forget.run.donor import gives
    from cl_forget.run.simulate import simulate

    results: list[Result] = []
    trained: dict[str, Path] = {}  # training key -> the folder of the run that did this fine-tuning
    for run, folder in zip(runs, folders, strict=True):
        on_run(run)
        results.append(simulate(run, folder, resume=resume, donor=trained.get(run.training_key())))
        if gives(folder, run):
            trained.setdefault(run.training_key(), folder)
    for run, folder in zip(
        runs, folders, strict=True
    ):  # not before: later runs take over what earlier ones trained
        drop_stages(folder, run)
    return results


def _side_by_side(
    runs: list[Run], folders: list[Path], resume: bool, on_run: Callable[[Run, int, int], None], jobs: int
) -> None:
    """Simulate in several processes; runs that share a fine-tuning stay together."""
    groups: dict[str, list[int]] = {}
    for index, run in enumerate(runs):
        groups.setdefault(run.training_key(), []).append(index)
    threads = max(1, (os.cpu_count() or 1) // jobs)
    pool = ProcessPoolExecutor(jobs, get_context("spawn"), initializer=_start_worker, initargs=(threads,))
    with pool, bar("runs", len(runs)) as advance:
        # The largest groups first: nobody waits long for the last one.
        pending = {
            pool.submit(
                _work, [runs[i] for i in group], [folders[i] for i in group], resume, 0 not in group
            ): group
            for group in sorted(groups.values(), key=len, reverse=True)
        }
        done = 0
        try:
            for future in as_completed(pending):
                future.result()
                for index in pending[future]:
                    done += 1
                    on_run(runs[index], done, len(runs))
                    advance(1, runs[index].method)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _start_worker(threads: int) -> None:
    import torch

    silence()
    quiet_libraries()
    torch.set_num_threads(threads)


def _work(runs: list[Run], folders: list[Path], resume: bool, hushed: bool) -> None:
    from cl_forget.streams.understood import hush

    hush(hushed)  # the data are the same in all processes: the one with the first run says what they are
    _one_by_one(runs, folders, resume)


def run_folder(run: Run) -> str:
    """The folder name of a run: its method, made safe for file systems, and its seed."""
    return f"{folder_name(run.method)}-seed{run.seed}"
