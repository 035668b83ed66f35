"""A run tracked offline: W&B's own files hold the numbers of `result.json`, exactly."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from wandb_files import OfflineRun, offline_files
from wandb_server import KEY, Server

from cl_forget.comparison.records import Result
from cl_forget.config.experiment import Experiment
from cl_forget.config.run import Run
from cl_forget.evaluation.item_table import read_items
from cl_forget.ground.errors import TrainingDiverged
from cl_forget.run.simulate import simulate
from cl_forget.run.simulation import Simulation
from cl_forget.tracking.item_media import PICTURES
from cl_forget.tracking.login import mode_of
from cl_forget.tracking.names import METRICS
from cl_forget.tracking.transaction_log import steps

MakeRun = Callable[..., Run]
OFFLINE = {"wandb": "offline", "project": "forgetting", "group": "tiny", "tags": ["test"], "kl_every": 4}


@pytest.fixture
def tracked(tiny_run: MakeRun) -> MakeRun:
    def make(**fields: Any) -> Run:
        track = {**OFFLINE, **fields.pop("track", {})}
        return tiny_run(track=track, **fields)

    return make


def history_by_step(files: list[Path]) -> dict[int, dict[str, Any]]:
    """The history as a server that is given the files in order would hold it: the first line of a step stays."""
    lines: dict[int, dict[str, Any]] = {}
    for file in files:
        for line in OfflineRun(file).history:
            lines.setdefault(line["_step"], line)
    return lines


def without_times(line: dict[str, Any]) -> dict[str, Any]:
    timed = ("_timestamp", "_runtime", "train/samples_per_second", "seconds")
    own = ("cost/train_seconds", "cost/evaluation_seconds", "cost/peak_memory_mb")
    return {key: value for key, value in line.items() if key not in timed + own}


@pytest.fixture
def one(tracked: MakeRun, tmp_path: Path) -> tuple[Result, OfflineRun]:
    run = tracked(
        mitigations=[{"ldifs": 2.0}, {"wise_ft": 0.5}],
        evaluate={"curves": True},
        track={"artifacts": True},
    )
    result = simulate(run, tmp_path)
    (file,) = offline_files(tmp_path)
    return result, OfflineRun(file)


def test_the_file_holds_every_number_of_the_result(one: tuple[Result, OfflineRun], tmp_path: Path) -> None:
    result, found = one
    assert found.exit_code == 0
    _run_and_configuration(result, found)
    _summary(result, found)
    _rows(result, found)
    _steps(result, found, tmp_path)
    _tables_and_pictures(result, found, tmp_path)
    _artifact(found)


def _run_and_configuration(result: Result, found: OfflineRun) -> None:
    assert (found.run.project, found.run.run_group, found.run.job_type) == ("forgetting", "tiny", "run")
    assert list(found.run.tags) == ["test"]
    assert found.run.display_name == "ldifs + wise_ft, seed 0"
    assert found.config["train"] == result.run["train"]
    assert found.config["mitigation"]["ldifs"]["strength"] == 2.0
    assert found.config["environment"]["commit"] == result.environment["commit"]
    assert "track" not in found.config


def _summary(result: Result, found: OfflineRun) -> None:
    assert found.summary["test"] == result.metrics["test"]
    assert found.summary["validation"] == result.metrics["validation"]
    for key, name in METRICS.items():
        value = result.metrics["test"][key]
        assert found.summary.get(f"metrics/{name}") == value
        assert (value is None) == (f"metrics/{name}" not in found.summary)


def _rows(result: Result, found: OfflineRun) -> None:
    lines = [line for line in found.logged("experience") if "cost/steps" in line]
    assert [line["experience"] for line in lines] == [0, 1, 2, 3]
    for line, row in zip(lines, result.rows, strict=True):
        for name, scores in row.tasks.items():
            assert line[f"accuracy/{name}"] == scores.test.accuracy
            assert line[f"validation_accuracy/{name}"] == scores.validation.accuracy
            assert line[f"kl_to_base/{name}"] == scores.test.kl_to_base
        assert line["generality/colours"] == row.suites["colours"].test.accuracy
        assert line["probe/colour-probe"] == row.probes["colour-probe"].accuracy
        assert line["cost/train_seconds"] == row.cost.train_seconds
    assert found.metrics["accuracy/*"] == found.metrics["metrics/*"] == "experience"
    # After two stages the stream is its first two tasks: worked by hand from the matrix.
    accuracy = [[row.tasks[name].test.accuracy for name in result.tasks] for row in result.rows]
    assert lines[2]["metrics/forgetting_last"] == accuracy[1][0] - accuracy[2][0]
    assert lines[2]["metrics/forward_transfer"] == accuracy[1][1] - accuracy[0][1]
    assert lines[2]["metrics/speciality"] == pytest.approx((accuracy[2][0] + accuracy[2][1]) / 2)
    assert "metrics/forgetting_last" not in lines[1], "one task alone cannot be forgotten"


def _steps(result: Result, found: OfflineRun, folder: Path) -> None:
    lines = found.logged("train/loss")
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    steps = [event for event in events if "loss" in event]
    assert [line["train/step"] for line in lines] == list(range(1, result.rows[-1].cost.steps + 1))
    for line, event in zip(lines, steps, strict=True):
        assert line["train/loss"] == event["loss"]
        assert line["train/penalty_ldifs"] == event["terms"]["ldifs"]
        assert line["train/learning_rate"] == event["lr"]
        assert line["train/samples_per_second"] == pytest.approx(event["samples"] / event["seconds"])
    measured = [line["train/step"] for line in lines if "train/kl_to_base" in line]
    assert measured == [step for step in range(1, len(steps) + 1) if step % 4 == 0]
    assert found.metrics["train/*"] == "train/step"


def _tables_and_pictures(result: Result, found: OfflineRun, folder: Path) -> None:
    media = found.history[-1]
    files = offline_files(folder)[0].parent / "files"
    table = json.loads((files / media["tables/accuracy_test"]["path"]).read_text())
    assert table["columns"] == ["after", *result.tasks, "colours"]
    assert [line[1] for line in table["data"]] == [r.tasks["squares-1"].test.accuracy for r in result.rows]
    curves = json.loads((files / media["tables/curves"]["path"]).read_text())
    points = [(line[0], line[1], line[2]) for line in curves["data"]]
    assert points == [("wise_ft", "alpha", point.value) for point in result.curves[0].points]
    assert (files / media["pictures/tradeoff"]["path"]).read_bytes()[:4] == b"\x89PNG"
    _items_table(result, json.loads((files / media["tables/items"]["path"]).read_text()), folder)
    _experiences(result, found, files, folder)


def _items_table(result: Result, table: dict[str, Any], folder: Path) -> None:
    """Every test item once, what was lost first, with the answer after each experience."""
    after = [f"{number}: after {row.after}" for number, row in enumerate(result.rows[1:], start=1)]
    assert table["columns"] == ["data", "item", "state", "truth", "pre-trained", *after, "prompt"]
    states = [line[2] for line in table["data"]]
    order = ("lost", "gained", "never known", "kept")
    assert states == sorted(states, key=order.index)
    last, base = read_items(folder, -1), read_items(folder, 0)
    assert len(states) == sum(len(right) for right in last.values())
    assert states.count("lost") == sum(int((base[name] & ~last[name]).sum()) for name in last)
    for name, item, state, truth, before, *said, prompt in table["data"]:
        assert (before == truth) == bool(base[name][item]) or before == "wrong"
        assert (said[-1] == truth) == bool(last[name][item]) == (state in ("gained", "kept"))
        assert prompt is None


def _experiences(result: Result, found: OfflineRun, files: Path, folder: Path) -> None:
    """A picture of the accuracies so far for each experience, and the items that were lost by then."""
    lines = found.logged("media/accuracy_matrix")
    assert [line["experience"] for line in lines] == list(range(len(result.rows)))
    pictures = {(files / line["media/accuracy_matrix"]["path"]).read_bytes() for line in lines}
    assert len(pictures) == len(lines) and all(picture[:4] == b"\x89PNG" for picture in pictures)
    base = read_items(folder, 0)
    for line in lines:
        now = read_items(folder, line["experience"])
        lost = sum(int((base[name] & ~now[name]).sum()) for name in now)
        shown = line.get("media/lost", {"filenames": [], "captions": []})
        assert len(shown["filenames"]) == len(shown["captions"]) <= max(PICTURES, len(base))
        assert bool(shown["filenames"]) == bool(lost)
        assert all(re.fullmatch(r".+: .+ → .+", caption) for caption in shown["captions"])
        assert all((files / name).is_file() for name in shown["filenames"])
    assert found.metrics["media/*"] == "experience"


def _artifact(found: OfflineRun) -> None:
    (model,) = [artifact for artifact in found.artifacts if artifact.type == "model"]
    paths = {entry.path for entry in model.manifest.contents}
    assert {"checkpoints/stage-3.safetensors", "open_clip_model.safetensors", "result.json"} <= paths


def test_following_a_run_changes_none_of_its_numbers(
    tracked: MakeRun, tiny_run: MakeRun, tmp_path: Path
) -> None:
    followed, alone = simulate(tracked(track={"kl_every": 1}), tmp_path), simulate(tiny_run())
    for one, other in zip(followed.rows, alone.rows, strict=True):
        plain = [row.model_dump(exclude={"cost"}) for row in (one, other)]
        assert plain[0] == plain[1]
    assert followed.metrics == alone.metrics


def test_a_resumed_run_goes_on_in_the_same_wandb_run(
    tracked: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tracked(train={"epochs": 2, "batch_size": 4, "lr": 1e-3, "checkpoint_seconds": 1e-6})
    whole = simulate(run, tmp_path / "whole")
    from cl_forget.training.checkpoints import RunFolder, State

    commit, left = RunFolder.commit, [20]

    def stop(self: RunFolder, state: State) -> None:
        commit(self, state)
        left[0] -= 1
        if left[0] == 0:
            raise KeyboardInterrupt

    monkeypatch.setattr(RunFolder, "commit", stop)
    with pytest.raises(KeyboardInterrupt):
        simulate(run, tmp_path / "cut")
    monkeypatch.setattr(RunFolder, "commit", commit)
    assert simulate(run, tmp_path / "cut", resume=True).metrics == whole.metrics
    first, second = offline_files(tmp_path / "cut")
    assert OfflineRun(first).exit_code == 1
    assert OfflineRun(first).run.run_id == OfflineRun(second).run.run_id
    assert OfflineRun(second).run.resume
    together = history_by_step([first, second])
    alone = history_by_step(offline_files(tmp_path / "whole"))
    assert sorted(together) == sorted(alone) == list(range(1, len(alone) + 1))
    assert [without_times(together[step]) for step in sorted(alone)[:-1]] == [
        without_times(alone[step]) for step in sorted(alone)[:-1]
    ]


@pytest.mark.parametrize("kept", ["nothing", "half"])
def test_what_wandb_lost_with_a_killed_process_is_told_again_and_nothing_twice(
    tracked: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: str
) -> None:
    run = tracked(stream={"squares": {"tasks": 1}}, train={"epochs": 2, "batch_size": 12})
    simulate(run, tmp_path / "whole")
    fine_tune = Simulation.fine_tune

    def stop_after_training(self: Simulation, stage: Any) -> None:
        fine_tune(self, stage)
        raise KeyboardInterrupt

    monkeypatch.setattr(Simulation, "fine_tune", stop_after_training)
    with pytest.raises(KeyboardInterrupt):
        simulate(run, tmp_path / "cut")
    monkeypatch.setattr(Simulation, "fine_tune", fine_tune)
    (first,) = offline_files(tmp_path / "cut")
    content, known = first.read_bytes(), steps(first)
    wanted = {0} if kept == "nothing" else range(1, len(known))
    cuts = (content[:size] for size in range(len(content), -1, -1))
    first.write_bytes(
        next(cut for cut in cuts if first.write_bytes(cut) >= 0 and len(steps(first)) in wanted)
    )
    before = steps(first)
    simulate(run, tmp_path / "cut", resume=True)
    first, second = offline_files(tmp_path / "cut")
    after = [line["_step"] for line in OfflineRun(second).history]
    (whole,) = offline_files(tmp_path / "whole")
    assert sorted([*before, *after]) == sorted(line["_step"] for line in OfflineRun(whole).history)


def test_starting_over_is_a_new_wandb_run(tracked: MakeRun, tmp_path: Path) -> None:
    run = tracked(stream={"squares": {"tasks": 1}}, train={"epochs": 1, "batch_size": 24})
    simulate(run, tmp_path)
    first = OfflineRun(*offline_files(tmp_path)).run.run_id
    simulate(run, tmp_path, overwrite=True)
    assert OfflineRun(*offline_files(tmp_path)).run.run_id != first


def test_a_run_that_fails_is_marked_and_says_why(tracked: MakeRun, tmp_path: Path) -> None:
    run = tracked(
        train={"epochs": 3, "batch_size": 8, "lr": 10.0, "clip": None}, mitigations=[{"l2_sp": 1e30}]
    )
    with pytest.raises(TrainingDiverged):
        simulate(run, tmp_path)
    found = OfflineRun(*offline_files(tmp_path))
    assert found.exit_code == 1
    assert "not finite" in found.summary["error"]


# -- configuration --------------------------------------------------------------------------------------


def test_tracking_is_no_part_of_what_a_run_is(tiny_run: MakeRun, tracked: MakeRun) -> None:
    assert tiny_run().key() == tracked().key()
    assert tiny_run().training_key() == tracked().training_key()


def test_yaml_s_bare_off_means_off(tiny_run: MakeRun) -> None:
    assert tiny_run(track={"wandb": False}).track.wandb == "off"
    assert tiny_run(track={"wandb": True}).track.wandb == "online"


def test_runs_of_an_experiment_are_one_group(tiny_run: MakeRun) -> None:
    fields = {"model": "tiny-clip", "stream": "squares", "name": "mine"}
    assert {run.track.group for run in Experiment(**fields).runs()} == {"mine"}
    named = Experiment(**fields, track={"group": "other"})
    assert {run.track.group for run in named.runs()} == {"other"}


@pytest.mark.parametrize(
    ("environment", "mode"),
    [
        ({}, "off"),
        ({"WANDB_API_KEY": "k" * 40}, "online"),
        ({"WANDB_MODE": "offline"}, "offline"),
        ({"WANDB_MODE": "disabled", "WANDB_API_KEY": "k" * 40}, "off"),
    ],
)
def test_the_default_is_online_for_those_who_are_logged_in(
    tiny_run: MakeRun, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], mode: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert mode_of(tiny_run().track) == mode
    assert mode_of(tiny_run(track={"wandb": "offline"}).track) == "offline"


def test_a_login_in_the_netrc_file_counts_for_its_server_only(
    tiny_run: MakeRun, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "netrc"
    file.write_text(f"machine wandb.example.org\n  login user\n  password {'k' * 40}\n")
    monkeypatch.setenv("NETRC", str(file))
    assert mode_of(tiny_run().track) == "off"
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert mode_of(tiny_run().track) == "online"


def test_a_user_without_a_home_is_not_logged_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in containers that run under a number no user has: `~` cannot be told there."""
    from cl_forget.tracking.login import logged_in

    def homeless(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("NETRC")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setattr(Path, "expanduser", homeless)
    assert not logged_in()


# -- wandb sync -----------------------------------------------------------------------------------------


def test_wandb_s_own_reader_uploads_both_parts_of_a_resumed_run(
    tracked: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tracked(stream={"squares": {"tasks": 1}}, train={"epochs": 2, "batch_size": 12})
    evaluate = Simulation.evaluate

    def stop_after_training(self: Simulation, after: Any) -> None:
        if after is not None:
            raise KeyboardInterrupt
        evaluate(self, after)

    monkeypatch.setattr(Simulation, "evaluate", stop_after_training)
    with pytest.raises(KeyboardInterrupt):
        simulate(run, tmp_path)
    monkeypatch.setattr(Simulation, "evaluate", evaluate)
    result = simulate(run, tmp_path, resume=True)
    files = offline_files(tmp_path)
    assert len(files) == 2
    with Server() as server:
        environment = {**os.environ, "WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY}
        command = [sys.executable, "-m", "wandb", "sync", *(str(file.parent) for file in files)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        (there,) = server.runs.values()
    assert there.summary["test"] == result.metrics["test"]
    assert there.summary["validation"] == result.metrics["validation"]
    assert [line["_step"] for line in there.history] == list(range(1, len(there.history) + 1))
    rows = [line for line in there.history if "cost/steps" in line]
    assert [line["accuracy/squares-1"] for line in rows] == [
        row.tasks["squares-1"].test.accuracy for row in result.rows
    ]
    assert len([line for line in there.history if "train/loss" in line]) == result.rows[-1].cost.steps


LABELS = {
    "WANDB_PROJECT": "theirs", "WANDB_ENTITY": "team", "WANDB_RUN_GROUP": "group", "WANDB_JOB_TYPE": "job",
    "WANDB_TAGS": "a, b,",
}  # fmt: skip


def test_wandbs_own_variables_win_over_our_labels_and_the_file_over_both(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from cl_forget.config.experiment import Experiment
    from cl_forget.config.sweep import Sweep
    from cl_forget.config.tracking import Tracking
    from cl_forget.sweeps.planning import plan_grid

    def labels(track: Tracking) -> tuple[object, ...]:
        return track.project, track.entity, track.group, track.job_type, track.tags

    common = {"model": "tiny-clip", "stream": ["squares"], "name": "mine"}
    sweep = Sweep(methods={"L2-SP": [{"l2_sp": 1}]}, **common)
    assert labels(Experiment(**common).runs()[0].track) == ("cl-forget", None, "mine", "run", [])
    assert labels(plan_grid(sweep)[0].run.track) == ("cl-forget", None, "mine", "tune trial", [])
    for name, value in LABELS.items():
        monkeypatch.setenv(name, value)
    theirs = ("theirs", "team", "group", "job", ["a", "b"])
    assert labels(Experiment(**common).runs()[0].track) == theirs
    assert labels(plan_grid(sweep)[0].run.track) == theirs
    assert labels(Tracking().resolved()) == theirs
    said = {"project": "cl-forget", "entity": "e", "group": "g", "job_type": "run", "tags": []}
    asked = ("cl-forget", "e", "g", "run", [])
    assert labels(Experiment(track=said, **common).runs()[0].track) == asked, "also where it says our default"
    assert labels(Tracking(**said).resolved(job_type="x")) == asked


def test_wandb_is_given_what_its_variables_say(monkeypatch: pytest.MonkeyPatch) -> None:
    from cl_forget.config.run import Run
    from cl_forget.tracking._wandb import _labels

    run = Run(model="tiny-clip", stream=["squares"], method="LDIFS", seed=3)
    assert _labels(run, run.track.resolved())["name"] == "LDIFS, seed 3"
    monkeypatch.setenv("WANDB_NAME", "night run")
    monkeypatch.setenv("WANDB_PROJECT", "theirs")
    shown = _labels(run, run.track.resolved())
    assert (shown["name"], shown["project"]) == ("night run", "theirs")
