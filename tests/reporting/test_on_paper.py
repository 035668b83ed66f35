"""The page on paper: every chart whole, every column there; and back on the screen as it was."""

from __future__ import annotations

import re
import zlib

import pytest
from dashboard import make_trials

from cl_forget.comparison.measures import PRETRAINED
from cl_forget.reporting import report, report_sweep

PAPER = 718
"""CSS pixels across a sheet of A4 between margins of a centimetre."""


@pytest.fixture(scope="module")
def written(results, tmp_path_factory):
    return report(results, tmp_path_factory.mktemp("paper"))


def printing(browser, on, dark=False):
    """Begin or end a print as a browser does: it tells the page, calls itself light, and afterwards what it was."""
    if on:
        browser.evaluate("dispatchEvent(new Event('beforeprint'))")
    emulate(browser, media="print" if on else "", dark=dark and not on)
    if not on:
        browser.evaluate("dispatchEvent(new Event('afterprint'))")


def emulate(browser, media, dark):
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.call("Emulation.setEmulatedMedia", media=media, features=[scheme])
    # Two frames later the page has heard of it.
    browser.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def test_every_chart_and_column_lies_within_the_sheet(browser, written):
    browser.open(written.page, width=1400, dark=True)
    browser.resize(PAPER, 1000)
    printing(browser, True)
    assert browser.errors == []
    empty = (
        "[...document.querySelectorAll('.plot')].filter(plot => !plot.closest('[hidden]') "
        "&& !plot.querySelector('svg.main-svg')).length"
    )
    assert browser.evaluate(empty) == 0
    outside = (
        "[...document.querySelectorAll('.plot svg.main-svg, table.grid, table.results, h1, .verdicts li')]"
        f".filter(e => e.getClientRects().length && e.getBoundingClientRect().right > {PAPER} + 1)"
        ".map(e => e.className.baseVal ?? e.className)"
    )
    assert browser.evaluate(outside) == []
    cut = (
        "[...document.querySelectorAll('.plot')].filter(plot => plot.querySelector('svg.main-svg')"
        ".getBoundingClientRect().width > plot.parentElement.getBoundingClientRect().width + 1).length"
    )
    assert browser.evaluate(cut) == 0
    columns = (
        "[...new Set([...document.querySelectorAll('#results table.part th[data-measure]')]"
        ".map(e => e.dataset.measure))]"
    )
    assert set(browser.evaluate(columns)) == {m.name for m in written.specification.item("results").measures}
    names = (
        "[...document.querySelectorAll('#results table.part')].every(({{ tBodies: [body] }}) => "
        "body.rows.length === 10 && body.rows[0].dataset.method === '{}')"
    )
    assert browser.evaluate(names.format(PRETRAINED))
    assert browser.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    hidden = (
        "['nav', '.saves', '#theme'].every(name => !document.querySelector(name).getClientRects().length)"
    )
    assert browser.evaluate(hidden)
    printing(browser, False, dark=True)
    browser.resize(1400, 900)
    browser.wait("document.documentElement.dataset.ready === 'true'")
    assert browser.evaluate("document.documentElement.style.colorScheme") == "dark"
    assert browser.evaluate("document.querySelectorAll('table.part, .off-paper').length") == 0
    assert browser.evaluate("!document.querySelector('#about details').open")
    assert browser.errors == []


def test_a_sweep_fits_the_sheet_too(browser, tmp_path):
    page = report_sweep(make_trials(120), tmp_path).page
    browser.open(page, width=1400)
    browser.resize(PAPER, 1000)
    printing(browser, True)
    assert browser.errors == []
    outside = (
        "[...document.querySelectorAll('.plot svg.main-svg, table.results, table.grid')]"
        f".filter(e => e.getClientRects().length && e.getBoundingClientRect().right > {PAPER} + 1)"
        ".map(e => [e.closest('article')?.id, e.getBoundingClientRect().right])"
    )
    assert browser.evaluate(outside) == []
    emulate(browser, "print", dark=True)
    assert browser.evaluate("document.documentElement.style.colorScheme") == "light", "paper stays white"
    printing(browser, False)
    browser.resize(1400, 900)
    assert browser.errors == []


def test_a_printed_file_has_every_figure(browser, written, tmp_path):
    browser.open(written.page, width=1400)
    browser.pdf(tmp_path / "report.pdf")
    content = (tmp_path / "report.pdf").read_bytes()
    assert content.startswith(b"%PDF") and len(re.findall(rb"/Type\s*/Page\b", content)) > 3
    strokes = sum(stream.count(b"\nS") + stream.count(b" S\n") for stream in streams(content))
    assert strokes > 300, "lines of charts, which are drawn and no pictures"
    assert browser.errors == []
    assert browser.evaluate("document.querySelectorAll('table.part').length") == 0


def streams(content):
    for found in re.finditer(rb"stream\r?\n(.*?)endstream", content, re.DOTALL):
        try:
            yield zlib.decompressobj().decompress(found[1])
        except zlib.error:
            continue


def test_a_table_that_scrolls_says_so(browser, written):
    browser.open(written.page, width=900)
    place = "document.querySelector('#results .scroll')"
    browser.wait(f"{place}.dataset.more === 'right'")
    says = f"{place}.nextElementSibling.textContent"
    assert re.fullmatch(r"\d+ more columns →", browser.evaluate(says))
    browser.evaluate(f"{place}.scrollLeft = 1e6")
    browser.wait(f"{place}.dataset.more === 'left'")
    assert "more" not in browser.evaluate(says)


def test_the_latex_table_has_seven_columns_and_names_the_others(written):
    from cl_forget.reporting.tables import PAPER_COLUMNS, table_latex

    table = written.specification.item("results")
    text = table_latex(table)
    layout = re.search(r"\\begin{tabular}{(l+r+)}", text)[1]
    assert len(layout) == PAPER_COLUMNS == 7
    assert all(line.count("&") == 6 for line in text.splitlines() if line.startswith("LDIFS"))
    left_out = next(line for line in text.splitlines() if line.startswith("% Left out"))
    assert "FWT" in left_out and "Speciality" not in left_out
