"""`train.compile`: the blocks of a model through `torch.compile`, for as long as it is trained."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cl_forget.ground.errors import UserError, first_line
from cl_forget.models.base import FoundationModel
from cl_forget.weights.blocks import block_paths

# Dropout draws what it would draw otherwise.
_OPTIONS: dict[str, Any] = {"fallback_random": True}


def compile_blocks(model: FoundationModel, read: bool) -> None:
    """Compile every block in place: names of parameters stay, and a copy of the model is not compiled.

    Blocks are alike, so that one compilation serves all of them.

    Args:
        model: the model.
        read: whether features are read at its blocks. That is done by hooks which come and go with every pass, and a
            compiled module would go on with those that it first saw; then the parts of each block are compiled.

    Raises:
        UserError: nothing can be compiled here (no compiler), or the model has no blocks.
    """
    inside = [name for name, _ in model.named_parameters() if model.block_of(name) is not None]
    blocks = [model.get_submodule(path) for path in block_paths(inside)]
    if not blocks:
        raise UserError(f"'{model.spec}' has no blocks to compile; leave train.compile out.")
    _try_out(model.device)
    for block in blocks:
        for module in block.children() if read else (block,):
            module.compile(options=_OPTIONS)


def interpret(model: FoundationModel) -> None:
    """Run all of the model as it is written again."""
    for module in model.modules():
        module._compiled_call_impl = None


def _try_out(device: torch.device) -> None:
    """Compile something small, since each device needs compilers of its own."""

    def small(values: Tensor) -> Tensor:
        return values.sin() + 1

    try:
        torch.compile(small, options=_OPTIONS)(torch.zeros(8, device=device))
    except Exception as error:
        raise UserError(
            f"train.compile: torch.compile does not work here ({first_line(error)}); install a C++ compiler, or "
            "leave it out."
        ) from error
