"""FLYP: fine-tune the way CLIP was pre-trained, with captions made from class names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from cl_forget.ground.lazy import torch
from cl_forget.mitigations.claim import Claim
from cl_forget.mitigations.protocol import Mitigation

if TYPE_CHECKING:
    from torch import Tensor

    from cl_forget.training.context import Step, Task
    from cl_forget.training.state import State

HEAD_NOT_TRAINED = dict.fromkeys(
    ("flyp", "flyp_ce"),
    "it compares logits of the task's head, which is not trained there; use lfl, ldifs or zscl",
)
"""Conflicts of the methods that read the logits of heads."""

HEAD_MADE_ANEW = dict.fromkeys(
    ("flyp", "flyp_ce"),
    "it reads answers of heads during training, which are made anew from the text tower only after it",
)
"""Conflicts of the methods that run the model's heads on other data than the batch."""

TEXT_TOWER_UNPROTECTED = dict.fromkeys(
    ("flyp", "flyp_ce"),
    "its importances are those of the image tower and the head, and the text tower would go unprotected; use "
    "l2_sp or si",
)
"""Conflicts of the methods that measure which weights of plain fine-tuning matter."""


class FLYP(Mitigation):
    """The task loss becomes CLIP's contrastive loss between images and captions of their classes.

    Each sample's caption is its class name in a template drawn at random; every other caption of the batch
    is a negative, also those of the same class, as in the paper. Both towers and the logit scale are
    trained; heads are made anew from the text tower afterwards, those of all tasks, since the two towers
    are the model. With micro-batches, the negatives are those of the micro-batch. Adapters, frozen blocks and
    layer-wise decay concern the image tower; the text tower is trained whole, at the full learning rate.

    Attributes:
        train_scale: whether the logit scale is trained, as the paper does.
    """

    name = "flyp"
    place = "loss"
    claims = frozenset({Claim.TASK_LOSS, Claim.HEAD})
    compares = True
    own_head = "it makes the heads from the text tower"
    needs_text = True
    title = "FLYP"
    formula = "½·[CE(s·I·Tᵀ) + CE(s·T·Iᵀ)], I = image, T = caption embeddings of the batch"
    cost = "image and text tower per step"
    advice = "When the zero-shot interface must stay usable after tuning."
    source = "Goyal et al. 2023, arXiv:2212.00638, eq. 1"
    later = frozenset({"train_scale"})

    train_scale: bool = Field(default=True, description="train the logit scale")

    def shape_parameters(self, task: Task, state: State) -> None:
        """Train the text tower, and not the heads that will be made from it."""
        train_text_tower(task, self.train_scale)

    def objective(self, step: Step, state: State) -> Tensor:
        """(batch,) mean of the image-to-text and the text-to-image cross-entropy."""
        from cl_forget.models.base import full_precision

        experience, targets = step.batch.samples.experience, step.batch.targets
        assert experience.labels is not None
        images, mine = step.rows(torch.nn.functional.normalize(step.forward.embedding, dim=-1))
        draw = step.task.generator("flyp templates", step.number)
        templates = torch.randint(len(experience.labels.templates), (len(images),), generator=draw)
        captions, _ = step.rows(step.task.model.caption_weights(experience, targets, templates[mine]))
        logits = full_precision(images @ captions.T)
        partner = torch.arange(len(images), device=logits.device)[mine]
        cross_entropy = torch.nn.functional.cross_entropy
        smoothing = step.task.label_smoothing
        to_text = cross_entropy(logits[mine], partner, reduction="none", label_smoothing=smoothing)
        to_image = cross_entropy(logits.T[mine], partner, reduction="none", label_smoothing=smoothing)
        return (to_text + to_image) / 2

    def restore_parameters(self, task: Task, state: State) -> None:
        """The text tower as tuned (adapters merged, averages taken) gives the heads."""
        task.model.rebuild_heads()


def train_text_tower(task: Task, scale: bool) -> None:
    """Let the text tower train, and stop the heads of the stage.

    Args:
        task: the task.
        scale: whether the logit scale, which the text tower's classifiers are multiplied by, is trained, too.

    Raises:
        UserError: the model has no text tower.
    """
    for name in task.model.text_parameters():
        if scale or name.rpartition(".")[2] != "logit_scale":
            task.model.get_parameter(name).requires_grad_(True)
    for experience in task.stage:
        for name in task.model.head_parameters(experience):
            task.model.get_parameter(name).requires_grad_(False)
