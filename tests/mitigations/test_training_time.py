"""What a method does before and after its steps is training, too."""

from __future__ import annotations

import time

import pytest
from drive import TASKS, TRAIN, clip, task_of

from cl_forget.ground.records import Cost
from cl_forget.mitigations import Chain, Mitigation
from cl_forget.mitigations.linear_probe import LinearProbe
from cl_forget.training.loop import fine_tune


@pytest.mark.parametrize("hook", ["start_task", "end_task"])
def test_what_stands_beside_the_steps_counts(hook: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]

    def slow(self: Mitigation, task: object, state: object) -> None:
        now[0] += 0.25

    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(LinearProbe, hook, slow)
    cost = Cost()
    fine_tune(task_of(clip(TASKS[:1]), TASKS[:1]), Chain([LinearProbe()]), TRAIN, cost)
    assert cost.train_seconds == 0.25
    assert cost.steps == 0, "a linear probe takes no step, and still takes time"
