"""O-LoRA: the penalty against autograd, orthogonality in a sequence, and its state."""

from __future__ import annotations

import pytest
import torch
from drive import TASKS, TRAIN, clip, resumed, task_of
from pydantic import ValidationError

from cl_forget.ground.records import Cost
from cl_forget.mitigations import Chain
from cl_forget.mitigations.o_lora import OLoRA
from cl_forget.mitigations.shared import adapters as _lora
from cl_forget.training.context import Trainable, Update
from cl_forget.training.loop import fine_tune

LONG = TRAIN.model_copy(update={"epochs": 20, "lr": 3e-3})


def sequence(strength, train=TRAIN):
    """Two tasks; the chain afterwards, holding both tasks' A."""
    model, chain = clip(), Chain([OLoRA(strength=strength, rank=4)])
    for number in (0, 1):
        fine_tune(task_of(model, TASKS[number : number + 1], TASKS[:number], train), chain, train, Cost())
    return chain


def overlap(chain):
    return sum(float((a[:4] @ a[4:].T).abs().sum()) for a in chain.state["o_lora"].rows.values())


def test_the_closed_form_is_the_gradient_of_the_l1_norm_summed_over_old_tasks() -> None:
    task = task_of(clip(), TASKS[:1])
    task.model.requires_grad_(True)
    method = OLoRA(strength=0.7, rank=4)
    method.shape_parameters(task, {})
    found = _lora.adapters(task.model)
    generator = torch.Generator().manual_seed(0)
    state = method.keeps()
    state.rows.update(
        {n: torch.randn(8, a.down.shape[1], generator=generator).double() for n, a in found.items()}
    )
    named = {n: p for n, p in task.model.named_parameters() if p.requires_grad}
    update = Update(task, Trainable(list(named), list(named.values())), None, 0)
    method.add_gradient(update, state)
    penalty = sum(
        0.7 * (old @ a.down.T).abs().sum()
        for name, a in found.items()
        for old in (state.rows[name][:4], state.rows[name][4:])
    )
    for adapter, expected in zip(
        found.values(), torch.autograd.grad(penalty, [a.down for a in found.values()]), strict=True
    ):
        torch.testing.assert_close(adapter.down.grad, expected, atol=1e-12, rtol=0)
        assert not adapter.up.grad.any()


def test_a_second_task_learns_in_other_directions() -> None:
    loose, tight = sequence(0.0, LONG), sequence(5.0, LONG)
    assert {tuple(a.shape) for a in tight.state["o_lora"].rows.values()} == {(8, 32), (8, 128)}
    assert overlap(tight) < 0.2 * overlap(loose)


def test_resumes_to_the_same_bits_in_the_second_task() -> None:
    def make():
        return task_of(clip(), TASKS[:1])

    resumed(make, OLoRA())

    first = sequence(2.0)
    whole, part = Chain([OLoRA(strength=2.0, rank=4)]), Chain([OLoRA(strength=2.0, rank=4)])
    for chain in (whole, part):
        chain.state["o_lora"].rows.update({n: a[:4].clone() for n, a in first.state["o_lora"].rows.items()})
    often = TRAIN.model_copy(update={"checkpoint_seconds": 1e-9})
    saved = {}

    def save(done, groups):
        saved[done] = {g: {n: t.detach().clone() for n, t in ts.items()} for g, ts in groups.items()}

    one, two = task_of(clip(), TASKS[1:2], TASKS[:1]), task_of(clip(), TASKS[1:2], TASKS[:1])
    fine_tune(one, whole, often, Cost(), save=save)
    part.restore(saved[3])
    fine_tune(two, part, often, Cost(), resume=saved[3])
    state = two.model.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in one.model.state_dict().items())
    for name, rows in whole.state["o_lora"].items():
        assert torch.equal(rows, part.state["o_lora"][name])


def test_bad_values_are_refused() -> None:
    with pytest.raises(ValidationError):
        OLoRA(strength=-1)
