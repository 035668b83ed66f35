"""Every arm against the control."""

from __future__ import annotations

import pytest

from cl_forget.comparison.standings import standings

CONTROL = [0.50, 0.52, 0.48, 0.51, 0.49]
JITTER = [0.001, -0.001, 0.0, 0.002, -0.002]


def arm(shift: float, seeds: int = 5, generality: bool = True) -> dict[int, dict[str, float | None]]:
    return {
        seed: {
            "speciality": CONTROL[seed] + JITTER[seed],
            "generality": CONTROL[seed] + shift + JITTER[seed] if generality else None,
        }
        for seed in range(seeds)
    }


def plain(seeds: int = 5) -> dict[int, dict[str, float | None]]:
    return {seed: {"speciality": CONTROL[seed], "generality": CONTROL[seed]} for seed in range(seeds)}


@pytest.mark.parametrize(
    ("shift", "word"), [(0.05, "better"), (0.0, "equivalent"), (-0.05, "worse"), (0.0085, "undecided")]
)
def test_the_four_words(shift, word):
    """A gain of 0.85 points lies within the margin of one, but not surely so."""
    (found,) = standings({"plain": plain(), "arm": arm(shift)}, "plain")
    assert found.words == ("equivalent", word) and found.seeds == 5
    assert found.generality.effect == pytest.approx(shift, abs=1e-12)


def test_differences_are_paired_by_seed():
    """The seeds scatter by three points, the differences by a fraction of one; other seeds have no part."""
    values = {"plain": plain(), "arm": arm(0.02)}
    values["arm"][7] = {"speciality": 0.9, "generality": 0.9}
    (found,) = standings(values, "plain")
    assert found.words[1] == "better" and found.seeds == 5
    assert found.generality.high - found.generality.low < 0.01


@pytest.mark.parametrize("seeds", [1, 2, 4])
def test_few_seeds_decide_nothing(seeds):
    (found,) = standings({"plain": plain(seeds), "arm": arm(0.2, seeds)}, "plain")
    assert found.words == ("undecided", "undecided") and found.seeds == seeds
    assert found.generality.effect == pytest.approx(0.2, abs=2e-3)
    assert (found.generality.low is None) == (seeds == 1)


def test_what_was_not_measured_has_no_verdict():
    values = {"plain": plain(), "arm": arm(0.0, generality=False)}
    (found,) = standings(values, "plain")
    assert found.words == ("equivalent", "undecided") and "no value" in found.generality.reason
    for seed in values["plain"].values():
        seed["generality"] = None
    assert standings(values, "plain")[0].words == ("equivalent", None)


def test_without_a_control_nothing_is_compared():
    assert standings({"arm": arm(0.0)}, None) == () == standings({"arm": arm(0.0)}, "plain")
    assert standings({"plain": plain(), "arm": {9: {"speciality": 1.0}}}, "plain")[0].seeds == 0
