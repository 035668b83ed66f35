"""FDA: keep who is whose neighbour among the embeddings of a batch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from cl_forget.ground.lazy import torch
from cl_forget.mitigations.protocol import Mitigation

if TYPE_CHECKING:
    from torch import Tensor

    from cl_forget.training.context import Step, Task
    from cl_forget.training.state import State


class FDA(Mitigation):
    """Adds `λ·mean_i 1/(n-1)·Σ_{j≠i} log(1 + exp(w_ij·(b - cos(x_i, x_j)/τ)))` over the n samples of a batch.

    x are the embeddings that the head reads, made unit vectors. w comes from the frozen model alone: `w_ij` is
    cos(x*_i, x*_j) where j is one of the k nearest neighbours of i under it, and minus that where it is not
    (similarities below 0 count as 0). So neighbours are drawn together and others pushed apart, each as strongly as
    they were alike, and where an embedding lies is free as long as its neighbours are the same.

    This is FDA without the generated proxies of Proxy-FDA, which the paper reports as nearly as good. Batches are
    drawn as ever, where the authors fill them with classes that lie close together. With micro-batches the
    neighbours are those within a micro-batch.

    Attributes:
        strength: λ.
        neighbours: k; all others where a batch has no more.
        temperature: τ.
        bias: b; null takes the frozen model's mean cosine in the batch over τ, which puts the boundary between like
            and unlike where that model has it.
        anchor: the frozen model: the pre-trained one, or the model at the start of the current task.
    """

    name = "fda"
    place = "loss"
    knob = "strength"
    grid = (0.1, 1.0, 10.0, 100.0)
    absent = 0.0
    compares = True
    title = "FDA"
    formula = "loss + λ·mean_i 1/(n-1)·Σ_j log(1 + exp(w_ij·(b - cos(x_i,x_j)/τ)))"
    cost = "the cached teacher, and cosines of the pairs of a batch"
    advice = "When features may move as a whole, but what is alike should stay alike; wants large batches."
    source = "Huang et al. 2025, arXiv:2505.24088, eq. 2"

    strength: float = Field(default=1.0, ge=0, allow_inf_nan=False, description="λ")
    neighbours: int = Field(default=8, ge=1, description="k, nearest neighbours of each sample")
    temperature: float = Field(default=0.1, gt=0, allow_inf_nan=False, description="τ")
    bias: float | None = Field(default=None, allow_inf_nan=False, description="b; empty: from the batch")
    anchor: Literal["pretrained", "previous"] = Field(default="pretrained", description="θ*")

    def request_outputs(self, task: Task, state: State) -> None:
        """Ask for the frozen embeddings."""
        task.frozen.request(self.anchor, ["embedding"])

    def penalty(self, step: Step, state: State) -> Tensor | None:
        """λ times the mean over the pairs of the batch; None for a single sample, which has no neighbour.

        Of a batch that several workers take together, over the pairs of this worker's samples with all others.
        """
        from cl_forget.models.base import full_precision

        frozen = step.task.frozen.read(step.batch, self.anchor, ["embedding"])["embedding"]
        (teacher, _), (student, mine) = step.rows(frozen), step.rows(full_precision(step.forward.embedding))
        number = len(student)
        if number < 2:
            return None
        now = _cosines(student)
        base = _cosines(full_precision(teacher))
        pairs = ~torch.eye(number, dtype=torch.bool, device=base.device)
        nearest = base.masked_fill(~pairs, -torch.inf).topk(min(self.neighbours, number - 1)).indices
        sign = torch.full_like(base, -1.0).scatter_(1, nearest, 1.0)
        bias = base[pairs].mean() / self.temperature if self.bias is None else self.bias
        exponents = sign * base.clamp_min(0) * (bias - now / self.temperature)
        return self.strength * torch.nn.functional.softplus(exponents[mine][pairs[mine]]).mean()


def _cosines(embeddings: Tensor) -> Tensor:
    """(batch, batch) cosines of (batch, width) embeddings."""
    unit = torch.nn.functional.normalize(embeddings, dim=-1)
    with torch.autocast(unit.device.type, enabled=False):
        return unit @ unit.T
