"""A dry run refuses what the command itself refuses, in the same line, and writes nothing."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from cl_forget import cli
from cl_forget.config.sweep import Sweep
from cl_forget.sweeps.folder import new_folder

SWEEP: dict[str, Any] = {
    "name": "small",
    "model": "tiny-clip",
    "stream": ["squares"],
    "suites": ["colours"],
    "methods": {"L2-SP": ["l2_sp"]},
    "train": {"epochs": 1, "batch_size": 8},
    "control": False,
}
PRICED = "budget={usd: 40, prices: {gpu-large: 2.4}}"

BOTH = {
    "data to tune on that are not there": (
        ["tune_on={stream: [squares, {folder: {path: gone}}]}"],
        "]}': tune_on.stream.1: folder 'gone' does not exist",
    ),
    "a resource without an amount": (["--resource", "fpga"], "--resource fpga: write NAME=AMOUNT"),
    "less than nothing of one": (["--resource", "fpga=-1"], "an amount above 0, such as fpga=1"),
    "a search without Ray": (["--jobs", "2", "mode=search"], "leave --jobs out"),
    "a cluster without Ray": (["--jobs", "2", "--address", "auto"], "leave --address out, or --jobs"),
    "a device that is shared and not taken": (["--share-gpus"], "give it --gpus-per-trial 1"),
    "a limit that hyperband lacks": (["mode=hyperband", "--max-concurrent", "2"], "leave --max-concurrent out"),
    "an address of no kind": (["--output", "ftpp://x/y"], "the storage at ftpp://x/y cannot be used"),
    "an address overwritten": (["--output", "memory://x", "--overwrite"], "cannot be overwritten"),
    "somebody else's folder": (["--output", "other"], "other holds report.html, which is no sweep's"),
    "a file in the way": (["--output", "file"], "choose another --output"),
    "a sweep that is there": (["--output", "begun"], "go on with --resume"),
    "another sweep resumed": (["--output", "begun", "--resume", "train.lr=0.5"], "train.lr was"),
    "hours of devices that nobody has": (["budget={gpu_hours: 1}"], "give them --gpus-per-trial"),
    "money without a price": (["--jobs", "1", PRICED], "there is one of type 'any'"),
}  # fmt: skip


@pytest.fixture
def place(workspace: Path) -> Path:
    """What the commands find: a sweep's file, one that was begun, and what belongs to somebody else."""
    Path("sweep.yaml").write_text(yaml.safe_dump(SWEEP))
    new_folder(Path("begun"), Sweep(**SWEEP))
    Path("other").mkdir()
    Path("other/report.html").write_text("<p>mine</p>")
    Path("file").write_text("")
    return workspace


Refused = Callable[..., str]


@pytest.fixture
def refused(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Refused:
    """Given a command, the one line with which it ends and leaves everything as it was."""

    def of(*arguments: str) -> str:
        before = sorted(Path().rglob("*"))
        monkeypatch.setattr(sys, "argv", ["cl-forget", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert end.value.code == 2 and len(lines) == 1
        assert sorted(Path().rglob("*")) == before
        return lines[0]

    return of


@pytest.mark.parametrize("case", BOTH)
def test_a_sweep(case: str, refused: Refused) -> None:
    arguments, said = BOTH[case]
    dry = refused("sweep", "sweep.yaml", *arguments, "--dry-run")
    assert said in dry
    assert refused("sweep", "sweep.yaml", *arguments) == dry


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([PRICED], "there is one of type 'any'"),
        (
            ["--resource", "fpga=1"],
            "one trial wants 1 of 'fpga' and the largest node has 0; lower --resource",
        ),
        (["--cpus-per-trial", "9999"], "one trial wants 9999 CPUs"),
        (["--memory-per-trial", "1e9"], "MiB of memory"),
        (["--address", "127.0.0.1:{port}"], "no Ray cluster at"),
    ],
)
def test_what_the_runtime_would_refuse_is_known_without_it(
    arguments: list[str], said: str, refused: Refused
) -> None:
    with socket.socket() as taken:  # bound and not listening: nobody answers there
        taken.bind(("127.0.0.1", 0))
        arguments = [text.replace("{port}", str(taken.getsockname()[1])) for text in arguments]
        assert said in refused("sweep", "sweep.yaml", *arguments, "--dry-run")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--output", "other"], "other holds report.html already"),
        (["--output", "file"], "cannot write to file"),
        (["--output", "begun"], "begun holds a sweep: choose another --output"),
        (["--output", "ran"], "go on with --resume"),
        (["--output", "ran", "--resume"], "ran/l2-sp-seed0 holds a run with other settings (train.lr was"),
    ],
)
def test_an_experiment(arguments: list[str], said: str, refused: Refused) -> None:
    fields = {name: value for name, value in SWEEP.items() if name != "control"}
    Path("run.yaml").write_text(yaml.safe_dump(fields))
    folder = Path("ran/l2-sp-seed0")
    (folder / "checkpoints").mkdir(parents=True)
    earlier = Sweep(**SWEEP).run("L2-SP", {"train.lr": 0.5}, 0).model_dump(mode="json")
    (folder / "state.json").write_text(json.dumps({"key": "of another run", "run": earlier}))
    dry = refused("run", "run.yaml", *arguments, "--dry-run")
    assert said in dry
    assert refused("run", "run.yaml", *arguments) == dry
