"""A head that reads random features beside the embedding, so that it need not be linear in it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class RandomFeatureHead(nn.Linear):
    """`W·φ + b + V·relu(P·φ)` of unit embeddings φ (RanPAC, arXiv:2307.02251); V is 0 at first.

    Args:
        head: W and b, taken over.
        projection: P, (features, width), never changed.

    Attributes:
        projection: P, a buffer.
        random_weight: V, (classes, features).
    """

    projection: Tensor

    def __init__(self, head: nn.Linear, projection: Tensor) -> None:
        super().__init__(head.in_features, head.out_features, device="meta")
        self.weight, self.bias = head.weight, head.bias
        self.register_buffer("projection", projection.to(head.weight))
        zeros = head.weight.new_zeros(head.out_features, len(projection))
        self.random_weight = nn.Parameter(zeros, requires_grad=False)

    def forward(self, input: Tensor) -> Tensor:
        """(batch, classes) logits of (batch, width) unit embeddings."""
        return super().forward(input) + nn.functional.linear(self.features(input), self.random_weight)

    def features(self, embedding: Tensor) -> Tensor:
        """(batch, features) random features of (batch, width) unit embeddings, in their data type."""
        return torch.relu(embedding @ self.projection.to(embedding).T)

    def plain(self) -> nn.Linear:
        """The head without them."""
        head = nn.Linear(self.in_features, self.out_features, device="meta")
        head.weight, head.bias = self.weight, self.bias
        return head


def heads_of_any_kind() -> nn.ModuleDict:
    """Heads by name, empty; a state dict that is loaded says which of them have random features."""
    heads = nn.ModuleDict()
    heads.register_load_state_dict_pre_hook(_as_saved)
    return heads


def _as_saved(heads: nn.Module, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    assert isinstance(heads, nn.ModuleDict)
    for name, head in heads.items():
        assert isinstance(head, nn.Linear)
        projection = state.get(f"{prefix}{name}.projection")
        if isinstance(head, RandomFeatureHead):
            head = heads[name] = head.plain()
        if projection is not None:
            heads[name] = RandomFeatureHead(head, projection)
