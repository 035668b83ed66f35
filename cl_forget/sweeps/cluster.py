"""The Ray runtime a sweep runs on, and what each trial gets of it."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cl_forget.config.sweep import ANY_NODE
from cl_forget.ground.errors import UserError
from cl_forget.ground.ray_cluster import OTHERWISE, join

ROOM = 1.2
"""What a trial is given of memory, over what one was measured to need."""

FLAGS = {
    "address": "--address",
    "gpus_per_trial": "--gpus-per-trial",
    "memory_per_trial": "--memory-per-trial",
    "max_concurrent": "--max-concurrent",
    "share_gpus": "--share-gpus",
    "custom": "--resource",
}
"""What of `Resources` only Ray sees to, and its option on the command line."""

LEAST = 1e-4
"""Of a processor, a device or any other resource: Ray counts in such parts."""


@dataclass(frozen=True)
class Resources:
    """What a sweep may use.

    Attributes:
        address: of a Ray cluster ("auto", "host:port", "ray://host:port"); None for this machine alone.
        cpus_per_trial: processors, and as many threads, per trial.
        gpus_per_trial: devices per trial; a fraction shares one.
        memory_per_trial: MiB that a trial needs at its peak; Ray packs as many onto a node as fit. None leaves
            memory out.
        max_concurrent: trials side by side at most; None for as many as fit.
        share_gpus: whether as many trials share a device as fit into its memory, each held to its part.
        custom: resources that nodes have by names of their own -> how much of it a trial takes.

    Raises:
        UserError: an amount that Ray cannot give.
    """

    address: str | None = None
    cpus_per_trial: float = 1
    gpus_per_trial: float = 0
    memory_per_trial: float | None = None
    max_concurrent: int | None = None
    share_gpus: bool = False
    custom: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        amounts = {
            "--cpus-per-trial": self.cpus_per_trial,
            "--gpus-per-trial": self.gpus_per_trial,
            "--memory-per-trial": self.memory_per_trial or 0,
            **{f"--resource {name}": amount for name, amount in self.custom.items()},
        }
        for option, amount in amounts.items():
            if amount != 0 and not LEAST <= amount < math.inf:
                raise UserError(f"{option} {amount:g}: give a finite number, {LEAST:g} at least.")
        devices = self.gpus_per_trial
        if devices > 1 and devices != int(devices):
            raise UserError(
                f"--gpus-per-trial {devices:g}: above 1 only whole devices are given; take {int(devices)} or "
                f"{int(devices) + 1}, or a part of one."
            )

    @property
    def threads(self) -> int:
        """Threads of the processor per trial."""
        return max(1, int(self.cpus_per_trial))

    @property
    def device(self) -> str:
        """Where a trial's model lies."""
        return "cuda" if self.gpus_per_trial else "cpu"

    @property
    def per_trial(self) -> dict[str, float]:
        """As Ray wants it."""
        wanted = {"CPU": self.cpus_per_trial, "GPU": self.gpus_per_trial}
        if self.memory_per_trial is not None:
            wanted["memory"] = self.memory_per_trial * 2**20
        wanted |= self.custom
        return {name: amount for name, amount in wanted.items() if amount}

    @property
    def side_by_side(self) -> int:
        """Trials that run at the same time on the cluster as it is now; needs the runtime."""
        fit = sum(_fitting(node, self.per_trial) for node in nodes_there())
        return max(1, min(fit, self.max_concurrent or fit))


def custom_resources(given: Iterable[str]) -> dict[str, float]:
    """What `--resource NAME=AMOUNT` says.

    Raises:
        UserError: it is no such text, or Ray's own resources, which have options of their own.
    """
    found = {}
    for text in given:
        name, _, amount = text.partition("=")
        try:
            value = float(amount)
        except ValueError:
            value = 0.0
        if not name or not 0 < value < math.inf:
            raise UserError(f"--resource {text}: write NAME=AMOUNT with an amount above 0, such as fpga=1.")
        if name in ("CPU", "GPU", "memory"):
            raise UserError(
                f"--resource {text}: that is --{name.lower()}{'s' * (name != 'memory')}-per-trial."
            )
        found[name] = value
    return found


def node_types() -> list[str]:
    """The type of each node that is there: the group that KubeRay says, or the label `node-type`; else "any"."""
    import ray

    labels = [node.get("Labels") or {} for node in ray.nodes() if node["Alive"]]
    return [found.get("ray.io/node-group") or found.get("node-type") or ANY_NODE for found in labels]


def _fitting(has: Mapping[str, float], wanted: Mapping[str, float]) -> int:
    return min((int(has.get(name, 0) / amount) for name, amount in wanted.items()), default=1)


@contextlib.contextmanager
def ray_runtime(resources: Resources) -> Iterator[Resources]:
    """The runtime: one that is there already, the cluster at the address, or one of this machine's own.

    Raises:
        UserError: no cluster at the address, or no node is large enough for one trial.
    """
    quiet = {
        "RAY_DEDUP_LOGS": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
        "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
        "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",
        "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
        "RAY_AIR_NEW_OUTPUT": "0",
        "RAY_worker_niceness": "0",  # a trial is the work itself, no background job (the default is 15)
    }
    for name, value in quiet.items():
        os.environ.setdefault(name, value)
    import ray

    ours = not ray.is_initialized()
    if ours:
        _start(ray, resources)
    try:
        check_fits(resources, nodes_there())
        yield resources
    finally:
        if ours:
            ray.shutdown()


def _start(ray: Any, resources: Resources) -> None:
    import logging

    options: dict[str, Any] = {
        "log_to_driver": False,
        "logging_level": logging.ERROR,
        "runtime_env": {"env_vars": _environment()},
    }
    if resources.address is None:
        ray.init("local", include_dashboard=False, num_cpus=os.cpu_count(), **options)
        return
    join(resources.address, OTHERWISE, **options)


def _environment() -> dict[str, str]:
    """What workers need to find the same code and the same caches as the driver."""
    names = ("PYTHONPATH", "CL_FORGET_CACHE", "WANDB_MODE")
    return {name: os.environ[name] for name in names if os.environ.get(name)}


def nodes_there() -> list[dict[str, float]]:
    """What each node of the runtime has."""
    import ray

    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def check_fits(resources: Resources, nodes: Sequence[Mapping[str, float]]) -> None:
    """Raise `UserError` unless some node is large enough for one trial.

    Args:
        resources: what a trial wants.
        nodes: what each of them has.
    """
    if any(_fitting(node, resources.per_trial) >= 1 for node in nodes):
        return
    flags = {"CPU": "--cpus-per-trial", "GPU": "--gpus-per-trial", "memory": "--memory-per-trial"}
    for name, amount in resources.per_trial.items():
        most = max((node.get(name, 0) for node in nodes), default=0)
        if most < amount:
            unit = {"memory": " MiB of memory", "CPU": " CPUs", "GPU": " GPUs"}.get(name, f" of '{name}'")
            scale = 2**20 if name == "memory" else 1
            raise UserError(
                f"one trial wants {amount / scale:g}{unit} and the largest node has {most / scale:g}; lower "
                f"{flags.get(name, '--resource')}."
            )
    raise UserError("no node has everything one trial wants at once; lower what each trial gets.")


def idle_devices(resources: Resources, nodes: Sequence[Mapping[str, float]]) -> str | None:
    """A line where nodes have devices and trials, which have to ask for them, take none; None where all is well.

    Args:
        resources: of the sweep.
        nodes: what each of them has.
    """
    count = sum(node.get("GPU", 0) for node in nodes)
    if not count or resources.gpus_per_trial:
        return None
    are = "1 GPU is" if count == 1 else f"{count:g} GPUs are"
    return (
        f"{are} there and trials take none, they train on processors: give each its share by --gpus-per-trial"
    )


def with_memory(resources: Resources, peak_mb: float) -> Resources:
    """The same, with the memory a trial was measured to need and a fifth more."""
    return dataclasses.replace(resources, memory_per_trial=ROOM * peak_mb)
