"""The main job: fine-tune a foundation model on a stream of tasks and see what it forgets."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cl_forget.comparison.records import Result
from cl_forget.config.run import Run
from cl_forget.ground.files import StrPath, only_writer, remove_leftovers
from cl_forget.ground.outputs import drop_empty
from cl_forget.ground.records import Fingerprints
from cl_forget.run.sharded import refuse
from cl_forget.run.shared import Setup, Setups
from cl_forget.run.simulation import Beginning, Watch, simulate_with
from cl_forget.training.checkpoints import RunFolder


def simulate(
    run: Run,
    output: StrPath | None = None,
    *,
    resume: bool = False,
    donor: StrPath | None = None,
    setup: Setup | Setups | None = None,
    watch: Watch | None = None,
    overwrite: bool = False,
    alike: Fingerprints | None = None,
) -> Result:
    """Fine-tune on every experience in turn, evaluating everything after each.

    Args:
        run: model, stream, mitigations, training, suites, seed.
        output: the run's folder (checkpoints, events, result); None keeps nothing.
        resume: go on from what the folder holds; a finished run is read, not repeated.
        donor: the folder of a run that starts with the same fine-tuning, which is taken over instead of
            repeated: all of it (one fine-tune serves every post-hoc method) or the stages of the tasks that
            the two streams begin with.
        setup: the model and data of this run where they are loaded already, or those that the process keeps, to
            which they are added.
        watch: told of every training step and every row; what it raises ends the run, which can be resumed.
            The steps of a sharded run (`train.strategy: fsdp`) are taken elsewhere, and nobody watches them.
        overwrite: start over where the folder holds a run; that run stays until this one can begin. With
            `resume`, only where it holds another one than this.
        alike: what the base model and the data must be, because this run will be compared with others.

    Raises:
        UserError: the run cannot be done as asked; one line with the cure. The folder holds a run, and neither
            `resume` nor `overwrite` is set; or another process works in it.
    """
    refuse(run, run.chain())
    donor = None if donor is None else Path(donor)
    with _folder(output) as folder:
        if run.train.strategy == "fsdp":
            from cl_forget.run.sharded import simulate_sharded

            return simulate_sharded(run, folder, resume, donor, overwrite)
        return simulate_with(run, folder, Beginning(resume, overwrite, donor, alike, setup, watch))


@contextlib.contextmanager
def _folder(output: StrPath | None) -> Iterator[RunFolder]:
    """The run's folder, with nobody else in it; a folder made for a run that never began is taken away again."""
    if output is None:
        with tempfile.TemporaryDirectory(prefix="cl_forget_run_") as temporary:
            yield RunFolder(Path(temporary), lasting=False)
        return
    path, began = Path(output), False
    new = not path.exists()
    try:
        with only_writer(path):
            remove_leftovers(path, path / "checkpoints")
            yield RunFolder(path)
            began = True
    finally:
        if new and not began:
            drop_empty(path / "checkpoints", path)
