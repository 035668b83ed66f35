"""The trade-off as a picture, for a README or a paper."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from math import hypot
from textwrap import fill
from typing import TYPE_CHECKING, Any

from cl_forget.comparison.measures import PRETRAINED, Cell, Measure, Unit
from cl_forget.comparison.observations import lookup
from cl_forget.reporting.numbers import SUFFIX, bounded, scale
from cl_forget.reporting.print.labels import Box, place_labels
from cl_forget.reporting.specification import Method, Specification, Tradeoff

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

INK, MUTED, FAINT = "#1F2328", "#6B7280", "#E5E7EB"
MARKERS: dict[str, Any] = {
    "circle": "o",
    "square": "s",
    "diamond": "D",
    "triangle-up": "^",
    "triangle-down": "v",
    "pentagon": "p",
    "hexagon": "h",
    "cross": "P",
    "x": "X",
    "triangle-left": "<",
    "triangle-right": ">",
    "bowtie": [(-1, -1), (-1, 1), (1, -1), (1, 1), (-1, -1)],
    "hourglass": [(-1, -1), (1, -1), (-1, 1), (1, 1), (-1, -1)],
    "hexagram": (6, 1, 0),
    "star": "*",
}
"""Marker by its plotly name -> the same for matplotlib; those that it has no letter for as outlines."""

Points = list[tuple[float, float]]
Curve = list[tuple[float, tuple[float, float]]]
"""(knob value, point) in the order of the knob."""


@dataclass(frozen=True)
class Look:
    """Sizes in points: method names, numbers along curves, markers, lines."""

    text: float = 9.0
    small: float = 6.5
    marker: float = 8.0
    line: float = 1.3


Label = tuple[tuple[float, float], str, str, dict[str, Any]]
"""Point, text, colour and font."""


def tradeoff_png(specification: Specification, dpi: int = 200) -> bytes | None:
    """The trade-off figure as a PNG of about 1,700 by 1,150 pixels; None if the report has no such figure."""
    try:
        figure = specification.item("tradeoff")
    except KeyError:
        return None
    assert isinstance(figure, Tradeoff)
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(8.6, 5.8), dpi=dpi, facecolor="white")
    FigureCanvasAgg(canvas)
    caption = _caption(specification, figure)
    bottom = max(0.15, 0.11 + 0.022 * (caption.count("\n") + 1))  # room for its lines below the axis
    axes = canvas.add_axes((0.075, bottom, 0.905, 0.87 - bottom))
    _frame(canvas, axes, specification, figure, caption)
    draw_tradeoff(axes, specification, figure, Look())
    buffer = io.BytesIO()
    canvas.savefig(buffer, format="png")
    return buffer.getvalue()


def _caption(specification: Specification, figure: Tradeoff) -> str:
    """What is drawn, wrapped to the width of the picture."""
    seeds = max(len(method.seeds) for method in specification.methods)
    means = f"Large markers: mean over {seeds} seeds with 95 % interval" if seeds > 1 else ""
    dots = "; dots: seeds" if any(_seed_points(figure, m) for m in specification.methods) else ""
    front = "On the grey stair (the Pareto front) no other point is better on both."
    return fill(" ".join([*([f"{means}{dots}."] if means else []), front, *figure.notes]), 140)


def _frame(canvas: Canvas, axes: Axes, specification: Specification, figure: Tradeoff, caption: str) -> None:
    canvas.text(0.02, 0.955, figure.title, size=14, weight="bold", color=INK, va="center", parse_math=False)
    canvas.text(0.02, 0.905, specification.subtitle, size=9, color=MUTED, va="center", parse_math=False)
    canvas.text(0.02, 0.02, caption, size=7.5, color=MUTED, va="bottom", parse_math=False)
    bare(axes)
    axes.tick_params(labelsize=9)
    axes.set_xlabel(axis_title(figure.measure(figure.x)), size=10, color=INK)
    axes.set_ylabel(axis_title(figure.measure(figure.y)), size=10, color=INK)


def bare(axes: Axes) -> None:
    """Axes with as little ink as they need: a faint grid and two thin lines."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#B6BCC4")
    axes.grid(color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=MUTED, length=0)


def axis_title(measure: Measure, arrow: bool = True) -> str:
    """Title and unit, and which way is better."""
    unit = SUFFIX[measure.unit]
    better = {"higher": "  → better", "lower": "  ← better", None: ""}[measure.better] if arrow else ""
    return f"{measure.title}{', ' + unit if unit else ''}{better}"


def draw_tradeoff(axes: Axes, specification: Specification, figure: Tradeoff, look: Look) -> None:
    """Curves, seeds, means with intervals, the front, and names where there is room for them."""
    means = _means(figure)
    curves = {method.name: _curve(figure, method.name) for method in specification.methods}
    front = [point for points in curves.values() for _, point in points]
    front += [(x.mean, y.mean) for x, y in means.values()]  # type: ignore[misc]
    obstacles: Points = []
    for method in specification.methods:
        line = [point for _, point in curves[method.name]]
        if line:
            joined = method.name not in figure.unordered
            axes.plot(
                *zip(*line, strict=True),
                ".-" if joined else ".",
                color=method.color,
                linewidth=look.line,
                markersize=3 * look.line,
                alpha=0.75,
            )
        obstacles += _seed_dots(axes, figure, method)
        if method.name in means:
            _mean_marker(axes, method, look, *means[method.name])
    _limits(axes, front + obstacles, [cell for pair in means.values() for cell in pair])
    stair = _front_stair(axes, front)
    _label(axes, specification, look, means, curves, obstacles, stair)


def _limits(axes: Axes, points: Points, cells: Sequence[Cell]) -> None:
    """Room for every point and its interval; but an interval many times as long as the points are apart is cut."""
    for k, margin in enumerate((0.06, 0.07)):
        values = [point[k] for point in points]
        low, high = min(values), max(values)
        room = 0.4 * (high - low)
        ends = [end for cell in cells[k::2] for end in (cell.low, cell.high) if end is not None]
        values += [min(max(end, low - room), high + room) for end in ends]
        low, high = min(values), max(values)
        pad = margin * (high - low or abs(high) or 1)
        if k == 0:
            axes.set_xlim(low - pad, high + pad)
        else:
            axes.set_ylim(low - pad, high + pad)


def _means(figure: Tradeoff) -> dict[str, tuple[Cell, Cell]]:
    """Method -> its folded values on the two axes, for methods that have both."""
    cells = lookup(figure.folded, "method", "measure", "setting")
    x, y, units = figure.x, figure.y, [figure.measure(name).unit for name in (figure.x, figure.y)]
    place = {method: figure.selected.get(method) for method in dict.fromkeys(figure.folded["method"])}
    return {
        method: (_drawn(cells[method, x, at], units[0]), _drawn(cells[method, y, at], units[1]))
        for method, at in place.items()
        if (method, x, at) in cells and (method, y, at) in cells
    }


def _drawn(cell: Cell, unit: Unit) -> Cell:
    """The cell in the numbers of the axis."""
    cell, factor = bounded(cell, unit), scale(unit)
    mean, low, high = (
        None if value is None else value * factor for value in (cell.mean, cell.low, cell.high)
    )
    return Cell(mean, low, high)


def _curve(figure: Tradeoff, method: str) -> Curve:
    """(knob value, point) along the method's curve, in the order of the knob."""
    cells = lookup(figure.folded, "method", "measure", "setting")
    settings = sorted({key[2] for key in cells if key[0] == method and key[2] is not None})
    points = []
    for setting in settings:
        pair = [cells.get((method, name, setting)) for name in (figure.x, figure.y)]
        if (
            pair[0] is not None
            and pair[1] is not None
            and pair[0].mean is not None
            and pair[1].mean is not None
        ):
            factors = [scale(figure.measure(name).unit) for name in (figure.x, figure.y)]
            points.append((setting, (pair[0].mean * factors[0], pair[1].mean * factors[1])))
    return points


def _seed_points(figure: Tradeoff, method: Method) -> Points:
    """The runs of a method that stand beside its mean, a point per seed."""
    if len(method.seeds) < 2 or method.name == PRETRAINED:
        return []
    columns = [figure.data[name] for name in ("method", "knob", "measure", "seed", "value")]
    value = {
        (measure, seed): number
        for name, knob, measure, seed, number in zip(*columns, strict=True)
        if name == method.name and knob is None
    }
    factors = [scale(figure.measure(name).unit) for name in (figure.x, figure.y)]
    return [
        (value[figure.x, seed] * factors[0], value[figure.y, seed] * factors[1])
        for seed in method.seeds
        if (figure.x, seed) in value and (figure.y, seed) in value
    ]


def _seed_dots(axes: Axes, figure: Tradeoff, method: Method) -> Points:
    points = _seed_points(figure, method)
    if points:
        axes.plot(*zip(*points, strict=True), "o", color=method.color, markersize=3, alpha=0.4, mew=0)
    return points


def _mean_marker(axes: Axes, method: Method, look: Look, x: Cell, y: Cell) -> None:
    assert x.mean is not None and y.mean is not None
    bars = {
        f"{name}err": [[cell.mean - cell.low], [cell.high - cell.mean]]
        for name, cell in (("x", x), ("y", y))
        if cell.mean is not None and cell.low is not None and cell.high is not None
    }
    axes.errorbar(
        x.mean,
        y.mean,
        **bars,  # type: ignore[arg-type]
        marker=MARKERS[method.symbol],
        markersize=(1.6 if method.symbol == "star" else 1) * look.marker,
        color=method.color,
        markeredgecolor="white",
        markeredgewidth=0.9,
        elinewidth=0.75 * look.line,
        capsize=0,
        zorder=4,
    )


def _front_stair(axes: Axes, points: Points) -> Points:
    """The border of what is attainable: left of and below it, some point is at least as good on both axes."""
    from cl_forget.evaluation.metrics import pareto_front

    front = [points[k] for k in pareto_front(points)]
    limits = axes.get_xlim(), axes.get_ylim()
    left, bottom = limits[0][0], limits[1][0]
    stair = [(left, front[0][1])]
    for k, (x, y) in enumerate(front):
        stair += [(x, y), (x, front[k + 1][1] if k + 1 < len(front) else bottom)]
    axes.plot(*zip(*stair, strict=True), color="#D3D7DD", linewidth=3, zorder=1, solid_joinstyle="round")
    axes.set_xlim(*limits[0])
    axes.set_ylim(*limits[1])
    return stair


def _label(
    axes: Axes,
    specification: Specification,
    look: Look,
    means: dict[str, tuple[Cell, Cell]],
    curves: dict[str, Curve],
    dots: Points,
    stair: Points,
) -> None:
    """Method names beside their markers, then knob values beside the curves where there is room."""
    pixel = axes.figure.dpi / 72  # per point

    def box(point: tuple[float, float], radius: float) -> Box:
        x, y = axes.transData.transform(point)
        return (x - radius * pixel, y - radius * pixel, x + radius * pixel, y + radius * pixel)

    shown = [method for method in specification.methods if method.name in means]
    points: Points = [(means[m.name][0].mean, means[m.name][1].mean) for m in shown]  # type: ignore[misc]
    lines = [[point for _, point in curve] for curve in curves.values()]
    obstacles = [box(point, 0.75 * look.marker) for point in points] + [box(dot, 2) for dot in dots]
    bars = [bar for name in means for bar in _bars(*means[name])]
    obstacles += [box(point, 1.5) for line in (*lines, *bars) for point in _dense(axes, line)]
    # Better on the stair than far away, but not if there is a choice.
    obstacles += [box(point, 0.4) for point in _dense(axes, stair)]
    bold = {"size": look.text, "weight": "bold"}
    names = [(point, m.name, _text_color(m.color), bold) for point, m in zip(points, shown, strict=True)]
    taken = _write(axes, names, obstacles, allowed=float("inf"))
    small = {"size": look.small}
    values = [
        (point, f"{setting:g}", _text_color(method.color), small)
        for method in specification.methods
        for setting, point in _some(curves[method.name][1:-1], 5 if len(curves) > 6 else 9)
    ]
    _write(axes, values, obstacles + taken, allowed=16)


def _some(points: Curve, most: int) -> Curve:
    """At most `most` of the points, evenly spaced: a long curve is read by a few of its numbers."""
    step = -(-len(points) // most) or 1
    return points[step // 2 :: step]


def _text_color(color: str) -> str:
    """Three tenths of ink in it: text needs more contrast than a marker."""
    pairs = [(int(color[k : k + 2], 16), int(INK[k : k + 2], 16)) for k in (1, 3, 5)]
    return "#" + "".join(f"{round(0.7 * own + 0.3 * ink):02x}" for own, ink in pairs)


def _write(axes: Axes, labels: Sequence[Label], obstacles: list[Box], allowed: float) -> list[Box]:
    """Write the labels that find a place of at most `allowed` cost, with a thin line to a distant point."""
    pixel = axes.figure.dpi / 72
    texts = [
        axes.text(*point, text, color=color, ha="center", va="center", zorder=6, parse_math=False, **look)
        for point, text, color, look in labels
    ]
    extents = [text.get_window_extent() for text in texts]
    anchors = [(float(x), float(y)) for x, y in axes.transData.transform([point for point, *_ in labels])]
    left, bottom, _, top = map(float, axes.get_window_extent().extents)
    bounds = (left, bottom, axes.figure.bbox.width - 4 * pixel, top)
    sizes = [(extent.width + 4 * pixel, extent.height) for extent in extents]
    places = place_labels(anchors, sizes, obstacles, bounds, pixel)
    kept = []
    for text, anchor, place in zip(texts, anchors, places, strict=True):
        if place.cost > allowed:
            text.remove()
            continue
        kept.append(place.box)
        text.set_position(tuple(axes.transData.inverted().transform(place.centre)))
        near = (
            min(max(a, low), high) for a, low, high in zip(anchor, place.box[:2], place.box[2:], strict=True)
        )
        end = tuple(near)
        if hypot(end[0] - anchor[0], end[1] - anchor[1]) > 14 * pixel:
            ends = axes.transData.inverted().transform([anchor, end])
            axes.plot(*ends.T, color=text.get_color(), linewidth=0.6, alpha=0.6, zorder=3)
    return kept


def _bars(x: Cell, y: Cell) -> list[Points]:
    """The error bars of a point as lines."""
    ends = [(x.low, y.mean), (x.high, y.mean)], [(x.mean, y.low), (x.mean, y.high)]
    return [line for line in ends if None not in (*line[0], *line[1])]  # type: ignore[misc]


def _dense(axes: Axes, line: Points) -> Points:
    """Points along a polyline a few pixels apart, in data coordinates."""
    if not line:
        return []
    import numpy as np

    pixels = axes.transData.transform(line)
    lengths = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(pixels, axis=0).T))])
    along = np.arange(0, lengths[-1], 8)
    x, y = (np.interp(along, lengths, pixels[:, k]) for k in (0, 1))
    return [tuple(point) for point in axes.transData.inverted().transform(np.column_stack([x, y]))]
