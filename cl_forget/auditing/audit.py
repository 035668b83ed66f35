"""`cl-forget audit`: what was lost, how far the model moved, and in which part of it the damage sits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cl_forget.auditing.bench import Bench, choose_data, quality, range_of_difference
from cl_forget.auditing.pair import Pair, load_pair, run_behind
from cl_forget.auditing.records import Audit, Effect, Loss, Moved
from cl_forget.evaluation.items import Interval, Items, difference, interval
from cl_forget.evaluation.metrics import mean
from cl_forget.ground.environment import describe
from cl_forget.ground.files import StrPath
from cl_forget.ground.progress import track
from cl_forget.ground.records import Row, TaskScores
from cl_forget.ground.redact import redact
from cl_forget.models.options import TextOptions
from cl_forget.streams.base import Experience
from cl_forget.weights.layout import Layout, kind_of
from cl_forget.weights.merge import distances

PART_SAMPLES = 200
"""Samples per data set that each part is measured on, unless told otherwise."""


def audit(
    base: str | None,
    tuned: str,
    stream: Sequence[Any] = (),
    suites: Sequence[Any] = (),
    *,
    output: StrPath | None = None,
    limit: int | None = None,
    by_part: bool = True,
    part_samples: int = PART_SAMPLES,
    batch_size: int | None = None,
    text: TextOptions | None = None,
) -> Audit:
    """Measure what `tuned` lost against `base`, and where in the model it was lost.

    Without tasks and suites only the weights are compared. Otherwise each is measured on both models (test
    data), with KL to base, drift and CKA by depth; and every part that moved is put back to the base on its
    own, and tuned on its own, on validation data.

    Args:
        base: a model as an experiment file names it, or a path; None takes that of a run.
        tuned: a file or folder of weights, a LoRA adapter's folder, or the folder of a finished run.
        stream: the tasks it was tuned on or for, as an experiment file names them.
        suites: what should not have been lost.
        output: a folder for audit.json, tables, picture and page; None writes nothing.
        limit: samples per data set at most; None for all.
        by_part: whether to measure part by part.
        part_samples: samples per data set for that.
        batch_size: samples per forward pass; None for that of the tuned model's run, or 64.
        text: how a language model reads texts; by default as its run did.

    Raises:
        UserError: a model or data set cannot be found or read, or the two models do not fit each other.
    """
    # The data first: a name that is wrong there is found before any model is loaded.
    tasks, chosen = choose_data(run_behind(base, tuned), stream, suites)
    pair = load_pair(base, tuned, text)
    found = Audit(
        base=redact(pair.base_name),
        tuned=redact(pair.tuned_name),
        format=pair.tuned.kind,
        environment=describe(),
        **_moved(pair),
    )
    if tasks or chosen:
        pair.add_tasks(tasks)
        pair.load()
        bench = Bench(pair, tasks, chosen, batch_size, limit)
        before, base_items = bench.row(None, lambda _: 0.0), bench.items("test")
        after, tuned_items = bench.row("tuned", lambda _: 1.0), bench.items("test")
        found.losses = losses(tasks, chosen, before, after, {"base": base_items, "tuned": tuned_items})
        found.drift = after.drift
        if by_part:
            _by_part(found, bench.limited(min(part_samples, limit or part_samples)))
    if output is not None:
        from cl_forget.auditing.output import write_audit

        write_audit(found, Path(output))
    return found


def _moved(pair: Pair) -> dict[str, list[Moved]]:
    """Weight distance by depth and by kind, read from the files tensor by tensor."""
    layout = Layout(pair.tuned.source.infos)
    by_group = distances(
        pair.base.source, pair.tuned.source, lambda n: (f"part {layout.part_of(n)}", f"kind {kind_of(n)}")
    )

    def records(prefix: str, names: Sequence[str]) -> list[Moved]:
        return [Moved(name=n, **vars(by_group[prefix + n])) for n in names if prefix + n in by_group]

    kinds = sorted(key.removeprefix("kind ") for key in by_group if key.startswith("kind "))
    return {
        "parts": [*records("", ["all"]), *records("part ", layout.parts)],
        "kinds": records("kind ", kinds),
    }


def losses(
    tasks: list[Experience],
    suites: list[Experience],
    before: Row,
    after: Row,
    items: Mapping[str, Mapping[str, Items]],
) -> list[Loss]:
    """Both models on every task and suite, test data; `items` of "base", "tuned" and any other model."""
    found = []
    for role, experiences in (("task", tasks), ("suite", suites)):
        for experience in experiences:
            base, tuned = _test(before, role, experience.name), _test(after, role, experience.name)
            ends = quality(base.test), quality(tuned.test)
            found.append(
                Loss(
                    name=experience.name,
                    role=role,
                    metric=experience.metric,
                    base=base.test,
                    tuned=tuned.test,
                    drop=None if None in ends else ends[0] - ends[1],  # type: ignore[operator]
                    ranges=_ranges(experience.name, items),
                )
            )
    return found


_COMPARED = {"drop": ("base", "tuned"), "change": ("repaired", "tuned")}


def _ranges(name: str, items: Mapping[str, Mapping[str, Items]]) -> dict[str, Interval]:
    """Of each model on one data set, and of the differences between them."""
    known = {model: of[name] for model, of in items.items() if name in of}
    alone = {model: interval(one) for model, one in known.items()}
    pairs = {
        key: difference(known[one], known[other])
        for key, (one, other) in _COMPARED.items()
        if one in known and other in known
    }
    return alone | pairs


def _test(row: Row, role: str, name: str) -> TaskScores:
    return (row.tasks if role == "task" else row.suites)[name]


def _by_part(found: Audit, bench: Bench) -> None:
    """Fill in the two ends and the effect of every part that moved."""
    found.base_point, whole = bench.point(lambda _: 0.0), bench.measure(lambda _: 1.0)
    found.tuned_point = whole.point
    parts = moved_parts(bench.pair)
    layout = bench.pair.layout

    def only(part: str, inside: float) -> Callable[[str], float]:
        return lambda name: inside if layout.part_of(name) == part else 1.0 - inside

    for part in track(parts, "part by part", len(parts)):
        restored, alone = bench.measure(only(part, 0.0)), bench.point(only(part, 1.0))
        ranges = {
            "recovered": range_of_difference(restored.items, whole.items, whole.kept),
            "given_up": range_of_difference(whole.items, restored.items, whole.groups["speciality"]),
        }
        found.effects.append(
            Effect(
                part=part,
                restored=restored.point,
                alone=alone,
                recovered=_difference(restored.point.kept, whole.point.kept),
                given_up=_difference(whole.point.speciality, restored.point.speciality),
                ranges={key: found for key, found in ranges.items() if found is not None},
            )
        )


def moved_parts(pair: Pair) -> list[str]:
    """The parts, input to output, in which some tensor differs between base and tuned."""
    moved = {pair.layout.part_of(name) for name in pair.moved_names()}
    return [part for part in pair.layout.parts if part in moved]


def _difference(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other


def mean_drop(found: Audit, role: str) -> float | None:
    """The mean drop over the tasks, or over the suites."""
    return mean([loss.drop for loss in found.losses if loss.role == role])
