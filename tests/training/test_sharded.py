"""Two workers that share the weights take the steps that one process takes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import tiny  # noqa: F401  registers the tiny model and streams
import torch
import torch.distributed
import torch.multiprocessing

import cl_forget
from cl_forget.comparison.records import Result
from cl_forget.config.run import Run
from cl_forget.ground.errors import UserError
from cl_forget.run.simulate import simulate
from cl_forget.run.simulation import Beginning, Simulation, simulate_with
from cl_forget.training.checkpoints import RunFolder
from cl_forget.training.workers import ShardedWorkers

# Many methods in as few runs as compatibility allows; equality of a run is equality for every method in it. That a
# new one is laid out right is what the conformance kit checks, with a single worker.
CHAINS: dict[str, list[Any]] = {
    "plain": [],
    "penalties": [
        "l1_sp",
        {"l2_sp": 0.1},
        "ewc",
        "mas",
        "ldifs",
        "kd",
        "lfl",
        "flow",
        "er",
        "sam",
        "layer_decay",
        {"freeze": 1},
        "wise_ft",
        "lines",
        "task_arithmetic",
    ],
    "outputs": [
        "lora",
        "kl_to_base",
        "lwf",
        "derpp",
        "eaft",
        "asam",
        "low_lr",
        {"fewer_steps": 0.75},
        "early_stopping",
        "model_soup",
    ],
    "stages": ["lp_ft", "looksam", "restart", "hma"],
    "joint": ["joint", "frozen_trunk"],
    "probe": ["linear_probe"],
    "path": ["si", {"mofo": 0.3}, "weight_decay", "er", "star"],
    "compared": ["fda", "talr"],
    "captions": ["flyp", "si", "mofo", "sam"],
    "text head": ["flyp_ce", {"zscl": {"reference": "colours", "average_every": 2, "batch_size": 4}}],
    "o-lora": [{"o_lora": {"rank": 3}}],
    "clora": [{"clora": {"rank": 3}}],
    "lora-null": [{"lora_null": {"rank": 3, "placement": "attention"}}],
}
TOGETHER = {"batch_size": 10, "micro_batch_size": 5}
"""Of chains that compare samples: micro-batches of 3 + 2 samples, and of a single one, which leaves a worker idle."""
OPTIONS = {"compared": TOGETHER, "captions": TOGETHER}
STEPS = {"probe": 0, "outputs": 8, "compared": 6, "captions": 6}
"""Where it is not 10: none, three quarters, and batches twice as large."""
TRAINING = {
    "epochs": 1,
    "batch_size": 5,
    "micro_batch_size": 1,
    "lr": 1e-3,
}  # 21 samples: the last batch has one


def run_of(mitigations: list[Any], **train: Any) -> Run:
    return Run.parse(
        {
            "model": "tiny-clip-float64",
            "stream": {"squares": {"tasks": 2, "per_class": 7}},
            "suites": ["colours"],
            "train": {**TRAINING, **train},
            "evaluate": {"curves": False, "export": False},
            "mitigations": mitigations,
        }
    )


class Killed(Exception):
    """Stands for a worker that dies inside a task."""


def work(rank: int, port: int, folder: str) -> None:
    """One of two processes: every chain, then one of them killed inside its second task and resumed."""
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), CL_FORGET_CACHE=f"{folder}/cache")
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
    workers = ShardedWorkers(torch.device("cpu"))
    for name, chain in CHAINS.items():
        run = run_of(chain, **OPTIONS.get(name, {}))
        simulate_with(run, RunFolder(Path(folder) / name), Beginning(workers=workers))
    commit, committed = Simulation._commit_step, []

    def die(self: Simulation, task: Any, done: int, groups: Any) -> None:
        commit(self, task, done, groups)
        committed.append((task.index, done))
        if committed[-1] == (1, 3):
            raise Killed

    Simulation._commit_step = die  # type: ignore[method-assign]
    run, killed = run_of(CHAINS["penalties"], checkpoint_seconds=1e-9), RunFolder(Path(folder) / "killed")
    with pytest.raises(Killed):
        simulate_with(run, killed, Beginning(workers=workers))
    Simulation._commit_step = commit  # type: ignore[method-assign]
    simulate_with(run, killed, Beginning(resume=True, workers=workers))
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder in which two workers ran every chain."""
    folder = tmp_path_factory.mktemp("sharded")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(work, (port, str(folder)), nprocs=2)
    return folder


def losses(folder: Path) -> list[float]:
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    return [event["loss"] for event in events if "loss" in event]


@pytest.mark.parametrize("name", CHAINS)
def test_two_workers_give_the_losses_and_the_accuracies_of_one(
    name: str, sharded: Path, tmp_path: Path
) -> None:
    alone = simulate(run_of(CHAINS[name], **OPTIONS.get(name, {})), tmp_path)
    together = Result.load(sharded / name)
    assert len(losses(tmp_path)) == STEPS.get(name, 10)
    assert losses(sharded / name) == pytest.approx(losses(tmp_path), abs=1e-6, rel=0)
    for one, two in zip(alone.rows, together.rows, strict=True):
        assert {k: v.test.accuracy for k, v in one.tasks.items()} == {
            k: v.test.accuracy for k, v in two.tasks.items()
        }
        counted = ("steps", "samples_seen", "trainable_parameters")
        assert [getattr(one.cost, k) for k in counted] == [getattr(two.cost, k) for k in counted]
    assert alone.rows[-1].drift.weight_distance["all"] == pytest.approx(
        together.rows[-1].drift.weight_distance["all"], abs=1e-7
    )


def test_killed_inside_a_task_and_resumed_gives_the_same_bits(sharded: Path) -> None:
    assert losses(sharded / "killed") == losses(sharded / "penalties")
    ended, uninterrupted = Result.load(sharded / "killed"), Result.load(sharded / "penalties")
    assert [row.tasks for row in ended.rows] == [row.tasks for row in uninterrupted.rows]


# Refusals


@pytest.mark.parametrize(
    ("mitigations", "reason"),
    [
        (["sdft"], "decode answers of different lengths"),
        (["osf"], "would lie whole on every worker"),
        ([{"avalanche": {"strategy": "Naive"}}], "a training loop of its own"),
    ],
)
def test_what_does_not_work_sharded_is_refused(mitigations: list[Any], reason: str, tmp_path: Path) -> None:
    run = run_of(mitigations, strategy="fsdp", workers=2)
    with pytest.raises(UserError, match=rf"fsdp: .*{reason}.*; use train.strategy: single"):
        simulate(run, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_augmentation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train.augment cannot be used with train.strategy: fsdp"):
        simulate(run_of([], strategy="fsdp", workers=2, augment="shift"), tmp_path / "run")


def test_a_cluster_that_is_gone_is_said_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    with pytest.raises(UserError, match=r"no Ray cluster at '127.0.0.1:9' .*or unset RAY_ADDRESS\.$"):
        simulate(run_of([], strategy="fsdp", workers=2), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_workers_without_a_strategy_are_refused() -> None:
    with pytest.raises(UserError, match="2 workers need `strategy: fsdp`"):
        run_of([], workers=2)


def test_batch_norm_is_refused() -> None:
    from cl_forget.training.workers import refuse_model

    with pytest.raises(UserError, match="cannot train BatchNorm"):
        refuse_model(torch.nn.BatchNorm1d(3))
    refuse_model(torch.nn.BatchNorm1d(3), "frozen")


def test_a_single_worker_keeps_the_keys_of_old_runs() -> None:
    assert "strategy" not in json.dumps(
        cl_forget.config.run.without_bookkeeping(run_of([]).model_dump(mode="json"))
    )
    assert run_of([]).key() != run_of([], strategy="fsdp", workers=2).key()


@pytest.mark.slow
def test_the_command_trains_through_ray_train_with_the_losses_of_one_worker(tmp_path: Path) -> None:
    fields = ["train.epochs=1", "train.batch_size=250", "evaluate.limit=10", "evaluate.export=false"]
    (tmp_path / "mine.yaml").write_text(
        "model: emoji-clip\nstream: [digits]\nsuites: [emoji]\nmitigations: [{l2_sp: 0.01}]\n"
    )
    for name, more in (("one", []), ("two", ["train.strategy=fsdp", "train.workers=2"])):
        command = ["-m", "cl_forget.cli", "run", "mine.yaml", *fields, *more, "--output", name]
        # Ray gives its workers a low priority; on a busy machine they would wait for minutes.
        subprocess.run(
            [sys.executable, *command],
            cwd=tmp_path,
            check=True,
            timeout=300,
            capture_output=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "RAY_worker_niceness": "0"},
        )
    one, two = tmp_path / "one" / "l2-sp-seed0", tmp_path / "two" / "l2-sp-seed0"
    assert len(losses(one)) == 4
    assert losses(two) == pytest.approx(losses(one), abs=1e-5, rel=0)
    assert not (two / "workers").exists()
