"""Claims as files, and the trials that they ask for."""

from __future__ import annotations

import claim_samples as small
import pytest

from cl_forget.claims.claim import load_claims
from cl_forget.claims.planning import plan
from cl_forget.ground.errors import UserError


def test_what_claims_share_is_planned_once(tmp_path):
    one = small.write(tmp_path / "one", small.FORGETS)
    other = small.write(tmp_path / "other", small.KEEPS)
    alone, both = plan([one]), plan([one, other])
    assert len(both.needed) == 1  # the same world, though two files name it
    assert {p.trial.id for p in alone.tuning()} < {p.trial.id for p in both.tuning()}
    assert len({p.trial.id for p in both.tuning()}) == len(both.tuning()) == 3 * 4
    assert [(a.claim.name, a.file) for a in both.asked] == [("forgets", one), ("keeps", other)]


def test_selection_reads_the_other_stream_and_seed_and_reports_five_fresh_ones(tmp_path):
    made = plan([small.write(tmp_path, small.FORGETS)])
    assert {(p.run.seed, str(p.run.stream)) for p in made.tuning()} == {(9, "['other-colours']")}
    best = small.finished(made, lambda t: small.measured(1 - abs(t.config["train.lr"] - 1e-3), 0.4))
    report = made.reporting(list(best.values()))
    assert {(p.run.seed, p.run.train.lr) for p in report} == {(seed, 1e-3) for seed in range(5)}


def test_curves_are_run_only_where_a_claim_reads_them(tmp_path):
    curve = {**small.KEEPS, "measure": "hypervolume"}
    made = plan([small.write(tmp_path, curve)])
    records = small.finished(made, lambda t: small.measured(0.9, 0.4))
    report = [p.trial for p in made.reporting(list(records.values()))]
    assert {t.value for t in report if t.method == "WiSE-FT"} == {0.3, 0.6}
    assert {t.config["train.lr"] for t in report if t.method == "full fine-tuning"} == {
        1e-4,
        3e-4,
        1e-3,
        3e-3,
    }


@pytest.mark.parametrize(
    ("best", "curve"),
    [
        (4e-4, [1e-4, 4e-4, 6e-4, 8e-4]),  # between 3e-4 and 6e-4 of the even spread, nearer to the first
        (2e-4, [1e-4, 2e-4, 6e-4, 8e-4]),  # the ends stay
        (8e-4, [1e-4, 3e-4, 6e-4, 8e-4]),
    ],
)
def test_the_chosen_learning_rate_is_on_the_curve(tmp_path, best, curve):
    rates = [round(k * 1e-4, 6) for k in range(1, 9)]
    methods = {
        "full fine-tuning": {"mitigations": [], "space": {"train.lr": rates}},
        "WiSE-FT": {
            "mitigations": ["wise_ft"],
            "space": {"train.lr": rates[::4], "wise_ft.alpha": [0.2, 0.4, 0.6, 0.8]},
        },
    }
    claim = {**small.KEEPS, "less": "full fine-tuning", "measure": "hypervolume"}
    made = plan([small.write(tmp_path, claim, world={**small.WORLD, "methods": methods})])
    trials = small.finished(made, lambda t: small.measured(1 - abs(t.config["train.lr"] - best), 0.4))
    report = [p.trial for p in made.reporting(list(trials.values())) if p.trial.method == "full fine-tuning"]
    assert sorted({t.config["train.lr"] for t in report}) == curve


def test_one_claim_or_world_alone(tmp_path):
    file = small.write(tmp_path, small.FORGETS, small.KEEPS)
    assert [a.claim.name for a in plan([file], only=["keeps"]).asked] == ["keeps"]
    with pytest.raises(UserError, match=r"no claim 'keep'.*keeps"):
        plan([file], only=["keep"])
    with pytest.raises(UserError, match="no world 'tinny'"):
        plan([file], worlds=["tinny"])


def test_a_world_whose_data_are_elsewhere_is_only_priced(tmp_path):
    price = {"samples": 1000, "samples_per_second": 10, "device": "GPU", "source": "a table"}
    worlds = {
        "tiny": {"sweep": "embedded.yaml"},
        "paper": {"sweep": "embedded.yaml", "set": ["model=x:y"], "price": price},
    }
    both = {**small.FORGETS, "worlds": ["tiny", "paper"]}
    file = small.write(tmp_path, both, worlds=worlds)
    assert [a.world for a in plan([file]).asked] == ["tiny"]
    assert [a.world for a in plan([file], priced=True).asked] == ["tiny", "paper"]
    assert [a.world for a in plan([file], worlds=["paper"]).asked] == ["paper"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"measure": "generalty"}, "nothing measures 'generalty'.*generality"),
        ({"margin": -1}, "margin"),
        ({"worlds": ["huge"]}, "no world 'huge'"),
        ({"less": "full tuning"}, "no arm 'full tuning'.*full fine-tuning"),
        ({"less": []}, "names the arm"),
        ({"kind": "correlation"}, "second measure"),
        ({"kind": "correlation", "against": "hypervolume"}, "whole curves"),
        ({"kind": "residual", "against": "kl_to_base", "more": None}, "of one arm"),
        ({"marign": 0.1}, "marign"),
        ({"less": ["L2-SP", "L2-SP"]}, "`less` lists 'L2-SP' 2 times"),
        ({"worlds": ["tiny", "tiny"]}, "`worlds` lists 'tiny' 2 times"),
        ({"more": "L2-SP", "less": "L2-SP"}, "'L2-SP' is compared with itself"),
        ({"more": "L2-SP", "controls": ["L2-SP"]}, "'L2-SP' is compared with itself"),
        ({"margin": 2}, "`margin` is 2.*write 2 % as 0.02"),
        ({"more": "L2-SP", "less": [], "than": 50}, "`than` is 50.*as 0.5"),
        ({"more": "L2-SP", "less": [], "than": 0.5, "relative": True}, "`relative` divides"),
        ({"measure": "pareto_front"}, "nothing measures 'pareto_front'"),
        ({"measure": "generality_by_suite"}, "one number for each suite; name one"),
        ({"measure": "generality.colours"}, "'generality' is one number"),
        ({"more": "L2-SP", "measure": "generality_by_suite.colors"}, "no suite 'colors'.*mean 'colours'"),
        ({"more": "L2-SP", "measure": "speciality_by_task.square"}, "no task 'square'.*Known: squares-1"),
        ({"measure": "delta_lp"}, "has no probes to measure 'delta_lp' on"),
        ({"measure": "hypervolume"}, "'hypervolume' has no value before training; name an arm"),
        ({"measure": "ece"}, "'ece' has no value before training"),
        (
            {"more": "L2-SP", "less": "pre-trained", "measure": "kl_to_base", "relative": True},
            "is 0 before training",
        ),
        ({"measure": "bwt", "relative": True}, "'bwt' can be negative or 0.*leave `relative` out"),
        (
            {"measure": "delta_zs_by_suite.colours", "relative": True},
            r"'delta_zs_by_suite\.colours' can be negative",
        ),
        ({"less": [], "than": 0.5}, "'pre-trained' is no arm"),
        ({"kind": "correlation", "against": "kl_to_base"}, "does not read `less`; leave it out"),
        ({"more": "L2-SP", "arms": ["KD"]}, "does not read `arms`"),
        ({"more": "L2-SP", "measure": "hypervolume", "controls": ["WiSE-FT"]}, "a control has one setting"),
    ],
)
def test_mistakes_are_named(tmp_path, change, said):
    with pytest.raises(UserError, match=said):
        plan([small.write(tmp_path, {**small.FORGETS, **change})])


@pytest.mark.parametrize(
    "change",
    [
        {"more": "L2-SP", "measure": "kl_to_base", "margin": 2},  # nats, no share
        {"more": "L2-SP", "relative": True, "margin": 1.5},  # one and a half times as much
        {"measure": "kl_to_base", "relative": True},  # relative to the arm's own
        {"more": "L2-SP", "measure": "generality_by_suite.colours"},
        {"measure": "retention"},
        {"kind": "explained", "against": "kl_to_base", "more": None, "less": [], "than": 0.5},
    ],
)
def test_what_only_looks_like_a_mistake(tmp_path, change):
    assert plan([small.write(tmp_path, {**small.FORGETS, **change})]).asked


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tune_on": {}}, "squares is tuned on and reported"),  # the sweep's own stream and seeds
        ({"tune_on": {"stream": "squares", "seeds": [9]}}, "squares is tuned on and reported"),
        (
            {"tune_on": {"stream": ["other-colours", "squares"], "seeds": [9]}},
            "squares is tuned on and reported",
        ),
        ({"tune_on": {"stream": ["other-colours"], "seeds": [9, 3]}}, "seed 3 is tuned on and reported"),
        ({"tune_on": {"stream": ["other-colours"]}}, "seed 0 is tuned on and reported"),
        ({"suites": []}, "has no suites to measure 'generality' on"),
        *(
            ({"budget": {limit: 1, **more}}, f"do not keep to `budget.{limit}`; leave it out.* --minutes")
            for limit, more in (
                ("hours", {}),
                ("usd", {"prices": {"any": 1}}),
                ("gpu_hours", {}),
                ("passes", {"trials": 2}),
            )
        ),
    ],
)
def test_worlds_in_which_a_claim_cannot_be_tried(tmp_path, change, said):
    with pytest.raises(UserError, match=said):
        plan([small.write(tmp_path, small.FORGETS, world={**small.WORLD, **change})])


def test_a_limit_of_a_sweep_is_left_out_by_its_world(tmp_path):
    world = {**small.WORLD, "budget": {"hours": 8, "trials": 2}}
    worlds = {"tiny": {"sweep": "embedded.yaml", "set": ["budget.hours=null"]}}
    assert plan([small.write(tmp_path, small.FORGETS, world=world, worlds=worlds)]).asked


def test_the_names_of_data_that_are_elsewhere_are_not_known(tmp_path):
    price = {"samples": 1000, "samples_per_second": 10, "device": "GPU", "source": "a table"}
    worlds = {"tiny": {"sweep": "embedded.yaml", "price": price}}
    claim = {**small.FORGETS, "more": "L2-SP", "measure": "generality_by_suite.imagenet"}
    assert plan([small.write(tmp_path, claim, worlds=worlds)], priced=True).asked


def test_every_arm_chooses_among_as_many_settings_as_the_one_with_the_fewest(tmp_path):
    methods = {
        **small.WORLD["methods"],
        "KD": {"mitigations": ["kd"], "space": {"kd.strength": [0.1, 0.3, 1.0]}},
    }
    file = small.write(tmp_path, small.FORGETS, small.KEEPS, world={**small.WORLD, "methods": methods})
    made = plan([file])
    read = [p.trial for p in made.tuning()]
    assert {arm: sum(t.method == arm for t in read) for arm in ("full fine-tuning", "WiSE-FT", "L2-SP")} == {
        "full fine-tuning": 3, "WiSE-FT": 3, "L2-SP": 3,
    }  # fmt: skip
    alone = plan(
        [file], only=["forgets"]
    )  # which claims are planned does not change what an arm chooses among
    assert {p.trial.id for p in alone.tuning()} <= {t.id for t in read}


def test_a_budget_that_not_every_arm_has_is_refused(tmp_path):
    methods = {**small.WORLD["methods"], "KD": {"mitigations": ["kd"], "space": {"kd.strength": [0.1, 1.0]}}}
    world = {**small.WORLD, "methods": methods, "budget": {"trials": 4}}
    file = small.write(tmp_path, small.FORGETS, world=world)
    with pytest.raises(UserError, match=r"different numbers of settings.*KD 2"):
        plan([file])


def test_an_arm_is_selected_when_all_of_its_settings_are_over(tmp_path):
    made = plan([small.write(tmp_path, small.FORGETS)])
    trials = small.finished(made, lambda t: small.measured(0.9, 0.4))
    tuned = [t for t in trials.values() if t.role == "tune"]
    assert made.reporting(tuned) and not made.reporting(tuned[1:])


def test_test_data_are_never_selected_on(tmp_path):
    world = {name: value for name, value in small.WORLD.items() if name != "report_on"}
    with pytest.raises(UserError, match="report_on"):
        plan([small.write(tmp_path, small.FORGETS, world=world)])


def test_two_claims_of_one_name_are_refused(tmp_path):
    files = [small.write(tmp_path / name, small.FORGETS) for name in ("one", "other")]
    with pytest.raises(UserError, match="claim 'forgets' has the name of one in"):
        plan(files)
    with pytest.raises(UserError, match="claim 'forgets' has the name of one in"):
        plan([small.write(tmp_path, small.FORGETS, {**small.FORGETS, "margin": 0.5})])


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="no claims file at"):
        load_claims(tmp_path / "claims.yaml")
    (tmp_path / "claims.yaml").write_text("")
    with pytest.raises(UserError, match=r"a claims file is a mapping with `paper:`.*ldifs/claims\.yaml"):
        load_claims(tmp_path / "claims.yaml")


@pytest.mark.parametrize(
    ("wrong", "right", "said"),
    [
        ("claim:", "claims:", "claim: unknown field. Did you mean 'claims'"),
        ("measuer:", "measure:", r"claims\.0\.measuer: unknown field. Did you mean 'measure'"),
        (
            "model: x\npaper:",
            "paper:",
            "model: is no field of a claims file but of a sweep: `cl-forget sweep ",
        ),
        ("worlds: {}\nworld:", "worlds:\n  tiny:", "worlds: should name at least 1, not 0"),
    ],
)
def test_mistakes_in_the_file_itself(tmp_path, wrong, right, said):
    file = small.write(tmp_path, small.FORGETS)
    file.write_text(file.read_text().replace(right, wrong))
    with pytest.raises(UserError, match=said):
        load_claims(file)


def test_a_control_is_left_out_where_a_world_has_none_and_refused_where_none_has(tmp_path):
    other = {**small.WORLD, "methods": {k: v for k, v in small.WORLD["methods"].items() if k != "L2-SP"}}
    small.write(tmp_path / "other", small.FORGETS, world=other)
    worlds = {"tiny": {"sweep": "embedded.yaml"}, "other": {"sweep": "../other/embedded.yaml"}}
    claim = {**small.FORGETS, "controls": ["L2-SP"], "worlds": ["tiny", "other"]}
    here, there = plan([small.write(tmp_path / "one", claim, worlds=worlds)]).asked
    assert (here.controls, there.controls) == (["L2-SP"], [])
    assert here.arms == ["full fine-tuning", "L2-SP"] and there.arms == ["full fine-tuning"]
    claim = {**claim, "controls": ["L2SP"]}
    with pytest.raises(UserError, match=r"'forgets': world 'tiny' has no arm 'L2SP'. Did you mean 'L2-SP'"):
        plan([small.write(tmp_path / "one", claim, worlds=worlds)])
