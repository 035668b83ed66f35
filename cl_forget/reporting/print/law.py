"""The law panel: what is left against how far a model moved, one curve over all arms, and what each adds to it."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np

from cl_forget.comparison.law import Point, curve, residuals
from cl_forget.comparison.statistics import Estimate, estimate
from cl_forget.config.run import PLAIN
from cl_forget.reporting.print.pictures import FAINT, INK, MARKERS, MUTED
from cl_forget.reporting.styles import method_styles


def law_png(panels: Mapping[str, Sequence[Point]], measure: str = "retention", dpi: int = 150) -> bytes:
    """One row per distance: the points with the curve through all of them, and the arms' residuals.

    A residual is the arm's mean distance from the curve through all *other* arms, with its 95 % interval over seeds.

    Args:
        panels: name of a distance -> every setting of every arm and seed; at least one.
        measure: what y is.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(9.0, 3.4 * len(panels)), dpi=dpi, facecolor="white", layout="constrained")
    FigureCanvasAgg(canvas)
    rows = canvas.subplots(len(panels), 2, squeeze=False, width_ratios=(3, 2))
    for (name, points), (left, right) in zip(panels.items(), rows, strict=True):
        arms = list(dict.fromkeys(point.arm for point in points))
        styles = method_styles(arms, PLAIN if PLAIN in arms else None)
        looks = {arm: (style.color, MARKERS[style.symbol]) for arm, style in styles.items()}
        x = np.array([point.x for point in points])
        at = np.linspace(x.min(), x.max(), 200)
        left.plot(at, curve(x, np.array([point.y for point in points]), at), color=INK, linewidth=1.2)
        for arm in arms:
            own = [point for point in points if point.arm == arm]
            colour, marker = looks[arm]
            left.plot(
                [p.x for p in own],
                [p.y for p in own],
                marker=marker,
                linestyle="none",
                color=colour,
                markersize=4,
                alpha=0.7,
                label=arm,
            )
        left.set_xlabel(name)
        left.set_ylabel(measure)
        left.legend(fontsize=6.5, frameon=False)
        right.axvline(0, color=MUTED, linewidth=0.8)
        for place, (arm, found) in enumerate(added(points).items()):
            if found.mean is None:
                continue
            colour, marker = looks[arm]
            right.plot(found.mean, -place, marker=marker, color=colour)
            if found.low is not None and found.high is not None:
                right.plot([found.low, found.high], [-place, -place], color=colour)
        right.set_yticks([-place for place in range(len(arms))], arms, fontsize=7)
        right.set_xlabel(f"{measure} beyond the others' curve")
        for axes in (left, right):
            axes.grid(color=FAINT, linewidth=0.6)
            axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    canvas.savefig(buffer, format="png")
    return buffer.getvalue()


def added(points: Sequence[Point]) -> dict[str, Estimate]:
    """Arm -> its residual with its interval over seeds."""
    return {arm: estimate(by_seed) for arm, by_seed in residuals(points).items()}
