"""LFL: keep the last features where they were."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from cl_forget.mitigations.protocol import Mitigation

if TYPE_CHECKING:
    from torch import Tensor

    from cl_forget.training.context import Step, Task
    from cl_forget.training.state import State


class LessForgetfulLearning(Mitigation):
    """Adds `λ·MSE(eθ(x), eθ*(x))`, e = the embedding that the head reads, as the trunk gives it.

    The paper sums ½(e-e*)² over the width and freezes the old head; here it is the mean over samples and
    width, and every task has its own head anyway.

    Attributes:
        strength: λ.
        anchor: θ*: the pre-trained model, or the model at the start of the current task (as in the paper,
            which knows no other).
    """

    name = "lfl"
    place = "loss"
    knob = "strength"
    grid = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)
    absent = 0.0
    title = "LFL"
    formula = "loss + λ·mean (eθ(x)-eθ*(x))²"
    cost = "1.00 of a plain step with the cached teacher"
    advice = "When the final representation is what others build on."
    source = "Jung et al. 2016, arXiv:1607.00122, eq. 2"

    strength: float = Field(default=1.0, ge=0, allow_inf_nan=False, description="λ")
    anchor: Literal["pretrained", "previous"] = Field(default="pretrained", description="θ*")

    def request_outputs(self, task: Task, state: State) -> None:
        """Ask for the frozen embeddings."""
        task.frozen.request(self.anchor, ["embedding"])

    def penalty(self, step: Step, state: State) -> Tensor:
        """λ times the mean squared difference."""
        frozen = step.task.frozen.read(step.batch, self.anchor, ["embedding"])["embedding"]
        return self.strength * (step.forward.embedding - frozen).square().mean()
