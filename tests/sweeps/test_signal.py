"""What a sweep is told of a trial after a task."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from cl_forget.config.sweep import Score
from cl_forget.ground.records import Row, Scores, TaskScores
from cl_forget.sweeps.signal import SignalWatch


def told(tasks: dict[str, Scores], suites: dict[str, Scores]) -> list[dict[str, Any]]:
    """The reports after one of two tasks."""
    reports: list[dict[str, Any]] = []
    measured = (
        {name: TaskScores(validation=scores, test=Scores()) for name, scores in several.items()}
        for several in (tasks, suites)
    )
    row = Row(after="a", **dict(zip(("tasks", "suites"), measured, strict=True)))
    simulation: Any = SimpleNamespace(past=["a"], stages=["a", "b"], cost=SimpleNamespace(passes=7))
    SignalWatch(Score(), lambda report: bool(reports.append(report))).row(simulation, row)
    return reports


def test_every_task_counts_and_a_suite_that_is_measured_by_perplexity_does_not() -> None:
    """Speciality (.8 + .2) / 2, the task to come included; generality .6."""
    suites = {"emoji": Scores(accuracy=0.6), "text": Scores(perplexity=12.0)}
    (report,) = told({"a": Scores(accuracy=0.8), "b": Scores(accuracy=0.2)}, suites)
    assert report["speciality"] == pytest.approx(0.5) and report["score"] == pytest.approx(0.55)
    assert (report["generality"], report["progress"]) == (0.6, 50.0)


def test_a_score_never_rests_on_other_tasks_or_suites_than_anothers() -> None:
    known, missing = Scores(accuracy=0.8), Scores()
    assert told({"a": known, "b": missing}, {"emoji": known}) == []
    assert told({"a": known, "b": known}, {"emoji": known, "facts": missing}) == []
