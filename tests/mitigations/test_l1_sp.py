"""L1-SP against autograd, and against soft thresholding."""

from __future__ import annotations

import copy

import pytest
import torch
from drive import TASKS, assert_close, clip, moved, naive, task_of, tuned
from penalties import bowl_task, descend
from pydantic import ValidationError
from torch.nn import functional as F

from cl_forget.mitigations.l1_sp import L1SP
from cl_forget.training.frozen import FrozenModel


@pytest.mark.parametrize("anchor", ["pretrained", "previous"])
def test_equals_the_penalty_under_autograd(anchor: str) -> None:
    base = clip(TASKS[:1])
    model = copy.deepcopy(base)
    moved(model)
    task = task_of(copy.deepcopy(model), TASKS[:1], base=FrozenModel(base))
    twin = task_of(copy.deepcopy(model), TASKS[:1], base=FrozenModel(base))
    star = dict((base if anchor == "pretrained" else model).named_parameters())

    def loss(images, targets, indices, number):
        embedding = F.normalize(twin.model.encode(images)[0], dim=-1)
        own = dict(twin.model.named_parameters())
        penalty = sum((own[n] - star[n].detach()).abs().sum() for n in twin.model.tunable(TASKS[0]))
        return F.cross_entropy(twin.model.heads["squares-1"](embedding), targets) + 0.05 * penalty

    assert_close(tuned(task, L1SP(strength=0.05, anchor=anchor)), naive(twin, loss))


def test_hovers_around_soft_thresholding() -> None:
    """min ½‖θ-c‖² + λ‖θ-θ0‖₁ is θ0 + soft(c-θ0, λ); a subgradient step of rate r comes within r·λ."""
    task, target = bowl_task()
    start = task.start["theta"]
    away = target - start
    expected = start + away.sign() * (away.abs() - 0.9).clamp_min(0)
    assert (expected == start).any() and (expected != start).any()
    found = descend(task, L1SP(strength=0.9), steps=3000, rate=0.002)
    torch.testing.assert_close(found, expected, atol=5e-3, rtol=0)


def test_no_pull_at_the_anchor() -> None:
    task, target = bowl_task()
    once = descend(task, L1SP(strength=3.0), steps=1, rate=0.1)
    torch.testing.assert_close(once, 0.9 * task.start["theta"] + 0.1 * target)


@pytest.mark.parametrize("fields", [{"strength": -0.1}, {"strength": float("nan")}, {"anchor": "zero"}])
def test_bad_settings_are_refused(fields: dict) -> None:
    with pytest.raises(ValidationError):
        L1SP(**fields)
