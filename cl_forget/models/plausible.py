"""Whether a model's configuration can be that of the weights beside it, before anything of its size is made.

A configuration may ask for a million layers or for widths that fill the machine. The weights say how large the
model is: it has no more layers than tensors, and no width, vocabulary or context beyond their largest dimension.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from cl_forget.ground.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from cl_forget.weights.reading import TensorInfo

SIZES = frozenset({
    "width", "embed_dim", "vocab_size", "context_length", "hidden_size", "intermediate_size", "n_embd", "n_inner",
    "n_positions", "ffn_dim", "d_model", "d_ff", "moe_intermediate_size", "word_embed_proj_dim",
    "num_classes", "embed_dims", "dims", "hidden_sizes",
})  # fmt: skip
"""Fields that are a dimension of some tensor."""
COUNTS = frozenset({
    "layers", "heads", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "n_layer", "n_head",
    "num_local_experts", "num_experts", "n_routed_experts", "depth", "depths",
})  # fmt: skip
"""Fields that are a number of parts; each part is a tensor, or a row of one."""
SIDES = frozenset({"image_size", "patch_size"})
LARGEST_SIDE = 2**14


def refuse_implausible(where: str, config: Any, weights: Mapping[str, TensorInfo]) -> None:
    """Refuse a configuration that asks for a larger model than the weights are.

    Args:
        where: the file it is from, for the message.
        config: it.
        weights: type and shape of every tensor.

    Raises:
        UserError: names the field.
    """
    largest = max((size for info in weights.values() for size in info.shape), default=0)
    if not largest:
        raise UserError(
            f"the weights beside {where} are empty; save the whole model (one that was trained in shards is gathered "
            "first)."
        )
    limits = {
        **dict.fromkeys(SIZES, largest),
        **dict.fromkeys(COUNTS, max(largest, len(weights))),
        **dict.fromkeys(SIDES, LARGEST_SIDE),
    }
    for name, value in _numbers(config):
        if name in limits and not 0 <= value <= limits[name]:
            raise UserError(
                f"{where} says {name} {value}, which does not fit the weights beside it (at most {limits[name]}); "
                "download or save the model again."
            )


def refuse_not_finite(where: str, model: nn.Module) -> None:
    """Refuse a model of which some weight is NaN or infinite, as a training that diverged leaves it.

    Args:
        where: what it was loaded as, for the message.
        model: it.

    Raises:
        UserError: names the first such tensor and how many there are.
    """
    statistics = [(n, t) for n, t in model.named_buffers() if n.endswith(("running_mean", "running_var"))]
    broken = [n for n, t in [*model.named_parameters(), *statistics] if not _is_finite(t)]
    if broken:
        raise UserError(
            f"'{where}' holds weights that are not finite ({len(broken)} tensors, the first '{broken[0]}'): its "
            "training diverged, or the file is damaged; give an earlier checkpoint."
        )


def _is_finite(tensor: Tensor) -> bool:
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    # Either end is NaN where any value is.
    return all(math.isfinite(end) for end in tensor.detach().aminmax())


def _numbers(value: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """Every number in a configuration with the name of the field that it stands in."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _numbers(inner, str(key))
    elif isinstance(value, list):
        for inner in value:
            yield from _numbers(inner, name)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield name, value
