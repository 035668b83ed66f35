"""What each setting explains: functions whose shares are known."""

from __future__ import annotations

import pytest
from records import trial

from cl_forget.comparison.importance import ALL, FEWEST, POSITION, importances, variance_shares
from cl_forget.comparison.trials import Trial
from cl_forget.comparison.varied import Field, field_of, ranks, varied_fields

RATES, STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1), (1.0, 2.0, 3.0, 4.0)


def grid(method: str = "L2-SP", seeds: tuple[int, ...] = (0,)) -> list[Trial]:
    """Speciality follows the rate alone, generality the strength alone."""
    return [
        trial(
            method,
            s,
            seed,
            (0.2 + 0.1 * i, 0.5 - 0.1 * j),
            config={"train.lr": rate},
            id=f"{method}{i}{j}{seed}",
        )
        for i, rate in enumerate(RATES)
        for j, s in enumerate(STRENGTHS)
        for seed in seeds
    ]


def test_a_field_that_alone_matters_explains_everything() -> None:
    found = {study.objective: study for study in importances(grid(), ["speciality", "generality"])}
    assert found["speciality"].shares["train.lr"] > 0.95 > 0.05 > found["speciality"].shares["l2_sp.strength"]
    assert found["generality"].shares["l2_sp.strength"] > 0.95
    assert found["generality"].trials == 16 and found["generality"].statement == ""


def test_shares_are_those_of_the_variance() -> None:
    # Values 0, 3, 6, 9 along one field and 0, 1, 2, 3 along the other: variances 11.25 and 1.25, 90 % and 10 %.
    pairs = [(i, j) for i in range(4) for j in range(4) for _ in range(3)]
    found = variance_shares(
        {"a": [float(i) for i, _ in pairs], "b": [float(j) for _, j in pairs]},
        [3.0 * i + j for i, j in pairs],
    )
    assert found == pytest.approx({"a": 0.9, "b": 0.1}, abs=0.04) and sum(found.values()) <= 1


def test_what_only_acts_together_is_no_field_s_alone() -> None:
    pairs = [(i, j) for i in (0.0, 1.0) for j in (0.0, 1.0) for _ in range(4)]
    found = variance_shares(
        {"a": [i for i, _ in pairs], "b": [j for _, j in pairs]}, [float(i == j) for i, j in pairs]
    )
    assert max(found.values()) < 0.1


def test_scale_and_unit_of_a_field_play_no_part() -> None:
    pairs = [(i, j) for i in range(4) for j in range(4)]
    target = [float(i + j) for i, j in pairs]
    plain = variance_shares({"a": [float(i) for i, _ in pairs], "b": [float(j) for _, j in pairs]}, target)
    scaled = {"a": [10.0 ** (3 * i) for i, _ in pairs], "b": [("w", "x", "y", "z")[j] for _, j in pairs]}
    assert variance_shares(scaled, target) == plain


@pytest.mark.parametrize(
    ("trials", "says"),
    [
        (grid()[: FEWEST - 1], "9 finished trials are too few"),
        (grid()[:1], "1 finished trial is too few"),
        ([trial("L2-SP", float(k), 0, (k / 20, 0.5)) for k in range(12)], "only l2_sp.strength was varied"),
        ([one.model_copy(update={"test": grid()[0].test}) for one in grid()], "every trial came to the same"),
    ],
)
def test_where_nothing_can_be_said_it_says_why(trials: list[Trial], says: str) -> None:
    (study,) = importances(trials, ["speciality"])
    assert study.statement == says and not study.shares


def test_trials_that_did_not_finish_or_were_run_to_report_are_not_read() -> None:
    trials = grid()
    extra = [one.model_copy(update={"status": "diverged", "test": {}}) for one in grid("KD")]
    extra += [one.model_copy(update={"role": "report"}) for one in trials]
    assert [study.of for study in importances([*trials, *extra], ["speciality"])] == ["L2-SP", "KD", ALL]
    assert importances([*trials, *extra], ["speciality"])[0] == importances(trials, ["speciality"])[0]


def test_all_methods_together_share_position_method_and_seed() -> None:
    better = [
        one.model_copy(update={"test": {**one.test, "speciality": 0.9}}) for one in grid("WiSE-FT", (0, 1))
    ]
    worse = [
        one.model_copy(update={"test": {**one.test, "speciality": 0.3}}) for one in grid("L2-SP", (0, 1))
    ]
    plain = [trial("full fine-tuning", None, 0, (0.5, 0.5))]
    study = importances([*plain, *better, *worse], ["speciality"])[-1]
    assert study.of == ALL and study.trials == 64, "plain fine-tuning turns no knob"
    assert set(study.shares) == {"method", POSITION, "seed", "train.lr"}
    assert study.shares["method"] > 0.95


def test_what_was_varied_and_how_it_is_drawn() -> None:
    trials = [
        trial("KD", None, 0, (0.5, 0.5), mitigations=[{"kd": {"level": level, "strength": s, "whole": True}}])
        for level, s in (("sample", 1), ("class", 10), ("sample", 1000))
    ]
    fields = varied_fields(trials)
    assert fields == {"kd.level": ["sample", "class", "sample"], "kd.strength": [1.0, 10.0, 1000.0]}
    level, strength = (field_of(name, values) for name, values in fields.items())
    assert level == Field("kd.level", levels=("sample", "class")) and level.coordinate("class") == 1.0
    assert strength.logarithmic and strength.coordinate(1000.0) == pytest.approx(3.0)
    assert ranks([30.0, 10.0, 30.0, "b", "a"]) == [1, 0, 1, 2, 3]
