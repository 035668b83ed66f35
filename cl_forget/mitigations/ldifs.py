"""LDIFS: keep the features at several depths where they were."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from cl_forget.ground.errors import UserError
from cl_forget.ground.lazy import torch
from cl_forget.ground.registry import closest
from cl_forget.mitigations.protocol import Mitigation

if TYPE_CHECKING:
    from torch import Tensor

    from cl_forget.models.base import FoundationModel
    from cl_forget.streams.base import Experience
    from cl_forget.training.context import Step, Task
    from cl_forget.training.state import State


TINY = 1e-24
"""A slice with a smaller squared norm is scaled as one that has this."""


class LDIFS(Mitigation):
    """Adds `λ·(1/N)·Σ‖Φθ(x)-Φθ*(x)‖²`, Φ = the features at several depths, all tokens, each slice scaled.

    The student's features come from the same forward pass as its loss, the frozen model's from the cache. For a
    ViT of 12 blocks the default depths are those of the authors' code (after ln_pre and blocks 3, 6, 9 and 12); for
    towers of another depth quarters of it are our choice.

    Attributes:
        strength: λ; its scale belongs to `normalise`.
        depths: which depths Φ is read at; null takes the model's default (for a ViT: after ln_pre and after
            each quarter of the blocks).
        normalise: "token" divides each slice by its norm over the tokens, channel by channel, and takes the
            mean squared difference, as the authors' released code does (λ = 10 there); "channel" divides
            each token's vector by its norm; "none" takes the features as they are.
        anchor: the frozen model: the pre-trained one, or the model at the start of the current task (which
            is what the authors' code does in sequences).
    """

    name = "ldifs"
    place = "loss"
    knob = "strength"
    grid = (0.1, 1.0, 10.0, 100.0, 1000.0)
    absent = 0.0
    title = "LDIFS"
    formula = "loss + λ·mean‖Φθ(x)-Φθ*(x)‖²"
    cost = "1.0 to 1.1 of a plain step with the cached teacher; disk for the features"
    advice = "When generality matters and the task's accuracy may not drop: features stay, weights are free."
    source = "Mukhoti et al. 2023, arXiv:2308.13320, eq. 4"

    strength: float = Field(default=10.0, ge=0, allow_inf_nan=False, description="λ")
    depths: tuple[str, ...] | None = Field(default=None, min_length=1, description="where Φ is read")
    normalise: Literal["token", "channel", "none"] = Field(
        default="token", description="how slices are scaled"
    )
    anchor: Literal["pretrained", "previous"] = Field(default="pretrained", description="θ*")

    def feature_depths(self, model: FoundationModel) -> Sequence[str]:
        """Where Φ is read."""
        return self.depths or model.default_depths

    def check(self, model: FoundationModel, tasks: Sequence[Experience]) -> None:
        """Refuse depths that the model does not show."""
        known = list(model.depths)
        depths = self.feature_depths(model)
        for depth in depths:
            if depth not in known:
                raise UserError(
                    f"ldifs.depths: no '{depth}'.{closest(depth, known)} Known: {', '.join(known)}."
                )
        if not depths:
            raise UserError(f"'{model.spec}' shows no features by depth, which ldifs compares; use lfl.")

    def request_outputs(self, task: Task, state: State) -> None:
        """Ask for the frozen features.

        Raises:
            UserError: the model has no such depth.
        """
        self.check(task.model, task.stage)
        task.frozen.request(self.anchor, self._fields(task.model))

    def _fields(self, model: FoundationModel) -> list[str]:
        return [f"features/{depth}" for depth in self.feature_depths(model)]

    def penalty(self, step: Step, state: State) -> Tensor:
        """λ times the mean over slices of the mean squared difference."""
        fields = self._fields(step.task.model)
        frozen = step.task.frozen.read(step.batch, self.anchor, fields)
        distance = torch.nn.functional.mse_loss
        terms = [
            distance(self._scaled(step.forward.features[depth]), self._scaled(frozen[field]))
            for depth, field in zip(self.feature_depths(step.task.model), fields, strict=True)
        ]
        return self.strength * torch.stack(terms).mean()

    def _scaled(self, features: Tensor) -> Tensor:
        # (batch, tokens, width): dimension 1 is the tokens, dimension 2 the channels
        from cl_forget.models.base import full_precision

        features = full_precision(features)
        if self.normalise == "none":
            return features
        # As torch's `normalize`, whose norm over a dimension in the middle takes ten times as long on a processor.
        squares = features.square().sum(1 if self.normalise == "token" else 2, keepdim=True)
        return features * squares.clamp_min(TINY).rsqrt()
