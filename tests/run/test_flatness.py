from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_lm
from matplotlib.image import imread

from cl_forget.config.run import Run
from cl_forget.ground.errors import UserError
from cl_forget.run.flatness import gap, landscape
from cl_forget.run.simulate import simulate


def test_landscape_of_a_run(tiny_run: Callable[..., Run], tmp_path: Path) -> None:
    simulate(tiny_run(), tmp_path)
    measured = landscape(tmp_path, points=5, samples=8)
    assert set(measured) == {"pretrained", "tuned"}
    assert gap(tmp_path, samples=8) == pytest.approx(measured["tuned"]["sam_gap"], rel=1e-5)
    assert all(value is not None for values in measured.values() for value in values.values())
    assert measured["tuned"] != measured["pretrained"]
    assert json.loads((tmp_path / "landscape.json").read_text())["on"] == "colours"
    assert json.loads((tmp_path / "landscape.json").read_text())["models"] == measured
    assert imread(tmp_path / "landscape.png").shape[1] > 1400  # two planes
    # At the centre stands the model's own loss, as the evaluation measured it.
    on_task = landscape(tmp_path, on="squares-3", points=3, samples=99)
    from cl_forget.comparison.records import Result

    last = Result.load(tmp_path).rows[-1].tasks["squares-3"].validation.loss
    assert on_task["tuned"]["loss"] == pytest.approx(last, rel=1e-5)


def test_language_model_before_and_after_sam(tmp_path: Path) -> None:
    base = f"hf:{tiny_lm.folder(tmp_path / 'base')}"
    shared = {
        "model": base,
        "stream": {"sums": {"tasks": 1}},
        "suites": ["rhyme"],
        "train": {"epochs": 4, "lr": 5e-3},
    }
    plain = simulate(Run.parse(shared), tmp_path / "plain")
    sharp = Run.parse({**shared, "method": "SAM", "mitigations": [{"sam": 0.5}]})
    simulate(sharp, tmp_path / "sam")
    runs = [tmp_path / "plain", tmp_path / "sam"]
    measured = landscape(runs, points=3, radius=0.2, output=tmp_path / "out")
    assert list(measured) == ["pretrained", "full fine-tuning", "SAM"]
    assert all(value is not None for values in measured.values() for value in values.values())
    assert imread(tmp_path / "out" / "landscape.png").shape[1] > 2000  # three planes
    # At the centre stands the loss of the suite's validation data: mean over tokens, then over samples.
    for row, name in zip(plain.rows, measured, strict=False):
        assert measured[name]["loss"] == pytest.approx(row.suites["rhyme"].validation.loss, rel=1e-5)
    other = landscape(runs[:1], on="sums-1", points=3)
    assert list(other) == ["pretrained", "tuned"]
    simulate(Run.parse({**shared, "stream": {"sums": {"tasks": 2}}}), tmp_path / "two")
    with pytest.raises(UserError, match="another model or stream"):
        landscape([runs[0], tmp_path / "two"])


def test_landscape_of_nothing(tiny_run: Callable[..., Run], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no folder .*nowhere"):
        landscape(tmp_path / "nowhere")
    simulate(tiny_run(), tmp_path / "run")
    with pytest.raises(UserError, match="no task or suite 'squares-9'"):
        landscape(tmp_path / "run", on="squares-9")
