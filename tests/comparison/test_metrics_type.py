"""`Result.metrics` has a type that names every metric, in the order in which they are computed and written."""

from __future__ import annotations

import json

from pydantic import TypeAdapter

from cl_forget.evaluation.metrics import summary
from cl_forget.ground.records import Metrics, ProbeScores, Row, Scores, TaskScores


def found() -> Metrics:
    scores = Scores(accuracy=0.5, perplexity=None)
    measured = {"a": TaskScores(validation=scores, test=scores)}
    rows = [Row(after=name, tasks=measured, suites=measured, probes={"p": ProbeScores(accuracy=0.5)})
            for name in (None, "a")]  # fmt: skip
    return summary(rows, ["a"], ["a"], ["p"])


def test_every_metric_has_a_type_and_every_type_is_a_metric() -> None:
    named = {
        name: "dict" in str(kind)
        for name, kind in Metrics.__annotations__.items()
        if not name.startswith("_")
    }
    assert list(named) == list(found())
    assert named == {name: isinstance(value, dict) for name, value in found().items()}


def test_reading_changes_neither_order_nor_unknown_names() -> None:
    adapter: TypeAdapter[Metrics] = TypeAdapter(Metrics)
    known = dict(found())
    text = json.dumps({**known, "of_a_later_version": 1.5})
    assert json.dumps(adapter.validate_json(text, strict=True)) == text
    assert json.dumps(adapter.validate_python(known)) == json.dumps(known)
