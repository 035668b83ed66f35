"""LoRA on mixtures of experts: the maps of the experts lie in one tensor of three dimensions."""

from __future__ import annotations

import pytest
import torch
from drive import task_of
from tiny_lm import MIXTURES, llama, mixture, sum_task, tokenizer

from cl_forget.mitigations.lora import LoRA
from cl_forget.mitigations.lora_null import LoRANull
from cl_forget.mitigations.o_lora import OLoRA
from cl_forget.mitigations.shared import adapters as _lora
from cl_forget.models import load_model
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


def test_what_adapters_do_not_reach_is_said() -> None:
    """A mixture's router for LoRA, its experts too for methods that adapt single maps; nothing of a plain model."""
    moe = CausalLM(mixture(next(iter(MIXTURES))), tokenizer())
    (said,) = LoRA().remarks(moe)
    assert said.startswith("lora reaches 9") and "no linear maps stay as they are" in said
    assert "gate" in said or "router" in said
    (fewer,) = OLoRA().remarks(moe)
    assert float(fewer.split()[2].rstrip("%")) < float(said.split()[2].rstrip("%")) and "experts" in fewer
    plain = CausalLM(llama(), tokenizer())
    assert LoRA().remarks(plain) == LoRANull().remarks(plain) == []


def test_convolutions_are_not_reached() -> None:
    (said,) = LoRA().remarks(load_model("emoji-clip-rn"))
    assert "conv" in said and float(said.split()[2].rstrip("%")) < 50
    assert LoRA().remarks(load_model("emoji-clip")) == []
