"""The real client against a small server: what arrives, and what a run does when the server does not."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from wandb_files import OfflineRun, offline_files
from wandb_server import ENTITY, KEY, Server

from cl_forget.comparison.records import Result
from cl_forget.config.run import Run
from cl_forget.run.simulate import simulate
from cl_forget.tracking.login import entities, problem
from cl_forget.tracking.weights_and_biases import WandbTracker

MakeRun = Callable[..., Run]
PATIENT = 60.0
"""A timeout that a busy machine keeps."""
SLACK = 5.0
"""What a busy machine may add to a wait, seconds."""
STARTING = 40.0
"""What starting W&B's process may take on a busy machine, seconds."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with Server() as server:
        log_in(monkeypatch, server.url)
        yield server
        server.delay, server.status = 0.0, 200
        for thread in threading.enumerate():
            if thread.name == "wandb":
                thread.join(20)


def log_in(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Environment of a user of that server; wandb reads it once a process, so its own session starts anew."""
    import wandb

    wandb.teardown()
    monkeypatch.setenv("WANDB_BASE_URL", url)
    monkeypatch.setenv("WANDB_API_KEY", KEY)


@pytest.fixture
def short(tiny_run: MakeRun) -> MakeRun:
    """One task, two steps, followed online."""

    def make(**track: Any) -> Run:
        return tiny_run(
            stream={"squares": {"tasks": 1}},
            train={"epochs": 1, "batch_size": 12, "lr": 1e-3},
            probes=[],
            track={"wandb": "online", "project": "forgetting", "timeout": PATIENT, "group": "tiny", **track},
        )

    return make


def simulated(run: Run, folder: Path, caplog: pytest.LogCaptureFixture) -> tuple[Result, float, list[str]]:
    """The result, how long the run waited for W&B, and the warnings it gave about it."""
    waited = [0.0]
    close = WandbTracker._close

    def timed(self: WandbTracker, exit_code: int) -> None:
        started = time.monotonic()
        close(self, exit_code)
        waited[0] += time.monotonic() - started

    caplog.clear()
    with caplog.at_level(logging.INFO, "cl_forget"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(WandbTracker, "_close", timed)
        result = simulate(run, folder)
    ours = [record for record in caplog.records if record.name.startswith("cl_forget")]
    warnings = [record.getMessage() for record in ours if record.levelno >= logging.WARNING]
    return result, waited[0], warnings


def online_files(folder: Path) -> list[Path]:
    return sorted((folder / "wandb").glob("run-*/*.wandb"))


def test_everything_arrives_and_the_terminal_links_to_it(
    short: MakeRun, server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    result, _, warnings = simulated(short(), tmp_path, caplog)
    assert warnings == []
    (run,) = server.runs.values()
    assert f"W&B: {server.url}/{ENTITY}/forgetting/runs/{run.name}" in caplog.text
    assert (run.project, run.group, run.job_type) == ("forgetting", "tiny", "run")
    assert run.complete and run.exit_code == 0
    assert run.summary["test"] == result.metrics["test"]
    assert run.config["train"] == result.run["train"]
    rows = [line for line in run.history if "cost/steps" in line]
    assert [line["accuracy/squares-1"] for line in rows] == [
        row.tasks["squares-1"].test.accuracy for row in result.rows
    ]
    assert [line["train/step"] for line in run.history if "train/loss" in line] == [1, 2]
    assert any(name.startswith("media/table/tables/accuracy_test") for name in run.uploads)
    assert any(name.startswith("media/images/pictures/tradeoff") for name in run.uploads)


def test_a_resumed_run_continues_online(
    short: MakeRun, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cl_forget.run.simulation import Simulation

    evaluate = Simulation.evaluate

    def stop_after_training(self: Simulation, after: Any) -> None:
        if after is not None:
            raise KeyboardInterrupt
        evaluate(self, after)

    monkeypatch.setattr(Simulation, "evaluate", stop_after_training)
    with pytest.raises(KeyboardInterrupt):
        simulate(short(), tmp_path)
    monkeypatch.setattr(Simulation, "evaluate", evaluate)
    (run,) = server.runs.values()
    assert run.exit_code == 1 and len(run.history) == 3
    result = simulate(short(), tmp_path, resume=True)
    assert list(server.runs.values()) == [run], "no second run"
    assert run.exit_code == 0
    assert [line["_step"] for line in run.history] == list(range(1, 8)), "two records more of pictures"
    assert run.summary["test"] == result.metrics["test"]


def test_server_down_at_the_start(
    short: MakeRun, server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.stop()
    result, _, warnings = simulated(short(), tmp_path, caplog)
    assert len(warnings) == 1 and "cannot be reached" in warnings[0] and "wandb sync" in warnings[0]
    (file,) = offline_files(tmp_path)
    assert str(file.parent) in warnings[0]
    assert OfflineRun(file).summary["test"] == result.metrics["test"]


def test_server_that_hangs_from_the_start(
    short: MakeRun, server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.delay = 60
    result, seconds, warnings = simulated(short(timeout=1.0), tmp_path, caplog)
    assert seconds < 1.0 + STARTING
    assert len(warnings) == 1 and "does not answer within 1 s" in warnings[0]
    assert OfflineRun(*offline_files(tmp_path)).summary["test"] == result.metrics["test"]


@pytest.mark.parametrize("what", ["down", "hangs", "errors", "expired key"])
def test_server_that_fails_in_the_middle(
    short: MakeRun,
    server: Server,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
) -> None:
    from cl_forget.run.simulation import Simulation

    train = Simulation.fine_tune

    def break_server(self: Simulation, stage: Any) -> None:
        wait_for(lambda: self.tracker.url is not None, "W&B to have started")
        if what == "down":
            server.stop()
        server.delay = 60.0 if what == "hangs" else 0.0
        server.status = {"errors": 500, "expired key": 401}.get(what, 200)
        train(self, stage)

    monkeypatch.setattr(Simulation, "fine_tune", break_server)
    timeout = PATIENT if what == "expired key" else 2.0  # a refusal is an answer: it comes at once
    result, seconds, warnings = simulated(short(timeout=timeout), tmp_path, caplog)
    assert seconds < timeout + SLACK
    assert len(warnings) == 1 and "Nothing is lost" in warnings[0] and "wandb sync" in warnings[0]
    assert ("wandb login" in warnings[0]) == (what == "expired key")
    (file,) = online_files(tmp_path)
    assert str(file.parent) in warnings[0]
    # W&B's own log on this machine is complete, and `wandb sync` reads it.
    wait_for(lambda: OfflineRun(file).exit_code is not None, "the end of the log")
    assert OfflineRun(file).summary["test"] == result.metrics["test"]
    assert len(OfflineRun(file).history) == 7


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + STARTING
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"waited in vain for {what}")
        time.sleep(0.05)


def test_an_expired_key_is_named_once_and_the_run_kept_offline(
    short: MakeRun, server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.status = 401
    _, _, warnings = simulated(short(), tmp_path, caplog)
    assert len(warnings) == 1 and "wandb login --relogin" in warnings[0]
    assert len(offline_files(tmp_path)) == 1


def test_a_wrong_entity_is_named_once_and_the_run_kept_offline(
    short: MakeRun, server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, _, warnings = simulated(short(entity="nobody"), tmp_path, caplog)
    assert len(warnings) == 1
    assert f"entity 'nobody' is not one of yours ({ENTITY}, someone): set track.entity" in warnings[0]
    assert len(offline_files(tmp_path)) == 1


def test_online_asked_for_without_a_login(
    short: MakeRun, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    _, _, warnings = simulated(short(), tmp_path, caplog)
    assert len(warnings) == 1 and "wandb login" in warnings[0]
    assert len(offline_files(tmp_path)) == 1


def test_a_run_never_waits_for_the_server_before_its_end(
    short: MakeRun, server: Server, tmp_path: Path
) -> None:
    from cl_forget.run.simulation import Simulation
    from cl_forget.training.checkpoints import RunFolder

    server.hangs_on = {"Viewer"}
    with Simulation.open(short(), RunFolder(tmp_path)) as simulation:
        simulation.evaluate(after=None)
        simulation.fine_tune(simulation.stages[0])
        assert not server.runs, "trained, and the server has not said a word"
        server.hangs_on = set()
        simulation.evaluate(after=simulation.stages[0])
        simulation.finish()
    (run,) = server.runs.values()
    assert len(run.history) == 7, "what was measured meanwhile arrives"


def test_a_server_that_answers_and_then_hangs_costs_the_timeout_and_no_number(
    short: MakeRun, server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.hangs_on = {"RunResumeStatus"}
    result, seconds, warnings = simulated(short(timeout=1.0), tmp_path, caplog)
    assert seconds < 1.0 + STARTING
    assert len(warnings) == 1 and "did not answer within 1 s" in warnings[0]
    assert "wandb sync --id" in warnings[0]
    assert OfflineRun(*offline_files(tmp_path)).summary["test"] == result.metrics["test"]
    server.hangs_on = set()


# -- asking the server ----------------------------------------------------------------------------------


def test_problems_are_one_line_with_the_cure(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    assert problem(3.0) is None
    assert entities(3.0) == {ENTITY, "someone"}
    server.status = 403
    assert "wandb login --relogin" in str(problem(3.0))
    server.status = 503
    assert "503" in str(entities(3.0))
    server.status, server.delay = 200, 5.0
    assert "does not answer within 0.2 s" in str(problem(0.2))
    server.stop()
    assert "cannot be reached" in str(problem(3.0))
    monkeypatch.delenv("WANDB_API_KEY")
    assert "wandb login" in str(problem(3.0))
