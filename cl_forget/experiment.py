"""An experiment is its runs, one after the other; what they share is done once."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from cl_forget.config import Experiment, Run

if TYPE_CHECKING:
    from cl_forget.result import Result


def run_experiment(
    experiment: Experiment,
    output: Path,
    resume: bool = False,
    on_start: Callable[[Run, int, int], None] = lambda run, number, total: None,
) -> list[Result]:
    """Simulate every run of an experiment.

    Args:
        experiment: the validated experiment.
        output: its folder; each run gets `<method>-seed<seed>` below it.
        resume: go on from what the folder holds.
        on_start: called with (run, its number from 1, how many there are) before each run.

    Returns:
        One result per run, in order.
    """
    from cl_forget.simulation import simulate

    runs = experiment.runs()
    results: list[Result] = []
    trained: dict[str, Path] = {}  # training key -> the folder of the run that did this fine-tuning
    for number, run in enumerate(runs, start=1):
        on_start(run, number, len(runs))
        folder = output / run_folder(run)
        results.append(simulate(run, folder, resume=resume, donor=trained.get(run.training_key())))
        trained.setdefault(run.training_key(), folder)
    return results


def run_folder(run: Run) -> str:
    """The folder name of a run: its method, made safe for file systems, and its seed."""
    return f"{re.sub(r'[^A-Za-z0-9.]+', '-', run.method).strip('-').lower()}-seed{run.seed}"
