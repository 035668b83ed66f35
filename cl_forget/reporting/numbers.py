"""How numbers are written in every medium: units, digits, intervals, and a dash for what is missing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cl_forget.comparison.measures import Cell, Unit

MISSING = "–"
SUFFIX: dict[Unit, str] = {
    "percent": "%",
    "points": "points",
    "change": "points",
    "nats": "nats",
    "seconds": "s",
    "ratio": "×",
    "count": "",
    "megabytes": "MB",
    "number": "",
}
"""What the numbers of a unit are, for headings and axes."""


def scale(unit: Unit) -> float:
    """The factor from a stored value to the shown one."""
    return 100.0 if unit in ("percent", "points", "change") else 1.0


LIMITS: dict[Unit, tuple[float | None, float | None]] = {
    "percent": (0.0, 1.0),
    "points": (-1.0, 1.0),
    "change": (-1.0, 1.0),
    "seconds": (0.0, None),
    "ratio": (0.0, None),
    "count": (0.0, None),
    "megabytes": (0.0, None),
}
"""The least and the largest value a quantity of the unit can have, as it is stored; None without a bound."""


FEW = 2
"""So many seeds have no interval worth showing, with Student's t at 12.7 half widths: their range is shown."""


def bounded(cell: Cell, unit: Unit) -> Cell:
    """The cell with its interval cut where no value can be, as it is drawn; numbers in tables are left alone.

    Student's t knows nothing of the bounds: with a few seeds that differ, it reaches below 0 seconds.
    """
    least, most = LIMITS.get(unit, (None, None))
    if cell.low is None or cell.high is None or (most is not None and (cell.mean or 0.0) > most):
        return cell  # more than all, as more can be kept than there was
    low = cell.low if least is None else max(least, cell.low)
    return replace(cell, low=low, high=cell.high if most is None else min(most, cell.high))


def number(value: float | None, unit: Unit) -> str:
    """`value` as it is shown, without its unit; a dash if it is missing."""
    return MISSING if value is None else _write(value, unit, like=value)


def half_width(cell: Cell, unit: Unit) -> str:
    """`0.4` of `98.2 ± 0.4`, with as many decimals as the mean; the empty string without an interval."""
    if cell.mean is None or cell.low is None or cell.high is None:
        return ""
    return _write((cell.high - cell.low) / 2, unit, like=cell.mean).lstrip("+")


def spread(cell: Cell, unit: Unit) -> str:
    """What stands behind a mean: how sure it is.

    `± 0.4`, the half width of its interval; `[0.0, 100.0]` for one that reaches beyond all that can be; `97.8 to
    98.6`, the values of two seeds; `(0.9)`, the standard error over the items of a single one; or nothing.
    """
    if cell.mean is None:
        return ""
    if cell.low is None or cell.high is None:
        return "" if cell.error is None else f"({_write(cell.error, unit, like=cell.mean).lstrip('+')})"
    if cell.count == FEW:
        ends = [_write(end, unit, like=cell.mean) for end in (cell.low, cell.high)]
        return "" if ends[0] == ends[1] else " to ".join(ends)
    least, most = LIMITS.get(unit, (None, None))
    if least is not None and most is not None and cell.low < least and cell.high > most:
        return f"[{_write(least, unit, like=cell.mean)}, {_write(most, unit, like=cell.mean)}]"
    return f"± {half_width(cell, unit)}"


def with_interval(cell: Cell, unit: Unit) -> str:
    """A mean and how sure it is: `98.2 ± 0.4`; of two seeds `98.2 (97.8 to 98.6)`; or the mean alone."""
    behind = spread(cell, unit)
    if cell.count == FEW and behind:
        behind = f"({behind})"
    return f"{number(cell.mean, unit)} {behind}".rstrip()


def compact(cell: Cell, unit: Unit) -> str:
    """The same where there is little room: of two seeds their values alone, `97.8 to 98.6`."""
    return (spread(cell, unit) if cell.count == FEW else "") or with_interval(cell, unit)


def formula_text(formula: str) -> str:
    """A method's formula, as it stands in its class, with the signs of print."""
    return formula.replace("θ0", "θ₀").replace("-", "−")


def listed(names: Sequence[str], word: str = "and") -> str:
    """`a, b and c`."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} {word} {names[-1]}"


def _write(value: float, unit: Unit, like: float) -> str:
    """`value` in `unit`, rounded as `like` is."""
    shown, model = value * scale(unit), abs(like * scale(unit))
    if unit in ("percent", "points", "change"):
        return signed(f"{shown:+.1f}" if unit == "change" else f"{shown:.1f}")
    if unit == "ratio":
        return signed(f"{shown:.2f}")
    if unit != "count":
        return signed(f"{shown:,.{_decimals(model)}f}")
    for threshold, size, letter in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if model >= threshold:
            return signed(f"{shown / size:,.{_decimals(model / size)}f} {letter}")
    return signed(f"{shown:,.0f}")


def _decimals(size: float) -> int:
    """For three significant digits, and at most three decimals."""
    if size >= 100:
        return 0
    if size >= 10:
        return 1
    return 2 if size >= 1 or size == 0 else 3


def signed(text: str) -> str:
    """A number as text with the minus of print, as wide as the plus; what is rounded to zero has no sign."""
    if not text.strip("-+0.,"):
        text = text.lstrip("-+")
    return text.replace("-", "−")
