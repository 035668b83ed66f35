"""Methods on outputs, features and samples in a whole simulation of two tasks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tiny import squares

from cl_forget.config.run import Run
from cl_forget.models import MODELS
from cl_forget.run.simulate import simulate
from cl_forget.streams import STREAMS

ZSCL = {"zscl": {"reference": "colour-probe", "average_every": 2}}
COMBINATIONS: list[list[Any]] = [
    [{"flow": {"control": "shuffled"}}],
    ["flow", "eaft", "kd", "lwf", "ldifs", ZSCL, "l2_sp"],
    ["flyp_ce", ZSCL, "ldifs", "wise_ft"],
    ["flyp", "lfl", "l2_sp", "joint"],
]


def two_squares() -> Any:
    return squares(tasks=2, per_class=4)


MODELS.add("quick-clip", "drive:quick_clip")
STREAMS.add("two-squares", f"{__name__}:two_squares")


@pytest.mark.parametrize("mitigations", COMBINATIONS, ids=str)
def test_runs_a_sequence_and_learns_something(tiny_run: Callable[..., Run], mitigations: list[Any]) -> None:
    train = {"epochs": 1, "batch_size": 6, "lr": 1e-3}
    result = simulate(
        tiny_run(model="quick-clip", stream="two-squares", probes=[], train=train, mitigations=mitigations)
    )
    assert len(result.rows) == (2 if "joint" in mitigations else 3)
    first, last = result.rows[0].tasks["squares-1"], result.rows[-1].tasks["squares-1"]
    assert first.test.kl_to_base == 0 and last.test.kl_to_base > 0


def test_suites_are_answered_by_the_tuned_text_tower(tiny_run: Callable[..., Run]) -> None:
    train = {"epochs": 1, "batch_size": 6, "lr": 1e-3}
    losses = [
        simulate(
            tiny_run(model="quick-clip", stream="two-squares", probes=[], train=train, mitigations=[method])
        )
        .rows[-1].suites["colours"].test.loss
        for method in ("flyp_ce", "kd")
    ]  # fmt: skip
    assert losses[0] != losses[1]
