"""KL to base: keep the predictions on the task's own data close to the pre-trained model's."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from cl_forget.mitigations.flyp import HEAD_NOT_TRAINED
from cl_forget.mitigations.protocol import Mitigation

if TYPE_CHECKING:
    from torch import Tensor

    from cl_forget.training.context import Step, Task
    from cl_forget.training.state import State


class KLToBase(Mitigation):
    """Adds `λ·mean KL(p_θ*‖p_θ)` on the task's own batch, in nats; no old data are needed.

    Of a large vocabulary the base's largest logits are kept (`text.top_logits`) and the rest counts as one
    outcome, which can only lower the divergence, and by no more than it is within the rest.

    Attributes:
        strength: λ.
        direction: "forward" is KL(p_θ*‖p_θ), which asks the model to cover everything the base held possible;
            "reverse" is KL(p_θ‖p_θ*), which forbids it what the base held impossible.
        anchor: the base θ*: the pre-trained model, or the model at the start of the current task.
    """

    name = "kl_to_base"
    place = "loss"
    knob = "strength"
    grid = (0.01, 0.1, 1.0, 10.0, 100.0)
    absent: ClassVar[float | None] = 0.0
    conflicts = HEAD_NOT_TRAINED
    title = "KL to base"
    formula = "loss + λ·mean KL(p_θ*‖p_θ)"
    cost = "1.00 of a plain step with the cached teacher"
    advice = "When the predicted distribution matters, as for language models."
    source = "Shenfeld et al. 2025, arXiv:2509.04259 (KL to base predicts forgetting)"

    strength: float = Field(default=1.0, ge=0, allow_inf_nan=False, description="λ")
    direction: Literal["forward", "reverse"] = Field(default="forward", description="forward = KL(p_θ*‖p_θ)")
    anchor: Literal["pretrained", "previous"] = Field(default="pretrained", description="the base θ*")

    def request_outputs(self, task: Task, state: State) -> None:
        """Ask for the base's logits."""
        task.frozen.request_teacher(self.anchor)

    def penalty(self, step: Step, state: State) -> Tensor:
        """λ times the mean over samples of the divergence between the two predictions."""
        teacher = step.task.frozen.teacher(step.batch, self.anchor)
        divergence = teacher.kl(step.forward.logits, reverse=self.direction == "reverse")  # (units,)
        return self.strength * step.forward.per_sample(divergence).mean()
