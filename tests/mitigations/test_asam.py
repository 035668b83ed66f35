"""ASAM against its algorithm written out."""

from __future__ import annotations

import pytest
import torch
from drive import TASKS, TRAIN, assert_close, clip, distance, resumed, task_of, tuned, weights
from pydantic import ValidationError
from torch.nn import functional as F

from cl_forget.mitigations.asam import ASAM, is_weight
from cl_forget.mitigations.lora import LoRA
from cl_forget.mitigations.shared import adapters as _lora


def by_the_book(task, rho, eta, scaled=True):
    model = task.model
    named = {name: model.get_parameter(name).requires_grad_(True) for name in model.tunable(task.stage[0])}
    optimizer = torch.optim.AdamW(named.values(), lr=TRAIN.lr, weight_decay=0)
    for epoch in range(TRAIN.epochs):
        order = torch.randperm(len(task.sources[0]), generator=task.generator("order", epoch))
        for indices in order.split(TRAIN.batch_size):
            batch = task.sources[0].batch(indices)
            loss = F.cross_entropy(model(batch).logits, batch.targets)
            g = dict(zip(named, torch.autograd.grad(loss, named.values()), strict=True))
            t = {n: p.detach().abs() + eta if "weight" in n and scaled else 1.0 for n, p in named.items()}
            length = sum(float((t[n] * g[n]).square().sum()) for n in g) ** 0.5
            kept = {n: p.detach().clone() for n, p in named.items()}
            with torch.no_grad():
                for n, p in named.items():
                    p += rho * t[n] ** 2 * g[n] / length
            optimizer.zero_grad()
            F.cross_entropy(model(batch).logits, batch.targets).backward()
            with torch.no_grad():
                for n, p in named.items():
                    p.copy_(kept[n])
            optimizer.step()
    return weights(model)


def test_agrees_with_the_algorithm_and_not_with_sam() -> None:
    ours = tuned(task_of(clip(), TASKS[:1]), ASAM(rho=0.7, eta=0.02))
    assert_close(ours, by_the_book(task_of(clip(), TASKS[:1]), 0.7, 0.02))
    assert distance(ours, by_the_book(task_of(clip(), TASKS[:1]), 0.7, 0.02, scaled=False)) > 1e-5


def test_adapters_are_weights() -> None:
    """Those that are read as much as those that peft calls; T = 1 for them would be SAM at ASAM's larger ρ."""
    task = task_of(clip(), TASKS[:1])
    task.model.requires_grad_(True)
    LoRA(rank=4).shape_parameters(task, {})
    factors = [(a.down, a.up) for a in _lora.adapters(task.model).values()]
    assert factors
    trained = {id(p): name for name, p in task.model.named_parameters() if p.requires_grad}
    assert all(is_weight(trained[id(factor)]) for pair in factors for factor in pair)
    assert is_weight("attn.in_proj_weight") and not is_weight("weighting.bias") and not is_weight("ln.bias")


def test_resumes_to_the_same_bits() -> None:
    resumed(lambda: task_of(clip(), TASKS[:1]), ASAM())


@pytest.mark.parametrize("fields", [{"rho": -1}, {"eta": -0.1}])
def test_bad_values_are_refused(fields) -> None:
    with pytest.raises(ValidationError):
        ASAM(**fields)
