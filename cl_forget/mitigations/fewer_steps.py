"""Fewer steps: train less, forget less; and what makes a dearer method equal in compute."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from cl_forget.mitigations.protocol import Mitigation


class FewerSteps(Mitigation):
    """Each task takes `share` of its steps, the learning-rate schedule drawn together to end with them.

    With a method whose step costs c plain steps, a share of 1/c makes the arm equal to plain fine-tuning in
    compute: `[sam, {fewer_steps: 0.5}]`.

    Attributes:
        share: of the steps that `train.epochs` or `train.steps` gives, rounded, at least one.
    """

    name = "fewer_steps"
    place = "parameters"
    knob = "share"
    grid = (0.1, 0.25, 0.5, 0.75, 1.0)
    absent = 1.0
    needs_trunk = False
    conflicts: ClassVar[dict[str, str]] = {
        "linear_probe": "a linear probe is solved in closed form and takes no steps",
        "class_means": "class means are computed and take no steps",
        "ridge_head": "a ridge head is solved in closed form and takes no steps",
    }
    title = "Fewer steps"
    formula = "steps' = share·steps"
    cost = "1.00 of a plain step, for fewer of them"
    advice = (
        "As a baseline, since what is trained less forgets less; with SAM at 0.5 for a comparison at equal "
        "compute."
    )
    source = "the usual baseline; equal compute as in Foret et al. 2021, arXiv:2010.01412, section 3"

    share: float = Field(default=0.5, gt=0, le=1, description="of the steps")

    def step_share(self) -> float:
        """The same for every task."""
        return self.share
