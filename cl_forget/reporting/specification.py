"""What a report shows, as pure data: figures and tables, each with its numbers and how to read it.

Nothing here knows how a figure is drawn. Terminal, picture and page (and any other medium) are renderings of
the same `Specification`, so they can never disagree. Values are as in `Result`: accuracies are fractions,
missing is None; a `Measure` says in which unit they are shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from cl_forget.comparison.measures import Cell, Frame, Measure
from cl_forget.comparison.table import Source
from cl_forget.evaluation.formulas import SIGNS_TYPESET, formula_of
from cl_forget.reporting.items import Items
from cl_forget.reporting.verdict_strip import Verdicts
from cl_forget.streams.understood import Understood

Kind = Literal[
    "tradeoff", "knobs", "parallel", "matrix", "lines", "bars", "curves", "listing",
    "shares", "slices", "pairs", "history", "anytime", "lanes", "profiles", "law", "ledger",
]  # fmt: skip


@dataclass(frozen=True)
class Method:
    """One arm of the comparison.

    Attributes:
        name: as in `Result.method`, or `PRETRAINED`.
        role: "control" is plain fine-tuning, "reference" the pre-trained model.
        seeds: the seeds there is a result for.
        color, color_dark: on light and on dark ground, as "#rrggbb"; told apart under colour blindness.
        symbol: marker, by its plotly name.
    """

    name: str
    role: Literal["reference", "control", "method"]
    seeds: tuple[int, ...]
    color: str
    color_dark: str
    symbol: str


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One figure: what it shows, not how. Each kind is a class of its own with what it needs besides.

    Attributes:
        name: unique in the report; names its CSV file.
        title, how_to_read: for people; the second says what to look for, and which direction is good.
        measures: what the values are.
        data: every observation: columns `method`, `seed`, `measure`, `value`, and those that the kind names.
        folded: the same over seeds: `mean`, `low`, `high` (95 % interval), `count` instead of seed and value.
        notes: sentences to print with the figure, such as what a knob does.
    """

    kind: ClassVar[Kind]

    name: str
    title: str
    how_to_read: str
    measures: tuple[Measure, ...]
    data: Frame
    folded: Frame = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def measure(self, name: str) -> Measure:
        """The measure called `name`; raises `KeyError` for another name."""
        return {measure.name: measure for measure in self.measures}[name]


@dataclass(frozen=True, kw_only=True)
class Tradeoff(Figure):
    """One measure against another: a point per method, knob curves, the Pareto front.

    Its data have `knob` and `setting`, None where the method was run as it is.

    Attributes:
        x, y: names of the measures that are shown first.
        selected: method -> the setting that selection chose.
        unordered: methods whose settings no line joins.
        trained: whether every setting was trained by itself, and so has seeds of its own to show.
    """

    kind = "tradeoff"

    x: str
    y: str
    selected: dict[str, float] = field(default_factory=dict)
    unordered: tuple[str, ...] = ()
    trained: bool = False


@dataclass(frozen=True, kw_only=True)
class Knobs(Figure):
    """Per method, two measures along its knob; data as of a `Tradeoff`.

    Attributes:
        x, y: names of the two measures that are shown first.
        selected: method -> the setting that selection chose.
    """

    kind = "knobs"

    x: str
    y: str
    selected: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Parallel(Figure):
    """A line per run through all measures. One entry per run: `method`, `seed`, `run`, a column per measure.

    Attributes:
        axes: the names of the measures from left to right.
        logarithmic: those of them with a logarithmic scale.
    """

    kind = "parallel"

    axes: tuple[str, ...]
    logarithmic: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Matrix(Figure):
    """Per method a grid; its data have `row` and `column`.

    Attributes:
        rows, columns: in order.
        tasks: the columns that are trained, one after the other; they come first.
    """

    kind = "matrix"

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    tasks: tuple[str, ...]

    def just_trained(self, cells: Mapping[tuple[str, str], Cell]) -> set[tuple[str, str]]:
        """The cells (row, column) of a method that belong to the task just trained; none of joint training."""
        if any((row, task) not in cells for row in self.rows for task in self.tasks):
            return set()
        return set(zip(self.rows[1:], self.tasks, strict=True))


@dataclass(frozen=True, kw_only=True)
class Lines(Figure):
    """Per measure, values along an axis; its data have `x`.

    Attributes:
        axis: title of the horizontal axis.
        places: measure -> the categories along it, in order.
        by_depth: whether the axis leads through the model and not along the stream.
        beside: the places that are no part of the axis and stand behind it: no line leads there.
    """

    kind = "lines"

    axis: str
    places: dict[str, tuple[str, ...]]
    by_depth: bool = False
    beside: tuple[str, ...] = ()

    def pieces(self, measure: str, places: Sequence[str]) -> list[list[str]]:
        """The measured places of a line, in order, cut where nothing was measured between them or one is beside.

        Joint training is measured before and after: a line between the two would lead through tasks in turn, which
        were never trained so.

        Args:
            measure: of the figure.
            places: those that were measured.
        """
        order = self.places[measure]
        found: list[list[str]] = []
        latest = None
        for k, place in enumerate(order):
            if place not in places:
                continue
            if latest != k - 1 or latest is None or {place, order[latest]} & set(self.beside):
                found.append([])
            found[-1].append(place)
            latest = k
        return found


@dataclass(frozen=True, kw_only=True)
class Bars(Figure):
    """Per measure, one value per method.

    Attributes:
        shared_scale: whether all measures are drawn on one scale, because they are to be compared.
    """

    kind = "bars"

    shared_scale: bool = False


@dataclass(frozen=True, kw_only=True)
class Curves(Figure):
    """Per measure, values along the optimiser steps; its data have `step`, and nothing is folded over seeds.

    Attributes:
        stages: method -> (stage, its last step), in order; of the methods that took steps.
        after: the measures taken after each stage only.
    """

    kind = "curves"

    stages: dict[str, tuple[tuple[str, int], ...]]
    after: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Listing(Figure):
    """One line per run. One entry per run: `method`, `seed`, `run`, a column per measure and per text.

    Attributes:
        texts: the columns that are no measures, before these.
    """

    kind = "listing"

    texts: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """One line per method.

    Attributes:
        name, title, how_to_read, measures: as of a `Figure`; a column per measure.
        rows: method -> measure -> `Cell`, in the order shown.
        notes: sentences that stand below.
        sources: method -> what its line is computed from; empty where that is said elsewhere.
    """

    name: str
    title: str
    how_to_read: str
    measures: tuple[Measure, ...]
    rows: dict[str, dict[str, Cell]]
    notes: tuple[str, ...] = ()
    sources: Mapping[str, Source] = field(default_factory=dict)

    @property
    def has_settings(self) -> bool:
        """Whether its lines are methods at settings that were chosen."""
        return any(source.setting is not None for source in self.sources.values())

    def role(self, method: str) -> str:
        """What a line is: "method" where that is said elsewhere."""
        return self.sources[method].role if method in self.sources else "method"

    def setting(self, method: str) -> str:
        """The chosen setting of a line; "" without one."""
        return (self.sources[method].setting or "") if method in self.sources else ""

    def behind(self, method: str) -> str:
        """The runs, or the ids of the trials, that a line is computed from; "" where they are not known."""
        return "; ".join(self.sources[method].runs.values()) if method in self.sources else ""


@dataclass(frozen=True)
class Section:
    """A heading and what stands under it."""

    name: str
    title: str
    items: tuple[Figure | Table, ...]


SIGNS = {
    "R(j, i)": "accuracy on task i after stage j; stage 0 is the pre-trained model, T the last one",
    "G(j, k)": "accuracy on suite k, of K, after stage j",
    "θ₀": "the weights of the pre-trained model; θ: those of the tuned one",
    "A_LP": "accuracy of a linear probe: a linear classifier fitted on the model's frozen features",
}
"""What stands in definitions of measures -> what it means."""


def definitions_of(sections: Sequence[Section]) -> dict[str, str]:
    """The title and definition of every measure the sections show, and of the signs the formulas use."""
    found: dict[str, str] = {}
    formulas: list[str] = []
    for section in sections:
        for item in section.items:
            for measure in item.measures:
                found.setdefault(measure.title, measure.definition)
                formulas.append(formula_of(measure.name) or "")
    used = " ".join([*found.values(), *formulas])
    signs = {
        sign: (sign[: sign.find("(") + 1] or sign, SIGNS_TYPESET[sign].split("_")[0] + "_") for sign in SIGNS
    }
    return found | {sign: SIGNS[sign] for sign, stems in signs.items() if any(stem in used for stem in stems)}


@dataclass(frozen=True)
class RunRecord:
    """Where one run's numbers come from.

    Attributes:
        name: unique in the report; a trial's id.
        method, seed: which run.
        configuration: the resolved configuration.
        environment: versions, commit, machine.
        knob, setting: the method's knob and where it stands; None without one.
        status, reason: how the run ended, and why if it did not finish.
        folder: where it lies, as the reader of the report gave it.
        note: what somebody noted about it.
    """

    name: str
    method: str
    seed: int
    configuration: dict[str, Any]
    environment: dict[str, Any]
    knob: str | None = None
    setting: float | None = None
    status: str = "finished"
    reason: str | None = None
    folder: str | None = None
    note: str = ""

    @property
    def command(self) -> str | None:
        """The command line that made it."""
        return self.environment.get("command")


@dataclass(frozen=True)
class Specification:
    """A whole report.

    Attributes:
        title: of the page.
        subtitle: model, stream and seeds in one line.
        findings: the result in sentences, with its numbers.
        methods: every arm in the order shown; the pre-trained model first, then the control.
        sections: figures and tables.
        runs: configuration and versions of each run.
        definitions: metric name -> one line, for all metrics the report uses.
        understood: what the data were taken for, where the runs have kept it.
        verdicts: every arm against the control; None without a control, or without another arm.
        items: where the samples behind the numbers lie; None where no run has kept any.
    """

    title: str
    subtitle: str
    findings: tuple[str, ...]
    methods: tuple[Method, ...]
    sections: tuple[Section, ...]
    runs: tuple[RunRecord, ...]
    definitions: dict[str, str]
    understood: tuple[Understood, ...] = ()
    verdicts: Verdicts | None = None
    items: Items | None = None

    def item(self, name: str) -> Figure | Table:
        """The figure or table called `name`; raises `KeyError` if there is none."""
        return {item.name: item for section in self.sections for item in section.items}[name]
