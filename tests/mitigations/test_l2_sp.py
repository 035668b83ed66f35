"""L2-SP against autograd, and against the optimum of a quadratic bowl."""

from __future__ import annotations

import copy

import pytest
import torch
from drive import TASKS, TRAIN, assert_close, clip, distance, moved, naive, task_of, tuned, without_key_bias
from penalties import bowl_task, descend
from pydantic import ValidationError
from torch.nn import functional as F

from cl_forget.mitigations.l2_sp import L2SP
from cl_forget.training.frozen import FrozenModel
from cl_forget.training.options import Training


@pytest.mark.parametrize("anchor", ["pretrained", "previous"])
def test_equals_the_penalty_under_autograd(anchor: str) -> None:
    base = clip(TASKS[:1])
    model = copy.deepcopy(base)
    moved(model)

    def task():
        return task_of(copy.deepcopy(model), TASKS[:1], base=FrozenModel(base))

    twin = task()
    star = dict((base if anchor == "pretrained" else model).named_parameters())
    names = twin.model.tunable(TASKS[0])

    def loss(images, targets, indices, number, scale=1.0):
        embedding = F.normalize(twin.model.encode(images)[0], dim=-1)
        own = dict(twin.model.named_parameters())
        penalty = sum((own[n] - star[n].detach()).square().sum() for n in names)
        return F.cross_entropy(twin.model.heads["squares-1"](embedding), targets) + 0.3 * scale * penalty

    found = tuned(task(), L2SP(strength=0.3, anchor=anchor))
    assert_close(without_key_bias(found), without_key_bias(naive(twin, loss)))

    # The trap: a mean over the parameters (FLOW's l2 baseline) is almost no regularisation.
    count = sum(twin.model.get_parameter(n).numel() for n in names)
    twin = task()
    assert distance(found, naive(twin, lambda *a: loss(*a, scale=1 / count))) > 1e-3


def test_a_free_head_is_not_pulled() -> None:
    base = clip(TASKS[:1])
    twin = task_of(copy.deepcopy(base), TASKS[:1])
    star = dict(base.named_parameters())
    names = set(twin.model.tunable(TASKS[0])) - set(twin.model.head_parameters(TASKS[0]))

    def loss(images, targets, indices, number):
        embedding = F.normalize(twin.model.encode(images)[0], dim=-1)
        own = dict(twin.model.named_parameters())
        penalty = sum((own[n] - star[n].detach()).square().sum() for n in names)
        return F.cross_entropy(twin.model.heads["squares-1"](embedding), targets) + 0.3 * penalty

    found = tuned(task_of(copy.deepcopy(base), TASKS[:1]), L2SP(strength=0.3, head="free"))
    assert_close(without_key_bias(found), without_key_bias(naive(twin, loss)))


def test_reaches_the_optimum_of_a_quadratic_bowl() -> None:
    """min ½‖θ-c‖² + λ‖θ-θ0‖² lies at (c + 2λθ0) / (1 + 2λ)."""
    task, target = bowl_task()
    start = task.start["theta"]
    found = descend(task, L2SP(strength=0.7))
    torch.testing.assert_close(found, (target + 1.4 * start) / 2.4, atol=1e-6, rtol=0)


def test_weight_decay_pulls_elsewhere() -> None:
    """AdamW's decay shrinks weights that L2-SP leaves where they are."""
    model = clip(TASKS[:1])
    train = TRAIN.model_copy(update={"epochs": 1, "weight_decay": 0.5})
    decayed = tuned(task_of(copy.deepcopy(model), TASKS[:1], train=train), train=train)
    held = tuned(task_of(copy.deepcopy(model), TASKS[:1], train=train), L2SP(strength=10), train=train)
    plain = Training(**{**train.model_dump(), "weight_decay": 0.0})
    alone = tuned(task_of(copy.deepcopy(model), TASKS[:1], train=plain), L2SP(strength=10), train=plain)
    assert distance(held, alone) > 1e-4 and distance(held, decayed) > 1e-4


@pytest.mark.parametrize("fields", [{"strength": -1}, {"strength": float("inf")}, {"anchor": "zero"}])
def test_bad_settings_are_refused(fields: dict) -> None:
    with pytest.raises(ValidationError):
        L2SP(**fields)
