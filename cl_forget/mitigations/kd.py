"""KD: keep the logits on the task's own data where they were."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from cl_forget.mitigations.flyp import HEAD_NOT_TRAINED
from cl_forget.mitigations.protocol import Mitigation

if TYPE_CHECKING:
    from torch import Tensor

    from cl_forget.training.context import Step, Task
    from cl_forget.training.state import State


class KnowledgeDistillation(Mitigation):
    """Adds `λ·mean‖fθ(x)-fθ*(x)‖²`, f = the logits of the task's head.

    It is summed over classes and averaged over samples; of a large vocabulary only the teacher's largest
    logits count (`text.top_logits`). The squared form has no temperature and no direction;
    `lwf` and `kl_to_base` are the forms with them.

    Attributes:
        strength: λ; CLIP's logits are cosines times about 100, so useful values start low.
        anchor: the teacher: the pre-trained model, or the model at the start of the current task.
    """

    name = "kd"
    place = "loss"
    knob = "strength"
    grid = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
    absent = 0.0
    conflicts = HEAD_NOT_TRAINED
    title = "KD (squared logits)"
    formula = "loss + λ·mean‖fθ(x)-fθ*(x)‖²"
    cost = "1.00 of a plain step with the cached teacher"
    advice = "When answers on the task's own data should stay near the old ones."
    source = "Lin et al. 2023, arXiv:2309.06256, §3; Hinton et al. 2015, arXiv:1503.02531"

    strength: float = Field(default=1e-2, ge=0, allow_inf_nan=False, description="λ")
    anchor: Literal["pretrained", "previous"] = Field(default="pretrained", description="the teacher")

    def request_outputs(self, task: Task, state: State) -> None:
        """Ask for the teacher's logits."""
        task.frozen.request_teacher(self.anchor)

    def penalty(self, step: Step, state: State) -> Tensor:
        """λ times the mean over samples of the squared distance between logit vectors."""
        teacher = step.task.frozen.teacher(step.batch, self.anchor)
        distance = teacher.squared_distance(step.forward.logits)  # (units,)
        return self.strength * step.forward.per_sample(distance).mean()
