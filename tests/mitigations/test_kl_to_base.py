"""KL to base against the definition, in both directions."""

from __future__ import annotations

import pytest
import torch
from drive import TASKS, assert_close, clip, distance, moved, naive, resumed, step_of, task_of, tuned
from pydantic import ValidationError
from torch.nn import functional as F

from cl_forget.evaluation.metrics import kl_divergence
from cl_forget.mitigations.kl_to_base import KLToBase
from cl_forget.training.frozen import FrozenModel


def world():
    model = clip()
    base = FrozenModel(model)
    moved(model)
    return base, task_of(model, TASKS[1:2], TASKS[:1], base=base)


@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_agrees_with_the_definition_and_the_directions_differ(direction: str) -> None:
    base, task = world()

    def loss(images, targets, indices, number):
        def logits(model):
            return model.heads["squares-2"](F.normalize(model.clip.visual(images), dim=-1))

        now, then = logits(task.model), logits(base.model)
        p, q = then.softmax(1), now.softmax(1)
        if direction == "reverse":
            p, q = q, p
        kl = sum(a * (a / b).log() for a, b in zip(p.flatten(), q.flatten(), strict=True)) / len(now)
        return F.cross_entropy(now, targets) + 2.0 * kl

    expected = naive(task, loss)
    ours = {d: tuned(world()[1], KLToBase(strength=2.0, direction=d)) for d in ("forward", "reverse")}
    assert_close(ours[direction], expected)
    assert distance(ours["forward"], ours["reverse"]) > 1e-5


def test_is_the_number_the_evaluation_reports() -> None:
    base, task = world()
    step = step_of(task)
    reported = kl_divergence(base.model(step.batch).logits.detach(), step.forward.logits.detach()).mean()
    torch.testing.assert_close(KLToBase(strength=1.0).penalty(step, {}), torch.tensor(reported))


def test_resumes_to_the_same_bits() -> None:
    resumed(lambda: task_of(clip(), TASKS[:1]), KLToBase())


@pytest.mark.parametrize("fields", [{"strength": -1}, {"direction": "both"}, {"strength": float("inf")}])
def test_bad_values_are_refused(fields) -> None:
    with pytest.raises(ValidationError):
        KLToBase(**fields)
