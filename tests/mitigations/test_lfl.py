"""LFL against the mean squared difference of embeddings."""

from __future__ import annotations

import pytest
from drive import TASKS, assert_close, clip, moved, naive, resumed, task_of, tuned
from pydantic import ValidationError
from torch.nn import functional as F

from cl_forget.mitigations.lfl import LessForgetfulLearning
from cl_forget.training.frozen import FrozenModel


def world():
    model = clip()
    base = FrozenModel(model)
    moved(model)
    return base, task_of(model, TASKS[1:2], TASKS[:1], base=base)


def test_agrees_with_the_mean_written_out() -> None:
    base, task = world()

    def loss(images, targets, indices, number):
        now, then = task.model.clip.visual(images), base.model.clip.visual(images)
        penalty = sum((a - b) ** 2 for a, b in zip(now.flatten(), then.flatten(), strict=True)) / now.numel()
        return F.cross_entropy(task.model.heads["squares-2"](F.normalize(now, dim=-1)), targets) + 5 * penalty

    assert_close(tuned(world()[1], LessForgetfulLearning(strength=5.0)), naive(task, loss))


def test_resumes_to_the_same_bits() -> None:
    resumed(lambda: task_of(clip(), TASKS[:1]), LessForgetfulLearning(anchor="previous"))


def test_bad_values_are_refused() -> None:
    with pytest.raises(ValidationError):
        LessForgetfulLearning(strength=-0.1)
