"""Which samples were right, kept for every evaluation of a run."""

from __future__ import annotations

import numpy as np
import pyarrow.compute
import pyarrow.parquet
import pytest

from cl_forget.comparison.paired_items import mcnemar
from cl_forget.comparison.records import Result
from cl_forget.evaluation.item_table import FILE, gather_parts, read_items
from cl_forget.evaluation.metrics import chance_adjusted, true_change
from cl_forget.ground.errors import UserError
from cl_forget.run.simulate import simulate
from cl_forget.run.simulation import Watch


def test_items_agree_with_every_accuracy(tiny_run, tmp_path):
    result = simulate(tiny_run(), tmp_path)
    assert not list(tmp_path.glob("items-*"))
    table = pyarrow.parquet.read_table(tmp_path / FILE)
    assert set(table["row"].to_pylist()) == set(range(len(result.rows)))
    for number, row in enumerate(result.rows):
        for split in ("validation", "test"):
            items = read_items(tmp_path, number, split)
            for name, scores in {**row.tasks, **row.suites}.items():
                assert items[name].mean() == pytest.approx(getattr(scores, split).accuracy)
    before, after = read_items(tmp_path, 0), read_items(tmp_path, -1)
    for name, scores in {**result.rows[-1].tasks, **result.rows[-1].suites}.items():
        assert scores.test.lost == pytest.approx((before[name] & ~after[name]).mean())
        assert scores.test.gained == pytest.approx((~before[name] & after[name]).mean())
        assert scores.test.accuracy - result.rows[0].model_copy().suites.get(
            name, result.rows[0].tasks.get(name)
        ).test.accuracy == pytest.approx(scores.test.gained - scores.test.lost)
    predicted = table.filter(pyarrow.compute.equal(table["data"], "colours"))["predicted"].to_pylist()
    assert set(predicted) <= {"red", "green", "blue", "grey"} and None not in predicted


def test_a_run_that_is_killed_keeps_the_items_of_its_earlier_rows(tiny_run, tmp_path):
    class Killed(Exception):
        pass

    class Kill(Watch):
        def row(self, simulation, row):
            if row.after is not None:
                raise Killed

    with pytest.raises(Killed):
        simulate(tiny_run(), tmp_path, watch=Kill())
    resumed = simulate(tiny_run(), tmp_path, resume=True)
    for number, row in enumerate(resumed.rows):
        for name, right in read_items(tmp_path, number).items():
            assert right.mean() == pytest.approx({**row.tasks, **row.suites}[name].test.accuracy)
    whole = pyarrow.parquet.read_table(tmp_path / FILE)
    gather_parts(tmp_path)
    assert pyarrow.parquet.read_table(tmp_path / FILE).equals(whole)


def test_items_change_no_number_and_can_be_left_out(tiny_run, tmp_path):
    with_items = tiny_run()
    without = with_items.model_copy(
        update={"evaluate": with_items.evaluate.model_copy(update={"items": False})}
    )
    assert with_items.key() == without.key() and with_items.training_key() == without.training_key()
    result = simulate(without, tmp_path)
    assert not (tmp_path / FILE).exists()
    assert result.metrics["test"]["f_true"] is not None
    with pytest.raises(UserError, match="items: true"):
        read_items(tmp_path, 0)


def test_true_change_by_hand():
    """20 % went from right to wrong, .8 to .6 of 5 choices: guessing explains .2 · .4 / 4 = .02 of it."""
    assert true_change(0.2, 0.8, 0.6, 5) == pytest.approx(0.18)
    assert true_change(0.01, 0.8, 0.6, 5) == 0.0
    assert true_change(0.2, 0.8, 0.6, None) == 0.2
    assert true_change(None, 0.8, 0.6, 5) is None
    assert chance_adjusted(0.25, 4) == 0.0 and chance_adjusted(1.0, 4) == 1.0
    assert chance_adjusted(0.625, 4) == pytest.approx(0.5)
    assert chance_adjusted(0.1, 4) == 0.0 and chance_adjusted(0.1, None) == 0.1


def test_both_happen_at_once(tiny_run, tmp_path):
    metrics = simulate(tiny_run(), tmp_path).metrics["test"]
    assert set(metrics["f_true_by_suite"]) == set(metrics["bt_true_by_suite"]) == {"colours"}
    assert metrics["f_true"] >= 0 and metrics["bt_true"] >= 0
    assert Result.load(tmp_path).metrics["test"]["f_true"] == metrics["f_true"]


def test_mcnemar_by_hand():
    """7 samples only the first has right, 1 only the second: 2 · P(X <= 1), X ~ B(8, ½), is 2 · 9 / 256."""
    first = np.array([True] * 7 + [False] + [True, False])
    second = np.array([False] * 7 + [True] + [True, False])
    found = mcnemar(first, second)
    assert (found.first_only, found.second_only, found.samples) == (7, 1, 10)
    assert found.p == pytest.approx(18 / 256) and found.difference == pytest.approx(0.6)
    assert mcnemar(first, first).p == 1.0
    with pytest.raises(ValueError, match="same ones"):
        mcnemar(first, second[:-1])
