"""Every mistake a user can make here gets one line that names the cure, exit code 2, and leaves nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from reporting.samples import make_results
from tiny import experience

from cl_forget import cli
from cl_forget.config.run import Run
from cl_forget.ground.errors import UserError
from cl_forget.run.dry_run import evaluated
from cl_forget.run.experiment import run_folder
from cl_forget.run.simulate import simulate

GOOD = """\
model: tiny-clip
stream: squares
suites: [colours]
methods:
  plain: []
  regularised: [l2_sp]
train: {epochs: 1, batch_size: 8}
seeds: [0]
"""

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], workspace: Path) -> Command:
    """Run `cl-forget ...` in an empty folder; gives exit code, standard output, standard error."""

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["cl-forget", *arguments])
        try:
            cli.main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def refused(outcome: tuple[int, str, str], *words: str) -> None:
    code, _, error = outcome
    lines = [line for line in error.strip().splitlines() if not line.startswith("[")]  # progress notes
    assert code == 2, error
    assert len(lines) == 1, error
    assert lines[0].startswith("error: ")
    for word in words:
        assert word in lines[0], f"{word!r} is not in {lines[0]!r}"


def nothing_left(workspace: Path, *allowed: str) -> None:
    """No result, no half-written file."""
    left = [str(p.relative_to(workspace)) for p in workspace.rglob("*") if p.is_file()]
    assert [name for name in left if name not in allowed] == []


FILES = {
    "unknown top-level field": ("modle: x\n" + GOOD, ["line 1", "modle", "Did you mean 'model'?"]),
    "unknown training field": (
        GOOD.replace("epochs: 1", "epoch: 1"),
        ["line 7", "train.epoch", "Did you mean 'epochs'?"],
    ),
    "a misspelt required field": (
        GOOD.replace("stream:", "streams:"),
        ["line 2", "streams: unknown field. Did you mean 'stream'?"],
    ),
    "a sweep": (
        GOOD + "space: {train.lr: [1e-3]}\n",
        ["line 9", "space: is no field of an experiment but of a sweep: `cl-forget sweep bad.yaml`"],
    ),
    "a method of a sweep": (
        GOOD.replace("[l2_sp]", "{mitigations: [l2_sp], space: {train.lr: [1e-3]}}"),
        ["line 6", "methods.regularised.space", "of a sweep: `cl-forget sweep bad.yaml`"],
    ),
    "several values of a setting": (
        GOOD.replace("epochs: 1", "epochs: 1, lr: [1e-3, 1e-2]"),
        ["line 7", "train.lr: takes one value; a sweep tries several: `space: {train.lr: [0.001, 0.01]}`"],
    ),
    "several values of a mitigation": (
        GOOD.replace("[l2_sp]", "[{wise_ft: [0.2, 0.5]}]"),
        [
            "line 6",
            "wise_ft: alpha: takes one value; a sweep tries several: `space: {wise_ft.alpha: [0.2, 0.5]}`",
        ],
    ),
    "one of a pair": (
        GOOD.replace("epochs: 1", "epochs: 1, betas: [0.9]"),
        ["line 7", "train.betas: takes 2 values, not 1 (got [0.9])"],
    ),
    "a project that W&B does not take": (
        GOOD + "track: {project: a/b}\n",
        ["line 9", "track.project", "none of them /"],
    ),
    "missing model": (GOOD.replace("model: tiny-clip\n", ""), ["model: is required; add it."]),
    "missing stream": (GOOD.replace("stream: squares\n", ""), ["stream", "is required"]),
    "wrong type": (GOOD.replace("epochs: 1", "epochs: many"), ["train.epochs", "integer", "many"]),
    "negative learning rate": (
        GOOD.replace("epochs: 1", "epochs: 1, lr: -1"),
        ["line 7", "train.lr", "greater than 0", "-1"],
    ),
    "zero epochs": (GOOD.replace("epochs: 1", "epochs: 0"), ["train.epochs", "greater than or equal to 1"]),
    "unknown schedule": (
        GOOD.replace("epochs: 1", "epochs: 1, schedule: cosin"),
        ["train.schedule", "'cosine'", "cosin"],
    ),
    "micro batches that do not divide": (
        GOOD.replace("epochs: 1", "epochs: 1, micro_batch_size: 3"),
        ["multiple of micro_batch_size"],
    ),
    "unknown augmentation": (
        GOOD.replace("epochs: 1", "epochs: 1, augment: blur"),
        ["train.augment", "blur"],
    ),
    "unknown mitigation": (GOOD.replace("l2_sp", "l2sp"), ["line 6", "l2sp", "Did you mean 'l2_sp'?"]),
    "unknown field of a mitigation": (
        GOOD.replace("[l2_sp]", "[{l2_sp: {strenght: 1}}]"),
        ["line 6", "l2_sp: strenght", "Did you mean 'strength'?"],
    ),
    "strength out of range": (
        GOOD.replace("[l2_sp]", "[{l2_sp: -1}]"),
        ["l2_sp: strength", "greater than or equal to 0", "-1"],
    ),
    "α above one": (
        GOOD.replace("[l2_sp]", "[{wise_ft: 1.5}]"),
        ["wise_ft: alpha", "less than or equal to 1"],
    ),
    "a knob where there is none": (GOOD.replace("[l2_sp]", "[{joint: 3}]"), ["'joint' has no knob"]),
    "the same method twice": (
        GOOD.replace("[l2_sp]", "[l2_sp, {l2_sp: 1}]"),
        ["'l2_sp' is listed 2 times"],
    ),
    "methods that contradict each other": (
        GOOD.replace("[l2_sp]", "[linear_probe, ldifs]"),
        ["'ldifs' cannot be combined with 'linear_probe'", "never trains the trunk"],
    ),
    "two head initialisations": (
        GOOD.replace("[l2_sp]", "[linear_probe, lp_ft]"),
        ["cannot be combined", "both decide the head initialisation"],
    ),
    "methods and mitigations": (GOOD + "mitigations: [ldifs]\n", ["choose one of"]),
    "no methods": (
        GOOD.replace("methods:\n  plain: []\n  regularised: [l2_sp]", "methods: {}"),
        ["`methods` is empty"],
    ),
    "a mitigation that is a number": (GOOD.replace("[l2_sp]", "[3]"), ["a mitigation is written as"]),
    "a seed twice": (GOOD.replace("[0]", "[1, 1]"), ["names a seed twice"]),
    "no seeds": (GOOD.replace("[0]", "[]"), ["seeds", "at least 1"]),
    "negative seed": (GOOD.replace("[0]", "[-1]"), ["seeds", "greater than or equal to 0"]),
    "not YAML": (GOOD + "  : [", ["not YAML", "line"]),
    "a key twice": (GOOD + "model: other\n", ["'model' is given twice", "line 9"]),
    "an empty file": (
        "",
        ["an experiment is a mapping with `model:`, `stream:`", "experiments/quickstart.yaml"],
    ),
    "a list": ("- model\n", ["an experiment is a mapping"]),
    "unknown model": (
        GOOD.replace("tiny-clip", "emoji-clop"),
        ["line 1: model: unknown model", "Did you mean 'emoji-clip'?"],
    ),
    "unknown architecture": (
        GOOD.replace("tiny-clip", "open_clip:ViT-B-33/none"),
        ["no architecture 'ViT-B-33'", "Did you mean 'ViT-B-32'?"],
    ),
    "unknown tag": (
        GOOD.replace("tiny-clip", "open_clip:ViT-B-32/openia"),
        ["no weights 'openia'", "Did you mean 'openai'?"],
    ),
    "missing checkpoint": (
        GOOD.replace("tiny-clip", "open_clip:ViT-B-32/weights/mine.pt"),
        ["no checkpoint file at 'weights/mine.pt'"],
    ),
    "missing model folder": (
        GOOD.replace("tiny-clip", "open_clip:local-dir:nowhere"),
        ["no open_clip model in nowhere", "open_clip_config.json"],
    ),
    "unknown stream": (
        GOOD.replace("squares", "digts"),
        ["line 2: stream: unknown stream 'digts'. Did you mean 'digits'?"],
    ),
    "unknown suite": (
        GOOD.replace("[colours]", "[spelling, colors]"),
        ["line 3: suites.1: unknown suite 'colors'. Did you mean 'colours'?"],
    ),
    "unknown probe": (GOOD + "probes: [digts]\n", ["line 9: probes.0: unknown stream 'digts'"]),
    "a limit of nothing": (
        GOOD.replace("squares", "\n- squares\n- digits: {limit: 0}"),
        ["line 4: stream.1: stream 'digits': limit is a number of samples, at least 1, not 0"],
    ),
    "a limit that is no number": (
        GOOD.replace("squares", "{digits: {limit: many}}"),
        ["line 2: stream: stream 'digits', option 'limit' should be a valid integer", "'many'"],
    ),
    "unknown option of a stream": (
        GOOD.replace("stream: squares", "stream: {squares: {task: 2}}"),
        ["line 2: stream: ", "'task'", "Did you mean 'tasks'?"],
    ),
    "the same task twice": (
        GOOD.replace("stream: squares", "stream: [squares, squares]"),
        ["line 2: stream.0: two experiences", "squares-1", "list it once"],
    ),
    "a suite in the stream's place": (GOOD.replace("stream: squares", "stream: colours"), ["colours"]),
    "a probe without training data": (
        GOOD.replace("suites: [colours]", "suites: []\nprobes: [colours]"),
        ["line 4: probes.0: 'colours' has no training data"],
    ),
    "a folder that is not there": (
        GOOD.replace("stream: squares", "stream: {folder: {path: nowhere}}"),
        ["bad.yaml, line 2: stream: folder 'nowhere' does not exist"],
    ),
    "a suite that is not there": (
        GOOD.replace("[colours]", "\n  - colours\n  - folder: {path: nowhere}"),
        ["line 5: suites.1: folder 'nowhere' does not exist"],
    ),
    "a model that is not there": (
        GOOD.replace("tiny-clip", "open_clip:local-dir:nowhere"),
        ["line 1: model: no open_clip model in nowhere"],
    ),
    "a split of no samples": (
        GOOD.replace("stream: squares", "stream: {cipher: {train: 0}}"),
        ["line 2: stream: stream 'cipher': train is a number of samples, at least 1, not 0"],
    ),
    "a fraction that is none": (
        GOOD.replace("stream: squares", "stream: {jsonl: {path: a.jsonl, test: 20}}"),
        ["line 2: stream: stream 'jsonl': test is the fraction to set aside, between 0 and 1, not 20"],
    ),
    "an unknown suite that a method reads": (
        GOOD.replace("[l2_sp]", "[l2_sp, zscl: {reference: colors}]"),
        ["line 6: methods.regularised.1: unknown suite 'colors'. Did you mean 'colours'?"],
    ),
    "data that a method reads and that are not there": (
        GOOD.replace("[l2_sp]", "{mitigations: [zscl: {reference: {folder: {path: nowhere}}}]}"),
        ["line 6: methods.regularised.mitigations.0.zscl.reference: folder 'nowhere' does not exist"],
    ),
    "a list where a mapping belongs": (
        GOOD.replace("train: {epochs: 1, batch_size: 8}", "train: [1]"),
        ["line 7", "train", "should be a mapping, written {field: value}"],
    ),
    "a method that is not a list": (
        GOOD.replace("[l2_sp]", "l2_sp"),
        ["methods.regularised", "should be a list, written [a, b]", "'l2_sp'"],
    ),
    "decay rates that AdamW does not take": (
        GOOD.replace("epochs: 1", "epochs: 1, betas: [2, 3]"),
        ["train.betas.0", "less than 1"],
    ),
    "a seed beyond what generators take": (GOOD.replace("[0]", "[4294967296]"), ["seeds.0", "less than"]),
    "a name that is no folder": (GOOD + "name: ..\n", ["line 9", "name", "letters, digits"]),
    "a method without a name": (GOOD.replace("regularised:", "'':"), ["should not be empty"]),
    "two methods of one folder": (
        GOOD.replace("regularised:", "plain_:"),
        ["'plain' and 'plain_'", "share a folder", "rename one"],
    ),
    "texts for a model that sees": (
        GOOD.replace("[colours]", "[spelling]"),
        ["'spelling' holds TextData", "reads images", "choose an image stream"],
    ),
    "an unknown depth": (
        GOOD.replace("[l2_sp]", "[{ldifs: {depths: [block 7]}}]"),
        ["no depth 'block 7'", "block 1"],
    ),
}


@pytest.mark.parametrize("case", FILES)
def test_a_mistake_in_the_file(command: Command, workspace: Path, case: str) -> None:
    text, words = FILES[case]
    Path("bad.yaml").write_text(text)
    refused(
        command("run", "bad.yaml", "--dry-run") if case != "an unknown depth" else command("run", "bad.yaml"),
        *words,
    )
    if case != "an unknown depth":  # found when the first loss is taken; the first arm is finished by then
        nothing_left(workspace, "bad.yaml")


OVERRIDES = {
    "an unknown suite": (
        ["suites=[colors]"],
        ["override 'suites=[colors]': suites.0: unknown suite 'colors'"],
    ),
    "data that are not there": (
        ["stream=[squares,{folder: {path: nowhere}}]"],
        ["override 'stream=[squares,{folder: {path: nowhere}}]': stream.1: folder 'nowhere' does not exist"],
    ),
    "an unknown field": (["train.epoch=2"], ["train.epoch", "Did you mean 'epochs'?"]),
    "no equals sign": (["train.epochs"], ["is not an override"]),
    "a value out of range": (["train.lr=0"], ["train.lr", "greater than 0"]),
    "a position that is not there": (["methods.regularised.4=l2_sp"], ["not a position in a list of 1"]),
    "below a number": (["train.epochs.x=1"], ["nothing can be set below train.epochs"]),
    "not YAML": (["seeds=[0"], ["is not YAML"]),
}


@pytest.mark.parametrize("case", OVERRIDES)
def test_a_mistake_in_an_override(command: Command, workspace: Path, case: str) -> None:
    Path("good.yaml").write_text(GOOD)
    overrides, words = OVERRIDES[case]
    refused(command("run", "good.yaml", *overrides), *words)
    nothing_left(workspace, "good.yaml")


def test_a_good_file_passes(command: Command, workspace: Path) -> None:
    Path("good.yaml").write_text(GOOD)
    code, out, err = command("run", "good.yaml", "--dry-run", "methods.regularised.0.l2_sp.strength=2")
    assert code == 0, err
    assert "regularised" in out
    assert "nothing was trained" in out
    nothing_left(workspace, "good.yaml")


def test_a_missing_file(command: Command) -> None:
    refused(command("run", "nowhere.yaml"), "no experiment file at nowhere.yaml", "quickstart")


def test_a_binary_file(command: Command) -> None:
    Path("picture.yaml").write_bytes(bytes(range(256)))
    refused(command("run", "picture.yaml"), "picture.yaml cannot be read")


def test_an_output_that_cannot_be_written(command: Command) -> None:
    Path("good.yaml").write_text(GOOD)
    Path("taken").write_text("a file, not a folder")
    refused(command("run", "good.yaml", "--output", "taken"), "cannot write to taken", "--output")


def test_resuming_another_experiment(command: Command) -> None:
    Path("good.yaml").write_text(GOOD)
    assert command("run", "good.yaml", "methods={plain: []}", "--output", "runs")[0] == 0
    refused(
        command("run", "good.yaml", "methods={plain: []}", "train.epochs=2", "--output", "runs", "--resume"),
        "other settings",
        "--output",
    )


@pytest.mark.parametrize("state", ["[]", "3", "{}"])
def test_a_state_of_another_kind(command: Command, state: str) -> None:
    Path("good.yaml").write_text(GOOD)
    Path("runs/experiment/plain-seed0").mkdir(parents=True)
    Path("runs/experiment/plain-seed0/state.json").write_text(state)
    refused(command("run", "good.yaml", "--output", "runs/experiment", "--resume"), "not whole")


def test_names_of_any_script_get_folders_of_their_own() -> None:
    names = [
        run_folder(Run(model="m", stream="s", method=name))
        for name in ("方法一", "方法二", "LDIFS + WiSE-FT")
    ]
    assert names == ["方法一-seed0", "方法二-seed0", "ldifs-wise-ft-seed0"]


def test_a_half_written_state(command: Command) -> None:
    Path("good.yaml").write_text(GOOD)
    assert command("run", "good.yaml", "methods={plain: []}", "--output", "runs")[0] == 0
    state = Path("runs/plain-seed0/state.json")
    state.write_text(state.read_text()[:50])
    refused(command("run", "good.yaml", "methods={plain: []}", "--output", "runs", "--resume"), "not whole")


def test_reporting_a_folder_without_results(command: Command, workspace: Path) -> None:
    Path("empty").mkdir()
    refused(command("report", "empty"), "empty")
    refused(command("report", "nowhere"), "nowhere")
    Path("sweep/trials").mkdir(parents=True)
    refused(command("report", "sweep", "nowhere"), "no folder nowhere", "cl-forget sweep")


def test_a_page_to_drop_results_into_is_a_file(command: Command, workspace: Path) -> None:
    Path("runs").mkdir()
    Path("notes.html").write_text("<p>mine</p>")
    for overwrite in ([], ["--overwrite"]):
        refused(command("viewer", "runs", *overwrite), "runs is a folder", "`cl-forget report runs`")
        refused(command("viewer", "notes.html/page.html", *overwrite), "choose another FILE")
    refused(command("viewer", "notes.html"), "choose another FILE, or replace it with --overwrite")
    nothing_left(workspace, "notes.html")


def test_files_and_folders_of_other_kinds(command: Command) -> None:
    Path("page.html").write_text("<html>")
    refused(command("report", "page.html"), "page.html is no result.json", "give a run's folder")
    Path("runs/a-seed0").mkdir(parents=True)
    refused(command("landscape", "nowhere"), "no folder nowhere")
    refused(command("landscape", "runs"), "runs holds no run", "cl-forget run")
    Path("runs/a-seed0/state.json").write_text("{}")
    refused(command("landscape", "runs/a-seed0"), "has not finished", "--resume")
    Path("runs/a-seed0/result.json").write_text("{}")
    refused(command("landscape", "runs"), "give one below it", "runs/a-seed0")
    refused(command("audit", "--tuned", "nowhere"), "no file or folder at nowhere", "--tuned")


MISUSES = {
    "no such command": (["rnu"], ["No such command 'rnu'", "Did you mean 'run'?", "`cl-forget --help`"]),
    "a command of sweep": (
        ["sweep", "statu", "runs"],
        ["No such command 'statu'", "'status'", "sweep --help"],
    ),
    "nothing to run": (["run"], ["Missing argument 'file'", "`cl-forget run --help`"]),
    "no such option": (["run", "x.yaml", "--resme"], ["--resme", "--resume", "`cl-forget run --help`"]),
    "a number out of range": (["run", "x.yaml", "--jobs", "0"], ["--jobs", "greater than or equal to 1"]),
    "no epochs": (["pretrain", "emoji-clip", "--epochs", "0"], ["--epochs", "greater than or equal to 1"]),
    "a sweep at an address that is driven elsewhere": (
        ["sweep", "status", "s3://bucket/a"],
        ["no copy of the sweep at s3://bucket/a", "on the machine that drives it"],
    ),
    "an address that lacks a slash": (["sweep", "status", "s3:/bucket/a"], ["write s3://bucket/a"]),
    "no sweep file": (["sweep", "nowhere.yaml"], ["no sweep file at nowhere.yaml", "quickstart-sweep.yaml"]),
}


@pytest.mark.parametrize("case", MISUSES)
def test_a_mistake_in_the_command(command: Command, workspace: Path, case: str) -> None:
    arguments, words = MISUSES[case]
    refused(command(*arguments), *words)
    nothing_left(workspace)


def test_help_shows_its_defaults(command: Command) -> None:
    """Square brackets are not taken for markup."""
    code, out, _ = command("run", "--help")
    assert code == 0
    assert "[default: runs/NAME]" in " ".join(out.replace("│", " ").split())
    assert "stream=[digits]" in out
    _, out, _ = command("sweep", "--help")
    assert "cl-forget sweep run --help shows its options" in " ".join(out.replace("│", " ").split())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "good.yaml"], "the same command with --resume goes on from here"),
        (["run", "good.yaml", "--dry-run"], "run the same command again"),
    ],
)
def test_an_interrupt_says_how_to_go_on(
    command: Command, monkeypatch: pytest.MonkeyPatch, arguments: list[str], words: str
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    Path("good.yaml").write_text(GOOD)
    monkeypatch.setattr("cl_forget.config.experiment.load_experiment", interrupted)
    code, _, error = command(*arguments)
    assert code == 130
    assert error == f"interrupted; {words}.\n"


def test_a_finished_result_is_replaced_only_when_asked_and_only_by_a_run_that_can_begin(
    command: Command,
) -> None:
    Path("good.yaml").write_text(GOOD)
    run = ("run", "good.yaml", "--output", "runs")
    assert command(*run, "methods={plain: []}")[0] == 0
    result = Path("runs/plain-seed0/result.json")
    before = result.read_bytes()
    other = "methods={plain: [{ldifs: {depths: [block 7]}}]}"
    refused(command(*run, other), "holds 1 run already", "--resume", "--overwrite", "--output")
    refused(command(*run, other, "--overwrite"), "no depth 'block 7'")
    assert result.read_bytes() == before
    assert command(*run, "methods={other: []}", "train.epochs=2", "--overwrite")[0] == 0
    code, out, _ = command("report", "runs")
    told = "plain-seed0 is not of the experiment that was last run into the same folder"
    assert code == 0 and told in " ".join(out.split())
    assert told in Path("runs/report.html").read_text()


def test_a_dry_run_counts_what_will_be_measured() -> None:
    task = experience("squares", seed=1)
    assert evaluated(task, None) == sum(len(d) for s, d in task.splits().items() if s != "train")
    assert evaluated(task, 2) == 2 * (len(task.splits()) - 1)


def test_figures_of_an_unknown_style_and_pages_on_nothing(command: Command) -> None:
    Path("run").mkdir()
    (result,) = make_results(["LDIFS"], (0,), ["digits"], [], [])
    Path("run/result.json").write_text(result.model_dump_json())
    refused(command("figures", "run", "--style", "papr"), "papr", "paper, slides")
    refused(command("report", "nowhere", "--serve"), "nowhere")
    assert not Path("run/figures").exists()


def test_reporting_a_corrupt_result(command: Command) -> None:
    Path("broken").mkdir()
    Path("broken/result.json").write_text('{"schema_version": 1, "method"')
    refused(command("report", "broken"), "broken/result.json")
    Path("broken/result.json").write_text(json.dumps({"schema_version": 99}))
    refused(command("report", "broken"), "broken/result.json")


def test_listing_something_unknown(command: Command) -> None:
    refused(command("list", "stream"), "Did you mean 'streams'?")


def test_pretraining_something_unknown(command: Command) -> None:
    refused(command("pretrain", "emoji-clop"), "Did you mean 'emoji-clip'?")


def picture(path: Path, colour: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((12, 12, 3), colour, dtype=np.uint8)).save(path)


def test_a_class_without_images(command: Command) -> None:
    for i in range(10):
        picture(Path(f"pets/cat/{i}.png"), i)
    Path("pets/dog").mkdir()
    Path("good.yaml").write_text(GOOD.replace("stream: squares", "stream: {folder: {path: pets}}"))
    refused(command("run", "good.yaml", "--dry-run"), "dog")


def test_class_names_that_do_not_match(command: Command) -> None:
    for name in ("cat", "dog"):
        for i in range(10):
            picture(Path(f"pets/{name}/{i}.png"), i)
    spec = "stream: {folder: {path: pets, classes: [a cat, a dog, a cow]}}"
    Path("good.yaml").write_text(GOOD.replace("stream: squares", spec))
    refused(command("run", "good.yaml", "--dry-run"), "3", "2")


def test_a_corrupt_image_is_named(command: Command) -> None:
    for name in ("cat", "dog"):
        for i in range(10):
            picture(Path(f"pets/{name}/{i}.png"), i)
    Path("pets/dog/3.png").write_bytes(b"not a picture")
    Path("good.yaml").write_text(GOOD.replace("stream: squares", "stream: {folder: {path: pets}}"))
    refused(command("run", "good.yaml", "methods={plain: []}"), "3.png")


def test_a_corrupt_model_folder(command: Command) -> None:
    Path("model").mkdir()
    Path("model/open_clip_config.json").write_text("{}")
    Path("good.yaml").write_text(GOOD.replace("tiny-clip", "open_clip:local-dir:model"))
    refused(command("run", "good.yaml", "--dry-run"), "model holds no weights", "model.safetensors")


def test_a_corrupt_checkpoint(command: Command) -> None:
    Path("weights.pt").write_bytes(b"not weights")
    Path("good.yaml").write_text(GOOD.replace("tiny-clip", "open_clip:ViT-B-32/weights.pt"))
    said = command("run", "good.yaml", "--dry-run")
    refused(said, "weights.pt is not a file of tensors alone", "save the model's state dict as safetensors")
    assert "weights_only" not in said[2]  # torch's own advice is to run what the file holds


def test_an_unreachable_hub(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nothing listens there
    Path("good.yaml").write_text(GOOD.replace("tiny-clip", "open_clip:ViT-B-32/laion2b_s34b_b79k"))
    refused(command("run", "good.yaml", "--dry-run"), "could not be downloaded", "name the local file")


def test_help_and_list_answer_at_once() -> None:
    """No heavy package is imported for them: that is what makes them answer in under a second."""
    code = (
        "import sys; from cl_forget import cli\n"
        "sys.argv = ['cl-forget', *sys.argv[1:]]\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "assert not {'torch', 'open_clip', 'transformers', 'ray', 'avalanche'} & set(sys.modules)"
    )
    for arguments in (["--help"], ["run", "--help"], ["list"]):
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            capture_output=True,
            text=True,
            env={**os.environ},
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "cl-forget" in done.stdout or "Mitigations" in done.stdout


def test_a_device_that_is_not_there(tiny_run: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CL_FORGET_DEVICE", "nonsense")
    with pytest.raises(UserError, match="CL_FORGET_DEVICE=nonsense: there is no such device here"):
        simulate(tiny_run())
    monkeypatch.setenv("CL_FORGET_DEVICE", "cpu")
    assert simulate(tiny_run(stream={"squares": {"tasks": 1}})).environment["device"] == "cpu"
