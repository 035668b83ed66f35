"""The pieces in which L1-SP and L2-SP see the weights."""

from __future__ import annotations

import pytest
import torch
from drive import TASKS, clip, moved, task_of

import cl_forget.mitigations.shared.anchored as anchored
from cl_forget.training.context import Trainable, Update


@pytest.mark.parametrize("block", [7, 100, 1 << 18])
def test_every_entry_comes_once_with_its_own_gradient(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anchored, "BLOCK", block)
    task = task_of(clip(), TASKS[:1])
    start = {name: tensor.clone() for name, tensor in task.start.items()}
    moved(task.model)
    names = task.model.tunable(TASKS[0])
    tensors = [task.model.get_parameter(name) for name in names]
    matrix = next(tensor for tensor in tensors if tensor.ndim == 2)
    matrix.data = matrix.data.T.contiguous().T  # not in one piece
    for number, tensor in enumerate(tensors):
        tensor.grad = torch.full_like(tensor, number)
    update = Update(task, Trainable(names, tensors), torch.optim.SGD(tensors), 0)
    for gradients, found in anchored.differences(update, "previous"):
        torch._foreach_add_(gradients, found, alpha=2.0)
    for number, (name, tensor) in enumerate(zip(names, tensors, strict=True)):
        assert tensor.grad is not None
        assert torch.equal(tensor.grad, torch.full_like(tensor, number) + 2 * (tensor.detach() - start[name]))
