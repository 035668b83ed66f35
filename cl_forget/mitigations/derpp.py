"""DER++: replay old samples with the labels *and* the logits they had."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from pydantic import Field

from cl_forget.ground.lazy import torch
from cl_forget.mitigations.flyp import HEAD_MADE_ANEW
from cl_forget.mitigations.protocol import Mitigation
from cl_forget.mitigations.shared import memory as _memory

if TYPE_CHECKING:
    from torch import Tensor

    from cl_forget.models.base import Batch, Prepared
    from cl_forget.training.context import Extra, Step, Task
    from cl_forget.training.frozen import Teacher
    from cl_forget.training.state import Tensors


class Answers(_memory.Memory):
    """Which samples are kept, and what the model said of them; by experience.

    Attributes:
        logits: (units of all kept samples, classes or largest ones).
        ids: which classes these are; only of a large vocabulary.
        units: (kept,) units of each sample.
    """

    logits: Tensors
    ids: Tensors
    units: Tensors


class DarkExperienceReplayPlus(Mitigation):
    """Adds `α·mean‖f(x') - z'‖² + β·CE(f(x''), y'')` on two separate draws from the memory.

    z' are the logits of x' at the end of the task it belongs to; the squared difference is averaged over
    classes and samples. The memory has a fixed size, split evenly among the experiences so far. Each sample
    is answered by its own experience's head, which is trained along. β = 0 is DER.

    Attributes:
        alpha: α, of the logits.
        beta: β, of the labels.
        share: samples of each draw per new sample.
        memory: samples kept in all.
    """

    name = "derpp"
    place = "data"
    knob = "alpha"
    grid = (0.1, 0.3, 1.0, 3.0, 10.0)
    keeps = Answers
    conflicts = {"joint": "joint training already sees every task's data", **HEAD_MADE_ANEW}  # noqa: RUF012
    title = "DER++"
    formula = "loss + α·mean‖f(x') - z'‖² + β·CE(f(x''), y'')"
    cost = "two extra batches per step"
    advice = "When some old samples may be kept and their old answers matter more than their labels."
    source = "Buzzega et al. 2020, arXiv:2004.07211, eq. 6"

    alpha: float = Field(default=0.5, ge=0, description="α, of the logits")
    beta: float = Field(default=0.5, ge=0, description="β, of the labels")
    share: float = Field(default=1.0, gt=0, le=100, description="samples of each draw per new sample")
    memory: int = Field(default=500, ge=1, description="samples kept in all")

    @property
    def needs_past(self) -> bool:
        """The memory is empty."""
        return True

    @property
    def is_absent(self) -> bool:
        """Whether neither term counts."""
        return self.alpha == 0 and self.beta == 0

    def shape_parameters(self, task: Task, state: Answers) -> None:
        """Old heads are trained with the trunk."""
        _memory.train_past_heads(task)

    def extra_samples(self, batch_size: int) -> float:
        """Its share of them in each of its draws."""
        return max(1.0, self.share * batch_size) * (bool(self.alpha) + bool(self.beta))

    def further_passes(self, times: float) -> float:
        """What the model says of the samples that are kept, once."""
        return 1.0

    def extra_batches(self, task: Task, number: int, state: Answers) -> list[Extra]:
        """A draw for the logits and one for the labels, in batches of one experience each."""
        from cl_forget.training.context import Extra

        count = max(1, round(self.share * task.batch_size))
        drawn = _memory.recallable(task, count, state)
        augmentation = task.generator("derpp augmentation", number)
        extras = []
        if self.alpha:
            for draw in _memory.recall(task, count, "derpp logits", number, state):
                batch = draw.source.batch(draw.indices, augmentation)
                loss = partial(_distance, _stored(draw.source, draw.slots, batch, state))
                extras.append(Extra(batch, self.alpha * len(batch) / drawn, loss))
        if self.beta:
            for draw in _memory.recall(task, count, "derpp labels", number, state):
                batch = draw.source.batch(draw.indices, augmentation)
                extras.append(Extra(batch, self.beta * len(batch) / drawn))
        return extras

    def end_task(self, task: Task, state: Answers) -> None:
        """Make room for this task's samples, and keep what the model says about them now."""
        _memory.remember(task, self.memory, state)
        for source in task.past:
            _trim(source, state)
        with torch.no_grad():
            for source in task.sources:
                _store(task, source.plain(), state)


def _distance(stored: Teacher, step: Step) -> Tensor:
    """Mean over samples of the mean squared difference of their units' logits."""
    forward = step.forward
    squared = stored.squared_distance(forward.logits) / stored.logits.shape[1]
    return forward.per_sample(squared).mean()


def _store(task: Task, source: Prepared, state: Answers) -> None:
    """Keep logits unit by unit in the order of the samples, and how many units each sample has.

    Of a large vocabulary only the largest logits are kept, and which they are.
    """
    from cl_forget.training.frozen import cut

    kept: dict[str, list[Tensor]] = {}
    counts = []
    for part in _memory.indices_of(source, state).split(64):
        batch = source.batch(part)
        forward = task.model(batch)
        task.cost.forward_samples += len(batch)
        rows = _sample_of_unit(batch)
        order = torch.argsort(rows, stable=True)
        found = {"logits": forward.logits}
        if task.model.top_logits is not None:
            largest = cut(forward.logits, task.model.top_logits)
            found = {"logits": largest["top_logits"], "ids": largest["top_ids"].int()}
        for kind, value in found.items():
            kept.setdefault(kind, []).append(value[order].cpu())
        counts.append(torch.bincount(rows, minlength=len(batch)).cpu())
    name = source.experience.name
    state.update({f"{kind}/{name}": torch.cat(parts) for kind, parts in kept.items()})
    state.units[name] = torch.cat(counts)


def _trim(source: Prepared, state: Answers) -> None:
    """Drop what is kept of samples that have left the memory."""
    name, kept = source.experience.name, len(_memory.indices_of(source, state))
    state.units[name] = state.units[name].cpu()[:kept].clone()
    units = int(state.units[name].sum())
    for answers in (state.logits, state.ids):
        if name in answers:
            answers[name] = answers[name][:units].clone()


def _stored(source: Prepared, slots: Tensor, batch: Batch, state: Answers) -> Teacher:
    """What was kept of a batch whose samples are at `slots` of the memory."""
    from cl_forget.training.frozen import Teacher

    name = source.experience.name
    counts = state.units[name].cpu()
    first = counts.cumsum(0) - counts
    rows = torch.cat([torch.arange(int(first[s]), int(first[s] + counts[s])) for s in slots.tolist()])
    units = torch.empty_like(rows)
    units[torch.argsort(_sample_of_unit(batch).cpu(), stable=True)] = rows
    device = batch.targets.device
    ids = state.ids.get(name)
    return Teacher(
        state.logits[name][units].to(device), None if ids is None else ids[units].long().to(device)
    )


def _sample_of_unit(batch: Batch) -> Tensor:
    return torch.arange(len(batch)) if batch.sample_of_unit is None else batch.sample_of_unit
