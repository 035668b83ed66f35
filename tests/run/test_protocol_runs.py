"""Every protocol's stand-in, from the file to the table that it is reported by, on small models."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tiny  # noqa: F401 (registers models)

from cl_forget.config.run import Run
from cl_forget.evaluation import metrics
from cl_forget.reporting import Table, specify
from cl_forget.run.simulate import simulate
from cl_forget.streams.protocols.published import PROTOCOLS

TRAIN = {"epochs": 1, "batch_size": 8, "lr": 1e-3}


def run(model: str, stream: dict[str, Any], suites: list[Any]) -> Any:
    return simulate(
        Run.parse(
            {
                "model": model,
                "stream": [stream],
                "suites": suites,
                "train": TRAIN,
                "evaluate": {"curves": False},
            }
        )
    )


@pytest.mark.parametrize(("name", "count"), [("mtil", 11), ("x-tail", 10), ("ta8", 8)])
def test_image_protocols(name: str, count: int) -> None:
    result = run("tiny-clip", {name: {"root": "embedded", "limit": 8}}, [])
    table = specify([result]).item("protocol")
    assert isinstance(table, Table) and len(result.rows) == count + 1
    [arm] = [own for own in table.rows if table.role(own) == "control"]
    R = metrics.matrix(result.rows, result.tasks)
    expected = {
        "mtil_transfer": np.mean([R[1 : i + 1, i].mean() for i in range(1, count)]),
        "mtil_avg": R[1:].mean(),
        "mtil_last": R[-1].mean(),
    }
    for measure in PROTOCOLS[name].measures:
        assert table.rows[arm][measure].mean == pytest.approx(expected[measure])
    assert any("nothing published stands beside them" in note for note in table.notes)


def test_language_protocols() -> None:
    result = run(
        "pico-lm",
        {"trace": {"root": "embedded", "limit": 4}},
        [{"suite-set": {"of": "trace", "root": "embedded", "limit": 4}}],
    )
    table = specify([result]).item("protocol")
    assert isinstance(table, Table) and len(result.tasks) == 8 and len(result.suites) == 6
    titles = {measure.title: measure.name for measure in table.measures}
    R, G = (
        metrics.matrix(result.rows, result.tasks),
        metrics.suite_matrix(result.rows, result.tasks, result.suites),
    )
    [arm] = [own for own in table.rows if table.role(own) == "control"]
    assert table.rows[arm][titles["OP"]].mean == pytest.approx(R[-1].mean())
    assert table.rows[arm][titles["BWT"]].mean == pytest.approx(metrics.bwt(R))
    assert table.rows[arm][titles["ΔRᴳ"]].mean == pytest.approx((G[-1] - G[0]).mean())

    retained = run(
        "pico-lm",
        {"retaining-by-doing": {"root": "embedded", "limit": 4}},
        [
            {
                "suite-set": {
                    "of": "retaining-by-doing",
                    "root": "embedded",
                    "limit": 4,
                    "without": ["countdown"],
                }
            }
        ],
    )
    table = specify([retained]).item("protocol")
    assert isinstance(table, Table) and not table.notes
    assert [measure.title for measure in table.measures][:2] == ["Target", "Drop elsewhere"]
    assert len(retained.suites) == 5
