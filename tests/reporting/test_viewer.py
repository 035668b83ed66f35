"""The viewer: what is dropped into it stands in a report as Python would make it, or is refused in its words."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from pathlib import Path

import pytest
from samples import CONTROL, make_results
from typer.testing import CliRunner

from cl_forget.cli.app import app
from cl_forget.comparison.arms import separate
from cl_forget.comparison.observations import check_comparable
from cl_forget.comparison.trials import Trial, load_trials
from cl_forget.comparison.trials_view import check_trials
from cl_forget.ground.errors import UserError
from cl_forget.ground.records import Fingerprints
from cl_forget.reporting import method_styles, specify, specify_folders
from cl_forget.reporting.html.viewer import viewer_page
from cl_forget.reporting.numbers import spread
from cl_forget.reporting.styles import REGISTERED
from cl_forget.reporting.sweep import specify_sweep

READY = "document.documentElement.dataset.ready === 'true'"
SHOWN = "document.querySelectorAll('#results tbody tr').length"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    path = tmp_path_factory.mktemp("viewer") / "viewer.html"
    path.write_text(viewer_page(), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def some():
    return make_results([CONTROL, "LDIFS", "WiSE-FT", "joint training"], seeds=(0, 1, 2))


def write(folder, results):
    for result in results:
        run = folder / f"{result.method}-{result.seed}".replace(" ", "-")
        run.mkdir(parents=True)
        (run / "result.json").write_text(result.model_dump_json(), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def folder(some, tmp_path_factory):
    place = write(tmp_path_factory.mktemp("dropped") / "quick", some)
    (place / "LDIFS-1" / "notes.md").write_text("the loss <b>jumps</b> at step 40\n", encoding="utf-8")
    (place / "begun").mkdir()
    (place / "begun" / "state.json").write_text("{}")
    return place


@pytest.fixture
def shown(browser, page, folder):
    browser.open(page)
    browser.choose("#folder", folder)
    browser.wait(f"{SHOWN} > 0 && {READY}")
    return browser


def test_a_chosen_folder_stands_there_as_in_pythons_report(shown, some):
    shown.evaluate("clForget.drawAll()")
    assert shown.errors == []
    table = specify(some).item("results")
    cells = shown.evaluate(
        """Object.fromEntries([...document.querySelectorAll('#results tbody tr')].map(row =>
        [row.dataset.method, Object.fromEntries([...row.querySelectorAll('td')].map(td => [td.dataset.measure,
        [td.dataset.value, td.textContent, td.className]]))]))"""
    )
    assert list(cells) == list(table.rows)
    for method, row in table.rows.items():
        for measure in table.measures:
            if measure.name not in cells[method]:
                continue
            value, _, best = cells[method][measure.name]
            mean = row[measure.name].mean
            if method == "pre-trained" and value == "":
                continue  # only what a row alone can tell
            assert (value == "") == (mean is None), (method, measure.name)
            if mean is not None:
                assert float(value) == pytest.approx(mean, rel=1e-9, abs=1e-12), (method, measure.name)
                assert (best == "best") == row[measure.name].best, (method, measure.name)
    assert {"speciality", "generality", "retention", "bwt", "against:generality"} <= set(cells["LDIFS"])
    drawn = (
        "[...document.querySelectorAll('.plot')].filter(plot => plot.querySelector('svg.main-svg')).length"
    )
    assert shown.evaluate(drawn) == shown.evaluate("document.querySelectorAll('.plot').length") > 5
    assert shown.evaluate("document.querySelectorAll('table.grid').length") == 4
    ends = "clForget.csv('results').split('\\n')[2].split(',').slice(0, 4)"
    cell = table.rows[CONTROL]["speciality"]
    name, *numbers = shown.evaluate(ends)
    assert name == CONTROL and [float(x) for x in numbers] == pytest.approx([cell.mean, cell.low, cell.high])


@pytest.mark.parametrize("seeds", [(3,), (0, 4), (0, 1, 2, 3)])
def test_how_sure_a_number_is_is_said_as_python_says_it(browser, page, tmp_path, seeds):
    results = make_results([CONTROL, "LDIFS", "joint training"], seeds=seeds)
    for result in results:
        for row in result.rows[1:]:
            for scores in (*row.tasks.values(), *row.suites.values()):
                scores.test.lost, scores.test.gained = 0.2, 0.05
    browser.open(page)
    browser.choose("#folder", write(tmp_path / "some", results))
    browser.wait(f"{SHOWN} > 0 && {READY}")
    browser.evaluate("clForget.drawAll()")
    assert browser.errors == []
    cells = browser.evaluate(
        """Object.fromEntries([...document.querySelectorAll('#results tbody tr')].map(row =>
        [row.dataset.method, Object.fromEntries([...row.querySelectorAll('td')].map(td =>
        [td.dataset.measure, td.querySelector('small')?.textContent ?? '']))]))"""
    )
    table = specify(results).item("results")
    for method, row in table.rows.items():
        for measure in table.measures:
            if measure.name in cells[method] and measure.unit != "count":
                expected = spread(row[measure.name], measure.unit)
                assert cells[method][measure.name] == expected, (method, measure.name)


def test_it_asks_for_nothing_and_says_what_it_left_out(shown):
    assert all(address.startswith(("file:", "about:")) for address in shown.requests)
    assert "begun has not finished" in shown.evaluate("document.querySelector('.refused').textContent")
    assert (
        shown.evaluate("document.querySelector('#section-notes dd').textContent")
        == "the loss <b>jumps</b> at step 40"
    )
    shown.evaluate("clForget.showRun(clForget.runs.findIndex(({ name }) => name === 'LDIFS, seed 1'))")
    assert "jumps" in shown.evaluate("document.querySelector('#run .written').textContent")


def test_a_zip_and_a_drop_are_read_like_a_folder(browser, page, folder, tmp_path):
    archive = tmp_path / "runs.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for k, path in enumerate(sorted(folder.rglob("result.json"))):
            how = zipfile.ZIP_DEFLATED if k % 2 else zipfile.ZIP_STORED
            file.write(path, path.relative_to(folder.parent), how)
    browser.open(page)
    browser.choose("#archive", archive)
    browser.wait(f"{SHOWN} === 5 && {READY}")
    assert browser.errors == []
    browser.evaluate("document.getElementById('forget').click()")
    browser.wait(f"{SHOWN} === 0")
    browser.drop(folder)
    browser.wait(f"{SHOWN} === 5 && {READY}")
    assert browser.errors == []


@pytest.mark.parametrize("case", ["cut", "no zip", "bytes", "empty"])
def test_a_damaged_archive_is_a_reason(browser, page, folder, tmp_path, case):
    archive = tmp_path / "runs.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        if case != "empty":
            file.write(folder / "LDIFS-0" / "result.json", "LDIFS-0/result.json")
    content = archive.read_bytes()
    bad = {"cut": content[:-40], "no zip": b"hello " * 50, "empty": content,
           "bytes": content[:200] + bytes(64) + content[264:]}[case]  # fmt: skip
    archive.write_bytes(bad)
    browser.open(page)
    browser.choose("#archive", archive)
    browser.wait("document.querySelector('.refused')?.textContent.includes('runs.zip')")
    assert browser.evaluate(SHOWN) == 0


def test_a_second_experiment_is_compared_or_kept_apart(browser, page, some, folder, tmp_path):
    other = [r.model_copy(update={"model": "open_clip:ViT-B-32/openai"}) for r in some if r.method == CONTROL]
    write(tmp_path / "other", other)
    again = write(tmp_path / "again", make_results(["L2-SP"], seeds=(0, 1, 2)))
    browser.open(page)
    browser.choose("#folder", folder)
    browser.wait(f"{SHOWN} === 5 && {READY}")
    browser.choose("#folder", again)
    browser.wait(f"{SHOWN} === 6 && {READY}")
    browser.choose("#folder", tmp_path / "other")
    browser.wait("document.querySelectorAll('.group').length === 2")
    reason = browser.evaluate("document.querySelector('.group small').textContent")
    assert "results with different models cannot stand in one report" in reason
    browser.evaluate("document.querySelector('.group button').click()")
    browser.wait(f"{SHOWN} === 2 && {READY}")
    assert browser.errors == []


def changed(results, case):
    """Two results of which the second is otherwise, by the name of the case."""
    first, second = results
    run = dict(second.run)
    prints = Fingerprints(model="a", data={"digits": "1", "emoji": "2"})
    updates = {
        "alike": {},
        "model": {"model": "other"},
        "stream": {"tasks": ["digits"]},
        "stream settings": {"run": {**run, "stream": [{"digits": {"size": 12, "noise": 1e-05}}]}},
        "suites": {"suites": ["emoji"]},
        "version": {"environment": {**second.environment, "packages": {"cl-forget": "9.9"}}},
        "weights": {"fingerprints": Fingerprints(model="b", data=prints.data)},
        "data": {"fingerprints": Fingerprints(model="a", data={"digits": "1", "emoji": "3"})},
        "both": {"fingerprints": Fingerprints(model="b", data={"digits": "0", "emoji": "3"})},
        "silent": {"fingerprints": None},
        "twice": {"method": first.method, "seed": first.seed, "run": first.run},
        "two methods": {"method": first.method, "seed": 7},
        "reserved": {"method": "pre-trained"},
    }
    return [
        first.model_copy(update={"fingerprints": prints}),
        second.model_copy(update={"fingerprints": prints, **updates[case]}),
    ]


@pytest.mark.parametrize(
    "case",
    ["alike", "model", "stream", "stream settings", "suites", "version", "weights", "data", "both", "silent", "twice",
     "two methods", "reserved", "samples"],
)  # fmt: skip
def test_the_page_and_python_refuse_the_same_in_the_same_words(browser, page, case):
    results = make_results([CONTROL, "LDIFS"], seeds=(0,))
    if case == "samples":
        results[1].rows[0].suites["emoji"].test.samples = 36
    else:
        results = changed(results, case)
    try:
        check_comparable(results)
        expected = None
    except UserError as error:
        expected = str(error)
    if browser.evaluate("typeof clForgetDropped") == "undefined":
        browser.open(page)
    given = json.dumps([json.loads(result.model_dump_json()) for result in results])
    found = browser.evaluate(f"clForgetRule.refusal({given})")
    # Python tells 1.0 from 1 within a list, JavaScript does not.
    assert found == (expected and re.sub(r"(\d)\.0\b", r"\1", expected))


@pytest.mark.parametrize("fields", [{"epochs": 4}, {"lr": 1e-05}, {"betas": [0.9, 0.99]}, {"threads": 3}, {}])
def test_the_page_and_python_separate_the_same_arms(browser, page, fields):
    first, second = make_results(["LDIFS"], seeds=(0, 1))
    second = second.model_copy(update={"run": {**second.run, "train": {**second.run["train"], **fields}}})
    names = [result.method for result in separate([first, second])]
    browser.open(page)
    given = json.dumps([{"result": json.loads(r.model_dump_json())} for r in (first, second)])
    found = browser.evaluate(f"clForgetRule.separate({given}).map(({{ result }}) => result.method)")
    assert found == names


def test_the_page_and_python_give_a_method_the_same_look(browser, page):
    names = [
        *REGISTERED,
        CONTROL,
        "LDIFS + WiSE-FT",
        "ldifs + wise_ft",
        "mine",
        "LDIFS (train.lr=0.1)",
        "Ärger",
    ]
    expected = {
        name: [style.color, style.color_dark, style.symbol]
        for name, style in method_styles(names, CONTROL).items()
    }
    browser.open(page)
    found = browser.evaluate(
        f"Object.fromEntries([...clForgetRule.stylesOf({json.dumps(names)}, '{CONTROL}')].map(([name, look]) => "
        "[name, [look.color, look.color_dark, look.symbol]]))"
    )
    found.pop("pre-trained")
    assert found == expected


def test_the_command_writes_it_and_overwrites_only_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = CliRunner().invoke
    assert run(app, ["viewer"]).exit_code == 0 and run(app, ["viewer"]).exit_code == 0
    assert "Drop results here" in (tmp_path / "viewer.html").read_text()
    (tmp_path / "mine.html").write_text("mine")
    with pytest.raises(UserError, match="overwrite"):
        run(app, ["viewer", "mine.html"], catch_exceptions=False, standalone_mode=False)
    shutil.rmtree(tmp_path / "nowhere", ignore_errors=True)
    assert run(app, ["viewer", "nowhere/a.html"]).exit_code == 0


SWEEP = Path(__file__).parents[2] / "experiments" / "results" / "quickstart-sweep-rn"


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """A real sweep, of which the trials on one base model and the same data."""
    place = tmp_path_factory.mktemp("swept") / "rn"
    records = {file: json.loads(file.read_text()) for file in sorted(SWEEP.glob("trials/*/trial.json"))}
    prints = next(record["fingerprints"] for record in records.values() if record.get("fingerprints"))
    for file, record in records.items():
        if record.get("fingerprints") in (prints, None):
            (place / "trials" / file.parent.name).mkdir(parents=True)
            shutil.copy(file, place / "trials" / file.parent.name)
    shutil.copy(SWEEP / "sweep.json", place)
    return place


def test_a_sweep_stands_there_with_the_settings_that_python_chooses(browser, page, folder, sweep):
    expected = specify_folders(sweep)
    table = expected.item("results")
    browser.open(page)
    browser.choose("#folder", sweep)
    browser.wait(f"{SHOWN} > 0 && {READY}")
    browser.evaluate("clForget.drawAll()")
    assert browser.errors == []
    cells = browser.evaluate(
        """Object.fromEntries([...document.querySelectorAll('#results tbody tr')].map(row =>
        [row.dataset.method, Object.fromEntries([...row.querySelectorAll('td')].map(td =>
        [td.dataset.measure, td.dataset.value]))]))"""
    )
    settings = browser.evaluate(
        "Object.fromEntries([...document.querySelectorAll('#results tbody tr')].map(row => "
        "[row.dataset.method, row.querySelector('th small:last-of-type')?.textContent]))"
    )
    assert set(cells) == set(table.rows)
    for method, row in table.rows.items():
        if method != "pre-trained":
            assert settings[method] == table.setting(method), method
        for name, value in cells[method].items():
            mean = row[name].mean
            if method == "pre-trained" and value == "":
                continue
            assert (value == "") == (mean is None), (method, name)
            assert mean is None or float(value) == pytest.approx(mean, rel=1e-9, abs=1e-12), (method, name)
    assert browser.evaluate("clForget.runs.length") == len(expected.runs)
    browser.choose("#folder", folder)
    browser.wait("document.querySelectorAll('.group').length === 2")
    assert "is a sweep and" in browser.evaluate("document.querySelector('.group small').textContent")


def searched(case):
    """L2-SP at (rate, strength) on two seeds each, named in no order; the first would win by the largest mean."""
    numbers = {(3e-3, 0.1): (0.9, 0.9), (1e-3, 1.0): (0.8, 0.8), (1e-4, 10.0): (0.7, 0.7)}
    if case == "tie":  # the lowest strength has the highest rate
        numbers = dict.fromkeys(numbers, (0.8, 0.8))
    if case == "tie in the mean":
        numbers[3e-3, 0.1], numbers[1e-3, 1.0] = (0.875, 0.875), (0.8125, 0.9375)
    trials = []
    for (rate, strength), (speciality, retention) in numbers.items():
        for seed in (0, 1):
            validation = {"speciality": speciality, "retention": retention}
            test = {"speciality": speciality, "generality": retention / 2, "generality_pretrained": 0.5}
            trial = Trial(
                sweep="made up", id=f"{rate}-{seed}", method="L2-SP", mitigations=[{"l2_sp": {"strength": strength}}],
                knob="l2_sp.strength", value=strength, seed=seed, status="finished",
                config={"l2_sp.strength": strength, "train.lr": rate}, validation=validation, test=test,
            )  # fmt: skip
            trials.append(trial)
    if case == "a seed without a record":
        del trials[1]
    if case == "a seed that diverged":
        trials[1] = trials[1].model_copy(update={"status": "diverged"})
    if case in ("speciality", "retention"):
        trials[1] = trials[1].model_copy(update={"validation": {**trials[1].validation, case: None}})
    if case == "twice":  # of two records of a setting and seed the later one counts
        worse = trials[0].model_copy(
            update={"id": "again", "validation": {"speciality": 0.65, "retention": 0.65}}
        )
        trials.append(worse)
    return trials


@pytest.mark.parametrize(
    ("case", "label"),
    [
        ("plain", "strength = 0.1, train.lr = 0.003"),
        ("tie", "strength = 10, train.lr = 0.0001"),
        ("tie in the mean", "strength = 1, train.lr = 0.001"),
        *(
            (case, "strength = 1, train.lr = 0.001")
            for case in (
                "a seed without a record",
                "a seed that diverged",
                "speciality",
                "retention",
                "twice",
            )
        ),
    ],
)
def test_the_page_and_python_choose_the_same_setting(browser, page, case, label):
    trials = searched(case)
    assert specify_sweep(trials).item("results").setting("L2-SP") == label
    browser.open(page)
    given = json.dumps([json.loads(trial.model_dump_json()) for trial in trials])
    found = browser.evaluate(f"clForgetRule.specificationOfSweep({given}).table.settings")
    assert found == {"L2-SP": label}


@pytest.mark.parametrize("case", ["alike", "suites", "base", "weights", "none"])
def test_the_page_and_python_refuse_the_same_trials(browser, page, sweep, case):
    trials = load_trials(sweep)[:4] if case != "none" else []
    if case == "suites":
        trials[3] = trials[3].model_copy(
            update={"test": {**trials[3].test, "generality_by_suite": {"a": 0.5}}}
        )
    if case == "base":
        trials[3] = trials[3].model_copy(update={"test": {**trials[3].test, "generality_pretrained": 0.25}})
    if case == "weights":
        prints = [Fingerprints(model=name, data={"a": "1"}) for name in "xy"]
        trials[1:3] = [
            t.model_copy(update={"fingerprints": p}) for t, p in zip(trials[1:3], prints, strict=True)
        ]
    try:
        check_trials(trials)
        expected = None
    except UserError as error:
        expected = str(error)
    browser.open(page)
    given = json.dumps([json.loads(trial.model_dump_json()) for trial in trials])
    assert browser.evaluate(f"clForgetRule.refusalOfTrials({given})") == expected
    assert (expected is None) == (case == "alike")


def test_what_is_no_run_is_named_with_what_it_is(browser, page, tmp_path):
    (tmp_path / "audited").mkdir()
    (tmp_path / "audited" / "audit.json").write_text("{}")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "result.json").write_text('{"schema_version": 99}')
    (tmp_path / "worse").mkdir()
    (tmp_path / "worse" / "result.json").write_text('{"method": NaN')
    browser.open(page)
    browser.choose("#folder", tmp_path)
    browser.wait("document.querySelectorAll('.refused li').length === 3")
    reasons = browser.evaluate("[...document.querySelectorAll('.refused li')].map((one) => one.textContent)")
    assert any("audited is an audit" in reason for reason in reasons)
    assert any("schema 99" in reason for reason in reasons)
    assert any("worse/result.json is not a result of this version" in reason for reason in reasons)
    assert browser.errors == []
