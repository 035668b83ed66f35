"""The sweep file: what it means, and each mistake as one line before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from cl_forget.claims.claim import Claims
from cl_forget.config.experiment import Experiment
from cl_forget.config.reading import KINDS
from cl_forget.config.run import PLAIN
from cl_forget.config.sweep import Sweep, load_sweep
from cl_forget.ground.errors import UserError

FIELDS: dict[str, Any] = {
    "model": "tiny-clip",
    "stream": ["squares"],
    "suites": ["colours"],
    "methods": {"WiSE-FT": ["wise_ft"], "L2-SP": ["l2_sp"]},
    "train": {"epochs": 1, "batch_size": 8, "lr": 1e-3},
}


def written(folder: Path, **fields: Any) -> Path:
    file = folder / "a sweep.yaml"
    file.write_text(yaml.safe_dump({**FIELDS, **fields}, sort_keys=False))
    return file


def test_a_knob_left_open_takes_its_own_grid_and_one_that_is_set_stays(tmp_path: Path) -> None:
    sweep = load_sweep(
        written(
            tmp_path, methods={"a": ["ldifs", {"wise_ft": 0.5}], "b": [{"ldifs": {"anchor": "previous"}}]}
        )
    )
    assert list(sweep.arms) == [PLAIN, "a", "b"]
    assert list(sweep.ranges("a")) == ["ldifs.strength"]
    from cl_forget.mitigations.ldifs import LDIFS

    assert sweep.ranges("b")["ldifs.strength"].values == list(LDIFS.grid)
    assert sweep.run("a", {"ldifs.strength": 3}, seed=1).mitigations[0].strength == 3
    assert sweep.run("b", {"ldifs.strength": 3}, seed=1).mitigations[0].anchor == "previous"
    assert sweep.name == "a-sweep"


def test_a_space_may_be_limited_to_methods_and_spares_those_without_the_field(tmp_path: Path) -> None:
    space = {
        "train.lr": {"log_uniform": [1e-4, 1e-2], "methods": ["L2-SP"]},
        "wise_ft.alpha": [0.1, 0.9],
        "train.epochs": {"choice": [1, 2]},
    }
    sweep = load_sweep(written(tmp_path, space=space, mode="search"))
    assert list(sweep.ranges("WiSE-FT")) == ["wise_ft.alpha", "train.epochs"]
    assert list(sweep.ranges("L2-SP")) == ["l2_sp.strength", "train.lr", "train.epochs"]
    assert sweep.run("L2-SP", {"train.lr": 0.5, "wise_ft.alpha": 0.1}, 0).train.lr == 0.5


def test_what_is_saved_of_a_sweep_reads_back_as_the_same_sweep() -> None:
    sweep = Sweep(**FIELDS, space={"train.lr": [1e-3, 1e-2]}, report_on={"seeds": [7]})
    again = Sweep(**yaml.safe_load(yaml.safe_dump(sweep.model_dump(mode="json"))))
    assert again == sweep
    assert again.ranges("WiSE-FT") == sweep.ranges("WiSE-FT")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"methods": {}}, "line 6: methods: is empty; name at least one, for instance `LDIFS: [ldifs]`"),
        (
            {"space": {"l2_sp.strength": []}},
            "space.l2_sp.strength: the grid is empty; name at least one value",
        ),
        (
            {"space": {"l2_sp.strenght": [1]}},
            "no method has a field 'l2_sp.strenght'. Did you mean 'l2_sp.strength'?",
        ),
        ({"space": {"ldifs.strength": [1]}}, "no method has a field 'ldifs.strength'"),
        (
            {"space": {"train.lr": [1e-3, -1]}},
            "space train.lr = -1 in 'full fine-tuning': train.lr: should be greater",
        ),
        (
            {"space": {"wise_ft.alpha": [2]}},
            "space wise_ft.alpha = 2 in 'WiSE-FT': mitigations.0: wise_ft: alpha",
        ),
        (
            {"space": {"train.lr": {"uniform": [1e-3, 1e-2]}}},
            "a curve needs a grid; give `grid`, or set `mode: search`",
        ),
        ({"space": {"train.lr": {"uniform": [2, 1]}}}, "takes a low and a higher value"),
        ({"space": {"train.lr": {"grid": [1], "choice": [2]}}}, "exactly one of grid, choice, uniform"),
        (
            {"space": {"train.lr": {"grid": [1e-3], "methods": ["L2SP"]}}},
            "unknown method 'L2SP'. Did you mean 'L2-SP'?",
        ),
        (
            {"mode": "search", "objectives": ["specialty"]},
            "'specialty' is never reported on validation data. Did you mean",
        ),
        ({"mode": "search", "objectives": ["delta_lp"]}, "'delta_lp' is never reported on validation data"),
        ({"mode": "search", "suites": []}, "'generality' is never reported without suites"),
        ({"mode": "asha", "suites": []}, "set `score.generality: kl_to_base`"),
        (
            {"budget": {"compute": 1000}},
            "line 16: budget.compute: `mode: curve` has a budget of trials; give `trials`, or",
        ),
        (
            {"mode": "search", "space": {"train.batch_size": {"log_uniform": [8, 64]}}},
            "'train.batch_size' is a whole number, and a range draws fractions; write a list of whole numbers from 8 "
            "to 64.",
        ),
        (
            {
                "mode": "search",
                "methods": {"LoRA": {"mitigations": ["lora"], "space": {"lora.rank": {"uniform": [2, 8]}}}},
            },
            "methods.LoRA.space.lora.rank: 'lora.rank' is a whole number",
        ),
        (
            {"mode": "search", "space": {"train.warmup": [0.1], "train.steps": {"uniform": [2.5, 9]}}},
            "'train.steps' is a whole number",
        ),
        (
            {"asha": {"grace": 20}},
            "line 15: asha: `mode: curve` does not read `asha`; set `mode: asha`, or leave it out.",
        ),
        (
            {"objectives": ["speciality"]},
            "objectives: `mode: curve` does not read `objectives`; set `mode: search`",
        ),
        (
            {"search_seed": 1, "mode": "curve"},
            "`mode: curve` does not read `search_seed`; set `mode: search`",
        ),
        ({"score": {"every": 5}}, "`mode: curve` does not read `score`; set `mode: asha`"),
        (
            {"mode": "hyperband", "asha": {"grace": 5}},
            "`mode: hyperband` does not read `asha.grace`; set `mode: asha`",
        ),
        (
            {"mode": "mo-asha", "score": {"speciality": 0.3}},
            "`mode: mo-asha` does not read `score.speciality`",
        ),
        (
            {"mode": "asha", "objectives": ["score"]},
            "`mode: asha` does not read `objectives`; set `mode: search`",
        ),
        ({"mode": "search", "score": {"every": 5}}, "`mode: search` does not read `score.every`"),
        ({"mode": "search", "score": {"speciality": 0.3}}, "add `score` to `objectives`, or leave it out"),
        ({"budget": {"prices": {"any": 1}}}, "budget.prices: `prices` are for a limit in USD; give `usd`"),
        ({"budget": {"compute": 1000, "trials": 3}}, "choose one of trials and compute"),
        ({"seeds": [1, 1]}, "seeds: names a seed twice; list each once"),
        ({"seeds": [1, 1], "tune_on": {"seeds": [0]}}, "seeds: names a seed twice"),
        ({"tune_on": {"seeds": [1, 1]}}, "tune_on.seeds: names a seed twice"),
        ({"report_on": {"seeds": [2, 1, 2]}}, "report_on.seeds: names a seed twice"),
        ({"asha": {"reduction": float("inf")}}, "asha.reduction: should be a finite number"),
        ({"asha": {"reduction": 1.00001}}, "asha.reduction: should be greater than or equal to 1.1"),
        ({"train": {"clip": float("inf")}}, "train.clip: should be a finite number"),
        ({"methods": {"a": ["ldif"]}}, "unknown mitigation 'ldif'. Did you mean 'ldifs'?"),
        ({"mod": "curve"}, "unknown field. Did you mean 'mode'?"),
        (
            {"mitigations": ["ldifs"]},
            "mitigations: is no field of a sweep but of an experiment: `cl-forget run ",
        ),
        (
            {"report_on": {"stream": ["digts"]}},
            "line 17: report_on.stream.0: unknown stream 'digts'. Did you mean",
        ),
        (
            {"tune_on": {"stream": {"squares": {"task": 2}}}},
            "tune_on.stream: stream 'squares' has no option 'task'",
        ),
        ({"paper": "one"}, "paper: is no field of a sweep but of a claims file: `cl-forget claims "),
        (
            {"methods": {"a": {"mitigations": ["l2_sp"], "train": {"lr": [1e-3, 1e-2]}}}},
            "methods.a.train.lr: takes one value; a sweep tries several: `space: {train.lr: [0.001, 0.01]}`",
        ),
        ({"train": {"lr": {"uniform": [0.1, 1]}}}, "`space: {train.lr: {'uniform': [0.1, 1]}}`"),
        (
            {"space": {"wise_ft.alpha": 0.5}},
            "space.wise_ft.alpha: is written as a list, [a, b], or as a range",
        ),
        ({"space": {"train.lr": {"uniform": [1e-4]}}}, "space.train.lr.uniform: takes 2 values, not 1"),
        ({"space": {"train.lr": {"uniform": [1, 2, 3]}}}, "space.train.lr.uniform: takes 2 values, not 3"),
        ({"name": "a/b"}, "name: is written with letters, digits, `_`, `.` and `-`"),
        ({"seeds": []}, "seeds: should name at least 1, not 0"),
        (
            {"methods": {"a": {"compose": {"of": "l2_sp"}}}},
            "methods.a.compose.of: should be `all`, or a list of two",
        ),
        ({"methods": {"a": {"compose": {"of": ["l2_sp"]}}}}, "should name at least 2, not 1"),
        ({"mode": "search", "objectives": ["hypervolume"]}, "'hypervolume' is never reported"),
        ({"mode": "search", "objectives": ["accuracy"]}, "Known: score, speciality, generality, "),
    ],
)
def test_a_mistake_is_one_line_that_names_the_cure(
    tmp_path: Path, fields: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError) as error:
        load_sweep(written(tmp_path, **fields))
    assert message in str(error.value)
    assert str(tmp_path / "a sweep.yaml") in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(("wrong", "meant"), [("streams", "stream"), ("method", "methods")])
def test_a_misspelt_required_field_is_named(tmp_path: Path, wrong: str, meant: str) -> None:
    fields = {wrong if name == meant else name: value for name, value in FIELDS.items()}
    (file := tmp_path / "s.yaml").write_text(yaml.safe_dump(fields))
    with pytest.raises(UserError, match=f"{wrong}: unknown field. Did you mean '{meant}'"):
        load_sweep(file)


def test_an_empty_file_says_what_a_sweep_holds(tmp_path: Path) -> None:
    (file := tmp_path / "s.yaml").write_text("# nothing yet")
    with pytest.raises(UserError, match=r"a sweep is a mapping with .*`methods:`.*quickstart-sweep\.yaml"):
        load_sweep(file)


def test_fields_by_which_a_kind_of_file_is_known() -> None:
    kinds = {kind.__name__: {*kind.model_fields} for kind in (Experiment, Sweep, Claims)}
    for name, fields in kinds.items():
        others = set().union(*(found for other, found in kinds.items() if other != name))
        assert fields - others <= KINDS[name].own <= fields | {"compose"}


def test_what_every_mode_leaves_in_its_file_reads_back() -> None:
    for mode in ("curve", "search", "asha", "mo-asha", "hyperband", "median"):
        asked = Sweep(**FIELDS, mode=mode)
        assert Sweep(**asked.model_dump(mode="json")) == asked
    scored = {"objectives": ["score"], "score": {"speciality": 0.3}}
    assert Sweep(**FIELDS, mode="search", **scored).score.speciality == 0.3


def test_a_grid_over_budget_is_thinned_evenly() -> None:
    from cl_forget.sweeps.planning import plan_grid

    sweep = Sweep(**FIELDS, budget={"trials": 3}, seeds=[0, 1])
    values = [one.trial.value for one in plan_grid(sweep) if one.trial.method == "WiSE-FT"]
    assert values == [0.0, 0.5, 1.0] * 2


def test_a_sharded_run_cannot_be_stopped_early() -> None:
    with pytest.raises(ValueError, match=r"`mode: asha` cannot watch a run with `train\.strategy: fsdp`"):
        Sweep(**{**FIELDS, "mode": "asha", "train": {"strategy": "fsdp", "workers": 2}})
