"""A method of a sweep with settings and a grid of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from cl_forget.comparison.settings import settings_of
from cl_forget.config.run import PLAIN
from cl_forget.config.sweep import Sweep, load_sweep
from cl_forget.ground.errors import UserError
from cl_forget.sweeps.planning import plan_grid, planned, share
from cl_forget.sweeps.sources import Space

FIELDS: dict[str, Any] = {
    "model": "tiny-clip",
    "stream": ["squares"],
    "suites": ["colours"],
    "methods": {
        "LoRA": {
            "mitigations": ["lora"],
            "train": {"epochs": 9},
            "space": {"train.lr": [1e-3, 3e-3], "lora.rank": [2, 4]},
        },
        "L2-SP": {"mitigations": [{"l2_sp": 0.1}], "train": {"lr": 5e-4}},
        "WiSE-FT": ["wise_ft"],
    },
    "space": {"train.lr": [1e-4, 2e-4], "wise_ft.alpha": [0.5]},
    "train": {"epochs": 1, "batch_size": 8},
}


def test_each_method_has_its_own_grid_and_settings() -> None:
    sweep = Sweep(**FIELDS)
    found: dict[str, set[tuple[float, int]]] = {}
    for one in plan_grid(sweep):
        found.setdefault(one.trial.method, set()).add((one.run.train.lr, one.run.train.epochs))
    assert found == {
        PLAIN: {(1e-4, 1), (2e-4, 1)},
        "LoRA": {(1e-3, 9), (3e-3, 9)},
        "L2-SP": {(5e-4, 1)},  # what a method sets is not varied
        "WiSE-FT": {(1e-4, 1), (2e-4, 1)},
    }
    assert len([one for one in plan_grid(sweep) if one.trial.method == "LoRA"]) == 4
    assert set(sweep.ranges("LoRA")) == {
        "lora.rank", "train.lr",
    }  # fmt: skip


def test_records_and_labels_say_them_and_make_the_same_run_again() -> None:
    sweep = Sweep(**FIELDS)
    trials = plan_grid(sweep)
    for one in trials:
        again = planned(sweep, one.trial.method, one.trial.config, one.trial.seed)
        assert again.trial.id == one.trial.id and again.run.key() == one.run.key()
    labels = {s.label for s in settings_of([one.trial for one in trials])["L2-SP"]}
    assert labels == {"strength = 0.1, train.lr = 0.0005"}
    (searched,) = Space(sweep).group({"method": "LoRA", "train.lr": 2e-3, "lora.rank": 2})
    assert (searched.run.train.lr, searched.run.train.epochs) == (2e-3, 9)


def test_methods_share_a_fine_tune_only_where_their_settings_are_equal() -> None:
    own = {"mitigations": ["wise_ft"], "train": {"lr": 1e-3}}
    sweep = Sweep(
        **{**FIELDS, "methods": {"one": ["wise_ft"], "own": own}, "space": {"wise_ft.alpha": [0.5]}}
    )
    groups = share(plan_grid(sweep))
    assert sorted(sorted(one.trial.method for one in group) for group in groups) == [
        sorted([PLAIN, "one"]), ["own"]
    ]  # fmt: skip


def test_the_sweep_is_written_and_read_again() -> None:
    sweep = Sweep(**FIELDS)
    plain = sweep.model_dump(mode="json")
    assert Sweep(**yaml.safe_load(yaml.safe_dump(plain))).model_dump(mode="json") == plain
    assert plain["methods"]["WiSE-FT"] == [{"wise_ft": {}}]


def test_overrides_reach_a_methods_space(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(yaml.safe_dump(FIELDS, sort_keys=False))
    sweep = load_sweep(
        file,
        [
            "methods.LoRA.space.train.lr=[0.5]",
            "methods.WiSE-FT.space.train.lr=[0.1, 0.2]",
            "space.train.clip=[1.0]",
        ],
    )
    assert sweep.ranges("LoRA")["train.lr"].grid == [0.5]
    assert sweep.ranges("WiSE-FT")["train.lr"].grid == [0.1, 0.2]
    assert sweep.ranges(PLAIN)["train.clip"].grid == [1.0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"space": {"lora.rnk": [2]}}, "has no field 'lora.rnk' to vary. Did you mean 'lora.rank'?"),
        ({"space": {"wise_ft.alpha": [0.5]}}, "has no field 'wise_ft.alpha' to vary"),
        ({"space": {"lora.rank": [0]}}, "space lora.rank = 0 in 'LoRA'"),
        ({"space": {"train.epochs": [1]}}, "also sets it in its `train`"),
        ({"space": {"train.lr": {"uniform": [0.1, 1]}}}, "a curve needs a grid"),
        ({"space": {"train.lr": {"grid": [1], "methods": ["LoRA"]}}}, "leave `methods` out"),
        ({"train": {"epoch": 1}}, "methods.LoRA.train.epoch: unknown field. Did you mean 'epochs'?"),
        (
            {"spase": {}},
            "unknown field. Did you mean 'space'? Known: mitigations, train, text, compose, space.",
        ),
        (
            {"mitigations": ["flyp"], "space": {"train.head": ["probe"]}},
            "'flyp' cannot start from train.head",
        ),
    ],
)
def test_a_mistake_names_its_line_and_the_cure(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    methods = copy_of(FIELDS["methods"])
    methods["LoRA"] |= change
    file = tmp_path / "a.yaml"
    file.write_text(yaml.safe_dump({**FIELDS, "methods": methods}, sort_keys=False))
    with pytest.raises(UserError) as error:
        load_sweep(file)
    assert message in str(error.value) and "\n" not in str(error.value)
    line = int(str(error.value).split("line ")[1].split(":")[0])
    assert "LoRA" in file.read_text().splitlines()[line - 1] or line > 7, (
        "the line is that of the method or below"
    )


def copy_of(methods: dict[str, Any]) -> dict[str, Any]:
    return {name: dict(arm) if isinstance(arm, dict) else arm for name, arm in methods.items()}
