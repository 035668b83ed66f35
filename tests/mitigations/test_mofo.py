"""MoFO against Adam with a sorted mask written out."""

from __future__ import annotations

import math

import pytest
import torch
from drive import TASKS, TRAIN, assert_close, clip, distance, resumed, task_of, tuned, weights
from pydantic import ValidationError
from torch.nn import functional as F

from cl_forget.mitigations.mofo import MoFO, kth_largest

DECAYING = TRAIN.model_copy(update={"weight_decay": 0.1})


def by_the_book(task, share, train, decay_everything=False, stale_momentum=False, free_vectors=False):
    """AdamW from its formulas, a full sort for the mask."""
    model = task.model
    parameters = [model.get_parameter(n).requires_grad_(True) for n in model.tunable(task.stage[0])]
    m = [torch.zeros_like(p) for p in parameters]
    v = [torch.zeros_like(p) for p in parameters]
    t = 0
    for epoch in range(train.epochs):
        order = torch.randperm(len(task.sources[0]), generator=task.generator("order", epoch))
        for indices in order.split(train.batch_size):
            batch = task.sources[0].batch(indices)
            loss = F.cross_entropy(model(batch).logits, batch.targets)
            t += 1
            for i, g in enumerate(torch.autograd.grad(loss, parameters)):
                p = parameters[i].data
                old = m[i]
                m[i] = 0.9 * m[i] + 0.1 * g
                v[i] = 0.999 * v[i] + 0.001 * g * g
                size = (old if stale_momentum else m[i]).abs()
                kept = size.flatten().sort(descending=True).values[math.ceil(share * p.numel()) - 1]
                mask = (size >= kept).double()
                if free_vectors and p.ndim < 2:
                    mask = torch.ones_like(mask)
                step = (m[i] / (1 - 0.9**t)) / ((v[i] / (1 - 0.999**t)).sqrt() + 1e-8)
                decay = train.lr * train.weight_decay * p
                p -= mask * train.lr * step + (decay if decay_everything else mask * decay)
    return weights(model)


def test_agrees_with_adamw_and_a_sort() -> None:
    ours = tuned(task_of(clip(), TASKS[:1]), MoFO(share=0.1), train=DECAYING)
    book = [by_the_book(task_of(clip(), TASKS[:1]), 0.1, DECAYING, *wrong) for wrong in ((), (True,), (0, 1))]
    assert_close(ours, book[0])
    assert distance(ours, book[1]) > 1e-5  # decay must respect the mask
    assert distance(ours, book[2]) > 1e-5  # m after this step's gradient, not before


@pytest.mark.parametrize(
    "fields", [{"decay": "all"}, {"vectors": "free"}, {"decay": "all", "vectors": "free"}]
)
def test_the_authors_variants(fields) -> None:
    ours = tuned(task_of(clip(), TASKS[:1]), MoFO(share=0.1, **fields), train=DECAYING)
    wanted = {"decay_everything": "decay" in fields, "free_vectors": "vectors" in fields}
    assert_close(ours, by_the_book(task_of(clip(), TASKS[:1]), 0.1, DECAYING, **wanted))


def test_all_else_stays_to_the_bit() -> None:
    once = DECAYING.model_copy(update={"epochs": 1, "batch_size": 24})
    model = clip()
    before = weights(model)
    after = tuned(task_of(model, TASKS[:1], train=once), MoFO(share=0.05), train=once)
    for name in task_of(model, TASKS[:1]).model.tunable(TASKS[0]):
        moved = int((before[name] != after[name]).sum())
        assert moved <= math.ceil(0.05 * before[name].numel()), name


@pytest.mark.parametrize("share", [0.001, 0.05, 0.2, 0.9, 1.0])
@pytest.mark.parametrize("kind", ["normal", "sorted", "ties", "zeros", "periodic"])
def test_the_threshold_is_exact(share, kind) -> None:
    n = 200_001
    values = torch.randn(n, generator=torch.Generator().manual_seed(0)).abs()
    if kind == "sorted":
        values = values.sort().values
    elif kind == "ties":
        values = (values * 3).round()
    elif kind == "zeros":
        values = torch.where(torch.arange(n) % 7 == 0, values, 0.0)
    elif kind == "periodic":  # the sampled entries are the smallest of all
        values = torch.where(torch.arange(n) % 5 == 0, 0.0, values)
    k = math.ceil(share * n)
    assert kth_largest(values, k) == values.sort(descending=True).values[k - 1]


def test_everything_moves_at_one() -> None:
    one, plain = (tuned(task_of(clip(), TASKS[:1]), *m) for m in ([MoFO(share=1.0)], []))
    assert all(torch.equal(one[name], plain[name]) for name in plain)


def test_resumes_to_the_same_bits() -> None:
    resumed(lambda: task_of(clip(), TASKS[:1]), MoFO())


@pytest.mark.parametrize("fields", [{"share": 0}, {"share": 1.1}])
def test_bad_values_are_refused(fields) -> None:
    with pytest.raises(ValidationError):
        MoFO(**fields)
