"""`train.steps`: so many optimiser steps of every task, however large it is."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from cl_forget.config.run import Run
from cl_forget.run.simulate import simulate
from cl_forget.training.options import Training

STREAM = [{"squares": {"tasks": 1, "per_class": 4}}, "other-colours"]


def test_every_task_takes_so_many_steps(tiny_run: Callable[..., Run]) -> None:
    """16 and 8 samples or so in batches of 6: epochs go on until the steps are done."""
    train = {"batch_size": 6, "lr": 1e-3, "epochs": 1}
    by_epoch = simulate(tiny_run(stream=STREAM, train=train)).rows
    taken = [row.cost.steps for row in by_epoch]
    first, second = taken[1], taken[2] - taken[1]
    assert first != second
    for steps in (first, 2 * first + 1):
        rows = simulate(tiny_run(stream=STREAM, train={**train, "steps": steps})).rows
        assert [row.cost.steps for row in rows] == [0, steps, 2 * steps]
    same = simulate(tiny_run(stream=STREAM[:1], train={**train, "steps": first})).rows[-1]
    assert same.tasks["squares-1"] == by_epoch[1].tasks["squares-1"], "the steps of one epoch are that epoch"
    half = simulate(tiny_run(stream=STREAM, train={**train, "steps": 6}, mitigations=[{"fewer_steps": 0.5}]))
    assert half.rows[-1].cost.steps == 6


def test_joint_training_has_the_steps_of_all_its_tasks(tiny_run: Callable[..., Run]) -> None:
    train = {"batch_size": 6, "lr": 1e-3, "steps": 5}
    assert simulate(tiny_run(stream=STREAM, train=train, mitigations=["joint"])).rows[-1].cost.steps == 10


def test_without_steps_nothing_is_another_run(tiny_run: Callable[..., Run]) -> None:
    plain, named = tiny_run(), tiny_run(train={**tiny_run().train.model_dump(), "steps": None})
    assert (plain.key(), plain.training_key()) == (named.key(), named.training_key())
    stepped = tiny_run(train={**tiny_run().train.model_dump(), "steps": 3})
    assert stepped.training_key() != plain.training_key()


def test_passes_over_a_stream() -> None:
    assert Training(epochs=3).passes(1000, 4) == 3
    assert Training(steps=50, batch_size=10).passes(1000, 4) == pytest.approx(2)
