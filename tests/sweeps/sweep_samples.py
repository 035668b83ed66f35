"""A sweep that takes seconds, and what is compared of its results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cl_forget.comparison.records import Result

FIELDS: dict[str, Any] = {
    "name": "small",
    "model": "tiny-clip",
    "stream": ["squares", "colour-probe"],
    "suites": ["colours"],
    "methods": {"WiSE-FT": ["wise_ft"], "L2-SP": ["l2_sp"]},
    "space": {"wise_ft.alpha": [0.25, 0.5, 0.75], "l2_sp.strength": [0.01, 0.1]},
    "train": {"epochs": 1, "batch_size": 8, "lr": 1e-3},
}

CLOCK = ("train_seconds", "evaluation_seconds", "peak_memory_mb", "frozen_samples")


def plain_numbers(result: Result | Path) -> dict[str, Any]:
    """Everything a result says, except how long it took and where."""
    found = Result.load(result) if isinstance(result, Path) else result
    plain = found.model_dump(mode="json", exclude={"environment"})
    for row in plain["rows"]:
        for key in CLOCK:
            row["cost"].pop(key)
    return plain
