"""Each figure and table of the report as pure data, by one pure function; None where nothing was measured."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from cl_forget.comparison.comparison import Comparison
from cl_forget.comparison.item_errors import item_errors
from cl_forget.comparison.measures import PRETRAINED, Frame, Measure
from cl_forget.comparison.observations import (
    COST_MEASURES,
    collect,
    curve_values,
    fold,
    headline_measures,
    run_name,
)
from cl_forget.evaluation import metrics
from cl_forget.evaluation.definitions import DEFINITIONS
from cl_forget.evaluation.depths import BESIDE, depth_name
from cl_forget.reporting.numbers import formula_text, listed
from cl_forget.reporting.specification import Bars, Figure, Lines, Listing, Matrix, Tradeoff


def tradeoff(comparison: Comparison) -> Figure | None:
    """Speciality against generality (or the nearest to it that was measured), with every knob's curve."""
    measures = headline_measures(comparison.tasks, comparison.suites)
    data = comparison.observations(measures, pretrained=True)
    known = set(data.get("measure", []))
    y = next((name for name in ("generality", "delta_lp", "bwt") if name in known), None)
    if y is None or "speciality" not in known:
        return None
    data["knob"] = data["setting"] = [None] * len(data["method"])
    curves = _curves(comparison, measures)
    sentences = [
        "Up and to the right is better: right is more accuracy on the new tasks, up is more of what the model could "
        "do before."
    ]
    if comparison.several_seeds:
        sentences.append(f"Large markers are means with their {comparison.spread}, dots are seeds.")
    if curves:
        shading = f", its shading the {comparison.spread}" if comparison.several_seeds else ""
        sentences.append(f"A line is one fine-tune with a knob turned{shading}.")
    sentences.append("On the grey stair no other point is better on both.")
    return Tradeoff(
        name="tradeoff",
        title="What generality does the speciality cost?",
        how_to_read=" ".join(sentences),
        measures=tuple(measure for measure in measures if measure.name in known),
        data={name: data[name] + curves.get(name, []) for name in data},
        folded=fold({name: data[name] + curves.get(name, []) for name in data}),
        x="speciality",
        y=y,
        notes=_knob_notes(comparison),
    )


def _curves(comparison: Comparison, measures: Sequence[Measure]) -> Frame:
    return collect(
        (
            {
                "method": result.method,
                "seed": result.seed,
                "measure": measure.name,
                "knob": f"{curve.mitigation}.{curve.knob}",
                "setting": point.value,
            },
            values.get(measure.name),
        )
        for result in comparison.results
        for curve in result.curves
        for point in curve.points
        for values in [curve_values(result, point)]
        for measure in measures
    )


def _knob_notes(comparison: Comparison) -> tuple[str, ...]:
    """What the numbers along the curves are; one sentence per knob."""
    methods: dict[str, list[str]] = {}
    for result in comparison.results:
        for curve in result.curves:
            turned = methods.setdefault(
                f"{curve.knob} of {curve.mitigation}, {formula_text(curve.formula)}", []
            )
            if result.method not in turned:
                turned.append(result.method)
    return tuple(f"Numbers along the line of {listed(names)}: {knob}." for knob, names in methods.items())


def accuracy_matrix(comparison: Comparison) -> Figure:
    """Accuracy on every task and suite after every stage, per method."""
    tasks, suites = comparison.tasks, comparison.suites
    rows = (PRETRAINED, *(f"after {name}" for name in tasks))

    def entries() -> Iterable[tuple[dict[str, Any], float | None]]:
        for result in comparison.results:
            grids = (
                (tasks, metrics.matrix(result.rows, tasks)),
                (suites, metrics.suite_matrix(result.rows, tasks, suites)),
            )
            for names, grid in grids:
                for j, row in enumerate(rows):
                    for i, column in enumerate(names):
                        keys = {"method": result.method, "seed": result.seed, "measure": "accuracy"}
                        yield {**keys, "row": row, "column": column}, _known(grid[j, i])

    data = collect(entries())
    return Matrix(
        name="accuracy-matrix",
        title="What does the model know after each task?",
        how_to_read="One grid per method, accuracy in %: each line is the model after one more task, each "
        "column a task (left) or a suite nothing was trained on (right). Read down a column: fading is "
        "forgetting, rising before the framed cell is transfer. The framed cell is the task just trained.",
        measures=(Measure("accuracy", "Accuracy", "percent", "test accuracy after each stage", "higher"),),
        data=data,
        folded=fold(data),
        rows=rows,
        columns=(*tasks, *suites),
        tasks=tuple(tasks),
    )


def retention(comparison: Comparison) -> Figure | None:
    """Generality, all of it and by suite, after each stage."""
    tasks, suites = comparison.tasks, comparison.suites
    if not suites:
        return None
    headlines = {m.name: m for m in headline_measures(tasks, suites)}
    names = ["generality", *(f"suite:{name}" for name in suites)] if len(suites) > 1 else ["generality"]
    perplexities = [f"perplexity:{name}" for name in suites]
    stages = (PRETRAINED, *tasks)

    def entries() -> Iterable[tuple[dict[str, Any], float | None]]:
        for result in comparison.results:
            right = metrics.suite_matrix(result.rows, tasks, suites)
            perplexity = metrics.suite_matrix(result.rows, tasks, suites, field="perplexity")
            graded = np.isnan(perplexity[0])  # the others are measured by perplexity, not by accuracy
            for stage, row, read in zip(stages, right, perplexity, strict=True):
                values = [metrics.mean(row[graded]), *map(_known, row)][: len(names)]
                for name, value in zip((*names, *perplexities), (*values, *map(_known, read)), strict=True):
                    yield {"method": result.method, "seed": result.seed, "measure": name, "x": stage}, value

    data = collect(entries())
    known = [name for name in (*names, *perplexities) if name in data.get("measure", ())]
    if not known:
        return None
    return Lines(
        name="retention",
        title="When is generality lost?",
        how_to_read="Accuracy on what was never trained, after each task in turn, starting from the "
        "pre-trained model: a flat line forgets nothing."
        + (f" Shading is the {comparison.spread}." if comparison.several_seeds else ""),
        measures=tuple(replace(headlines[name], definition=_along(headlines[name])) for name in known),
        data=data,
        folded=fold(data),
        axis="after task",
        places=dict.fromkeys(known, stages),
    )


def _along(measure: Measure) -> str:
    if measure.name == "generality":
        return "mean accuracy over the suites after each stage"
    if measure.name.startswith("perplexity:"):
        return f"{measure.title} after each stage; 1 is certainty"
    return f"accuracy on {measure.title} after each stage"


def transfer(comparison: Comparison) -> Figure | None:
    """Backward and forward transfer and forgetting within the stream."""
    return _bars(
        comparison,
        "transfer",
        "What do the tasks do to each other?",
        "In percentage points. Backward transfer below 0: later tasks erased earlier ones. Forward transfer "
        "above 0: earlier tasks helped later ones before these were trained."
        + (f" Dots are seeds, lines the {comparison.spread}." if comparison.several_seeds else ""),
        (
            Measure("bwt", "Backward transfer", "change", DEFINITIONS["bwt"], "higher"),
            Measure("fwt", "Forward transfer", "change", DEFINITIONS["fwt"], "higher"),
            Measure(
                "forgetting_max",
                "Forgetting (from the best)",
                "points",
                DEFINITIONS["forgetting_max"],
                "lower",
            ),
        ),
    )


def probes(comparison: Comparison) -> Figure | None:
    """Δ_LP, overall and by probe, and on the tasks still to come."""
    names = list(dict.fromkeys(key for values in comparison.values for key in values))
    single = [
        Measure(name, name.removeprefix("probe:"), "change", DEFINITIONS["delta_lp_by_probe"], "higher")
        for name in names
        if name.startswith("probe:")
    ]
    pending = [
        Measure(
            name,
            f"{name.removeprefix('pending:')} (before its turn)",
            "change",
            DEFINITIONS["delta_lp_before_tuning_by_task"],
            "higher",
        )
        for name in names
        if name.startswith("pending:")
    ]
    overall = Measure("delta_lp", "Δ_LP, mean over probes", "change", DEFINITIONS["delta_lp"], "higher")
    return _bars(
        comparison,
        "probes",
        "Are concepts lost, or only out of reach?",
        "Change in the accuracy of a linear probe on the model's features, in percentage points, on tasks "
        "the model was not tuned on. Below 0 the features themselves have forgotten; no new head would "
        "bring it back.",
        ([overall] if len(single) > 1 else []) + single + pending,
    )


def drift(comparison: Comparison) -> Figure | None:
    """How far features and weights have moved from the pre-trained model, by depth."""
    measures = (
        Measure(
            "feature_drift",
            "Feature drift",
            "number",
            "mean squared distance of the token-averaged features after each block to the pre-trained ones, over "
            "their mean squared norm",
            "lower",
        ),
        Measure(
            "cka",
            "Similarity of features (CKA)",
            "number",
            "linear CKA of the features after each block with the pre-trained ones",
            "higher",
        ),
        Measure(
            "weight_distance",
            "Weight distance",
            "number",
            "how far each block's parameters have moved, L2; 'rest' is what lies in no block; heads that "
            "the pre-trained model lacks are left out",
            "lower",
        ),
    )

    def entries() -> Iterable[tuple[dict[str, Any], float | None]]:
        for result in comparison.results:
            for measure in measures:
                for depth, value in getattr(result.rows[-1].drift, measure.name).items():
                    if (measure.name, depth) != ("weight_distance", "all"):
                        keys = {"method": result.method, "seed": result.seed, "measure": measure.name}
                        yield {**keys, "x": depth_name(measure.name, depth)}, value

    data = collect(entries())
    if not data:
        return None
    depths: dict[str, dict[str, None]] = {}
    for name, depth in zip(data["measure"], data["x"], strict=True):
        depths.setdefault(name, {})[depth] = None
    return Lines(
        name="drift",
        title="Where in the model did it happen?",
        how_to_read="From the input (left) to the output (right), the final model against the pre-trained "
        "one. Drift and distance: 0 is unchanged. CKA: 1 is unchanged up to rotation and scale.",
        measures=tuple(measure for measure in measures if measure.name in depths),
        data=data,
        folded=fold(data),
        axis="depth",
        by_depth=True,
        beside=BESIDE,
        places={name: tuple(sorted(found, key=BESIDE.__contains__)) for name, found in depths.items()},
    )


def reliability(comparison: Comparison) -> Figure | None:
    """Shifted, hard and ambiguous samples of the tasks."""
    what = {
        "ood_accuracy": "accuracy where the data look different",
        "hardest_decile_accuracy": "accuracy on the tenth of the samples that were hardest for the pre-trained model",
        "ece": "how far confidence and accuracy lie apart (0 is calibrated)",
        "kl_to_base": "how far the answers have moved from the pre-trained model's (0 is not at all)",
    }
    known = [text for name, text in what.items() if any(v.get(name) is not None for v in comparison.values)]
    return _bars(
        comparison,
        "reliability",
        "Beyond the average sample",
        f"On the tasks' own classes: {listed(known)}." if known else "",
        (
            Measure("ood_accuracy", "Shifted accuracy", "percent", DEFINITIONS["ood_accuracy"], "higher"),
            Measure(
                "hardest_decile_accuracy",
                "Hardest tenth",
                "percent",
                DEFINITIONS["hardest_decile_accuracy"],
                "higher",
            ),
            Measure("ece", "Calibration error", "percent", DEFINITIONS["ece"], "lower"),
            Measure("kl_to_base", "KL to base", "nats", DEFINITIONS["kl_to_base"], "lower"),
        ),
    )


def cost(comparison: Comparison) -> Figure | None:
    """Seconds, passes, memory and parameters."""
    return _bars(
        comparison,
        "cost",
        "What does it cost?",
        "Less is better. Passes count samples; a frozen model's outputs that came from the cache cost "
        "nothing.",
        [measure for measure in COST_MEASURES if comparison.control or measure.name != "relative_cost"],
    )


ERRORS = " In brackets: the standard error over test items."


def error_columns(errors: Sequence[Mapping[str, float]], measures: Sequence[Measure]) -> Frame:
    """A column `<measure>_error` for each measure of which some run has one.

    Args:
        errors: of each line, measure -> standard error over items.
        measures: those that are shown.
    """
    found = {f"{m.name}_error": [of_line.get(m.name) for of_line in errors] for m in measures}
    return {name: column for name, column in found.items() if any(value is not None for value in column)}


def listing(comparison: Comparison) -> Figure:
    """One line per run."""
    headlines = headline_measures(comparison.tasks, comparison.suites)
    known = {name for values in comparison.values for name, value in values.items() if value is not None}
    measures = tuple(measure for measure in headlines if measure.name in known)
    data: Frame = {
        "run": [run_name(result) for result in comparison.results],
        "method": [result.method for result in comparison.results],
        "seed": [result.seed for result in comparison.results],
    }
    for measure in measures:
        data[measure.name] = [values.get(measure.name) for values in comparison.values]
    errors = error_columns([item_errors(result) for result in comparison.results], measures)
    data |= errors
    return Listing(
        name="runs",
        title="Every run",
        how_to_read="One line per method and seed. Press a name for the command that made the run, its "
        f"settings, versions and commit.{ERRORS if errors else ''}",
        measures=measures,
        data=data,
        texts=("run",),
    )


def _bars(
    comparison: Comparison, name: str, title: str, how_to_read: str, measures: Sequence[Measure]
) -> Figure | None:
    data = comparison.observations(measures)
    if not data:
        return None
    known = set(data["measure"])
    return Bars(
        name=name,
        title=title,
        how_to_read=how_to_read,
        measures=tuple(m for m in measures if m.name in known),
        data=data,
        folded=fold(data),
    )


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
