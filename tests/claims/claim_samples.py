"""A world of the tiny model, and records made by hand for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from cl_forget.claims.planning import Plan
from cl_forget.comparison.trials import Trial

WORLD: dict[str, Any] = {
    "model": "tiny-clip",
    "stream": ["squares"],
    "suites": ["colours"],
    "control": False,
    "methods": {
        "full fine-tuning": {"mitigations": [], "space": {"train.lr": [1e-4, 3e-4, 1e-3, 3e-3]}},
        "WiSE-FT": {
            "mitigations": ["wise_ft"],
            "space": {"train.lr": [3e-4, 1e-3], "wise_ft.alpha": [0.3, 0.6]},
        },
        "L2-SP": {
            "mitigations": ["l2_sp"],
            "space": {"train.lr": [3e-4, 1e-3], "l2_sp.strength": [0.1, 1.0]},
        },
        "linear probe": {"mitigations": ["linear_probe"], "space": {"train.lr": [1e-3]}},
    },
    "train": {"epochs": 1, "batch_size": 8, "head": "probe"},
    "seeds": [0, 1, 2, 3, 4],
    "tune_on": {"stream": ["other-colours"], "seeds": [9]},
    "report_on": {"stream": ["squares"]},
}

FORGETS: dict[str, Any] = {
    "name": "forgets",
    "sentence": "full fine-tuning loses generality",
    "source": "table 1",
    "measure": "generality",
    "more": "pre-trained",
    "less": "full fine-tuning",
    "margin": 0.02,
    "worlds": ["tiny"],
}
KEEPS = {**FORGETS, "name": "keeps", "more": "WiSE-FT", "less": ["full fine-tuning", "L2-SP"]}


def write(folder: Path, *claims: dict[str, Any], world: dict[str, Any] | None = None, **fields: Any) -> Path:
    """A claims file and its world; returns the former."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "embedded.yaml").write_text(yaml.safe_dump(world or WORLD))
    file = folder / "claims.yaml"
    whole = {
        "paper": "A paper",
        "worlds": {"tiny": {"sweep": "embedded.yaml"}},
        "claims": list(claims),
        **fields,
    }
    file.write_text(yaml.safe_dump(whole))
    return file


def measured(speciality: float, generality: float, **more: float) -> dict[str, Any]:
    """Metrics of a trial."""
    return {
        "speciality": speciality,
        "speciality_pretrained": 0.2,
        "generality": generality,
        "generality_pretrained": 0.5,
        "retention": generality / 0.5,
        **more,
    }


def finished(plan: Plan, numbers: Any) -> dict[str, Trial]:
    """Every trial of a plan, finished: `numbers(trial)` gives its metrics, validation and test alike."""
    found: dict[str, Trial] = {}

    def add(several: Any) -> None:
        for one in several:
            values = numbers(one.trial)
            state = {"status": "finished", "validation": values, "test": values}
            found[one.trial.id] = one.trial.model_copy(update=state)

    add(plan.tuning())
    add(plan.reporting(list(found.values())))
    return found
