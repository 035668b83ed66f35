"""A long group in pieces, as real Ray Tune trials of two workers, gives what it gives whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ray import tune
from runtime import one_runtime
from sweep_samples import FIELDS, plain_numbers

import cl_forget
from cl_forget.config.sweep import Sweep
from cl_forget.sweeps.cluster import Resources
from cl_forget.sweeps.planning import plan_grid
from cl_forget.sweeps.runner import sweep

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture(scope="module", autouse=True)
def _ray(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with one_runtime(tmp_path_factory):
        yield


class Order(tune.Callback):
    """Which trials each Tune trial worked through, and in which order they were over."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any
    ) -> None:
        self.seen.append((trial.trial_id, result["trial"]))


def test_two_workers_take_one_group_and_its_giver_comes_first(tmp_path: Path) -> None:
    alphas = [round(0.1 * n, 1) for n in range(1, 9)]
    asked = Sweep(**{**FIELDS, "methods": {"WiSE-FT": ["wise_ft"]}, "space": {"wise_ft.alpha": alphas}})
    order = Order()
    # Said, not measured: a process that has run many tests before needs more than a trial does.
    two = Resources(max_concurrent=2, memory_per_trial=100)
    trials = sweep(asked, tmp_path, resources=two, callbacks=[order])
    assert [trial.reason for trial in trials if trial.status != "finished"] == [] and len(trials) == 9
    giver = trials[0].id
    assert order.seen[0][1] == giver and {trial.shared_with for trial in trials[1:]} == {giver}
    assert len({piece for piece, _ in order.seen}) >= 3, "the group was cut"
    assert sorted(name for _, name in order.seen) == sorted(trial.id for trial in trials)
    run = next(one.run for one in plan_grid(asked) if one.trial.id == trials[-1].id)
    same = plain_numbers(tmp_path / "trials" / trials[-1].id) == plain_numbers(cl_forget.simulate(run))
    assert same
