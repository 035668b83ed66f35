"""Training data whose answers the model under training gives itself, anew in every step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cl_forget.models.base import Batch, Prepared, Prompts
from cl_forget.training.context import Task
from cl_forget.training.frozen import Teacher


@dataclass
class Drawn:
    """What a batch of a step was answered.

    Attributes:
        answers: token ids of each sample.
        teacher: what the teacher says of them, once it was asked.
    """

    answers: list[list[int]]
    teacher: Teacher | None = None


class OnPolicy(Prepared):
    """The samples of a data set with answers drawn from `task.model` as it is when a batch is asked for.

    All passes of a step see the same answers and the same teacher (SAM's second one, too), so they differentiate one
    function. Without a generator, and as `plain`, the samples are the data's own.

    Args:
        task: whose model answers; the passes are counted in its cost.
        samples: the data's own.
        asked: their prompts.
        shown: their prompts with the data's answers in sight, for the teacher.
        temperature: as for `Prompts.answer`.
    """

    deterministic = False

    def __init__(
        self, task: Task, samples: Prepared, asked: Prompts, shown: Prompts, temperature: float
    ) -> None:
        self.experience, self.split, self.key = samples.experience, samples.split, f"{samples.key}-on-policy"
        self._task, self._samples, self._asked, self._shown = task, samples, asked, shown
        self._temperature = temperature
        self._seed: int | None = None
        self._drawn: dict[tuple[int, ...], Drawn] = {}  # of one step, by the samples of a batch

    def __len__(self) -> int:
        return len(self._samples)

    def plain(self) -> Prepared:
        """The data's own."""
        return self._samples

    def grouped(self, indices: Tensor) -> Tensor:
        """By the length of the data's own answers."""
        return self._samples.grouped(indices)

    def batch(self, indices: Tensor, generator: torch.Generator | None = None) -> Batch:
        """The samples at `indices`, answered; the generator is that of the step."""
        if generator is None:
            return self._samples.batch(indices)
        seed = generator.initial_seed()
        if seed != self._seed:
            self._seed, self._drawn = seed, {}
        chosen = tuple(indices.tolist())
        if chosen not in self._drawn:
            answers = self._asked.answer(self._task.model, indices, seed, self._temperature)
            self._drawn[chosen] = Drawn(answers)
            self._task.cost.forward_samples += len(answers)
        return replace(self._asked.batch(indices, self._drawn[chosen].answers), samples=self)

    def teacher(self, batch: Batch, ask: Callable[[Batch], Teacher]) -> Teacher:
        """What the teacher, who sees the data's own answers, says of each token of a batch of this step.

        Args:
            batch: as `batch` gave it.
            ask: gives the predictions for the same answers after the prompts that show the data's.
        """
        drawn = self._drawn[tuple(batch.indices.tolist())]
        if drawn.teacher is None:
            drawn.teacher = ask(self._shown.batch(batch.indices, drawn.answers))
        return drawn.teacher
