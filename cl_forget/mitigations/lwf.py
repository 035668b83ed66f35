"""LwF: on new data, go on answering for the old classes as before."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from cl_forget.ground.errors import UserError
from cl_forget.ground.lazy import torch
from cl_forget.mitigations.flyp import HEAD_NOT_TRAINED
from cl_forget.mitigations.protocol import Mitigation
from cl_forget.training.state import State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from cl_forget.models.base import FoundationModel
    from cl_forget.streams.base import Experience
    from cl_forget.training.context import Step, Task
    from cl_forget.training.state import Tensors


class Classes(State):
    """The old classes of a task.

    Attributes:
        classes: (old classes,) their numbers, by head.
    """

    classes: Tensors


class LearningWithoutForgetting(Mitigation):
    """Adds `λ·Σ_h mean KL(teacher_h‖student_h)` at temperature T, over the old classes of every old head h.

    The teacher is the model at the start of the task, its inputs are the new task's. Where tasks have heads
    of their own, every old head answers, and goes on training; where they share one (class-incremental
    streams), its logits of the classes seen so far do, renormalised among themselves. The first task has no
    old classes and is plain fine-tuning. There is no factor T², as in the paper.

    Attributes:
        strength: λ.
        temperature: T, which both sides' logits are divided by.
    """

    name = "lwf"
    place = "loss"
    knob = "strength"
    grid = (0.1, 0.3, 1.0, 3.0, 10.0)
    absent = 0.0
    conflicts = HEAD_NOT_TRAINED
    keeps = Classes
    title = "LwF"
    formula = "loss + λ·Σ_h mean KL(softmax(z*_h/T)‖softmax(z_h/T)), h = old classes"
    cost = "1.00 of a plain step with the cached teacher"
    advice = "In sequences, to keep the old tasks' answers without their data."
    source = "Li & Hoiem 2016, arXiv:1606.09282, eq. 2-3 (minus the teacher's entropy, a constant)"

    strength: float = Field(default=1.0, ge=0, allow_inf_nan=False, description="λ")
    temperature: float = Field(default=2.0, gt=0, allow_inf_nan=False, description="T")

    @property
    def needs_past(self) -> bool:
        """There are no old classes."""
        return True

    def check(self, model: FoundationModel, tasks: Sequence[Experience]) -> None:
        """Refuse tasks without classes."""
        for task in tasks:
            if task.labels is None:
                raise UserError(
                    f"lwf needs tasks with classes, and '{task.name}' has none; use kd or kl_to_base."
                )

    def start_task(self, task: Task, state: Classes) -> None:
        """Collect the old classes of each head."""
        self.check(task.model, task.stage)
        state.clear()
        for samples in task.past:
            seen = samples.targets
            assert samples.experience.labels is not None and seen is not None
            head, old = samples.experience.labels.head, state.classes
            old[head] = torch.cat([old[head], seen]).unique() if head in old else seen.unique()

    def request_outputs(self, task: Task, state: Classes) -> None:
        """Ask for the teacher's embeddings."""
        if task.past:
            task.frozen.request("previous", ["embedding"])

    def shape_parameters(self, task: Task, state: Classes) -> None:
        """Old heads go on training."""
        for experience in _heads(task).values():
            for name in task.model.head_parameters(experience):
                task.model.get_parameter(name).requires_grad_(True)

    def penalty(self, step: Step, state: Classes) -> Tensor | None:
        """λ times the sum over old heads of the divergence on the old classes."""
        task = step.task
        if not task.past:
            return None
        embedding = task.frozen.read(step.batch, "previous", ["embedding"])["embedding"]
        teacher = task.frozen.models["previous"].model
        terms = []
        for head, experience in _heads(task).items():
            old = state.classes[head].to(embedding.device)
            with torch.no_grad(), torch.autocast(embedding.device.type, enabled=False):
                before = self._log_p(teacher.head_logits(experience, embedding)[:, old])
            now = self._log_p(task.model.head_logits(experience, step.forward.embedding)[:, old])
            terms.append((before.exp() * (before - now)).sum(1).mean())
        return self.strength * torch.stack(terms).sum()

    def _log_p(self, logits: Tensor) -> Tensor:
        return (logits / self.temperature).log_softmax(1)


def _heads(task: Task) -> dict[str, Experience]:
    """Old head -> an experience that it belongs to."""
    labelled = [s.experience for s in task.past if s.experience.labels is not None]
    return {e.labels.head: e for e in labelled if e.labels is not None}
