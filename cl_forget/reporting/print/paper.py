"""Figures for papers and slides: vector PDFs with embedded fonts, and the table as LaTeX and Markdown.

Every figure draws a method in the colour and with the marker of `styles.py`, so that it looks the same in all of
them; methods are told apart by both, and under colour blindness. Sizes are those of the page they go to: a figure
is not scaled when it is included, and its letters are as large as the captions around it.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cl_forget.comparison.measures import Cell, Measure
from cl_forget.comparison.observations import lookup
from cl_forget.ground.errors import UserError
from cl_forget.ground.files import StrPath, write_all
from cl_forget.ground.registry import closest
from cl_forget.reporting.numbers import bounded, scale, signed
from cl_forget.reporting.print.pictures import INK, MARKERS, MUTED, Look, axis_title, bare, draw_tradeoff
from cl_forget.reporting.specification import (
    Bars,
    Figure,
    Knobs,
    Lines,
    Matrix,
    Method,
    Specification,
    Table,
    Tradeoff,
)
from cl_forget.reporting.tables import table_latex, table_markdown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas


@dataclass(frozen=True)
class Style:
    """How large a figure is, and how it is lettered.

    Attributes:
        column, page: widths in inches, of one column and of the whole page.
        font: family; these come with matplotlib, so they are the same everywhere.
        text: size of labels in points; ticks and notes are smaller in proportion.
    """

    column: float
    page: float
    font: str
    text: float


STYLES = {
    "paper": Style(column=3.35, page=6.9, font="STIXGeneral", text=8.0),
    "slides": Style(column=6.2, page=12.5, font="DejaVu Sans", text=15.0),
}
"""Name -> style: "paper" fits two-column proceedings, "slides" a 16:9 screen."""


def write_figures(specification: Specification, output: StrPath, style: str = "paper") -> list[Path]:
    """Write every figure of a report that paper can show, and its table.

    Args:
        specification: the report.
        output: folder, made if need be.
        style: a name of `STYLES`.

    Returns:
        The files: `<figure>.pdf`, `table.tex` and `table.md`.

    Raises:
        UserError: no such style, or the folder cannot be written.
    """
    if style not in STYLES:
        known = list(STYLES)
        raise UserError(f"no style '{style}'.{closest(style, known)} Known: {', '.join(known)}.")
    table = specification.item("results")
    assert isinstance(table, Table)
    contents = {
        f"{figure.name}.pdf": figure_pdf(specification, figure, STYLES[style])
        for section in specification.sections
        for figure in section.items
        if isinstance(figure, Figure) and type(figure) in _DRAWN
    }
    contents |= {"table.tex": table_latex(table).encode(), "table.md": table_markdown(table).encode()}
    write_all(Path(output), contents)
    return [Path(output) / name for name in contents]


def figure_pdf(specification: Specification, figure: Figure, style: Style) -> bytes:
    """One figure as a vector PDF; the same figure gives the same bytes."""
    with _lettered(style):
        canvas = _DRAWN[type(figure)](specification, figure, style)
        buffer = io.BytesIO()
        canvas.savefig(buffer, format="pdf", metadata={"CreationDate": None})
        return buffer.getvalue()


@contextmanager
def _lettered(style: Style) -> Iterator[None]:
    from matplotlib import rc_context

    small = 0.85 * style.text
    with rc_context(
        {
            "pdf.fonttype": 42,  # whole TrueType letters: publishers refuse matplotlib's own Type 3
            "font.family": style.font,
            "mathtext.fontset": "stix" if style.font.startswith("STIX") else "dejavusans",
            "font.size": style.text,
            "axes.labelsize": style.text,
            "axes.titlesize": style.text,
            "xtick.labelsize": small,
            "ytick.labelsize": small,
            "legend.fontsize": small,
            "axes.linewidth": 0.5,
        }
    ):
        yield


def _canvas(width: float, height: float) -> Canvas:
    from matplotlib.backends.backend_pdf import FigureCanvasPdf
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(width, height), layout="constrained")
    FigureCanvasPdf(canvas)
    return canvas


def _panels(style: Style, count: int, height: float) -> tuple[Canvas, list[Axes]]:
    """`count` axes, as many side by side as the page has room for."""
    columns = min(3, count)
    width = style.column if columns == 1 else style.page
    rows = ceil(count / columns)
    canvas = _canvas(width, height * style.column * rows)
    grid = canvas.subplots(rows, columns, squeeze=False)
    panels = list(grid.flat)
    for spare in panels[count:]:
        spare.remove()
    for axes in panels[:count]:
        bare(axes)
    return canvas, panels[:count]


def _tradeoff(specification: Specification, figure: Tradeoff, style: Style) -> Canvas:
    # Labels are placed in pixels before anything is drawn, so these axes have a fixed place.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    width, height = style.column, 0.85 * style.column
    canvas = Canvas(figsize=(width, height))
    FigureCanvasAgg(canvas)
    margin = 5.2 * style.text / 72
    axes = canvas.add_axes(
        (margin / width, 0.75 * margin / height, 0.97 - margin / width, 0.97 - 0.75 * margin / height)
    )
    bare(axes)
    axes.set_xlabel(axis_title(figure.measure(figure.x)))
    axes.set_ylabel(axis_title(figure.measure(figure.y)))
    look = Look(text=0.85 * style.text, small=0.65 * style.text, marker=0.6 * style.text, line=1.0)
    draw_tradeoff(axes, specification, figure, look)
    return canvas


def _lines(specification: Specification, figure: Lines, style: Style) -> Canvas:
    canvas, panels = _panels(style, len(figure.measures), 0.72)
    cells = lookup(figure.folded, "method", "measure", "x")
    for axes, measure in zip(panels, figure.measures, strict=True):
        order = figure.places[measure.name]
        for method in specification.methods:
            own = {
                x: cell for (name, of, x), cell in cells.items() if (name, of) == (method.name, measure.name)
            }
            for number, piece in enumerate(figure.pieces(measure.name, list(own))):
                points = [(float(order.index(x)), own[x]) for x in piece]
                _line(axes, method, points, measure, **({"label": "_"} if number else {}))
        axes.set_xticks(range(len(order)), order, rotation=25 if len(order) > 3 else 0)
        axes.set_ylabel(axis_title(measure, arrow=False))
        axes.set_xlabel(figure.axis)
    _legend(canvas, panels, specification)
    return canvas


def _line(
    axes: Axes, method: Method, points: list[tuple[float, Cell]], measure: Measure, **look: Any
) -> None:
    points = [(x, bounded(cell, measure.unit)) for x, cell in points]
    factor = scale(measure.unit)
    means = [(x, cell.mean * factor) for x, cell in points if cell.mean is not None]
    if not means:
        return
    axes.plot(
        *zip(*means, strict=True), **{"linewidth": 1, "label": method.name, **_marker(method, 3.5), **look}
    )
    ribbon = [(x, cell) for x, cell in points if cell.low is not None]
    if len(ribbon) > 1:
        low, high = ([getattr(cell, end) * factor for _, cell in ribbon] for end in ("low", "high"))
        axes.fill_between([x for x, _ in ribbon], low, high, color=method.color, alpha=0.15, linewidth=0)


def _marker(method: Method, size: float) -> dict[str, Any]:
    look = {"color": method.color, "marker": MARKERS[method.symbol]}
    return {**look, "markersize": size, "markeredgewidth": 0}


def _points(specification: Specification, figure: Bars, style: Style) -> Canvas:
    """One value per method: a marker with its interval, and the seeds as dots."""
    from matplotlib.ticker import MaxNLocator

    methods = [m for m in specification.methods if m.name in figure.folded["method"]]
    canvas, panels = _panels(style, len(figure.measures), 0.3 + 0.075 * len(methods))
    cells = lookup(figure.folded, "method", "measure")
    for column, (axes, measure) in enumerate(zip(panels, figure.measures, strict=True)):
        factor = scale(measure.unit)
        for k, method in enumerate(methods):
            cell = bounded(cells.get((method.name, measure.name), Cell(None)), measure.unit)
            if cell.mean is None:
                continue
            seeds = _seeds(figure, method, measure)
            axes.plot(
                [s * factor for s in seeds], [k] * len(seeds), ".", color=method.color, alpha=0.4, ms=3, mew=0
            )
            if cell.low is not None and cell.high is not None:
                axes.plot([cell.low * factor, cell.high * factor], [k, k], color=method.color, linewidth=1)
            axes.plot(cell.mean * factor, k, **_marker(method, 5))
        axes.set_ylim(len(methods) - 0.5, -0.5)
        names = [method.name for method in methods] if column % 3 == 0 else [""] * len(methods)
        axes.set_yticks(range(len(methods)), names)
        axes.set_xlabel(axis_title(measure))
        if measure.unit in ("count", "megabytes"):
            axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
            axes.xaxis.set_major_formatter(lambda value, _: signed(f"{value:,.0f}"))
        if measure.unit == "change":
            axes.axvline(0, color=MUTED, linewidth=0.5)
    return canvas


def _seeds(figure: Bars, method: Method, measure: Measure) -> list[float]:
    columns = zip(figure.data["method"], figure.data["measure"], figure.data["value"], strict=True)
    found = [value for name, of, value in columns if (name, of) == (method.name, measure.name)]
    return found if len(found) > 1 else []


def _knobs(specification: Specification, figure: Knobs, style: Style) -> Canvas:
    cells = lookup(figure.folded, "method", "measure", "setting")
    knobs = dict(zip(figure.folded["method"], figure.folded["knob"], strict=True))
    methods = [method for method in specification.methods if method.name in knobs]
    canvas, panels = _panels(style, len(methods), 0.7)
    measures = [figure.measure(name) for name in dict.fromkeys((figure.x, figure.y))]
    for axes, method in zip(panels, methods, strict=True):
        for measure, dashes in zip(measures, ("-", "--"), strict=False):
            points = sorted(
                (s, c) for (m, of, s), c in cells.items() if (m, of) == (method.name, measure.name)
            )
            _line(axes, method, points, measure, linestyle=dashes)
            settings = [setting for setting, _ in points]
            if settings and min(settings) > 0 and max(settings) / min(settings) > 10:
                axes.set_xscale("log")
        if method.name in figure.selected:
            axes.axvline(figure.selected[method.name], color=MUTED, linewidth=0.6, linestyle=":")
        axes.set_title(method.name, color=INK)
        axes.set_xlabel(knobs[method.name], parse_math=False)
        axes.set_ylabel(
            ", ".join(f"{m.title} ({way})" for m, way in zip(measures, ("solid", "dashed"), strict=False))
        )
    return canvas


def _matrix(specification: Specification, figure: Matrix, style: Style) -> Canvas:
    cells = lookup(figure.folded, "method", "row", "column")
    methods = [method for method in specification.methods if any(key[0] == method.name for key in cells)]
    canvas, panels = _panels(style, len(methods), 0.62)
    rows, columns, tasks = figure.rows, figure.columns, figure.tasks
    # What is trained stands apart from what is only measured, and the task just trained is framed, as on the page.
    places = [i + 0.25 * (column not in tasks) for i, column in enumerate(columns)]
    for number, (axes, method) in enumerate(zip(panels, methods, strict=True)):
        own = {(row, column): cell for (name, row, column), cell in cells.items() if name == method.name}
        framed = figure.just_trained(own)
        for (row, column), cell in own.items():
            if cell.mean is not None:
                i, j = columns.index(column), rows.index(row)
                _square(axes, places[i], j, cell.mean, style.text, (row, column) in framed)
        axes.set(xlim=(-0.5, places[-1] + 0.5), ylim=(len(rows) - 0.5, -0.5))
        axes.grid(False)
        axes.spines[:].set_visible(False)
        axes.set_xticks(places, columns, rotation=30, ha="right")
        axes.set_yticks(range(len(rows)), rows if number % 3 == 0 else [""] * len(rows))
        axes.set_title(method.name, color=INK)
    return canvas


def _square(axes: Axes, i: float, j: int, value: float, size: float, framed: bool) -> None:
    from matplotlib.patches import Rectangle

    ground = tuple(1 - value * (1 - channel) for channel in (0.114, 0.247, 0.612))
    frame = {"edgecolor": INK, "linewidth": 0.8} if framed else {"linewidth": 0}
    axes.add_patch(Rectangle((i - 0.47, j - 0.47), 0.94, 0.94, facecolor=ground, **frame))
    ink = "white" if value > 0.68 else INK  # where both contrast alike
    axes.text(i, j, f"{100 * value:.0f}", ha="center", va="center", color=ink, size=0.8 * size)


def _legend(canvas: Canvas, panels: list[Axes], specification: Specification) -> None:
    handles: dict[str, Any] = {}
    for axes in panels:
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(name, handle)
    shown = [method.name for method in specification.methods if method.name in handles]
    columns = min(4 if len(panels) > 1 else 2, len(shown)) or 1
    canvas.legend(
        [handles[name] for name in shown], shown, loc="outside lower center", ncols=columns, frameon=False
    )


_DRAWN: dict[type[Figure], Callable[[Specification, Any, Style], Canvas]] = {
    Tradeoff: _tradeoff,
    Lines: _lines,
    Bars: _points,
    Knobs: _knobs,
    Matrix: _matrix,
}
