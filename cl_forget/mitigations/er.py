"""ER: mix samples of earlier tasks, or generic ones, into every step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field

from cl_forget.ground.lazy import torch
from cl_forget.mitigations.flyp import HEAD_MADE_ANEW
from cl_forget.mitigations.protocol import Mitigation
from cl_forget.mitigations.shared import memory as _memory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from cl_forget.training.context import Extra, Step, Task


class ExperienceReplay(Mitigation):
    """The loss is the mean over a batch of B new and `share·B` old samples, as if they were one batch.

    Old samples come from a memory of fixed size, split evenly among the experiences so far and filled at
    random, or from a data set outside the stream (generic data, which also helps the first task). Each is
    answered by its own experience's head, which is trained along.

    Attributes:
        share: old samples per new one.
        memory: samples kept in all; a memory smaller than a step's share is replayed whole.
        replay: "past" for the memory, or a suite or stream to take generic samples from instead.
    """

    name = "er"
    place = "data"
    knob = "share"
    grid = (0.25, 0.5, 1.0, 2.0, 4.0)
    absent = 0.0
    keeps = _memory.Memory
    conflicts = HEAD_MADE_ANEW
    title = "Experience replay"
    formula = "mean cross-entropy over B new and share·B old samples"
    cost = "a batch of `share` times the size more per step"
    advice = "When some old or generic data may be kept: the strongest simple method."
    source = "Chaudhry et al. 2019, arXiv:1902.10486; generic data: Lin et al. 2023, arXiv:2309.06256"

    share: float = Field(default=1.0, ge=0, le=100, description="old samples per new one")
    memory: int = Field(default=500, ge=1, description="samples kept in all")
    replay: str | dict[str, Any] = Field(
        default="past", description="'past', or a suite or stream of generic data"
    )

    @property
    def needs_past(self) -> bool:
        """Unless generic data are replayed."""
        return self.replay == "past"

    def references(self) -> Sequence[str | dict[str, Any]]:
        """The generic data, where they are replayed."""
        return [] if self.replay == "past" else [self.replay]

    def shape_parameters(self, task: Task, state: _memory.Memory) -> None:
        """Old heads are trained with the trunk where their samples are replayed."""
        if self.replay == "past":
            _memory.train_past_heads(task)

    def sample_weights(self, step: Step, state: _memory.Memory) -> Tensor:
        """B/(B + M) on every new sample, for M old ones."""
        task = step.task
        share = self._count(task, state) / task.batch_size
        return torch.full((len(step.batch),), 1 / (1 + share), device=task.model.device)

    def extra_samples(self, batch_size: int) -> float:
        """Its share of them."""
        return max(1.0, self.share * batch_size)

    def extra_batches(self, task: Task, number: int, state: _memory.Memory) -> list[Extra]:
        """Batches of one experience each, every one with its part of the M/(B + M)."""
        from cl_forget.training.context import Extra

        whole = task.batch_size + self._count(task, state)
        augmentation = task.generator("er augmentation", number)
        if self.replay == "past":
            draws = _memory.recall(task, self._wanted(task), "er", number, state)
            pairs = [(draw.source, draw.indices) for draw in draws]
        else:
            generic = task.reference(self.replay)
            order = torch.randperm(len(generic), generator=task.generator("er", number))
            pairs = [(generic, part) for part in _memory.split(task, order[: self._wanted(task)])]
        return [
            Extra(source.batch(indices, augmentation), factor=len(indices) / whole)
            for source, indices in pairs
        ]

    def _wanted(self, task: Task) -> int:
        return max(1, round(self.share * task.batch_size))

    def _count(self, task: Task, state: _memory.Memory) -> int:
        """M, the old samples of a step."""
        if self.replay == "past":
            return _memory.recallable(task, self._wanted(task), state)
        return min(self._wanted(task), len(task.reference(self.replay)))

    def end_task(self, task: Task, state: _memory.Memory) -> None:
        """Make room for this task's samples."""
        if self.replay == "past":
            _memory.remember(task, self.memory, state)
