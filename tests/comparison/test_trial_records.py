"""Records of trials whose numbers are of another shape than their names say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cl_forget.comparison.trials import load_trial
from cl_forget.ground.errors import UserError


def test_an_entry_of_the_mitigations_names_one_method(tmp_path: Path) -> None:
    file = tmp_path / "trials" / "a" / "trial.json"
    file.parent.mkdir(parents=True)
    for entries in ([{}], [{"l2_sp": {}, "ewc": {}}], ["l2_sp"]):
        record = {"sweep": "s", "id": "a", "method": "x", "mitigations": entries, "role": "tune", "seed": 0}
        file.write_text(json.dumps({**record, "status": "finished"}))
        with pytest.raises(UserError, match="is not a trial of this version"):
            load_trial(tmp_path, "a")


@pytest.mark.parametrize(
    "numbers",
    [
        {"speciality": {}},
        {"speciality": {"digits": 0.5}},
        {"speciality_by_task": 0.5},
        {"speciality": "high"},
    ],
)
def test_numbers_by_name_stand_where_the_name_says_so(numbers: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "trials" / "a" / "trial.json"
    file.parent.mkdir(parents=True)
    record = {
        "sweep": "s", "id": "a", "method": "L2-SP", "mitigations": [{"l2_sp": {"strength": 1.0}}], "role": "tune",
        "seed": 0, "status": "finished", "test": {"speciality": 0.5, "speciality_by_task": {"digits": 0.5}},
    }  # fmt: skip
    file.write_text(json.dumps(record))
    assert load_trial(tmp_path, "a") is not None
    file.write_text(json.dumps({**record, "test": numbers}))
    with pytest.raises(UserError, match="is not a trial of this version") as refused:
        load_trial(tmp_path, "a")
    assert "\n" not in str(refused.value)
