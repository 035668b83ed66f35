"""The quickstart's page answers what a reader asks first: which classes did one method forget that another kept?"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from cl_forget.evaluation.item_table import read_answers
from cl_forget.reporting import specify_folders, write_report

QUICKSTART = Path(__file__).parents[2] / "experiments" / "results" / "quickstart"
FORGOT, KEPT, SUITE = "full-fine-tuning", "ldifs", "emoji"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folders = [QUICKSTART / f"{arm}-seed{seed}" for arm in (FORGOT, KEPT) for seed in range(5)]
    return write_report(specify_folders(folders), tmp_path_factory.mktemp("quickstart")).page


def expected() -> dict[str, tuple[int, Counter]]:
    """Class -> how many answers one lost and the other kept over five seeds, and what they are called now."""
    found: dict[str, tuple[int, Counter]] = {}
    for seed in range(5):
        one, other = (read_answers(QUICKSTART / f"{arm}-seed{seed}") for arm in (FORGOT, KEPT))
        last = max(row for row, _ in one)
        before, now, beside = one[0, SUITE], one[last, SUITE], other[max(row for row, _ in other), SUITE]
        for item in range(len(before.right)):
            if not before.right[item] or now.right[item]:
                continue
            label = before.names[before.predicted[item]]
            kept, called = found.get(label, (0, Counter()))
            called[now.names[now.predicted[item]]] += 1
            found[label] = kept + int(beside.right[item]), called
    return found


def test_five_classes_and_what_they_are_called_now_stand_on_the_page_without_a_click(browser, page):
    browser.open(page)
    link = "[...document.querySelectorAll('.contents a')].find((a) => a.hash === '#section-forgotten')"
    assert browser.evaluate(f"{link}.textContent") == "Forgotten and kept"
    browser.evaluate(f"{link}.click()")
    browser.wait("document.querySelectorAll('#forgotten .kept-table tbody tr').length === 5")
    chosen = "['first', 'second', 'set'].map((name) => document.querySelector(`[data-forgot=${name}]`).value)"
    assert browser.evaluate(chosen) == ["full fine-tuning", "LDIFS", SUITE]
    rows = browser.evaluate(
        "[...document.querySelectorAll('#forgotten .kept-table tbody tr')].map((row) => "
        "[row.querySelector('.class').textContent, row.cells[1].textContent,"
        " ...[2, 3, 4].map((k) => +row.cells[k].textContent)])"
    )
    known = expected()
    most = sorted((kept for kept, _ in known.values()), reverse=True)[:5]
    assert [known[label][0] for label, *_ in rows] == most
    for label, called, before, first, second in rows:
        words = known[label][1]
        top, count = words.most_common(1)[0]
        assert before - first == words.total() and second >= known[label][0]
        assert called.split(",")[0].rpartition(" ")[0] in words or called.split(",")[0] in words
        assert f"{count}×" in called or count == 1, (label, called, top)
    first_row = "document.querySelector('#forgotten .kept-table tbody tr')"
    shown = browser.evaluate(f"{first_row}.getBoundingClientRect().top")
    assert shown < 900, "in sight after one press"
    table = browser.evaluate("clForget.copyText('forgotten', 'csv')").splitlines()
    assert len(table) == 6 and table[0].startswith("class,full fine-tuning calls it now,right before,")
    assert table[1].startswith(rows[0][0])
    latex = browser.evaluate("clForget.copyText('forgotten', 'latex')")
    assert latex.count("\\\\\n") == 6 and "\\toprule" in latex
    assert browser.errors == []
