"""FLYP-CE: cross-entropy, with the head made from the live text tower in every step."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from cl_forget.ground.lazy import torch
from cl_forget.mitigations.claim import Claim
from cl_forget.mitigations.flyp import train_text_tower
from cl_forget.mitigations.protocol import Mitigation

if TYPE_CHECKING:
    from torch import Tensor

    from cl_forget.training.context import Step, Task
    from cl_forget.training.state import State


class FLYPCrossEntropy(Mitigation):
    """The task loss stays cross-entropy, but the head is what the text tower says of the class names.

    Gradients reach the text tower and the logit scale through the head. The paper's ablation of FLYP, and
    how ZSCL trains its tasks. Heads, those of all tasks, are made anew from the text tower afterwards.
    Adapters, frozen blocks and layer-wise decay concern the image tower; the text tower is trained whole.

    Attributes:
        train_scale: whether the logit scale is trained; ZSCL's authors leave it.
    """

    name = "flyp_ce"
    place = "loss"
    claims = frozenset({Claim.TASK_LOSS, Claim.HEAD})
    own_head = "it makes the heads from the text tower"
    needs_text = True
    title = "FLYP-CE"
    formula = "CE(I·W(θ_text)ᵀ), W = zero-shot head of the live text tower"
    cost = "image and text tower per step"
    advice = "As flyp, when batches are small against the number of classes."
    source = "Goyal et al. 2023, arXiv:2212.00638, §5"
    later = frozenset({"train_scale"})

    train_scale: bool = Field(default=True, description="train the logit scale")

    def shape_parameters(self, task: Task, state: State) -> None:
        """Train the text tower, and not the heads that will be made from it."""
        train_text_tower(task, self.train_scale)

    def objective(self, step: Step, state: State) -> Tensor:
        """(batch,) cross-entropy under the head of this step."""
        from cl_forget.models.base import full_precision

        weight = step.task.model.class_weights(step.batch.samples.experience)
        logits = full_precision(torch.nn.functional.normalize(step.forward.embedding, dim=-1) @ weight.T)
        return torch.nn.functional.cross_entropy(
            logits, step.batch.targets, reduction="none", label_smoothing=step.task.label_smoothing
        )

    def restore_parameters(self, task: Task, state: State) -> None:
        """The text tower as tuned (adapters merged, averages taken) gives the heads."""
        task.model.rebuild_heads()
