"""The inputs that the linear maps of a frozen model see, whichever module reads their weights."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import multi_head_attention_forward as attend
from torch.overrides import TorchFunctionMode

from cl_forget.models.base import Prepared
from cl_forget.training.frozen import FrozenModel


def second_moments(
    frozen: FrozenModel, samples: Prepared, indices: Tensor, names: list[str]
) -> dict[str, Tensor]:
    """ΣxxΤ over the inputs x of each linear map, (in, in) float64.

    Args:
        frozen: the model; its passes are counted.
        samples: the data.
        indices: (n,) which samples.
        names: weights of linear maps.
    """
    weights = {id(frozen.model.get_parameter(name)): name for name in names}
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # the fused attention kernel hides its linear maps
    try:
        with _Watch(weights) as watch:
            for part in indices.split(64):
                frozen.run(samples.batch(part), ["embedding"])
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return {name: watch.sums[name] for name in names}


class _Watch(TorchFunctionMode):
    """Adds up xxᵀ wherever one of the given weights multiplies an x.

    Args:
        weights: id of the weight -> its name.
    """

    def __init__(self, weights: Mapping[int, str]) -> None:
        super().__init__()
        self.weights = weights
        self.sums: dict[str, Tensor] = {}

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if function is torch.nn.functional.linear:
            self._add(args[0], args[1] if len(args) > 1 else kwargs["weight"])
        elif function is torch.addmm:  # (bias, x, weight), as GPT-2's Conv1D writes it
            self._add(args[1], args[2])
        elif function is attend:  # arrives whole: nothing inside it is seen again
            self._attention(inspect.signature(attend).bind(*args, **kwargs).arguments)
        return function(*args, **kwargs)

    def _attention(self, given: dict[str, Any]) -> None:
        for input_name, weight in (
            ("query", "in_proj_weight"),
            ("query", "q_proj_weight"),
            ("key", "k_proj_weight"),
            ("value", "v_proj_weight"),
        ):
            if given.get(weight) is not None:
                self._add(given[input_name], given[weight])
        # With the identity for an output projection, attention returns what the projection is applied to.
        weight = given["out_proj_weight"]
        identity = torch.eye(weight.shape[1], dtype=weight.dtype, device=weight.device)
        heads, _ = attend(**{**given, "out_proj_weight": identity, "out_proj_bias": None})
        self._add(heads, weight)

    def _add(self, x: Tensor, weight: Tensor) -> None:
        name = self.weights.get(id(weight))
        if name is not None:
            rows = x.detach().flatten(0, -2).double()
            moment = rows.T @ rows
            self.sums[name] = self.sums[name] + moment if name in self.sums else moment
