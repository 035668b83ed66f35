"""A dry run of a sweep: what it would do and cost, as a table; nothing is trained, no Ray is started."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from cl_forget.config.sweep import DEFAULT_TRIALS, JUDGED, Range, Sweep
from cl_forget.ground.progress import duration
from cl_forget.run.shared import Setup
from cl_forget.sweeps.planning import Planned, plan_grid, saved, share
from cl_forget.sweeps.rehearsal import measurements, rehearsed

if TYPE_CHECKING:
    from rich.table import Table


def preview(sweep: Sweep, say: Callable[[str], object] = lambda line: None) -> Table:
    """Settings, trials and fine-tunes of every method, time and memory from two steps taken here.

    Args:
        sweep: the validated sweep.
        say: told what was understood of the data.

    Raises:
        UserError: whatever would stop every trial.
    """
    from rich import box
    from rich.table import Table

    measured = measurements(rehearsed(sweep), say=say)
    grid = plan_grid(sweep) if sweep.mode == "curve" else []
    share(grid)
    seeds = len(sweep.tuning_seeds)
    table = Table(title=f"{sweep.name} (dry run)", box=box.SIMPLE_HEAD, title_style="bold")
    for column in ("method", "varied", "settings", "trials", "fine-tunes"):
        table.add_column(column, justify="left" if column in ("method", "varied") else "right")
    total = 0
    for arm in sweep.arms:
        ranges = sweep.ranges(arm)
        mine = [one for one in grid if one.trial.method == arm]
        settings = len(mine) // seeds if grid else _chosen(sweep, ranges)
        total += settings * seeds
        own = [f"{field} = {value}" for field, value in sweep.own(arm).own().items()]
        varied = "; ".join([*own, *(f"{field}: {_values(values)}" for field, values in ranges.items())])
        tuned = str(saved(mine).fine_tunes or "shared") if grid else "–"
        table.add_row(arm, varied or "–", str(settings), str(settings * seeds), tuned)
    table.caption = " · ".join(_conclusions(sweep, grid, total, measured))
    return table


def _chosen(sweep: Sweep, ranges: dict[str, Range]) -> int:
    """Settings that a search or a tournament tries of one method."""
    each = sweep.budget.trials or DEFAULT_TRIALS
    if sweep.mode in JUDGED and all(
        r.values is not None for a in sweep.arms for r in sweep.ranges(a).values()
    ):
        each = min(each, _size(ranges)) if sweep.budget.trials else _size(ranges)
    return each if ranges else 1


def _size(ranges: dict[str, Range]) -> int:
    size = 1
    for values in ranges.values():
        size *= len(values.values or [])
    return size


def _values(values: Range) -> str:
    known = values.values
    if known is None:
        low, high = values.ends()
        return f"{low:g} to {high:g}{' (log)' if values.log_uniform else ''}"
    return " ".join(
        f"{v:g}" if isinstance(v, int | float) and not isinstance(v, bool) else str(v) for v in known
    )


def _conclusions(
    sweep: Sweep, grid: Sequence[Planned], total: int, measured: dict[str, dict[str, float]]
) -> list[str]:
    seeds = ", ".join(map(str, sweep.tuning_seeds))
    found = [f"mode {sweep.mode}", f"seeds {seeds}"]
    found.append(str(saved(grid)) if grid else _open_ended(sweep, total))
    if sweep.report_on is not None:
        again = sweep.report_on.seeds or sweep.seeds
        found.append(
            f"then the selected setting of each of {len(sweep.arms)} methods on seeds "
            f"{', '.join(map(str, again))}"
        )
    if grid:
        found.append(f"about {duration(sum(seconds(one, measured) for one in grid))} of one processor")
    memory = max(m["memory"] for m in measured.values())
    return [*found, f"about {memory:,.0f} MiB per trial", "nothing was trained or written"]


def _open_ended(sweep: Sweep, total: int) -> str:
    if sweep.budget.compute is not None:
        return f"trials until each method has used {sweep.budget.compute:,} samples"
    later = ", those of later seeds only for what is not stopped" if sweep.mode in JUDGED else ""
    return f"{total} trials{later}"


def seconds(one: Planned, measured: dict[str, dict[str, float]]) -> float:
    """Of plain fine-tuning on the entries that this trial trains itself, and of its evaluations.

    Args:
        one: a trial, with what it takes over from others.
        measured: what `measurements` found.
    """
    known = measured[Setup.key(one.run)]
    own = 1 - one.trial.shared_stages / len(one.run.specs())
    rows = 1 + own * len(one.run.specs())
    return (
        own * known["samples"] * one.run.train.epochs * known["train"]
        + rows * known["row"] * known["evaluate"]
    )
