"""The figures and tables of a report as panels of W&B, which draws them from what the runs logged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from cl_forget.comparison.measures import PRETRAINED, Cell, Measure
from cl_forget.comparison.observations import lookup
from cl_forget.config.arms import OWN_SECTIONS
from cl_forget.evaluation.metrics import pareto_front
from cl_forget.mitigations import MITIGATIONS
from cl_forget.reporting.numbers import number
from cl_forget.reporting.panels import Law, Ledger, Shares, Slices
from cl_forget.reporting.panels import Panels as OwnPanels
from cl_forget.reporting.specification import (
    Bars,
    Curves,
    Figure,
    Knobs,
    Lines,
    Listing,
    Matrix,
    Parallel,
    Specification,
    Table,
    Tradeoff,
)
from cl_forget.reporting.tables import table_markdown
from cl_forget.reporting.wandb.runs import TrackedRun
from cl_forget.tracking.names import EXPERIENCE, STEP, key_of, step_key

WIDTH, HEIGHT = 12, 8
"""Of a panel, in a grid of 24 columns."""


@dataclass
class Panels:
    """What stands for one figure or table.

    Attributes:
        text: Markdown above the panels.
        panels: W&B's panels.
    """

    text: str
    panels: list[Any]


class Renderer:
    """Makes panels that show something: a quantity that no run has logged is left out.

    Args:
        specification: the report.
        runs: its runs in W&B.
    """

    def __init__(self, specification: Specification, runs: Sequence[TrackedRun]) -> None:
        self.specification, self.runs = specification, runs
        self.known = {key for run in runs for key, value in run.summary.items() if value is not None}

    def render(self, item: Figure | Table) -> Panels:
        """Panels for one item; only text where W&B has nothing to draw it from."""
        if isinstance(item, Table):
            return Panels(table_markdown(item), [])
        panels = self._drawn(item)
        notes = [item.how_to_read, *item.notes, *([self._front(item)] if isinstance(item, Tradeoff) else [])]
        if isinstance(item, Shares):
            notes.append(shares_markdown(item))
        if not panels and isinstance(item, OwnPanels) and item.panels:
            notes.append("W&B has no panel for this; it is drawn in the HTML report.")
        elif not panels and not isinstance(item, Listing | Ledger | OwnPanels):
            notes.append("The runs in W&B have not logged what this figure shows; see the HTML report.")
        return Panels("\n\n".join(note for note in notes if note), panels)

    def _drawn(self, figure: Figure) -> list[Any]:
        draw: dict[type[Figure], Callable[[Any], list[Any]]] = {
            Knobs: self._knobs,
            Tradeoff: self._tradeoff,
            Parallel: self._parallel,
            Lines: self._lines,
            Bars: self._bars,
            Curves: self._curves,
            Matrix: self._matrix,
            Shares: self._shares,
            Slices: self._slices,
            Law: self._law,
        }
        # W&B lists the runs itself, and has no axis for what is left: times, workers, ranks, profiles.
        return draw.get(type(figure), lambda figure: [])(figure)

    def items(self) -> Panels | None:
        """The items behind the numbers, as the runs have logged them; None where none has."""
        from wandb_workspaces.reports import v2 as wr

        panels: list[Any] = []
        if "media/lost" in self.known:
            panels.append(
                wr.MediaBrowser(media_keys=["media/lost"], num_columns=6, layout=wr.Layout(0, 0, 24, 10))
            )
        if "tables/items" in self.known:
            panels.append(
                wr.WeavePanelSummaryTable(table_name="tables/items", layout=wr.Layout(0, 10, 24, 12))
            )
        text = (
            "Test items that the pre-trained model had right and that were lost after each experience, with what "
            "they are called now; below, what was said to each item after each experience."
        )
        return Panels(text, panels) if panels else None

    def columns(self) -> list[str]:
        """The columns of the runs' table: what the headline table shows."""
        table = self.specification.item("results")  # every report has it
        keys = [f"summary:{key}" for _, key in self._logged(table.measures)]
        return ["run:displayName", "config:method.value", "config:seed.value", *keys]

    # -- by kind ---------------------------------------------------------------------------------------
    def _tradeoff(self, figure: Tradeoff) -> list[Any]:
        from wandb_workspaces.reports import v2 as wr

        panels = []
        x, y = (self._one(figure.measure(name)) for name in (figure.x, figure.y))
        if x and y:
            panels.append(
                wr.ScatterPlot(title=figure.title, x=_summary(x), y=_summary(y), layout=self._layout(0))
            )
        drop = key_of("generality_drop")
        if x and drop in self.known:
            # W&B draws the best y so far from left to right: with what was lost on the horizontal axis, this
            # running maximum is the Pareto front.
            panels.append(
                wr.ScatterPlot(
                    title="Pareto front: most speciality for the generality lost",
                    x=_summary(drop),
                    y=_summary(x),
                    running_ymax=True,
                    layout=self._layout(1),
                )
            )
        items = (item for section in self.specification.sections for item in section.items)
        if not any(isinstance(item, Parallel) for item in items):
            outcomes = (figure.measure(name) for name in (figure.x, figure.y))
            panels += self._coordinates("Knobs and what they bring", outcomes, top=2 * HEIGHT)
        return panels

    def _front(self, figure: Tradeoff) -> str:
        """Which methods no other one beats on both axes, from the means over seeds."""
        means = lookup(figure.folded, "method", "measure", "setting")
        cells = [
            (
                method.name,
                *(means.get((method.name, axis, None), Cell(None)).mean for axis in (figure.x, figure.y)),
            )
            for method in self.specification.methods
            if method.name != PRETRAINED
        ]
        known = [(name, x, y) for name, x, y in cells if x is not None and y is not None]
        front = [known[i][0] for i in pareto_front([(x, y) for _, x, y in known])] if known else []
        return f"On the Pareto front: {', '.join(front)}." if front else ""

    def _parallel(self, figure: Parallel) -> list[Any]:
        return self._coordinates(figure.title, figure.measures)

    def _coordinates(self, title: str, outcomes: Iterable[Measure], top: int = 0) -> list[Any]:
        """A line per run through every knob at hand to what came of it."""
        from wandb_workspaces.reports import v2 as wr

        knobs, logged = [*sorted(self._knob_paths()), *self._varied()], self._logged(outcomes)
        if not knobs or not logged:
            return []
        columns = [
            wr.ParallelCoordinatesPlotColumn(metric=wr.Config(path), display_name=_short(path))
            for path in knobs
        ]
        columns += [
            wr.ParallelCoordinatesPlotColumn(metric=_summary(key), display_name=measure.title)
            for measure, key in logged
        ]
        layout = wr.Layout(0, top, 2 * WIDTH, HEIGHT)
        return [wr.ParallelCoordinatesPlot(title=title, columns=columns, layout=layout)]

    def _knobs(self, figure: Knobs) -> list[Any]:
        """For every knob, what was gained and what was kept along it."""
        logged = self._logged(figure.measure(name) for name in (figure.x, figure.y))
        pairs = [(path, measure, key) for path in sorted(self._knob_paths()) for measure, key in logged]
        return self._along(pairs)

    def _lines(self, figure: Lines) -> list[Any]:
        from wandb_workspaces.reports import v2 as wr

        if figure.by_depth:  # along the model, where W&B has no axis for
            return [
                self._bar(number, measure.title, [key for key in keys if key in self.known])
                for number, (measure, keys) in enumerate(self._by_depth(figure))
                if any(key in self.known for key in keys)
            ]
        return [
            wr.LinePlot(
                title=measure.title,
                x=EXPERIENCE,
                y=[key],
                title_x="tasks trained",
                groupby=wr.Config("method"),
                groupby_aggfunc="mean",
                groupby_rangefunc="minmax",
                layout=self._layout(number),
            )
            for number, (measure, key) in enumerate(self._logged(figure.measures))
        ]

    def _curves(self, figure: Curves) -> list[Any]:
        from wandb_workspaces.reports import v2 as wr

        keys = [(m, key) for m in figure.measures if (key := step_key(m.name)) in self.known]
        return [
            wr.LinePlot(
                title=measure.title,
                x=STEP,
                y=[key],
                title_x="optimiser steps",
                groupby=wr.Config("method"),
                groupby_aggfunc="mean",
                groupby_rangefunc="minmax",
                layout=self._layout(number),
            )
            for number, (measure, key) in enumerate(keys)
        ]

    def _by_depth(self, figure: Lines) -> Iterable[tuple[Measure, list[str]]]:
        for measure in figure.measures:
            yield measure, [f"{measure.name}/{depth}" for depth in figure.places.get(measure.name, ())]

    def _shares(self, figure: Shares) -> list[Any]:
        """W&B's own importances of the configuration for each objective; ours stand above as a table."""
        from wandb_workspaces.reports import v2 as wr

        return [
            wr.ParameterImportancePlot(with_respect_to=key, layout=self._layout(number))
            for number, (_, key) in enumerate(self._logged(figure.measures))
        ]

    def _slices(self, figure: Slices) -> list[Any]:
        """Every field that a method varied against each objective."""

        knobs = self._knob_paths()  # which stand in a figure of their own
        fields = dict.fromkeys(axis["name"] for axes in figure.axes.values() for axis in axes)
        pairs = [
            (path, measure, key)
            for path in map(self._path, fields)
            if path is not None and path not in knobs
            for measure, key in self._logged(figure.measures)
        ]
        return self._along(pairs)

    def _along(self, pairs: Sequence[tuple[str, Measure, str]]) -> list[Any]:
        """A scatter plot for each (path of a field, measure, where W&B has it)."""
        from wandb_workspaces.reports import v2 as wr

        return [
            wr.ScatterPlot(
                title=f"{measure.title} along {_short(path)}",
                x=wr.Config(path),
                y=_summary(key),
                layout=self._layout(number),
            )
            for number, (path, measure, key) in enumerate(pairs)
        ]

    def _law(self, figure: Law) -> list[Any]:
        """What is left against each distance."""
        from wandb_workspaces.reports import v2 as wr

        kept = self._one(figure.measure(figure.y))
        distances = self._logged(figure.measure(name) for name in figure.curves) if kept else []
        return [
            wr.ScatterPlot(
                title=f"{figure.measure(figure.y).title} against {measure.title}",
                x=_summary(key),
                y=_summary(str(kept)),
                layout=self._layout(number),
            )
            for number, (measure, key) in enumerate(distances)
        ]

    def _path(self, field: str) -> str | None:
        """Where a varied field stands in the runs' configuration; None if it does not."""
        for path in (f"mitigation.{field}", field):
            if any(_held(run.config, path) for run in self.runs):
                return path
        return None

    def _bars(self, figure: Bars) -> list[Any]:
        logged = self._logged(figure.measures)
        return [self._bar(number, measure.title, [key]) for number, (measure, key) in enumerate(logged)]

    def _bar(self, number: int, title: str, keys: list[str]) -> Any:
        from wandb_workspaces.reports import v2 as wr

        return wr.BarPlot(
            title=title,
            metrics=[*keys],
            groupby=wr.Config("method"),
            groupby_aggfunc="mean",
            groupby_rangefunc="minmax",
            layout=self._layout(number),
        )

    def _matrix(self, figure: Matrix) -> list[Any]:
        from wandb_workspaces.reports import v2 as wr

        panels: list[Any] = []
        if "pictures/accuracy_matrix" in self.known:
            panels.append(
                wr.MediaBrowser(
                    title=figure.title,
                    media_keys=["pictures/accuracy_matrix"],
                    num_columns=2,
                    layout=wr.Layout(0, 0, 24, 12),
                )
            )
        if "tables/accuracy_test" in self.known:
            panels.append(
                wr.WeavePanelSummaryTable(
                    table_name="tables/accuracy_test", layout=wr.Layout(0, 12, 24, HEIGHT)
                )
            )
        return panels

    # -- what there is ---------------------------------------------------------------------------------
    def _one(self, measure: Measure) -> str | None:
        key = key_of(measure.name)
        return key if key in self.known else None

    def _logged(self, measures: Iterable[Measure]) -> list[tuple[Measure, str]]:
        pairs = ((measure, self._one(measure)) for measure in measures)
        return [(measure, key) for measure, key in pairs if key is not None]

    def _knob_paths(self) -> set[str]:
        """Configuration paths of the knobs of the methods at hand, as they are in the runs."""
        return {
            f"mitigation.{name}.{knob}"
            for run in self.runs
            for name, fields in (run.config.get("mitigation") or {}).items()
            if name in MITIGATIONS and (knob := MITIGATIONS.get(name).knob) and knob in fields
        }

    def _varied(self) -> list[str]:
        """Paths of the fields of training and texts that a sweep has varied, as its settings say."""
        items = (item for section in self.specification.sections for item in section.items)
        fields = {
            axis["name"]
            for item in items
            if isinstance(item, Slices)
            for own in item.axes.values()
            for axis in own
        }
        outer = sorted(name for name in fields if name.partition(".")[0] in OWN_SECTIONS)
        return [path for name in outer if (path := self._path(name)) is not None]

    def _layout(self, number: int) -> Any:
        from wandb_workspaces.reports import v2 as wr

        return wr.Layout(x=WIDTH * (number % 2), y=HEIGHT * (number // 2), w=WIDTH, h=HEIGHT)


def _held(config: Any, path: str) -> bool:
    """Whether a nested configuration has a value at a dotted path."""
    for part in path.split("."):
        config = config.get(part) if isinstance(config, dict) else None
    return config is not None


def shares_markdown(figure: Shares) -> str:
    """The importances as a table: a line per study and field, a column per objective; empty without any."""
    objectives = figure.measures[1:]
    found = dict.fromkeys(zip(figure.data["study"], figure.data["field"], strict=True))
    if not found:
        return ""
    columns = (figure.data[name] for name in ("study", "field", "measure", "share"))
    shares = {(study, field, measure): share for study, field, measure, share in zip(*columns, strict=True)}
    lines = [
        f"| of | setting | {' | '.join(f'{measure.title}, %' for measure in objectives)} |",
        f"|---|---|{'--:|' * len(objectives)}",
    ]
    for study, field in found:
        cells = [number(shares.get((study, field, measure.name)), "percent") for measure in objectives]
        lines.append(f"| {study} | {field} | {' | '.join(cells)} |".replace("\n", " "))
    return "\n".join(lines)


def _summary(key: str) -> Any:
    from wandb_workspaces.reports import v2 as wr

    return wr.SummaryMetric(key)


def _short(path: str) -> str:
    return path.removeprefix("mitigation.").replace(".", " ")
