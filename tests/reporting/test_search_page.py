"""The figures of the search in a real browser: drawn, chosen, hidden, saved, kept in the address."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from browser import Browser
from dashboard import make_trials
from search_samples import made

from cl_forget.comparison.trials import Trial
from cl_forget.config.sweep import Sweep
from cl_forget.reporting import report_sweep
from cl_forget.reporting.search_figures import NOT_RECORDED
from cl_forget.sweeps.drawing import drawn
from cl_forget.sweeps.planning import planned

FIGURES = ("importance", "slices", "pairs", "history", "anytime", "timeline", "profiles", "law")


@pytest.fixture(scope="module")
def trials() -> list[Trial]:
    return [
        trial
        for number, (method, name, seed) in enumerate(
            [("L2-SP", "l2_sp", 0), ("L2-SP", "l2_sp", 1), ("KD <b>", "kd", 0), ("KD <b>", "kd", 1)]
        )
        for trial in made(method, name, seed, number)
    ]


@pytest.fixture(scope="module")
def written(trials: list[Trial], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report_sweep(trials, tmp_path_factory.mktemp("search")).page


@pytest.fixture
def page(browser: Browser, written: Path) -> Browser:
    browser.open(written)
    browser.evaluate("clForget.drawAll()")
    return browser


def choose(page: Browser, figure: str, name: str, value: str) -> None:
    page.evaluate(
        f"(() => {{ const s = document.querySelector('#{figure} [data-choice={name}]'); s.value = {value!r};"
        "s.dispatchEvent(new Event('change')); })()"
    )
    page.evaluate("clForget.drawAll()")


def test_every_figure_is_drawn_and_saved(page: Browser) -> None:
    for name in FIGURES:
        drawn = page.evaluate(
            f"document.querySelectorAll('#{name} .facet:not([hidden]) svg.main-svg').length"
        )
        assert drawn, name
        assert page.evaluate(f"clForget.figureSvg('{name}')").startswith("<svg"), name
        assert page.evaluate(f"clForget.csv('{name}').split('\\n').length") > 5, name
    assert page.errors == []


def test_choices_redraw_their_figure_and_stand_in_the_address(page: Browser, written: Path) -> None:
    data = "document.querySelector('#pairs [data-panel=surface]').data"
    choose(page, "pairs", "method", "L2-SP")
    assert page.evaluate(f"{data}[0].type") == "contour"
    before = page.evaluate(f"JSON.stringify({data}[0].z)")
    choose(page, "pairs", "measure", "generality")
    assert page.evaluate(f"JSON.stringify({data}[0].z)") != before
    first = page.evaluate("document.querySelector('#pairs [data-choice=x]').value")
    other = {"train.lr": "l2_sp.strength", "l2_sp.strength": "train.lr"}[first]
    choose(page, "pairs", "x", other)
    across = "document.querySelector('#pairs [data-panel=surface]').layout.xaxis.title.text"
    assert page.evaluate(across) == other
    end = {"l2_sp.strength": 1.0, "train.lr": -1.0}[other]
    assert page.evaluate(f"{data}[0].x.at(-1)") == pytest.approx(end), "the surface is turned over, too"
    choose(page, "history", "along", "seconds")
    fragment = page.evaluate("location.hash")
    page.open(written, fragment=fragment)
    page.evaluate("clForget.drawAll()")
    assert page.evaluate(across) == other
    assert page.evaluate("document.querySelector('#history [data-choice=along]').value") == "seconds"
    assert page.errors == []


def test_fields_follow_the_method_that_is_chosen(page: Browser) -> None:
    choose(page, "slices", "method", "KD <b>")
    heads = page.evaluate(
        "[...document.querySelectorAll('#slices .facet:not([hidden]) h4')].map(h => h.textContent)"
    )
    assert set(heads) == {"train.lr", "kd.strength"}
    choose(page, "pairs", "method", "KD <b>")
    options = page.evaluate("[...document.querySelector('#pairs [data-choice=x]').options].map(o => o.value)")
    assert options == heads, "what matters most comes first"
    assert page.errors == []


def test_a_method_that_was_switched_off_comes_back(page: Browser) -> None:
    shown = "document.querySelector('#importance [data-panel=\"L2-SP\"]').checkVisibility()"
    chip = "document.querySelector('.chip[data-method=\"L2-SP\"]').click()"
    page.evaluate(chip)
    page.evaluate("clForget.drawAll()")
    assert not page.evaluate(shown)
    bars = "new Set(document.querySelector('#timeline .plot').data.flatMap(trace => trace.text)).size"
    fewer = page.evaluate(bars)
    page.evaluate(chip)
    page.wait(shown)
    page.evaluate("clForget.drawAll()")
    assert page.evaluate(bars) > fewer
    assert page.evaluate("document.querySelector('#importance [data-panel=\"L2-SP\"]').data.length") == 2


def test_a_bar_of_the_timeline_opens_its_trial(page: Browser, trials: list[Trial]) -> None:
    number = page.evaluate("document.querySelector('#timeline .plot').data[0].customdata[0]")
    page.evaluate(f"clForget.showRun({number})")
    assert page.evaluate("document.querySelector('#run').open")
    page.evaluate("document.querySelector('#run').close()")


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_nothing_is_wider_than_the_page(browser: Browser, written: Path, width: int, dark: bool) -> None:
    browser.open(written, width=width, dark=dark)
    browser.evaluate("clForget.drawAll()")
    assert browser.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert browser.errors == []
    browser.resize(1280, 900)


def test_what_is_not_recorded_is_said_in_its_place(browser: Browser, tmp_path: Path) -> None:
    old = [trial.model_copy(update={"attempts": []}) for trial in make_trials(100)]
    browser.open(report_sweep(old, tmp_path).page)
    for name in ("history", "anytime", "timeline"):
        assert NOT_RECORDED in browser.evaluate(f"document.getElementById('{name}').textContent")
        assert browser.evaluate(f"document.querySelectorAll('#{name} .plot, #{name} .save').length") == 0
    assert browser.errors == []


def test_who_acts_in_a_composition_is_drawn_as_a_field(browser: Browser, tmp_path: Path) -> None:
    recipe = {
        "compose": {"of": ["kd", "l2_sp", "wise_ft"], "most": 2},
        "space": {"train.lr": [1e-4, 1e-3, 1e-2]},
    }
    plain: dict[str, Any] = {
        "model": "tiny-clip",
        "stream": "squares",
        "suites": ["colours"],
        "mode": "search",
    }
    asked = Sweep(**plain, methods={"recipe": recipe}, control=False)
    trials = {}
    for turn in range(60):
        trial = planned(asked, "recipe", drawn(asked, "recipe", turn), seed=0).trial
        speciality = 0.4 + 0.3 * ("kd" in trial.config["compose"]) + turn / 1000
        numbers = {
            "speciality": speciality,
            "generality": 0.4 + turn / 1000,
            "speciality_pretrained": 0.2,
            "generality_pretrained": 0.5,
        }
        changes = {"status": "finished", "validation": numbers, "test": numbers, "seconds": 1.0}
        trials[trial.id] = trial.model_copy(update=changes)
    browser.open(report_sweep(list(trials.values()), tmp_path).page)
    browser.evaluate("clForget.drawAll()")
    rows = browser.evaluate("clForget.csv('importance')").splitlines()
    shares = {row.split(",")[2]: float(row.split(",")[3]) for row in rows[1:] if ",speciality," in row}
    assert max(shares, key=lambda name: shares[name]) == "kd acts"
    assert "kd acts" in browser.evaluate("document.querySelector('#slices').textContent")
    assert browser.errors == []
