"""The best compositions of a search become arms of a sweep file, without another letter of it changed."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from cl_forget.config.sweep import Sweep, load_sweep
from cl_forget.sweeps.planning import planned

CHOOSE = Path(__file__).parents[2] / "experiments" / "choose.py"

WORLD = """\
# A world.
model: tiny-clip
stream: [squares]
suites: [colours]
methods:
  # the arms
  L2-SP: {mitigations: [l2_sp], space: {l2_sp.strength: [0.1, 1.0]}}
  recipe-5: [kd]   # of an earlier search

train: {epochs: 1}   # stays
"""

SEARCH: dict[str, Any] = {
    "model": "tiny-clip",
    "stream": ["squares"],
    "suites": ["colours"],
    "mode": "search",
    "control": False,
    "methods": {
        "search": {
            "compose": {"of": [{"l2_sp": {"anchor": "previous"}}, "er", "lp_ft", "wise_ft"]},
            "space": {
                "train.lr": [1e-4, 3e-4, 1e-3],
                "train.epochs": [1, 2],
                "er.share": [0.5, 1.0],
                "l2_sp.strength": [0.001, 0.01, 0.1, 1.0],
                "wise_ft.alpha": [0.2, 0.4, 0.6, 0.8],
            },
        }
    },
}

FOUND: list[tuple[dict[str, Any], float, float]] = [
    ({"compose": "l2_sp + wise_ft", "l2_sp.strength": 0.1, "wise_ft.alpha": 0.6, "train.lr": 1e-3}, 0.7, 0.4),
    ({"compose": "lp_ft + l2_sp", "l2_sp.strength": 1.0, "train.lr": 1e-4}, 0.6, 0.5),
    ({"compose": "lp_ft + er", "er.share": 0.5, "train.lr": 3e-4}, 0.75, 0.1),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    asked = Sweep(**SEARCH)
    (tmp_path / "sweep.yaml").write_text(yaml.safe_dump(asked.model_dump(mode="json")))
    start = {"speciality_pretrained": 0.2, "generality_pretrained": 0.5}
    for config, speciality, generality in FOUND:
        trial = planned(asked, "search", {**config, "train.epochs": 2}, seed=0).trial
        values = {"speciality": speciality, "generality": generality, **start}
        trial.model_copy(update={"status": "finished", "validation": values}).save(tmp_path)
    (tmp_path / "world.yaml").write_text(WORLD)
    return tmp_path


def choose(monkeypatch: pytest.MonkeyPatch, folder: Path, *more: str) -> str:
    monkeypatch.setattr(sys, "argv", ["choose.py", str(folder), str(folder / "world.yaml"), *more])
    runpy.run_path(str(CHOOSE), run_name="__main__")
    return (folder / "world.yaml").read_text()


def test_recipes_have_eight_settings_and_a_curve_of_four(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    text = choose(monkeypatch, folder, "--best", "2")
    sweep = load_sweep(folder / "world.yaml")
    assert list(sweep.methods) == ["L2-SP", "recipe-1", "recipe-2"]
    run = sweep.run("recipe-1", {"train.lr": 1e-3, "wise_ft.alpha": 0.6}, seed=0)
    members = {m.name: m.identity for m in run.mitigations}
    assert members["l2_sp"]["strength"] == 0.1 and members["l2_sp"]["anchor"] == "previous"
    assert run.train.epochs == 2
    for arm, lr, strength in (
        ("recipe-1", [3e-4, 1e-3], "wise_ft.alpha"),
        ("recipe-2", [1e-4, 3e-4], "l2_sp.strength"),
    ):
        ranges = sweep.ranges(arm)
        assert set(ranges) == {"train.lr", strength}
        assert ranges["train.lr"].values == lr and len(ranges[strength].values or []) == 4
    assert (
        "  # recipe-1: l2_sp + wise_ft, l2_sp.strength = 0.1, wise_ft.alpha = 0.6, train.lr = 0.001" in text
    )
    assert ": 50.0% of the ideal area\n" in text


def test_the_rest_of_the_file_stays_and_earlier_arms_of_the_name_go(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    once = choose(monkeypatch, folder, "--best", "2")
    assert "recipe-5" not in once and once.endswith("train: {epochs: 1}   # stays\n")
    assert once.startswith(WORLD[: WORLD.index("  recipe-5")])
    assert choose(monkeypatch, folder, "--best", "2") == once
    assert "recipe-2" not in choose(monkeypatch, folder, "--best", "1")


@pytest.mark.parametrize(
    ("best", "message"),
    [("3", "'lp_ft \\+ er' has no strength of at least 4 values"), ("4", "3 compositions learn anything")],
)
def test_what_cannot_be_had_is_one_line(
    monkeypatch: pytest.MonkeyPatch, folder: Path, best: str, message: str
) -> None:
    with pytest.raises(SystemExit, match=message):
        choose(monkeypatch, folder, "--best", best)


def test_a_sweep_that_searched_no_composition_is_refused(
    monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    (folder / "sweep.yaml").write_text(WORLD)
    with pytest.raises(SystemExit, match="no arm of this sweep has `compose`"):
        choose(monkeypatch, folder, "--best", "1")
