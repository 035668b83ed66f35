"""The accuracy matrix of one run as a picture."""

from __future__ import annotations

import io

import numpy as np

from cl_forget.comparison.records import Result
from cl_forget.tracking.names import accuracy_table


def heat_map_png(result: Result, dpi: int = 120) -> bytes:
    """R with the suites beside it: a row per stage, a column per task and suite, test accuracy in percent."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    (_, *columns), lines = accuracy_table(result.rows, "test")
    percent = 100 * np.array(
        [line[1:] for line in lines], dtype=np.float64
    )  # (rows, columns), NaN if missing
    canvas = Figure(figsize=(1.8 + 0.95 * len(columns), 1.3 + 0.42 * len(lines)), dpi=dpi, layout="tight")
    FigureCanvasAgg(canvas)
    axes = canvas.subplots()
    axes.imshow(percent, cmap="cividis", vmin=0, vmax=100, aspect="auto")
    for (row, column), value in np.ndenumerate(percent):
        text = "–" if np.isnan(value) else f"{value:.1f}"
        color = "black" if value > 55 else "white"
        axes.text(column, row, text, ha="center", va="center", fontsize=9, color=color)
    axes.axvline(
        len(result.tasks) - 0.5, color="white", linewidth=3
    )  # tasks on its left, suites on its right
    axes.set_xticks(range(len(columns)), columns, rotation=20, ha="right", fontsize=9)
    axes.set_yticks(range(len(lines)), [line[0] for line in lines], fontsize=9)
    axes.set_title(f"{result.method}, seed {result.seed}: test accuracy, %", fontsize=10)
    picture = io.BytesIO()
    canvas.savefig(picture, format="png")
    return picture.getvalue()
