"""Work through several sweeps side by side with processes of this machine alone, where Ray is not installed.

    python experiments/without_ray.py experiments/quickstart-sweep.yaml --jobs 16 --output runs
    python experiments/without_ray.py experiments/quickstart-sweep.yaml --set model=emoji-clip-rn --set name=sweep-rn

A single sweep needs no more than `cl-forget sweep FILE --jobs 16`. The folders are those of that command: what is
finished is never done again, and `cl-forget sweep FILE --resume --output DIR` goes on from them, or only writes the
tables where nothing is left. First come the settings to choose among, the longest groups first, then the chosen ones.
"""

from __future__ import annotations

import argparse
import os
import time
from functools import partial
from pathlib import Path

from cl_forget.comparison.trials import load_trials
from cl_forget.config.sweep import Sweep, load_sweep
from cl_forget.sweeps.folder import known_state, new_folder
from cl_forget.sweeps.planning import Group, chosen, plan_grid, plan_report, share
from cl_forget.sweeps.pool import Queue, work_through


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--set", action="append", default=[], help="overrides, for every file")
    parser.add_argument(
        "--also", action="append", default=[], help="the same files once more, with these overrides"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--output", type=Path, default=Path("runs"))
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin nothing after that long")
    given = parser.parse_args()
    until = time.time() + 60 * given.minutes
    asked = [load_sweep(file, given.set) for file in given.files]
    if given.also:
        asked += [load_sweep(file, [*given.set, *given.also]) for file in given.files]
    sweeps = [(sweep, given.output / sweep.name) for sweep in asked]
    for sweep, folder in sweeps:
        if known_state(folder, sweep, resume=True) is None:
            new_folder(folder, sweep)
    queues = [Queue(folder, waves(sweep, folder)) for sweep, folder in sweeps]
    if not work_through(queues, given.jobs, until, partial(print, flush=True)):
        print("time is over before everything was begun", flush=True)


def waves(sweep: Sweep, folder: Path) -> list[partial[list[Group]]]:
    """The settings to choose among; then the chosen ones, where the sweep has a report of its own."""
    tune = partial(lambda: share(plan_grid(sweep)))
    return [tune] if sweep.report_on is None else [tune, partial(_report, sweep, folder)]


def _report(sweep: Sweep, folder: Path) -> list[Group]:
    tuned = [trial for trial in load_trials(folder) if trial.role == "tune"]
    return share(plan_report(sweep, chosen(sweep, tuned)))


if __name__ == "__main__":
    main()
