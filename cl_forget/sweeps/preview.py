"""A dry run of a sweep: what it would do and cost, as a table; nothing is trained, no Ray is started."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from cl_forget.comparison.arms import control_of
from cl_forget.config.protocol import Protocol
from cl_forget.config.run import PLAIN
from cl_forget.config.sweep import DEFAULT_TRIALS, JUDGED, Budget, Range, Sweep
from cl_forget.ground.errors import UserError
from cl_forget.ground.progress import duration
from cl_forget.run.shared import Setup
from cl_forget.sweeps.budget import NAMES, Forecast, passes_over, steps_over
from cl_forget.sweeps.drawing import drawn
from cl_forget.sweeps.planning import Planned, by_seed, plan_grid, planned_on, saved, share
from cl_forget.sweeps.rehearsal import Measured, check_judged, fitting, measurements, rehearsed

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

    sweep = fitting(sweep, say)
    measured = measurements(rehearsed(sweep), say=say)
    check_judged(sweep, measured)
    forecast = Forecast(measured)
    priced = _priced(sweep, forecast)
    grid = [one for one in priced if one.trial.role == "tune"] if sweep.mode == "curve" else []
    _check_room(sweep.budget, grid, forecast)
    seeds = len(sweep.tuning_seeds)
    table = Table(title=f"{sweep.name} (dry run)", box=box.SIMPLE_HEAD, title_style="bold")
    prices = sweep.budget.prices
    columns = ["method", "varied", "settings", "trials", "fine-tunes"]
    if priced:
        names = ["passes", "about", *(f"USD on {node}" for node in prices)]
        columns += [f"{name}, at most" for name in names] if sweep.mode in JUDGED else names
    for column in columns:
        table.add_column(column, justify="left" if column in ("method", "varied") else "right")
    total = 0
    for arm in sweep.arms:
        ranges = sweep.ranges(arm)
        mine = [one for one in grid if one.trial.method == arm]
        settings = len(mine) // seeds if grid else _chosen(sweep, arm)
        total += settings * seeds
        own = [f"{field} = {value}" for field, value in sweep.own(arm).own().items()]
        varied = "; ".join([*own, *(f"{field}: {_values(values)}" for field, values in ranges.items())])
        tuned = str(saved(mine).fine_tunes or "shared") if grid else "–"
        tried = [one for one in priced if one.trial.method == arm]
        costs = cost_cells(tried, measured, forecast, prices) if priced else []
        table.add_row(arm, varied or "–", str(settings), str(settings * seeds), tuned, *costs)
    said = [
        *_conclusions(sweep, grid, priced, total, measured),
        *against_budget(sweep.budget, priced, measured, forecast, at_most=sweep.mode in JUDGED),
    ]
    table.caption = " · ".join([*said, "nothing was trained or written"])
    return table


def _check_room(budget: Budget, grid: Sequence[Planned], forecast: Forecast) -> None:
    """Refuse passes that have no room for any group of trials; a search finds out as it goes."""
    if budget.passes is None:
        return
    least = min((sum(forecast.passes(one) for one in group) for group in share(grid)), default=0)
    if budget.passes < least:
        raise UserError(
            f"`budget.passes: {budget.passes:,}` has no room for any trial, which takes about {least:,.0f} at least; "
            "raise it."
        )


def _priced(sweep: Sweep, forecast: Forecast) -> list[Planned]:
    """The trials that a forecast counts, with what they share; of a tournament all, as if none were stopped.

    Which setting of a method is run again for the report is not known; it is taken to be the one that costs most.
    """
    tried = _at_random(sweep) if sweep.mode == "search" or _drawn(sweep) else plan_grid(sweep)
    dearest: dict[str, Planned] = {}
    for one in tried:
        before = dearest.get(one.trial.method)
        if before is None or forecast.passes(one) > forecast.passes(before):
            dearest[one.trial.method] = one
    if sweep.mode != "search":
        share(tried)
    if sweep.report_on is None:
        return tried
    seeds = sweep.report_on.seeds or sweep.seeds
    again = by_seed(
        [planned_on(sweep, arm, one.trial.config, seeds, "report") for arm, one in dearest.items()]
    )
    share(again, before=tried)
    return [*tried, *again]


def _drawn(sweep: Sweep) -> bool:
    """Whether a tournament draws its settings, as some field of theirs has no end of values."""
    ranges = (values for arm in sweep.arms for values in sweep.ranges(arm).values())
    return sweep.mode in JUDGED and any(values.values is None for values in ranges)


def _at_random(sweep: Sweep) -> list[Planned]:
    """Settings drawn evenly from a space, as many as will be tried; none where their number is open."""
    if sweep.budget.compute is not None:
        return []
    return [
        one
        for arm in sweep.arms
        for turn in range(_chosen(sweep, arm))
        for one in planned_on(sweep, arm, drawn(sweep, arm, turn), sweep.tuning_seeds)
    ]


def _chosen(sweep: Sweep, arm: str) -> int:
    """Settings that a search or a tournament tries of one method: no more than there are, as none is tried twice."""
    if not sweep.varies(arm):
        return 1
    ranges, each = sweep.ranges(arm), sweep.budget.trials or DEFAULT_TRIALS
    if sweep.own(arm).compose is not None or any(values.values is None for values in ranges.values()):
        return each
    if sweep.mode in JUDGED and not _drawn(sweep) and not sweep.budget.trials:
        return _size(ranges)
    return min(each, _size(ranges))


def _fewest(sweep: Sweep) -> list[str]:
    """That the method with the fewest settings limits what the others choose among, where it does."""
    counts = {arm: _chosen(sweep, arm) for arm in sweep.arms if sweep.varies(arm)}
    equal = sweep.protocol.equal if sweep.protocol else Protocol().equal
    if sweep.mode == "curve" or sweep.budget.compute or equal != "trials" or len(set(counts.values())) < 2:
        return []
    least = min(counts, key=lambda arm: counts[arm])
    return [f"every method chooses among {counts[least]} settings, as many as {least} has"]


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
    sweep: Sweep, grid: Sequence[Planned], priced: Sequence[Planned], total: int, measured: Measured
) -> list[str]:
    seeds = ", ".join(map(str, sweep.tuning_seeds))
    found = [f"mode {sweep.mode}", f"seeds {seeds}"]
    found.append(str(saved(grid)) if grid else _open_ended(sweep, total))
    control = control_of(sweep.arms)
    if control not in (None, PLAIN):
        found.append(f"the control is {control}")
    if sweep.report_on is not None:
        again = sweep.report_on.seeds or sweep.seeds
        found.append(
            f"then the selected setting of each of {len(sweep.arms)} methods on seeds "
            f"{', '.join(map(str, again))}{', which is counted, too' if priced else ''}"
        )
    if priced:
        said = f"about {duration(sum(seconds(one, measured) for one in priced))} of one processor"
        supposed = ["settings drawn at random"] if sweep.mode == "search" or _drawn(sweep) else []
        supposed += ["none stopped early"] if sweep.mode in JUDGED else []
        found.append(f"{said}, were {' and '.join(supposed)}" if supposed else said)
    memory = max(m["memory"] for m in measured.values())
    return [*found, *_fewest(sweep), f"about {memory:,.0f} MiB per trial"]


def _open_ended(sweep: Sweep, total: int) -> str:
    if sweep.budget.compute is not None:
        return f"trials until each method has used {sweep.budget.compute:,} samples"
    later = ", those of later seeds only for what is not stopped" if sweep.mode in JUDGED else ""
    return f"{total} trials{later}"


def seconds(one: Planned, measured: Measured) -> float:
    """Of the steps on the entries that this trial trains itself, and of its evaluations.

    Args:
        one: a trial, with what it takes over from others.
        measured: what `measurements` found.
    """
    known = measured[Setup.key(one.run)]
    own = 1 - one.trial.shared_stages / one.trial.stages
    rows = 1 + own * one.trial.stages
    train, times = one.run.train, passes_over(one.run, known)
    passes = one.facts.chain.passes(train.batch_size, times, steps_over(one, known))
    # A step was measured that passes a sample forward and backward.
    return own * known["samples"] * passes / 2 * known["train"] + rows * known["row"] * known["evaluate"]


def cost_cells(
    trials: Sequence[Planned], measured: Measured, forecast: Forecast, prices: Mapping[str, float]
) -> list[str]:
    """What the trials of one method will cost: passes, time on one processor, USD on each type of node.

    A node is taken to hold as many trials side by side as this machine has processors for.
    """
    taken = sum(seconds(one, measured) for one in trials)
    passes = sum(forecast.passes(one) for one in trials)
    hours = taken / 3600 / _side_by_side(trials)
    return [f"{passes:,.0f}", duration(taken), *(f"{hours * price:.3g}" for price in prices.values())]


def _side_by_side(trials: Sequence[Planned]) -> int:
    threads = max((one.run.train.threads for one in trials), default=1)
    return max(1, (os.cpu_count() or 1) // threads)


def against_budget(
    budget: Budget, grid: Sequence[Planned], measured: Measured, forecast: Forecast, at_most: bool = False
) -> list[str]:
    """Each limit of the whole sweep beside what the sweep is expected to need of it.

    Args:
        budget: the limits.
        grid: the trials that are expected; none where their number is open.
        measured, forecast: what they cost.
        at_most: whether some of them will be stopped early.
    """
    if not grid:
        limits = {name: getattr(budget, name) for name in NAMES}
        return [f"at most {_amount(limit)} {NAMES[n]}" for n, limit in limits.items() if limit is not None]
    hours = sum(seconds(one, measured) for one in grid) / 3600 / _side_by_side(grid)
    expected: dict[str, float] = {"hours": hours, "passes": sum(forecast.passes(one) for one in grid)}
    if budget.prices:
        expected["usd"] = hours * max(budget.prices.values())
    lines = []
    for name, unit in NAMES.items():
        limit = getattr(budget, name)
        if limit is None:
            continue
        if name not in expected:
            lines.append(f"budget of {_amount(limit)} {unit}")
            continue
        share = expected[name] / limit
        said = "is enough" if share <= 1 else f"covers about {100 / share:.0f} % of it"
        about = "at most" if at_most else "about"
        lines.append(f"{about} {_amount(expected[name])} {unit} here: the budget of {_amount(limit)} {said}")
    return lines


def _amount(number: float) -> str:
    """Three figures at least, and no power of ten."""
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"
