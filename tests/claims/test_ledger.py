"""From records to verdicts to the ledger's files."""

from __future__ import annotations

import csv

import claim_samples as small
import numpy as np
import pytest

from cl_forget.claims.choices import choices, sentences
from cl_forget.claims.items import KEPT, Paired, gather, keep
from cl_forget.claims.ledger import BEGIN, END, compared, laws, ledger, markdown, summary, write_ledger
from cl_forget.claims.planning import plan
from cl_forget.claims.records import RECORDS, keep_records, load_records
from cl_forget.ground.errors import UserError
from cl_forget.reporting.print.law import added


def numbers(trial):
    """WiSE-FT keeps .40, L2-SP .30 and full fine-tuning .20 of a generality of .50, each with a little noise."""
    noise = 0.001 * (trial.seed % 3)
    kept = {"WiSE-FT": 0.40, "L2-SP": 0.30, "full fine-tuning": 0.20}[trial.method]
    distance = {"WiSE-FT": 1.0, "L2-SP": 2.0, "full fine-tuning": 3.0}[trial.method]
    strength = 0.1 * (trial.value or 100 * trial.config["train.lr"])
    return small.measured(0.9 - 0.1 * strength, kept + noise, weight_distance=distance + strength)


def moving(trial):
    """Retention falls by a fifth with each unit of distance, and L2-SP keeps a tenth more than that."""
    distance = {
        "full fine-tuning": lambda: 1000 * trial.config["train.lr"],
        "WiSE-FT": lambda: 5 * trial.value,
        "L2-SP": lambda: 3 - 2 * trial.value,
    }[trial.method]()
    kept = 1 - 0.2 * distance + 0.1 * (trial.method == "L2-SP") + 0.001 * (trial.seed % 3)
    return small.measured(0.9, 0.5 * kept, weight_distance=distance)


def settle(tmp_path, *claims, numbers=numbers):
    made = plan([small.write(tmp_path, *claims)])
    trials = small.finished(made, numbers)
    return ledger(made, trials), trials


def test_differences(tmp_path):
    keeps = {
        **small.KEEPS,
        "name": "same",
        "measure": "speciality",
        "rule": "keeps",
        "less": "full fine-tuning",
    }
    gains = {**small.FORGETS, "name": "gains", "more": "full fine-tuning", "less": "WiSE-FT"}
    lines, _ = settle(tmp_path, small.FORGETS, small.KEEPS, gains, keeps)
    assert summary(lines) == {
        "forgets": "supported", "keeps": "supported", "gains": "contradicted", "same": "supported",
    }  # fmt: skip
    forgets, hardest = lines[0].judged, lines[1]
    assert forgets.effect == pytest.approx(0.5 - 0.2 - 0.001 * (0 + 1 + 2 + 0 + 1) / 5)
    assert "L2-SP, the hardest of 2" in hardest.contrast and hardest.judged.effect == pytest.approx(0.1)
    assert all(line.judged.p_holm >= line.judged.p for line in lines)
    assert lines[0].effect.startswith("+29.9") and lines[0].effect.endswith("points")


def test_of_comparators_none_is_the_hardest_where_one_cannot_be_compared(tmp_path):
    """L2-SP comes second and has no value; on two seeds each has values, and none is judged."""

    def lacking(trial):
        return {**numbers(trial), "generality": None} if trial.method == "L2-SP" else numbers(trial)

    (line,), _ = settle(tmp_path / "one", small.KEEPS, numbers=lacking)
    assert line.contrast == "generality: WiSE-FT − L2-SP, one of 2, which lacks a value"
    assert line.effect == "– (no value for seed 0, 1, 2, 3, 4)"
    assert line.contrast in markdown([line])
    (few,), _ = settle(tmp_path / "few", {**small.KEEPS, "fewest": 6}, numbers=numbers)
    assert few.contrast == "generality: WiSE-FT − full fine-tuning, one of 2"
    assert few.effect.endswith("points (5 of at least 6 seeds)")


def test_controls_stand_beside_a_claim_and_hide_no_verdict(tmp_path):
    """WiSE-FT keeps .40 and full fine-tuning .20, each with the same noise: their difference is .20 on every seed."""
    claim = {**small.KEEPS, "less": "L2-SP", "controls": ["full fine-tuning"]}
    alone = {**small.KEEPS, "name": "alone", "less": [], "than": 0.35, "controls": ["L2-SP"]}
    made = plan([small.write(tmp_path / "paper", claim, alone)])
    trials = small.finished(made, numbers)
    first, second = ledger(made, trials)
    assert first.controlled == "WiSE-FT − its control full fine-tuning: +20.0 [+20.0, +20.0] points"
    assert second.controlled.startswith(
        "its control L2-SP − 0.35: -4.9"
    )  # .30 and a noise of .0008, less .35
    lines = ledger(made, {name: t for name, t in trials.items() if t.method != "full fine-tuning"})
    assert [line.standing for line in lines] == ["supported", "supported"]
    assert lines[0].controlled == "its control full fine-tuning has not been run"
    assert "its control full fine-tuning has not been run |" in markdown(lines)
    write_ledger(lines, list(trials.values()), tmp_path)
    with (tmp_path / "claims.csv").open() as file:
        assert [row["controls"] for row in csv.DictReader(file)] == [line.controlled for line in lines]
    assert "its control full fine-tuning has not been run" in (tmp_path / "claims.html").read_text()


def test_verdicts_that_hold_after_holm_are_counted_and_marked(tmp_path):
    """Gains .03, .04, .02, .04, .02: mean .03, s = .01, t = 6.71, p = .0026; three times that is below .05.

    Gains .03, .05, .01, .05, .01: s = .02, t = 3.35, p = .0285; twice that is not.
    """

    def gains(trial):
        away = 0.01 * (0, 1, -1, 1, -1)[trial.seed % 5]
        gain = {"WiSE-FT": 0.03 + away, "L2-SP": 0.03 + 2 * away, "full fine-tuning": 0.0}[trial.method]
        return small.measured(0.9, 0.3 + gain)

    clear = {**small.KEEPS, "less": "full fine-tuning"}
    closer = [{**clear, "name": f"closer-{k}", "more": "L2-SP"} for k in (1, 2)]
    lines, trials = settle(tmp_path / "paper", clear, *closer, numbers=gains)
    assert [line.judged.p_t for line in lines] == pytest.approx([0.00257, 0.02846, 0.02846], abs=1e-5)
    assert [line.standing for line in lines] == ["supported"] * 3
    assert [line.judged.holds for line in lines] == [True, False, False]
    said = "Verdicts are per row: 1 of 3 decided rows, marked ✓, also hold after Holm over all 3 rows."
    text = markdown(lines)
    assert (
        text.startswith(said) and text.count("**supported** ✓ |") == 1 and text.count("**supported** |") == 2
    )
    write_ledger(lines, list(trials.values()), tmp_path)
    page = (tmp_path / "claims.html").read_text()
    assert said in page and page.count("supported ✓") == 1
    with (tmp_path / "claims.csv").open() as file:
        assert [row["holds"] for row in csv.DictReader(file)] == ["True", "False", "False"]


def test_relative_effects_and_curves(tmp_path):
    area = {**small.KEEPS, "name": "area", "measure": "hypervolume", "relative": True, "margin": 0.1}
    equal = {**small.KEEPS, "name": "equal", "measure": "retention_at_equal_target", "less": "L2-SP"}
    lines, _ = settle(tmp_path, area, equal)
    assert summary(lines)["area"] == "supported"
    assert lines[0].judged.effect == pytest.approx(0.4 / 0.3 - 1, rel=0.05)
    assert lines[1].judged.seeds in (0, 5)


def test_nothing_is_relative_to_what_is_not_above_0(tmp_path):
    """Of -.1 an arm with .1 would have -200 %, though it has more."""

    def gaps(trial):
        ours = {"WiSE-FT": 0.1}.get(trial.method, -0.1 if trial.seed == 3 else 0.2)
        return small.measured(0.9, 0.4, sam_gap=ours)

    claim = {**small.KEEPS, "measure": "sam_gap", "less": "L2-SP", "relative": True}
    (line,), _ = settle(tmp_path, claim, numbers=gaps)
    assert (line.judged.verdict, line.judged.reason) == ("undecided", "no value for seed 3")


def test_how_far_it_moved_against_what_is_left(tmp_path):
    arms = ["full fine-tuning", "WiSE-FT", "L2-SP"]
    law = {
        "source": "ours",
        "sentence": "…",
        "measure": "retention",
        "against": "weight_distance",
        "sign": -1,
        "worlds": ["tiny"],
    }
    found, _ = settle(
        tmp_path,
        {**law, "name": "correlation", "kind": "correlation", "margin": 0.5, "arms": arms},
        {**law, "name": "explained", "kind": "explained", "margin": 0.5, "arms": arms},
        {**law, "name": "most", "kind": "explained", "than": 0.5, "margin": 0.0, "arms": arms},
        {**law, "name": "residual", "kind": "residual", "more": "L2-SP", "margin": 0.02, "arms": arms},
        numbers=moving,
    )
    by_name = {line.name: line.judged for line in found}
    assert by_name["correlation"].verdict == "supported" and by_name["correlation"].effect > 0.8
    assert by_name["explained"].verdict == "supported" and 0.5 < by_name["explained"].effect < 1
    assert by_name["most"].effect == pytest.approx(by_name["explained"].effect - 0.5)
    assert by_name["most"].verdict == "supported"
    assert found[2].contrast == "R² of retention given weight_distance − 0.5, each arm from the others' curve"
    assert by_name["residual"].verdict == "supported"
    assert by_name["residual"].effect == pytest.approx(0.1, abs=0.05)
    assert found[3].contrast.startswith("retention of L2-SP beyond the others' curve over weight_distance")


def test_a_residual_says_on_how_many_points_it_rests(tmp_path):
    """WiSE-FT's .6 moves further than any setting of the other: of its two points a seed one counts."""

    def numbers(trial):
        x = {"WiSE-FT": 4.0 * (trial.value or 0)}.get(trial.method, 1000 * trial.config["train.lr"] * 0.7)
        return small.measured(0.9, 0.4, retention=1 - 0.1 * x, weight_distance=x)

    claim = {
        **small.KEEPS, "kind": "residual", "measure": "retention", "against": "weight_distance", "sign": -1,
        "less": [], "arms": ["full fine-tuning"],
    }  # fmt: skip
    (line,), _ = settle(tmp_path, claim, numbers=numbers)
    assert line.contrast.endswith("over weight_distance, at 5 of its 10 points")


def test_the_law_is_drawn(tmp_path):
    law = {"source": "ours", "sentence": "…", "kind": "explained", "measure": "retention", "worlds": ["tiny"]}
    arms = ["full fine-tuning", "WiSE-FT", "L2-SP"]
    claim = {**law, "name": "law", "against": "weight_distance", "margin": 0.5, "arms": arms}
    made = plan([small.write(tmp_path / "paper", claim)])
    trials = small.finished(made, moving)
    panels = laws(made, trials)
    assert {p.arm for p in panels["tiny"]["weight_distance"]} == set(arms)
    assert added(panels["tiny"]["weight_distance"])["L2-SP"].mean == pytest.approx(0.1, abs=0.05)
    written = write_ledger(ledger(made, trials), [], tmp_path, panels)
    assert written[-1].name == "law-tiny.png" and written[-1].read_bytes().startswith(b"\x89PNG")
    assert laws(made, {}) == {}


def test_what_each_arm_chose_stands_below_with_the_ends_of_grids(tmp_path):
    """Best are 1e-3, within its grid, and for WiSE-FT the higher of two rates and the lower of two strengths."""

    def numbers(trial):
        near = -abs(trial.config["train.lr"] - 1e-3) - (trial.value or 0) / 1000
        return small.measured(0.9 + near, 0.4)

    made = plan(
        [small.write(tmp_path / "paper", {**small.KEEPS, "less": ["full fine-tuning", "linear probe"]})]
    )
    trials = small.finished(made, numbers)
    chosen = choices(made, trials)
    assert chosen == {
        "tiny": {"WiSE-FT": "train.lr 0.001 ↑, wise_ft.alpha 0.3 ↓", "full fine-tuning": "train.lr 0.001"}
    }
    assert choices(made, {}) == {}
    write_ledger(ledger(made, trials), [], tmp_path, chosen=sentences(chosen))
    for name in ("README.md", "claims.html"):
        assert "WiSE-FT: train.lr 0.001 ↑, wise_ft.alpha 0.3 ↓; full" in (tmp_path / name).read_text()


def test_what_is_missing_leaves_a_claim_undecided(tmp_path):
    made = plan([small.write(tmp_path, small.FORGETS)])
    assert ledger(made, {})[0].judged.verdict == "undecided"
    trials = small.finished(made, numbers)
    gone = next(name for name, trial in trials.items() if trial.role == "report" and trial.seed == 3)
    found = ledger(made, {name: trial for name, trial in trials.items() if name != gone})[0].judged
    assert (found.verdict, found.reason) == ("undecided", "no value for seed 3")


def test_what_is_not_run_stands_by_name_and_in_no_table(tmp_path):
    made = plan([small.write(tmp_path / "paper", small.FORGETS, small.KEEPS)])
    nothing = ledger(made, {})
    assert [line.standing for line in nothing] == ["not run", "not run"]
    text = markdown(nothing)
    assert "Nothing has been run" in text and "`tiny`, 2: `forgets`, `keeps`" in text and "|" not in text
    trials = small.finished(made, numbers)
    some = {name: trial for name, trial in trials.items() if trial.method != "L2-SP"}
    found = ledger(made, some)  # the other one needs it
    assert [line.standing for line in found] == ["supported", "not run"]
    assert "**supported**" in markdown(found) and "`tiny`, 1: `keeps`" in markdown(found)
    write_ledger(found, list(some.values()), tmp_path)
    page = (tmp_path / "claims.html").read_text()
    assert "1 not run" in page and page.count("<tr id=") == 1
    with (tmp_path / "claims.csv").open() as file:
        assert [row["verdict"] for row in csv.DictReader(file)] == ["supported", "not run"]
    diverged = {
        name: trial.model_copy(update={"status": "diverged"}) if trial.seed == 3 else trial
        for name, trial in trials.items()
    }
    assert ledger(made, diverged)[0].standing == "undecided"  # it was run, and gave no number


def test_two_arms_item_by_item(tmp_path):
    made = plan([small.write(tmp_path / "paper", small.KEEPS)])
    trials = {
        name: trial.model_copy(
            update={"test": {**trial.test, "generality_by_suite": {"colours": 0.4}, "f_true": 0.1}}
        )
        for name, trial in small.finished(made, numbers).items()
    }
    assert ledger(made, trials)[0].paired is None  # no items were kept
    names = compared(made, trials)
    assert {trials[name].method for name in names} == {"WiSE-FT", "full fine-tuning", "L2-SP"}
    assert all(trials[name].role == "report" for name in names)
    rights = {"WiSE-FT": 40, "L2-SP": 30, "full fine-tuning": 20}
    items = {
        name: {"colours": np.arange(50) < rights[trials[name].method], "squares": np.ones(3, bool)}
        for name in names
    }
    keep(items, tmp_path / KEPT)
    again = gather(names, {}, tmp_path / KEPT)
    assert all((again[name][data] == right).all() for name in names for data, right in items[name].items())
    found = ledger(made, trials, again)[0]
    assert found.paired == Paired(more_only=50, less_only=0, better=5, worse=0, seeds=5)  # against L2-SP
    assert "5 of 5 seeds" in found.behind and "F_true 10.0 and 10.0 %" in found.behind
    with pytest.raises(UserError, match="holds no items"):
        (tmp_path / KEPT).write_bytes(b"PAR1 is not enough")
        gather(names, {}, tmp_path / KEPT)


def test_the_ledger_is_made_again_from_its_records(tmp_path):
    lines, trials = settle(tmp_path / "paper", small.FORGETS, small.KEEPS)
    (tmp_path / "README.md").write_text(f"# Mine\n\n{BEGIN}\nstale\n{END}\n\nrest\n")
    write_ledger(lines, list(trials.values()), tmp_path)
    text = (tmp_path / "README.md").read_text()
    assert text.startswith("# Mine\n") and text.endswith("\n\nrest\n") and "stale" not in text
    assert "**supported**" in text
    again = ledger(plan([tmp_path / "paper" / "claims.yaml"]), load_records(None, [tmp_path / RECORDS]))
    assert again == lines
    with (tmp_path / "claims.csv").open() as file:
        assert [row["verdict"] for row in csv.DictReader(file)] == ["supported", "supported"]
    page = (tmp_path / "claims.html").read_text()
    assert page.count('class="standing supported"') == 2 and "http" not in page.split("</style>")[1]


def test_a_readme_without_a_place_is_left_alone(tmp_path):
    lines, trials = settle(tmp_path / "paper", small.FORGETS)
    (tmp_path / "README.md").write_text("# Mine\n")
    with pytest.raises(UserError, match="no place for the ledger"):
        write_ledger(lines, list(trials.values()), tmp_path)
    assert (tmp_path / "README.md").read_text() == "# Mine\n"
    assert not (tmp_path / "claims.csv").exists()


def test_records_that_are_none(tmp_path):
    (tmp_path / RECORDS).write_bytes(b"PAR1 is not enough")
    with pytest.raises(UserError, match="holds no records"):
        load_records(None, [tmp_path / RECORDS])


def test_a_number_that_was_measured_after_the_run_is_kept(tmp_path):
    made = plan([small.write(tmp_path / "paper", small.FORGETS)])
    trial = next(t for t in small.finished(made, numbers).values() if t.role == "report")
    keep_records(
        [trial.model_copy(update={"test": {**trial.test, "sam_gap": 0.2, "generality": 9.0}})],
        tmp_path / RECORDS,
    )
    trial.save(tmp_path / "runs")
    found = load_records(tmp_path / "runs", [tmp_path / RECORDS])[trial.id]
    assert found.test == {**trial.test, "sam_gap": 0.2}
