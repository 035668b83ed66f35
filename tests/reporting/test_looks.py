"""One colour and one marker per method, wherever and beside whatever it is drawn."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace

import pytest
from matplotlib.path import Path as Outline
from samples import make_results

from cl_forget.mitigations import MITIGATIONS
from cl_forget.reporting import Table, method_styles, specify
from cl_forget.reporting.html.render import PATHS, page
from cl_forget.reporting.print.pictures import MARKERS
from cl_forget.reporting.specification import Section
from cl_forget.reporting.styles import KEPT, LOOKS, REGISTERED, SYMBOLS, registered


def test_every_method_of_this_package_has_a_look_of_its_own():
    ours = [name for name in MITIGATIONS if name not in MITIGATIONS.additions]
    assert set(ours) <= set(REGISTERED), "a new method goes to the end of REGISTERED"
    assert len(set(REGISTERED)) == len(REGISTERED) <= KEPT < LOOKS
    styles = method_styles(REGISTERED)
    assert len({(style.color, style.symbol) for style in styles.values()}) == len(REGISTERED)
    for name in ours:
        if name == "avalanche":
            continue
        assert registered(MITIGATIONS.get(name).title) == name, f"{name} by its title"
        assert registered(name.upper()) == name


def test_a_look_does_not_depend_on_the_others():
    names = [*REGISTERED, "LDIFS + WiSE-FT", "mine"]
    whole = method_styles(names)
    for few in (
        itertools.batched(names[::-1], 5) if hasattr(itertools, "batched") else [names[:5], names[-5:]]
    ):
        assert all(style == whole[name] for name, style in method_styles(few).items())
    assert method_styles(["ldifs + wise_ft"]) == {"ldifs + wise_ft": whole["LDIFS + WiSE-FT"]}


def test_a_new_method_moves_no_look_of_another_arm(monkeypatch):
    arms = [*REGISTERED[:12], "LDIFS + WiSE-FT", "SAM + LoRA", "mine"]
    before = method_styles(arms)
    monkeypatch.setattr("cl_forget.reporting.styles.REGISTERED", (*REGISTERED, "of_next_year"))
    assert method_styles(arms) == before


@pytest.mark.parametrize("stem", ["method", "LDIFS + SAM, seed", "train.lr=0.", "x"])
def test_no_two_of_twelve_arms_are_drawn_alike(stem):
    arms = ["LDIFS", "ldifs", "DER++", "joint training", *(f"{stem} {k}" for k in range(40))]
    styles = method_styles(arms, control="full fine-tuning", reference="pre-trained")
    assert len({(style.color, style.symbol) for style in styles.values()}) == len(styles) == len(arms) + 2


def test_every_marker_is_drawn_in_every_medium():
    for symbol in (*SYMBOLS, "circle", "star"):
        assert symbol in PATHS and symbol in MARKERS
        if isinstance(MARKERS[symbol], list):
            Outline(MARKERS[symbol])


def test_a_line_has_the_look_of_its_method_wherever_it_stands_and_none_without_one():
    specification = specify(make_results(["full fine-tuning", "LDIFS"], seeds=(0,)))
    table = specification.item("results")
    rows = dict(reversed(table.rows.items())) | {"LDIFS, 8 bits": table.rows["LDIFS"]}
    other = Table("bits", "At fewer bits", "", table.measures, rows)
    section = Section("bits", "Bits", (other,))
    text = page(replace(specification, sections=(*specification.sections, section)))
    article = text[text.index('id="bits"') :]
    looks = {}
    for line in article[: article.index("</article>")].split('<tr data-method="')[1:]:
        place = re.search(r'fill="var\(--m(\d+)\)"', line)
        looks[line.split('"')[0]] = place and specification.methods[int(place[1])].name
    assert looks == {**{name: name for name in table.rows}, "LDIFS, 8 bits": None}
