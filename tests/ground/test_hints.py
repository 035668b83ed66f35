"""A name that is not known is answered with the one that was meant, wherever it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cl_forget.config.experiment import load_experiment
from cl_forget.config.sweep import Sweep, load_sweep
from cl_forget.ground.errors import UserError
from cl_forget.models import load_model
from cl_forget.streams import load_stream, load_suite
from cl_forget.sweeps.planning import plan_grid

GOOD = "model: tiny-clip\nstream: [squares]\nsuites: [colours]\n"


def said(folder: Path, *overrides: str, text: str = GOOD) -> str:
    file = folder / "mine.yaml"
    file.write_text(text)
    with pytest.raises(UserError) as refused:
        (load_sweep if "methods:" in text else load_experiment)(file, overrides)
    assert "\n" not in str(refused.value) and "?." not in str(refused.value)
    return str(refused.value)


def test_a_field_of_the_file_in_an_arm(tmp_path: Path) -> None:
    arm = "methods={a: {mitigations: [], seeds: [1]}}"
    with pytest.raises(
        UserError, match=r"methods\.a\.seeds: unknown field\. 'seeds' is a field of the whole file"
    ):
        file = tmp_path / "mine.yaml"
        file.write_text(GOOD)
        load_experiment(file, [arm])


@pytest.mark.parametrize(
    ("override", "meant"),
    [
        ("train.learning_rate=1e-4", "'train.lr'"),
        ("lr=1e-4", "'train.lr'"),
        ("learning_rate=1", "'train.lr'"),
        ("train.lrr=1", "'lr'"),
        ("train.batchsize=3", "'batch_size'"),
        ("epochs=3", "'train.epochs'"),
        ("num_epochs=3", "'train.epochs'"),
        ("batch_size=3", "'train.batch_size' or 'evaluate.batch_size'"),
        ("tags=[a]", "'track.tags'"),
        ("trian.lr=1", "'train'"),
        ("dataset=[digits]", "'stream'"),
        ("seed=3", "'seeds'"),
        ("evaluate.max_samples=3", "'evaluate.limit'"),
        ("mitigations=[{ldifs: {lambda: 3}}]", "'strength'"),
        ("mitigations=[ldif]", "'ldifs'"),
    ],
)
def test_overrides_are_named_and_answered(override: str, meant: str, tmp_path: Path) -> None:
    answer = said(tmp_path, "train.epochs=1", override)
    assert answer.startswith(f"override '{override}': ") and f"Did you mean {meant}?" in answer


def test_a_mistake_of_the_file_is_still_the_files(tmp_path: Path) -> None:
    answer = said(tmp_path, "train.epochs=1", text=f"{GOOD}train: {{epoch: 3}}\n")
    assert answer.startswith(f"{tmp_path / 'mine.yaml'}, line 4: train.epoch: ")
    assert said(tmp_path, "train.lr=true").startswith(
        "override 'train.lr=true': train.lr: should be a number"
    )
    assert said(tmp_path, "methods=").startswith("override 'methods=': ")
    assert said(tmp_path, "train.micro_batch_size=5").startswith(
        "override 'train.micro_batch_size=5': train: "
    )


@pytest.mark.parametrize(
    ("override", "meant"),
    [
        ("space={train.lr: {loguniform: [1e-4, 1e-2]}}", "'log_uniform'"),
        ("space={train.lr: {values: [1e-4, 1e-2]}}", "grid'"),
        ("space={train.learning_rate: [1e-4]}", "'train.lr'"),
        ("space={lr: [1e-4]}", "'train.lr'"),
        ("space={strength: [1]}", "'ldifs.strength'"),
        ("budget={num_samples: 3}", "trials'"),
        ("protocol={retain: 0.9}", "'retention'"),
        ("report_on={seed: [1]}", "'seeds'"),
    ],
)
def test_sweeps_likewise(override: str, meant: str, tmp_path: Path) -> None:
    answer = said(tmp_path, override, text=f"{GOOD}methods: {{LDIFS: [ldifs]}}\n")
    assert answer.startswith(f"override '{override}': ") and "Did you mean" in answer and meant in answer


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("data/defects", "{folder: {path: data/defects}}"),
        ("~/pictures", "{folder: {path: ~/pictures}}"),
        ("support.jsonl", "{jsonl: {path: support.jsonl}}"),
        ("a/b.csv", "{csv: {path: a/b.csv}}"),
        ("cifar100", "{torchvision: {dataset: CIFAR100}}"),
        ("Oxford-IIIT-Pet", "{torchvision: {dataset: OxfordIIITPet}}"),
        ("fashion_mnist", "{torchvision: {dataset: FashionMNIST}}"),
    ],
)
def test_data_that_are_no_registered_name_are_shown_how_to_be_written(name: str, meant: str) -> None:
    for load in (load_stream, load_suite):
        with pytest.raises(UserError) as refused:
            load([name] if load is load_stream else name)
        assert f"Did you mean `{meant}`?" in str(refused.value)


def test_a_task_of_the_harness_is_a_suite_and_no_stream() -> None:
    with pytest.raises(UserError, match=r"Did you mean `\{lm-eval: \{task: arc_easy\}\}`\?"):
        load_suite("arc_easy")
    with pytest.raises(UserError, match="unknown stream 'arc_easy'") as refused:
        load_stream(["arc_easy"])
    assert "lm-eval: {" not in str(refused.value)
    with pytest.raises(UserError, match=r"Did you mean 'digits'\?"):
        load_stream(["digit"])


def test_equal_values_of_a_grid_are_one_setting() -> None:
    fields = {"model": "tiny-clip", "stream": ["squares"], "suites": ["colours"], "control": False}
    sweep = Sweep(
        methods={"L2-SP": ["l2_sp"]}, space={"l2_sp.strength": [1, 1.0, 1, 2, "1e0"]}, seeds=[0, 1], **fields
    )
    planned = plan_grid(sweep)
    assert [(one.trial.value, one.trial.seed) for one in planned] == [(1, 0), (2, 0), (1, 1), (2, 1)]
    assert len({one.trial.id for one in planned}) == 4
    thinned = sweep.model_copy(update={"budget": type(sweep.budget)(trials=2)})
    assert len(plan_grid(thinned)) == 4, "the budget counts settings, not their spellings"


@pytest.mark.parametrize(
    ("files", "name", "said"),
    [
        ({"a/open_clip_config.json": "{}"}, "a", "Did you mean `open_clip:local-dir:a`?"),
        ({"a/config.json": '{"model_type": "llama"}'}, "a", "Did you mean `hf:a`?"),
        ({"a/config.json": "{}", "a/preprocessor_config.json": "{}"}, "./a", "Did you mean `hf-image:./a`?"),
        ({"a/config.json": '{"architecture": "resnet18"}'}, "a", "Did you mean `timm:local-dir:a`?"),
        ({"a/q4.gguf": ""}, "a", "Did you mean `gguf:a/q4.gguf`?"),
        ({"a/q4.gguf": ""}, "a/q4.gguf", "Did you mean `gguf:a/q4.gguf`?"),
        ({"a.safetensors": ""}, "a.safetensors", "write `open_clip:<architecture>/a.safetensors`"),
        ({"a/readme": ""}, "a", "no config.json or open_clip_config.json"),
        ({}, "owner/model", "written `hf:owner/model`"),
    ],
)
def test_a_model_of_ones_own_is_told_how_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], name: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for file, text in files.items():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(text)
    with pytest.raises(UserError, match=f"unknown model '{name}'.*{re.escape(said)}"):
        load_model(name)


@pytest.mark.parametrize("name", ["~nobody-has-this-home/a", "a" * 5000, "x\0y", ".", "/", "..", ""])
def test_names_that_no_file_has_are_one_line_too(name: str) -> None:
    for load in (load_model, load_stream, load_suite):
        with pytest.raises(UserError, match="unknown"):
            load(name)
