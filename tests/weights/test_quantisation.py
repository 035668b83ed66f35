"""Rounded weights against plain loops."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from cl_forget.weights.matrices import kept_transposed
from cl_forget.weights.quantisation import GROUP, is_matrix, rounded


def by_hand(rows: Tensor, bits: int) -> Tensor:
    """(rows, width), one scale for `bits` == 8 and one per group below."""
    found = torch.empty_like(rows)
    size = rows.shape[1] if bits == 8 else GROUP
    for r, row in enumerate(rows):
        for start in range(0, len(row), size):
            part = row[start : start + size].tolist()
            scale = max(map(abs, part)) / (2 ** (bits - 1) - 1) or 1.0
            found[r, start : start + size] = torch.tensor([round(x / scale) * scale for x in part])
    return found


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_rounding_is_the_loop(bits: int) -> None:
    generator = torch.Generator().manual_seed(1)
    for shape in ((5, 70), (6, 3, 4, 4), (2, 5, 40)):
        weight = torch.randn(shape, generator=generator)
        rows = weight.reshape(-1, shape[-1]) if len(shape) == 3 else weight.reshape(shape[0], -1)
        torch.testing.assert_close(rounded(weight, bits), by_hand(rows, bits).reshape(shape))


def test_zeros_types_and_the_other_way_round() -> None:
    assert torch.equal(rounded(torch.zeros(3, 40), 4), torch.zeros(3, 40))
    weight = torch.randn(40, 6, generator=torch.Generator().manual_seed(2))
    assert torch.equal(rounded(weight, 4, transposed=True), rounded(weight.T.contiguous(), 4).T)
    half = rounded(weight.bfloat16(), 8)
    assert half.dtype == torch.bfloat16 and half.shape == weight.shape
    with pytest.raises(ValueError, match="2 to 8"):
        rounded(weight, 1)


def test_errors_are_at_most_half_a_step() -> None:
    weight = torch.randn(20, 64, generator=torch.Generator().manual_seed(3))
    for bits in (8, 4):
        step = float(weight.abs().max()) / (2 ** (bits - 1) - 1)
        error = float((rounded(weight, bits) - weight).abs().max())
        assert error <= step / 2 * (1 + 1e-5) and not math.isclose(error, 0.0)


def test_what_is_rounded() -> None:
    square = torch.zeros(4, 4)
    for name in (
        "visual.transformer.resblocks.0.attn.in_proj_weight",
        "model.layers.1.mlp.up_proj.weight",
        "h.0.c.w",
    ):
        assert is_matrix(name, square), name
    for name in ("visual.conv1.weight", "model.embed_tokens.weight", "lm_head.weight", "heads.digits.weight"):
        assert not is_matrix(name, square), name
    assert not is_matrix("model.layers.1.input_layernorm.weight", torch.zeros(4))
    assert not is_matrix("visual.layers.1.attn.relative_position_bias_table", square)

    class Conv1D(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(square.clone())

    assert kept_transposed(nn.Sequential(nn.Linear(2, 2), Conv1D())) == ["1.weight"]
