"""Ridge head: leave the trunk alone, and solve the head as one regression over every task so far."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from cl_forget.ground.lazy import torch
from cl_forget.mitigations.claim import Claim
from cl_forget.mitigations.protocol import Mitigation
from cl_forget.training.state import State

if TYPE_CHECKING:
    from torch import Tensor

    from cl_forget.training.context import Task
    from cl_forget.training.state import Tensors

PENALTIES = tuple(10.0**k for k in range(-8, 9))
"""What λ is chosen from, as in the authors' code."""
HELD_OUT = 5
"""One sample in this many of a stage chooses λ."""


class Statistics(State):
    """Of each head, by the name of its weight."""

    gram: Tensors  # (width, width) Σ φφᵀ
    cross: Tensors  # (classes, width) Σ yφᵀ, y the one-hot class
    count: Tensors  # (classes,) samples seen


class RidgeHead(Mitigation):
    """`W = (Σ yφᵀ)·(Σ φφᵀ + λI)⁻¹`: least squares of one-hot targets over all samples of every task so far.

    φ are the frozen trunk's unit embeddings. Unlike class means this takes out what the embeddings of all classes
    have in common. The two sums are all that is kept, so at a fixed λ a stream in any order, or all of it at once,
    gives the same head. Where none is given, λ is the one with the smallest squared error on a fifth of the stage's
    samples, fitted on the rest of them. Nothing is trained and no sample is kept; augmentation takes no part. Classes
    of a shared head that no task has shown yet keep what the model answers without training.

    It is RanPAC without its random projection: the models' heads are linear in φ, so there is no place for
    `relu(φP)`. Embeddings are normalised, as everywhere before a head; the authors' are not.

    Attributes:
        ridge: λ; None chooses it for each stage.
        scale: factor on the scores, which are shares in [0, 1] where the fit is good; it changes no answer among
            classes that were seen.
    """

    name = "ridge_head"
    place = "parameters"
    claims = frozenset({Claim.FROZEN_TRUNK, Claim.HEAD})
    keeps = Statistics
    trains_nothing = True
    title = "Ridge head"
    formula = "W = (Σ yφᵀ)·(Σ φφᵀ + λI)⁻¹ over every task so far"
    cost = "one pass of the frozen trunk, then one linear system"
    advice = "As the stronger closed-form baseline of class-incremental streams: class means may lie close together."
    source = "McDonnell et al. 2023 (RanPAC), arXiv:2307.02251, eq. 4-5, without the random projection"

    ridge: float | None = Field(default=None, gt=0, description="λ; empty chooses it for each stage")
    scale: float = Field(default=100.0, gt=0, description="factor on the scores")

    def shape_parameters(self, task: Task, state: Statistics) -> None:
        """Nothing is trained by gradient steps."""
        task.model.requires_grad_(False)

    def finish_training(self, task: Task, state: Statistics) -> None:
        """Add the stage to the sums, and solve for the rows of every class seen so far."""
        from cl_forget.training.head import embedded

        for (weight, bias), embedding, targets, classes in embedded(task, "previous"):
            x = torch.nn.functional.normalize(embedding.double(), dim=1)
            y = torch.nn.functional.one_hot(targets, classes).to(x)
            penalty = self.ridge or _choose(x, y, task.generator("ridge head"))
            sums = {"gram": x.T @ x, "cross": y.T @ x, "count": y.sum(0)}
            for kind, group in (("gram", state.gram), ("cross", state.cross), ("count", state.count)):
                group[weight] = sums[kind] + group[weight].to(sums[kind]) if weight in group else sums[kind]
            rows = self.scale * solve(state.gram[weight], state.cross[weight], penalty)
            seen = state.count[weight] > 0
            with torch.no_grad():
                parameter = task.model.get_parameter(weight)
                parameter[seen] = rows[seen].to(parameter)
                task.model.get_parameter(bias)[seen] = 0.0


def solve(gram: Tensor, cross: Tensor, penalty: float) -> Tensor:
    """(classes, width) `cross · (gram + λI)⁻¹`, by the eigenvectors of the Gram matrix, which may be singular."""
    values, axes = torch.linalg.eigh(gram)
    return (cross @ axes / (values.clamp_min(0) + penalty)) @ axes.T


def _choose(x: Tensor, y: Tensor, generator: torch.Generator) -> float:
    """The λ with the smallest squared error on held-out samples; of equal ones the larger."""
    order = torch.randperm(len(x), generator=generator)
    held_out, rest = order[::HELD_OUT], order[torch.arange(len(x)) % HELD_OUT != 0]
    if not len(rest):
        return 1.0
    gram, cross = x[rest].T @ x[rest], y[rest].T @ x[rest]
    errors = {
        p: float((x[held_out] @ solve(gram, cross, p).T - y[held_out]).square().mean()) for p in PENALTIES
    }
    return min(reversed(PENALTIES), key=lambda p: errors[p])
