"""Somebody else's run: read for its numbers, never followed into code."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import cl_forget.config.recorded as recorded
from cl_forget.cli import main
from cl_forget.comparison.trials import Trial
from cl_forget.config.experiment import load_experiment
from cl_forget.config.recorded import check_recorded
from cl_forget.ground.errors import UserError
from cl_forget.reporting import specify_folders

PLANTED = "planted_module"


@pytest.fixture(autouse=True)
def _nothing_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded, "_allowed", set())


@pytest.fixture
def planted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A module that leaves a trace when it is imported, and another when it is called."""
    mark = tmp_path / "executed"
    (tmp_path / f"{PLANTED}.py").write_text(
        f"open({str(mark)!r}, 'a').write('imported')\ndef make(**_):\n    open({str(mark)!r}, 'a').write('called')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield mark
    sys.modules.pop(PLANTED, None)


def fields(**changes: Any) -> dict[str, Any]:
    return {
        "model": "emoji-clip",
        "stream": ["digits"],
        "suites": ["emoji"],
        "mitigations": [],
        "seed": 0,
    } | changes


ATTACKS = [
    {"stream": [{"avalanche": {"benchmark": f"{PLANTED}:make"}}]},
    {"stream": {"avalanche": {"benchmark": f"{PLANTED}:make"}}},
    {"suites": [{"avalanche": {"benchmark": f"{PLANTED}:make"}}]},
    {"probes": [{"avalanche": {"benchmark": f"{PLANTED}:make"}}]},
    {"mitigations": [{"zscl": {"reference": {"avalanche": {"benchmark": f"{PLANTED}:make"}}}}]},
    {"mitigations": [{"avalanche": {"strategy": f"{PLANTED}:make"}}]},
]


def recorded_in(folder: Path, plain: dict[str, Any]) -> Path:
    folder.mkdir()
    result = {
        "method": "m",
        "seed": 0,
        "model": "emoji-clip",
        "run": plain,
        "tasks": [],
        "suites": [],
        "rows": [],
    }
    (folder / "result.json").write_text(json.dumps(result))
    (folder / "config.yaml").write_text(yaml.safe_dump(plain))
    return folder


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["cl-forget", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("verb", ["landscape", "audit", "repair", "run"])
def test_a_recorded_run_starts_no_code(
    attack: dict[str, Any],
    verb: str,
    planted: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = recorded_in(tmp_path / "theirs", fields(**attack))
    given = {
        "audit": ["--tuned", str(folder)],
        "repair": ["--tuned", str(folder)],
        "landscape": [str(folder)],
    }
    arguments = given.get(verb, [str(folder / "config.yaml"), "--dry-run"])
    if verb in ("audit", "repair"):
        arguments += ["--output", str(tmp_path / "out")]
    assert command(monkeypatch, verb, *arguments) == 2
    error = capsys.readouterr().err
    assert f"--allow-code '{PLANTED}:make'" in error and error.count("\n") == 1
    assert not planted.exists() and not (tmp_path / "out").exists()


def test_the_flag_is_the_users_word(
    planted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = recorded_in(tmp_path / "ours", fields(**ATTACKS[0]))
    assert command(monkeypatch, "landscape", str(folder), "--allow-code", f"{PLANTED}:make") == 2
    assert "is not an Avalanche benchmark" in capsys.readouterr().err, "it was called, and gave nothing"
    assert planted.read_text() == "importedcalled"


def test_an_experiment_file_of_ones_own_may_name_code(planted: Path, tmp_path: Path) -> None:
    plain = fields(**ATTACKS[0])
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({k: plain[k] for k in ("model", "stream", "suites")}))
    assert load_experiment(tmp_path / "mine.yaml").stream == plain["stream"]
    for index in (
        "sweep.json",
        "experiment.json",
    ):  # the same file in a folder that a sweep or an experiment wrote
        (tmp_path / index).write_text("{}")
        with pytest.raises(UserError, match="was recorded by a run"):
            load_experiment(tmp_path / "mine.yaml")
        (tmp_path / "elsewhere").mkdir(exist_ok=True)
        (tmp_path / "elsewhere" / f"{index}.yaml").symlink_to(tmp_path / "mine.yaml")
        with pytest.raises(UserError, match="was recorded by a run"):
            load_experiment(tmp_path / "elsewhere" / f"{index}.yaml")
        (tmp_path / index).unlink()


def test_a_name_that_is_too_long_for_any_file() -> None:
    with pytest.raises(UserError, match="no experiment file"):
        load_experiment("a" * 5000)


@pytest.mark.parametrize(
    ("plain", "place"),
    [
        ({"stream": {"avalanche": {"benchmark": "subprocess:check_output"}}}, "subprocess:check_output"),
        ({"stream": {"avalanche": {"benchmark": "avalanche.benchmarks.utils:os.system"}}}, "os.system"),
        ({"stream": {"avalanche": {"benchmark": "avalanche.benchmarks.classic:CORe50"}}}, "CORe50"),
        ({"stream": {"avalanche": {"benchmark": "avalanche_evil.benchmarks.classic:SplitMNIST"}}}, "evil"),
        ({"stream": {"avalanche": {"benchmark": "avalanche.benchmarks.classic.evil:SplitMNIST"}}}, "evil"),
        ({"suites": [{"lm-eval": {"task": "mine", "include_path": "tasks"}}]}, "tasks"),
        ({"stream": [{"torchvision": {"dataset": "LSUN", "root": "theirs"}}]}, "torchvision:LSUN"),
        ({"stream": [{"datasets": {"path": "pandas"}}]}, "datasets:pandas"),
        ({"space": {"avalanche.strategy": {"grid": ["Naive", "os:system"]}}}, "os:system"),
    ],
)
def test_what_counts_as_code(plain: dict[str, Any], place: str) -> None:
    with pytest.raises(UserError, match=f"--allow-code .*{place}"):
        check_recorded(plain, "theirs")


@pytest.mark.parametrize(
    "plain",
    [
        {"stream": {"avalanche": {"benchmark": "avalanche.benchmarks.classic:SplitCIFAR10"}}},
        {
            "stream": {
                "avalanche": {"benchmark": "avalanche.benchmarks:PermutedMNIST", "options": {"seed": 1}}
            }
        },
        {"mitigations": [{"avalanche": {"strategy": "EWC", "options": {"ewc_lambda": 1}}}]},
        {"suites": [{"lm-eval": {"task": "hellaswag", "include_path": None}}]},
        {
            "stream": [
                {"torchvision": {"dataset": "CIFAR10", "root": "data"}},
                "digits",
                {"folder": {"path": "a:b"}},
            ]
        },
        {"stream": [{"datasets": {"path": "imdb"}}], "model": "hf:a/b", "train": {"lr": 0.1}},
    ],
)
def test_registered_names_and_avalanches_own_benchmarks_are_followed(plain: dict[str, Any]) -> None:
    check_recorded(plain, "theirs")


@pytest.mark.parametrize("attack", [*ATTACKS, {"imports": [f"{PLANTED}.py"]}])
def test_a_sweep_with_code_of_its_own_is_reported_without_it(
    attack: dict[str, Any], planted: Path, tmp_path: Path
) -> None:
    (tmp_path / "own").mkdir()
    plain = {**fields(), "protocol": {"select": "speciality"}, **attack}
    (tmp_path / "own" / "sweep.yaml").write_text(yaml.safe_dump(plain))
    trial = Trial(sweep="own", id="a", method="m", status="finished", validation={"speciality": 0.5})
    trial.save(tmp_path / "own")
    assert specify_folders(tmp_path / "own").methods
    assert not planted.exists()
    (tmp_path / "own" / "sweep.yaml").write_text(yaml.safe_dump({**plain, "protocol": {"select": "best"}}))
    with pytest.raises(UserError, match=r"sweep\.yaml: protocol\.select: .*Restore it from a copy\."):
        specify_folders(tmp_path / "own")


def test_a_strategy_must_be_a_class() -> None:
    from cl_forget.avalanche.strategy import strategy_class

    with pytest.raises(UserError, match="is no class"):
        strategy_class("supervised")
