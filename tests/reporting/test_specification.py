from __future__ import annotations

import pytest
from samples import BASE, CONTROL, SUITES, TASKS, make_results

from cl_forget.comparison.measures import PRETRAINED, Cell
from cl_forget.comparison.records import Result
from cl_forget.comparison.statistics import mean_interval
from cl_forget.evaluation.depths import depth_name
from cl_forget.evaluation.metrics import summary
from cl_forget.ground.errors import UserError
from cl_forget.reporting import Figure, Specification, Table, method_styles, specify
from cl_forget.reporting.numbers import bounded, half_width, number, with_interval
from cl_forget.reporting.specification import definitions_of


def table_of(specification: Specification) -> Table:
    table = specification.item("results")
    assert isinstance(table, Table)
    return table


def figure_of(specification: Specification, name: str) -> Figure:
    figure = specification.item(name)
    assert isinstance(figure, Figure)
    return figure


def metrics_of(result: Result) -> dict:
    return summary(result.rows, result.tasks, result.suites, [*result.probes, *result.tasks])


@pytest.mark.parametrize(
    "name", ["speciality", "generality_drop", "bwt", "fwt", "delta_lp", "ood_accuracy", "kl_to_base"]
)
def test_a_cell_is_the_mean_over_seeds_with_its_interval(results, specification, name):
    for method in (CONTROL, "LDIFS", "joint training"):
        expected = mean_interval([metrics_of(r)[name] for r in results if r.method == method])
        cell = table_of(specification).rows[method][name]
        assert (cell.mean, cell.low, cell.high) == (expected.mean, expected.low, expected.high)


def test_tasks_suites_and_cost_stand_in_the_table(results, specification):
    row = table_of(specification).rows["LDIFS"]
    runs = [r for r in results if r.method == "LDIFS"]
    control = {r.seed: r.rows[-1].cost.train_seconds for r in results if r.method == CONTROL}
    final = [r.rows[-1] for r in runs]
    for name in TASKS:
        assert row[f"task:{name}"].mean == pytest.approx(sum(f.tasks[name].test.accuracy for f in final) / 3)
    for name in SUITES:
        assert row[f"suite:{name}"].mean == pytest.approx(
            sum(f.suites[name].test.accuracy for f in final) / 3
        )
    ratios = [r.rows[-1].cost.train_seconds / control[r.seed] for r in runs]
    assert row["relative_cost"].mean == pytest.approx(sum(ratios) / 3)


def test_the_pretrained_model_comes_first_and_the_control_second(specification):
    assert [method.name for method in specification.methods][:2] == [PRETRAINED, CONTROL]
    assert list(table_of(specification).rows)[:2] == [PRETRAINED, CONTROL]
    first = table_of(specification).rows[PRETRAINED]
    assert first["speciality"].mean == pytest.approx(sum(BASE[name] for name in TASKS) / 3)
    assert first["speciality"].low is None, "all seeds share the model, so there is no interval to show"
    assert first["bwt"].mean is None and first["train_seconds"].mean is None


def test_the_best_of_a_column_is_marked_in_the_right_direction(specification):
    rows = table_of(specification).rows
    for measure, better in (("speciality", max), ("generality_drop", min), ("train_seconds", min)):
        values = {name: row[measure].mean for name, row in rows.items() if name != PRETRAINED}
        assert [name for name, row in rows.items() if row[measure].best] == [better(values, key=values.get)]
    assert not any(cell.best for cell in rows[PRETRAINED].values())


def test_a_missing_number_is_left_out_and_never_zero(results, specification):
    rows = table_of(specification).rows
    known = [metrics_of(r)["generality"] for r in results if r.method == "SAM" and r.seed != 1]
    assert rows["SAM"]["generality"].mean == pytest.approx(sum(known) / 2)
    assert rows["joint training"]["bwt"] == Cell(None)
    assert number(None, "percent") == "–"
    transfer = figure_of(specification, "transfer")
    assert "joint training" not in transfer.data["method"]


def test_one_seed_has_no_interval_and_says_so():
    specification = specify(make_results([CONTROL, "LDIFS"], seeds=(4,)))
    row = table_of(specification).rows["LDIFS"]
    assert all(cell.low is None for cell in row.values())
    assert half_width(row["speciality"], "percent") == ""
    assert specification.verdicts.sentence == "One seed: nothing can be told."


def test_one_method_alone_is_best_at_nothing():
    specification = specify(make_results(["LDIFS"]))
    table = table_of(specification)
    assert not any(cell.best for cell in table.rows["LDIFS"].values())
    assert "no control" in table.how_to_read
    assert "relative_cost" not in [measure.name for measure in table.measures]


def test_joint_training_has_blanks_between_its_two_rows(specification):
    matrix = figure_of(specification, "accuracy-matrix")
    places = zip(matrix.folded["method"], matrix.folded["row"], strict=True)
    assert {row for name, row in places if name == "joint training"} == {PRETRAINED, "after letters"}
    retention = figure_of(specification, "retention")
    stages = zip(retention.folded["method"], retention.folded["x"], strict=True)
    assert {x for name, x in stages if name == "joint training"} == {PRETRAINED, "letters"}


def test_the_matrix_is_the_results_accuracy(results, specification):
    matrix = figure_of(specification, "accuracy-matrix")
    rows = [dict(zip(matrix.data, line, strict=True)) for line in zip(*matrix.data.values(), strict=True)]
    result = next(r for r in results if r.method == "FLOW" and r.seed == 2)
    found = {
        (line["row"], line["column"]): line["value"]
        for line in rows
        if line["method"] == "FLOW" and line["seed"] == 2
    }
    assert found["after clocks", "digits"] == result.rows[2].tasks["digits"].test.accuracy
    assert found[PRETRAINED, "emoji"] == result.rows[0].suites["emoji"].test.accuracy
    assert len(found) == 4 * 5


def test_a_curve_runs_from_the_pretrained_to_the_tuned_model(results, specification):
    figure = figure_of(specification, "tradeoff")
    lines = [dict(zip(figure.data, line, strict=True)) for line in zip(*figure.data.values(), strict=True)]
    points = {
        line["setting"]: line["value"]
        for line in lines
        if (line["method"], line["seed"], line["measure"]) == ("WiSE-FT", 0, "generality")
    }
    curve = next(r for r in results if r.method == "WiSE-FT" and r.seed == 0).curves[0]
    assert len(points) == 11 + 1, "eleven settings, and the method as it was run"
    for point in curve.points:
        accuracies = [point.row.suites[name].test.accuracy for name in SUITES]
        assert points[point.value] == pytest.approx(sum(accuracies) / 2)
    assert any("θ(α) = (1−α)·θ₀ + α·θ" in note for note in figure.notes)


def test_without_suites_the_nearest_measure_stands_for_generality():
    assert figure_of(specify(make_results(suites=[])), "tradeoff").y == "delta_lp"
    assert figure_of(specify(make_results(suites=[], probes=[])), "tradeoff").y == "bwt"
    alone = specify(make_results(tasks=["digits"], suites=[], probes=[]))
    with pytest.raises(KeyError):
        alone.item("tradeoff")


def test_the_order_of_the_results_does_not_matter(results, specification):
    assert specify(results[::-1]) == specification


def test_a_method_keeps_its_look_whatever_the_order():
    names = ["b", "a", "C", "control"]
    assert method_styles(names, "control") == method_styles(names[::-1], "control")
    many = method_styles([f"method {k}" for k in range(56)])
    assert len({(style.color, style.symbol) for style in many.values()}) == 56


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model": "open_clip:ViT-B-32/openai"}, "models"),
        ({"tasks": ["digits"]}, "streams"),
        ({"suites": ["emoji"]}, "suites"),
        ({"run": {"stream": "other", "mitigations": []}}, "stream settings"),
    ],
)
def test_results_that_cannot_be_compared_are_refused(change, named):
    first, second = make_results([CONTROL, "LDIFS"], seeds=(0,))
    with pytest.raises(UserError, match=named):
        specify([first, second.model_copy(update=change)])


def test_other_test_data_is_refused():
    first, second = make_results([CONTROL, "LDIFS"], seeds=(0,))
    second.rows[0].tasks["digits"].test.samples = 36
    with pytest.raises(UserError, match="test data"):
        specify([first, second])


def test_a_name_stands_for_one_method_and_a_run_for_itself():
    (first,) = make_results(["LDIFS"], seeds=(0,))
    with pytest.raises(UserError, match="given twice"):
        specify([first, first])
    other = first.model_copy(update={"seed": 1, "run": {**first.run, "mitigations": [{"ldifs": {}}]}})
    with pytest.raises(UserError, match="two methods"):
        specify([first, other])
    with pytest.raises(UserError, match="no results"):
        specify([])
    with pytest.raises(UserError, match="rename"):
        specify([first.model_copy(update={"method": PRETRAINED})])


@pytest.mark.parametrize(
    ("cell", "unit", "text"),
    [
        (Cell(0.98213, 0.978, 0.9862), "percent", "98.2 ± 0.4"),
        (Cell(-0.0731), "change", "−7.3"),
        (Cell(0.01, 0.0, 0.02), "change", "+1.0 ± 1.0"),
        (Cell(-0.0001), "change", "0.0"),
        (Cell(28.44, 28.2, 28.68), "seconds", "28.4 ± 0.2"),
        (Cell(0.5601, 0.5596, 0.5606), "nats", "0.560 ± 0.001"),
        (Cell(1.087), "ratio", "1.09"),
        (Cell(1_412_608), "count", "1.41 M"),
        (Cell(9_999), "count", "9,999"),
        (Cell(36_000, 35_000, 37_000), "count", "36.0 k ± 1.0 k"),
        (Cell(None), "percent", "–"),
    ],
)
def test_numbers_are_written_to_the_digits_that_count(cell, unit, text):
    assert with_interval(cell, unit) == text


def test_a_method_keeps_its_look_whatever_it_is_compared_with():
    few = method_styles(["LDIFS", "WiSE-FT", "a method of my own"])
    more = method_styles(["LDIFS", "WiSE-FT", "L2-SP", "LoRA", "KD", "full"], "full")
    assert few["LDIFS"] == more["LDIFS"] and few["WiSE-FT"] == more["WiSE-FT"]
    alone = method_styles(["a method of my own"])["a method of my own"]
    assert alone == method_styles(["a method of my own"], "control")["a method of my own"]


def test_suites_measured_by_perplexity_stand_beside_those_with_an_accuracy():
    results = make_results([CONTROL, "LDIFS"])
    for result in results:
        for j, row in enumerate(result.rows):
            scores = row.suites["emoji"].test
            scores.accuracy, scores.perplexity = None, 4.0 + j
        result.metrics["test"] = metrics_of(result)
    specification = specify(results)
    row = table_of(specification).rows["LDIFS"]
    assert row["suite:emoji"].mean is None and row["perplexity:emoji"].mean == 4.0 + len(TASKS)
    others = [r.rows[-1].suites["emoji-unseen-styles"].test.accuracy for r in results if r.method == "LDIFS"]
    assert row["generality"].mean == pytest.approx(sum(others) / 3)
    retention = figure_of(specification, "retention")
    names = [measure.name for measure in retention.measures]
    assert names == ["generality", "suite:emoji-unseen-styles", "perplexity:emoji"]
    assert figure_of(specification, "tradeoff").measure("perplexity:emoji").better == "lower"


def test_results_of_another_version_are_refused():
    first, second = make_results([CONTROL, "LDIFS"], seeds=(0,))
    versions = {"packages": {"cl-forget": "0.0.9"}}
    with pytest.raises(UserError, match=r"versions of cl-forget.*0\.0\.9"):
        specify([first, second.model_copy(update={"environment": versions})])


def still(result: Result) -> Result:
    """The result of a method that left every weight as it was."""
    copy = result.model_copy(deep=True)
    for row in copy.rows:
        row.drift.weight_distance = dict.fromkeys(row.drift.weight_distance, 0.0)
    return copy


def test_a_method_that_changes_nothing_is_not_called_the_best_cure():
    made = make_results([CONTROL, "LDIFS", "linear probe"])
    specification = specify([still(r) if r.method == "linear probe" else r for r in made])
    rows = table_of(specification).rows
    said = " ".join(specification.findings)
    # The samples' probe ends 20 points below plain fine-tuning: nothing is to be said about it.
    assert "Linear probe" not in said and "methods at most a point below" in said
    better = [r.model_copy(update={"method": "head only"}) for r in map(still, make_results(["SAM"]))]
    said = " ".join(specify([*made, *better]).findings)
    assert "Head only leaves the model as it was" in said
    generality = number(rows["LDIFS"]["generality"].mean, "percent")
    assert (
        f"Of the methods that change the model and end at most a point below plain fine-tuning's speciality, "
        f"LDIFS keeps the most generality: {generality}" in said
    )


def test_no_method_as_good_at_the_tasks_is_said_too():
    said = specify(make_results([CONTROL, "WiSE-FT"])).findings
    assert "Every other method ends more than a point below plain fine-tuning's speciality." in said


def test_intervals_are_drawn_within_what_can_be():
    assert bounded(Cell(5.0, -2.0, 12.0), "seconds") == Cell(5.0, 0.0, 12.0)
    assert bounded(Cell(0.9, 0.7, 1.1), "percent") == Cell(0.9, 0.7, 1.0)
    assert bounded(Cell(0.0, -0.2, 0.2), "change") == Cell(0.0, -0.2, 0.2)
    assert bounded(Cell(5.0), "seconds") == Cell(5.0)
    assert half_width(Cell(5.0, -2.0, 12.0), "seconds") == "7.00", "the table's interval is the whole one"


def test_only_what_was_measured_is_explained():
    made = make_results([CONTROL, "LDIFS"])
    assert "look different" in figure_of(specify(made), "reliability").how_to_read
    for result in made:
        for row in result.rows:
            for scores in row.tasks.values():
                scores.shifted = {}
    figure = figure_of(specify(made), "reliability")
    assert "look different" not in figure.how_to_read and "hardest" in figure.how_to_read


def test_blocks_have_one_number_in_weights_and_features():
    features = ["ln_pre", "embeddings", "block 1", "block 12", "trunk"]
    assert [depth_name("cka", depth) for depth in features] == [
        "input",
        "input",
        "block 0",
        "block 11",
        "trunk",
    ]
    weights = ["block 0", "block 11", "other"]
    assert [depth_name("weight_distance", depth) for depth in weights] == ["block 0", "block 11", "rest"]


def test_signs_that_definitions_use_are_defined():
    found = specify(make_results([CONTROL, "LDIFS"])).definitions
    assert {"R(j, i)", "G(j, k)", "θ₀", "A_LP"} <= set(found)
    assert definitions_of([]) == {}


def test_unequal_seeds_are_counted_as_they_are():
    made = [*make_results([CONTROL]), *make_results(["LDIFS"], seeds=(0,))]
    verdicts = specify(made).verdicts
    assert verdicts.sentence == "One seed: nothing can be told."
    verdicts = specify([*made, *make_results(["SAM"], seeds=(0, 1))]).verdicts
    assert verdicts.basis.startswith("1 to 2 seeds") and "5 or more" in verdicts.sentence
