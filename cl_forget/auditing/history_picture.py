"""A sequence of checkpoints as one picture: each measure's change from the base, with the bounds of a gate."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from cl_forget.auditing.conditions import MEANS, Answer, Unit, parse_conditions
from cl_forget.auditing.pictures import BASE, GAINED, PAID, TUNED
from cl_forget.auditing.records import Audit, Checkpoint, Judged
from cl_forget.evaluation.items import Interval
from cl_forget.reporting.numbers import number
from cl_forget.reporting.print.pictures import FAINT, INK, MUTED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOOKS: dict[Answer, tuple[str, str]] = {
    "passes": ("o", GAINED), "fails": ("X", PAID), "cannot be told": ("D", MUTED)
}  # fmt: skip
"""Marker and colour of each answer."""
PANELS = 6
SIDE_BY_SIDE = 3


class Step(NamedTuple):
    """A measure on one checkpoint: base, change from it, and the interval of the change.

    Of a perplexity the base's is given, and the change is the rise of its logarithm, nats.
    """

    base: float
    change: float
    range: Interval | None
    fluent: bool = False

    @property
    def scale(self) -> float:
        """From the change to what is drawn: points, or nats."""
        return 1.0 if self.fluent else 100.0

    @property
    def ends(self) -> str:
        """Base and model as a title shows them."""
        if self.fluent:
            after = self.base * math.exp(self.change)
            return f"perplexity {number(self.base, 'number')} → {number(after, 'number')}"
        return f"{number(self.base, 'percent')} → {number(self.base + self.change, 'percent')} %"


def steps(checkpoint: Checkpoint) -> dict[str, Step]:
    """Every mean and every task and suite of a checkpoint."""
    found = {
        name: Step(c.base, c.change, c.ranges.get("change"))
        if c.perplexity_rise is None or not c.base
        else Step(1 / c.base, c.perplexity_rise, c.ranges.get("perplexity_rise"), True)
        for name, c in checkpoint.changes.items()
    }
    for loss in checkpoint.losses:
        if loss.perplexity_rise is not None and loss.base.perplexity is not None:
            rise = loss.ranges.get("perplexity_rise")
            found[loss.name] = Step(loss.base.perplexity, loss.perplexity_rise, rise, True)
        elif loss.drop is not None and loss.base.accuracy is not None:
            sure = loss.ranges.get("drop")
            change = None if sure is None else Interval(low=-sure.high, high=-sure.low)
            found[loss.name] = Step(loss.base.accuracy, -loss.drop, change)
    return found


def history_png(audit: Audit, dpi: int = 160) -> bytes:
    """The picture as PNG: generality, speciality, fluency, and the data sets that a gate has conditions on."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    measures = _measures(audit)
    columns = min(SIDE_BY_SIDE, len(measures))
    rows = -(-len(measures) // columns)
    # Each panel is as wide as its checkpoints need, within what a page takes.
    width = min(7.0, 3.4 + 0.35 * len(audit.history))
    canvas = Figure(
        figsize=(width * columns, 3.8 * rows + 0.4), dpi=dpi, facecolor="white", layout="constrained"
    )
    FigureCanvasAgg(canvas)
    gate = "" if audit.gate is None else f" · gate: {audit.gate.answer}"
    canvas.suptitle(f"{audit.base} → {audit.history[-1].name}{gate}", size=11, color=INK, parse_math=False)
    for place, measure in enumerate(measures, 1):
        axes = canvas.add_subplot(rows, columns, place)
        _panel(axes, audit, measure)
        axes.grid(axis="y", color=FAINT, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.tick_params(colors=MUTED, labelsize=8, length=0)
        for side in ("top", "right", "bottom"):
            axes.spines[side].set_visible(False)
        axes.spines["left"].set_color(FAINT)
    buffer = io.BytesIO()
    canvas.savefig(buffer, format="png")
    return buffer.getvalue()


def _measures(audit: Audit) -> list[str]:
    """What has a panel: the means, then what a gate is on besides, those that answer worst first."""
    judged = audit.gate.judged if audit.gate is not None else []
    order: list[Answer] = ["fails", "cannot be told", "passes"]
    others = [one.measure for one in sorted(judged, key=lambda one: order.index(one.answer))]
    means = [name for name in MEANS if name in audit.history[-1].changes]
    return list(dict.fromkeys([*means, *others]))[:PANELS]


def _panel(axes: Axes, audit: Audit, measure: str) -> None:
    known = [
        (x, step) for x, one in enumerate(audit.history, 1) if (step := steps(one).get(measure)) is not None
    ]
    fluent = bool(known) and known[-1][1].fluent
    axes.axhline(0, color=MUTED, linewidth=0.8)
    axes.plot(
        [0, *(x for x, _ in known)],
        [0.0, *(step.scale * step.change for _, step in known)],
        color=TUNED,
        linewidth=1.2,
    )
    axes.plot(0, 0, "o", color=BASE, markersize=6, zorder=3)
    answers = _answers(audit, measure)
    for x, step in known:
        if step.range is not None:
            ends = [step.scale * step.range.low, step.scale * step.range.high]
            axes.plot([x, x], ends, color=TUNED, linewidth=1.2, alpha=0.6)
        marker, colour = LOOKS[answers[x - 1]] if answers else ("s", TUNED)
        axes.plot(x, step.scale * step.change, marker, color=colour, markersize=8, zorder=4)
    for bound, written in _bounds(audit, measure, known):
        axes.axhline(bound, color=PAID, linewidth=1.1, linestyle=(0, (4, 3)))
        below = "<" in written  # the words stand where it fails
        axes.annotate(
            f"fails if {written}", (1, bound), xycoords=("axes fraction", "data"),
            xytext=(-2, -4 if below else 4), textcoords="offset points", ha="right", va="top" if below else "bottom",
            size=7.5, color=PAID, parse_math=False, zorder=1.5,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
        )  # fmt: skip
    for answer in dict.fromkeys(answers):
        marker, colour = LOOKS[answer]
        axes.plot([], [], marker, color=colour, label=answer)
    if answers:
        axes.legend(frameon=False, fontsize=8, loc="best")
    names = ["base", *(one.name for one in audit.history)]
    # Many names are thinned, the last one staying: it is the one that is released.
    every = -(-len(names) // 12)
    shown = [k for k in range(len(names)) if (len(names) - 1 - k) % every == 0]
    axes.set_xticks(shown, [_short(names[k]) for k in shown], rotation=30, ha="right")
    axes.set_xlim(-0.4, len(names) - 0.6)
    axes.margins(y=0.12)
    what = "rise of the loss per token, nats" if fluent else "change from the base, points"
    axes.set_ylabel(f"{what}, test data", size=8, color=MUTED)
    moved = f", {known[-1][1].ends}" if known else ""
    axes.set_title(f"{measure}{moved}", size=10, color=INK, loc="left", parse_math=False)


def _answers(audit: Audit, measure: str) -> list[Answer]:
    """The worst answer on a measure by checkpoint; empty where no condition is on it."""
    judged = [one for one in (audit.gate.judged if audit.gate else []) if one.measure == measure]
    return (
        [_worst([one for one in judged if one.checkpoint == c.name]) for c in audit.history] if judged else []
    )


def _worst(judged: list[Judged]) -> Answer:
    answers = {one.answer for one in judged}
    return "fails" if "fails" in answers else "cannot be told" if "cannot be told" in answers else "passes"


def _bounds(audit: Audit, measure: str, known: list[tuple[int, Step]]) -> list[tuple[float, str]]:
    """Where a condition's bound lies on this panel, in what is drawn."""
    if audit.gate is None or not known:
        return []
    written = dict.fromkeys(one.condition for one in audit.gate.judged if one.measure == measure)
    conditions = parse_conditions(list(written))
    base = known[-1][1].base
    places: dict[Unit, Callable[[float], float]] = {
        "points": lambda bound: 100 * bound,
        "%": lambda bound: 100 * (bound - base),
        "nats": lambda bound: bound,
        "perplexity": lambda bound: math.log(bound / base),
    }
    return [(places[c.unit](c.threshold), c.written) for c in conditions]


def _short(name: str) -> str:
    return name if len(name) <= 24 else f"…{name[-23:]}"
