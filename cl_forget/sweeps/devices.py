"""Devices that several trials share: how many fit into the memory of one, and each held to its part."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from cl_forget.ground.errors import UserError
from cl_forget.sweeps.cluster import ROOM, Resources

CONTEXT = 600.0
"""MiB that a process takes of a device beside its tensors: the driver's context and the kernels."""


def check_sharing(resources: Resources, strategy: str) -> None:
    """Refuse to share what trials do not have, or have alone.

    Raises:
        UserError: says what to give them.
    """
    if not resources.share_gpus:
        return
    if resources.gpus_per_trial != 1:
        raise UserError(
            "--share-gpus finds out how many trials share a device; give it --gpus-per-trial 1, or set the share by "
            "--gpus-per-trial alone."
        )
    if strategy == "fsdp":
        raise UserError("a sharded trial has its devices for itself; leave --share-gpus out.")


def packed(resources: Resources, peak_mb: float, devices: Sequence[float]) -> Resources:
    """The same, with as many trials on a device as fit on the smallest one.

    Args:
        resources: of the sweep.
        peak_mb: memory of the device that a trial was measured to need, MiB; a fifth more is kept for it.
        devices: memory of each, MiB. Ray takes them for equal, so the smallest decides.

    Raises:
        UserError: not even one fits.
    """
    need, smallest = ROOM * peak_mb + CONTEXT, min(devices)
    count = int(smallest // need)
    if not count:
        raise UserError(
            f"one trial wants about {need:,.0f} MiB of a device and the smallest has {smallest:,.0f}; set "
            "`train.micro_batch_size` lower, or keep trials off it by --resource."
        )
    share = math.floor(1e4 / count) / 1e4  # Ray counts devices in ten thousandths
    return dataclasses.replace(resources, gpus_per_trial=share)


def hold(share: float) -> None:
    """Hold this process to its share of the device that it was given, so that it takes none of its neighbours'.

    What a trial wants beyond it is refused by torch, and the trial is recorded as out of memory.
    """
    import torch

    if torch.cuda.is_available():
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(allowed(share, total / 2**20), 0)


def allowed(share: float, device_mb: float) -> float:
    """The part of a device that a process's tensors may take, so that they and its context stay within its share."""
    return max(0.0, share - CONTEXT / device_mb)


def device_memory() -> list[float]:
    """Memory of every device of the runtime, MiB; those of one node are taken to be alike."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    def total() -> float:
        import torch

        return torch.cuda.get_device_properties(0).total_memory / 2**20

    remote: Any = ray.remote(total)
    nodes = {node["NodeID"]: int(node["Resources"].get("GPU", 0)) for node in ray.nodes() if node["Alive"]}
    asked = {
        node: remote.options(
            num_cpus=0, num_gpus=1, scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)
        ).remote()
        for node, count in nodes.items()
        if count
    }
    return [memory for node, ref in asked.items() for memory in [ray.get(ref)] * nodes[node]]
