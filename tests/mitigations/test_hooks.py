"""What the protocol says of each hook: how often it runs, on what, and what a resumed task is spared."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from drive import TASKS, TRAIN, clip, task_of
from penalties import copied

from cl_forget.ground.errors import TrainingDiverged
from cl_forget.ground.records import Cost
from cl_forget.method import Claim, Field, Mitigation, State
from cl_forget.mitigations import Chain
from cl_forget.mitigations.er import ExperienceReplay
from cl_forget.mitigations.sam import SAM
from cl_forget.training.loop import fine_tune

CALLS: list[str] = []


class Kept(State):
    started: torch.Tensor


class Counting(Mitigation):
    """Says which of its hooks is called."""

    name, place, title, formula, source, keeps = "counting", "gradient", "Counting", "loss", "this test", Kept

    def start_task(self, task: Any, state: Any) -> None:
        CALLS.append("start_task")
        assert "started" not in state
        state.started = torch.tensor(task.index)

    def request_outputs(self, task: Any, state: Any) -> None:
        CALLS.append("request_outputs")
        assert int(state.started) == task.index

    def shape_parameters(self, task: Any, state: Any) -> None:
        CALLS.append("resumed" if task.resumed else "fresh")

    def sample_weights(self, step: Any, state: Any) -> None:
        CALLS.append("sample_weights on " + step.batch.samples.experience.name)

    def unit_weights(self, step: Any, state: Any) -> None:
        CALLS.append("unit_weights on " + step.batch.samples.experience.name)

    def add_gradient(self, update: Any, state: Any) -> None:
        CALLS.append("add_gradient")

    def after_step(self, update: Any, state: Any) -> None:
        CALLS.append("after_step")

    def end_task(self, task: Any, state: Any) -> None:
        state.clear()


@pytest.fixture(autouse=True)
def _from_none() -> None:
    CALLS.clear()


def test_unit_weights_run_on_replayed_batches_and_sample_weights_do_not() -> None:
    model, chain = clip(), Chain([Counting(), ExperienceReplay(memory=6)])
    chain.each("end_task", task_of(model, TASKS[:1]))
    fine_tune(task_of(model, TASKS[1:2], past=TASKS[:1]), chain, TRAIN, Cost())
    seen = {call for call in CALLS if "weights on" in call}
    assert seen == {"sample_weights on squares-2", "unit_weights on squares-2", "unit_weights on squares-1"}


def test_a_closed_form_runs_in_every_gradient_of_a_step() -> None:
    for methods, times in (([], 1), ([SAM()], 2)):
        CALLS.clear()
        fine_tune(task_of(clip(), TASKS[:1]), Chain([Counting(), *methods]), TRAIN, Cost())
        assert CALLS.count("add_gradient") == times * CALLS.count("after_step") > 0


def test_a_resumed_task_is_not_started_again() -> None:
    saved: dict[int, Any] = {}
    often = TRAIN.model_copy(update={"checkpoint_seconds": 1e-9})
    fine_tune(
        task_of(clip(), TASKS[:1]), Chain([Counting()]), often, Cost(),
        save=lambda done, groups: saved.setdefault(done, copied(groups)),
    )  # fmt: skip
    assert CALLS[:3] == ["start_task", "request_outputs", "fresh"]
    CALLS.clear()
    chain = Chain([Counting()])
    chain.restore(saved[2])
    fine_tune(task_of(clip(), TASKS[:1]), chain, TRAIN, Cost(), resume=saved[2])
    assert CALLS[:2] == ["request_outputs", "resumed"] and "start_task" not in CALLS


class Adding(Mitigation):
    """Adds a constant to the loss beside the step's gradient."""

    name, place, title, formula, source = "adding", "step", "Adding", "loss + c", "this test"
    claims = frozenset({Claim.GRADIENT_POINT})
    constant: float = Field(default=2.0, allow_inf_nan=True)

    def around_gradient(self, update: Any, gradient: Any, state: Any) -> Any:
        loss = gradient()
        update.terms[self.name] = torch.tensor(self.constant, dtype=loss.dtype)
        return loss + update.terms[self.name]


def test_a_term_added_around_the_gradient_stands_in_the_log() -> None:
    records: list[Any] = []
    fine_tune(task_of(clip(), TASKS[:1]), Chain([Adding()]), TRAIN, Cost(), log=records.append)
    for record in records:
        assert record["terms"]["adding"] == 2.0
        assert record["loss"] == pytest.approx(2.0 + record["terms"]["task"])


def test_such_a_term_that_is_not_finite_is_named() -> None:
    with pytest.raises(TrainingDiverged, match="the adding loss is not finite; lower adding"):
        fine_tune(task_of(clip(), TASKS[:1]), Chain([Adding(constant=float("nan"))]), TRAIN, Cost())
