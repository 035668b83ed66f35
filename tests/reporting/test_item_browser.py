"""The items behind the numbers: as pure data, and in the page."""

from __future__ import annotations

import io
import json

import pyarrow
import pyarrow.parquet
import pytest
from item_files import CLASSES, said, truth, write_items
from PIL import Image
from samples import CONTROL, SUITES, TASKS, make_results

from cl_forget.comparison.measures import PRETRAINED
from cl_forget.reporting import items as items_module
from cl_forget.reporting import report, specify
from cl_forget.reporting.html.render import page
from cl_forget.reporting.items import FIRST_CODE, item_page, items_of

COUNT = 40


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    place = tmp_path_factory.mktemp("runs")
    results = make_results([CONTROL, "LDIFS", "SAM"], seeds=(0, 1))
    folders = {(result.method, result.seed): place / f"{result.method}-{result.seed}" for result in results}
    for result in results:
        if result.method != "SAM":  # SAM's runs have kept none
            write_items(folders[result.method, result.seed], result, COUNT)
    return results, folders


def test_every_answer_is_in_the_page_as_the_run_gave_it(world):
    results, folders = world
    found = item_page(items_of(results, folders)).content
    assert [(run["method"], run["seed"]) for run in found["runs"]] == [
        (CONTROL, 0),
        (CONTROL, 1),
        ("LDIFS", 0),
        ("LDIFS", 1),
    ]
    assert [row["after"] for row in found["runs"][0]["rows"]] == [
        PRETRAINED,
        *(f"after {name}" for name in TASKS),
    ]
    assert [(one["name"], one["role"], one["total"]) for one in found["sets"]] == [
        *((name, "task", COUNT) for name in TASKS), *((name, "suite", COUNT) for name in SUITES),
    ]  # fmt: skip
    by_name = {(result.method, result.seed): result for result in results}
    for run in found["runs"]:
        for number, row in enumerate(run["rows"]):
            for one in found["sets"]:
                right, answers, *states = row["sets"][one["name"]]
                words = [one["names"][ord(sign) - FIRST_CODE] for sign in found["strings"][answers]]
                expected = said(by_name[run["method"], run["seed"]], number, one["name"], COUNT)
                assert words == [CLASSES[word] for word in expected]
                flags = [word == label for word, label in zip(expected, truth(COUNT), strict=True)]
                assert found["strings"][right] == "".join("1" if flag else "0" for flag in flags)
                assert sum(states) == COUNT and states[0] + states[2] == sum(flags)
    one = found["sets"][0]
    assert [one["names"][ord(sign) - FIRST_CODE] for sign in one["labels"]] == [
        CLASSES[label] for label in truth(COUNT)
    ]
    assert len(found["strings"]) < 3 * len(found["runs"]) * len(
        found["runs"][0]["rows"]
    )  # equal ones stand once


def test_all_pictures_of_a_set_are_one(world):
    results, folders = world
    found = item_page(items_of(results, folders))
    sheet = Image.open(io.BytesIO(found.sheets["emoji"])).convert("L")
    assert sheet.size == (16 * COUNT, 16) and found.content["sets"][-2]["picture"]["size"] == [16, 16]
    shades = [sheet.getpixel((16 * k + 8, 8)) for k in range(COUNT)]
    assert shades == pytest.approx([40 * label for label in truth(COUNT)], abs=12)


def test_beyond_its_size_a_page_has_an_even_sample_and_the_counts_of_all(world, monkeypatch):
    results, folders = world
    items = items_of(results, folders)
    whole = item_page(items).content
    monkeypatch.setattr(items_module, "PAGE_ITEMS", 50)
    found = item_page(items).content
    assert found["sets"][0]["shown"] == list(range(0, COUNT, 4)) and found["sets"][0]["total"] == COUNT
    assert whole["sets"][0]["shown"] is None
    for ours, theirs in zip(found["runs"], whole["runs"], strict=True):
        for row, other in zip(ours["rows"], theirs["rows"], strict=True):
            assert {k: v[2:] for k, v in row["sets"].items()} == {k: v[2:] for k, v in other["sets"].items()}
    assert item_page(items, whole=True).content == whole


def test_older_runs_without_samples_give_their_classes_away(tmp_path):
    (result,) = make_results(["LDIFS"], seeds=(0,))
    write_items(tmp_path, result, COUNT, samples=False)
    found = item_page(items_of([result], {("LDIFS", 0): tmp_path}))
    assert found.sheets == {}
    one = found.content["sets"][-1]
    words = [one["names"][ord(sign) - FIRST_CODE] for sign in one["labels"]]
    known = [CLASSES[label] if item % 10 != 9 else "" for item, label in enumerate(truth(COUNT))]
    assert words == known and one["picture"] is None  # nobody ever had the others right


def test_texts_have_prompts_and_answers_within_the_pages_room(tmp_path, monkeypatch):
    (result,) = make_results(["LDIFS"], seeds=(0,))
    write_items(tmp_path, result, COUNT)
    table = pyarrow.parquet.read_table(tmp_path / "samples.parquet")
    texts = pyarrow.array([f"which is {item}?" for item in table["item"].to_pylist()])
    table = table.set_column(table.schema.get_field_index("prompt"), "prompt", texts)
    pyarrow.parquet.write_table(table, tmp_path / "samples.parquet")
    items = items_of([result], {("LDIFS", 0): tmp_path})
    one = item_page(items).content["sets"][0]
    assert one["prompts"][:2] == ["which is 0?", "which is 1?"] and not one["cut"]
    monkeypatch.setattr(items_module, "PAGE_LETTERS", len("redgreen"))
    one = item_page(items).content["sets"][0]
    assert one["names"] == ["", "red", "green"] and one["cut"]
    assert not item_page(items, whole=True).content["sets"][0]["cut"]


def test_without_items_there_is_no_browser(world):
    results, _ = world
    specification = specify(results)
    assert specification.items is None and 'id="items"' not in page(specification)


@pytest.fixture(scope="module")
def opened(browser, world, tmp_path_factory):
    results, folders = world
    written = report(results, tmp_path_factory.mktemp("report"), folders=folders)
    browser.open(written.page)
    return browser, written.page


STATES = (
    "Object.fromEntries([...document.querySelectorAll('#items .state')]"
    ".map((b) => [b.dataset.state, +b.querySelector('b').textContent]))"
)
CARDS = "[...document.querySelectorAll('#items .cards li')].map((card) => card.querySelector('.said b').textContent)"
OPEN = "document.getElementById('items').open"


def test_a_cell_of_the_matrix_opens_its_items(opened):
    browser, _ = opened
    grid = f"table.grid[data-method='{CONTROL}']"
    cell = f"{grid} td[data-row='after letters'][data-column=emoji]"
    browser.evaluate(f'document.querySelector("{cell}").click()')
    browser.wait(OPEN)
    assert browser.evaluate(STATES) == {"lost": 24, "gained": 0, "kept": 12, "never known": 4, "all": COUNT}
    assert set(browser.evaluate(CARDS)) == {"red", "green", "blue"}
    rows = browser.evaluate(
        "[...document.querySelectorAll('#items .classes tr')].map((r) => [...r.cells].map((c) => c.textContent))"
    )
    now = {"blue": "gold", "green": "blue", "red": "green"}
    assert rows == [[label, "8 of 8", f"{called} 8×"] for label, called in now.items()]
    browser.evaluate("document.querySelector('#items [data-label=red]').click()")
    assert set(browser.evaluate(CARDS)) == {"red"}
    thumb = "document.querySelector('#items .thumb')"
    assert browser.evaluate(f"{thumb}.getBoundingClientRect().width") == 64
    assert browser.evaluate(f"getComputedStyle({thumb}).backgroundImage").startswith('url("data:image/webp')
    assert browser.errors == []


def test_what_one_forgot_and_another_kept(opened):
    browser, _ = opened
    wanted = {"method": CONTROL, "set": "emoji", "other": "LDIFS", "otherState": "1"}
    browser.evaluate(f"clForget.openItems({json.dumps(wanted)})")
    browser.wait(OPEN)
    assert browser.evaluate(STATES)["lost"] == 16  # LDIFS lost red, too
    assert set(browser.evaluate(CARDS)) == {"green", "blue"}
    answers = "[...document.querySelector('#items .cards li').querySelectorAll('.answer')].map((a) => a.textContent)"
    assert browser.evaluate(answers) == ["before ✓ green", "now ✗ blue", "LDIFS ✓ green"]
    browser.evaluate(
        "(() => { const s = document.querySelector('#items [data-items=text]'); s.value = 'GOLD';"
        " s.dispatchEvent(new Event('input', { bubbles: true })); })()"
    )
    assert set(browser.evaluate(CARDS)) == {"blue"}  # which are called gold now


def test_the_page_says_at_once_what_one_forgot_and_another_kept(opened):
    browser, _ = opened
    browser.evaluate("document.getElementById('items').close()")
    browser.wait("document.querySelectorAll('#forgotten .kept-table tbody tr').length > 0")
    rows = (
        "[...document.querySelectorAll('#forgotten .kept-table tbody tr')]"
        ".map((row) => [row.querySelector('.class').textContent,"
        " ...[...row.cells].slice(1).map((c) => c.textContent)])"
    )
    # Over two seeds: control lost red, green and blue, LDIFS red alone; 8 of 40 items are of each class.
    assert browser.evaluate(rows) == [
        ["blue", "gold 16×", "16", "0", "16"],
        ["green", "blue 16×", "16", "0", "16"],
    ]
    assert "2 classes of emoji: 32 answers" in browser.evaluate(
        "document.querySelector('.kept-says').textContent"
    )
    browser.evaluate("document.querySelector('#forgotten .class').click()")
    browser.wait(OPEN)
    assert set(browser.evaluate(CARDS)) == {"blue"} and browser.evaluate(f"{CARDS}.length") == 8
    browser.evaluate("document.getElementById('items').close()")
    swap = "const s = document.querySelector('[data-forgot=first]'); s.value = 'LDIFS';"
    browser.evaluate(f"(() => {{ {swap} s.dispatchEvent(new Event('input', {{ bubbles: true }})); }})()")
    browser.evaluate(
        f"(() => {{ {swap.replace('first', 'second').replace('LDIFS', CONTROL)}"
        " s.dispatchEvent(new Event('input', { bubbles: true })); })()"
    )
    says = "document.querySelector('.kept-says').textContent"
    assert browser.evaluate(says) == f"There is nothing in emoji that LDIFS forgot and {CONTROL} kept."
    browser.wait("location.hash.includes('forgot=')")
    assert browser.errors == []


def test_points_and_bars_open_the_items_too(opened):
    browser, _ = opened
    browser.evaluate("clForget.drawAll()")
    points = "document.querySelector('#tradeoff .plot').data.flatMap((t) => t.customdata ?? [])"
    wanted = browser.evaluate(f"{points}.filter((one) => one && typeof one === 'object')")
    assert {(one["method"], one["set"]) for one in wanted} == {
        (PRETRAINED, "suites:"), (CONTROL, "suites:"), ("LDIFS", "suites:"),
    }  # fmt: skip
    assert {one.get("seed") for one in wanted if one["method"] == "LDIFS"} == {None, 0, 1}
    bars = "document.querySelector('#transfer .plot').data[0].customdata"
    assert {"method": "LDIFS", "set": "tasks:"} in browser.evaluate(bars)
    assert browser.evaluate(f"{bars}.some((one) => typeof one === 'number')"), "SAM has kept none: its run"
    emit = "document.querySelector('#transfer .plot').emit('plotly_click', {{ points: [{{ customdata: {0}[0] }}] }})"
    browser.evaluate(emit.format(bars))
    browser.wait(OPEN)
    assert browser.evaluate("document.querySelector('#items [data-items=set]').value") == "tasks:"
    browser.evaluate("document.querySelector('#items .its-run').click()")
    assert browser.evaluate("document.getElementById('run').open") and not browser.evaluate(OPEN)
    browser.evaluate("document.getElementById('run').close()")
    assert browser.errors == []


def test_the_numbers_of_the_table_and_the_address_lead_there(opened):
    browser, path = opened
    browser.evaluate("document.getElementById('items').close()")
    cell = f"#results tr[data-method='{CONTROL}'] td[data-measure=generality]"
    browser.evaluate(f'document.querySelector("{cell}").click()')
    browser.wait(OPEN)
    assert browser.evaluate(STATES)["all"] == 2 * COUNT
    first = browser.evaluate("document.querySelector('#items .classes button').textContent")
    assert first == "blue · emoji"  # both suites have a class of this name
    browser.evaluate("document.querySelector('#items .classes button').click()")
    assert browser.evaluate(f"{CARDS}.length") == 8
    browser.evaluate("document.querySelector('#items .classes button').click()")
    fragment = browser.evaluate("location.hash")
    browser.open(path, 390, 800, dark=True, phone=True, fragment=fragment)
    browser.wait(OPEN)
    assert browser.evaluate(STATES)["lost"] == 48
    assert browser.evaluate("document.getElementById('items').scrollWidth") <= 390
    sam = "#results tr[data-method=SAM] td[data-measure=generality]"
    assert not browser.evaluate(f"document.querySelector('{sam}').classList.contains('leads')")
    assert browser.errors == []


def test_a_served_page_has_all_items(world, monkeypatch, browser):
    import threading

    from cl_forget.comparison.records import Result
    from cl_forget.reporting.serve import LiveReport, serve

    results, folders = world
    for result in results:
        (folders[result.method, result.seed]).mkdir(exist_ok=True)
        (folders[result.method, result.seed] / "result.json").write_text(result.model_dump_json())
        assert Result.load(folders[result.method, result.seed])
    monkeypatch.setattr(items_module, "PAGE_ITEMS", 50)
    place = next(iter(folders.values())).parent
    kind, content = LiveReport([place]).items()
    assert kind == "application/json"
    content = json.loads(content)
    assert content["sets"][0]["shown"] is None and content["sheets"]["emoji"].startswith(
        "data:image/webp;base64,"
    )
    server, address = serve([place])
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        browser.open(address)
        assert f"{address}items" not in browser.requests  # only when asked for
        browser.evaluate(f"clForget.openItems({{ method: '{CONTROL}', set: 'emoji' }})")
        browser.wait(OPEN)
        assert browser.evaluate(STATES)["all"] == COUNT
        assert browser.errors == []
    finally:
        server.shutdown()
        server.server_close()
