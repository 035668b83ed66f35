"""Which compositions of a search are the best, by the area that they dominate; worked by hand."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from cl_forget.comparison.settings import Setting, settings_of
from cl_forget.comparison.trials import Trial

dominating = runpy.run_path(str(Path(__file__).parents[2] / "experiments" / "choose.py"))["dominating"]

START = {"speciality_pretrained": 0.2, "generality_pretrained": 0.5}
"""The ideal area is .8 wide and .5 high: .4."""


def trial(members: str, speciality: float | None, generality: float, **changes: Any) -> Trial:
    config = {"compose": members, "train.lr": speciality}
    fields = {
        "id": f"{members}-{speciality}-{changes.get('seed', 0)}",
        "mitigations": [{name: {}} for name in members.split(" + ")],
        "config": config,
        "status": "finished",
        "validation": {"speciality": speciality, "generality": generality, **START},
    }
    return Trial(sweep="search", method="recipe", **{**fields, **changes})


def settings(*trials: Trial) -> list[Setting]:
    return settings_of(trials)["recipe"]


def chosen(found: list[tuple[Setting, float]]) -> list[tuple[str, float]]:
    return [(setting.label.partition(",")[0], round(gain, 6)) for setting, gain in found]


def test_the_largest_area_comes_first() -> None:
    found = dominating(
        settings(
            trial("a + e", 0.4, 0.49),  # .2 * .49 = .098
            trial("b + e", 0.6, 0.4),  # .4 * .4 = .16
            trial("c + e", 0.7, 0.3),  # .5 * .3 = .15
            trial("d + e", 0.9, 0.1),  # .7 * .1 = .07
        ),
        3,
    )
    assert chosen(found) == [("b + e", 0.4), ("c + e", 0.375), ("a + e", 0.245)]


def test_a_composition_counts_once_and_a_single_method_never() -> None:
    found = dominating(
        settings(
            trial("a + b", 0.6, 0.4),
            trial("a + b", 0.7, 0.39),
            trial("c", 0.9, 0.5),
            trial("b + c", 0.7, 0.1),
        ),
        3,
    )
    assert chosen(found) == [("a + b", 0.4875), ("b + c", 0.125)]


def test_means_over_seeds_count_and_only_what_is_finished_on_each() -> None:
    found = dominating(
        settings(
            trial("a + b", 0.6, 0.4, seed=0),
            trial("a + b", 0.6, 0.2, seed=1),
            trial("b + c", 0.9, 0.5, seed=0),
            trial("b + c", 0.9, 0.5, seed=1, status="diverged"),
            trial("c + d", None, 0.5),
        ),
        3,
    )
    assert chosen(found) == [("a + b", 0.3)]


@pytest.mark.parametrize("start", [{"speciality_pretrained": None}, {"generality_pretrained": None}])
def test_without_the_pretrained_model_nothing_is_compared(start: dict[str, Any]) -> None:
    one = trial("a + b", 0.6, 0.4)
    one = one.model_copy(update={"validation": {**one.validation, **start}})
    assert dominating(settings(one), 1) == []
    assert dominating([], 1) == []


def test_what_learns_nothing_has_no_area() -> None:
    assert dominating(settings(trial("a + b", 0.2, 0.5), trial("b + c", 0.1, 0.5)), 2) == []
