"""KD on logits against sums written out."""

from __future__ import annotations

import copy

import pytest
import torch
from drive import (
    TASKS,
    TRAIN,
    Bigrams,
    assert_close,
    clip,
    distance,
    moved,
    naive,
    resumed,
    sentences,
    step_of,
    task_of,
    tuned,
)
from pydantic import ValidationError
from torch.nn import functional as F

from cl_forget.ground.errors import UserError
from cl_forget.mitigations import Chain
from cl_forget.mitigations.flyp import FLYP
from cl_forget.mitigations.kd import KnowledgeDistillation
from cl_forget.training.frozen import FrozenModel


def logits(model, images):
    head = model.heads["squares-2"]
    return F.normalize(model.clip.visual(images), dim=-1) @ head.weight.T + head.bias


@pytest.mark.parametrize("anchor", ["pretrained", "previous"])
def test_agrees_with_the_sums_written_out(anchor: str) -> None:
    def world():
        model = clip()
        base = FrozenModel(model)
        moved(model)
        return base, task_of(model, TASKS[1:2], TASKS[:1], base=base)

    base, task = world()
    teacher = base.model if anchor == "pretrained" else copy.deepcopy(task.model)

    def loss(images, targets, indices, number, mean_over_classes=False):
        now = logits(task.model, images)
        penalty = 0.0
        for row, image in zip(now, images, strict=True):
            penalty = penalty + sum((row - logits(teacher, image[None])[0].detach()) ** 2)
        penalty = penalty / len(now) / (now.shape[1] if mean_over_classes else 1)
        return F.cross_entropy(now, targets) + 0.3 * penalty

    method = KnowledgeDistillation(strength=0.3, anchor=anchor)
    ours = tuned(world()[1], method)
    assert_close(ours, naive(task, loss))
    _, task = world()
    teacher = base.model if anchor == "pretrained" else copy.deepcopy(task.model)
    assert distance(ours, naive(task, lambda *a: loss(*a, mean_over_classes=True))) > 1e-5


def test_a_large_strength_leads_back_to_the_teacher() -> None:
    model = clip()
    base = FrozenModel(model)
    images = task_of(model, TASKS[1:2]).sources[0].batch(torch.arange(24)).inputs
    before = logits(model, images).detach()
    moved(model)
    start = (logits(model, images) - before).square().mean()
    longer = TRAIN.model_copy(update={"epochs": 20})
    task = task_of(model, TASKS[1:2], base=base, train=longer)
    tuned(task, KnowledgeDistillation(strength=1e3), train=longer)
    assert (logits(model, images) - before).square().mean() < 0.05 * start


def test_tokens_are_averaged_within_their_sample_first() -> None:
    model = Bigrams()
    base = FrozenModel(model)
    moved(model, by=0.5)
    task = task_of(model, [sentences()], base=base)
    step = step_of(task)
    apart = (model.table(step.batch.inputs) - base.model.table(step.batch.inputs)).square().sum(1)
    rows = step.batch.sample_of_unit
    expected = torch.stack([apart[rows == row].mean() for row in range(10)]).mean()
    found = KnowledgeDistillation(strength=1.0).penalty(step, {})
    torch.testing.assert_close(found, expected)
    assert abs(found - apart.mean()) > 1e-3


def test_resumes_to_the_same_bits() -> None:
    resumed(lambda: task_of(clip(), TASKS[:1]), KnowledgeDistillation())


@pytest.mark.parametrize("fields", [{"strength": -1}, {"strength": float("nan")}, {"anchor": "last"}])
def test_bad_values_are_refused(fields) -> None:
    with pytest.raises(ValidationError):
        KnowledgeDistillation(**fields)


def test_a_head_that_is_not_trained_has_no_logits_to_keep() -> None:
    with pytest.raises(UserError, match="'kd' cannot be combined with 'flyp'"):
        Chain([FLYP(), KnowledgeDistillation()])
