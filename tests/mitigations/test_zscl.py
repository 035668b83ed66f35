"""ZSCL against the distillation, the distance and the average written out."""

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
    task_of,
    tuned,
    weights,
)
from pydantic import ValidationError
from tiny import colours
from torch.nn import functional as F

from cl_forget.ground.errors import UserError
from cl_forget.mitigations.zscl import ZSCL
from cl_forget.training.frozen import FrozenModel

METHOD = ZSCL(reference="colours", strength=0.5, l2=0.3, average_every=None, batch_size=7)


def world():
    model = clip()
    base = FrozenModel(model)
    moved(model)
    return base, task_of(model, TASKS[1:2], TASKS[:1], base=base)


def naive_loss(task, base, transpose=True, scale=4.0):
    start, suite = copy.deepcopy(task.model), colours()
    reference = task.model.prepare(suite.validation, suite, "validation")
    texts = base.model.zero_shot_head(suite.labels).weight

    def loss(images, targets, indices, number):
        model = task.model
        total = F.cross_entropy(
            model.heads["squares-2"](F.normalize(model.clip.visual(images), dim=-1)), targets
        )
        chosen = torch.randperm(len(reference), generator=task.generator("zscl", number))[:7]
        pictures = reference.batch(chosen).inputs
        now = F.normalize(model.clip.visual(pictures), dim=-1) @ texts.T
        with torch.no_grad():
            before = F.normalize(base.model.clip.visual(pictures), dim=-1) @ texts.T
        total = total + 0.5 * scale * F.cross_entropy(now / 2, (before / 2).softmax(1))
        if transpose:
            total = total + 0.5 * scale * F.cross_entropy(now.T / 2, (before.T / 2).softmax(1))
        for one, two in zip(model.parameters(), start.parameters(), strict=True):
            if one.requires_grad:
                total = total + 0.3 * ((one - two.detach()) ** 2).sum()
        return total

    return loss


def seen(weights):
    """Without the key biases: attention does not depend on them, so Adam blows rounding up there."""
    cut = {n: t.clone() for n, t in weights.items()}
    for name in cut:
        if name.endswith("in_proj_bias"):
            cut[name][32:64] = 0
    return cut


def test_agrees_with_the_authors_loss_written_out() -> None:
    _, task = world()
    ours = seen(tuned(task, METHOD))
    base, task = world()
    assert_close(ours, seen(naive(task, naive_loss(task, base))))
    for wrong in ({"transpose": False}, {"scale": 1.0}):  # images only; without T²
        base, task = world()
        assert distance(ours, seen(naive(task, naive_loss(task, base, **wrong)))) > 1e-6


@pytest.mark.parametrize(
    ("points", "every", "kept"),
    [
        ("multiples", 2, (0, 2, 4, 6)), ("multiples", 4, (0, 4, 6)), ("multiples", 100, (0, 6)),
        ("authors", 2, (0, 1, 3, 5)), ("authors", 4, (0, 1, 5)), ("authors", 100, (0, 1)),
    ],
)  # fmt: skip
def test_the_result_is_the_average_of_the_weights_after_these_steps(points, every, kept) -> None:
    method = METHOD.model_copy(update={"average_every": None})
    _, task = world()
    path = [weights(task.model)]
    tuned(
        task, method, train=TRAIN.model_copy(update={"checkpoint_seconds": 1e-9}),
        save=lambda done, groups: path.append({n: t.detach().clone() for n, t in groups["tuned"].items()}),
    )  # fmt: skip
    path.append(weights(task.model))
    assert len(path) == task.steps + 1 == 7
    _, task = world()
    found = tuned(task, method.model_copy(update={"average_every": every, "average_points": points}))
    expected = {
        n: sum(path[i][n] for i in kept) / len(kept) if n in path[1] else t for n, t in path[0].items()
    }
    assert_close(found, expected, atol=1e-12)


def test_resumes_to_the_same_bits() -> None:
    resumed(lambda: world()[1], METHOD.model_copy(update={"average_every": 3}), at=4)


def test_a_model_without_a_text_tower_is_refused() -> None:
    with pytest.raises(UserError, match="no text tower"):
        ZSCL(reference="colours").start_task(task_of(Bigrams(), [sentences()]), ZSCL.keeps())


def test_an_unknown_reference_is_refused() -> None:
    with pytest.raises(UserError, match="Did you mean 'colours'"):
        ZSCL(reference="colors").start_task(world()[1], ZSCL.keeps())


@pytest.mark.parametrize(
    "fields", [{}, {"reference": "colours", "l2": -1}, {"reference": "colours", "average_every": 0}]
)
def test_bad_values_are_refused(fields) -> None:
    with pytest.raises(ValidationError):
        ZSCL(**fields)
