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

    from cl_forget.models.random_features import RandomFeatureHead
    from cl_forget.training.context import Task
    from cl_forget.training.state import Tensors

PENALTIES = tuple(10.0**k for k in range(-8, 9))
"""What λ is chosen from, as in the authors' code."""
HELD_OUT = 5
"""One sample in this many of a stage chooses λ."""


class Statistics(State):
    """Of each head, by the name of its weight."""

    gram: Tensors  # (width, width) Σ φφᵀ; the number of random features takes the place of width
    cross: Tensors  # (classes, width) Σ yφᵀ, y the one-hot class
    count: Tensors  # (classes,) samples seen


class RidgeHead(Mitigation):
    """`W = (Σ yφᵀ)·(Σ φφᵀ + λI)⁻¹`: least squares of one-hot targets over all samples of every task so far.

    φ are the frozen trunk's unit embeddings, or with `features: M` what RanPAC makes of them, `relu(P·φ)` with
    the M rows of P drawn from the standard normal distribution once for each head and then fixed: classes that no
    linear map of the embedding tells apart may be told apart there. Unlike class means this takes out what the
    embeddings of all classes have in common. The two sums are all that is kept, so at a fixed λ a stream in any
    order, or all of it at once, gives the same head. Where none is given, λ is the one with the smallest squared
    error on a fifth of the stage's samples, fitted on the rest of them. Nothing is trained and no sample is kept;
    augmentation takes no part. Classes of a shared head that no task has shown yet keep what the model answers
    without training.

    RanPAC takes 10,000 features, of embeddings that are not normalised; here they are, as everywhere before a head.
    The sums have M² entries in double precision (800 MB at 10,000, in every checkpoint), and the time to solve for
    the head grows with M³. RanPAC's first session, which tunes adapters on the first task, is left out.

    Attributes:
        features: M; 0 takes the embeddings themselves.
        ridge: λ; None chooses it for each stage.
        scale: factor on the scores, which are shares in [0, 1] where the fit is good; it changes no answer among
            classes that were seen.
    """

    name = "ridge_head"
    place = "parameters"
    claims = frozenset({Claim.FROZEN_TRUNK, Claim.HEAD})
    keeps = Statistics
    trains_nothing = True
    later = frozenset({"features"})
    title = "Ridge head"
    formula = "W = (Σ yφᵀ)·(Σ φφᵀ + λI)⁻¹ over every task so far"
    cost = "one pass of the frozen trunk, then one linear system"
    advice = "As the stronger closed-form baseline of class-incremental streams: class means may lie close together."
    source = "McDonnell et al. 2023 (RanPAC), arXiv:2307.02251, eq. 4-5"

    features: int = Field(default=0, ge=0, le=100_000, description="M, random features; 0 for none")
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
            if self.features:
                x = self._head(task, weight).features(x)
            y = torch.nn.functional.one_hot(targets, classes).to(x)
            penalty = self.ridge or _choose(x, y, task.generator("ridge head"))
            sums = {"gram": x.T @ x, "cross": y.T @ x, "count": y.sum(0)}
            for kind, group in (("gram", state.gram), ("cross", state.cross), ("count", state.count)):
                group[weight] = sums[kind] + group[weight].to(sums[kind]) if weight in group else sums[kind]
            rows = self.scale * Ridge(state.gram[weight], state.cross[weight]).solve(penalty)
            seen = state.count[weight] > 0
            with torch.no_grad():
                linear = task.model.get_parameter(weight)
                parameter = self._head(task, weight).random_weight if self.features else linear
                linear[seen] = 0.0
                parameter[seen] = rows[seen].to(parameter)
                task.model.get_parameter(bias)[seen] = 0.0

    def _head(self, task: Task, weight: str) -> RandomFeatureHead:
        """The head that a weight belongs to, with the random features that every task has there."""
        from cl_forget.models.random_features import RandomFeatureHead

        path, model = weight.rpartition(".")[0], task.model
        if not isinstance(model.get_submodule(path), RandomFeatureHead):
            experience = next(e for e in task.stage if weight in model.head_parameters(e))
            shape = (self.features, model.get_parameter(weight).shape[1])
            generator = task.generator(f"ridge head features {weight}")
            model.add_random_features(experience, torch.randn(shape, generator=generator))
        head = model.get_submodule(path)
        assert isinstance(head, RandomFeatureHead)
        return head


class Ridge:
    """The regression of (classes, width) `cross = Σ yφᵀ` on (width, width) `gram = Σ φφᵀ`, at any λ.

    It goes by the eigenvectors of the Gram matrix, which may be singular.
    """

    def __init__(self, gram: Tensor, cross: Tensor) -> None:
        values, self.axes = torch.linalg.eigh(gram)
        self.values, self.along = values.clamp_min(0), cross @ self.axes

    def solve(self, penalty: float) -> Tensor:
        """(classes, width) `cross · (gram + λI)⁻¹`."""
        return (self.along / (self.values + penalty)) @ self.axes.T


def _choose(x: Tensor, y: Tensor, generator: torch.Generator) -> float:
    """The λ with the smallest squared error on held-out samples; of equal ones the larger."""
    order = torch.randperm(len(x), generator=generator)
    held_out, rest = order[::HELD_OUT], order[torch.arange(len(x)) % HELD_OUT != 0]
    if not len(rest):
        return 1.0
    ridge = Ridge(x[rest].T @ x[rest], y[rest].T @ x[rest])
    errors = {p: float((x[held_out] @ ridge.solve(p).T - y[held_out]).square().mean()) for p in PENALTIES}
    return min(reversed(PENALTIES), key=lambda p: errors[p])
