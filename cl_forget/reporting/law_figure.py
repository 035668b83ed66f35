"""The law panel of a sweep's page: does a method matter beyond how far it moves the model?"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from cl_forget.comparison.law import Point, curve, explained, residuals
from cl_forget.comparison.measures import Cell, Frame, Measure
from cl_forget.comparison.settings import setting_label
from cl_forget.comparison.statistics import Estimate, estimate
from cl_forget.comparison.trials_view import SweepView
from cl_forget.comparison.varied import spans_decades, tuned
from cl_forget.evaluation.definitions import DEFINITIONS
from cl_forget.reporting.numbers import number
from cl_forget.reporting.panels import Law

DISTANCES = (
    Measure("weight_distance", "Distance of the weights", "number", DEFINITIONS["weight_distance"], "lower"),
    Measure("kl_to_base", "KL to base", "nats", DEFINITIONS["kl_to_base"], "lower"),
)
BEYOND = Measure(
    "beyond",
    "Beyond the law",
    "change",
    "how much more a method keeps than one falling curve through all other methods says for the distance it has "
    "moved: mean over its settings that lie within the others' distances, and over seeds",
    "higher",
)
STEPS = 80
"""Points that a curve is drawn through."""


def law(view: SweepView) -> Law | None:
    """What is left against how far the model moved, for every distance that was measured of two methods or more."""
    known = {measure.name: measure for measure in view.measures}
    kept = known.get("retention") or known.get("generality")
    if kept is None:
        return None
    panels = {distance.name: _points(view, distance.name, kept.name) for distance in DISTANCES}
    panels = {name: points for name, points in panels.items() if len({point.arm for point in points}) > 1}
    if not panels:
        return None
    shown = [distance for distance in DISTANCES if distance.name in panels]
    fits = {name: _explained(points) for name, points in panels.items()}
    headings = {}
    for distance in shown:
        fit = fits[distance.name].mean
        told = "" if fit is None else f", R² {number(fit, 'ratio')}".replace("-", "−")
        headings[distance.name] = f"{kept.title} against {_within(distance)}{told}"
        headings[f"{distance.name}:beyond"] = f"What each method keeps beyond {_within(distance)}"
    return Law(
        name="law",
        title="Does the method matter beyond how far it moves?",
        how_to_read="Every setting by how far it moved the model and what is left, with the falling curve that "
        "fits all of them best. R² is how well each method is predicted by the curve through all others; near 1, "
        "moving less is all there is to a method. Beside it what a method keeps beyond the others' curve, with its "
        "95 % interval over seeds: right of 0 it is more than a small step. Test data.",
        measures=(kept, *shown, BEYOND),
        data=_frame(view, [kept, *shown]),
        panels=headings,
        y=kept.name,
        curves={name: _curve(points) for name, points in panels.items()},
        explained={name: _cell(fit) for name, fit in fits.items()},
        residuals={
            name: {arm: _cell(estimate(by_seed)) for arm, by_seed in residuals(points).items()}
            for name, points in panels.items()
        },
    )


def _within(distance: Measure) -> str:
    """Its title within a sentence."""
    title = distance.title
    return title[0].lower() + title[1:] if title[1].islower() else title


def _points(view: SweepView, distance: str, kept: str) -> list[Point]:
    found = []
    for method, trials in tuned(view.shown):
        for trial in trials:
            x, y = view.values[trial.id].get(distance), view.values[trial.id].get(kept)
            if x is not None and y is not None:
                found.append(Point(method, trial.seed, x, y))
    return found


def _explained(points: list[Point]) -> Estimate:
    return estimate(explained(points))


def _curve(points: Iterable[Point]) -> tuple[list[float], list[float]]:
    x, y = (np.array(values) for values in zip(*((p.x, p.y) for p in points), strict=True))
    between = np.geomspace if spans_decades(x.tolist()) else np.linspace
    at = np.unique(between(x.min(), x.max(), STEPS).clip(x.min(), x.max()))
    return at.tolist(), curve(x, y, at).tolist()


def _cell(found: Estimate) -> Cell:
    return Cell(found.mean, found.low, found.high, count=found.count)


def _frame(view: SweepView, measures: list[Measure]) -> Frame:
    trials = [trial for _, own in tuned(view.shown) for trial in own]
    frame: Frame = {
        "run": [trial.id for trial in trials],
        "method": [trial.method for trial in trials],
        "seed": [trial.seed for trial in trials],
        "setting": [setting_label(trial) or None for trial in trials],
    }
    return frame | {m.name: [view.values[trial.id].get(m.name) for trial in trials] for m in measures}
