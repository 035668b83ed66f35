"""One final table: the same runs give the same numbers as runs and as trials of a sweep, in every medium."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from samples import CONTROL, make_results

from cl_forget.comparison.analysis import sweep_summary
from cl_forget.comparison.measures import PRETRAINED
from cl_forget.comparison.records import Result
from cl_forget.comparison.trials import Trial
from cl_forget.evaluation.metrics import summary
from cl_forget.reporting import Table, specify, specify_sweep
from cl_forget.reporting.tables import table_csv, table_latex, table_markdown, table_records
from cl_forget.sweeps.tables import write_summary


def as_trial(result: Result) -> Trial:
    """The same run as a sweep records it."""
    return Trial(
        sweep="s",
        id=f"{result.method}-seed{result.seed}".replace(" ", "-"),
        method=result.method,
        mitigations=result.run["mitigations"],
        seed=result.seed,
        status="finished",
        validation={"speciality": 0.5, "retention": 0.5},
        test=result.metrics["test"],
        cost=result.rows[-1].cost,
    )


@pytest.fixture(scope="module")
def results() -> list[Result]:
    return make_results([CONTROL, "LDIFS", "FLOW"])


def table_of(specification: object) -> Table:
    table = specification.item("results")  # type: ignore[attr-defined]
    assert isinstance(table, Table)
    return table


def test_runs_and_trials_of_the_same_trainings_agree_in_every_column(results: list[Result]) -> None:
    runs, sweep = table_of(specify(results)), table_of(specify_sweep([as_trial(r) for r in results]))
    own = [m for m in sweep.measures if m.group not in ("Whole curve", "Search")]
    assert own == list(runs.measures), "the same names, units, definitions, groups and order"
    for method in (CONTROL, "LDIFS", "FLOW"):
        assert {m.name: sweep.rows[method][m.name] for m in own} == {
            m.name: runs.rows[method][m.name] for m in own
        }
        assert list(sweep.sources[method].runs) == list(runs.sources[method].runs) == [0, 1, 2]
        assert sweep.sources[method].role == runs.sources[method].role
        assert sweep.sources[method].on_front == runs.sources[method].on_front
    for name in ("speciality", "generality", "retention"):
        assert sweep.rows[PRETRAINED][name].mean == pytest.approx(runs.rows[PRETRAINED][name].mean)


def test_a_seed_without_the_value_is_left_out_alike_and_counted(results: list[Result]) -> None:
    changed = [result.model_copy(deep=True) for result in results]
    for result in changed:
        if (result.method, result.seed) == ("FLOW", 1):
            for scores in result.rows[-1].suites.values():
                scores.test.accuracy = None
            probes = [*result.probes, *result.tasks]
            result.metrics["test"] = summary(result.rows, result.tasks, result.suites, probes)
    runs, sweep = table_of(specify(changed)), table_of(specify_sweep([as_trial(r) for r in changed]))
    for table in (runs, sweep):
        assert (table.rows["FLOW"]["generality"].count, table.rows["LDIFS"]["generality"].count) == (2, 3)
        assert table.rows["FLOW"]["against:generality"].count == 2
    assert runs.rows["FLOW"]["generality"] == sweep.rows["FLOW"]["generality"]


def test_every_medium_names_the_runs_and_seeds_behind_a_line(results: list[Result], tmp_path: Path) -> None:
    trials = [as_trial(result) for result in results]
    table = table_of(specify_sweep(trials))
    lines = {line["method"]: line for line in csv.DictReader(io.StringIO(table_csv(table)))}
    assert (
        lines["FLOW"]["runs"] == "FLOW-seed0; FLOW-seed1; FLOW-seed2" and lines["FLOW"]["seeds"] == "0; 1; 2"
    )
    assert float(lines["FLOW"]["speciality"]) == table.rows["FLOW"]["speciality"].mean
    assert lines["FLOW"]["speciality_count"] == "3" and lines[PRETRAINED]["role"] == "reference"
    files = {path.name: path for path in write_summary(sweep_summary(trials), tmp_path)}
    assert files["final.csv"].read_text() == table_csv(table), "a sweep's own table is the report's"
    assert table_markdown(table, labelled=True).splitlines()[0] in files["final.md"].read_text()
    named = table_records(table_of(specify(results)))[2]
    assert named["runs"] == [f"{named['method']}, seed {seed}" for seed in (0, 1, 2)]
    assert "setting" not in named, "runs of an experiment were not chosen"


def test_latex_has_as_many_cells_in_every_line(results: list[Result]) -> None:
    for table in (
        table_of(specify(results)),
        table_of(specify_sweep([as_trial(result) for result in results])),
    ):
        latex = table_latex(table)
        columns = len(latex.split(r"\begin{tabular}{")[1].split("}")[0])
        body = [line for line in latex.splitlines() if line.endswith(r"\\")][1:]
        assert {line.replace(r"\&", "").count("&") + 1 for line in body} == {columns}
