"""Write an experiment from a sweep: every arm with the learning rate and the strengths that the sweep chose.

    python experiments/choose.py runs/quickstart-sweep experiments/quickstart.yaml

The choice reads validation data of the sweep's tuning stream and seeds alone; the experiment has its `stream` and
`seeds`. Comments at the top of an existing file are kept.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import yaml

from cl_forget.comparison.selection import default_protocol, select
from cl_forget.comparison.settings import settings_of
from cl_forget.comparison.trials import load_trials
from cl_forget.config.sweep import load_sweep


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("sweep", type=Path)
    parser.add_argument("experiment", type=Path)
    parser.add_argument("--probes", nargs="*", default=[])
    given = parser.parse_args()
    fields = experiment_from(given.sweep)
    if given.probes:
        fields["probes"] = given.probes
    head = []
    if given.experiment.exists():
        for line in given.experiment.read_text().splitlines():
            if not line.startswith("#"):
                break
            head.append(line)
    text = yaml.safe_dump(fields, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None)
    given.experiment.write_text("\n".join([*head, text]))


def experiment_from(folder: Path) -> dict[str, Any]:
    """The fields of the experiment."""
    asked = load_sweep(folder / "sweep.yaml")
    tuned = [trial for trial in load_trials(folder) if trial.role == "tune"]
    settings = settings_of(tuned)
    choices = select(settings, asked.protocol or default_protocol(tuned))
    methods: dict[str, Any] = {}
    for arm in asked.arms:
        if arm not in choices:
            raise SystemExit(f"no setting of '{arm}' was finished: the sweep is not over.")
        setting = next(s for s in settings[arm] if s.key == choices[arm].key)
        trial = next(iter(setting.trials.values()))
        train = {name.partition(".")[2]: v for name, v in trial.config.items() if name.startswith("train.")}
        methods[arm] = {"mitigations": trial.mitigations, "train": train}
    return {
        "model": asked.model,
        "stream": asked.stream,
        "suites": asked.suites,
        "methods": methods,
        "train": asked.train.model_dump(mode="json", exclude_defaults=True),
        "seeds": asked.seeds,
    }


if __name__ == "__main__":
    main()
