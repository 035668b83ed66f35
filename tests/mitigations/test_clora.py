"""CLoRA: the penalty against autograd, its directions, and what it does to the update."""

from __future__ import annotations

import pytest
import torch
from drive import TASKS, clip, distance, resumed, task_of, tuned, weights
from pydantic import ValidationError

from cl_forget.mitigations.clora import CLoRA
from cl_forget.mitigations.freeze import Freeze
from cl_forget.mitigations.lora import LoRA
from cl_forget.mitigations.shared import adapters as _lora
from cl_forget.training.context import Trainable, Update


def with_adapters(method):
    """A task with adapters, both factors random, and the method's state."""
    task, state = task_of(clip(), TASKS[:1]), method.keeps()
    for name in task.model.tunable(TASKS[0]):
        task.model.get_parameter(name).requires_grad_(True)
    method.shape_parameters(task, state)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for adapter in _lora.adapters(task.model).values():
            adapter.up.copy_(torch.randn(adapter.up.shape, generator=generator))
    return task, state


def test_the_closed_form_is_the_gradient_of_the_penalty() -> None:
    method = CLoRA(strength=0.7, rank=4, columns=12)
    task, state = with_adapters(method)
    found = _lora.adapters(task.model)
    named = {n: p for n, p in task.model.named_parameters() if p.requires_grad}
    method.add_gradient(Update(task, Trainable(list(named), list(named.values())), None, 0), state)
    penalty = 0.0
    for name, adapter in found.items():
        into, out = state.inputs[name], state.outputs[name]
        penalty += 0.7 * 0.5 * (adapter.down @ into).square().sum()
        penalty += 0.7 * 0.5 * (adapter.up.T @ out).square().sum()
    factors = [factor for adapter in found.values() for factor in (adapter.down, adapter.up)]
    for factor, expected in zip(factors, torch.autograd.grad(penalty, factors), strict=True):
        torch.testing.assert_close(factor.grad, expected, atol=1e-12, rtol=0)


def test_directions_are_orthonormal_fixed_by_the_seed_and_leave_half() -> None:
    (_, one), (task, two) = with_adapters(CLoRA(rank=4)), with_adapters(CLoRA(rank=4))
    for name, adapter in _lora.adapters(task.model).items():
        for factor, dim, kept in ((adapter.down, 1, "inputs"), (adapter.up, 0, "outputs")):
            columns = getattr(one, kept)[name]
            assert columns.shape == (factor.shape[dim], factor.shape[dim] // 2)
            torch.testing.assert_close(columns.T @ columns, torch.eye(columns.shape[1]).double())
            assert torch.equal(columns, getattr(two, kept)[name])
    # Two maps of one shape are pushed off different directions.
    same = [one.inputs[n] for n in one.inputs if n.endswith("in_proj_weight")]
    assert len(same) == 2 and not torch.equal(*same)


def test_strength_zero_is_lora_and_a_strong_penalty_leaves_a_smaller_update() -> None:
    start = weights(clip())
    plain = tuned(task_of(clip(), TASKS[:1]), LoRA(rank=4))
    ends = {s: tuned(task_of(clip(), TASKS[:1]), CLoRA(rank=4, strength=s)) for s in (0.0, 10.0)}
    assert distance(ends[0.0], plain) == 0.0
    name = "clip.visual.transformer.resblocks.0.mlp.c_fc.weight"
    size = {s: float((end[name] - start[name]).norm()) for s, end in ends.items()}
    assert size[10.0] < 0.9 * size[0.0]


def test_resumes_to_the_same_bits_and_keeps_nothing_after_a_task() -> None:
    resumed(lambda: task_of(clip(), TASKS[:1]), CLoRA(rank=4))
    task, state = with_adapters(CLoRA(rank=4))
    CLoRA(rank=4).restore_parameters(task, state)
    assert not state


def test_bad_values_are_refused() -> None:
    for fields in ({"strength": -1}, {"columns": 0}):
        with pytest.raises(ValidationError):
            CLoRA(**fields)


def test_frozen_blocks_get_no_adapters_though_it_comes_first_in_the_alphabet() -> None:
    start = weights(clip())
    end = tuned(task_of(clip(), TASKS[:1]), CLoRA(rank=4), Freeze(blocks=1))
    moved = {name for name in start if not torch.equal(start[name], end[name])}
    assert moved and not any("resblocks.0" in name for name in moved)
