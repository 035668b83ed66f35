"""An experiment is its runs, one after the other; what they share is done once."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cl_forget.config.experiment import Experiment, folder_name
from cl_forget.config.run import Run
from cl_forget.ground.environment import quiet_libraries
from cl_forget.ground.errors import UserError
from cl_forget.ground.files import StrPath, only_writer, remove_leftovers
from cl_forget.ground.outputs import Mode, drop_empty, mode, refuse_taken, write_index
from cl_forget.ground.processes import Crew, WorkerDied, context, end_with_parent
from cl_forget.ground.progress import bar, silence, stretch
from cl_forget.models import modules_of
from cl_forget.run.additions import register, registered

if TYPE_CHECKING:
    from cl_forget.comparison.records import Result
    from cl_forget.ground.records import Fingerprints
    from cl_forget.run.shared import Setups

logger = logging.getLogger("cl_forget")

#: What every run imports, beside the libraries of its model.
PRELOADED = ("cl_forget.run.simulation", "cl_forget.run.simulate")

_setups: Setups | None = None  # of a process of `--jobs`, which keeps it from group to group


def run_experiment(
    experiment: Experiment,
    output: StrPath,
    resume: bool = False,
    on_run: Callable[[Run, int, int], None] = lambda run, number, total: None,
    jobs: int = 1,
    overwrite: bool = False,
) -> list[Result]:
    """Simulate every run of an experiment.

    Args:
        experiment: the validated experiment.
        output: its folder; each run gets `<method>-seed<seed>` below it.
        resume: go on from what the folder holds.
        on_run: called with (run, its number from 1, how many there are) as a run starts, or with several
            jobs as it ends.
        jobs: processes that work side by side, each with `train.threads` threads. The numbers do not depend on
            it. Small models gain from it: two threads rarely halve their steps, two runs at once do.
        overwrite: start over where the folder holds runs of this experiment; each stays until its successor
            can begin.

    Returns:
        One result per run, in order.

    Raises:
        UserError: a run cannot be done as asked; the folder holds results, and neither `resume` nor `overwrite`
            is set; or another process works in it.
    """
    from cl_forget.comparison.records import Result

    output = Path(output)
    runs = experiment.runs()
    folders = [output / run_folder(run) for run in runs]
    how = mode(resume, overwrite)
    check_folders(experiment, output, how)
    _say_cores(experiment.train.threads, jobs)
    naming = _naming(runs, folders)
    note = partial(write_index, output, [folder.name for folder in folders])
    if jobs > 1:
        started = context([*PRELOADED, *modules_of(experiment.model)])
        with Crew(jobs, started, _start_worker, (dict(os.environ), registered())) as crew:
            _check_side_by_side(crew, jobs, runs[0], naming)
            with _folder(output):
                _side_by_side(crew, runs, folders, how, on_run, note)
                return [Result.load(folder) for folder in folders]
    from cl_forget.run.shared import Setups

    setups = Setups(room=1)
    _check(runs[0], naming, setups)
    with _folder(output):
        place = partial(_place, runs)
        _one_by_one(runs, folders, how, setups, partial(_numbered, on_run, runs), note, place)
        return [Result.load(folder) for folder in folders]


def check_folders(experiment: Experiment, output: Path, how: Mode) -> None:
    """Refuse what the folder of an experiment and those of its runs hold; changes nothing.

    Raises:
        UserError: it is not to be replaced, or not to be gone on with.
    """
    from cl_forget.run.saved import saved_state
    from cl_forget.training.checkpoints import RunFolder

    refuse_taken(output, how)
    for run in experiment.runs():
        folder = output / run_folder(run)
        if any((folder / name).exists() for name in ("state.json", "result.json", "checkpoints")):
            saved_state(run, RunFolder(folder), "resume" in how, "overwrite" in how)


@contextlib.contextmanager
def _folder(output: Path) -> Iterator[None]:
    """The experiment's folder, with nobody else in it; one that was made for nothing is taken away again."""
    new = not output.exists()
    try:
        with only_writer(output):
            remove_leftovers(output)
            yield
    finally:
        if new:
            drop_empty(output)


def _naming(runs: list[Run], folders: list[Path]) -> list[Run]:
    """The later runs that name something to be looked up, one of each method; the first run checks itself."""
    later = {run.method: run for run in runs if run.method != runs[0].method}
    sharded = runs[0].train.strategy == "fsdp"  # too large for this process; its workers check
    if sharded or all((folder / "result.json").exists() for folder in folders):
        return []
    return [run for run in later.values() if run.chain().looks_up]


def _check(first: Run, naming: list[Run], setups: Setups) -> None:
    """Refuse what a later run names and does not find, before the first one is run.

    Raises:
        UserError: as `Setup.check`.
    """
    if naming:
        setup = setups.get(first)
        for run in naming:
            setup.check(run)


def _check_side_by_side(crew: Crew, jobs: int, first: Run, naming: list[Run]) -> None:
    """`_check` in each process: what they load for it they work with afterwards."""
    if naming:
        for _, check in crew.each(_check_in_worker, [(first, naming)] * jobs):
            crew.result(check)


def _check_in_worker(first: Run, naming: list[Run]) -> None:
    _check(first, naming, _own_setups())


def _own_setups() -> Setups:
    """Those of this process of `--jobs`."""
    global _setups
    from cl_forget.run.shared import Setups

    _setups = _setups or Setups(room=1)
    return _setups


def _say_cores(threads: int, jobs: int) -> None:
    """One line where the processor is left idle, or shared out more often than it has cores."""
    cores = os.cpu_count() or 1
    if threads * jobs > cores and jobs > 1:
        logger.warning(
            "--jobs %d with train.threads: %d each share %d cores and wait for each other: lower one.",
            jobs,
            threads,
            cores,
        )


def _numbered(on_run: Callable[[Run, int, int], None], runs: list[Run], run: Run) -> None:
    on_run(run, runs.index(run) + 1, len(runs))


def _place(runs: list[Run], run: Run) -> dict[str, int]:
    return {"run": runs.index(run) + 1, "runs": len(runs)}


def _one_by_one(
    runs: list[Run],
    folders: list[Path],
    how: Mode,
    setups: Setups,
    on_run: Callable[[Run], None] = lambda run: None,
    after: Callable[[], None] = lambda: None,
    place: Callable[[Run], dict[str, int]] = lambda run: {},
) -> None:
    """Simulate in order; runs with the same fine-tuning share it. `place` says which of how many runs one is."""
    from cl_forget.run.cleanup import drop_stages
    from cl_forget.run.donor import gives
    from cl_forget.run.simulate import simulate

    trained: dict[str, Path] = {}  # training key -> the folder of the run that did this fine-tuning
    known = _finished_fingerprints(folders) if how == "resume" else None
    with stretch(len(runs)) as advance:
        for run, folder in zip(runs, folders, strict=True):
            on_run(run)
            donor = trained.get(run.training_key())
            goes_on, starts_over = "resume" in how, "overwrite" in how
            with stretch(**place(run)):
                result = simulate(
                    run, folder, resume=goes_on, donor=donor, setup=setups, overwrite=starts_over, alike=known
                )
            known = known or result.fingerprints
            if gives(folder, run):
                trained.setdefault(run.training_key(), folder)
            after()
            advance(1)
    for run, folder in zip(runs, folders, strict=True):  # not before: later runs take over from earlier ones
        drop_stages(folder, run)


def _finished_fingerprints(folders: list[Path]) -> Fingerprints | None:
    """Of the base model and the data of the first run that has finished; None if none has."""
    from cl_forget.comparison.records import Result

    finished = (Result.load(folder) for folder in folders if (folder / "result.json").exists())
    return next((result.fingerprints for result in finished if result.fingerprints), None)


def _side_by_side(
    crew: Crew,
    runs: list[Run],
    folders: list[Path],
    how: Mode,
    on_run: Callable[[Run, int, int], None],
    after: Callable[[], None],
) -> None:
    """Simulate in several processes; runs that share a fine-tuning stay together.

    Raises:
        UserError: a run cannot be done as asked, or its process was killed.
    """
    found: dict[str, list[int]] = {}
    for index, run in enumerate(runs):
        found.setdefault(run.training_key(), []).append(index)
    groups = sorted(found.values(), key=len, reverse=True)  # nobody waits long for the last one
    calls = [([runs[i] for i in group], [folders[i] for i in group], how, 0 not in group) for group in groups]
    with bar("runs", len(runs)) as advance:
        done = 0
        for number, future in crew.each(_work, calls):
            try:
                crew.result(future)
            except WorkerDied as error:
                at = next((i for i in groups[number] if not (folders[i] / "result.json").exists()), None)
                run = runs[groups[number][0] if at is None else at]
                raise UserError(
                    f"{run.method}, seed {run.seed}: {error}. What is done is kept: add --resume to go on."
                ) from None
            after()
            for index in groups[number]:
                done += 1
                on_run(runs[index], done, len(runs))
                advance(1, runs[index].method)


def _start_worker(environment: dict[str, str], additions: dict[str, dict[str, str]]) -> None:
    os.environ.update(environment)  # a process that was forked off an earlier one has that one's
    end_with_parent()
    silence()
    quiet_libraries()
    register(additions)


def _work(runs: list[Run], folders: list[Path], how: Mode, hushed: bool) -> None:
    from cl_forget.streams.understood import hush

    hush(hushed)  # the data are the same in all processes: the one with the first run says what they are
    _one_by_one(runs, folders, how, _own_setups())


def run_folder(run: Run) -> str:
    """The folder name of a run: its method, made safe for file systems, and its seed."""
    return f"{folder_name(run.method)}-seed{run.seed}"
