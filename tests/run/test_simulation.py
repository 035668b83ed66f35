"""The main job: what a simulation guarantees whatever is composed."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import random
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from durability import kill_and_resume

import cl_forget
from cl_forget.comparison.records import Result
from cl_forget.config.run import Run
from cl_forget.ground.errors import TrainingDiverged, UserError
from cl_forget.ground.records import Row
from cl_forget.models import load_model
from cl_forget.run.shared import Setup
from cl_forget.run.simulate import simulate
from cl_forget.run.simulation import Simulation, Watch

MakeRun = Callable[..., Run]


def numbers(result: Result) -> dict[str, Any]:
    """Everything a result says except how long it took and where."""
    plain = result.model_dump(mode="json", exclude={"environment"})
    for row in [*plain["rows"], *(p["row"] for c in plain["curves"] for p in c["points"])]:
        for key in ("train_seconds", "evaluation_seconds", "peak_memory_mb", "frozen_samples"):
            row["cost"].pop(key)
    return plain


def test_rows_tasks_suites_and_probes_are_all_there(tiny_run: MakeRun, tmp_path: Path) -> None:
    result = simulate(tiny_run(), tmp_path / "run")
    assert [row.after for row in result.rows] == [None, "squares-1", "squares-2", "squares-3"]
    assert all(list(row.tasks) == result.tasks for row in result.rows)
    assert all(list(row.suites) == ["colours"] for row in result.rows)
    # A task is probed until it is tuned on; the extra probe always.
    assert [set(row.probes) for row in result.rows] == [
        {"colour-probe", "squares-1", "squares-2", "squares-3"},
        {"colour-probe", "squares-2", "squares-3"},
        {"colour-probe", "squares-3"},
        {"colour-probe"},
    ]
    assert result.rows[0].tasks["squares-1"].test.kl_to_base == 0.0
    assert result.rows[0].drift.cka == {}
    assert result.rows[-1].tasks["squares-1"].test.accuracy > result.rows[0].tasks["squares-1"].test.accuracy
    assert result.rows[-1].drift.weight_distance["all"] > 0
    assert set(result.rows[-1].tasks["squares-1"].shifted) == {"darker"}
    assert result.metrics["test"]["speciality"] == pytest.approx(
        sum(result.rows[-1].tasks[name].test.accuracy for name in result.tasks) / 3
    )


def test_folder_holds_everything_and_can_be_read_back(tiny_run: MakeRun, tmp_path: Path) -> None:
    result = simulate(tiny_run(mitigations=["l2_sp"]), tmp_path)
    assert Result.load(tmp_path) == result
    lines = (tmp_path / "accuracy_test.csv").read_text().splitlines()
    assert lines[0] == "after,squares-1,squares-2,squares-3,colours"
    assert float(lines[-1].split(",")[1]) == result.rows[-1].tasks["squares-1"].test.accuracy
    events = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert sum("loss" in event for event in events) == result.rows[-1].cost.steps
    assert "l2_sp" in (tmp_path / "config.yaml").read_text()
    assert torch.__version__.startswith(result.environment["packages"]["torch"])
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == [
        f"stage-{i}.safetensors" for i in (1, 2, 3)
    ]


def test_same_seed_same_bits_other_seed_other_bits(tiny_run: MakeRun) -> None:
    first, again = simulate(tiny_run(seed=3)), simulate(tiny_run(seed=3))
    assert numbers(first) == numbers(again)
    assert numbers(simulate(tiny_run(seed=4)))["rows"][-1] != numbers(first)["rows"][-1]


def test_listing_order_does_not_matter(tiny_run: MakeRun) -> None:
    methods: list[Any] = [{"ldifs": 5.0}, {"l2_sp": 0.01}, {"wise_ft": 0.5}]
    one, other = simulate(tiny_run(mitigations=methods)), simulate(tiny_run(mitigations=methods[::-1]))
    assert numbers(one)["rows"] == numbers(other)["rows"]


@pytest.mark.parametrize("method", [{"ldifs": 0.0}, {"l2_sp": 0.0}, {"wise_ft": 1.0}])
def test_a_strength_of_zero_is_absence(tiny_run: MakeRun, method: dict[str, float]) -> None:
    assert numbers(simulate(tiny_run(mitigations=[method])))["rows"] == numbers(simulate(tiny_run()))["rows"]


def test_post_hoc_methods_take_over_a_finished_fine_tune(tiny_run: MakeRun, tmp_path: Path) -> None:
    simulate(tiny_run(), tmp_path / "plain")
    wise = tiny_run(method="WiSE-FT", mitigations=[{"wise_ft": 0.5}])
    assert wise.training_key() == tiny_run().training_key()
    taken = simulate(wise, tmp_path / "taken", donor=tmp_path / "plain")
    assert numbers(taken) == numbers(simulate(wise, tmp_path / "alone"))
    assert not [
        line for line in (tmp_path / "taken" / "events.jsonl").read_text().splitlines() if "loss" in line
    ]


def test_donor_must_have_the_same_fine_tuning(tiny_run: MakeRun, tmp_path: Path) -> None:
    simulate(tiny_run(seed=1), tmp_path / "other")
    with pytest.raises(UserError, match="starts with this fine-tuning"):
        simulate(tiny_run(seed=2), tmp_path / "run", donor=tmp_path / "other")


SHORT, LONG = ["squares", "colour-probe"], ["squares", "other-colours"]


@pytest.mark.parametrize(
    ("method", "partial"),
    [(["ewc", {"ldifs": {"strength": 1, "anchor": "previous"}}], False), (["task_arithmetic"], True)],
)
def test_streams_that_begin_alike_fork_from_one_checkpoint(
    tiny_run: MakeRun, tmp_path: Path, method: list[Any], partial: bool
) -> None:
    first = tiny_run(stream=SHORT, probes=[], mitigations=method)
    second = tiny_run(stream=LONG, probes=[], mitigations=method)
    assert first.shared_specs(second.training_keys()) == 1
    stop = StopAfter(stage=3) if partial else None
    with contextlib.suppress(KeyboardInterrupt):
        simulate(first, tmp_path / "first", watch=stop)
    forked = simulate(second, tmp_path / "forked", donor=tmp_path / "first")
    assert numbers(forked) == numbers(simulate(second, tmp_path / "alone"))
    events = [json.loads(line) for line in (tmp_path / "forked" / "events.jsonl").read_text().splitlines()]
    assert {event["stage"] for event in events if "loss" in event} == {"other-colours"}


class StopAfter(Watch):
    """Interrupts a run after a stage."""

    def __init__(self, stage: int) -> None:
        self.stage = stage

    def row(self, simulation: Simulation, row: Row) -> None:
        if len(simulation.past) == self.stage:
            raise KeyboardInterrupt


def test_joint_training_shares_no_first_tasks(tiny_run: MakeRun) -> None:
    first, second = (tiny_run(stream=stream, mitigations=["joint"]) for stream in (SHORT, LONG))
    assert first.shared_specs(second.training_keys()) == 0
    assert first.shared_specs(first.training_keys()) == 2


def test_one_setup_serves_many_runs(tiny_run: MakeRun) -> None:
    setup = Setup(tiny_run())
    for fields in (
        {"seed": 3},
        {"mitigations": ["ldifs", "lora"]},
        {"seed": 4, "mitigations": [{"wise_ft": 0.5}]},
    ):
        shared = simulate(tiny_run(**fields), setup=setup)
        assert numbers(shared) == numbers(simulate(tiny_run(**fields)))


def test_wise_ft_curve_has_the_end_points_of_the_run(tiny_run: MakeRun) -> None:
    run = tiny_run(mitigations=[{"wise_ft": 0.5}], evaluate={"curves": True})
    result = simulate(run)
    plain = simulate(tiny_run())
    (curve,) = result.curves
    assert [point.value for point in curve.points] == [i / 10 for i in range(11)]
    assert curve.points[0].row.tasks == result.rows[0].tasks  # α = 0 is the pre-trained model
    assert curve.points[-1].row.tasks == plain.rows[-1].tasks  # α = 1 is the tuned model
    assert curve.points[5].row.tasks == result.rows[-1].tasks
    assert "α" in curve.formula


def test_the_exported_model_is_the_edited_one_and_open_clip_loads_it(
    tiny_run: MakeRun, tmp_path: Path
) -> None:
    from open_clip.factory import load_checkpoint
    from tiny import tiny_clip

    simulate(tiny_run(mitigations=[{"wise_ft": 0.0}]), tmp_path)
    fresh, loaded = tiny_clip(), tiny_clip()
    with torch.no_grad():
        for parameter in loaded.clip.parameters():
            parameter.zero_()
    load_checkpoint(loaded.clip, str(tmp_path / "open_clip_model.safetensors"))
    assert all(torch.equal(p, q) for p, q in zip(fresh.parameters(), loaded.parameters(), strict=True))
    simulate(tiny_run(evaluate={"export": False}), tmp_path / "not")
    assert not (tmp_path / "not" / "open_clip_model.safetensors").exists()


def test_a_limit_on_evaluation_changes_no_training(tiny_run: MakeRun) -> None:
    some, whole = simulate(tiny_run(evaluate={"limit": 6, "curves": False})), simulate(tiny_run())
    assert some.rows[-1].tasks["squares-1"].test.samples == 6
    assert whole.rows[-1].tasks["squares-1"].test.samples == 15
    assert some.rows[-1].tasks["squares-1"].shifted["darker"].samples == 6
    assert some.rows[-1].drift.weight_distance == whole.rows[-1].drift.weight_distance


def test_feeding_the_average_back_changes_the_next_task(tiny_run: MakeRun) -> None:
    kept = simulate(tiny_run(mitigations=[{"wise_ft": {"alpha": 0.5}}]))
    fed = simulate(tiny_run(mitigations=[{"wise_ft": {"alpha": 0.5, "feed_back": True}}]))
    assert kept.rows[1].tasks == fed.rows[1].tasks
    assert kept.rows[2].drift != fed.rows[2].drift


def test_linear_probe_leaves_the_trunk_alone(tiny_run: MakeRun) -> None:
    result = simulate(tiny_run(mitigations=["linear_probe"]))
    assert result.rows[-1].drift.weight_distance["all"] == 0
    assert result.rows[-1].suites == result.rows[0].suites.__class__(result.rows[-1].suites)
    assert result.rows[-1].suites["colours"].test.accuracy == result.rows[0].suites["colours"].test.accuracy
    assert result.rows[-1].cost.backward_samples == 0
    assert result.metrics["test"]["speciality"] > result.metrics["test"]["speciality_pretrained"]


def test_joint_training_has_two_rows_and_sees_as_many_samples(tiny_run: MakeRun) -> None:
    joint, plain = simulate(tiny_run(mitigations=["joint"])), simulate(tiny_run())
    assert [row.after for row in joint.rows] == [None, "squares-1 + squares-2 + squares-3"]
    assert joint.rows[-1].cost.samples_seen == plain.rows[-1].cost.samples_seen
    assert joint.metrics["test"]["forgetting_last"] is None


def test_accumulated_gradients_equal_the_large_batch(tiny_run: MakeRun, tmp_path: Path) -> None:
    train = {"epochs": 1, "batch_size": 8, "lr": 1e-3}
    simulate(tiny_run(stream={"squares": {"tasks": 1}}, train=train, mitigations=["ldifs"]), tmp_path / "a")
    small = {**train, "micro_batch_size": 4}
    simulate(tiny_run(stream={"squares": {"tasks": 1}}, train=small, mitigations=["ldifs"]), tmp_path / "b")
    losses = [
        [
            json.loads(x)["loss"]
            for x in (tmp_path / n / "events.jsonl").read_text().splitlines()
            if "loss" in x
        ]
        for n in "ab"
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_diverging_run_names_step_and_cure_and_keeps_its_state(tiny_run: MakeRun, tmp_path: Path) -> None:
    run = tiny_run(
        train={"epochs": 3, "batch_size": 8, "lr": 10.0, "clip": None}, mitigations=[{"l2_sp": 1e30}]
    )
    with pytest.raises(TrainingDiverged, match=r"step \d+ of 9 on 'squares-1'.*lower l2_sp's strength"):
        simulate(run, tmp_path)
    state = json.loads((tmp_path / "state.json").read_text())
    assert len(state["rows"]) == 1
    assert not (tmp_path / "result.json").exists()


# -- durability ----------------------------------------------------------------------------------------


def durable(tiny_run: MakeRun, **fields: Any) -> Run:
    """A run that saves its state after every step."""
    return tiny_run(
        train={"epochs": 2, "batch_size": 4, "lr": 1e-3, "checkpoint_seconds": 1e-6},
        mitigations=[{"ldifs": {"strength": 5, "anchor": "previous"}}, {"l2_sp": {"anchor": "previous"}}],
        **fields,
    )


@pytest.mark.slow
def test_killed_at_random_instants_a_resumed_run_has_the_same_bits(tiny_run: MakeRun, tmp_path: Path) -> None:
    run = durable(tiny_run)
    torch.set_num_threads(1)
    started = time.monotonic()
    whole = simulate(run, tmp_path / "whole")
    length = time.monotonic() - started
    chance = random.Random(0)
    instants = [length * share for share in (chance.uniform(0.2, 0.6), chance.uniform(0.1, 0.4))]
    kill_and_resume(
        run.model_dump(mode="json"), tmp_path / "killed", instants, ["tiny", "cl_forget.run.simulation"]
    )
    assert numbers(Result.load(tmp_path / "killed")) == numbers(whole)
    steps = [x for x in (tmp_path / "killed" / "events.jsonl").read_text().splitlines() if "loss" in x]
    assert len(steps) == whole.rows[-1].cost.steps  # no step logged twice, none lost


def test_interrupted_inside_a_task_resumes_to_the_same_bits(
    tiny_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = durable(tiny_run)
    whole = simulate(run, tmp_path / "whole")
    from cl_forget.training.checkpoints import RunFolder

    commit = RunFolder.commit
    count = {"left": 15}

    def stop_after(self: RunFolder, state: dict[str, Any]) -> None:
        commit(self, state)
        count["left"] -= 1
        if count["left"] == 0:
            raise KeyboardInterrupt

    monkeypatch.setattr(RunFolder, "commit", stop_after)
    with pytest.raises(KeyboardInterrupt):
        simulate(run, tmp_path / "cut")
    monkeypatch.setattr(RunFolder, "commit", commit)
    assert json.loads((tmp_path / "cut" / "state.json").read_text())["step"]
    assert numbers(simulate(run, tmp_path / "cut", resume=True)) == numbers(whole)


def test_a_finished_run_is_read_not_repeated(tiny_run: MakeRun, tmp_path: Path) -> None:
    first = simulate(tiny_run(), tmp_path)
    changed = os.stat(tmp_path / "result.json").st_mtime_ns
    assert simulate(tiny_run(), tmp_path, resume=True) == first
    assert os.stat(tmp_path / "result.json").st_mtime_ns == changed


@pytest.mark.parametrize("damage", ["truncate", "alter", "delete"])
def test_a_damaged_checkpoint_is_named(tiny_run: MakeRun, tmp_path: Path, damage: str) -> None:
    simulate(tiny_run(), tmp_path)
    state = json.loads((tmp_path / "state.json").read_text())
    (tmp_path / "state.json").write_text(json.dumps({**state, "finished": False, "rows": state["rows"][:2]}))
    file = tmp_path / "checkpoints" / "stage-2.safetensors"
    data = bytearray(file.read_bytes())
    if damage == "delete":
        file.unlink()
    elif damage == "truncate":
        file.write_bytes(data[: len(data) // 2])
    else:
        data[-5] ^= 1
        file.write_bytes(data)
    with pytest.raises(UserError, match=r"stage-2\.safetensors is (missing|truncated or altered).*--resume"):
        simulate(tiny_run(), tmp_path, resume=True)


def test_resuming_with_other_settings_is_refused(tiny_run: MakeRun, tmp_path: Path) -> None:
    simulate(tiny_run(), tmp_path)
    with pytest.raises(UserError, match="other settings"):
        simulate(tiny_run(train={"epochs": 3}), tmp_path, resume=True)


def test_a_finished_simulation_lets_go_of_its_models(
    tiny_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[weakref.ref[torch.nn.Module]] = []
    copy = Setup.model

    def remember(setup: Setup) -> torch.nn.Module:
        model = copy(setup)
        made.extend([weakref.ref(model), weakref.ref(setup.base.model)])
        return model

    load_model("tiny-clip")  # a first import that fails inside a library keeps the frames that led to it
    monkeypatch.setattr(Setup, "model", remember)
    gc.disable()
    try:
        simulate(tiny_run(mitigations=[{"wise_ft": 0.5}, "ldifs"]))
        assert [model() for model in made] == [None, None]
    finally:
        gc.enable()


def test_the_public_api_is_the_main_job(tiny_run: MakeRun) -> None:
    assert cl_forget.simulate is simulate
    assert cl_forget.Run is Run
    assert set(cl_forget.__all__) <= set(dir(cl_forget))
