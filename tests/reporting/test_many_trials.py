"""A sweep with more trials than a page can show: whole settings are drawn, and what is said is of all trials."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from cl_forget.comparison import trials_view
from cl_forget.comparison.analysis import hypervolume_share, sweep_summary
from cl_forget.comparison.anytime import anytime, in_order
from cl_forget.comparison.trials import Attempt, Trial
from cl_forget.comparison.trials_view import SweepView
from cl_forget.reporting import specify_sweep
from cl_forget.reporting.specification import Specification

SEEDS = 3


def trials() -> list[Trial]:
    """Two methods of twenty settings and plain fine-tuning, each on three seeds; every tenth trial has failed."""
    random = np.random.default_rng(0)
    settings: list[tuple[str, float | None, float]] = [("full fine-tuning", None, 0.0)]
    settings += [("L2-SP", float(k), k / 19) for k in range(20)] + [
        ("WiSE-FT", k / 19, k / 19) for k in range(20)
    ]
    found = []
    for number, (method, value, pull) in enumerate(
        setting for seed in range(SEEDS) for setting in [(*s[:2], s[2]) for s in settings]
    ):
        name = {"L2-SP": "l2_sp.strength", "WiSE-FT": "wise_ft.alpha"}.get(method)
        measured: dict[str, Any] = {
            "speciality": 0.9 - 0.4 * pull**2 + random.normal(0, 0.1),
            "generality": 0.3 + 0.3 * pull + random.normal(0, 0.1),
            "speciality_pretrained": 0.2,
            "generality_pretrained": 0.6,
            "speciality_by_task": {"a": 0.5},
        }
        measured["retention"] = measured["generality"] / 0.6
        failed = number % 10 == 9 and method == "L2-SP"
        section, _, field = (name or "").partition(".")
        found.append(
            Trial(
                sweep="many",
                id=f"{method}-{value}-{number // len(settings)}".lower().replace(" ", "-"),
                method=method,
                mitigations=[{section: {field: value}}] if name else [],
                knob=name,
                value=value,
                seed=number // len(settings),
                status="failed" if failed else "finished",
                reason=f"no room for {number} bytes" if failed else None,
                validation={} if failed else measured,
                test={} if failed else measured,
                seconds=2.0,
                attempts=[Attempt(worker=f"w{number % 2}", started=10.0 * number, ended=10.0 * number + 9)],
            )
        )
    return found


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(trials_view, "SHOWN", 90)
    return 90


def keys(shown: Sequence[Trial]) -> dict[tuple[str, float | None], int]:
    counted: dict[tuple[str, float | None], int] = {}
    for trial in shown:
        counted[trial.method, trial.value] = counted.get((trial.method, trial.value), 0) + 1
    return counted


def test_whole_settings_are_shown_evenly_and_those_that_matter_are_among_them(few: int) -> None:
    every = trials()
    summary = sweep_summary(every)
    found = keys(SweepView(every, summary).shown)
    assert set(found.values()) == {SEEDS} and few - 20 <= sum(found.values()) <= few
    for method in summary.methods:
        assert method.choice is not None and (method.method, method.choice.value) in found
        front = [(method.method, point.value) for point in method.curve if point.on_front]
        assert set(front) - {("WiSE-FT", 1.0)} <= set(found), (
            "plain fine-tuning ends a curve, and is shown itself"
        )
    values = sorted(value for name, value in found if name == "WiSE-FT" and value is not None)
    assert values[0] == 0 and values[-1] == 1, "the ends of the knob"


def test_a_sweep_with_room_is_shown_whole() -> None:
    every = trials()
    assert SweepView(every, sweep_summary(every)).shown == every


def test_the_page_says_what_it_leaves_out_and_means_stay_means(few: int) -> None:
    every = trials()
    cut = specify_sweep(every)
    failed = sum(trial.status == "failed" for trial in every)
    assert any(f"of {len(every)} trials one by one" in line for line in cut.findings)
    assert any(line.startswith(f"{failed} trials did not finish; their reasons") for line in cut.findings)
    assert f"{len(every)} trials: " in cut.subtitle
    failures = cut.item("failures")
    assert failures.notes[0].startswith(f"{failed} failed: no room for")
    assert len(cut.runs) < len(every) and set(failures.data["run"]) <= {run.name for run in cut.runs}  # type: ignore[union-attr]

    def means(of: Specification) -> dict[tuple[object, ...], object]:
        folded = of.item("tradeoff").folded  # type: ignore[union-attr]
        names = [name for name in folded if name in ("method", "measure", "setting")]
        return dict(zip(zip(*(folded[n] for n in names), strict=True), folded["mean"], strict=True))

    small = means(cut)
    trials_view.SHOWN = 10**6  # undone with the fixture
    whole = means(specify_sweep(every))
    assert small.items() <= whole.items() and len(small) < len(whole)


def test_the_hypervolume_so_far_is_that_of_all_trials_so_far() -> None:
    steps = in_order(trials())
    for one in anytime(steps):
        method = one.step.trial.method
        before = [s.trial for s in steps if s.trial.method == method and s.number <= one.step.number]
        seeds = {s.trial.seed for s in steps if s.trial.method == method}
        shares = []
        for seed in seeds:
            done = [t for t in before if t.seed == seed and t.status == "finished"]
            shares.append(hypervolume_share(done) if done else 0.0)
        assert one.hypervolume == pytest.approx(np.mean([s or 0.0 for s in shares]), rel=1e-12)
