"""EMA against the average written out."""

from __future__ import annotations

import pytest
import torch
from drive import TASKS, assert_close, clip, naive, resumed, task_of, tuned, weights
from pydantic import ValidationError
from torch.nn import functional as F

from cl_forget.ground.errors import UserError
from cl_forget.ground.records import Cost
from cl_forget.mitigations import Chain
from cl_forget.mitigations.early_stopping import EarlyStopping
from cl_forget.mitigations.ema import EMA
from cl_forget.mitigations.lora import LoRA
from cl_forget.testing import check_method
from cl_forget.training.loop import fine_tune
from cl_forget.training.options import Training

SHORT = Training(epochs=1, batch_size=10, lr=1e-3, warmup=0, schedule="constant", clip=None)


def test_the_task_ends_with_the_average_of_all_its_steps() -> None:
    """With decay .8 after n steps: .8ⁿ of the start, and .2·.8^(n-i) of the weights after step i."""
    task = task_of(clip(), TASKS[:1])
    seen = []

    def loss(images, targets, indices, number):
        seen.append(weights(task.model))
        return F.cross_entropy(
            task.model.heads["squares-1"](F.normalize(task.model.clip.visual(images), dim=-1)), targets
        )

    seen.append(naive(task, loss))
    steps = len(seen) - 1
    shares = [0.8**steps, *(0.2 * 0.8 ** (steps - i) for i in range(1, steps + 1))]
    assert steps > 3 and sum(shares) == pytest.approx(1)
    expected = {
        name: sum(share * at[name] for share, at in zip(shares, seen, strict=True))
        if tensor.is_floating_point()
        else tensor
        for name, tensor in seen[-1].items()
    }
    assert_close(tuned(task_of(clip(), TASKS[:1]), EMA(decay=0.8)), expected)


def test_it_keeps_the_promises_of_all_methods() -> None:
    report = check_method(EMA)
    assert report.resumed is not None and report.sharded is None and report.language is None


def test_resumes_to_the_same_bits() -> None:
    resumed(lambda: task_of(clip(), TASKS[:1]), EMA(decay=0.8))


def test_the_next_task_starts_from_the_average_and_with_a_new_one() -> None:
    model, chain = clip(), Chain([EMA(decay=0.8)])
    fine_tune(task_of(model, TASKS[:1]), chain, SHORT, Cost())
    assert not chain.state["ema"], "the average is the result, and nothing of it is left to be checkpointed"
    between = weights(model)
    fine_tune(task_of(model, TASKS[1:2], past=TASKS[:1]), chain, SHORT, Cost())
    alone = clip()
    alone.load_state_dict(between)
    fine_tune(task_of(alone, TASKS[1:2], past=TASKS[:1]), Chain([EMA(decay=0.8)]), SHORT, Cost())
    assert all(torch.equal(weights(alone)[name], tensor) for name, tensor in weights(model).items())


def test_adapters_are_averaged_factor_by_factor() -> None:
    still = tuned(task_of(clip(), TASKS[:1]), LoRA(rank=2), EMA(decay=1 - 1e-12), train=SHORT)
    name = "clip.visual.transformer.resblocks.0.mlp.c_fc.weight"
    torch.testing.assert_close(still[name], clip().state_dict()[name], atol=1e-9, rtol=0)
    moved = tuned(task_of(clip(), TASKS[:1]), LoRA(rank=2), EMA(decay=0.5), train=SHORT)
    assert (moved[name] - still[name]).abs().max() > 1e-6


def test_two_ways_to_choose_the_last_weights_are_refused() -> None:
    with pytest.raises(UserError, match="the weights that a task ends with"):
        Chain([EMA(), EarlyStopping()])


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_bad_values_are_refused(decay: float) -> None:
    with pytest.raises(ValidationError):
        EMA(decay=decay)
