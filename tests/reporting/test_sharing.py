"""What is copied at a figure, and the address that brings a view back."""

from __future__ import annotations

import json

import pytest
from samples import CONTROL, make_results

from cl_forget.reporting import report

READY = "document.documentElement.dataset.ready === 'true'"


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    results = make_results([CONTROL, "LDIFS", "WiSE-FT"], seeds=(0, 1))
    place = tmp_path_factory.mktemp("runs")
    folders = {(r.method, r.seed): place / f"{r.method}-{r.seed}".replace(" ", "-") for r in results}
    return report(results, tmp_path_factory.mktemp("report"), folders=folders), place


def copied(browser, name, kind):
    return browser.evaluate(f"clForget.copyText('{name}', '{kind}')")


def test_every_figure_gives_citation_command_latex_csv_and_link(browser, written):
    shown, place = written
    browser.open(shown.page)
    names = browser.evaluate(
        "[...document.querySelectorAll('button.copies')].map(({ dataset }) => dataset.name)"
    )
    assert {"tradeoff", "results", "retention", "accuracy-matrix", "cost", "runs"} <= set(names)
    for name in names:
        assert all(copied(browser, name, kind) for kind in ("citation", "command", "latex", "csv", "link"))
    citation = copied(browser, "tradeoff", "citation")
    assert citation.startswith("@misc{") and "0123abc" in citation and "What generality" in citation
    assert citation.count("{") == citation.count("}")
    command = copied(browser, "tradeoff", "command")
    assert command == f"cl-forget run sample.yaml\ncl-forget report {place}\n"
    assert "\\includegraphics{tradeoff.pdf}" in copied(browser, "tradeoff", "latex")
    assert copied(browser, "results", "latex").startswith("% \\usepackage{booktabs")
    assert copied(browser, "retention", "csv").startswith("method,seed,measure,x,value")
    assert browser.errors == []


def test_the_buttons_fill_the_clipboard(browser, written):
    shown, _ = written
    browser.open(shown.page)
    browser.call("Browser.grantPermissions", permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    browser.call("Page.bringToFront")
    browser.evaluate("document.querySelector('#retention .copies').click()")
    browser.wait("document.getElementById('copies').matches(':popover-open')")
    browser.evaluate("document.querySelector('#copies [data-copies=latex]').click()")
    says = "document.querySelector('#copies [role=status]').textContent"
    browser.wait(f"{says} !== ''")
    if browser.evaluate(says) == "copied":
        assert "retention.pdf" in browser.evaluate("navigator.clipboard.readText()")
    else:
        assert "retention.pdf" in browser.evaluate("document.querySelector('#copies textarea').value")


def test_a_view_comes_back_from_its_address(browser, written):
    shown, _ = written
    browser.open(shown.page)
    browser.evaluate("document.querySelector('.chip[data-method=LDIFS]').click()")
    browser.evaluate("document.getElementById('theme').click()")
    browser.evaluate("document.querySelector('#results th[data-measure=bwt] .sort').click()")
    browser.evaluate("document.querySelector('#results th[data-measure=bwt] .sort').click()")
    search = "document.querySelector('#runs input[type=search]')"
    browser.evaluate(
        f"{search}.value = 'seed 1'; {search}.dispatchEvent(new Event('input', {{ bubbles: true }}))"
    )
    browser.evaluate("document.querySelector('#runs .open').click()")
    link = copied(browser, "tradeoff", "link")
    theme = browser.evaluate("document.documentElement.style.colorScheme")
    order = browser.evaluate(
        "[...document.querySelectorAll('#results tbody tr')].map(({ dataset }) => dataset.method)"
    )
    title = browser.evaluate("document.querySelector('#run h3').textContent")
    browser.open(
        link.split("#")[0] if link.startswith("http") else shown.page, fragment="#" + link.split("#", 1)[1]
    )
    assert browser.evaluate("document.querySelector('.chip[data-method=LDIFS]').ariaPressed") == "false"
    assert browser.evaluate("document.documentElement.style.colorScheme") == theme
    assert browser.evaluate("document.querySelector('#results th[data-measure=bwt]').ariaSort") == "ascending"
    assert order == browser.evaluate(
        "[...document.querySelectorAll('#results tbody tr')].map(({ dataset }) => dataset.method)"
    )
    assert browser.evaluate(f"{search}.value") == "seed 1"
    assert browser.evaluate("document.querySelectorAll('#runs tbody tr').length") == 2
    assert (
        browser.evaluate(
            "document.querySelector('#run').open && document.querySelector('#run h3').textContent"
        )
        == title
    )
    assert browser.errors == []


@pytest.mark.parametrize(
    "fragment",
    ["#off=%", "#off=3&axes.tradeoff=7&items=[]&run=nobody&brush=[[1]]&sort.results=9&forgot={}", "#section-results",
     "#sort.results=[%22nothing%22,%22ascending%22]&find.nowhere=x&smooth.training=abc"],
)  # fmt: skip
def test_an_odd_address_is_no_error(browser, written, fragment):
    shown, _ = written
    browser.open(shown.page, fragment=fragment)
    assert browser.errors == []
    assert json.loads(browser.evaluate("JSON.stringify(clForget.runs.length)")) == 6
