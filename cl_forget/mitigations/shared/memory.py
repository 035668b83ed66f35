"""A small memory of past training samples, for ER and DER++: which to keep, which to replay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cl_forget.ground.lazy import torch
from cl_forget.training.state import State

if TYPE_CHECKING:
    from torch import Tensor

    from cl_forget.models.base import Prepared
    from cl_forget.training.context import Task
    from cl_forget.training.state import Tensors


class Memory(State):
    """Which samples are kept.

    Attributes:
        indices: (kept,) positions in its training data, by experience.
    """

    indices: Tensors


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


def remember(task: Task, memory: int, state: Memory) -> None:
    """Keep `memory` samples in all, the same number (at least 1) of each experience so far, drawn at random.

    `state.indices` holds a prefix of one random order per experience, so making room for a new experience keeps
    a random part of the old ones.
    """
    quota = max(1, memory // (len(task.past) + len(task.sources)))
    for number, source in enumerate(task.sources):
        order = torch.randperm(len(source), generator=task.generator("memory", number))
        state.indices[source.experience.name] = order
    for source in [*task.past, *task.sources]:
        state.indices[source.experience.name] = indices_of(source, state)[:quota].clone()


def recall(task: Task, count: int, purpose: str, number: int, state: Memory) -> list[Draw]:
    """`count` samples for step `number`, uniform over the memory, each at most once.

    A draw is of one experience, and no larger than a micro-batch.
    """
    sources = [source for source in task.past if source.experience.name in state.indices]
    if not sources:
        return []
    kept = [indices_of(source, state) for source in sources]
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


def recallable(task: Task, count: int, state: Memory) -> int:
    """How many of `count` samples `recall` would give."""
    past = {source.experience.name for source in task.past}
    return min(count, sum(len(kept) for name, kept in state.indices.items() if name in past))


def train_past_heads(task: Task) -> None:
    """Replay trains the heads of past experiences too; elsewhere they would fall behind the trunk."""
    for source in task.past:
        for name in task.model.head_parameters(source.experience):
            task.model.get_parameter(name).requires_grad_(True)


def indices_of(source: Prepared, state: Memory) -> Tensor:
    """(kept,) positions of the samples kept; on the CPU, though a checkpoint is read to the model's device."""
    return state.indices[source.experience.name].cpu()
