"""Restart: tune every task from the pre-trained weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cl_forget.mitigations.protocol import Mitigation

if TYPE_CHECKING:
    from cl_forget.mitigations.protocol import Weights
    from cl_forget.training.context import Edit


class Restart(Mitigation):
    """Each task starts from θ0 instead of the weights after the task before: independent fine-tunes.

    Alone it is the control of one model for each task: what is evaluated after a stage knows that stage only,
    heads of other tasks included. With `task_arithmetic`, `model_soup`, `magmax`, `ties`, `dare`, `model_stock` or
    `opcm` it gives the independent fine-tunes that these are made from.
    """

    name = "restart"
    place = "weights"
    title = "Restart"
    formula = "every task starts from θ0"
    cost = "none"
    advice = "To start every task from the pre-trained model, as merging methods expect."
    source = "Ilharco et al. 2023, arXiv:2212.04089, §2"

    def next_start(self, edit: Edit, weights: Weights) -> Weights:
        """θ0."""
        return edit.pretrained
