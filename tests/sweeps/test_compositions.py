"""An arm whose composition is searched: what the file means, what is drawn, and what is run."""

from __future__ import annotations

import io
import random
from collections import Counter
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import yaml
from rich.console import Console
from sweep_samples import FIELDS

from cl_forget.comparison.settings import setting_label
from cl_forget.comparison.varied import varied_fields
from cl_forget.config.sweep import Sweep
from cl_forget.ground.errors import UserError
from cl_forget.mitigations.chain import Chain
from cl_forget.mitigations.wise_ft import WiseFT
from cl_forget.sweeps.drawing import drawn
from cl_forget.sweeps.planning import planned
from cl_forget.sweeps.preview import preview
from cl_forget.sweeps.rehearsal import fitting, rehearsed
from cl_forget.sweeps.searching import Balanced
from cl_forget.sweeps.sources import GIVER, Space

MEMBERS = ["lora", "l2_sp", "ewc", "kd", "sam", "asam", "wise_ft", "lines"]
"""LoRA has no place beside L2-SP and EWC; SAM and ASAM both choose the point of the gradient."""


def composed(of: Any = MEMBERS, most: int = 3, **fields: Any) -> Sweep:
    arm = {"compose": {"of": of, "most": most}, **fields.pop("arm", {})}
    plain = {name: value for name, value in FIELDS.items() if name != "space"}
    asked = {"mode": "search", "budget": {"trials": 30}, "control": False, "methods": {"recipe": arm}}
    return Sweep(**{**plain, **asked, **fields})


def play(sweep: Sweep, ahead: int = 1, mood: int = 0) -> list[dict[str, Any]]:
    """What is suggested where side by side trials end in an order of the mood's, with results made of the setting."""
    search, dice = Balanced(sweep, ahead), random.Random(mood)
    suggested: list[dict[str, Any]] = []
    running: list[tuple[str, dict[str, Any]]] = []
    for number in count():
        config = search.suggest(f"{mood}-{number}")
        if config == "FINISHED":
            return suggested
        if config is not None:
            suggested.append(config)
            running.append((f"{mood}-{number}", config))
        if config is None or dice.random() < 0.5:
            name, ended = running.pop(dice.randrange(len(running)))
            length = len(str(sorted(ended.items()))) % 17 / 17
            search.on_trial_complete(name, {"speciality": length, "generality": 1 - length**2, "passes": 1})
    raise AssertionError


def test_every_draw_is_a_composition_that_runs_and_has_the_fields_of_its_members_alone() -> None:
    sweep = composed(space={"train.lr": {"log_uniform": [1e-4, 1e-2]}})
    acting: Counter[str] = Counter()
    sizes: Counter[int] = Counter()
    for config in play(composed(space=sweep.space, budget={"trials": 60})):
        names = config["compose"].split(" + ")
        Chain(sweep.acting("recipe", config))
        owners = {name.partition(".")[0] for name in config} - {"method", "compose", GIVER}
        assert owners == {*names, "train"}
        acting.update(names)
        sizes[len(names)] += 1
    assert set(acting) == set(MEMBERS) and set(sizes) == {1, 2, 3}


def test_at_first_every_member_acts_as_often() -> None:
    lr = {"train.lr": {"log_uniform": [1e-4, 1e-2]}}
    search = Balanced(composed(most=1, space=lr, budget={"trials": 300}), ahead=10**9, random=True)
    drawn = Counter(search.suggest(str(number))["compose"] for number in range(300))
    assert set(drawn) == set(MEMBERS) and max(drawn.values()) < 2.5 * min(drawn.values())


def test_what_does_nothing_is_no_value_of_what_acts() -> None:
    values = composed().ranges("recipe")["wise_ft.alpha"].values
    assert values == [alpha for alpha in WiseFT.grid if alpha != 1.0]


@pytest.mark.parametrize("ahead", [1, 2, 3])
def test_the_same_is_suggested_whatever_ends_first(ahead: int) -> None:
    sweep = composed()
    known = [{k: v for k, v in config.items() if k != GIVER} for config in play(sweep, ahead)]
    again = [{k: v for k, v in config.items() if k != GIVER} for config in play(sweep, ahead, mood=5)]
    assert known == again and len(known) == 30


def test_methods_without_a_strength_are_composed_as_well() -> None:
    suggested = play(composed(["lp_ft", "joint"], space={}))
    assert {config["compose"] for config in suggested} == {"lp_ft", "joint", "joint + lp_ft"}


SMALL: dict[str, Any] = {
    "of": ["kd", "wise_ft"],
    "most": 2,
    "space": {"kd.strength": [0.1], "wise_ft.alpha": [0.2, 0.6]},
}
"""Five settings: KD, WiSE-FT at two strengths, both at two."""


@pytest.mark.parametrize("ahead", [1, 2])
def test_no_setting_is_suggested_twice_and_a_small_space_comes_to_its_end(ahead: int) -> None:
    suggested = play(composed(**SMALL), ahead)
    different = {str(sorted((k, v) for k, v in config.items() if k != GIVER)) for config in suggested}
    assert len(different) == len(suggested) == 5


def test_what_differs_after_training_only_takes_the_fine_tuning_over() -> None:
    sweep = composed(**SMALL)
    suggested = play(sweep)
    givers = [config for config in suggested if GIVER in config]
    assert len(givers) == 3  # two fine-tunes, plain and with KD, serve five settings
    for config in givers:
        (one,) = Space(sweep).group(config)
        (giver,) = Space(sweep).group(config[GIVER])
        assert (one.trial.shared_with, one.trial.shared_stages) == (giver.trial.id, 2)
        assert one.run.training_key() == giver.run.training_key()


def test_a_setting_says_which_methods_act() -> None:
    sweep = composed(space={"train.lr": [1e-3]})
    config = {"compose": "l2_sp + wise_ft", "l2_sp.strength": 0.1, "wise_ft.alpha": 0.5, "train.lr": 1e-3}
    one = planned(sweep, "recipe", config, seed=3)
    assert (
        setting_label(one.trial)
        == "l2_sp + wise_ft, l2_sp.strength = 0.1, wise_ft.alpha = 0.5, train.lr = 0.001"
    )
    assert one.trial.id.startswith("recipe-l2-sp-wise-ft-tune-seed3-") and one.trial.knob is None
    assert [m.name for m in one.run.mitigations] == ["l2_sp", "wise_ft"]


def test_fields_that_the_file_sets_stay_and_its_own_space_comes_first() -> None:
    members: Sequence[Any] = [{"l2_sp": {"strength": 0.5}}, {"lora": {"alpha": 8}}]
    sweep = composed(members, arm={"train": {"epochs": 2}, "space": {"lora.rank": [2, 3]}}, space={})
    assert {name: values.values for name, values in sweep.ranges("recipe").items()} == {"lora.rank": [2, 3]}
    run = sweep.run("recipe", {"compose": "l2_sp"}, seed=0)
    assert (run.mitigations[0].identity["strength"], run.train.epochs) == (0.5, 2)


def test_a_composition_is_read_back_and_rehearsed_member_by_member() -> None:
    sweep = composed()
    again = Sweep(**yaml.safe_load(yaml.safe_dump(sweep.model_dump(mode="json"))))
    assert again == sweep and play(again)[:5] == play(sweep)[:5]
    assert {tuple(m.name for m in run.mitigations) for run in rehearsed(sweep)} == {
        (name,) for name in MEMBERS
    }


def test_all_are_those_with_a_strength_that_the_model_can_have() -> None:
    said: list[str] = []
    asked = composed("all")
    assert asked.model_dump()["methods"]["recipe"]["compose"]["of"] == "all"
    sweep = fitting(asked, said.append)
    names = {m.name for m in sweep.arms["recipe"]}
    assert {"l2_sp", "wise_ft", "sam"} <= names
    assert not names & {"zscl", "joint", "linear_probe"}  # needs a reference; no strength; neither
    assert {m.name for m in asked.arms["recipe"]} - names == {"sdft", "self_sft", "freeze"}
    assert "recipe: freeze is left out: freeze.blocks is 4, and 'tiny-clip' has 2" in said[0]
    assert len(said) == 3 and "recipe: sdft is left out: 'tiny-clip' gives no answers of its own" in said[2]
    assert fitting(sweep) is sweep


def test_a_dry_run_prices_a_search_by_settings_drawn_at_random() -> None:
    console = Console(width=400, record=True, file=io.StringIO())
    console.print(preview(composed("all", space={"train.lr": {"log_uniform": [1e-4, 1e-2]}})))
    text = " ".join(console.export_text().split())
    assert "mode search · seeds 0 · 30 trials · about" in text and "were settings drawn at random" in text
    assert "sdft" not in text


def test_an_even_draw_has_the_fields_of_who_acts() -> None:
    space = {"train.lr": {"log_uniform": [1e-4, 1e-2]}, "train.warmup": {"uniform": [0.1, 0.5]}}
    sweep = composed(space=space)
    for seed in range(20):
        config = drawn(sweep, "recipe", seed)
        assert config == drawn(sweep, "recipe", seed)
        assert {"compose", *sweep.ranges("recipe", sweep.acting("recipe", config))} == set(config)
        assert 1e-4 <= config["train.lr"] <= 1e-2 and 0.1 <= config["train.warmup"] <= 0.5


def test_who_acts_is_a_field_of_what_a_search_varied() -> None:
    sweep = composed()
    settings = [
        {"compose": "l2_sp + wise_ft", "l2_sp.strength": 0.1, "wise_ft.alpha": 0.5},
        {"compose": "wise_ft", "wise_ft.alpha": 0.5},
        {"compose": "kd + wise_ft", "kd.strength": 0.1, "wise_ft.alpha": 0.8},
    ]
    trials = [planned(sweep, "recipe", config, seed=0).trial for config in settings]
    assert varied_fields(trials) == {
        "wise_ft.alpha": [0.5, 0.5, 0.8],
        "l2_sp acts": [1.0, 0.0, 0.0],
        "kd acts": [0.0, 0.0, 1.0],
    }


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mode": "curve"}, "`compose` of 'recipe' is for a search; set `mode: search`"),
        ({"of": ["l2_sp"]}, "at least 2 items"),
        ({"of": "some"}, "should be `all`, or a list"),
        ({"of": ["l2_sp", "l2_sp"]}, "'l2_sp' is listed 2 times"),
        ({"of": ["l2_sp", "l2_spp"]}, "Did you mean 'l2_sp'"),
        ({"most": 0}, "greater than or equal to 1"),
        ({"arm": {"mitigations": ["kd"]}}, "give `mitigations` or `compose`, not both"),
        ({"arm": {"space": {"ldifs.strength": [1]}}}, "'recipe' has no field 'ldifs.strength' to vary"),
        ({"arm": {"space": {"l2_sp.strength": [-1]}}}, "space l2_sp.strength = -1 in 'recipe'"),
        (
            {"of": ["l2_sp", "flyp"], "train": {"head": "probe"}},
            "method 'recipe': 'flyp' cannot start from train.head: probe",
        ),
    ],
)
def test_a_mistake_is_one_line(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError) as refused:
        composed(**fields)
    assert message in str(refused.value)


@pytest.mark.parametrize("said", [{}, {"compose": "ldifs"}])
def test_a_setting_that_names_no_member_is_refused(said: dict[str, str]) -> None:
    with pytest.raises(UserError, match="'recipe' is composed of lora, l2_sp"):
        composed().run("recipe", said, seed=0)


def test_the_search_for_recipes_is_what_its_world_tunes_on() -> None:
    from cl_forget.config.sweep import load_sweep

    folder = Path(__file__).parents[2] / "experiments"
    asked, world = load_sweep(folder / "recipes.yaml"), load_sweep(folder / "worlds" / "vision.yaml")
    assert (asked.stream, asked.seeds) == (world.tune_on.stream, world.tune_on.seeds)
    assert (asked.model, asked.suites, asked.train) == (world.model, world.suites, world.train)
    arms = [arm for arm in world.arms if not arm.startswith("recipe ")]  # what the search found
    known = {field: values.values for arm in arms for field, values in world.own(arm).space.items()}
    ranges = {field: values.values or [] for field, values in asked.ranges("recipe").items()}
    shared = {field for field in ranges if field in known and field != "train.lr"}
    assert len(shared) == 14
    for field in shared:
        assert set(ranges[field]) <= set(known[field] or ()), field
