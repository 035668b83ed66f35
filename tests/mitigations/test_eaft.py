"""EAFT against entropies written out, on classes and on tokens."""

from __future__ import annotations

import math

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

from cl_forget.mitigations.eaft import EAFT


def gate(logits, k, exponent=1.0):
    weights = []
    for row in logits:
        p = sorted((float(v) for v in row.exp()), reverse=True)[:k]
        p = [v / sum(p) for v in p]
        weights.append((-sum(v * math.log(v) for v in p) / math.log(k)) ** exponent)
    return torch.tensor(weights, dtype=logits.dtype)


@pytest.mark.parametrize(("top", "k"), [(20, 3), (2, 2)])
def test_agrees_with_the_entropy_written_out(top: int, k: int) -> None:
    task = task_of(clip(), TASKS[:1])

    def loss(images, targets, indices, number):
        logits = task.model.heads["squares-1"](F.normalize(task.model.clip.visual(images), dim=-1))
        with torch.no_grad():
            weights = gate(logits, k, 0.5)
        return (F.cross_entropy(logits, targets, reduction="none") * weights).mean()

    assert_close(tuned(task_of(clip(), TASKS[:1]), EAFT(top=top, exponent=0.5)), naive(task, loss))


def test_no_gradient_flows_through_the_gate() -> None:
    step = step_of(task_of(clip(), TASKS[:1]))
    assert not EAFT().unit_weights(step, {}).requires_grad


def test_tokens_are_weighted_before_the_mean_over_their_sample() -> None:
    train = TRAIN.model_copy(update={"epochs": 1, "batch_size": 23})

    def world():
        model = Bigrams()
        moved(model, by=1.0)
        return task_of(model, [sentences()], train=train)

    task = world()

    def loss(previous, targets, indices, number, weigh_samples=False):
        rows = task.sources[0].batch(indices).sample_of_unit
        logits = task.model.table(previous)
        gates = gate(logits.detach(), 5)
        losses = F.cross_entropy(logits, targets, reduction="none")
        of = [rows == row for row in range(len(indices))]
        if weigh_samples:
            return torch.stack([losses[m].mean() * gates[m].mean() for m in of]).mean()
        return torch.stack([(losses * gates)[m].mean() for m in of]).mean()

    ours = tuned(world(), EAFT(top=5), train=train)
    assert_close(ours, naive(task, loss, train=train))
    task = world()
    task.model.zero_grad()
    step = step_of(task, 23)
    one = loss(step.batch.inputs, step.batch.targets, step.batch.indices, 0)
    two = loss(step.batch.inputs, step.batch.targets, step.batch.indices, 0, weigh_samples=True)
    assert (one - two).abs().item() > 1e-4


def test_the_strong_gate_differs_from_none() -> None:
    assert distance(tuned(task_of(clip(), TASKS[:1]), EAFT()), tuned(task_of(clip(), TASKS[:1]))) > 1e-5


def test_resumes_to_the_same_bits() -> None:
    resumed(lambda: task_of(clip(), TASKS[:1]), EAFT())


@pytest.mark.parametrize("fields", [{"exponent": -1}, {"top": 1}])
def test_bad_values_are_refused(fields) -> None:
    with pytest.raises(ValidationError):
        EAFT(**fields)
