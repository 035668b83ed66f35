"""A small memory of past training samples, for ER and DER++: which to keep, which to replay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cl_forget.ground.lazy import torch

if TYPE_CHECKING:
    from torch import Tensor

    from cl_forget.mitigations.protocol import State
    from cl_forget.models.base import Prepared
    from cl_forget.training.context import Task


@dataclass
class Draw:
    """Samples drawn from one past experience.

    Attributes:
        source: its training data.
        slots: (n,) positions in the memory of this experience.
        indices: (n,) positions in `source`.
    """

    source: Prepared
    slots: Tensor
    indices: Tensor


def remember(task: Task, memory: int, state: State) -> None:
    """Keep `memory` samples in all, the same number (at least 1) of each experience so far, drawn at random.

    `state["indices/<experience>"]` is a prefix of one random order per experience, so making room for a new
    experience keeps a random part of the old ones.
    """
    quota = max(1, memory // (len(task.past) + len(task.sources)))
    for number, source in enumerate(task.sources):
        order = torch.randperm(len(source), generator=task.generator("memory", number))
        state[key(source)] = order
    for source in [*task.past, *task.sources]:
        state[key(source)] = state[key(source)].cpu()[:quota].clone()


def recall(task: Task, count: int, purpose: str, number: int, state: State) -> list[Draw]:
    """`count` samples for step `number`, uniform over the memory, each at most once.

    A draw is of one experience, and no larger than a micro-batch.
    """
    sources = [source for source in task.past if key(source) in state]
    if not sources:
        return []
    kept = [state[key(source)].cpu() for source in sources]  # a checkpoint is read to the model's device
    owner = torch.cat([torch.full_like(indices, i) for i, indices in enumerate(kept)])  # (memory,)
    slots = torch.cat([torch.arange(len(indices)) for indices in kept])
    drawn = torch.randperm(len(owner), generator=task.generator(purpose, number))[:count]
    draws = []
    for position, source in enumerate(sources):
        chosen = slots[drawn[owner[drawn] == position]]
        draws += [Draw(source, part, kept[position][part]) for part in split(task, chosen)]
    return draws


def split(task: Task, indices: Tensor) -> list[Tensor]:
    """(n,) indices in parts that go through the model at once; none of them empty."""
    return [part for part in indices.split(task.micro_batch_size or max(1, len(indices))) if len(part)]


def recallable(task: Task, count: int, state: State) -> int:
    """How many of `count` samples `recall` would give."""
    return min(count, sum(len(state[key(s)]) for s in task.past if key(s) in state))


def train_past_heads(task: Task) -> None:
    """Replay trains the heads of past experiences too; elsewhere they would fall behind the trunk."""
    for source in task.past:
        for name in task.model.head_parameters(source.experience):
            task.model.get_parameter(name).requires_grad_(True)


def key(source: Prepared) -> str:
    """Where the state keeps the indices of an experience."""
    return f"indices/{source.experience.name}"
