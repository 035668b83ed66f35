"""FDA against two loops over the pairs of a batch, written in plain numbers."""

from __future__ import annotations

import math

import pytest
import torch
from drive import TASKS, assert_close, clip, moved, naive, resumed, step_of, task_of, tuned
from pydantic import ValidationError
from torch import Tensor
from torch.nn import functional as F

from cl_forget.mitigations.fda import FDA
from cl_forget.training.frozen import FrozenModel


def by_the_book(now: Tensor, base: Tensor, k: int, temperature: float, bias: float | None) -> Tensor:
    """Sample by sample, pair by pair."""
    n = len(now)
    if bias is None:
        pairs = [
            float(F.cosine_similarity(base[i], base[j], 0)) for i in range(n) for j in range(n) if i != j
        ]
        bias = sum(pairs) / len(pairs) / temperature
    total = torch.zeros((), dtype=now.dtype)
    for i in range(n):
        others = [j for j in range(n) if j != i]
        alike = {j: float(F.cosine_similarity(base[i], base[j], 0)) for j in others}
        near = sorted(others, key=lambda j: -alike[j])[:k]
        row = torch.zeros((), dtype=now.dtype)
        for j in others:
            w = max(alike[j], 0.0) * (1 if j in near else -1)
            cosine = F.cosine_similarity(now[i], now[j], 0)
            row = row + torch.log(1 + torch.exp(w * (-cosine / temperature + bias)))
        total = total + row / (n - 1)
    return total / n


def a_later_task(anchor: str = "pretrained"):
    base = clip()
    model = clip()
    moved(model)
    return task_of(model, TASKS[:1], base=FrozenModel(base) if anchor == "pretrained" else None)


@pytest.mark.parametrize("bias", [None, 4.0])
@pytest.mark.parametrize("k", [3, 50])
def test_the_penalty_is_the_formula(k, bias) -> None:
    task = a_later_task()
    method = FDA(strength=0.7, neighbours=k, temperature=0.2, bias=bias)
    method.request_outputs(task, {})
    step = step_of(task)
    with torch.no_grad():
        base = clip().encode(step.batch.inputs)[0]
    expected = 0.7 * by_the_book(step.forward.embedding, base, k, 0.2, bias)
    torch.testing.assert_close(method.penalty(step, {}), expected, atol=1e-10, rtol=0)


def test_a_task_ends_where_the_loss_written_out_ends() -> None:
    frozen = clip()

    def loss(images, targets, indices, number):
        embedding = book.model.encode(images)[0]
        with torch.no_grad():
            base = frozen.encode(images)[0]
        logits = book.model.head_logits(TASKS[0], embedding)
        return F.cross_entropy(logits, targets) + 2.0 * by_the_book(embedding, base, 2, 0.1, None)

    book = task_of(clip(), TASKS[:1])
    expected = naive(book, loss)
    assert_close(tuned(task_of(clip(), TASKS[:1]), FDA(strength=2.0, neighbours=2)), expected, atol=1e-6)


def test_a_single_sample_has_no_neighbours() -> None:
    task = a_later_task()
    method = FDA()
    method.request_outputs(task, {})
    assert method.penalty(step_of(task, size=1), {}) is None
    two = method.penalty(step_of(task, size=2), {})  # its boundary is its only cosine under the frozen model
    assert 0 < float(two) < 10 and math.isfinite(float(two))


def test_it_resumes_and_refuses_bad_values() -> None:
    resumed(lambda: task_of(clip(), TASKS[:1]), FDA())
    for fields in ({"strength": -1}, {"neighbours": 0}, {"temperature": 0}):
        with pytest.raises(ValidationError):
            FDA(**fields)
