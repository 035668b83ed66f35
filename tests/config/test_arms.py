"""Settings of one arm: what they reach, where they are shown, and each mistake with its line."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from reporting.samples import make_results

from cl_forget.config.arms import Arm
from cl_forget.config.experiment import Experiment, load_experiment
from cl_forget.ground.errors import UserError
from cl_forget.reporting import report, terminal_table

GOOD = """\
model: tiny-clip
stream: squares
methods:
  plain: []
  LoRA (.5):
    mitigations: [{lora: {rank: 4}}]
    train: {lr: 3.0e-3, epochs: 9}
    text: {max_length: 64}
  WiSE-FT[free]: [wise_ft]
train: {epochs: 2, lr: 1.0e-4}
seeds: [0, 1]
"""
OWN = "    train: {lr: 3.0e-3, epochs: 9}\n"


def loaded(folder: Path, text: str = GOOD, *overrides: str) -> Experiment:
    (folder / "mine.yaml").write_text(text)
    return load_experiment(folder / "mine.yaml", overrides)


def trained(experiment: Experiment) -> dict[str, tuple[float, int]]:
    return {run.method: (run.train.lr, run.train.epochs) for run in experiment.runs() if run.seed == 0}


def test_an_arm_s_settings_are_its_own_and_the_rest_is_shared(tmp_path: Path) -> None:
    experiment = loaded(tmp_path)
    assert trained(experiment) == {
        "plain": (1e-4, 2), "LoRA (.5)": (3e-3, 9), "WiSE-FT[free]": (1e-4, 2)
    }  # fmt: skip
    runs = {(run.method, run.seed): run for run in experiment.runs()}
    lora = runs["LoRA (.5)", 1]
    assert (lora.text.max_length, runs["plain", 1].text.max_length) == (64, None)
    assert lora.train.batch_size == runs["plain", 0].train.batch_size
    assert [m.name for m in lora.mitigations] == ["lora"]
    assert list(experiment.arms()) == ["plain", "LoRA (.5)", "WiSE-FT[free]"]


def test_the_python_api_takes_the_same(tmp_path: Path) -> None:
    fields: dict[str, Any] = {"model": "m", "stream": "s", "train": {"lr": 1e-4}}
    for arm in (
        {"mitigations": ["lora"], "train": {"lr": 3e-3}},
        Arm(mitigations=["lora"], train={"lr": 3e-3}),
    ):
        (run,) = Experiment(**fields, methods={"LoRA": arm}).runs()
        assert run.train.lr == 3e-3 and run.mitigations[0].name == "lora"
    (run,) = Experiment(**fields, methods={"slow": {"train": {"lr": 1e-6}}}).runs()
    assert run.train.lr == 1e-6 and run.mitigations == []


def test_overrides_reach_both_forms_and_names_with_points(tmp_path: Path) -> None:
    changed = loaded(
        tmp_path, GOOD,
        "methods.LoRA (.5).train.lr=1e-3", "methods.WiSE-FT[free].train.epochs=7", "train.lr=2e-4",
        "methods.LoRA (.5).0.lora.rank=2", "methods.WiSE-FT[free].mitigations.0.wise_ft.alpha=0.25",
        "methods.new={mitigations: [l2_sp], train: {clip: null}}",
    )  # fmt: skip
    assert trained(changed) == {
        "plain": (2e-4, 2), "LoRA (.5)": (1e-3, 9), "WiSE-FT[free]": (2e-4, 7), "new": (2e-4, 2)
    }  # fmt: skip
    arms = changed.arms()
    assert arms["LoRA (.5)"].mitigations[0].rank == 2  # type: ignore[attr-defined]
    assert arms["WiSE-FT[free]"].mitigations[0].alpha == 0.25  # type: ignore[attr-defined]
    assert changed.runs()[-1].train.clip is None


def test_an_override_of_a_method_that_is_not_there_adds_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no method 'LoRA \(5\)'\. Did you mean 'LoRA \(\.5\)'\?"):
        loaded(tmp_path, GOOD, "methods.LoRA (5).train.lr=1e-3")


def test_arms_with_other_settings_train_apart_and_those_with_equal_ones_together(tmp_path: Path) -> None:
    fields: dict[str, Any] = {"model": "m", "stream": "s", "train": {"lr": 1e-4}}
    methods = {
        "plain": [],
        "free": ["wise_ft"],
        "own": {"mitigations": ["wise_ft"], "train": {"lr": 1e-3}},
        "same": {"mitigations": ["wise_ft"], "train": {"lr": 1e-4}},
    }
    keys = {run.method: run.training_key() for run in Experiment(**fields, methods=methods).runs()}
    assert keys["plain"] == keys["free"] == keys["same"] != keys["own"]


MISTAKES: dict[str, tuple[str, list[str]]] = {
    "unknown setting": (
        GOOD.replace("lr: 3.0e-3", "lrr: 1"),
        ["line 7", "methods.LoRA (.5).train.lrr", "Did you mean 'lr'?"],
    ),
    "out of range": (
        GOOD.replace("lr: 3.0e-3", "lr: -1"),
        ["line 7", "methods.LoRA (.5).train.lr", "greater than 0"],
    ),
    "unknown text option": (
        GOOD.replace("max_length: 64", "max_lenght: 64"),
        ["line 8", "text.max_lenght", "Did you mean 'max_length'?"],
    ),
    "unknown section": (
        GOOD.replace(OWN, "    trian: {lr: 1}\n"),
        ["line 7", "trian", "Did you mean 'train'?", "Known: mitigations, train, text"],
    ),
    "across fields": (
        GOOD.replace("epochs: 9", "micro_batch_size: 7"),
        ["line 7", "methods.LoRA (.5).train", "multiple of micro_batch_size"],
    ),
    "not a mapping": (GOOD.replace(OWN, "    train: 3\n"), ["line 7", "train", "should be a mapping"]),
    "unknown mitigation": (
        GOOD.replace("{lora: {rank: 4}}", "lorra"),
        ["line 6", "methods.LoRA (.5).mitigations.0", "Did you mean 'lora'?"],
    ),
    "in the list form": (
        GOOD.replace("[wise_ft]", "[wise_tf]"),
        ["line 9", "methods.WiSE-FT[free].0", "Did you mean 'wise_ft'?"],
    ),
    "does not compose": (
        GOOD.replace("[{lora: {rank: 4}}]", "[lora, linear_probe]"),
        ["line 5", "'lora' cannot be combined with 'linear_probe'"],
    ),
    "a space in an experiment": (
        GOOD.replace(OWN, "    space: {train.lr: [1]}\n"),
        ["line 7", "space: is no field of an experiment but of a sweep: `cl-forget sweep "],
    ),
    "does not go with its own settings": (
        GOOD.replace("{lora: {rank: 4}}", "flyp").replace("epochs: 9", "head: probe"),
        ["line 5", "'flyp' cannot start from train.head: probe"],
    ),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_names_its_line_and_the_cure(tmp_path: Path, case: str) -> None:
    text, words = MISTAKES[case]
    with pytest.raises(UserError) as error:
        loaded(tmp_path, text)
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)


def test_in_python_a_mistake_names_the_arm() -> None:
    with pytest.raises(ValidationError, match=r"methods\.LoRA\.train\.lr: should be greater than 0"):
        Experiment(model="m", stream="s", methods={"LoRA": {"mitigations": ["lora"], "train": {"lr": 0}}})


def test_reports_say_which_arm_was_trained_otherwise(tmp_path: Path) -> None:
    results = [copy.deepcopy(result) for result in make_results()]
    methods = list(dict.fromkeys(result.method for result in results))
    for result in results:
        result.run["train"] = {"lr": 1e-4, "epochs": 2, "checkpoint_seconds": 1.0}
        if result.method == methods[1]:
            result.run["train"] |= {"lr": 3e-3, "checkpoint_seconds": 9.0}
    said = f"Settings of their own: {methods[1]}: train.lr 0.003. Where nothing is said: train.lr 0.0001."
    written = report(results, tmp_path)
    assert said in written.markdown.read_text()
    assert said in written.page.read_text()
    assert said in str(terminal_table(results).caption)
    same = [r.model_copy(update={"run": {**r.run, "train": {"lr": 1}}}) for r in results]
    same[0].run["train"] |= {
        "compile": False
    }  # the others are from before there was the field: it is none of its own
    assert "Settings of their own" not in report(same, tmp_path).markdown.read_text()
