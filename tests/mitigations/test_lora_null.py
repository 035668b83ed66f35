"""LoRA-Null: the inputs against hooks, the start against the paper's formula, and what the start protects."""

from __future__ import annotations

import pytest
import torch
from drive import TASKS, clip, resumed, task_of, tuned, weights
from pydantic import ValidationError
from torch import nn

from cl_forget.mitigations.lora_null import LoRANull
from cl_forget.mitigations.shared import adapters as _lora
from cl_forget.mitigations.shared.inputs import second_moments
from cl_forget.training.frozen import FrozenModel

BLOCK = "clip.visual.transformer.resblocks.1."


def shaped(method):
    task = task_of(clip(), TASKS[:1])
    for name in task.model.tunable(TASKS[0]):
        task.model.get_parameter(name).requires_grad_(True)
    method.shape_parameters(task, method.keeps())
    return task


def test_inputs_are_those_the_maps_see() -> None:
    task = task_of(clip(), TASKS[:1])
    names = [BLOCK + n for n in ("attn.in_proj_weight", "attn.out_proj.weight", "mlp.c_fc.weight")]
    found = second_moments(FrozenModel(task.model), task.sources[0], torch.arange(24), names)

    block, seen = task.model.clip.visual.transformer.resblocks[1], {}
    hooks = [
        block.ln_1.register_forward_hook(lambda m, i, o: seen.__setitem__("in", o)),
        block.ln_2.register_forward_hook(lambda m, i, o: seen.__setitem__("fc", o)),
    ]
    with torch.no_grad():
        task.model.eval()(task.sources[0].batch(torch.arange(24)))
    for hook in hooks:
        hook.remove()

    def attended(x):  # (batch, tokens, width): attention by its formula, up to the output projection
        attention: nn.MultiheadAttention = block.attn
        q, k, v = (x @ attention.in_proj_weight.T + attention.in_proj_bias).chunk(3, dim=-1)
        heads = []
        for a, b, c in zip(
            *(t.split(x.shape[-1] // attention.num_heads, -1) for t in (q, k, v)), strict=True
        ):
            heads.append((a @ b.transpose(1, 2) / a.shape[-1] ** 0.5).softmax(-1) @ c)
        return torch.cat(heads, -1)

    with torch.no_grad():
        inputs = [seen["in"], attended(seen["in"]), seen["fc"]]
    for name, x in zip(names, inputs, strict=True):
        rows = x.flatten(0, 1)
        torch.testing.assert_close(found[name], rows.T @ rows, atol=1e-9, rtol=1e-9)


def test_the_start_is_the_papers() -> None:
    method = LoRANull(rank=4, alpha=6.0)
    own, task = clip(), shaped(method)
    names = list(_lora.adapters(task.model))
    moments = second_moments(FrozenModel(own), task.sources[0], torch.arange(24), names)
    for name, adapter in _lora.adapters(task.model).items():
        weight = own.get_parameter(name)
        vectors, values, _ = torch.linalg.svd(moments[name])
        if (
            values[-5] < 1e-9 * values[0]
        ):  # 120 tokens leave more than rank 4 of 128 dimensions to choose from
            assert (adapter.down @ moments[name]).abs().max() < 1e-9
            continue
        least = vectors[:, -4:]
        part = weight @ least @ least.T
        scaled = 6.0 / 4 * adapter.up @ adapter.down
        torch.testing.assert_close(scaled, part, atol=1e-8, rtol=0)
        torch.testing.assert_close(adapter.weight, weight - part, atol=1e-8, rtol=0)
        # B = P√S, A = √SQᵀ: both carry the same singular values
        torch.testing.assert_close(
            torch.linalg.svdvals(adapter.down)[:4], torch.linalg.svdvals(adapter.up)[:4], atol=1e-7, rtol=0
        )
        assert values[-4:].max() < values.max()


def test_training_starts_from_the_model_as_it_was() -> None:
    own, task = clip(), shaped(LoRANull(rank=4))
    batch = task.sources[0].batch(torch.arange(10))
    with torch.no_grad():
        torch.testing.assert_close(task.model(batch).logits, own(batch).logits, atol=1e-9, rtol=0)


def test_changes_of_b_go_unseen_by_the_inputs_where_a_random_start_shows() -> None:
    """Seven tokens of few images span few directions, so a null space is there to be found."""
    method = LoRANull(rank=4, samples=4)
    task = shaped(method)
    drawn = torch.randperm(24, generator=task.generator("lora_null"))[:4]
    batch = task.sources[0].batch(drawn)
    name = "clip.visual.transformer.resblocks.0.attn.in_proj_weight"

    def changed(model):
        adapter = _lora.adapters(model)[name]
        with torch.no_grad():
            before = model(batch).embedding
            adapter.up.add_(0.1 * torch.ones_like(adapter.up))
            return float((model(batch).embedding - before).abs().max())

    other = task_of(clip(), TASKS[:1])
    other.model.requires_grad_(True)
    from cl_forget.mitigations.lora import LoRA

    LoRA(rank=4).shape_parameters(other, {})
    assert changed(task.model) < 1e-3 * changed(other.model)


def test_a_frozen_down_projection_stays_and_the_rest_is_trained() -> None:
    task = shaped(LoRANull(rank=4, freeze_down=True))
    names = [n for n, p in task.model.named_parameters() if p.requires_grad]
    assert len(names) == 8 + 2
    tuned(task_of(clip(), TASKS[:1]), LoRANull(rank=4, freeze_down=True))


def test_reference_data_can_be_named_and_names_come_back() -> None:
    after = tuned(task_of(clip(), TASKS[:1]), LoRANull(rank=4, reference="colours"))
    assert list(after) == list(weights(clip()))
    own = tuned(task_of(clip(), TASKS[:1]), LoRANull(rank=4))
    assert any(not torch.equal(after[name], own[name]) for name in own)


def test_joint_training_counts_the_inputs_of_every_task() -> None:
    task, name = task_of(clip(), TASKS[:2]), BLOCK + "mlp.c_fc.weight"
    found = LoRANull(samples=48)._inputs(task, [name])[name]
    model = FrozenModel(task.model)
    each = [second_moments(model, source, torch.arange(24), [name])[name] for source in task.sources]
    torch.testing.assert_close(found, each[0] + each[1], rtol=1e-9, atol=1e-9)
    assert not torch.allclose(found, each[0])


def test_resumes_to_the_same_bits() -> None:
    resumed(lambda: task_of(clip(), TASKS[:1]), LoRANull())
    resumed(lambda: task_of(clip().float(), TASKS[:1]), LoRANull())


def test_bad_values_are_refused() -> None:
    with pytest.raises(ValidationError):
        LoRANull(samples=0)
