"""WiSE-FT: average the tuned weights with the pre-trained ones."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from cl_forget.ground.errors import UserError
from cl_forget.mitigations.claim import Claim
from cl_forget.mitigations.protocol import Mitigation
from cl_forget.weights.interpolation import interpolate_all

if TYPE_CHECKING:
    from torch import Tensor

    from cl_forget.mitigations.protocol import Weights
    from cl_forget.training.context import Edit

FLOOR = 1e-8  # of the Fisher information, so that no weight divides by zero


class WiseFT(Mitigation):
    """`θ(α) = (1-α)·θ0 + α·θ`: α multiplies the *tuned* model, so α = 0 is pre-trained and α = 1 is tuned.

    Every key takes part, heads included; where training started from a probed head (`train.head: probe`), θ0
    has that head. Integer buffers keep the tuned value. BatchNorm running statistics that training updated
    are averaged like weights, not re-estimated: add `batch_norm` for that. One fine-tune serves every α: by
    default the average is what is evaluated, and training of the next task goes on from the tuned weights.
    With `feed_back` it goes on from the average; what a method keeps of a task (importances, replayed logits)
    is still that of the tuned weights.

    With `weighting: fisher` each parameter has its own average, `(c0·θ0 + c1·θ) / (c0 + c1)` with
    `c0 = (1-α)·max(F0, 1e-8)` and `c1 = α·max(F, 1e-8)`; F0 and F are the diagonal Fisher information of θ0
    and of θ on the task's training data, from per-sample gradients, computed once per task for every α.
    The labels are the data's; the method's authors draw them from the model's own prediction (`fisher: true`).
    Where there is no Fisher information (buffers, what is not tuned) the average is the plain one.

    Composition: `lines` acts first, since both scale the way from θ0 to θ, and the Fisher information is
    taken at the weights that are averaged; `task_arithmetic`, `model_soup` and other merges make the tuned end.

    Attributes:
        alpha: α, the share of the tuned model.
        anchor: θ0: the pre-trained weights, or the weights at the start of the current task.
        weighting: "uniform", or "fisher" for an average per parameter.
        fisher: "empirical" takes the data's labels; "true" draws labels from the model's own predictions.
        samples: how many samples the Fisher information is estimated from; null takes all.
        feed_back: whether the next task starts from the average instead of the tuned weights.
    """

    name = "wise_ft"
    place = "weights"
    knob = "alpha"
    grid = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    absent = 1.0
    claims = frozenset({Claim.AVERAGE})
    post_hoc = True
    later = frozenset({"fisher"})
    title = "WiSE-FT"
    formula = "θ(α) = (1-α)·θ0 + α·θ"
    cost = "none in training; evaluations only"
    advice = "After any fine-tune, always: its curve is free and shows what can be had back."
    source = (
        "Wortsman et al. 2022, arXiv:2109.01903, eq. 1; Fisher weights: Matena & Raffel, arXiv:2111.09832"
    )

    alpha: float = Field(default=0.5, ge=0, le=1, description="α, the share of the tuned model")
    anchor: Literal["pretrained", "previous"] = Field(default="pretrained", description="θ0")
    weighting: Literal["uniform", "fisher"] = Field(
        default="uniform", description="one α, or one per parameter"
    )
    fisher: Literal["empirical", "true"] = Field(
        default="empirical", description="labels of the data or the model's"
    )
    samples: int | None = Field(
        default=1000, ge=1, description="samples for the Fisher information; null for all"
    )
    feed_back: bool = Field(default=False, description="start the next task from the average")

    @property
    def feeds_back(self) -> bool:
        """Where the next task starts from the average."""
        return self.feed_back

    def edit_weights(self, edit: Edit, weights: Weights) -> Weights:
        """The interpolated weights."""
        anchor = edit.anchor(self.anchor)
        if self.weighting == "uniform":
            return interpolate_all(anchor, weights, self.share)
        before, after = self._fisher(edit, anchor), self._fisher(edit, weights)
        return interpolate_all(
            anchor, weights, lambda name: self.share(name, before.get(name), after.get(name))
        )

    def share(self, name: str, before: Tensor | None = None, after: Tensor | None = None) -> float | Tensor:
        """The share of the tuned model in one tensor: α, or `c1 / (c0 + c1)` entry by entry.

        Args:
            name: of the tensor; it makes no difference.
            before, after: diagonal Fisher information F0 of θ0 and F of θ, where there is any.
        """
        if before is None or after is None:
            return self.alpha
        c0, c1 = (1 - self.alpha) * before.clamp_min(FLOOR), self.alpha * after.clamp_min(FLOOR)
        return c1 / (c0 + c1)

    def _fisher(self, edit: Edit, weights: Weights) -> Weights:
        from cl_forget.mitigations.shared.quadratic import trained_names
        from cl_forget.training.per_sample import PerSample, fisher

        task = edit.task
        if task is None:
            raise UserError(
                "Fisher-weighted wise_ft needs the task's data; use `weighting: uniform` offline."
            )
        names = trained_names(task, task.sources)
        generator = task.generator("wise_ft fisher")
        samples = PerSample(task.model, task.sources, names, self.samples, generator, weights)
        what = f"fisher {self.fisher} {self.samples}"
        return edit.once(what, weights, partial(fisher, samples, self.fisher))
