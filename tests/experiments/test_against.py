"""Differences beside the tables, on two arms worked by hand."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pytest

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
sys.path.insert(0, str(EXPERIMENTS))


def test_arms_are_paired_by_seed(tmp_path, monkeypatch, capsys):
    import against

    # Differences of 4 and 6 points: 5, and t(1) = 12.706 times a standard error of 1.
    speciality = {"kd": (0.54, 0.66), "l2-sp": (0.50, 0.60)}
    for arm, values in speciality.items():
        for seed, value in enumerate(values):
            folder = tmp_path / f"{arm}-seed{seed}"
            shutil.copytree(EXPERIMENTS / "results" / "quickstart" / folder.name, folder)
            result = json.loads((folder / "result.json").read_text())
            result["metrics"]["test"] |= {"speciality": value, "generality": 0.5}
            (folder / "result.json").write_text(json.dumps(result))
    monkeypatch.setattr(sys, "argv", ["against.py", str(tmp_path), "L2-SP"])
    against.main()
    assert capsys.readouterr().out.splitlines() == [
        "KD: speciality 60.0 (+5.0 ± 12.7); generality 50.0 (+0.0 ± 0.0)",
        "L2-SP: speciality 55.0 (+0.0 ± 0.0); generality 50.0 (+0.0 ± 0.0)",
    ]
    other = tmp_path / "other"
    shutil.copytree(tmp_path / "kd-seed0", other / "kd-seed0")
    lost = json.loads((tmp_path / "l2-sp-seed0" / "result.json").read_text())["metrics"]["test"][
        "generality_drop"
    ]
    kept = json.loads((other / "kd-seed0" / "result.json").read_text())
    kept["metrics"]["test"]["generality_drop"] = lost - 0.25
    (other / "kd-seed0" / "result.json").write_text(json.dumps(kept))
    monkeypatch.setattr(sys, "argv", ["against.py", str(tmp_path), "L2-SP", "--of", str(other)])
    against.main()
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("KD: speciality 54.0 (+4.0)") and line.endswith(f"{100 * lost - 25:.1f} (-25.0)")
    monkeypatch.setattr(sys, "argv", ["against.py", str(tmp_path), "EWC"])
    with pytest.raises(SystemExit, match="no arm 'EWC'; there are: KD; L2-SP"):
        against.main()
