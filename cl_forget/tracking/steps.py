"""A run's optimiser steps as its event log has them, averaged over windows of steps so that any run can be drawn."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

TERM = "term:"
"""Before the name of a term of the objective: `term:task` is the task's own loss, `term:ldifs` what LDIFS adds."""


@dataclass(frozen=True)
class Window:
    """Neighbouring steps of one stage.

    Attributes:
        stage: the stage trained.
        last: the last of the steps, counted from 1 since the start of the run.
        values: the mean of each quantity over the steps that have it: `loss`, `term:<name>`, `lr`, `norm`,
            `kl_to_base`. One that was not finite at any of the steps is left out.
    """

    stage: str
    last: int
    values: dict[str, float]


def read_windows(file: Path, width: int) -> list[Window]:
    """The steps of an event log, in windows that never reach from one stage into the next.

    Args:
        file: `events.jsonl` of a run. One that is missing, as of a result without its run, has no steps; a line
            that is no record of a step is passed over.
        width: steps per window; the last one of a stage may be shorter.
    """
    found: list[Window] = []
    steps: list[dict[str, float]] = []
    stage, last = "", 0
    for record in _steps(file):
        name = str(record.get("stage"))
        if steps and (name != stage or len(steps) == width):
            found.append(Window(stage, last, _means(steps)))
            steps = []
        stage, last = name, record.get("run_step", last + 1)
        steps.append(_values(record))
    return [*found, Window(stage, last, _means(steps))] if steps else found


def _steps(file: Path) -> Iterator[dict[str, Any]]:
    try:
        log = file.open("rb")
    except OSError:
        return
    with log:
        for line in log:
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                continue  # cut off by a kill
            if isinstance(record, dict) and "loss" in record:
                yield record


def _values(record: Mapping[str, Any]) -> dict[str, float]:
    terms = record.get("terms")
    terms = {f"{TERM}{name}": value for name, value in terms.items()} if isinstance(terms, dict) else {}
    found = {name: record.get(name) for name in ("loss", "lr", "norm", "kl_to_base")} | terms
    return {name: float(value) for name, value in found.items() if isinstance(value, int | float)}


def _means(steps: list[dict[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for values in steps for name in values)
    own = {name: [values[name] for values in steps if name in values] for name in names}
    means = {name: sum(values) / len(values) for name, values in own.items()}
    return {name: mean for name, mean in means.items() if isfinite(mean)}
