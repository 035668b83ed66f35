"""What OSF puts in the place of a linear map's weight: its leading singular directions fixed, the others trained.

peft's layer makes the decomposition, keeps the factors and projects their gradients. Its own forward pass is not
used: it wraps modules that are called, which attention's projections in CLIP are not, and runs every activation
through two more maps of nearly the whole width. Here the module that reads a weight is given the changed one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from cl_forget.mitigations.shared.adapters import (
    NAME,
    Placement,
    Reads,
    linear_maps,
    readers_of,
    trained_heads,
    wrap,
)

if TYPE_CHECKING:
    from cl_forget.training.context import Task


class ReadsSplit(Reads):
    """A module that reads `W0 + U·S·V - U0·S0·V0`, the factors of the lesser singular directions and their start.

    Args:
        base: the module, whose own parameters never change.
        names: its split weights, by their names in it.
        keep: the share of each weight's directions that is fixed.
    """

    def __init__(self, base: nn.Module, names: list[str], keep: float) -> None:
        super().__init__(base, names)
        # "weight", because methods (ASAM) tell weights from biases by their names
        self.split_weights = nn.ModuleList(_split(base.get_parameter(name), keep) for name in names)

    def adapted(self) -> dict[str, Tensor]:
        """The weights as the base reads them."""
        found = {}
        for name, split in zip(self.names, self.split_weights, strict=True):
            weight, layer = self.base.get_parameter(name), split
            # The change is a small difference of products, of which half precision would leave little.
            with torch.autocast(weight.device.type, enabled=False):
                found[name] = weight + layer.get_delta_weight(NAME)  # type: ignore[operator]
        return found


def insert(task: Task, keep: float, placement: Placement) -> None:
    """Split the task's linear maps; what is trained are their lesser directions and the heads.

    Args:
        task: the task; only maps that are trainable at this point are split.
        keep: the share of each weight's directions that is fixed.
        placement: which maps.

    Raises:
        UserError: the model has no such maps.
    """
    model = task.model
    # A map to a single output has one direction, and nothing to leave beside it.
    names = [name for name in linear_maps(model, placement) if min(model.get_parameter(name).shape) > 1]
    readers = readers_of(task, names, "OSF", placement)
    heads = trained_heads(task)
    model.requires_grad_(False)
    wrap(model, readers, lambda base, inside: ReadsSplit(base, inside, keep))
    for head in heads:
        head.requires_grad_(True)


def _split(weight: Tensor, keep: float) -> Any:
    """peft's layer for a weight: `osf_svd_params` are trained, the rest are buffers."""
    from peft.tuners.osf import Linear, OSFConfig

    rows, columns = weight.shape
    smaller = min(rows, columns)
    fixed = min(max(round(keep * smaller), 1), smaller - 1)
    stand_in = nn.Linear(columns, rows, bias=False, device="meta")
    stand_in.weight = nn.Parameter(weight.detach(), requires_grad=False)
    layer = Linear(stand_in, NAME, OSFConfig(), effective_rank=fixed)
    layer.base_layer = nn.Identity()  # the weight stays with the module that reads it, under its own name
    return layer
