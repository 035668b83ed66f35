"""LoRA on mixtures of experts: the maps of the experts lie in one tensor of three dimensions."""

from __future__ import annotations

import pytest
import torch
from drive import task_of
from tiny_lm import MIXTURES, mixture, sum_task, tokenizer

from cl_forget.mitigations.shared import adapters as _lora
from cl_forget.models.causal_lm import CausalLM


@pytest.mark.parametrize("kind", MIXTURES)
def test_lora_reaches_the_experts(kind: str) -> None:
    model = CausalLM(mixture(kind), tokenizer())
    model.requires_grad_(True)
    task = task_of(model, [sum_task()])
    before = {n: t.clone() for n, t in model.state_dict().items()}
    _lora.insert(task, 2, 4.0, "all", _lora.random_start(task), experts=True)
    adapted = _lora.adapters(model)
    experts = [n for n in adapted if ".experts." in n]
    assert len(experts) == 4 and len(adapted) == 4 + 8
    batch = task.sources[0].batch(torch.arange(2))
    model(batch).unit_losses().mean().backward()
    assert all(adapted[n].up.grad is not None and adapted[n].up.grad.abs().sum() > 0 for n in experts)
    with torch.no_grad():
        for n in experts:
            adapted[n].up.add_(0.1)
    _lora.merge(model)
    after = model.state_dict()
    assert list(after) == list(before)
    assert {n for n in before if not torch.equal(before[n], after[n])} == set(experts)
