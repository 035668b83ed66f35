"""A simulation by several processes that Ray Train starts, each with a part of the weights.

Every worker goes through the same `simulate`; the first one evaluates, writes the run's folder and tells the
others. The folder and the cache of frozen outputs have to lie on storage that all workers' machines share.
"""

from __future__ import annotations

import logging
import os
import shutil
from pathlib import Path
from typing import Any

from cl_forget.comparison.records import Result
from cl_forget.config.run import Run
from cl_forget.ground.errors import UserError
from cl_forget.ground.followed import passed_on
from cl_forget.ground.imports import bring_in
from cl_forget.ground.progress import into, mute
from cl_forget.ground.ray_cluster import join
from cl_forget.mitigations.chain import Chain
from cl_forget.training.checkpoints import RunFolder

DAY = 24 * 3600
"""Seconds that workers wait for each other: while the first evaluates, the others do nothing."""


def simulate_sharded(
    run: Run, folder: RunFolder, resume: bool = False, donor: Path | None = None, overwrite: bool = False
) -> Result:
    """`simulate` by `run.train.workers` workers on the Ray cluster that RAY_ADDRESS names, or on one started here.

    Args:
        run: its `train.strategy` is "fsdp".
        folder: the run's folder, seen by every worker under the same path.
        resume, donor, overwrite: as for `simulate`.

    Raises:
        UserError: what a single process would raise, nobody is at RAY_ADDRESS, or there is no room for the workers.
    """
    import ray
    import torch
    from ray.train import RunConfig, ScalingConfig, WorkerGroupError
    from ray.train.torch import TorchConfig, TorchTrainer

    gpu = torch.cuda.is_available()
    if not ray.is_initialized():
        # Left to itself Ray would look for the last cluster of this machine, and wait minutes where that is gone.
        quiet: dict[str, Any] = {
            "include_dashboard": False,
            "logging_level": logging.ERROR,
            "log_to_driver": False,
        }
        if address := os.environ.get("RAY_ADDRESS"):
            join(address, "unset RAY_ADDRESS", **quiet)
        else:
            ray.init("local", **quiet)
    _check_room(ray.cluster_resources(), run.train.workers, gpu)
    arguments = {
        "run": run.model_dump(mode="json"),
        "folder": str(folder.path.resolve()),
        "lasting": folder.lasting,
        "resume": resume,
        "donor": str(Path(donor).resolve()) if donor else None,
        "overwrite": overwrite,
    }
    scratch = folder.path.resolve() / "workers"  # Ray Train's own bookkeeping, of no use afterwards
    trainer = TorchTrainer(
        work,
        train_loop_config=arguments,
        scaling_config=ScalingConfig(num_workers=run.train.workers, use_gpu=gpu),
        torch_config=TorchConfig(backend="nccl" if gpu else "gloo", timeout_s=DAY),
        run_config=RunConfig(name="fsdp", storage_path=str(scratch)),
    )
    try:
        with passed_on(folder.path):
            trainer.fit()
    except WorkerGroupError as error:
        raise _cause(error) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return Result.load(folder.path)


def work(arguments: dict[str, Any]) -> None:
    """What each worker does."""
    import ray.train.torch
    import torch

    from cl_forget.run.shared import Setup
    from cl_forget.run.simulation import Beginning, simulate_with
    from cl_forget.training.workers import ShardedWorkers

    donor = Path(arguments["donor"]) if arguments["donor"] else None
    workers = ShardedWorkers(torch.device(ray.train.torch.get_device()))
    folder = RunFolder(Path(arguments["folder"]), arguments["lasting"])
    into(folder.path)
    if workers.rank > 0:
        mute()
    bring_in(arguments["run"].get("imports", []))
    run = Run.parse(arguments["run"])
    setup = Setup(run, "cpu")  # the whole model need not fit a GPU; the parts of it are moved there
    resume, overwrite = arguments["resume"], arguments["overwrite"]
    simulate_with(run, folder, Beginning(resume, overwrite, donor, setup=setup, workers=workers))


def _check_room(resources: dict[str, float], workers: int, gpu: bool) -> None:
    kind = "GPU" if gpu else "CPU"
    there = resources.get(kind, 0)
    if there < workers:
        raise UserError(
            f"train.workers: {workers} workers need {workers} {kind}s and the cluster has {there:g}; lower "
            "train.workers, or add machines."
        )


def _cause(error: Any) -> Exception:
    """The user's mistake behind a failed group of workers, if it was one."""
    for failure in error.worker_failures.values():
        cause: BaseException | None = failure
        while cause is not None:
            if isinstance(cause, UserError):
                return cause
            cause = getattr(cause, "cause", None) or cause.__cause__
    return error


def refuse(run: Run, chain: Chain) -> None:
    """Refuse a run whose numbers would not be those of one worker.

    Raises:
        UserError: names the method and the reason.
    """
    if run.train.strategy == "single":
        return
    for m in chain:
        reason = m.whole_only or (
            "it runs a training loop of its own" if m in chain.using("train_task") else None
        )
        if reason:
            raise UserError(
                f"'{m.name}' cannot be trained with train.strategy: fsdp: {reason}; use train.strategy: single."
            )
    if run.train.augment != "none":
        raise UserError(
            "train.augment cannot be used with train.strategy: fsdp: each worker would draw other images than one "
            "worker does; set train.augment: none or train.strategy: single."
        )
