"""A budget of the whole sweep: how it is counted, when it stops, and what is said of the rest."""

from __future__ import annotations

import io
import itertools
import json
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from records import trial
from sweep_samples import FIELDS

from cl_forget.comparison.trials import Trial, load_trial
from cl_forget.config.sweep import Budget, Sweep
from cl_forget.ground.errors import UserError
from cl_forget.ground.records import Cost
from cl_forget.sweeps.budget import (
    Forecast,
    Meter,
    OutOfBudget,
    affordable,
    check_left,
    check_prices,
    missing,
    redone,
    used,
)
from cl_forget.sweeps.folder import known_state, load_state, new_folder
from cl_forget.sweeps.spending import SPENDING as FILE
from cl_forget.sweeps.spending import load_spending


def meter(folder: Path, **budget: Any) -> Meter:
    return Meter(Budget(**budget), folder, clock=0.0)


def test_hours_money_and_devices_add_up_as_nodes_come_and_go(tmp_path: Path) -> None:
    one = meter(tmp_path, usd=100, prices={"gpu": 7.2, "any": 3.6})
    one.advance(["head", "gpu"], devices=2, clock=1800)
    assert (one.spent.hours, one.spent.usd, one.spent.gpu_hours) == pytest.approx((0.5, 5.4, 1.0))
    one.advance(["head", "gpu", "gpu"], devices=4, clock=3600)  # another one came
    assert (one.spent.hours, one.spent.usd, one.spent.gpu_hours) == pytest.approx((1.0, 14.4, 3.0))
    one.advance(["head"], clock=3600)
    assert one.left("usd") == pytest.approx(85.6) and one.left("hours") == float("inf")
    assert one.used_up() is None


def test_a_killed_driver_has_counted_and_the_next_session_counts_on(tmp_path: Path) -> None:
    one = meter(tmp_path, hours=1)
    one.advance(["any"], clock=1200)
    again = Meter(Budget(hours=1), tmp_path, clock=50.0)
    assert again.spent.hours == pytest.approx(1 / 3)
    again.advance(["any"], clock=50.0 + 2401)
    assert again.used_up() == "hours" and again.left("hours") == 0
    with pytest.raises(UserError, match=r"the budget is used up: 1 of 1 hours; raise `budget.hours`"):
        check_left(again)
    (tmp_path / FILE).write_text('{"hours": "many"}')
    with pytest.raises(UserError, match="delete it to count money and devices from nothing"):
        load_spending(tmp_path)


def test_the_end_comes_before_the_limit(tmp_path: Path) -> None:
    """Ending what is under way takes time, too."""
    one = meter(tmp_path, hours=1)
    one.advance(["any"], clock=3600 - 20)
    assert one.closing() is None
    one.advance(["any"], clock=3600 - 14)
    assert one.closing() == "hours"
    short = meter(tmp_path / "short", hours=40 / 3600)
    (tmp_path / "short").mkdir()
    short.advance(["any"], clock=29)
    assert short.closing() is None, "no more than a quarter is kept free"
    short.advance(["any"], clock=30.1)
    assert short.closing() == "hours"
    devices = meter(tmp_path, gpu_hours=1)
    devices.spent.gpu_hours = 1 - 4 * 14 / 3600
    assert devices.closing(devices=4) == "gpu_hours" and devices.closing(devices=1) is None


def test_passes_are_those_that_a_trial_makes_itself(tmp_path: Path) -> None:
    whole = trial("L2-SP", 1.0, 0, (0.5, 0.5), stages=2)
    taker = trial("WiSE-FT", 0.5, 0, (0.5, 0.5), stages=2, shared_with=whole.id, shared_stages=2)
    half = taker.model_copy(update={"shared_stages": 1})
    stopped = Trial(
        sweep="s", id="t", method="m", status="pruned", history=[{"passes_so_far": 30}, {"passes_so_far": 60}]
    )
    assert [t.own_passes for t in (whole, taker, half, stopped)] == [200, 0, 100, 60]
    one = Meter(Budget(passes=360), tmp_path, [whole, half], clock=0.0)
    assert one.spent.passes == 300
    one.count("running", 40)
    one.count("running", 60)
    assert one.used_up() == "passes"
    assert used("passes", one) == "the budget is used up: 360 of 360 passes"


def test_what_fits_into_the_passes_that_are_left_is_begun_in_order() -> None:
    assert affordable([100, 100, 50], 220) == [0, 1]
    assert affordable([100, 300, 50, 50], 220) == [0, 2, 3]
    assert affordable([100], 90) == []
    assert affordable([100, 0], 0) == [1]


def test_what_is_missing_is_said_by_method() -> None:
    planned = [
        trial("L2-SP", v, s, (0.5, 0.5)).model_copy(update={"status": "planned"})
        for v in (1.0, 2.0)
        for s in (0, 1)
    ]
    planned += [trial("WiSE-FT", 0.5, 0, (0.5, 0.5))]
    records = [
        planned[0].model_copy(update={"status": "finished"}),
        planned[1].model_copy(update={"status": "running"}),
        planned[4],
    ]
    assert missing(planned, records) == ["missing of L2-SP: 3 of 4 trials, 1 of them begun and kept"]


def test_money_needs_the_price_of_every_node() -> None:
    with pytest.raises(ValueError, match=r"`usd` needs `prices`, for instance `prices: \{any: 1.2\}`"):
        Budget(usd=3)
    check_prices(["a", "b"], Budget(usd=3, prices={"any": 1}))
    check_prices(["a", "b"], Budget(hours=3))
    with pytest.raises(UserError, match=r"there is one of type 'b'; add it to `budget.prices`, or `any`"):
        check_prices(["a", "b"], Budget(usd=3, prices={"a": 1}))


def test_a_node_without_a_price_is_not_free_and_ends_the_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cl_forget.sweeps import tuning

    one = meter(tmp_path, usd=1, prices={"head": 0.1, "small": 0.2})
    one.advance(["head", "gpu-large"], clock=3600)
    assert one.spent.usd == pytest.approx(0.1 + 0.2), "it counts as the dearest that is known"
    for nodes, over in ((["head"], False), (["head", "gpu-large"], True)):
        monkeypatch.setattr(tuning, "node_types", lambda nodes=nodes: nodes)
        limit = tuning.Limit(meter(tmp_path, usd=1e9, prices={"head": 0.1}), 0)
        limit.on_step_end(1, [])
        assert tuning.Ending(limit).stop_all() is over and limit.reached is None
    assert "there is one of type 'gpu-large'; add it to `budget.prices`" in str(limit.unpriced)


def test_of_hours_and_money_the_one_that_ends_first_by_the_clock_is_named(tmp_path: Path) -> None:
    # 3 dollars at 2 an hour last an hour and a half
    for hours, first in ((1.0, "hours"), (2.0, "usd")):
        one = meter(tmp_path, hours=hours, usd=3.0, prices={"any": 2.0})
        assert one.first_by_clock() == first
        assert one.seconds_left() == pytest.approx(3600 * min(hours, 1.5), abs=60)
    assert meter(tmp_path, hours=1.0).first_by_clock() == "hours"


def test_hours_that_no_budget_counted_are_counted_when_one_is_added(tmp_path: Path) -> None:
    one = Meter(Budget(hours=5), tmp_path, clock=0.0, worked=7200.0)
    one.advance(["any"], clock=1800)
    assert one.spent.hours == pytest.approx(2.5)
    one.save()
    assert Meter(Budget(hours=5), tmp_path, clock=0.0, worked=3600.0).spent.hours == pytest.approx(2.5)


def test_a_budget_may_be_raised_when_a_sweep_is_resumed(tmp_path: Path) -> None:
    new_folder(tmp_path, Sweep(**FIELDS, budget={"hours": 1}))
    assert known_state(tmp_path, Sweep(**FIELDS, budget={"hours": 2, "passes": 10}), resume=True) is not None
    assert known_state(tmp_path, Sweep(**FIELDS), resume=True) is not None
    with pytest.raises(UserError, match=r"budget.trials was null and is 2"):
        known_state(tmp_path, Sweep(**FIELDS, budget={"trials": 2}), resume=True)


@pytest.mark.parametrize(
    ("budget", "said"),
    [
        ({"hours": 0}, "greater than 0"),
        ({"passes": 0}, "greater than or equal to 1"),
        ({"usd": 1, "prices": {"any": -1}}, "greater than or equal to 0"),
        ({"usd": 1, "prices": {"any": float("inf")}}, "finite number"),
        ({"usd": float("inf"), "prices": {"any": 1}}, "finite number"),
        ({"hours": float("nan")}, "finite number"),
        ({"hour": 1}, "Extra inputs"),
    ],
)
def test_a_budget_that_cannot_be(budget: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Budget(**budget)


def test_a_sweep_without_ray_stops_within_its_passes_and_goes_on(tmp_path: Path) -> None:
    from cl_forget.sweeps.runner import sweep

    fields = {**FIELDS, "methods": {"L2-SP": ["l2_sp"]}, "space": {"l2_sp.strength": [0.01, 0.1, 1.0]}}
    whole = sweep(Sweep(**fields), tmp_path / "whole", jobs=1)
    each = max(one.own_passes for one in whole)
    said: list[str] = []
    asked = Sweep(**fields, budget={"passes": int(2.5 * each)})
    trials = sweep(asked, tmp_path / "cut", jobs=1, tell=said.append)
    assert [one.status for one in trials].count("finished") == 2
    assert json.loads((tmp_path / "cut" / FILE).read_text())["passes"] == 2 * each
    assert any("missing of L2-SP" in line for line in said) and any(
        "no room for another" in line for line in said
    )
    assert (tmp_path / "cut" / "final.md").exists()
    stamps = {file: file.stat().st_mtime_ns for file in (tmp_path / "cut").glob("trials/*/result.json")}
    more = Sweep(**fields, budget={"passes": 10 * each})
    trials = sweep(more, tmp_path / "cut", resume=True, jobs=1)
    assert [one.status for one in trials] == ["finished"] * 4
    assert {file: file.stat().st_mtime_ns for file in stamps} == stamps


def test_a_budget_without_room_for_any_trial_says_what_one_takes(tmp_path: Path) -> None:
    from cl_forget.sweeps.runner import sweep

    asked = Sweep(**FIELDS | {"methods": {"L2-SP": ["l2_sp"]}, "space": {}}, budget={"passes": 1})
    said = r"what is left \(1 of 1 passes\) has no room for another trial, which takes about 208: .*`budget.passes`"
    for resume in (False, True):
        with pytest.raises(UserError, match=said):
            sweep(asked, tmp_path, resume=resume, jobs=1)
        state = load_state(tmp_path)
        assert state.stopped == "passes" and not state.finished and not list(tmp_path.glob("trials/*"))
    short = OutOfBudget("passes", need=208.4).said(meter(tmp_path, passes=1000))
    assert (
        short == "what is left (1,000 of 1,000 passes) has no room for another trial, which takes about 208"
    )


def test_a_deadline_ends_a_trial_in_its_middle_and_what_it_did_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cl_forget.run.shared import Setups
    from cl_forget.sweeps import work as module
    from cl_forget.sweeps.planning import planned

    ticks = itertools.count()
    clock = SimpleNamespace(time=lambda: float(next(ticks)), monotonic=time.monotonic)
    monkeypatch.setattr(module, "time", clock)  # every look at the clock is a second later
    one = planned(Sweep(**FIELDS), "L2-SP", {"l2_sp.strength": 0.1}, seed=0)
    with pytest.raises(module.Stopped):
        module.work([one], tmp_path, Setups(), lambda trial: None, until=3.0)
    stopped = load_trial(tmp_path, one.trial.id)
    assert stopped is not None and stopped.status == "running"
    steps = len((tmp_path / "trials" / one.trial.id / "events.jsonl").read_text().splitlines())
    assert 1 <= steps <= 3 and stopped.redone_steps == 0
    trained = (tmp_path / "trials" / one.trial.id / "events.jsonl").read_text().count("run_step")
    with pytest.raises(module.Stopped):
        module.work([one], tmp_path, Setups(), lambda trial: None, until=0.0)
    (done,) = module.work([one], tmp_path, Setups(), lambda trial: None)
    assert done.status == "finished" and done.redone_steps == trained > 0  # there was no checkpoint yet
    assert done.cost is not None and redone([done]) == (
        f"{trained} training steps were done again ({100 * trained / done.cost.steps:.1f} % of {done.cost.steps}): "
        "1 trials were interrupted"
    )
    assert redone([stopped]) is None


def test_a_dry_run_forecasts_the_cost_of_each_method_and_of_the_budget() -> None:
    from cl_forget.run.shared import Setup
    from cl_forget.sweeps.planning import plan_grid, share
    from cl_forget.sweeps.preview import against_budget, cost_cells

    methods = {"SAM": [{"sam": 0.1}], "KD": [{"kd": 0.1}], "WiSE-FT": ["wise_ft"]}
    asked = Sweep(**{**FIELDS, "methods": methods, "space": {"wise_ft.alpha": [0.25, 0.5]}})
    grid = plan_grid(asked)
    share(grid)
    key = Setup.key(grid[0].run)
    measured = {key: {"samples": 100.0, "train": 36.0, "evaluate": 0.0, "row": 10.0, "memory": 1.0}}
    forecast = Forecast(measured)
    of = {arm: [one for one in grid if one.trial.method == arm] for arm in asked.arms}
    cells = {arm: cost_cells(mine, measured, forecast, {}) for arm, mine in of.items()}
    # One epoch: forward and backward; SAM twice; a teacher reads the data once more; an edit trains nothing.
    assert {arm: cell[0] for arm, cell in cells.items()} == {
        "full fine-tuning": "200",
        "SAM": "400",
        "KD": "300",
        "WiSE-FT": "0",
    }
    assert cells["SAM"][1] == "2.0 h" and cells["full fine-tuning"][1] == "60 min"
    (usd,) = cost_cells(of["SAM"], measured, forecast, {"any": 10})[2:]
    assert float(usd) == pytest.approx(20 / (os.cpu_count() or 1), rel=0.01)
    small = against_budget(Budget(passes=450, gpu_hours=3), grid, measured, forecast)
    assert small == [
        "budget of 3 device hours",
        "about 900 passes here: the budget of 450 covers about 50 % of it",
    ]
    assert against_budget(Budget(passes=900), grid, measured, forecast)[0].endswith("900 is enough")
    large = {**measured, key: {**measured[key], "samples": 1_000_000.0}}
    (said,) = against_budget(Budget(passes=3_000_000), grid, large, Forecast(large), at_most=True)
    assert said == ("at most 9,000,000 passes here: the budget of 3,000,000 covers about 33 % of it"), (
        "in full"
    )


def test_a_forecast_counts_answers_that_methods_sample() -> None:
    from cl_forget.run.shared import Setup
    from cl_forget.sweeps.planning import plan_grid

    methods = {"SDFT": ["sdft"], "Self-SFT": [{"self_sft": 8}]}
    more = {"methods": methods, "space": {}, "control": False, "train": {"epochs": 3}}
    both = plan_grid(Sweep(**{**FIELDS, **more}))
    forecast = Forecast({Setup.key(both[0].run): {"samples": 100.0}})
    # Three epochs forward and backward, with an answer and a teacher in each; or with eight answers before them.
    assert {one.trial.method: forecast.passes(one) for one in both} == {"SDFT": 1200, "Self-SFT": 1400}


SEVERAL = {
    "sam": [{"sam": 0.1}],
    "asam": [{"asam": 0.5}],
    "looksam": [{"looksam": {"rho": 0.1, "every": 4}}],
    "star": [{"star": 0.1}],
    "er": [{"er": 3.0}],
    "derpp": [{"derpp": 0.5}],
    "zscl": [{"zscl": {"strength": 1.0, "reference": "colour-probe", "batch_size": 4}}],
    "sam-er": [{"sam": 0.1}, {"er": 1.0}],
}
"""Arms with methods that take the gradient more than once, other data, or passes of their own."""


def test_a_forecast_counts_the_passes_that_a_run_makes() -> None:
    from cl_forget.mitigations import MITIGATIONS
    from cl_forget.mitigations.protocol import Mitigation
    from cl_forget.run.simulate import simulate
    from cl_forget.sweeps.planning import plan_grid
    from cl_forget.sweeps.rehearsal import measurements

    for hook in ("around_gradient", "extra_batches"):
        ours = {name: MITIGATIONS.get(name) for name in MITIGATIONS}
        several = {name for name, m in ours.items() if getattr(m, hook) is not getattr(Mitigation, hook)}
        assert several <= set(SEVERAL)
    more = {"methods": SEVERAL, "space": {}, "stream": ["squares"], "train": {"epochs": 2, "batch_size": 8}}
    grid = plan_grid(Sweep(**{**FIELDS, **more}))
    assert len(grid) == 1 + len(SEVERAL)
    forecast = Forecast(measurements(one.run for one in grid))
    made = {one.trial.method: simulate(one.run).rows[-1].cost for one in grid}
    above = {one.trial.method: forecast.passes(one) for one in grid}
    for arm in ("full fine-tuning", "sam", "asam", "looksam"):
        assert above[arm] == made[arm].passes
    plain = made["full fine-tuning"].passes
    for arm in ("star", "er", "derpp", "zscl", "sam-er"):  # the first task has no old samples
        tuned = made[arm].forward_samples + made[arm].backward_samples
        assert plain < tuned <= above[arm] <= 1.75 * tuned, arm


def test_further_passes_are_of_training_and_no_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    from cl_forget.config.experiment import Experiment
    from cl_forget.run import dry_run
    from cl_forget.run.shared import Setup
    from cl_forget.sweeps.planning import plan_grid
    from cl_forget.sweeps.preview import seconds

    asked = {**FIELDS, "methods": SEVERAL, "train": {"epochs": 2, "batch_size": 8}}
    grid = plan_grid(Sweep(**{**asked, "space": {}}))
    known = {"samples": 64.0, "train": 1.0, "evaluate": 1.0, "row": 10.0, "tasks": 2.0, "memory": 1.0}
    measured = {Setup.key(grid[0].run): known}
    rows = 10.0 * (1 + grid[0].trial.stages)
    took = {one.trial.method: seconds(one, measured) - rows for one in grid}
    plain = took.pop("full fine-tuning")
    expected = {"sam": 2.0, "asam": 2.0, "looksam": 1.25, "star": 3.5, "er": 4.0, "derpp": 3.25, "zscl": 1.5}
    assert plain == 2 * 64
    assert {arm: spent / plain for arm, spent in took.items()} == {**expected, "sam-er": 4.0}

    hour = {"train": 3600.0, "evaluate": 0.0, "parameters": 1, "memory": 1.0}
    monkeypatch.setattr(dry_run, "measure", lambda model, run, tasks: hour)
    del asked["space"], asked["name"]
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(dry_run.plan(Experiment(**{**asked, "methods": {"plain": [], **SEVERAL}})))
    lines = [line.split() for line in console.export_text().splitlines()]
    hours = {line[0]: float(line[-2]) for line in lines if len(line) == 7 and line[-1] == "h"}
    ratios = {arm: hours[arm] / hours["plain"] for arm in SEVERAL}
    assert 1 < ratios.pop("looksam") < 1.5
    assert ratios == pytest.approx({arm: {**expected, "sam-er": 4.0}[arm] for arm in ratios}, rel=1e-3)


def test_a_forecast_learns_from_what_finished_trials_made() -> None:
    from cl_forget.run.shared import Setup
    from cl_forget.sweeps.planning import plan_grid

    space = {"l2_sp.strength": [0.01, 0.1]}
    asked = Sweep(**{**FIELDS, "methods": {"L2-SP": ["l2_sp"]}, "space": space, "control": False})
    one, other = plan_grid(asked)
    forecast = Forecast({Setup.key(one.run): {"samples": 100.0}})
    assert forecast.passes(other) == 200
    cost = {"forward_samples": 150, "backward_samples": 150}
    done = one.trial.model_copy(update={"status": "finished", "cost": Cost(**cost)})
    forecast.learn([one, other], [done])
    assert forecast.passes(other) == 300
