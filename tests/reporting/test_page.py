"""The page in a real browser: nothing fetched, nothing complained about, and every number right."""

from __future__ import annotations

import base64
import csv
import io
from xml.etree import ElementTree

import numpy as np
import pytest
from browser import Browser
from samples import CONTROL, make_results

from cl_forget.comparison.item_errors import item_errors
from cl_forget.comparison.measures import PRETRAINED, Cell
from cl_forget.evaluation.metrics import pareto_front
from cl_forget.reporting import report
from cl_forget.reporting.numbers import number, with_interval

READY = "document.documentElement.dataset.ready === 'true'"
DRAWN = "document.querySelectorAll('.plot svg.main-svg').length"


@pytest.fixture(scope="module")
def written(results, tmp_path_factory):
    return report(results, tmp_path_factory.mktemp("report"))


@pytest.fixture(scope="module")
def page(browser: Browser, written):
    """The full report, opened once; tests leave it as they found it."""
    browser.load_seconds = browser.open(written.page)
    browser.first_drawn = browser.evaluate(DRAWN)
    browser.evaluate("clForget.drawAll()")
    return browser


def test_the_page_draws_everything_and_asks_for_nothing(page, written, record_property):
    assert page.errors == []
    assert page.requests == [written.page.resolve().as_uri()]
    assert 0 < page.first_drawn < 20, "what is out of sight is drawn when it is scrolled to"
    drawn = "[...document.querySelectorAll('.plot')].every(plot => plot.querySelector('svg.main-svg'))"
    assert page.evaluate(drawn)
    assert page.evaluate("document.querySelectorAll('.plot').length") > 20
    record_property("load_seconds", page.load_seconds)
    # The limit is for a machine busy with other work; on an idle one it takes a second or two.
    assert page.load_seconds < 60


def test_the_table_shows_the_results(page, written):
    table = written.specification.item("results")
    shown = page.evaluate(
        """Object.fromEntries([...document.querySelectorAll('#results tbody tr')].map(row =>
        [row.dataset.method, Object.fromEntries([...row.querySelectorAll('td')].map(td => [td.dataset.measure,
        [td.dataset.value, td.firstChild.textContent, td.className]]))]))"""
    )
    assert set(shown) == set(table.rows)
    for method, row in table.rows.items():
        for measure in table.measures:
            cell = row[measure.name]
            assert shown[method][measure.name] == [
                "" if cell.mean is None else str(cell.mean),
                number(cell.mean, measure.unit),
                "best" if cell.best else "",
            ]
    assert shown["joint training"]["bwt"][:2] == ["", "–"]


@pytest.mark.parametrize("name", ["tradeoff", "accuracy-matrix", "drift"])
def test_a_figures_csv_is_its_data(page, written, name):
    lines = list(csv.reader(io.StringIO(page.evaluate(f"clForget.csv('{name}')"))))
    data = written.specification.item(name).data
    assert lines[0] == list(data)
    expected = list(zip(*data.values(), strict=True))
    assert len(lines) - 1 == len(expected)
    value, other = lines[0].index("value"), [k for k, column in enumerate(lines[0]) if column != "setting"]
    for line, entry in zip(lines[1:], expected, strict=True):
        assert float(line[value]) == entry[value]
        assert [line[k] for k in other if k != value] == [
            "" if entry[k] is None else str(entry[k]) for k in other if k != value
        ]


def test_the_tables_csv_is_the_file(page, written):
    assert page.evaluate("clForget.csv('results')") == written.csv.read_text()


def test_the_pages_pareto_front_is_the_metrics(page):
    points = np.random.default_rng(1).integers(0, 12, (60, 2)) / 12  # a coarse grid: many ties
    found = page.evaluate(f"clForget.paretoFront({points.tolist()}, [1, 1])")
    assert {tuple(points[k]) for k in found} == {tuple(points[k]) for k in pareto_front(points)}
    flipped = page.evaluate(f"clForget.paretoFront({(points * [1, -1]).tolist()}, [1, -1])")
    assert sorted(flipped) == sorted(found)


def test_labels_in_the_tradeoff_do_not_overlap(page):
    texts = "[...document.querySelectorAll('#tradeoff .annotation-text-g text')]"
    box = (
        "const b = text.getBoundingClientRect(); return [text.textContent, b.left, b.top, b.right, b.bottom]"
    )
    boxes = page.evaluate(f"{texts}.map(text => {{ {box}; }})")
    names = {box[0] for box in boxes}
    assert {PRETRAINED, CONTROL, "LDIFS", "WiSE-FT"} <= names
    for k, (name, left, top, right, bottom) in enumerate(boxes):
        for other, left2, top2, right2, bottom2 in boxes[:k]:
            wide, high = min(right, right2) - max(left, left2), min(bottom, bottom2) - max(top, top2)
            assert wide <= 1 or high <= 3, f"{name} on {other}"


def test_a_method_can_be_switched_off_and_on(page):
    chip = "document.querySelector('.chip[data-method=LDIFS]')"
    drawn = "[...document.querySelectorAll('#cost .plot')[0].data[0].y]"
    assert "LDIFS" in page.evaluate(drawn)
    page.evaluate(f"{chip}.click(); clForget.drawAll()")
    assert "LDIFS" not in page.evaluate(drawn)
    assert page.evaluate("document.querySelector('tr[data-method=LDIFS]').hidden")
    assert page.evaluate(f"{chip}.getAttribute('aria-pressed')") == "false"
    page.evaluate(f"{chip}.click(); clForget.drawAll()")
    assert "LDIFS" in page.evaluate(drawn)
    assert page.errors == []


def test_all_methods_off_is_an_empty_page_and_not_an_error(page):
    page.evaluate("document.getElementById('all').click(); clForget.drawAll()")
    assert page.evaluate("document.querySelectorAll('.plot svg').length") == 0
    page.evaluate("document.getElementById('all').click(); clForget.drawAll()")
    assert page.evaluate("document.querySelectorAll('.plot svg').length") > 0
    assert page.errors == []


def test_seeds_can_be_hidden_and_axes_chosen(page, written):
    traces = "document.querySelector('#tradeoff .plot').data.length"
    before = page.evaluate(traces)
    page.evaluate("document.getElementById('seeds').click()")
    page.wait(READY)
    assert page.evaluate(traces) == before - 9, "one group of dots per method that has seeds"
    page.evaluate("document.getElementById('seeds').click()")
    axis = "document.querySelector('[data-axis=y]')"
    choose = f"{axis}.value = '{{}}'; {axis}.dispatchEvent(new Event('change'))"
    page.evaluate(choose.format("delta_lp"))
    page.wait(READY)
    traces = "document.querySelector('#tradeoff .plot').data"
    shown = page.evaluate(f"{traces}.filter(trace => trace.name === 'LDIFS').at(-1).y[0]")
    assert shown == pytest.approx(100 * written.specification.item("results").rows["LDIFS"]["delta_lp"].mean)
    page.evaluate(choose.format("generality"))
    page.wait(READY)
    assert page.errors == []


def test_the_table_sorts_and_terms_explain_themselves(page, written):
    rows = "[...document.querySelectorAll('#results tbody tr')].map(row => row.dataset.method)"
    before = page.evaluate(rows)
    heading = "document.querySelector('#results th[data-measure=bwt]')"
    page.evaluate(f"{heading}.querySelector('.sort').click()")
    order = page.evaluate(rows)
    table = written.specification.item("results").rows
    known = [table[name]["bwt"].mean for name in order[1:-1]]
    assert order[0] == PRETRAINED and order[-1] == "joint training", "missing values go last"
    assert known == sorted(known, reverse=True)
    assert page.evaluate(f"{heading}.getAttribute('aria-sort')") == "descending"
    assert sorted(order) == sorted(before)
    page.evaluate(f"{heading}.querySelector('.term').click()")
    assert "backward transfer" in page.evaluate(
        "document.querySelector('#definition:popover-open').textContent"
    )
    page.evaluate("document.getElementById('definition').hidePopover()")


def test_a_run_opens_with_its_command_settings_and_numbers(page, written, results):
    index = next(k for k, run in enumerate(written.specification.runs) if run.name == "LDIFS, seed 2")
    page.evaluate("document.querySelector('#runs input[type=search]').value = 'ldifs, seed 2'")
    page.evaluate("document.querySelector('#runs input[type=search]').dispatchEvent(new Event('input'))")
    assert page.evaluate("document.querySelectorAll('#runs tbody tr').length") == 1
    page.evaluate("document.querySelector('#runs .open').click()")
    card = "document.querySelector('dialog[open]')"
    read = (
        "(list => Object.fromEntries([...list.children].map((dt, k, all) => [dt.textContent, "
        "all[k + 1]?.textContent]).filter((_, k) => k % 2 === 0)))"
    )
    assert page.evaluate(f"{card}.querySelector('h3').textContent") == "LDIFS, seed 2"
    assert page.evaluate(f"{card}.querySelector('code').textContent") == "cl-forget run sample.yaml"
    own = page.evaluate(f"{read}({card}.querySelector('.own'))")
    assert own["mitigations.ldifs.strength"] == "1" and own["seed"] == "2"
    assert page.evaluate(f"{read}({card}.querySelector('.shared'))")["train.epochs"] == "5"
    assert page.evaluate(f"{read}({card}.querySelector('.environment'))")["commit"] == "0123abc"
    result = next(r for r in results if (r.method, r.seed) == ("LDIFS", 2))
    shown = page.evaluate(f"{read}({card}.querySelector('.numbers'))")
    for title, name in (("Speciality", "speciality"), ("Generality drop", "generality_drop")):
        cell = Cell(result.metrics["test"][name], count=1, error=item_errors(result).get(name))
        assert shown[title] == f"{with_interval(cell, 'points')} {'%' if name == 'speciality' else 'points'}"
    assert "(" in shown["Speciality"] and "(" not in shown["BWT"]
    line = page.evaluate("document.querySelector('#runs tbody tr').textContent")
    assert shown["Speciality"].removesuffix(" %") in line
    page.evaluate(f"{card}.close()")
    page.evaluate("document.querySelector('#runs input[type=search]').value = ''")
    page.evaluate("document.querySelector('#runs input[type=search]').dispatchEvent(new Event('input'))")
    assert page.evaluate("document.querySelectorAll('#runs tbody tr').length") == 25
    page.evaluate("document.querySelector('#runs .more').click()")
    assert page.evaluate("document.querySelectorAll('#runs tbody tr').length") == len(results)
    assert written.specification.runs[index].method == "LDIFS"


@pytest.mark.parametrize("name", ["tradeoff", "accuracy-matrix", "retention", "transfer"])
def test_a_figure_is_saved_as_svg_and_png(page, name):
    svg = page.evaluate(f"clForget.figureSvg('{name}')")
    root = ElementTree.fromstring(svg)
    assert root.tag.endswith("svg") and float(root.get("width")) > 300
    assert "LDIFS" in "".join(root.itertext())
    read = "blob => new Promise(done => { const reader = new FileReader(); reader.onload = () => done(reader.result);"
    png = page.evaluate(f"clForget.figurePng('{name}').then({read} reader.readAsDataURL(blob); }}))")
    content = base64.b64decode(png.split(",")[1])
    assert content.startswith(b"\x89PNG") and len(content) > 10_000
    assert page.errors == []


def test_the_buttons_download_files(page, tmp_path):
    page.call("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(tmp_path))
    for form in ("csv", "svg", "png"):
        page.evaluate(f"document.querySelector('#retention .save[data-format={form}]').click()")
        page.wait_for(lambda form=form: (tmp_path / f"retention.{form}").exists())
    page.wait_for(lambda: not list(tmp_path.glob("*.crdownload")))
    assert (tmp_path / "retention.csv").read_text().startswith("method,seed,measure,x,value")
    assert page.errors == []


def test_a_point_under_the_mouse_names_its_run_and_command(page):
    page.evaluate("document.querySelector('#tradeoff').scrollIntoView()")
    page.wait(READY)
    trace = "[...document.querySelector('#tradeoff .plot').data].filter(t => t.name === 'LDIFS' && t.text)"
    texts = page.evaluate(f"{trace}.flatMap(t => t.text)")
    assert any("seed 1" in text and "cl-forget run sample.yaml" in text for text in texts)
    page.evaluate(
        "document.querySelector('#tradeoff .plot').emit('plotly_click', {points: [{customdata: 0}]})"
    )
    assert page.evaluate("document.querySelector('dialog[open] h3').textContent") == f"{CONTROL}, seed 0"
    page.evaluate("document.querySelector('dialog[open]').close()")


def test_what_was_chosen_is_in_the_address_and_comes_back(browser, written):
    state = "#off=%5B%22SAM%22%5D&seeds=0&axes.tradeoff=%5B%22speciality%22%2C%22bwt%22%5D"
    browser.open(written.page, fragment=state)
    assert browser.evaluate("document.querySelector('.chip[data-method=SAM]').ariaPressed") == "false"
    assert browser.evaluate("document.querySelector('#tradeoff [data-axis=y]').value") == "bwt"
    browser.evaluate("document.querySelector('.chip[data-method=SAM]').click()")
    assert "SAM" not in browser.evaluate("location.hash") and "bwt" in browser.evaluate("location.hash")
    assert browser.errors == []


def test_the_keyboard_reaches_everything(browser, written):
    browser.open(written.page)
    reached = browser.evaluate(
        "[...document.querySelectorAll('button, select, input, summary, a')]"
        ".filter(element => element.offsetParent && element.tabIndex < 0).length"
    )
    assert reached == 0
    browser.evaluate("document.querySelector('.chip[data-method=LDIFS]').focus()")
    for kind in ("keyDown", "keyUp"):
        browser.call(
            "Input.dispatchKeyEvent", type=kind, key=" ", code="Space", text=" " if kind == "keyDown" else ""
        )
    assert browser.evaluate("document.querySelector('.chip[data-method=LDIFS]').ariaPressed") == "false"
    unnamed = (
        "[...document.querySelectorAll('button')].filter(b => !b.textContent.trim() && !b.ariaLabel).length"
    )
    assert browser.evaluate(unnamed) == 0


def test_dark_ground_and_a_phones_width(browser, written, results):
    browser.open(written.page, width=390, height=844, dark=True, phone=True)
    assert browser.errors == []
    assert browser.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 24, 28)"
    assert browser.evaluate("document.documentElement.scrollWidth") == 390
    inside = (
        "[...document.querySelectorAll('.plot svg')].every(svg => svg.getBoundingClientRect().right <= 390)"
    )
    assert browser.evaluate(inside)
    browser.evaluate("document.getElementById('theme').click()")
    browser.wait(READY)
    assert browser.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


@pytest.mark.parametrize("case", ["one seed", "one method", "odd names", "no suites"])
def test_small_reports_open_too(browser, tmp_path, case):
    results = {
        "one seed": lambda: make_results([CONTROL, "WiSE-FT", "joint training"], seeds=(0,)),
        "one method": lambda: make_results(["LDIFS"]),
        "odd names": lambda: [
            result.model_copy(update={"method": f"</script><b>{result.method}&\"'"})
            for result in make_results([CONTROL, "LDIFS"], seeds=(0, 1))
        ],
        "no suites": lambda: make_results([CONTROL], (0,), ["digits"], [], []),
    }[case]()
    written = report(results, tmp_path)
    browser.open(written.page)
    browser.evaluate("clForget.drawAll()")
    assert browser.errors == []
    names = browser.evaluate(
        "[...document.querySelectorAll('#results tbody tr')].map(row => row.dataset.method)"
    )
    assert names == [PRETRAINED, *dict.fromkeys(result.method for result in results)]
    assert browser.evaluate("document.querySelectorAll('.plot svg.main-svg').length") > 0
