"""The main job: what a simulation guarantees whatever is composed."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import random
import re
import time
import weakref
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
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
from cl_forget.run import simulation
from cl_forget.run.shared import Setup
from cl_forget.run.simulate import simulate
from cl_forget.run.simulation import Beginning, Simulation, Watch
from cl_forget.testing import worlds
from cl_forget.training import loop
from cl_forget.training.checkpoints import RunFolder, State

MakeRun = Callable[..., Run]


def numbers(result: Result) -> dict[str, Any]:
    """Everything a result says except how long it took and where."""
    plain = result.model_dump(mode="json", exclude={"environment"})
    for row in [*plain["rows"], *(p["row"] for c in plain["curves"] for p in c["points"])]:
        for key in ("train_seconds", "evaluation_seconds", "peak_memory_mb"):
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


def test_the_distance_to_the_base_is_logged_without_wandb_and_changes_nothing(
    tiny_run: MakeRun, tmp_path: Path
) -> None:
    often = simulate(tiny_run(track={"wandb": "off", "kl_every": 2}), tmp_path / "often")
    seldom = simulate(tiny_run(track={"wandb": "off", "kl_every": 10_000}), tmp_path / "seldom")
    assert numbers(often)["rows"] == numbers(seldom)["rows"]

    def logged(name: str) -> list[float]:
        lines = (tmp_path / name / "events.jsonl").read_text().splitlines()
        return [record["kl_to_base"] for record in map(json.loads, lines) if "kl_to_base" in record]

    assert len(logged("often")) == often.rows[-1].cost.steps // 2 and not logged("seldom")
    assert all(value >= 0 for value in logged("often")) and logged("often")[-1] > 0


def test_what_is_measured_between_steps_is_no_training(
    tiny_run: MakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    for module in (simulation, loop):
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: now, monotonic=lambda: 0.0))

    class Measures(Watch):
        def step(self, simulation: Simulation, record: dict[str, Any]) -> None:
            nonlocal now
            now += 1000.0

    cost = simulate(tiny_run(), watch=Measures()).rows[-1].cost
    assert cost.train_seconds == 0
    assert cost.evaluation_seconds == pytest.approx(1000 * cost.steps, abs=999)  # and the rows, in real time


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


def test_a_point_that_was_measured_is_not_measured_again(
    tiny_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cl_forget.evaluation.evaluate import Evaluator

    row, rows = Evaluator.row, []
    monkeypatch.setattr(Evaluator, "row", lambda *a, **o: rows.append(row(*a, **o)) or rows[-1])
    run = tiny_run(mitigations=[{"wise_ft": 0.5}], evaluate={"curves": True})
    alone = simulate(run)
    assert len(rows) == 4 + 10  # the point at .5 is the last row
    shared, rows[:] = Setup(run), []
    simulate(tiny_run(evaluate={"curves": True}), tmp_path, setup=shared)
    together = simulate(run, donor=tmp_path, setup=shared)
    assert len(rows) == 4 + 4 + 9  # and the one at 1 is the donor's
    assert [p.row.tasks for p in together.curves[0].points] == [p.row.tasks for p in alone.curves[0].points]
    assert [p.row.drift for p in together.curves[0].points] == [p.row.drift for p in alone.curves[0].points]
    assert all(not point.row.probes for point in together.curves[0].points)


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
    cure = r"step \d+ of 9 on 'squares-1'.*lower l2_sp's strength .*, and begin anew with --overwrite"
    with pytest.raises(TrainingDiverged, match=cure) as first:
        simulate(run, tmp_path)
    state = json.loads((tmp_path / "state.json").read_text())
    assert len(state["rows"]) == 1
    assert not (tmp_path / "result.json").exists()
    # What the line says of --resume and --overwrite is so.
    with pytest.raises(TrainingDiverged, match=re.escape(str(first.value))):
        simulate(run, tmp_path, resume=True)
    mended = run.model_copy(update={"mitigations": tiny_run(mitigations=[{"l2_sp": 1e-3}]).mitigations})
    with pytest.raises(UserError, match="other settings"):
        simulate(mended, tmp_path, resume=True)
    assert len(simulate(mended, tmp_path, overwrite=True).rows) == 4


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

    commit = RunFolder.commit
    count = {"left": 15}

    def stop_after(self: RunFolder, state: State) -> None:
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


def test_the_caller_s_random_generator_is_as_it_was(tiny_run: MakeRun) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    simulate(tiny_run(stream={"squares": {"tasks": 1}}, suites=[], probes=[], train={"epochs": 1}))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_simulation_is_opened_whole_or_is_the_result(tiny_run: MakeRun, tmp_path: Path) -> None:
    run = tiny_run(stream={"squares": {"tasks": 1}}, suites=[], probes=[], train={"epochs": 1})
    with Simulation.open(run, RunFolder(tmp_path)) as simulation:
        assert isinstance(simulation, Simulation)
        for stage in simulation.stages:
            simulation.evaluate(after=None)
            simulation.fine_tune(stage)
            simulation.evaluate(after=stage)
        result = simulation.finish()
    assert RunFolder(tmp_path).state == simulation.state
    with Simulation.open(run, RunFolder(tmp_path), Beginning(resume=True)) as again:
        assert again == result


def test_the_public_api_is_the_main_job(tiny_run: MakeRun) -> None:
    assert cl_forget.simulate is simulate
    assert cl_forget.Run is Run
    assert set(cl_forget.__all__) <= set(dir(cl_forget))


# -- results that nobody can lose ----------------------------------------------------------------------


def one_task(tiny_run: MakeRun, **fields: Any) -> Run:
    """A run of a second or less."""
    train = {"epochs": 1, "batch_size": 12, "lr": 1e-3, **fields.pop("train", {})}
    return tiny_run(stream={"squares": {"tasks": 1}}, probes=[], train=train, **fields)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_run_is_never_written_over_unasked(tiny_run: MakeRun, tmp_path: Path) -> None:
    run, other = one_task(tiny_run), one_task(tiny_run, train={"epochs": 2})
    simulate(run, tmp_path)
    before = contents(tmp_path)
    for again in (run, other):
        with pytest.raises(UserError, match=r"holds a run already: .*--resume.*--overwrite.*--output"):
            simulate(again, tmp_path)
    with pytest.raises(UserError, match=r"other settings \(train\.epochs was 1 and is 2\).*--overwrite"):
        simulate(other, tmp_path, resume=True)
    unlike = one_task(tiny_run, mitigations=[{"ldifs": {"depths": ["block 7"]}}])
    with pytest.raises(UserError, match="block 7"):  # found out when the model is there
        simulate(unlike, tmp_path, overwrite=True)
    assert contents(tmp_path) == before
    assert simulate(other, tmp_path, overwrite=True).run["train"]["epochs"] == 2
    stamp = (tmp_path / "result.json").stat().st_mtime_ns
    simulate(other, tmp_path, resume=True, overwrite=True)  # it is this very run
    assert (tmp_path / "result.json").stat().st_mtime_ns == stamp
    assert simulate(run, tmp_path, resume=True, overwrite=True).run["train"]["epochs"] == 1


def test_a_result_without_its_state_is_not_started_over(tiny_run: MakeRun, tmp_path: Path) -> None:
    simulate(one_task(tiny_run), tmp_path)
    (tmp_path / "state.json").unlink()
    with pytest.raises(UserError, match=r"without the state\.json"):
        simulate(one_task(tiny_run), tmp_path, resume=True)
    assert (tmp_path / "result.json").exists()


def test_a_lost_result_is_made_again_from_the_checkpoints(tiny_run: MakeRun, tmp_path: Path) -> None:
    first = simulate(one_task(tiny_run), tmp_path)
    (tmp_path / "result.json").unlink()
    assert numbers(simulate(one_task(tiny_run), tmp_path, resume=True)) == numbers(first)


def test_a_run_that_cannot_begin_leaves_nothing(tiny_run: MakeRun, tmp_path: Path) -> None:
    with pytest.raises(UserError):
        simulate(one_task(tiny_run, mitigations=[{"ldifs": {"depths": ["block 7"]}}]), tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_use_is_left_alone(tiny_run: MakeRun, tmp_path: Path) -> None:
    import fcntl

    with (tmp_path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="being worked on by another process"):
            simulate(one_task(tiny_run), tmp_path)
    simulate(one_task(tiny_run), tmp_path)
    assert not (tmp_path / ".lock").exists()


def test_leftovers_of_a_killed_run_are_cleared_at_its_next_start(tiny_run: MakeRun, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    litter = [
        tmp_path / ".state.json.4194303.tmp",
        tmp_path / "checkpoints" / ".stage-1.safetensors.4194303.tmp",
    ]
    for file in litter:
        file.write_text("half")
    simulate(one_task(tiny_run), tmp_path)
    assert not list(tmp_path.rglob(".*"))


class Killed(BaseException):
    """Stands for a kill: nothing of ours is called after it but `finally`."""


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_any_commit_no_record_is_lost_or_logged_twice(
    tiny_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:

    run = tiny_run(stream={"squares": {"tasks": 2}}, probes=[], train={"epochs": 1, "batch_size": 12})
    simulate(run, tmp_path / "whole")
    commit = RunFolder.commit
    for fatal in range(1, 6):
        left = [fatal]

        def die(self: RunFolder, state: State, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] == 0 and when == "before":
                raise Killed
            commit(self, state)
            if left[0] == 0:
                raise Killed

        monkeypatch.setattr(RunFolder, "commit", die)
        with contextlib.suppress(Killed):
            simulate(run, tmp_path / f"cut-{fatal}")
        monkeypatch.setattr(RunFolder, "commit", commit)
        simulate(run, tmp_path / f"cut-{fatal}", resume=True)
        assert events_of(tmp_path / f"cut-{fatal}") == events_of(tmp_path / "whole"), fatal


def events_of(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "events.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda text: text[: len(text) // 2], "records that the run has written"),
        (lambda text: b"\x00\xff" * 40 + b"\n" + text, "line 1 is no record"),
        (lambda text: text.replace(b"{", b"[", 1), "line 1 is no record"),
        (lambda text: b"", "holds 0 of the"),
        (None, "holds 0 of the"),
    ],
)
def test_an_event_log_that_is_not_whole_is_one_line(
    tiny_run: MakeRun, tmp_path: Path, damage: Callable[[bytes], bytes] | None, words: str
) -> None:
    run = tiny_run(stream={"squares": {"tasks": 2}}, probes=[])
    with pytest.raises(KeyboardInterrupt):
        simulate(run, tmp_path, watch=StopAfter(stage=1))
    file = tmp_path / "events.jsonl"
    content = file.read_bytes()
    file.unlink()
    if damage is not None:
        file.write_bytes(damage(content))
    with pytest.raises(UserError, match=rf"events\.jsonl.*{words}.*--overwrite"):
        simulate(run, tmp_path, resume=True)
    file.write_bytes(content + b'{"stage": "squ')  # cut short by the kill: that is what a log looks like
    simulate(run, tmp_path, resume=True)
    assert [event["row"] for event in events_of(tmp_path) if "row" in event] == [0, 1, 2]


@pytest.mark.parametrize(
    "content",
    [
        b"\x00\xff\x80", b"", b"{", b"null", b"[" * 9999, b'{"key": 3}', b'{"key": "a", "events": -1}',
        b'{"key": "a", "stages": [{"file": "../../x", "sha256": ""}]}', b'{"key": "a", "rows": [1]}', None,
    ],
)  # fmt: skip
def test_a_state_that_is_not_whole_is_one_line(
    tiny_run: MakeRun, tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "state.json"
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content)
    with pytest.raises(UserError, match=r"state\.json is not whole \(.*--overwrite"):
        simulate(one_task(tiny_run), tmp_path, resume=True)


def test_other_weights_or_data_under_the_same_name_are_not_mixed(
    tiny_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tiny_run(stream={"squares": {"tasks": 2}}, probes=[])
    with pytest.raises(KeyboardInterrupt):
        simulate(run, tmp_path / "cut", watch=StopAfter(stage=1))
    finished = simulate(run, tmp_path / "whole")
    experience = worlds.experience
    with monkeypatch.context() as changed:
        changed.setattr(worlds, "experience", lambda name, seed, **more: experience(name, seed + 1, **more))
        changed.setattr("cl_forget.streams._in_memory", {})
        with pytest.raises(UserError, match="the data of squares-1, squares-2, colours are not what"):
            simulate(run, tmp_path / "cut", resume=True)
        wise = tiny_run(stream={"squares": {"tasks": 2}}, probes=[], mitigations=["wise_ft"])
        with pytest.raises(UserError, match="whose training is taken over"):
            simulate(wise, tmp_path / "taken", donor=tmp_path / "whole")
        with pytest.raises(UserError, match="other runs"):
            simulate(wise, tmp_path / "beside", alike=finished.fingerprints)
    build = worlds.tiny_clip

    def moved() -> Any:
        model = build()
        with torch.no_grad():
            next(model.parameters()).add_(1e-6)
        return model

    monkeypatch.setattr(worlds, "tiny_clip", moved)
    with pytest.raises(UserError, match="the base model's weights are not what the run in"):
        simulate(run, tmp_path / "cut", resume=True)


def test_the_threads_are_the_runs_own_whatever_the_process_uses(tiny_run: MakeRun, tmp_path: Path) -> None:
    run = one_task(tiny_run)
    seen = []
    before = torch.get_num_threads()
    for count in (1, 2):
        torch.set_num_threads(count)
        seen.append(simulate(run, tmp_path / str(count)))
        assert torch.get_num_threads() == count
    torch.set_num_threads(before)
    assert [result.environment["threads"] for result in seen] == [1, 1]
    assert numbers(seen[0]) == numbers(seen[1])
    with pytest.raises(UserError, match=r"train\.threads was 1 and is 2"):
        simulate(one_task(tiny_run, train={"threads": 2}), tmp_path / "1", resume=True)
    assert simulate(one_task(tiny_run, train={"threads": 2})).environment["threads"] == 2


@pytest.mark.parametrize("method", ["ldifs", "kd", "flow", {"zscl": {"reference": "colours"}}])
def test_what_frozen_models_cost_does_not_depend_on_the_cache(
    tiny_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: Any
) -> None:
    run = one_task(tiny_run, mitigations=[method])
    counts = []
    for cache in ("one", "one", "two"):
        monkeypatch.setenv("CL_FORGET_CACHE", str(tmp_path / cache))
        counts.append(simulate(run).rows[-1].cost.frozen_samples)
    assert counts[0] == counts[1] == counts[2] > 0


def test_an_arm_without_a_name_is_called_after_its_mitigations() -> None:
    fields = {"model": "tiny-clip", "stream": "squares"}
    assert Run(**fields).method == "full fine-tuning"
    assert Run(**fields, mitigations=["wise_ft", {"ldifs": 2.0}]).method == "ldifs + wise_ft"
    assert Run(**fields, mitigations=["wise_ft"], method="mine").method == "mine"
    (arm,) = cl_forget.Experiment(**fields, mitigations=["wise_ft", "ldifs"]).runs()
    assert arm.method == "ldifs + wise_ft"
