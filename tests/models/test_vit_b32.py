"""ViT-B-32 at 224 px, random weights: the code path real checkpoints take, one step per method."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny

from cl_forget.config.run import Run
from cl_forget.models import load_model
from cl_forget.run.simulate import simulate
from cl_forget.streams import STREAMS

METHODS: dict[str, list[object]] = {
    "full fine-tuning": [],
    "linear probe": ["linear_probe"],
    "LP-FT": ["lp_ft"],
    "L2-SP": ["l2_sp"],
    "LDIFS": ["ldifs"],
    "WiSE-FT": [{"wise_ft": 0.5}],
    "joint": ["joint"],
    "all that compose": ["lp_ft", "l2_sp", "ldifs", {"wise_ft": 0.5}],
}


def two_squares() -> list[tiny.Experience]:
    return [tiny.experience("large-squares", seed=5, classes=2, per_class=2)]


STREAMS.add("large-squares", "test_vit_b32:two_squares")


def test_random_weights_are_one_model() -> None:
    first, again = (load_model("open_clip:ViT-B-32/none").state_dict() for _ in range(2))
    assert all((first[name] == again[name]).all() for name in first)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_a_step_of_every_method(method: str, tmp_path: Path) -> None:
    run = Run.parse(
        {
            "model": "open_clip:ViT-B-32/none",
            "stream": "large-squares",
            "mitigations": METHODS[method],
            "train": {"epochs": 1, "batch_size": 4, "lr": 1e-5},
            "evaluate": {"curves": False},
        }
    )
    result = simulate(run, tmp_path)
    assert result.rows[-1].tasks["large-squares"].test.loss is not None
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert sum("loss" in event for event in events) == (0 if method == "linear probe" else 1)
