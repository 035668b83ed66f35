"""The formulas of measures: every one typeset, every measure that is computed by one has it."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from samples import make_results

from cl_forget.evaluation.definitions import DEFINITIONS
from cl_forget.evaluation.formulas import FORMULAS, formula_of
from cl_forget.reporting import specify
from cl_forget.reporting.html.mathml import mathml
from cl_forget.reporting.html.render import page


@pytest.mark.parametrize("name", FORMULAS)
def test_a_formula_is_whole_mathml(name):
    root = ElementTree.fromstring(mathml(FORMULAS[name]))
    assert root.tag == "math" and "".join(root.itertext()).strip()


def test_signs_groups_bounds_and_fractions():
    assert mathml("R_{T,i}", block=False) == (
        '<math display="inline"><msub><mi>R</mi><mrow><mi>T</mi><mo>,</mo><mi>i</mi></mrow></msub></math>'
    )
    assert (
        "<munderover><mo>∑</mo><mrow><mi>i</mi><mo>=</mo><mn>1</mn></mrow><mi>T</mi></munderover>"
        in mathml(r"\sum_{i=1}^{T} x")
    )
    assert "<mfrac><mn>1</mn><mi>K</mi></mfrac>" in mathml(r"\frac{1}{K}")
    assert "<mo>&lt;</mo>" in mathml(r"i < T") and "<mo>−</mo>" in mathml("a - b")


@pytest.mark.parametrize("bad", [r"\frac{1}", "{a", "a}", r"\unknown", "a_b_c", "a_"])
def test_what_is_no_formula_is_refused(bad):
    with pytest.raises(ValueError):
        mathml(bad)


def test_names_of_one_kind_share_a_formula():
    assert (
        formula_of("task:digits") == FORMULAS["task"]
        and formula_of("against:speciality") == FORMULAS["against"]
    )
    assert formula_of("peak_memory_mb") is None and formula_of("speciality") != formula_of("generality")
    assert {
        "task",
        "suite",
        "probe",
        "pending",
        "against",
        "accuracy",
        "feature_drift",
        "perplexity",
        "cka",
        "relative_cost",
    } >= FORMULAS.keys() - DEFINITIONS.keys()


def test_the_page_typesets_its_definitions():
    text = page(specify(make_results(seeds=(0, 1))))
    about = text[text.index('id="about"') :]
    assert about.count("<math") >= 8
