"""Who is taken for hanging: signs of life by the listener's own clock."""

from __future__ import annotations

import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from cl_forget.ground import clock
from cl_forget.sweeps.hanging import Hanging, Signs
from cl_forget.sweeps.heartbeat import Beating, heartbeat


def say(folder: Path, process: str, **fields: Any) -> None:
    (folder / ".progress").mkdir(exist_ok=True)
    with (folder / ".progress" / f"{process}.jsonl").open("a") as file:
        file.write(json.dumps(fields) + "\n")


def test_a_sign_is_a_new_line_whatever_time_it_tells(tmp_path: Path) -> None:
    now = [0.0]
    signs = Signs(tmp_path, lambda: now[0])
    say(tmp_path, "a", trial="t", time=1e12, step=1)
    signs.look()
    now[0] = 50.0
    signs.look()
    assert signs.at == {"t": 0.0}, "a line that was there before is none"
    say(tmp_path, "b", trial="t", time=-1e12, step=1)
    signs.look()
    now[0] = 60.0
    signs.look()
    assert signs.at == {"t": 50.0}, "the last line of a process that is gone is none either"


class Source:
    units = 0

    def group(self, config: dict[str, Any]) -> list[Any]:
        return [SimpleNamespace(trial=SimpleNamespace(id=name)) for name in config["names"]]


def test_who_is_silent_for_too_long_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, killed, said = [0.0], [], list[str]()
    monkeypatch.setattr(ray, "kill", killed.append)
    watch = Hanging(Source(), tmp_path, said.append, silent=100.0, clock=lambda: now[0])  # type: ignore[arg-type]

    def tune_trial(name: str, actor: str | None, status: str = "RUNNING") -> Any:
        state = SimpleNamespace(ray_actor=actor)
        return SimpleNamespace(trial_id=name, status=status, config={"names": [name]}, temporary_state=state)

    lives, hangs, waits = (
        tune_trial("lives", "1"),
        tune_trial("hangs", "2"),
        tune_trial("waits", None, "PENDING"),
    )
    for second in range(0, 205, 5):
        now[0] = float(second)
        say(tmp_path, "1", trial="lives", step=second)
        if second < 50:
            say(tmp_path, "2", trial="hangs", step=second)
        watch.on_step_end(0, [lives, hangs, waits])
        if killed and hangs.temporary_state.ray_actor == "2":
            assert second == 145 and killed == ["2"]
            hangs.temporary_state.ray_actor = "3"  # started anew, it has its own time to begin
    assert killed == ["2"]
    assert said == ["a worker has given no sign of life for 2 min and is ended: hangs"]


def test_a_clock_hours_away_is_no_matter_where_the_storage_has_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    true = time.time
    monkeypatch.setattr(clock, "_ahead", 0.0)
    monkeypatch.setattr(time, "time", lambda: true() + 36_000)
    with Beating(tmp_path):
        sign = heartbeat(tmp_path)
        assert sign is not None and sign.time > true() + 35_000, (
            "by its own clock before it knows the storage's"
        )
    clock.follow(tmp_path)
    assert abs(clock.now() - true()) < 2 * clock.SLACK and not list(tmp_path.iterdir())
    with Beating(tmp_path):
        sign = heartbeat(tmp_path)
        assert sign is not None and sign.state(true()) == "alive"
    monkeypatch.setattr(time, "time", true)
    clock.follow(tmp_path)
    assert clock._ahead == 0.0, "of one's own disk the clock is one's own, to the bit"
