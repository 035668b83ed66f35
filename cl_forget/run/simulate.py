"""The main job: fine-tune a foundation model on a stream of tasks and see what it forgets."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cl_forget.comparison.records import Result
from cl_forget.config.run import Run
from cl_forget.ground.files import StrPath
from cl_forget.run.sharded import refuse
from cl_forget.run.shared import Setup
from cl_forget.run.simulation import Watch, simulate_with
from cl_forget.training.checkpoints import RunFolder


def simulate(
    run: Run,
    output: StrPath | None = None,
    resume: bool = False,
    donor: StrPath | None = None,
    setup: Setup | None = None,
    watch: Watch | None = None,
) -> Result:
    """Fine-tune on every experience in turn, evaluating everything after each.

    Args:
        run: model, stream, mitigations, training, suites, seed.
        output: the run's folder (checkpoints, events, result); None keeps nothing.
        resume: go on from what the folder holds; a finished run is read, not repeated.
        donor: the folder of a run that starts with the same fine-tuning, which is taken over instead of
            repeated: all of it (one fine-tune serves every post-hoc method) or the stages of the tasks that
            the two streams begin with.
        setup: the model and data of this run where they are loaded already.
        watch: told of every training step and every row; what it raises ends the run, which can be resumed.
            The steps of a sharded run (`train.strategy: fsdp`) are taken elsewhere, and nobody watches them.

    Raises:
        UserError: the run cannot be done as asked; one line with the cure.
    """
    refuse(run, run.chain())
    donor = None if donor is None else Path(donor)
    if run.train.strategy == "fsdp":
        from cl_forget.run.sharded import simulate_sharded

        with _folder(output) as folder:
            return simulate_sharded(run, folder, resume, donor)
    with _folder(output) as folder:
        return simulate_with(run, folder, resume, donor, setup, watch)


@contextlib.contextmanager
def _folder(output: StrPath | None) -> Iterator[RunFolder]:
    if output is not None:
        yield RunFolder(Path(output))
        return
    with tempfile.TemporaryDirectory(prefix="cl_forget_run_") as temporary:
        yield RunFolder(Path(temporary), lasting=False)
