"""Layer-wise decay and the low learning rate against optimisers set up by hand."""

from __future__ import annotations

import pytest
import torch
from drive import TASKS, TRAIN, assert_close, clip, distance, resumed, task_of, tuned, weights
from pydantic import ValidationError
from test_sam import resnet
from torch.nn import functional as F

from cl_forget.ground.errors import UserError
from cl_forget.mitigations.layer_decay import LayerDecay
from cl_forget.mitigations.low_lr import LowLearningRate

LAYERS = {
    "clip.visual.conv1.weight": 0,
    "clip.visual.class_embedding": 0,
    "clip.visual.positional_embedding": 0,
    "clip.visual.ln_pre.bias": 0,
    "clip.visual.transformer.resblocks.0.mlp.c_fc.weight": 1,
    "clip.visual.transformer.resblocks.1.attn.in_proj_weight": 2,
    "clip.visual.ln_post.weight": 3,
    "clip.visual.proj": 3,
    "heads.squares-1.weight": 3,
}


def by_hand(task, factor):
    model = task.model
    named = {name: model.get_parameter(name).requires_grad_(True) for name in model.tunable(task.stage[0])}
    groups = [{"params": [p], "lr": TRAIN.lr * factor(name)} for name, p in named.items()]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.1)
    for epoch in range(TRAIN.epochs):
        order = torch.randperm(len(task.sources[0]), generator=task.generator("order", epoch))
        for indices in order.split(TRAIN.batch_size):
            batch = task.sources[0].batch(indices)
            optimizer.zero_grad()
            F.cross_entropy(model(batch).logits, batch.targets).backward()
            optimizer.step()
    return weights(model)


def layer(name):
    if "resblocks" in name:
        return 1 + int(name.split("resblocks.")[1][0])
    return 3 if name.startswith(("heads", "clip.visual.ln_post", "clip.visual.proj")) else 0


DECAYING = TRAIN.model_copy(update={"weight_decay": 0.1})


def test_layers_are_numbered_from_the_input() -> None:
    model = clip()
    for name, expected in LAYERS.items():
        assert model.layer_of(name) == expected, name
        assert LayerDecay(decay=0.5).learning_rate_factor(model, name) == 0.5 ** (3 - expected)


def test_a_text_tower_is_not_before_the_blocks_of_the_image_tower() -> None:
    """FLYP trains it, whole and at the full rate: its embeddings as well as its blocks."""
    model = clip()
    layers = {model.layer_of(name) for name in model.text_parameters()}
    assert layers == {3}
    assert "clip.positional_embedding" in model.text_parameters()


def test_layer_decay_agrees_with_an_optimiser_set_up_by_hand() -> None:
    ours = tuned(task_of(clip(), TASKS[:1]), LayerDecay(decay=0.6), train=DECAYING)
    assert_close(ours, by_hand(task_of(clip(), TASKS[:1]), lambda name: 0.6 ** (3 - layer(name))))
    upside_down = by_hand(task_of(clip(), TASKS[:1]), lambda name: 0.6 ** layer(name))
    assert distance(ours, upside_down) > 1e-5


def test_a_low_rate_is_the_rate_lowered() -> None:
    ours = tuned(task_of(clip(), TASKS[:1]), LowLearningRate(factor=0.1), train=DECAYING)
    lowered = DECAYING.model_copy(update={"lr": DECAYING.lr * 0.1})
    assert_close(ours, tuned(task_of(clip(), TASKS[:1]), train=lowered), atol=1e-12)
    assert_close(ours, by_hand(task_of(clip(), TASKS[:1]), lambda name: 0.1))


def test_they_multiply() -> None:
    both = tuned(task_of(clip(), TASKS[:1]), LayerDecay(decay=0.6), LowLearningRate(), train=DECAYING)
    assert_close(both, by_hand(task_of(clip(), TASKS[:1]), lambda name: 0.1 * 0.6 ** (3 - layer(name))))


@pytest.mark.parametrize("method", [LayerDecay(decay=1.0), LowLearningRate(factor=1.0)])
def test_one_is_absence_to_the_bit(method) -> None:
    one, two = tuned(task_of(clip(), TASKS[:1]), method), tuned(task_of(clip(), TASKS[:1]))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_resumes_to_the_same_bits() -> None:
    resumed(lambda: task_of(clip(), TASKS[:1]), LayerDecay(), LowLearningRate())


def test_models_without_blocks_are_refused_with_the_cure() -> None:
    with pytest.raises(UserError, match="low_lr"):
        model = resnet()
        model._block_paths = []
        tuned(task_of(model, TASKS[:1]), LayerDecay())


@pytest.mark.parametrize("bad", [lambda: LayerDecay(decay=0), lambda: LowLearningRate(factor=2)])
def test_bad_values_are_refused(bad) -> None:
    with pytest.raises(ValidationError):
        bad()
