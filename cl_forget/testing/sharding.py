"""One process as a group of one sharded worker: weights are laid out as on many, without a cluster."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator

import torch

from cl_forget.training.workers import ShardedWorkers


@contextlib.contextmanager
def one_worker() -> Iterator[ShardedWorkers]:
    """A sharded worker that is alone; what mixes whole tensors with parts fails with it as it does with many."""
    import torch.distributed as dist

    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        with warnings.catch_warnings():
            # Outputs of language models are views; nothing changes them in place, which is what torch warns of.
            warnings.filterwarnings("ignore", message="FSDP2-wrapped module")
            yield ShardedWorkers(torch.device("cpu"))
    finally:
        dist.destroy_process_group()
