"""What a sweep is refused for before anything runs: its command line, its folder, its budget. No Ray in here."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cl_forget.comparison.trial_files import Records
from cl_forget.config.sweep import ANY_NODE, Sweep
from cl_forget.ground.errors import UserError
from cl_forget.ground.outputs import refuse_unwritable
from cl_forget.ground.ray_cluster import OTHERWISE, check_answers
from cl_forget.sweeps.budget import Meter, check_left, check_prices
from cl_forget.sweeps.cluster import FLAGS, Resources, check_fits, idle_devices
from cl_forget.sweeps.devices import check_sharing
from cl_forget.sweeps.folder import SweepState, known_state
from cl_forget.sweeps.rehearsal import fitting
from cl_forget.sweeps.storage import Mirror, is_local, is_remote, local_folder


@dataclass(frozen=True)
class Start:
    """A sweep that may begin, and of which nothing was written.

    Attributes:
        asked, resources: with one count of threads, and every `of: all` written out.
        folder: where it works on this machine.
        mirror: keeps the copy at its address, where that is another one.
        state: how far the folder's sweep is; None where it is new, or to be replaced.
        meter: of a sweep that has a budget; its clock runs.
    """

    asked: Sweep
    resources: Resources
    folder: Path
    mirror: Mirror | None
    state: SweepState | None
    meter: Meter | None


def checked(
    asked: Sweep,
    address: str,
    resume: bool,
    resources: Resources,
    tell: Callable[[str], object],
    overwrite: bool = False,
    jobs: int | None = None,
    tuner: dict[str, Any] | None = None,
    dry: bool = False,
) -> Start:
    """Everything about a sweep that can be known before Ray is there and a model is loaded.

    Args:
        asked, resume, resources, tell, overwrite, jobs, tuner: as `runner.sweep` takes them.
        address: of the sweep's folder.
        dry: whether nothing will follow: then nothing is written at the address either.

    Raises:
        UserError: says what stops it.
    """
    folder, tuner = local_folder(address), tuner or {}
    asked, resources = with_threads(asked, resources)
    if jobs is not None:
        _check_jobs(asked, address, resources, tuner)
    _check_scheduler(asked, resources, tuner)
    if overwrite and not is_local(address):
        raise UserError(f"a sweep at {address} cannot be overwritten; choose another --output.")
    mirror = None if is_local(address) else Mirror(address, folder, records=is_remote(address), dry=dry)
    if mirror:
        # Where nothing is yet, some storage says so.
        with contextlib.suppress(*[FileNotFoundError] if dry else []):
            mirror.pull(theirs=not dry)
    refuse_unwritable(folder)
    asked = fitting(asked, tell)
    state = known_state(folder, asked, resume, overwrite)
    return Start(asked, resources, folder, mirror, state, _meter(asked, folder, state, resources))


def check_runtime(start: Start, jobs: int | None, tell: Callable[[str], object]) -> None:
    """What the runtime would be asked, as far as it is known without Ray: what this machine has, or that a cluster
    answers.

    Args:
        start: of the sweep.
        jobs, tell: as `runner.sweep` takes them.

    Raises:
        UserError: a trial does not fit, a node has no price, or nobody is at the address.
    """
    resources = start.resources
    if resources.address is not None:
        check_answers(resources.address, OTHERWISE)
        return
    if start.meter:
        check_prices([ANY_NODE], start.asked.budget)
    if jobs is not None:
        return
    nodes = [_this_machine()]
    check_fits(resources, nodes)
    if line := idle_devices(resources, nodes):
        tell(line)


def _this_machine() -> dict[str, float]:
    """What Ray finds on it at most."""
    import psutil
    import torch

    memory = psutil.virtual_memory().total
    return {"CPU": os.cpu_count() or 1, "GPU": torch.cuda.device_count(), "memory": memory}


def _check_jobs(asked: Sweep, address: str, resources: Resources, tuner: dict[str, Any]) -> None:
    """Refuse what only Ray can do where processes of this machine do the work."""
    if asked.mode != "curve" or not is_local(address):
        raise UserError(
            "jobs work without Ray, on `mode: curve` and in a folder of this machine; leave --jobs out."
        )
    rays = [flag for name, flag in FLAGS.items() if getattr(resources, name) != getattr(Resources(), name)]
    if rays or tuner:
        raise UserError(
            "--jobs works on the processors of this machine, without Ray: leave "
            f"{[*rays, *tuner][0]} out, or --jobs."
        )


def _check_scheduler(asked: Sweep, resources: Resources, tuner: dict[str, Any]) -> None:
    """Refuse what no trial could follow, before anything is loaded."""
    check_sharing(resources, asked.train.strategy)
    if "scheduler" in tuner:
        from cl_forget.sweeps.stopping import check_own

        check_own(tuner["scheduler"])
    if asked.mode == "hyperband" and resources.max_concurrent is not None:
        raise UserError(
            "`mode: hyperband` has every trial under way at once and pauses most of them, so it knows no limit of "
            "trials side by side: leave --max-concurrent out, and set --cpus-per-trial or --memory-per-trial higher."
        )


def with_threads(asked: Sweep, resources: Resources) -> tuple[Sweep, Resources]:
    """The sweep and its resources with one count of threads: the one that is named, or the larger one.

    The count is part of every trial's run, because sums split among threads round differently.
    """
    if "threads" not in asked.train.model_fields_set and resources.threads > asked.train.threads:
        train = asked.train.model_copy(update={"threads": resources.threads})
        asked = asked.model_copy(update={"train": train})
    if asked.train.threads > resources.threads:
        resources = replace(resources, cpus_per_trial=asked.train.threads)
    return asked, resources


def _meter(asked: Sweep, folder: Path, state: SweepState | None, resources: Resources) -> Meter | None:
    """What counts the spending of a sweep that has a budget; its clock begins now.

    Raises:
        UserError: nothing is left, or devices are counted and trials get none.
    """
    if not asked.budget.limited:
        return None
    if asked.budget.gpu_hours is not None and not resources.gpus_per_trial:
        raise UserError(
            "`budget.gpu_hours` counts devices and trials get none; give them --gpus-per-trial, or `hours`."
        )
    trials, worked = (Records(folder).load(), state.seconds) if state else ((), 0.0)
    meter = Meter(asked.budget, folder, trials, fresh=state is None, worked=worked)
    if state is None or not state.finished:
        check_left(meter)
    return meter
