"""What differs between Avalanche's EWC and LwF and ours: each claim of docs/avalanche.md, checked."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from cl_forget.config.run import parse_mitigation

sys.path.insert(0, str(Path(__file__).parents[2] / "experiments" / "avalanche"))
import compare


@pytest.fixture(scope="module")
def bench() -> Any:
    return compare.benchmark(per_class=6)


def ours(method: dict[str, Any]) -> list[Any]:
    from cl_forget.avalanche import as_plugin

    return [as_plugin(parse_mitigation(method))]


def test_their_importances_are_ours_at_batch_size_one_only(bench: Any) -> None:
    """They square the gradient of a batch mean."""
    first = next(iter(bench.streams["train"]))
    model = compare.network()
    theirs, mine = compare.fishers(model, first, 1)
    assert torch.allclose(theirs.double(), mine, rtol=1e-5, atol=0)  # they keep them in float32
    mixed = compare.shuffled(first)
    theirs, mine = compare.fishers(model, mixed, 12)
    assert theirs.sum() < 0.7 * mine.sum()


def test_their_importances_depend_on_the_order_of_the_data(bench: Any) -> None:
    first = next(iter(bench.streams["train"]))
    model = compare.network()
    by_class, _ = compare.fishers(model, first, 12)
    mixed, mine = compare.fishers(model, compare.shuffled(first), 12)
    assert not torch.allclose(by_class.sum(), mixed.sum(), rtol=0.05)
    _, again = compare.fishers(model, first, 12)
    assert torch.allclose(mine, again, rtol=1e-9)


def test_at_batch_size_one_both_ewc_train_the_same_weights(bench: Any) -> None:
    """So λ means the same on both sides: neither has the factor 1/2 of the paper."""
    from avalanche.training.plugins import EWCPlugin

    theirs = compare.train([EWCPlugin(5.0)], bench, 1, epochs=1)
    mine = compare.train(ours({"ewc": {"strength": 5.0, "samples": None}}), bench, 1, epochs=1)
    halved = compare.train(ours({"ewc": {"strength": 2.5, "samples": None}}), bench, 1, epochs=1)
    assert compare.distance(theirs, mine) < 1e-4
    assert compare.distance(theirs, halved) > 10 * compare.distance(theirs, mine)


def test_their_ewc_keeps_a_penalty_per_task_and_ours_one_for_all(bench: Any) -> None:
    from avalanche.training.plugins import EWCPlugin

    their_plugin, (our_plugin,) = EWCPlugin(1.0), ours({"ewc": {"strength": 1.0}})
    compare.train([their_plugin], bench, 12, epochs=1)
    compare.train([our_plugin], bench, 12, epochs=1)
    assert len(their_plugin.saved_params) == len(their_plugin.importances) == 2
    parameters = sum(p.numel() for p in compare.network().parameters())
    state = our_plugin.chain.state["ewc"]
    assert sum(tensor.numel() for tensor in state.values()) == 2 * parameters


def test_lwf_is_the_same_method_without_dropout(bench: Any) -> None:
    """The same direction KL(teacher‖student), the same T, no factor T², old classes only."""
    from avalanche.training.plugins import LwFPlugin

    theirs = compare.train([LwFPlugin(1.0, 2.0)], bench, 12, epochs=2)
    mine = compare.train(ours({"lwf": {"strength": 1.0, "temperature": 2.0}}), bench, 12, epochs=2)
    plain = compare.train([], bench, 12, epochs=2)
    assert compare.distance(theirs, mine) < 1e-12
    assert compare.distance(theirs, plain) > 1e-5


def test_their_lwf_teacher_is_left_in_training_mode(bench: Any) -> None:
    """With dropout it answers differently every time; ours is in evaluation mode."""
    from avalanche.training.plugins import LwFPlugin

    their_plugin, (our_plugin,) = LwFPlugin(1.0, 2.0), ours({"lwf": 1.0})
    theirs = compare.train([their_plugin], bench, 12, dropout=0.3, epochs=1)
    mine = compare.train([our_plugin], bench, 12, dropout=0.3, epochs=1)
    assert their_plugin.lwf.prev_model.training
    assert not our_plugin.task.frozen.models["previous"].model.training
    assert compare.distance(theirs, mine) > 1e-6
