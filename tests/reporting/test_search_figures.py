"""What a sweep's report shows of the search itself: importances, settings, course, workers, profiles, the law."""

from __future__ import annotations

from typing import Any

import pytest
from dashboard import make_trials
from search_samples import STRENGTHS, WHOLE, made

from cl_forget.comparison.importance import ALL
from cl_forget.comparison.trials import Attempt, Trial
from cl_forget.config.run import PLAIN
from cl_forget.reporting import Specification, specify_sweep
from cl_forget.reporting.html.render import page
from cl_forget.reporting.search_figures import NOT_RECORDED


@pytest.fixture(scope="module")
def trials() -> list[Trial]:
    """Two methods on two seeds, each on a worker of its own; one trial more diverged, and its process had died."""
    whole = [
        trial
        for number, (method, name, seed) in enumerate(
            [("L2-SP", "l2_sp", 0), ("L2-SP", "l2_sp", 1), ("KD", "kd", 0), ("KD", "kd", 1)]
        )
        for trial in made(method, name, seed, number)
    ]
    taker = whole[1].model_copy(
        update={"shared_with": whole[0].id, "stages": 2, "shared_stages": 2, "taken_over": WHOLE}
    )
    broken = whole[0].model_copy(
        update={
            "id": "broken", "value": 100.0, "mitigations": [{"l2_sp": {"strength": 100.0}}], "status": "diverged",
            "reason": "not finite", "test": {}, "validation": {}, "cost": None,
            "attempts": [Attempt(worker="w9", started=1079), Attempt(worker="w0", started=1080, ended=1082)],
        }
    )  # fmt: skip
    return [whole[0], taker, *whole[2:], broken]


@pytest.fixture(scope="module")
def specification(trials: list[Trial]) -> Specification:
    return specify_sweep(trials)


def rows(data: dict[str, list[Any]], **keys: Any) -> list[dict[str, Any]]:
    lines = [dict(zip(data, line, strict=True)) for line in zip(*data.values(), strict=True)]
    return [line for line in lines if all(line[name] == value for name, value in keys.items())]


def test_importances_stand_for_both_objectives(specification: Specification) -> None:
    figure = specification.item("importance")
    assert list(figure.panels) == [ALL, "KD", "L2-SP"] or list(figure.panels) == [ALL, "L2-SP", "KD"]
    for objective, field in (("speciality", "train.lr"), ("generality", "l2_sp.strength")):
        found = {line["field"]: line["share"] for line in rows(figure.data, study="L2-SP", measure=objective)}
        assert set(found) == {"train.lr", "l2_sp.strength", "seed"} and found[field] > 0.9
    assert figure.notes == ()


def test_where_trials_are_too_few_it_is_said(trials: list[Trial]) -> None:
    figure = specify_sweep(
        [t for t in trials if t.method == "KD" or (t.id.startswith("l2_sp-0-") and t.seed == 0)]
    ).item("importance")
    assert "L2-SP: 3 finished trials are too few" in figure.notes[0] and "L2-SP" not in figure.panels


def test_settings_alone_and_in_pairs(specification: Specification) -> None:
    slices, pairs = specification.item("slices"), specification.item("pairs")
    # Each explains one objective; what explains a little more in all comes first.
    fields = [axis["name"] for axis in pairs.axes["L2-SP"]]
    assert set(fields) == {"train.lr", "l2_sp.strength"}
    assert len(slices.panels) == 2 and all(axis["logarithmic"] for axis in slices.axes["KD"])
    # 24 trials of a method: six of the best rate share the ranks 1 to 6, the mean of which is 3.5.
    best = rows(pairs.data, method="L2-SP", **{"train.lr": 0.1})
    assert {line["rank:speciality"] for line in best} == {3.5}
    assert {line["l2_sp.strength"] for line in best} == set(STRENGTHS)
    assert rows(pairs.data, method="KD")[0]["l2_sp.strength"] is None
    found = {(s["method"], s["measure"]): s for s in pairs.surfaces}
    assert set(found) == {(m, o) for m in ("L2-SP", "KD") for o in ("speciality", "generality")}
    surface = found["L2-SP", "speciality"]
    assert [surface["x"], surface["y"]] == fields
    rates = surface["at_x" if fields[0] == "train.lr" else "at_y"]
    assert [rates[0], rates[-1]] == pytest.approx([-4, -1])
    assert [surface["heights"][0][0], surface["heights"][-1][-1]] == pytest.approx([0.4, 0.7])


def test_history_and_hypervolume_follow_the_clock(specification: Specification, trials: list[Trial]) -> None:
    history, anytime = specification.item("history").data, specification.item("anytime").data
    assert history["number"] == list(range(1, len(trials) + 1))
    assert history["seconds"] == sorted(history["seconds"])
    assert history["speciality"][history["run"].index("broken")] is None
    for method in ("L2-SP", "KD"):
        best = [line["best:speciality"] for line in rows(history, method=method)]
        assert best == sorted(best) and best[-1] == pytest.approx(0.7)
        last = rows(anytime, method=method)[-1]
        # The best of both: (.7 - .2) · .4 of an ideal of .8 · .5, on both seeds.
        assert last["hypervolume"] == pytest.approx(0.5)
        assert last["passes"] == (4600 if method == "L2-SP" else 4800), (
            "what was taken over is not counted again"
        )


def test_the_timeline_says_how_well_the_workers_were_packed_and_what_sharing_saved(
    specification: Specification,
) -> None:
    figure = specification.item("timeline")
    # Four workers for 71 s, and one of them once more until 82 s: 48 trials of 5 s and one of 2 s, of 4 · 82 s.
    assert (figure.lanes, figure.sessions) == (4, ((0.0, 82.0),))
    assert [line["status"] for line in rows(figure.data, run="broken")] == ["died", "diverged"]
    packed, saved = figure.notes
    assert packed == (
        "4 workers at a time (5 processes), 82.0 s: at work 74 % of the time, idle for 86.0 s of all workers "
        "together."
    )
    assert (
        "1 trial took fine-tuning over" in saved and "200 passes" in saved and "4.00 s of training" in saved
    )


def test_what_earlier_versions_did_not_record_is_said_and_not_guessed(trials: list[Trial]) -> None:
    old = [trial.model_copy(update={"attempts": [], "taken_over": None}) for trial in trials]
    specification = specify_sweep(old)
    for name in ("history", "anytime", "timeline"):
        figure = specification.item(name)
        assert NOT_RECORDED in figure.notes and not figure.panels and not figure.data["run"]
    assert "not recorded" in specification.item("timeline").notes[-1]
    html = page(specification)
    assert NOT_RECORDED in html and 'data-name="history"' not in html, "there is nothing to save"
    half = specify_sweep([*old[:10], *trials[10:]])
    assert "10 of 49 trials do not say when they ran" in half.item("history").notes[0]


def test_profiles_are_over_streams_and_seeds(specification: Specification, trials: list[Trial]) -> None:
    figure = specification.item("profiles")
    assert figure.notes == ("2 problems: 1 stream with 2 seeds.",)
    assert {line["share"] for line in rows(figure.data, gap=0.0)} == {1.0}, "both methods reach the same"
    one = specify_sweep([trial for trial in trials if trial.seed == 0]).item("profiles")
    assert not one.panels and "the table itself" in one.notes[0]


def test_the_law_panel_says_what_a_method_keeps_beyond_its_distance(specification: Specification) -> None:
    figure = specification.item("law")
    assert figure.y == "retention" and list(figure.panels) == ["kl_to_base", "kl_to_base:beyond"]
    # KD keeps the same as L2-SP at a distance that is larger by .1: it lies right of the others' curve.
    assert figure.residuals["kl_to_base"]["KD"].mean > 0
    xs, ys = figure.curves["kl_to_base"]
    assert [xs[0], xs[-1]] == pytest.approx([0.6, 1.1]) and ys == sorted(ys, reverse=True)


def test_a_sweep_without_generality_has_what_is_left(trials: list[Trial]) -> None:
    def bare(numbers: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in numbers.items() if name.startswith("speciality")}

    plain = [
        trial.model_copy(update={"test": bare(trial.test), "validation": bare(trial.validation)})
        for trial in trials
    ]
    specification = specify_sweep(plain)
    names = {item.name for section in specification.sections for item in section.items}
    assert {"importance", "slices", "pairs", "history", "timeline"} <= names
    assert not {"law", "anytime"} & names


def test_a_sweep_under_way_and_one_of_plain_fine_tuning_alone() -> None:
    planned = [
        trial.model_copy(
            update={"status": "planned", "test": {}, "validation": {}, "attempts": [], "seconds": None}
        )
        for trial in make_trials(40)
    ]
    assert {item.name for section in specify_sweep(planned).sections for item in section.items} <= {
        "results", "cost", "trials",
    }  # fmt: skip
    alone = specify_sweep([trial for trial in make_trials(40) if trial.method == PLAIN])
    names = {item.name for section in alone.sections for item in section.items}
    assert "history" in names and not {"slices", "pairs", "law", "profiles"} & names


def test_what_stopped_trials_is_counted_by_its_cause(trials: list[Trial]) -> None:
    broken = {"status": "diverged", "test": {}, "validation": {}, "cost": None}
    lost = [
        trial.model_copy(update={**broken, "reason": f"the loss was not finite at step {step}"})
        for step, trial in enumerate(trials[1:4])
    ]
    full = trials[40].model_copy(update={**broken, "status": "out_of_memory", "reason": "needs 12 MB"})
    notes = specify_sweep([trials[0], *lost, full, *trials[41:45]]).item("failures").notes
    assert notes == (
        "3 diverged: the loss was not finite at step … (L2-SP)",
        "1 out of memory: needs 12 MB (KD)",
    )
