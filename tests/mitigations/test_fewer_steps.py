"""Fewer steps: the run it must equal, the compute it makes equal, and what it is refused with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from cl_forget.comparison.records import Result
from cl_forget.config.run import Run
from cl_forget.ground.errors import UserError
from cl_forget.mitigations import Chain
from cl_forget.mitigations.fewer_steps import FewerSteps
from cl_forget.mitigations.low_lr import LowLearningRate
from cl_forget.run.simulate import simulate

Make = Callable[..., Run]


def trained(tiny_run: Make, mitigations: list[Any], epochs: int) -> Result:
    train = {"epochs": epochs, "batch_size": 8, "lr": 1e-3}
    return simulate(tiny_run(mitigations=mitigations, train=train, suites=[], probes=[]))


def scores(result: Result) -> list[Any]:
    return [{name: task.model_dump() for name, task in row.tasks.items()} for row in result.rows]


def test_half_of_two_epochs_is_one_epoch_to_the_bit(tiny_run: Make) -> None:
    half = trained(tiny_run, [{"fewer_steps": 0.5}], epochs=2)
    one = trained(tiny_run, [], epochs=1)
    assert scores(half) == scores(one)
    assert half.rows[-1].cost.steps == one.rows[-1].cost.steps > 0
    assert scores(half) != scores(trained(tiny_run, [], epochs=2))


def test_sam_at_half_of_the_steps_costs_what_plain_fine_tuning_costs(tiny_run: Make) -> None:
    plain = trained(tiny_run, [], epochs=2).rows[-1].cost
    sam = trained(tiny_run, ["sam", {"fewer_steps": 0.5}], epochs=2).rows[-1].cost
    assert sam.backward_samples == plain.backward_samples
    assert sam.forward_samples == plain.forward_samples
    assert sam.steps * 2 == plain.steps


def test_steps_are_rounded_and_never_none() -> None:
    assert Chain([FewerSteps(share=0.25)]).steps(10) == 2
    assert Chain([FewerSteps(share=0.01)]).steps(10) == 1
    assert Chain([LowLearningRate()]).steps(10) == 10


def test_without_steps_there_are_no_fewer() -> None:
    for other in ("linear_probe", {"avalanche": {"strategy": "Naive"}}):
        with pytest.raises(UserError, match="cannot be combined"):
            Run.parse(
                {"model": "emoji-clip", "stream": "digits", "mitigations": [other, "fewer_steps"]}
            ).chain()


@pytest.mark.parametrize("share", [0, -1, 1.5])
def test_bad_shares_are_refused(share: float) -> None:
    with pytest.raises(ValidationError):
        FewerSteps(share=share)
