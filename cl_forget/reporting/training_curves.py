"""How the training went, step by step, as pure data: from the runs' own event logs, with or without W&B."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import ceil
from pathlib import Path

from cl_forget.comparison.comparison import Comparison
from cl_forget.comparison.measures import Frame, Measure
from cl_forget.comparison.records import Result
from cl_forget.evaluation.metrics import mean
from cl_forget.ground.records import Row, TaskScores
from cl_forget.reporting.specification import Curves, Figure
from cl_forget.tracking.steps import TERM, Window, read_windows

EVENTS = "events.jsonl"
POINTS, FEWEST_POINTS = 120, 24
"""Points of a run's curves at most, and however many runs there are."""

NUMBERS = 150_000
"""Numbers that all curves of a page together may have, about 1 MiB of it: with more runs, each has fewer points."""

_TYPICAL = 6  # quantities that a run has at every step

AFTER = ("validation_speciality", "validation_generality", "validation_kl")
"""The measures that are taken after each stage and not at every step."""

_WITHOUT = (
    "An arm without a loss took no steps of its own: a post-hoc method, for one, edits the weights that another "
    "trained."
)

Point = tuple[int, dict[str, float]]


def training_curves(comparison: Comparison, folders: Mapping[tuple[str, int], Path]) -> Figure | None:
    """Loss and its terms, learning rate, gradient norm and the distance to the base along the optimiser steps.

    Args:
        comparison: the runs.
        folders: (method, seed) -> the run's folder with its event log.

    Returns:
        None where no log is at hand.
    """
    width = window_width([result.rows[-1].cost.steps for result in comparison.results])
    windows = {
        (result.method, result.seed): read_windows(folders[result.method, result.seed] / EVENTS, width)
        for result in comparison.results
        if (result.method, result.seed) in folders
    }
    logged = {key: own for key, own in windows.items() if own}
    if not logged:
        return None
    points = {
        (result.method, result.seed): _points(result, windows.get((result.method, result.seed), []))
        for result in comparison.results
    }
    names = {name for own in points.values() for _, values in own for name in values}
    several = any(name.startswith(TERM) and name != f"{TERM}task" for name in names)
    if not several:  # the task's loss is the loss
        names.discard(f"{TERM}task")
    return Curves(
        name="training",
        title="How did the training go?",
        how_to_read=_how_to_read(width, comparison.several_seeds),
        measures=tuple(measure for measure in _measures(names) if measure.name in names),
        data=_frame(points, names),
        stages={method: _stages(own) for (method, _), own in reversed(logged.items())},
        after=tuple(name for name in AFTER if name in names),
        notes=(_WITHOUT,) if len(logged) < len(points) else (),
    )


def window_width(steps: Sequence[int]) -> int:
    """How many steps are averaged into one point, from how many steps each run has."""
    room = NUMBERS // (_TYPICAL * max(1, sum(count > 0 for count in steps)))
    return max(1, ceil(max(steps, default=1) / min(POINTS, max(FEWEST_POINTS, room))))


def _how_to_read(width: int, several_seeds: bool) -> str:
    sentences = [
        "From the first optimiser step to the last, task by task: a dotted line ends a task.",
        "Every step is a point."
        if width == 1
        else f"A point is the mean of {width} neighbouring steps of one task, so that single spikes are flattened; "
        f"{EVENTS} of a run has every step.",
    ]
    if several_seeds:
        sentences.append("Thick lines are means over seeds, thin ones the seeds.")
    sentences.append("Smoothing starts anew with each task.")
    return " ".join(sentences)


def _measures(names: Iterable[str]) -> list[Measure]:
    terms = sorted(name.removeprefix(TERM) for name in names if name.startswith(TERM))
    return [
        Measure("loss", "Loss", "number", "the whole objective of a step: the task's loss and every term", "lower"),
        *(
            Measure(
                f"{TERM}{name}",
                "Task loss" if name == "task" else f"Term of {name}",
                "number",
                "cross-entropy on the task, nats" if name == "task" else f"what {name} adds to the loss",
                "lower",
            )
            for name in sorted(terms, key=lambda name: (name != "task", name))
        ),
        Measure("lr", "Learning rate", "number", "of the step"),
        Measure("norm", "Gradient norm", "number", "L2 norm of the gradient of the whole objective, before clipping"),
        Measure(
            "kl_to_base",
            "KL to base while training",
            "nats",
            "KL(p_θ0 ‖ p_θ) on a few validation samples of the first suite, every `track.kl_every` steps",
            "lower",
        ),
        Measure(
            "validation_speciality",
            "Validation speciality",
            "percent",
            "mean accuracy over all tasks of the stream on validation data, after each stage",
            "higher",
        ),
        Measure(
            "validation_generality",
            "Validation generality",
            "percent",
            "mean accuracy over the suites on validation data, after each stage",
            "higher",
        ),
        Measure(
            "validation_kl",
            "KL to base after each task",
            "nats",
            "mean over the suites (without suites, the tasks) of KL(p_θ0 ‖ p_θ) on validation data, after each stage",
            "lower",
        ),
    ]  # fmt: skip


def _points(result: Result, windows: Sequence[Window]) -> list[Point]:
    """The run's numbers by optimiser step, those after a stage at its last step."""
    found: dict[int, dict[str, float]] = {window.last: dict(window.values) for window in windows}
    if result.rows[-1].cost.steps:  # else nothing was trained, and every row would stand at step 0
        for row in result.rows:
            found.setdefault(row.cost.steps, {}).update(_after(row))
    return sorted(found.items())


def _after(row: Row) -> dict[str, float]:
    def over(scores: Iterable[TaskScores], field: str) -> float | None:
        known = [value for one in scores if (value := getattr(one.validation, field)) is not None]
        return mean(known) if known else None  # a suite measured by perplexity has no accuracy

    values = (
        over(row.tasks.values(), "accuracy"),
        over(row.suites.values(), "accuracy"),
        over((row.suites or row.tasks).values(), "kl_to_base"),
    )
    return {name: value for name, value in zip(AFTER, values, strict=True) if value is not None}


def _stages(windows: Sequence[Window]) -> tuple[tuple[str, int], ...]:
    return tuple({window.stage: window.last for window in windows}.items())


def _frame(points: Mapping[tuple[str, int], Sequence[Point]], names: set[str]) -> Frame:
    """One entry per run, step and measure, in an order that the page can pack (see `_pivoted` in html/render.py)."""
    entries = list(_entries(points, names))
    ranks: dict[str, int] = {}
    for _, _, _, name, _ in entries:
        ranks.setdefault(name, len(ranks))
    places = {place: k for k, place in enumerate(dict.fromkeys(entry[:3] for entry in entries))}
    entries.sort(key=lambda entry: (places[entry[:3]], ranks[entry[3]]))
    columns = ("method", "seed", "step", "measure", "value")
    return {column: [entry[k] for entry in entries] for k, column in enumerate(columns)}


def _entries(
    points: Mapping[tuple[str, int], Sequence[Point]], names: set[str]
) -> Iterator[tuple[str, int, int, str, float]]:
    for (method, seed), own in points.items():
        for step, values in own:
            for name, value in values.items():
                if name in names:  # five digits: more would be most of the page, and nobody could see them
                    yield method, seed, step, name, float(f"{value:.5g}")
