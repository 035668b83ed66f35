from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cl_forget.config import Run
from cl_forget.diagnose import landscape
from cl_forget.errors import UserError
from cl_forget.simulation import simulate


def test_landscape_of_a_run(tiny_run: Callable[..., Run], tmp_path: Path) -> None:
    simulate(tiny_run(), tmp_path)
    measured = landscape(tmp_path, points=5, samples=8)
    assert set(measured) == {"pretrained", "tuned"}
    assert all(value is not None for values in measured.values() for value in values.values())
    assert measured["tuned"] != measured["pretrained"]
    assert json.loads((tmp_path / "landscape.json").read_text())["on"] == "colours"
    for model in measured:
        assert (tmp_path / f"landscape-{model}.png").read_bytes().startswith(b"\x89PNG")
    # At the centre stands the model's own loss, as the evaluation measured it.
    on_task = landscape(tmp_path, on="squares-3", points=3, samples=99)
    from cl_forget.result import Result

    last = Result.load(tmp_path).rows[-1].tasks["squares-3"].validation.loss
    assert on_task["tuned"]["loss"] == pytest.approx(last, rel=1e-5)


def test_landscape_of_nothing(tiny_run: Callable[..., Run], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no result"):
        landscape(tmp_path / "nowhere")
    simulate(tiny_run(), tmp_path / "run")
    with pytest.raises(UserError, match="no task or suite 'squares-9'"):
        landscape(tmp_path / "run", on="squares-9")
