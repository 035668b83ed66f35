"""What stands behind a mean: an interval, the values of two seeds, or the error over items of a single one."""

from __future__ import annotations

import io
import math
import re
from typing import Any

import pytest
from rich.console import Console
from samples import CONTROL, SUITES, TASKS, make_results

from cl_forget.comparison.item_errors import item_errors
from cl_forget.comparison.measures import PRETRAINED, Cell
from cl_forget.comparison.statistics import mean_interval
from cl_forget.comparison.trials import Trial
from cl_forget.reporting import specify, specify_sweep, terminal_table
from cl_forget.reporting.numbers import compact, spread, with_interval
from cl_forget.reporting.specification import Table
from cl_forget.reporting.tables import table_csv, table_records


def table_of(specification: Any) -> Table:
    table = specification.item("results")
    assert isinstance(table, Table)
    return table


@pytest.mark.parametrize(
    ("cell", "unit", "long", "short"),
    [
        (Cell(0.98, 0.976, 0.984, count=3), "percent", "98.0 ± 0.4", "98.0 ± 0.4"),
        (Cell(0.98, 0.976, 0.984, count=2), "percent", "98.0 (97.6 to 98.4)", "97.6 to 98.4"),
        (Cell(0.98, 0.98, 0.98, count=2), "percent", "98.0", "98.0"),
        (Cell(0.0, -0.02, 0.02, count=2), "change", "0.0 (−2.0 to +2.0)", "−2.0 to +2.0"),
        (Cell(0.713, -0.716, 2.142, count=3), "percent", "71.3 [0.0, 100.0]", "71.3 [0.0, 100.0]"),
        (Cell(-0.2, -1.629, 1.229, count=3), "change", "−20.0 [−100.0, +100.0]", "−20.0 [−100.0, +100.0]"),
        (Cell(0.97, 0.91, 1.03, count=3), "percent", "97.0 ± 6.0", "97.0 ± 6.0"),
        (Cell(1.02, 0.9, 1.14, count=3), "percent", "102.0 ± 12.0", "102.0 ± 12.0"),
        (Cell(2.0, -1.0, 5.0, count=3), "seconds", "2.00 ± 3.00", "2.00 ± 3.00"),
        (Cell(0.5, count=1, error=0.0125), "percent", "50.0 (1.2)", "50.0 (1.2)"),
        (Cell(-0.021, count=1, error=0.0125), "change", "−2.1 (1.2)", "−2.1 (1.2)"),
        (Cell(0.5, count=1), "percent", "50.0", "50.0"),
        (Cell(None, count=0), "percent", "–", "–"),
    ],
)
def test_a_mean_and_how_sure_it_is(cell: Cell, unit: Any, long: str, short: str) -> None:
    assert (with_interval(cell, unit), compact(cell, unit)) == (long, short)


@pytest.mark.parametrize("values", [(0.2, 0.8), (0.8, 0.2), (0.5, 0.5), (-3.0, 7.0)])
def test_two_values_are_shown_themselves(values: tuple[float, float]) -> None:
    shown = mean_interval(values).shown()
    assert (shown.low, shown.high) == pytest.approx((min(values), max(values)))
    three = mean_interval([*values, 0.1])
    assert three.shown() is three and mean_interval(values[:1]).shown().low is None


def test_no_number_of_a_report_on_two_seeds_is_surer_or_less_sure_than_its_seeds() -> None:
    table = table_of(specify(make_results(seeds=(0, 1))))
    for row in table.rows.values():
        for measure in table.measures:
            shown = spread(row[measure.name], measure.unit)
            assert "±" not in shown, (measure.name, shown)
    assert "Of two seeds both values are given." in table.how_to_read and "95 %" not in table.how_to_read
    figure = specify(make_results(seeds=(0, 1))).item("tradeoff")
    assert "range of two seeds" in figure.how_to_read and "95 %" not in figure.how_to_read


def with_samples(count: int) -> list[Any]:
    """Single seeds whose every test set has so many samples."""
    results = make_results([CONTROL, "LDIFS"], seeds=(0,))
    for result in results:
        for row in result.rows:
            for scores in (*row.tasks.values(), *row.suites.values()):
                scores.test.samples = count
                scores.test.lost, scores.test.gained = 0.3, 0.1
    return results


def test_the_errors_of_a_single_seed_are_those_over_its_items() -> None:
    results = with_samples(101)
    table = table_of(specify(results))
    row, last = table.rows["LDIFS"], results[1].rows[-1]
    accuracies = [last.tasks[name].test.accuracy for name in TASKS]
    for name, a in zip(TASKS, accuracies, strict=True):
        assert row[f"task:{name}"].error == pytest.approx(math.sqrt(a * (1 - a) / 100))
    assert row["speciality"].error == pytest.approx(
        math.sqrt(sum(a * (1 - a) / 100 for a in accuracies)) / len(TASKS)
    )
    paired = (0.3 + 0.1 - 0.2**2) / 100
    assert row["generality_drop"].error == pytest.approx(math.sqrt(paired / len(SUITES)))
    assert table.rows[PRETRAINED]["generality"].error is not None and row["bwt"].error is None
    assert "standard error over test items" in table.how_to_read
    (ldifs,) = (record for record in table_records(table) if record["method"] == "LDIFS")
    assert ldifs["speciality_error"] == row["speciality"].error and "speciality_error" in table_csv(table)


def test_the_error_of_retention_is_that_of_a_ratio_over_the_same_items() -> None:
    (result,) = with_samples(1001)[1:]
    before, now = result.rows[0].suites, result.rows[-1].suites
    for name in SUITES:  # nothing but losses: retention is 1 - lost / before
        before[name].test.accuracy, now[name].test.accuracy = 0.8, 0.6
        now[name].test.lost, now[name].test.gained = 0.2, 0.0
    found = item_errors(result)["retention"]
    # Of the items that were right before, a share of 3/4 is kept: binomial over 0.8 n items of two sets.
    assert found == pytest.approx(math.sqrt(0.75 * 0.25 / (0.8 * 1000) / 2), rel=1e-9)


def test_with_several_seeds_no_error_over_items_stands_beside_the_interval() -> None:
    results = make_results([CONTROL], seeds=(0, 1, 2))
    for result in results:
        for scores in result.rows[-1].tasks.values():
            scores.test.samples = 50
    table = table_of(specify(results))
    assert all(cell.error is None for cell in table.rows[CONTROL].values())


@pytest.mark.parametrize("seeds", [(0,), (0, 1), (0, 1, 2)])
def test_eighty_columns_show_each_task_before_the_drop(seeds: tuple[int, ...]) -> None:
    results = make_results([CONTROL, "LDIFS"], seeds=seeds, tasks=TASKS[:2])
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(terminal_table(results, 80))
    heads = re.split(r"─{5,}", console.export_text())[0]
    assert "Speciality" in heads and "Generality" in heads
    shown = [name for name in TASKS[:2] if name in heads.split("\n", 2)[2]]
    assert shown, "a task is shown"
    assert "drop" not in heads or shown == TASKS[:2], "the drop comes after every task"


def test_a_sweep_of_a_single_seed_has_the_errors_of_its_runs() -> None:
    results = with_samples(101)
    trials = [
        Trial(
            sweep="s", id=f"{result.method}-0".replace(" ", "-"), method=result.method, seed=0, status="finished",
            mitigations=result.run["mitigations"], validation={"speciality": 0.5, "retention": 0.5},
            test=result.metrics["test"], errors=item_errors(result), cost=result.rows[-1].cost,
        )
        for result in results
    ]  # fmt: skip
    runs, sweep = table_of(specify(results)), table_of(specify_sweep(trials))
    for method in (CONTROL, "LDIFS"):
        for name in ("speciality", "generality", "retention", *(f"task:{task}" for task in TASKS)):
            assert sweep.rows[method][name].error == pytest.approx(runs.rows[method][name].error)
    assert "standard error over test items" in sweep.how_to_read
