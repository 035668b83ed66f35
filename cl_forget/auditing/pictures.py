"""An audit as one picture: what was lost, which part holds the loss, and how far each part moved."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING

from cl_forget.auditing.bench import log_ratio, quality
from cl_forget.auditing.records import Audit, Loss
from cl_forget.reporting.numbers import number
from cl_forget.reporting.print.pictures import FAINT, INK, MUTED
from cl_forget.reporting.styles import LIGHT, NEUTRAL

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BASE, TUNED, GAINED, PAID = NEUTRAL, LIGHT[0], LIGHT[2], LIGHT[1]


def audit_png(audit: Audit, dpi: int = 160) -> bytes:
    """The picture as PNG; panels without data are left out."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    panels = [_distance]
    if audit.effects:
        panels.insert(0, _parts)
    if audit.losses:
        panels.insert(0, _losses)
    canvas = Figure(figsize=(4.6 * len(panels), 4.6), dpi=dpi, facecolor="white", layout="constrained")
    FigureCanvasAgg(canvas)
    canvas.suptitle(f"{audit.base} → {audit.tuned}", size=11, color=INK, parse_math=False)
    for place, panel in enumerate(panels, 1):
        axes = canvas.add_subplot(1, len(panels), place)
        panel(axes, audit)
        axes.invert_yaxis()
        axes.grid(color=FAINT, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.tick_params(colors=MUTED, labelsize=8, length=0)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
    buffer = io.BytesIO()
    canvas.savefig(buffer, format="png")
    return buffer.getvalue()


def _losses(axes: Axes, audit: Audit) -> None:
    """A line from base to tuned for each task and suite."""
    most = 100.0
    for y, loss in enumerate(audit.losses):
        ends = [quality(loss.base), quality(loss.tuned)]
        if None in ends:
            continue
        before, after = (100 * value for value in ends if value is not None)
        if loss.perplexity_rise is not None:  # 1/perplexity alone would lie at the left end, whatever is lost
            before, after = 100.0, 100.0 * math.exp(-loss.perplexity_rise)
        most = max(most, after)
        axes.plot([before, after], [y, y], color=PAID if after < before else GAINED, linewidth=2.5, zorder=2)
        axes.plot(before, y, "o", color=BASE, markersize=7, zorder=3)
        axes.plot(after, y, "s", color=TUNED, markersize=7, zorder=3)
    axes.plot([], [], "o", color=BASE, label="base")
    axes.plot([], [], "s", color=TUNED, label="tuned")
    axes.set_yticks(range(len(audit.losses)), [_label(loss) for loss in audit.losses])
    fluent = any(loss.perplexity_rise is not None for loss in audit.losses)
    shares = ", or the base's perplexity / the model's" if fluent else ""
    axes.set(xlim=(-3, 1.03 * most), ylim=(-0.6, len(audit.losses) - 0.4))
    axes.set_xlabel(f"accuracy{shares}, %, test data", size=8 if fluent else None)
    axes.set_title("What was lost", size=10, color=INK, loc="left")
    axes.legend(frameon=False, fontsize=8, loc="best")


def _label(loss: Loss) -> str:
    """A data set's name and role; its perplexities, where these are what is measured."""
    if loss.perplexity_rise is None:
        return f"{loss.name}\n({loss.role})"
    ends = " → ".join(number(scores.perplexity, "number") for scores in (loss.base, loss.tuned))
    return f"{loss.name}\n({loss.role})\nperplexity\n{ends}"


def _parts(axes: Axes, audit: Audit) -> None:
    """Generality gained and speciality paid by putting back each part."""
    places = range(len(audit.effects))
    tuned = audit.tuned_point
    fluent = tuned is not None and tuned.generality is None and tuned.fluency is not None
    gained = [
        100 * (log_ratio(effect.restored.fluency, tuned.fluency) or 0.0)
        if fluent and tuned is not None
        else 100 * (effect.recovered or 0.0)
        for effect in audit.effects
    ]
    paid = [100 * (effect.given_up or 0.0) for effect in audit.effects]
    axes.barh(
        [y - 0.2 for y in places],
        gained,
        0.38,
        color=GAINED,
        label="perplexity recovered, nats/100" if fluent else "generality recovered",
    )
    axes.barh([y + 0.2 for y in places], paid, 0.38, color=PAID, label="speciality given up")
    axes.axvline(0, color=MUTED, linewidth=0.8)
    axes.set_yticks(places, [effect.part for effect in audit.effects])
    axes.set_xlabel(f"{'nats/100, ' if fluent else ''}points, this part alone put back to the base")
    axes.set_title("Which part holds the loss", size=10, color=INK, loc="left")
    axes.legend(frameon=False, fontsize=8, loc="best")


def _distance(axes: Axes, audit: Audit) -> None:
    """Relative weight distance of each part."""
    parts = [part for part in audit.parts[1:] if part.relative is not None]
    axes.barh(range(len(parts)), [100 * (part.relative or 0.0) for part in parts], 0.6, color=TUNED)
    axes.set_yticks(range(len(parts)), [part.name for part in parts])
    axes.set_xlabel("‖θ − θ₀‖ / ‖θ₀‖, %")
    axes.set_title("How far each part moved", size=10, color=INK, loc="left")
