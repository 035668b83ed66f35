"""Gradient accumulation changes nothing but rounding, whatever method is at work, and SAM sees one objective."""

from __future__ import annotations

import copy

import pytest
import torch
from drive import (
    TASKS,
    TRAIN,
    Bigrams,
    assert_close,
    clip,
    moved,
    sentences,
    task_of,
    tuned,
    weights,
    without_key_bias,
)
from small import FIELDS, mitigation

from cl_forget.ground.records import Cost
from cl_forget.mitigations import Chain
from cl_forget.mitigations.er import ExperienceReplay
from cl_forget.mitigations.sam import SAM
from cl_forget.models.clip import ClipModel
from cl_forget.training.frozen import FrozenModel
from cl_forget.training.loop import fine_tune

METHODS = [
    "kd", "lwf", "lfl", "ldifs", "zscl", "flow", "eaft", "er", "derpp", "flyp_ce", "ewc", "si", "looksam", "lora",
    "stm", "asft",
]  # fmt: skip


def second_task(method, micro: int | None, label_smoothing: float = 0.1) -> dict[str, torch.Tensor]:
    """The weights after the second of two tasks; batches of 10 and a short one of 4, micro-batches of 5 or 3."""
    train = TRAIN.model_copy(update={"micro_batch_size": micro, "label_smoothing": label_smoothing})
    model = clip()
    base = FrozenModel(model)
    moved(model)
    chain = Chain([method])
    first = task_of(model, TASKS[:1], train=TRAIN, base=base)
    fine_tune(first, chain, TRAIN, Cost())
    fine_tune(task_of(model, TASKS[1:2], past=TASKS[:1], train=train, base=base), chain, train, Cost())
    return weights(model)


@pytest.mark.parametrize("name", METHODS)
def test_weights_are_those_of_the_large_batch(name: str) -> None:
    method = mitigation(name, **({"average_every": 2} if name == "zscl" else {}))
    large = without_key_bias(second_task(method, None))
    assert_close(without_key_bias(second_task(method, 3)), large, atol=1e-7)


@pytest.mark.parametrize("name", ["flow", "eaft", "stm", "dft", "kd", "er"])
def test_so_are_those_of_uneven_texts(name: str) -> None:
    def trained(micro: int | None) -> dict[str, torch.Tensor]:
        train = TRAIN.model_copy(update={"micro_batch_size": micro})
        fields = {"level": "unit"} if name == "flow" else {}
        return tuned(task_of(Bigrams(), [sentences()], train=train), mitigation(name, **fields), train=train)

    assert_close(trained(3), trained(None), atol=1e-9)


@pytest.mark.parametrize("method", ["er", "derpp", {"replay": "colours", "share": 1.0}], ids=str)
def test_replayed_samples_go_through_in_micro_batches_too(
    method: str | dict, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = TRAIN.model_copy(update={"micro_batch_size": 2})
    model = clip()
    chain = Chain([mitigation(method) if isinstance(method, str) else ExperienceReplay(**method)])
    chain.each("end_task", task_of(model, TASKS[:1]))
    task = task_of(model, TASKS[1:2], past=TASKS[:1], train=train)
    sizes, forward = [], ClipModel.forward
    monkeypatch.setattr(
        ClipModel, "forward", lambda self, batch, *a: sizes.append(len(batch)) or forward(self, batch, *a)
    )
    while_training(task, chain, train)
    assert max(sizes) == 2


def while_training(task, chain: Chain, train) -> None:
    """The steps alone."""
    from cl_forget.training.loop import FineTune

    loop = FineTune(task, chain, train, Cost(), lambda record: None)
    loop.set_up()
    loop.step(0, (task.sources[0], torch.arange(10)))


def test_both_passes_of_sam_replay_the_same_samples() -> None:
    drawn = []

    class Watched(ExperienceReplay):
        def extra_batches(self, task, number, state):
            extras = super().extra_batches(task, number, state)
            drawn.append([extra.batch.indices.tolist() for extra in extras])
            return extras

    model, chain = clip(), Chain([Watched(**FIELDS["er"]), SAM()])
    chain.each("end_task", task_of(model, TASKS[:1]))
    fine_tune(task_of(model, TASKS[1:2], past=TASKS[:1]), chain, TRAIN, Cost())
    assert drawn[::2] == drawn[1::2]
    assert len(drawn) == 12 and len({str(draw) for draw in drawn}) > 2


def test_two_draws_of_one_chain_are_independent_of_each_other() -> None:
    """A method that is added moves nobody else's random numbers."""

    def batches(*methods) -> list[list[int]]:
        seen = []
        chain = Chain(copy.deepcopy(methods))
        task = task_of(clip(), TASKS[1:2], past=TASKS[:1])
        chain.each("end_task", task_of(clip(), TASKS[:1]))
        for extra in chain.extra_batches(task, 3):
            if extra.method == "er":
                seen.append(extra.batch.indices.tolist())
        return seen

    er = mitigation("er")
    assert batches(er) == batches(er, mitigation("derpp"))
