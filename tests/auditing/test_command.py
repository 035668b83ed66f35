"""`cl-forget audit` and `cl-forget repair` from end to end, and every mistake in one line."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_lm
import torch
from auditing_conftest import Tuned
from safetensors.torch import load_file, save_file

from cl_forget import cli
from cl_forget.auditing import Audit
from cl_forget.models import weights_of

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], workspace: Path) -> Command:
    """Run `cl-forget ...` in an empty folder; gives exit code, standard output, standard error."""

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["cl-forget", *arguments])
        capsys.readouterr()  # what a test's own preparations said
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_a_gate_over_a_sequence(clip_run: Tuned, command: Command, workspace: Path) -> None:
    """The base itself as the first checkpoint, then the tuned model; a pattern finds both in order."""
    files = {2: str(weights_of("emoji-clip") / "open_clip_model.safetensors")}
    files[10] = str(clip_run.folder / "open_clip_model.safetensors")
    for step, file in files.items():
        (workspace / "out" / f"checkpoint-{step}").mkdir(parents=True)
        (workspace / "out" / f"checkpoint-{step}" / "open_clip_model.safetensors").symlink_to(file)
    data = ("--base", "emoji-clip", "--stream", "digits", "--suite", "emoji", "--limit", "20", "--no-parts")
    gates = ("--fail-if", "emoji < 99 % or speciality < -50 points", "--quantise", "4")
    code, out, error = command("audit", *data, "--tuned", "out/checkpoint-*", *gates)
    assert code == 3, error
    assert out.strip().endswith("gate: fails (exit code 3)") and "audit/history.png" in out
    found = Audit.model_validate_json((workspace / "audit" / "audit.json").read_text())
    assert found.gate is not None and (found.gate.answer, found.gate.exit_code) == ("fails", 3)
    assert [one.name for one in found.history] == ["checkpoint-2", "checkpoint-10"]
    first, last = found.history
    assert first.changes["generality"].change == 0 and first.relative == 0
    assert last.losses == found.losses and last.relative == found.parts[0].relative
    assert last.changes["generality"].change == pytest.approx(-found.losses[1].drop)
    assert [one.value for one in found.gate.controls] == [first.changes["generality"].base, 0.0]
    assert {(one.model, one.bits) for one in found.quantised} == {("base", 4), ("tuned", 4)}
    assert all(0 < one.relative < 0.2 and one.parameters > 500_000 for one in found.quantised)
    page = (workspace / "audit" / "report.html").read_text()
    assert "What each checkpoint keeps" in page and "Base and tuned model at fewer bits" in page
    rows = (workspace / "audit" / "history.csv").read_text().splitlines()
    assert len(rows) == 1 + 2 * 4 and rows[2].startswith("checkpoint-2,generality,")

    # The base against itself loses nothing, but 20 samples cannot tell that from less than half a point.
    same = (*data, "--tuned", "out/checkpoint-2", "--overwrite")
    assert command("audit", *same, "--fail-if", "generality < -0.5 points")[0] == 4
    assert not (workspace / "audit" / "quantised.csv").exists(), "of the audit before"
    assert command("audit", *same, "--fail-if", "generality < -40 points", "--control", "none")[0] == 0


def test_audit_and_repair_a_file(clip_run: Tuned, command: Command, workspace: Path) -> None:
    file = str(clip_run.folder / "open_clip_model.safetensors")
    options = [
        "--base",
        "emoji-clip",
        "--tuned",
        file,
        "--stream",
        "digits",
        "--suite",
        "emoji",
        "--limit",
        "20",
    ]
    code, out, error = command("audit", *options, "--part-samples", "10")
    assert code == 0, error
    assert "What was lost" in out and "block 3" in out and "audit/report.html" in out
    recorded = json.loads((workspace / "audit" / "audit.json").read_text())
    assert recorded["format"] == "file" and len(recorded["effects"]) == 6  # no head of a task in a file
    search = ["--samples", "20", "--method", "wise_ft", "--keep", "0.9"]
    code, out, error = command("repair", *options, *search, "--anyway")
    assert code == 0, error
    assert "← chosen" in out and "repair/tradeoff.png" in out
    written = load_file(workspace / "repair" / "model" / "open_clip_model.safetensors")
    recorded = json.loads((workspace / "repair" / "repair.json").read_text())
    choice = recorded["candidates"][recorded["chosen"]]
    before, after = load_file(weights_of("emoji-clip") / "open_clip_model.safetensors"), load_file(file)
    alpha = choice["setting"]
    for name, tensor in written.items():
        torch.testing.assert_close(
            tensor, torch.lerp(before[name].float(), after[name], alpha), atol=1e-7, rtol=0
        )
    if (
        recorded["verdict"] != "repaired"
    ):  # few samples tell little: without the user's word nothing is written
        code, out, error = command("repair", *options, *search, "--output", "unsure")
        assert code == 0 and "unsure/model" not in out, error
        assert not (workspace / "unsure" / "model").exists()
        assert json.loads((workspace / "unsure" / "repair.json").read_text())["written"] == []
    # A model in a file goes with its architecture's configuration, here that of the base.
    assert choice["validation"]["speciality"] >= 0.9 * recorded["tuned_point"]["speciality"]


def test_mistakes_are_one_line_with_the_cure(
    clip_run: Tuned, lm_run: Tuned, command: Command, workspace: Path
) -> None:
    file, run = str(clip_run.folder / "open_clip_model.safetensors"), str(clip_run.folder)
    tensors = load_file(file)
    name = "visual.transformer.resblocks.2.mlp.c_fc.weight"
    save_file({n: t for n, t in tensors.items() if n != name}, workspace / "missing.safetensors")
    save_file({**tensors, name: torch.zeros(3, 3)}, workspace / "shape.safetensors")
    (workspace / "short.safetensors").write_bytes(Path(file).read_bytes()[:-9])
    tiny_lm.folder(workspace / "lm")
    model = tiny_lm.llama()
    model.resize_token_embeddings(60)
    model.save_pretrained(workspace / "more-words")
    (workspace / "full").mkdir()
    (workspace / "full" / "model").mkdir()
    (workspace / "empty").mkdir()
    (workspace / "trial").mkdir()
    (workspace / "trial" / "result.json").write_bytes((clip_run.folder / "result.json").read_bytes())
    before = sorted(path.name for path in workspace.iterdir())
    emoji = ("--base", "emoji-clip", "--tuned")
    data = ("--stream", "digits", "--suite", "emoji")
    cases: list[tuple[tuple[str, ...], tuple[str, ...]]] = [
        (("audit", *emoji, "nowhere"), ("no file or folder at nowhere", "--tuned")),
        (("audit", "--tuned", file), ("--base",)),
        (("audit", "--base", "emoji-clap", "--tuned", file), ("Did you mean 'emoji-clip'?",)),
        (("audit", "--base", "empty", "--tuned", file), ("config.json",)),
        (("audit", "--base", file, "--tuned", file), ("open_clip:<architecture>/",)),
        (("audit", *emoji, "empty"), ("holds no weights",)),
        (("audit", "--tuned", "trial"), ("cl-forget run trial/config.yaml evaluate.export=true",)),
        (("audit", *emoji, "short.safetensors"), ("cut short", "again")),
        (("audit", *emoji, "missing.safetensors"), ("lacks 1 tensors", name)),
        (("audit", *emoji, "shape.safetensors"), ("two sizes of one architecture", name)),
        (("audit", "--base", "hf:lm", "--tuned", "more-words"), ("vocabularies", "embeddings(60)")),
        (("audit", "--base", "hf:lm", "--tuned", file), ("two architectures",)),
        (("audit", "--base", "hf:lm", "--tuned", "lm", "--suite", "emoji"), ("reads texts",)),
        (("audit", *emoji, file, "--suite", "emojy"), ("Did you mean 'emoji'?",)),
        (("audit", *emoji, file, "--suite", "emoji", "--stream", "{a: ["), ("not YAML",)),
        (("audit", *emoji, file, "--stream", "digits", "--suite", "digits"), ("named twice",)),
        (("audit", *emoji, file, "--text", "{max_lenght: 5}"), ("Did you mean 'max_length'?",)),
        (("audit", *emoji, file, "--text", "chat"), ("options with values",)),
        (("audit", *emoji, file, *data, "--fail-if", "emoji < -2"), ("no unit", "MEASURE < NUMBER points")),
        (("audit", *emoji, file, *data, "--fail-if", "emojy < 2 %"), ("Did you mean 'emoji'?", "generality")),
        (("audit", *emoji, file, "--fail-if", "generality < -2 points"), ("--suite",)),
        (("audit", *emoji, file, *data, "--fail-if", "emoji < 2 %", "--control", "gone"), ("--control",)),
        (("audit", *emoji, file, *data, "--decides", "first"), ("every or last",)),
        (("audit", *emoji, file, *data, "--control", "gone"), ("--control is read by the gate", "--fail-if")),
        (("audit", *emoji, file, *data, "--decides", "last"), ("--decides is read by the gate", "--fail-if")),
        (("audit", *emoji, file, *data, "--quantise", "16"), ("2 to 8",)),
        (("audit", *emoji, file, "--tuned", file), ("named twice",)),
        (("audit", *emoji, "gone/*"), ("nothing matches gone/*",)),
        (("repair", *emoji, file), ("--stream",)),
        (("repair", *emoji, file, "--stream", "digits"), ("--suite",)),
        (("repair", "--tuned", run, "--keep", "1.5"), ("keep", "at most 1")),
        (("repair", "--tuned", run, "--method", "wisefit"), ("Did you mean 'wise_ft'?",)),
        (("repair", *emoji, file, *data, "--output", "full"), ("exists", "--output")),
    ]  # fmt: skip
    for arguments, words in cases:
        code, _, error = command(*arguments)
        lines = [line for line in error.strip().splitlines() if line]
        assert code == 2 and len(lines) == 1 and lines[0].startswith("error: "), (arguments, error)
        for word in words:
            assert word in lines[0], (arguments, lines[0])
        assert sorted(path.name for path in workspace.iterdir()) == before, arguments


def test_data_that_are_not_there_are_found_before_any_model_is_loaded(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import cl_forget.auditing.pair as pair

    def loaded(*_: object) -> None:
        raise AssertionError("a model is loaded before its data are found")

    monkeypatch.setattr(pair, "load_model", loaded)
    (tmp_path / "tuned").mkdir()
    for verb in ("audit", "repair"):
        options = (
            "--tuned",
            str(tmp_path / "tuned"),
            "--base",
            "emoji-clip",
            "--output",
            str(tmp_path / verb),
        )
        code, _, error = command(verb, *options, "--stream", "letters", "--suite", "folder: {path: nowhere}")
        assert code == 2 and "nowhere" in error
