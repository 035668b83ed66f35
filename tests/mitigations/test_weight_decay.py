"""Weight decay as an arm: AdamW's own to the bit, and an anchor at W0 beside adapters."""

from __future__ import annotations

import torch
from drive import TASKS, TRAIN, clip, distance, task_of, tuned, weights

from cl_forget.mitigations.lora import LoRA
from cl_forget.mitigations.weight_decay import WeightDecay

ONE_STEP = TRAIN.model_copy(update={"epochs": 1, "batch_size": 10_000})


def test_it_is_adamws_own_decay_to_the_bit_on_top_of_the_runs() -> None:
    def end(strength, decay, *others):
        train = TRAIN.model_copy(update={"weight_decay": decay})
        arm = [WeightDecay(strength=strength)] if strength else []
        return tuned(task_of(clip(), TASKS[:1], train=train), *arm, *others, train=train)

    assert distance(end(0.25, 0.0), end(0.0, 0.25)) == 0.0
    assert distance(end(0.25, 0.5), end(0.0, 0.75)) == 0.0
    assert distance(end(0.25, 0.0, LoRA(rank=4)), end(0.0, 0.25, LoRA(rank=4))) == 0.0


def test_one_step_takes_lr_times_strength_of_every_weight() -> None:
    start = weights(clip())
    plain = tuned(task_of(clip(), TASKS[:1], train=ONE_STEP), train=ONE_STEP)
    decayed = tuned(task_of(clip(), TASKS[:1], train=ONE_STEP), WeightDecay(strength=2.0), train=ONE_STEP)
    for name in clip().tunable(TASKS[0]):
        expected = plain[name] - ONE_STEP.lr * 2.0 * start[name]
        torch.testing.assert_close(decayed[name], expected, atol=1e-12, rtol=0)


def test_beside_lora_it_pulls_back_to_the_pretrained_weights() -> None:
    long = TRAIN.model_copy(update={"epochs": 10, "lr": 1e-2})
    start, name = weights(clip()), "clip.visual.transformer.resblocks.0.mlp.c_fc.weight"

    def moved(*arm) -> float:
        end = tuned(task_of(clip(), TASKS[:1], train=long), LoRA(rank=4), *arm, train=long)
        return float((end[name] - start[name]).norm())

    assert moved(WeightDecay(strength=10.0)) < 0.5 * moved()
