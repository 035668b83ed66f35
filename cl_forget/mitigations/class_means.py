"""Class means: leave the trunk alone, and answer with the class whose mean is nearest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from cl_forget.ground.lazy import torch
from cl_forget.mitigations.claim import Claim
from cl_forget.mitigations.protocol import Mitigation
from cl_forget.training.state import State

if TYPE_CHECKING:
    from cl_forget.training.context import Task
    from cl_forget.training.state import Tensors


class Sums(State):
    """Of each head, by the name of its weight."""

    total: Tensors  # (classes, width) sums of the embeddings of each class
    count: Tensors  # (classes,) how many they are of


class ClassMeans(Mitigation):
    """`logit_k = s·cos(φ(x), μ_k)`, μ_k the mean of the frozen trunk's embeddings φ of all samples of class k.

    The means are kept as sums over every task so far, so a class that comes back is averaged over all its samples,
    and a stream in any order, or all of it at once, gives the same head. Nothing is trained and no sample is kept.
    Classes of a shared head that no task has shown yet keep what the model answers without training. Augmentation
    takes no part: each sample is seen once, as it is. Embeddings enter the mean as the trunk gives them, as
    published; only the mean is normalised.

    Attributes:
        scale: s; it changes no answer among classes that were seen, but losses, calibration, and how they stand
            against classes that were not. 100 is that of CLIP's own logits.
    """

    name = "class_means"
    place = "parameters"
    claims = frozenset({Claim.FROZEN_TRUNK, Claim.HEAD})
    keeps = Sums
    trains_nothing = True
    title = "Class means"
    formula = "logit_k = s·cos(φ(x), μ_k), μ_k the mean of φ over class k"
    cost = "one pass of the frozen trunk"
    advice = (
        "As the baseline of class-incremental streams: what the pre-trained features alone can tell apart."
    )
    source = "Zhou et al. 2023 (SimpleCIL), arXiv:2303.07338, eq. 5-6; Mensink et al. 2013"

    scale: float = Field(default=100.0, gt=0, description="s, factor on the cosines")

    def shape_parameters(self, task: Task, state: Sums) -> None:
        """Nothing is trained by gradient steps."""
        task.model.requires_grad_(False)

    def finish_training(self, task: Task, state: Sums) -> None:
        """Add the stage's embeddings to the sums, and set the rows of every class seen so far."""
        from cl_forget.training.head import embedded

        for (weight, bias), embedding, targets, classes in embedded(task, "previous"):
            onehot = torch.nn.functional.one_hot(targets, classes).T.to(torch.float64)
            total, count = onehot @ embedding.double(), onehot.sum(1)
            if weight in state.total:
                total, count = total + state.total[weight].to(total), count + state.count[weight].to(count)
            state.total[weight], state.count[weight] = total, count
            seen = count > 0
            with torch.no_grad():
                rows = self.scale * torch.nn.functional.normalize(total[seen], dim=1)  # of a sum as of a mean
                parameter = task.model.get_parameter(weight)
                parameter[seen] = rows.to(parameter)
                task.model.get_parameter(bias)[seen] = 0.0
