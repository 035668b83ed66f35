"""The verdicts against the control, as a sentence, a strip and a table."""

from __future__ import annotations

import io

import pytest
from rich.console import Console
from samples import CONTROL, make_results

from cl_forget.comparison.standings import AgainstControl
from cl_forget.comparison.verdicts import Judged, Verdict
from cl_forget.reporting import report, specify
from cl_forget.reporting.terminal.table import render_table
from cl_forget.reporting.verdict_strip import Verdicts, verdicts_markdown

ARMS = [CONTROL, "LDIFS", "WiSE-FT", "SAM"]


def standing(
    name: str, speciality: Verdict | None, generality: Verdict | None, seeds: int = 5
) -> AgainstControl:
    made = [None if verdict is None else Judged(verdict=verdict) for verdict in (speciality, generality)]
    return AgainstControl(name, seeds, *made)


def sentence(*standings: AgainstControl) -> str:
    return Verdicts("plain", 0.01, standings).sentence


def test_the_sentence_is_what_a_person_would_say():
    assert (
        sentence(
            standing("B", "contradicted", "supported"),
            standing("A", "equivalent", "supported"),
            standing("C", "equivalent", "supported"),
            standing("D", "undecided", "undecided"),
        )
        == "Against plain, A and C keep more generality and learn as much; B keeps more generality but learns less; "
        "nothing is decided of D."
    )
    assert sentence(standing("A", "undecided", "supported"), standing("B", "contradicted", "undecided")) == (
        "Against plain, A keeps more generality (what it learns is undecided); "
        "B learns less (what it keeps is undecided)."
    )
    assert sentence(standing("A", "supported", None)) == "Against plain, A learns more."


def test_few_seeds_say_only_that_they_are_few():
    one = sentence(standing("A", "undecided", "undecided", seeds=1))
    assert one == "One seed: nothing can be told."
    assert "5 or more are needed" in sentence(standing("A", "undecided", "undecided", seeds=3))
    assert "No seed in common" in sentence(standing("A", None, None, seeds=0))


def test_one_seed_has_one_line_everywhere(tmp_path):
    written = report(make_results(ARMS, seeds=(4,)), tmp_path)
    assert "**One seed: nothing can be told.**" in written.markdown.read_text()
    assert "| against" not in written.markdown.read_text()
    html = written.page.read_text()
    assert "One seed: nothing can be told." in html and '<li data-method="LDIFS">' not in html
    assert not any("seed" in finding for finding in written.specification.findings)  # it is said once


def test_five_seeds_are_judged_in_every_medium(tmp_path):
    written = report(make_results(ARMS, seeds=tuple(range(5))), tmp_path)
    verdicts = written.specification.verdicts
    assert {one.method: one.words[1] for one in verdicts.standings} == dict.fromkeys(ARMS[1:], "better")
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(render_table(written.specification, 100))
    said = " ".join(console.export_text().split())
    assert (
        verdicts.sentence in said and "5 seeds, paired, not adjusted for their number; margin 1 point" in said
    )
    lines = written.markdown.read_text().splitlines()
    (line,) = [line for line in lines if line.startswith("| LDIFS |") and "better (" in line]
    assert line.split(" | ")[1] == "5"
    html = written.page.read_text()
    assert html.count('<span class="verdict ') == 2 * 3 and verdicts.sentence in html


def test_without_another_arm_there_are_no_verdicts():
    for methods in ([CONTROL], ["LDIFS", "SAM"]):
        specification = specify(make_results(methods))
        assert specification.verdicts is None and verdicts_markdown(specification.verdicts) == ""
        assert any("not proof" in finding for finding in specification.findings)


@pytest.mark.parametrize("dark", [False, True])
def test_the_strip_fits_a_phone_and_follows_the_chips(browser, tmp_path, dark):
    written = report(make_results(ARMS, seeds=tuple(range(5))), tmp_path)
    browser.open(written.page, 390, 800, dark=dark, phone=True)
    assert browser.evaluate("document.documentElement.scrollWidth") <= 390
    card = "document.querySelector('.verdicts li[data-method=LDIFS]')"
    assert browser.evaluate(f"{card}.textContent").split()[0] == "LDIFS"
    browser.evaluate("document.querySelector('.chip[data-method=LDIFS]').click()")
    assert browser.evaluate(f"{card}.hidden")
    assert browser.errors == []
