"""Intruder reduction: written out in numpy, against peft's own, and what it leaves alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from drive import assert_close
from edits import apply, edit_of, loaded, same_bits
from pydantic import ValidationError
from torch import Tensor, nn

from cl_forget.mitigations import Chain
from cl_forget.mitigations.intruder_reduction import IntruderReduction
from cl_forget.mitigations.task_arithmetic import TaskArithmetic
from cl_forget.mitigations.wise_ft import WiseFT
from cl_forget.training.context import Edit


def in_numpy(base: np.ndarray, tuned: np.ndarray, scale: float, top: int, threshold: float) -> np.ndarray:
    """Singular vector by singular vector."""
    rows, before = tuned.reshape(len(tuned), -1), base.reshape(len(base), -1)
    known = np.linalg.svd(before, full_matrices=False)[0]
    u, s, vh = np.linalg.svd(rows, full_matrices=False)
    edited = rows.copy()
    for i in range(min(top, len(s))):
        if max(abs(float(u[:, i] @ known[:, j])) for j in range(known.shape[1])) < threshold:
            edited += (scale - 1) * s[i] * np.outer(u[:, i], vh[i])
    return edited.reshape(tuned.shape)


class Layers(nn.Module):
    """A matrix, a convolution, a vector, a task's head and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(6, 80)
        self.conv = nn.Conv2d(2, 40, 2)
        self.same = nn.Linear(3, 3)
        self.heads = nn.ModuleDict({"task": nn.Linear(6, 8)})
        self.register_buffer("grid", torch.ones(5, 5))


def drawn(model: nn.Module, seed: int = 0) -> dict[str, Tensor]:
    """The tensors with a strong direction of rank one in each, but for those called `same`."""
    random = torch.Generator().manual_seed(seed)
    moved = {}
    for name, tensor in model.state_dict().items():
        rows = tensor.reshape(len(tensor), -1)
        direction = torch.randn(len(rows), 1, generator=random) @ torch.randn(
            1, rows.shape[1], generator=random
        )
        moved[name] = (
            tensor.clone() if name.startswith("same") else tensor + direction.to(tensor).view_as(tensor)
        )
    return moved


@pytest.mark.parametrize(("scale", "top", "threshold"), [(0.75, 10, 0.5), (0.0, 2, 0.9), (0.4, 1, 0.8)])
def test_every_matrix_as_written_out(scale: float, top: int, threshold: float) -> None:
    model = Layers().double()
    start, end = {n: t.clone() for n, t in model.state_dict().items()}, drawn(model)
    method = IntruderReduction(scale=scale, top=top, threshold=threshold)
    found = method.edit_weights(Edit(model, start, start, [loaded(end)], [loaded(start)]), end)  # type: ignore[arg-type]
    for name, tensor in end.items():
        if tensor.ndim > 1 and not name.startswith("heads.") and name != "grid":
            expected = in_numpy(start[name].numpy(), tensor.numpy(), scale, top, threshold)
            torch.testing.assert_close(found[name], torch.from_numpy(expected), atol=1e-12, rtol=0)
        else:
            assert torch.equal(found[name], tensor), name
    assert torch.equal(found["same.weight"], start["same.weight"])
    assert not torch.allclose(found["linear.weight"], end["linear.weight"])


def test_a_weight_that_is_kept_as_inputs_by_outputs() -> None:
    from transformers.pytorch_utils import Conv1D

    model = nn.Sequential(Conv1D(20, 6)).double()
    start, end = {n: t.clone() for n, t in model.state_dict().items()}, drawn(model)
    edit = Edit(model, start, start, [loaded(end)], [loaded(start)])  # type: ignore[arg-type]
    found = IntruderReduction().edit_weights(edit, end)["0.weight"].T
    expected = in_numpy(start["0.weight"].T.numpy(), end["0.weight"].T.numpy(), 0.75, 10, 0.5)
    torch.testing.assert_close(found, torch.from_numpy(expected), atol=1e-12, rtol=0)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # of peft
def test_it_is_pefts_own_before_that_is_cut_to_the_adapters_rank() -> None:
    from peft import LoraConfig, get_peft_model
    from peft.tuners.lora.intruders import reduce_intruder_dimension

    torch.manual_seed(0)
    plain = nn.Sequential(nn.Linear(24, 30, bias=False))
    start = plain[0].weight.detach().clone()
    model = get_peft_model(plain, LoraConfig(r=3, lora_alpha=3, target_modules=["0"]))
    layer = model.base_model.model[0]
    with torch.no_grad():
        layer.lora_B["default"].weight.copy_(torch.randn(30, 3))
        layer.lora_A["default"].weight.copy_(torch.randn(3, 24))
    tuned = start + layer.get_delta_weight("default").detach()
    reduce_intruder_dimension(model, mitigation_lambda=0.5, logging_sink=None)
    theirs = layer.get_delta_weight("intruder_reduced").detach()
    linear = nn.Linear(24, 30, bias=False)
    edit = Edit(linear, {"weight": start}, {"weight": start})  # type: ignore[arg-type]
    ours = IntruderReduction(scale=0.5).edit_weights(edit, {"weight": tuned})["weight"] - start
    u, s, vh = torch.linalg.svd(ours, full_matrices=False)
    torch.testing.assert_close((u[:, :3] * s[:3]) @ vh[:3], theirs, atol=1e-4, rtol=0)
    assert not torch.allclose(ours, tuned - start, atol=1e-2)


def test_no_reduction_is_absence_and_it_comes_after_merges_and_before_averages() -> None:
    assert not list(Chain([IntruderReduction(scale=1.0)]))
    methods = [WiseFT(alpha=0.5), IntruderReduction(), TaskArithmetic(scale=1)]
    assert [m.name for m in Chain(methods)] == ["task_arithmetic", "intruder_reduction", "wise_ft"]
    edit = edit_of()
    reduced = apply(edit, IntruderReduction(scale=0.5))
    half = {name: torch.lerp(tensor, reduced[name], 0.5) for name, tensor in edit.pretrained.items()}
    assert_close(apply(edit, WiseFT(alpha=0.5), IntruderReduction(scale=0.5)), half, atol=1e-12)
    same_bits(apply(edit, IntruderReduction(threshold=0)), edit.history[0]())


@pytest.mark.parametrize("fields", [{"scale": 1.1}, {"top": 0}, {"threshold": 2}])
def test_bad_settings_are_refused(fields: dict) -> None:
    with pytest.raises(ValidationError):
        IntruderReduction(**fields)
