"""The comparison that a sweep reports, on tables worked by hand."""

from __future__ import annotations

import csv
import io
import json
import random
from collections import Counter
from pathlib import Path

import pyarrow.parquet
import pytest
from records import trial

from cl_forget.comparison.analysis import SweepSummary, sweep_summary
from cl_forget.comparison.measures import PRETRAINED
from cl_forget.comparison.selection import select, spent, spread, within_budget
from cl_forget.comparison.settings import settings_of
from cl_forget.comparison.trials import Trial
from cl_forget.comparison.trials_view import SweepView
from cl_forget.config.protocol import Protocol
from cl_forget.ground.errors import UserError
from cl_forget.ground.records import Cost
from cl_forget.reporting.final import sweep_table
from cl_forget.reporting.tables import table_records
from cl_forget.sweeps.tables import final_table, markdown, write_summary

T2 = 12.706204736  # Student's t at 97.5 % with one degree of freedom


def plain(test: tuple[float, float] = (0.8, 0.2)) -> list[Trial]:
    """Plain fine-tuning, two seeds .02 below and above `test`."""
    return [
        trial("full fine-tuning", None, seed, test, (test[0] + shift, test[1] + shift))
        for seed, shift in ((0, -0.02), (1, 0.02))
    ]


def l2_sp() -> list[Trial]:
    """Three strengths: on validation the middle one is best, on test the last."""
    validation = {0.1: (0.7, 0.3), 1.0: (0.6, 0.45), 10.0: (0.3, 0.5)}
    test = {0.1: (0.7, 0.3), 1.0: (0.6, 0.4), 10.0: (0.55, 0.5)}
    return [trial("L2-SP", v, seed, validation[v], test[v]) for v in validation for seed in (0, 1)]


def summary(trials: list[Trial], **protocol: object) -> SweepSummary:
    return sweep_summary(trials, Protocol(**protocol))  # type: ignore[arg-type]


# Selection


def test_selection_reads_validation_and_never_test() -> None:
    chosen = summary([*plain(), *l2_sp()]).methods[1].choice
    # (.7 + .6)/2 = .65, (.6 + .9)/2 = .75, (.3 + 1)/2 = .65
    assert chosen is not None and (chosen.value, chosen.score) == (1.0, pytest.approx(0.75))
    worse = [t.model_copy(update={"test": {}}) for t in l2_sp()]
    assert select(settings_of(worse), Protocol())["L2-SP"].value == 1.0


def test_of_equals_the_first_of_the_grid_is_chosen_however_they_are_listed() -> None:
    tied = [t.model_copy(update={"validation": l2_sp()[0].validation}) for t in l2_sp()]
    for listed in (tied, tied[::-1], tied[2:] + tied[:2]):
        assert select(settings_of(listed), Protocol())["L2-SP"].value == 0.1


def test_a_setting_that_lacks_a_seed_is_not_chosen_over_one_with_all() -> None:
    """.1 is the best by far on seed 0, of which alone there is a record."""
    trials = [t for t in l2_sp() if t.value != 0.1] + [trial("L2-SP", 0.1, 0, (0.9, 0.5))]
    assert select(settings_of(trials), Protocol())["L2-SP"].value == 1.0
    # Another method may have fewer seeds, as where sweeps are read together.
    other = [trial("WiSE-FT", 0.5, 0, (0.5, 0.4))]
    assert select(settings_of([*trials, *other]), Protocol())["WiSE-FT"].value == 0.5


def still_or_learning() -> list[Trial]:
    """A setting that stays what it was (speciality 0), and one that learns and forgets; generality was .5."""
    return [trial("L2-SP", v, 0, of, of) for v, of in {0.1: (0.4, 0.25), 10.0: (0.0, 0.5)}.items()]


def test_the_harmonic_mean_chooses_nothing_that_learns_nothing() -> None:
    settings = settings_of(still_or_learning())
    # (.4 + .5)/2 = .45 and (0 + 1)/2 = .5; 2·.4·.5/.9 = .444 and 0
    for rule, value, score in (("balanced", 10.0, 0.5), ("harmonic", 0.1, 0.4 / 0.9)):
        chosen = select(settings, Protocol(select=rule))["L2-SP"]  # type: ignore[arg-type]
        assert (chosen.value, chosen.score) == (value, pytest.approx(score)), rule


def test_a_chosen_setting_that_learns_nothing_is_said() -> None:
    trials = [*plain(), *still_or_learning()]
    assert "(no better than before)" in markdown(summary(trials))
    assert "no better than before" not in markdown(summary(trials, select="harmonic"))


@pytest.mark.parametrize(
    ("retention", "value", "meets"), [(0.5, 0.1, True), (0.85, 1.0, True), (0.95, 10.0, True)]
)
def test_target_accuracy_subject_to_retention(retention: float, value: float, meets: bool) -> None:
    chosen = select(settings_of(l2_sp()), Protocol(select="target_at_retention", retention=retention))
    assert (chosen["L2-SP"].value, chosen["L2-SP"].meets) == (value, meets)


def test_where_no_setting_keeps_enough_the_one_that_keeps_most_is_taken_and_said() -> None:
    few = [t for t in l2_sp() if t.value != 10.0]
    chosen = select(settings_of(few), Protocol(select="target_at_retention", retention=0.95))["L2-SP"]
    assert (chosen.value, chosen.meets) == (1.0, False)
    made = summary([*plain(), *few], select="target_at_retention", retention=0.95)
    assert "below the retention asked for" in markdown(made)


def test_a_setting_that_lacks_a_seed_cannot_be_chosen() -> None:
    trials = l2_sp()
    trials[2] = trials[2].model_copy(update={"status": "diverged", "reason": "loss is not finite"})
    chosen = select(settings_of(trials), Protocol())["L2-SP"]
    assert chosen.value in (0.1, 10.0) and (chosen.candidates, chosen.left_out) == (2, 1)


def test_selection_by_retention_without_suites_is_refused() -> None:
    trials = [t.model_copy(update={"validation": {"speciality": 0.5}}) for t in l2_sp()]
    with pytest.raises(UserError, match=r"name `suites`, or set `protocol.select: speciality`"):
        sweep_summary(trials, Protocol())
    assert sweep_summary(trials).protocol.select == "speciality"


# Budgets


def wise_ft(values: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75)) -> list[Trial]:
    """One fine-tune, done by plain fine-tuning, serves every value."""
    return [
        trial(
            "WiSE-FT",
            v,
            seed,
            (0.2 + 0.6 * v, 0.5 - 0.3 * v),
            shared_with=f"full fine-tuning-None-{seed}-tune",
            shared_stages=2,
        )
        for v in values
        for seed in (0, 1)
    ]


def test_equal_trials_cut_every_grid_to_the_shortest() -> None:
    settings = settings_of([*plain(), *l2_sp(), *wise_ft((0.0, 0.25, 0.5, 0.75, 1.0))])
    allowed = within_budget(settings, "trials")
    assert [s.value for s in allowed["WiSE-FT"]] == [0.0, 0.5, 1.0]
    assert [s.value for s in allowed["L2-SP"]] == [0.1, 1.0, 10.0]
    assert len(allowed["full fine-tuning"]) == 1


def test_half_of_a_grid_has_each_value_as_often_whatever_order_its_trials_came_in() -> None:
    rates, strengths = (1e-4, 3e-4, 1e-3, 3e-3), (0.01, 0.1, 1.0, 10.0)
    grid = [
        trial("L2-SP", strength, 0, (0.5, 0.5), id=f"{strength} {rate}", config=config)
        for rate in rates
        for strength in strengths
        for config in [{"l2_sp.strength": strength, "train.lr": rate}]
    ]
    eight = [
        trial("control", None, 0, (0.5, 0.5), id=f"{k}", config={"train.lr": 10.0**-k}) for k in range(8)
    ]
    for order in (grid, grid[::-1], random.Random(0).sample(grid, len(grid))):
        read = within_budget(settings_of([*order, *eight]), "trials")["L2-SP"]
        configs = [next(iter(setting.trials.values())).config for setting in read]
        for field in ("train.lr", "l2_sp.strength"):
            assert set(Counter(config[field] for config in configs).values()) == {2}
        assert [setting.value for setting in read] == sorted(setting.value or 0.0 for setting in read)
        assert {(c["train.lr"], c["l2_sp.strength"]) for c in configs} == {
            (1e-4, 0.01), (1e-4, 1.0), (3e-4, 0.01), (3e-4, 1.0),
            (1e-3, 0.1), (1e-3, 10.0), (3e-3, 0.1), (3e-3, 10.0),
        }  # fmt: skip


def test_equal_compute_counts_a_shared_fine_tune_once() -> None:
    settings = settings_of([*plain(), *l2_sp(), *wise_ft()])
    assert (spent(settings["WiSE-FT"]).fine_tunes, spent(settings["WiSE-FT"]).passes) == (2, 400)
    assert (spent(settings["L2-SP"]).fine_tunes, spent(settings["L2-SP"]).passes) == (6, 1200)
    assert (spent(settings["L2-SP"]).seconds, spent(settings["L2-SP"]).samples) == (12.0, 600)
    allowed = within_budget(settings, "compute")
    # 400 passes buy WiSE-FT its four values and L2-SP one strength on two seeds.
    assert [s.value for s in allowed["WiSE-FT"]] == [0.0, 0.25, 0.5, 0.75]
    assert [s.value for s in allowed["L2-SP"]] == [1.0]


def test_what_did_not_come_to_its_end_has_cost_what_it_had_by_then() -> None:
    whole, pruned, diverged, silent = l2_sp()[:4]
    stopped = {"status": "pruned", "cost": None, "history": [{"passes_so_far": 40}, {"passes_so_far": 60}]}
    half = {"status": "diverged", "cost": Cost(forward_samples=30, backward_samples=30)}
    nothing = {"status": "failed", "cost": None}
    trials = [
        whole,
        *(t.model_copy(update=u) for t, u in ((pruned, stopped), (diverged, half), (silent, nothing))),
    ]
    assert [t.passes for t in trials] == [200, 60, 60, 0]
    found = spent(settings_of(trials)["L2-SP"])
    assert (found.passes, found.fine_tunes, found.finished) == (320, 3, 1)


def test_spread_keeps_both_ends() -> None:
    items = settings_of(wise_ft((0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6)))["WiSE-FT"]
    assert [s.value for s in spread(items, 3)] == [0.0, 0.3, 0.6]
    assert [s.value for s in spread(items, 2)] == [0.0, 0.6]
    assert [s.value for s in spread(items, 1)] == [0.3]
    assert spread(items, 9) == items


# The final table


def test_means_intervals_and_paired_differences() -> None:
    made = summary([*plain(), *l2_sp()])
    control, method = made.methods
    assert (control.role, control.method, made.control) == ("control", "full fine-tuning", "full fine-tuning")
    # Values .78 and .82: s = .0283, half-width = t · s / √2 = t · .02.
    speciality = control.values["speciality"]
    assert (speciality.mean, speciality.count) == (pytest.approx(0.8), 2)
    assert speciality.high == pytest.approx(0.8 + T2 * 0.02)
    # L2-SP at 1.0 has .6 on both seeds: differences -.18 and -.22.
    difference = method.against_plain["speciality"]
    assert difference.mean == pytest.approx(-0.2) and difference.low == pytest.approx(-0.2 - T2 * 0.02)
    assert method.against_plain["generality"].mean == pytest.approx(0.2)
    assert control.against_plain == {}
    assert method.values["bwt"].mean is None, "what was not measured is missing"


def test_front_of_selected_settings() -> None:
    made = summary([*plain(), *l2_sp(), *wise_ft((0.25, 0.5))])
    # Plain (.8, .2), L2-SP (.6, .4), WiSE-FT .5 (.5, .35), which L2-SP beats on both axes.
    assert {m.method: m.on_front for m in made.methods} == {
        "full fine-tuning": True,
        "L2-SP": True,
        "WiSE-FT": False,
    }


def test_hypervolume_is_the_share_of_the_ideal() -> None:
    made = summary([*plain(), *l2_sp()])
    assert (made.reference, made.ideal) == ((0.2, 0.0), (1.0, 0.5))
    of = {m.method: m for m in made.methods}
    # L2-SP's own three settings. Slices from the left: (.55-.2)·.5 + (.6-.55)·.4 + (.7-.6)·.3, over the ideal .8·.5.
    assert of["L2-SP"].hypervolume.mean == pytest.approx((0.35 * 0.5 + 0.05 * 0.4 + 0.1 * 0.3) / 0.4)
    # Plain is one point: (.78-.2)·.18 and (.82-.2)·.22.
    assert of["full fine-tuning"].hypervolume.mean == pytest.approx((0.58 * 0.18 + 0.62 * 0.22) / 2 / 0.4)


def test_the_curve_starts_at_plain_fine_tuning_where_the_method_alone_equals_it() -> None:
    curve = summary([*plain(), *l2_sp()]).methods[1].curve
    assert [(p.value, p.at_absent) for p in curve] == [(0.0, True), (0.1, False), (1.0, False), (10.0, False)]
    combined = [
        t.model_copy(update={"mitigations": [*t.mitigations, {"sam": {"rho": 0.05}}]}) for t in l2_sp()
    ]
    assert [p.value for p in summary([*plain(), *combined]).methods[1].curve] == [0.1, 1.0, 10.0]


def of_two_rates() -> list[Trial]:
    """Plain fine-tuning and L2-SP at two rates, the higher one better on validation data and worse on test data."""
    of = {1e-4: (0.1, 0.0), 1e-3: (0.0, 0.1)}  # what a rate adds to speciality: validation, test
    return [
        t.model_copy(
            update={
                "id": f"{t.id} {rate}",
                "config": {"train.lr": rate, **({} if t.value is None else {"l2_sp.strength": t.value})},
                "validation": {**t.validation, "speciality": t.validation["speciality"] - less},
                "test": {**t.test, "speciality": t.test["speciality"] - lower},
            }
        )
        for rate, (less, lower) in of.items()
        for t in [*plain(), *l2_sp()]
    ]


def test_a_curve_is_that_of_the_chosen_setting_all_else_the_same() -> None:
    """Joined in the order of the strengths alone, settings of two learning rates would make a zigzag."""
    made = summary(of_two_rates(), retention=0.7, target=0.55)
    method = made.methods[1]
    assert method.choice is not None and "train.lr = 0.001" in method.choice.label
    # On test data the curve at 1e-3 is that of one rate, a tenth of speciality lower.
    assert method.target_at_retention.mean == pytest.approx(0.55)
    assert method.retention_at_target.mean == pytest.approx(0.7)
    ends = [point.label for point in method.curve if point.at_absent]
    assert ends == [f"l2_sp.strength = 0, train.lr = {rate} (absent)" for rate in ("0.0001", "0.001")]
    assert len(method.curve) == 2 + 6


def test_plain_fine_tuning_at_another_rate_is_the_end_of_no_curve() -> None:
    other = [t.model_copy(update={"config": {"train.lr": 3e-3}}) for t in plain()]
    made = summary([*other, *l2_sp()], target=0.75).methods[1]
    assert not any(point.at_absent for point in made.curve) and made.retention_at_target.mean is None


def test_curves_are_interpolated_and_never_extended() -> None:
    of = {m.method: m for m in summary([*plain(), *l2_sp()], retention=0.7, target=0.65).methods}
    # Retention .6 at speciality .7 and .8 at .6: .7 is half-way, and so is speciality .65.
    assert of["L2-SP"].target_at_retention.mean == pytest.approx(0.65)
    assert of["L2-SP"].retention_at_target.mean == pytest.approx(0.7)
    # Plain fine-tuning is a point without a knob, not a curve.
    assert of["full fine-tuning"].target_at_retention.mean is None
    beyond = {m.method: m for m in summary([*plain(), *l2_sp()], retention=0.2, target=0.95).methods}
    assert beyond["L2-SP"].target_at_retention.mean is None
    assert beyond["L2-SP"].retention_at_target.mean is None


def test_a_crossing_that_one_seed_does_not_reach_is_missing() -> None:
    # At speciality .81 only the second seed's plain end (.82) lies beyond.
    made = summary([*plain(), *l2_sp()], target=0.81).methods[1].retention_at_target
    assert (made.mean, made.count) == (None, 1)


def test_default_target_is_nine_tenths_of_what_plain_fine_tuning_gains() -> None:
    assert summary([*plain(), *l2_sp()]).target_level == pytest.approx(0.2 + 0.9 * 0.6)
    # Of two rates, of the one that was chosen: .7 on test data.
    assert summary(of_two_rates()).target_level == pytest.approx(0.2 + 0.9 * 0.5)


def test_reported_numbers_come_from_the_report_trials_where_there_are_any() -> None:
    reports = [
        trial("L2-SP", 1.0, seed, (0.5, 0.5), (0.9, 0.45), role="report", config={"stream": ["other"]})
        for seed in (7, 8)
    ] + [trial("full fine-tuning", None, seed, (0.5, 0.5), (0.85, 0.1), role="report") for seed in (7, 8)]
    made = summary([*plain(), *l2_sp(), *reports])
    method = made.methods[1]
    assert made.seeds == [7, 8]
    assert method.values["speciality"].mean == pytest.approx(0.9)
    assert method.against_plain["speciality"].mean == pytest.approx(0.05)
    assert any("made after the selection" in line for line in made.statements)


def test_while_reports_are_made_a_method_without_its_own_has_no_number_anywhere() -> None:
    """What it was tuned by may be of another stream, and would stand beside reports as if it were one."""
    reports = [trial("L2-SP", 1.0, seed, (0.5, 0.5), (0.9, 0.45), role="report") for seed in (0, 1)]
    trials = [*plain(), *l2_sp(), *reports]
    made = summary(trials)
    assert {m.method: sorted(m.runs) for m in made.methods} == {"full fine-tuning": [], "L2-SP": [0, 1]}
    assert SweepView(trials, made).reported == {"full fine-tuning": [], "L2-SP": reports}


def test_a_method_without_a_finished_setting_is_listed_with_its_reason() -> None:
    broken = [
        t.model_copy(
            update={"status": "diverged", "reason": "lower l2_sp's strength", "test": {}, "validation": {}}
        )
        for t in l2_sp()
    ]
    made = summary([*plain(), *broken])
    assert made.methods[1].choice is None and made.methods[1].values["speciality"].mean is None
    assert made.status == {"finished": 2, "diverged": 6}
    assert made.failures[0].reason == "lower l2_sp's strength"
    assert "| L2-SP | none finished |" in markdown(made) and "lower l2_sp's strength" in markdown(made)


def test_an_empty_sweep_has_no_summary() -> None:
    with pytest.raises(ValueError, match="without trials"):
        sweep_summary([])


# Media


def test_every_medium_says_the_same(tmp_path: Path) -> None:
    made = summary([*plain(), *l2_sp(), *wise_ft()], retention=0.7)
    files = {path.name: path for path in write_summary(made, tmp_path)}
    again = SweepSummary.model_validate_json(files["summary.json"].read_text())
    assert again == made
    records = table_records(sweep_table(made))
    assert json.loads(json.dumps(records)) == records
    with files["final.csv"].open() as file:
        read = list(csv.DictReader(file))
    assert [line["method"] for line in read] == [PRETRAINED, *(m.method for m in made.methods)]
    assert float(read[1]["speciality"]) == records[1]["speciality"]
    assert read[1]["target_at_retention"] == "", "missing stays missing"
    assert (read[1]["seeds"], read[1]["runs"]) == (
        "0; 1",
        "full fine-tuning-None-0-tune; full fine-tuning-None-1-tune",
    )
    assert pyarrow.parquet.read_table(files["final.parquet"]).to_pylist() == records
    assert "| full fine-tuning (control) * |" in files["final.md"].read_text()
    assert "80.0 (78.0 to 82.0)" in files["final.md"].read_text()


def test_the_terminal_table_fits_and_says_how_settings_were_chosen() -> None:
    from rich.console import Console

    made = summary([*plain(), *l2_sp()])
    for width in (70, 160):
        console = Console(width=width, record=True, file=io.StringIO())
        console.print(final_table(made, width))
        text = console.export_text()
        assert max(map(len, text.splitlines())) <= width
        assert "validation data" in " ".join(text.split()) and "L2-SP" in text
