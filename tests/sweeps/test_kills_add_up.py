"""The kills of several calls are one table; the calls themselves take a cluster and hours."""

from __future__ import annotations

import json
import time
from pathlib import Path

from sweep_durability import Kills, figures


def kill(mode: str, what: str) -> dict[str, object]:
    return {"mode": mode, "what": what, "finished": 1}


def test_what_earlier_calls_found_is_kept_and_counted(tmp_path: Path) -> None:
    known = {
        "kills": [
            kill("curve", "driver"),
            kill("curve", "worker"),
            kill("search", "raylet"),
            kill("search", "head"),
        ],
        "sweeps": [
            {"mode": "curve", "known": {}, "lost": 0, "repeated": 1, "kills": 2, "trials": 16, "same": True}
        ],
        "open": {"mode": "search", "known": {"a": 5}, "lost": 0, "repeated": 0, "kills": 2},
    }
    (tmp_path / "kills.json").write_text(json.dumps(known))
    found = Kills(tmp_path, kills=300, seed=0, length=20.0, end=time.monotonic())
    found.run()  # without time for anything
    lines = figures(found).splitlines()
    assert lines[0] == "4 of 300 kills; 296 are left."
    assert lines[-4:] == [
        "| curve | 1 | 2 | 1, 1, 0, 0, 0 | 0 | 1 | 1 of 1 |",
        "| search | 0 | 2 | 0, 0, 1, 1, 0 | 0 | 0 | 0 of 0 |",
        "| asha | 0 | 0 | 0, 0, 0, 0, 0 | 0 | 0 | 0 of 0 |",
        "| mo-asha | 0 | 0 | 0, 0, 0, 0, 0 | 0 | 0 | 0 of 0 |",
    ]
    assert json.loads((tmp_path / "kills.json").read_text()) == known


def test_all_of_them_need_no_further_call(tmp_path: Path) -> None:
    (tmp_path / "kills.json").write_text(json.dumps({"kills": [kill("asha", "node")]}))
    found = Kills(tmp_path, kills=1, seed=0, length=20.0, end=time.monotonic() + 600)
    found.run()
    assert figures(found).startswith("1 of 1 kills.\n")
