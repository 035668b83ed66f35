"""LwF against Kullback-Leibler sums written out, with heads apart and with one head."""

from __future__ import annotations

import copy

import pytest
import torch
from drive import (
    TASKS,
    Bigrams,
    assert_close,
    clip,
    distance,
    moved,
    naive,
    resumed,
    sentences,
    shared_head,
    step_of,
    task_of,
    tuned,
)
from pydantic import ValidationError
from torch.nn import functional as F

from cl_forget.ground.errors import UserError
from cl_forget.mitigations.lwf import LearningWithoutForgetting
from cl_forget.training.frozen import FrozenModel


def third_task():
    model = clip()
    base = FrozenModel(model)
    moved(model)
    return task_of(model, TASKS[2:], TASKS[:2], base=base)


def divergence(teacher, student, temperature):
    p, q = (teacher / temperature).softmax(1), (student / temperature).softmax(1)
    return (p * (p / q).log()).sum() / len(p)


def objective(task, heads, old=slice(None), temperature=2.0, backwards=False):
    teacher = copy.deepcopy(task.model)

    def loss(images, targets, indices, number):
        with torch.no_grad():
            before = F.normalize(teacher.clip.visual(images), dim=-1)
        now = F.normalize(task.model.clip.visual(images), dim=-1)
        head = task.stage[0].labels.head
        total = F.cross_entropy(task.model.heads[head](now), targets)
        for name in heads:
            sides = teacher.heads[name](before)[:, old], task.model.heads[name](now)[:, old]
            total = total + 0.7 * divergence(*(reversed(sides) if backwards else sides), temperature)
        return total

    return loss


def test_old_heads_answer_on_new_data_as_the_previous_model_did_and_go_on_training() -> None:
    heads = ["squares-1", "squares-2"]
    extra = [f"heads.{head}.{kind}" for head in heads for kind in ("weight", "bias")]
    ours = tuned(third_task(), LearningWithoutForgetting(strength=0.7))
    task = third_task()
    assert_close(ours, naive(task, objective(task, heads), extra=extra))
    assert distance(ours, {**ours, **{k: task.start[k] for k in extra}}) > 1e-4
    for wrong in ({"backwards": True}, {"temperature": 1.0}):
        task = third_task()
        assert distance(ours, naive(task, objective(task, heads, **wrong), extra=extra)) > 1e-6


def test_a_shared_head_keeps_its_old_classes_only() -> None:
    def second():
        model = clip(shared_head())
        moved(model)
        first, last = shared_head()
        return task_of(model, [last], [first])

    ours = tuned(second(), LearningWithoutForgetting(strength=0.7))
    task = second()
    assert_close(ours, naive(task, objective(task, ["shared"], old=[0, 1])))
    task = second()
    assert distance(ours, naive(task, objective(task, ["shared"]))) > 1e-5  # wrong: new classes, too


def test_the_first_task_is_plain_fine_tuning() -> None:
    one, two = (tuned(task_of(clip(), TASKS[:1]), *m) for m in ([LearningWithoutForgetting()], []))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_starts_at_no_penalty() -> None:
    task = third_task()
    state = LearningWithoutForgetting.keeps()
    LearningWithoutForgetting().start_task(task, state)
    assert float(LearningWithoutForgetting().penalty(step_of(task), state)) < 1e-12


def test_resumes_to_the_same_bits() -> None:
    resumed(third_task, LearningWithoutForgetting())


def test_a_model_without_classes_is_refused() -> None:
    from dataclasses import replace

    task = task_of(Bigrams(), [replace(sentences(), labels=None)])
    with pytest.raises(UserError, match="lwf needs tasks with classes"):
        LearningWithoutForgetting().start_task(task, LearningWithoutForgetting.keeps())


@pytest.mark.parametrize("fields", [{"strength": -1}, {"temperature": 0}])
def test_bad_values_are_refused(fields) -> None:
    with pytest.raises(ValidationError):
        LearningWithoutForgetting(**fields)
