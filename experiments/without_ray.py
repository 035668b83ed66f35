"""Work through sweeps with processes of this machine alone, where Ray is not installed.

    python experiments/without_ray.py experiments/quickstart-sweep.yaml --jobs 16 --output runs
    python experiments/without_ray.py experiments/quickstart-sweep.yaml --set model=emoji-clip-rn --set name=sweep-rn

The folders are those of `cl-forget sweep`: what is finished is never done again, and `cl-forget sweep FILE --resume
--output DIR` goes on from them with Ray, or only writes the tables where nothing is left. Several files are worked
through side by side: first the settings to choose among, the longest groups first, then the chosen ones.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

from cl_forget.comparison.selection import default_protocol, select, settings_of
from cl_forget.comparison.trials import load_trial, load_trials
from cl_forget.config.sweep import Sweep, load_sweep
from cl_forget.sweeps.folder import known_state, new_folder
from cl_forget.sweeps.planning import Group, plan_grid, planned, share

_SETUPS: Any = None


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
    with ProcessPoolExecutor(given.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        run_all(pool, given.jobs, [Round(sweep, folder) for sweep, folder in sweeps], until)


class Round:
    """The groups of one sweep that are not over: settings to choose among, then the chosen ones."""

    def __init__(self, sweep: Sweep, folder: Path) -> None:
        self.sweep, self.folder = sweep, folder
        self.reporting = False
        self.left, self.running = self._open(share(plan_grid(sweep))), 0

    def _open(self, groups: list[Group]) -> list[Group]:
        return sorted((group for group in groups if not over(group, self.folder)), key=cost, reverse=True)

    def next(self) -> Group | None:
        """A group to begin; the chosen settings come when every setting to choose among is over."""
        if not self.left and not self.running and not self.reporting and self.sweep.report_on is not None:
            self.reporting = True
            self.left = self._open(chosen(self.sweep, self.folder))
        return self.left.pop(0) if self.left else None


def run_all(pool: ProcessPoolExecutor, jobs: int, rounds: Sequence[Round], until: float) -> None:
    """Every group, of the first sweep first; nothing new after `until`."""
    running: dict[Future[str], Round] = {}
    started = time.time()
    while True:
        for round_ in rounds:
            while len(running) < jobs and time.time() < until and (group := round_.next()) is not None:
                round_.running += 1
                running[pool.submit(work_on, group, round_.folder)] = round_
        if not running:
            break
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            running.pop(future).running -= 1
            left = ", ".join(str(len(round_.left)) for round_ in rounds)
            print(f"{time.time() - started:6.0f} s  {left} left  {future.result()}", flush=True)
    if any(round_.left for round_ in rounds):
        print("time is over before everything was begun", flush=True)


def cost(group: Group) -> float:
    """Passes of a group's fine-tunes, roughly: SAM takes two of each."""
    tunes = {one.run.training_key(): one for one in group}.values()
    return sum(2.0 if "sam" in one.run.chain() else 1.0 for one in tunes) + 0.1 * len(group)


def over(group: Group, folder: Path) -> bool:
    found = [load_trial(folder, one.trial.id) for one in group]
    return all(trial is not None and trial.status in ("finished", "diverged") for trial in found)


def chosen(sweep: Sweep, folder: Path) -> list[Group]:
    """The selected setting of each method on the stream and seeds of the report."""
    tuned = [trial for trial in load_trials(folder) if trial.role == "tune"]
    settings = settings_of(tuned)
    where = sweep.report_on
    assert where is not None
    configs = {
        method: next(iter(next(s for s in settings[method] if s.key == choice.key).trials.values())).config
        for method, choice in select(settings, sweep.protocol or default_protocol(tuned)).items()
    }
    return share(
        [
            planned(sweep, arm, config, seed, "report")
            for seed in where.seeds or sweep.seeds
            for arm, config in configs.items()
        ]
    )


def work_on(group: Group, folder: Path) -> str:
    """One group, in a process of the pool."""
    global _SETUPS
    import torch

    from cl_forget.run.shared import Setups
    from cl_forget.sweeps.work import work

    torch.set_num_threads(1)
    _SETUPS = _SETUPS or Setups(room=2)
    began = time.time()
    trials = work(group, folder, _SETUPS, lambda trial: None)
    states = ",".join(
        f"{trial.id}:{trial.status}" + (f" ({trial.reason})" if trial.reason else "") for trial in trials
    )
    return f"{time.time() - began:5.0f} s  {states[:300]}"


if __name__ == "__main__":
    main()
