"""Freeze the first blocks."""

from __future__ import annotations

from fnmatch import fnmatch
from typing import TYPE_CHECKING

from pydantic import Field

from cl_forget.ground.errors import UserError
from cl_forget.mitigations.protocol import Mitigation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cl_forget.models.base import FoundationModel
    from cl_forget.streams.base import Experience
    from cl_forget.training.context import Task
    from cl_forget.training.state import State


class Freeze(Mitigation):
    """Leaves the first n blocks, and what comes before them, as they are.

    Patterns can name more to freeze, or parameters that are trained whatever else is said
    (`train: ["*bias"]` with all blocks frozen is BitFit). A BatchNorm whose weight is frozen keeps its
    running statistics too.

    Attributes:
        blocks: n; as many as the model has freezes all of them, and more are refused.
        also: patterns of parameter names to freeze as well (`"*ln_post*"`).
        train: patterns of parameter names to train nevertheless; they win.
    """

    name = "freeze"
    place = "parameters"
    knob = "blocks"
    grid = (0, 1, 2, 4)
    title = "Frozen blocks"
    formula = "min over the blocks from n on, and the head"
    cost = "below a plain step: no gradients below the frozen blocks"
    advice = "When the task differs in its top layers only, or memory is short."
    source = "Yosinski et al. 2014, arXiv:1411.1792; Ben Zaken et al. 2021, arXiv:2106.10199"

    blocks: int = Field(default=0, ge=0, le=1000, description="how many blocks, from the input")
    also: tuple[str, ...] = Field(default=(), description="patterns of parameters to freeze as well")
    train: tuple[str, ...] = Field(default=(), description="patterns of parameters to train nevertheless")

    @property
    def is_absent(self) -> bool:
        """Whether nothing is frozen."""
        return self.blocks == 0 and not self.also

    def check(self, model: FoundationModel, tasks: Sequence[Experience]) -> None:
        """Refuse more blocks than there are, and patterns that match nothing."""
        self._check_blocks(model)
        names = [name for name, _ in model.named_parameters()]
        for field, patterns in (("also", self.also), ("train", self.train)):
            for pattern in patterns:
                if not any(fnmatch(name, pattern) for name in names):
                    raise UserError(
                        f"freeze.{field}: no parameter of '{model.spec}' matches '{pattern}'; its names look like "
                        f"'{names[len(names) // 2]}'."
                    )

    def shape_parameters(self, task: Task, state: State) -> None:
        """Freeze what is trainable and asked for."""
        model = task.model
        self._check_blocks(model)
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and self._is_frozen(model, name):
                parameter.requires_grad_(False)

    def _check_blocks(self, model: FoundationModel) -> None:
        if self.blocks and not model.blocks:
            raise UserError(f"'{model.spec}' has no transformer blocks to count; name them in freeze.also.")
        if self.blocks > model.blocks:
            raise UserError(
                f"freeze.blocks is {self.blocks}, and '{model.spec}' has {model.blocks}; name fewer."
            )

    def _is_frozen(self, model: FoundationModel, name: str) -> bool:
        if any(fnmatch(name, pattern) for pattern in self.train):
            return False
        early = self.blocks > 0 and model.layer_of(name) <= self.blocks
        return early or any(fnmatch(name, pattern) for pattern in self.also)
