"""The training curves of a report, from event logs."""

from __future__ import annotations

import json

import pytest
from samples import CONTROL, TASKS, make_results

from cl_forget.reporting import report, specify
from cl_forget.reporting.training_curves import NUMBERS, POINTS, window_width
from cl_forget.tracking.steps import read_windows

STEPS = 60  # of each task


def write_log(file, seed: int, steps: int = STEPS, term: str | None = None) -> None:
    records = [{"row": 0, "after": None}]
    for number in range(3 * steps):
        loss = 2.0 ** -(number % steps) + seed
        terms = {"task": loss - 0.5, term: 0.5} if term else {"task": loss}
        record = {"stage": TASKS[number // steps], "run_step": number + 1, "step": number % steps}
        records.append({**record, "loss": loss, "terms": terms, "lr": 1e-3, "norm": 3.0})
        if number % steps == steps - 1:
            records.append({"row": number // steps + 1, "after": TASKS[number // steps]})
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(record) + "\n" for record in records) + '{"stage": "cut o')


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Two arms that took steps and one that did not, two seeds."""
    place = tmp_path_factory.mktemp("runs")
    results = make_results([CONTROL, "LDIFS", "WiSE-FT"], seeds=(0, 1))
    folders = {(result.method, result.seed): place / f"{result.method}-{result.seed}" for result in results}
    for (method, seed), folder in folders.items():
        if method != "WiSE-FT":
            write_log(folder / "events.jsonl", seed, term="ldifs" if method == "LDIFS" else None)
    for result in results:
        for number, row in enumerate(result.rows):
            row.cost.steps = number * STEPS
    return results, folders


def test_windows_are_means_and_end_with_their_stage(tmp_path):
    write_log(tmp_path / "events.jsonl", 0, steps=10)
    windows = read_windows(tmp_path / "events.jsonl", 4)
    assert [(w.stage, w.last) for w in windows[:4]] == [
        (TASKS[0], 4),
        (TASKS[0], 8),
        (TASKS[0], 10),
        (TASKS[1], 14),
    ]
    assert windows[0].values["loss"] == pytest.approx((1 + 0.5 + 0.25 + 0.125) / 4)
    assert windows[2].values["loss"] == pytest.approx((2**-8 + 2**-9) / 2)
    assert read_windows(tmp_path / "none.jsonl", 4) == []


def test_a_loss_that_was_no_number_is_left_out(tmp_path):
    lines = [
        {"stage": "a", "run_step": 1, "loss": float("nan"), "norm": 1.0},
        {"stage": "a", "loss": 1.0, "norm": 3.0},
    ]
    (tmp_path / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (window,) = read_windows(tmp_path / "events.jsonl", 2)
    assert window.last == 2 and window.values == {"norm": 2.0}


def test_many_or_long_runs_have_fewer_points_each():
    assert window_width([100]) == 1
    assert window_width([POINTS * 50]) == 50
    many = window_width([1200] * 1000)
    assert 1200 / many * 1000 * 6 <= 1.1 * NUMBERS and many < 1200
    assert window_width([0, 0]) == 1


def test_the_figure_has_every_arm_and_names_what_was_trained(world):
    results, folders = world
    figure = specify(results, folders=folders).item("training")
    assert [m.name for m in figure.measures] == [
        "loss", "term:task", "term:ldifs", "lr", "norm",
        "validation_speciality", "validation_generality", "validation_kl",
    ]  # fmt: skip
    assert set(figure.stages) == {CONTROL, "LDIFS"}
    assert figure.stages["LDIFS"] == ((TASKS[0], 60), (TASKS[1], 120), (TASKS[2], 180))
    assert "mean of 2 neighbouring steps" in figure.how_to_read
    keys, values = ("method", "seed", "step", "measure"), figure.data["value"]
    of = dict(zip(zip(*(figure.data[key] for key in keys), strict=True), values, strict=True))
    assert of[CONTROL, 1, 2, "loss"] == pytest.approx(1.75)
    assert of["LDIFS", 0, 60, "term:ldifs"] == 0.5
    assert ("WiSE-FT", 0, 60, "loss") not in of and ("WiSE-FT", 0, 60, "validation_generality") in of
    assert of[CONTROL, 0, 0, "validation_generality"] == pytest.approx((0.86 + 0.62) / 2)


def test_without_logs_there_is_no_figure(world):
    results, _ = world
    with pytest.raises(KeyError):
        specify(results).item("training")


def test_the_page_draws_smooths_and_saves_them(world, browser, tmp_path):
    results, folders = world
    written = report(results, tmp_path, folders=folders)
    browser.open(written.page)
    browser.evaluate("clForget.drawAll()")
    assert browser.errors == []
    plot = "document.querySelector('#training .plot[data-measure=loss]')"
    lines = f"{plot}.data.filter((trace) => trace.mode === 'lines' && trace.hoverinfo !== 'skip')"
    assert browser.evaluate(f"{lines}.length") == 2
    first = browser.evaluate(f"{lines}[0].y.slice(0, 3)")
    assert first == pytest.approx([0.5 + 0.75, 0.5 + 0.1875, 0.5 + 0.046875], rel=1e-3)
    assert browser.evaluate(f"{lines}[0].y.filter((y) => y === null).length") == 2  # tasks are not joined
    browser.evaluate(
        "(() => { const s = document.querySelector('[data-smoothing]'); s.value = 0.5;"
        " s.dispatchEvent(new Event('input')); return clForget.drawAll(); })()"
    )
    after = browser.evaluate(f"{lines}[0].y.slice(0, 2)")
    assert after == pytest.approx([first[0], (0.5 * first[0] + first[1]) / 1.5], rel=1e-3)
    saved = browser.evaluate("clForget.csv('training').split('\\n').length")
    assert saved == len(written.specification.item("training").data["value"]) + 2
    assert browser.errors == []
