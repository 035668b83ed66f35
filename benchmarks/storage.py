"""How a sweep's folder behaves that holds 100,000 finished trials.

    python benchmarks/storage.py generate runs/big      the folder: a plan, and a made-up record of each trial
    python benchmarks/storage.py measure runs/big       status, plan of a resume, tables, report; seconds and memory,
                                                        of the folder, which is generated if there is none

Each measure is a process of its own, imports included, and is taken twice: first without the files that are made of
the records (`cl_forget.comparison.trial_files`), then with them. The records are as large as real ones, and the run
folders hold nothing else, as none of the measured commands opens more.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

STRENGTHS = [float(f"{value:.3g}") for value in np.logspace(-3, 1, 20)]
SHARES = [float(f"{value:.3g}") for value in np.linspace(0.05, 0.95, 19)]
RATES = [3e-5, 1e-4, 3e-4, 1e-3, 3e-3]

SWEEP: dict[str, Any] = {
    "name": "big",
    "model": "emoji-clip",
    "stream": ["braille", "colours", "counting"],
    "suites": ["emoji", "emoji-unseen-styles"],
    "methods": {
        "L2-SP": ["l2_sp"],
        "KD": ["kd"],
        "LDIFS": ["ldifs"],
        "EWC": ["ewc"],
        "SAM": ["sam"],
        "WiSE-FT": ["wise_ft"],
        "LDIFS + WiSE-FT": ["ldifs", "wise_ft"],
    },
    "space": {
        "train.lr": RATES,
        "l2_sp.strength": STRENGTHS,
        "kd.strength": STRENGTHS,
        "ldifs.strength": [float(f"{1000 * value:.3g}") for value in STRENGTHS[::2]],
        "ewc.strength": [float(f"{1000 * value:.3g}") for value in STRENGTHS],
        "sam.rho": [0.02, 0.05, 0.1, 0.2, 0.5],
        "wise_ft.alpha": SHARES,
    },
    "train": {"epochs": 10, "batch_size": 32},
}


def generate(folder: Path, trials: int) -> None:
    """A sweep of that many trials, every one of them over: one in fifty has diverged."""
    from dashboard import _metrics  # made-up metrics of the same kind

    from cl_forget.comparison.trials import Attempt
    from cl_forget.config.sweep import Sweep
    from cl_forget.ground.records import Cost, Fingerprints
    from cl_forget.sweeps.folder import new_folder
    from cl_forget.sweeps.planning import plan_grid, saved, share

    settings = len(plan_grid(Sweep(**SWEEP)))
    asked = Sweep(**{**SWEEP, "seeds": list(range(math.ceil(trials / settings)))})
    state = new_folder(folder, asked)
    plan = plan_grid(asked)
    share(plan)
    random = np.random.default_rng(0)
    names = [*SWEEP["stream"], *SWEEP["suites"]]
    prints = Fingerprints(model=_digest("model"), data={name: _digest(name) for name in names})
    clock = state.started = 1.7e9
    for one in plan[:trials]:
        pull = random.random()
        metrics = _metrics(random, 1 - pull**2, 0.25 + 0.75 * (1 - (1 - pull) ** 2))
        seconds, clock = 30 + random.normal(), clock + 1
        cost = Cost(
            steps=300, samples_seen=9600, forward_samples=9600, backward_samples=9600, train_seconds=seconds
        )
        done = {
            "status": "finished", "validation": metrics, "test": metrics, "cost": cost, "fingerprints": prints,
            "errors": dict.fromkeys(("speciality", "generality", "bwt"), 0.01),
        }  # fmt: skip
        if random.random() < 0.02:
            done = {"status": "diverged", "reason": f"the loss was not finite at step {random.integers(300)}"}
        worker = f"{int(clock) % 64:04x}-{4000 + int(clock) % 64}-{int(clock) % 64:04x}"
        done["attempts"] = [Attempt(worker=worker, started=clock, ended=clock + seconds)]
        trial = one.trial.model_copy(
            update={**done, "folder": f"trials/{one.trial.id}", "seconds": seconds, "stages": 3}
        )
        place = folder / "trials" / trial.id
        place.mkdir()
        # Without waiting for the disk, which would take an hour.
        (place / "trial.json").write_text(trial.model_dump_json(indent=1))
    state.planned, state.saved, state.finished = trials, saved(plan[:trials]), trials == len(plan)
    state.save(folder)
    print(f"{trials:,} trials of {settings:,} settings in {folder}")


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:32]


# What is measured, each in a process of its own


def status(folder: Path) -> None:
    """`cl-forget sweep status`."""
    from typer.testing import CliRunner

    from cl_forget.cli.app import app

    found = CliRunner().invoke(app, ["sweep", "status", str(folder)])
    assert "trials" in found.output, found.output


def plan(folder: Path) -> None:
    """What a resumed sweep does before its first trial: the plan, what is shared, and what is left of it."""
    from cl_forget.config.sweep import Sweep, load_sweep
    from cl_forget.sweeps.cluster import Resources
    from cl_forget.sweeps.folder import load_state
    from cl_forget.sweeps.planning import plan_grid
    from cl_forget.sweeps.runner import Driver

    asked = Sweep(**{**SWEEP, "seeds": load_sweep(folder / "sweep.yaml").seeds})
    driver = Driver(asked, folder, load_state(folder), Resources(), lambda line: None, jobs=1)
    print(f"{len(driver.left_of(plan_grid(asked))):,} groups are left", end="; ")


def tables(folder: Path) -> None:
    """What is written when a sweep ends."""
    from cl_forget.comparison.analysis import sweep_summary
    from cl_forget.comparison.trial_files import Records
    from cl_forget.comparison.trials import write_table
    from cl_forget.sweeps.tables import write_summary

    trials = Records(folder).load()
    write_table(trials, folder)
    write_summary(sweep_summary(trials), folder)


def report(folder: Path) -> None:
    """`cl-forget report`."""
    from cl_forget.reporting import specify_folders, write_report

    page = write_report(specify_folders([folder]), folder).page
    print(f"{page.stat().st_size / 2**20:.1f} MiB", end="; ")


MEASURES: dict[str, Callable[[Path], None]] = {
    "status": status,
    "plan": plan,
    "tables": tables,
    "report": report,
}


def measure(folder: Path, names: list[str]) -> None:
    """Seconds and memory of each, without the files that are made of the records and with them."""
    from cl_forget.comparison.trial_files import INDEX, SETTLED, TEXTS

    print("| what | first look | second | its memory |\n|---|--:|--:|--:|")
    time.sleep(SETTLED / 1e9)  # a record of this moment is not indexed
    for name in names:
        for made in (INDEX, TEXTS):
            (folder / made).unlink(missing_ok=True)
        without, with_it = (_in_a_process(name, folder) for _ in range(2))
        said = f" ({with_it[2]})" if with_it[2] else ""
        print(
            f"| {name}{said} | {without[0]:.1f} s | {with_it[0]:.1f} s | {with_it[1]:,.0f} MiB |", flush=True
        )
    print(f"\nload of the machine {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


def _in_a_process(name: str, folder: Path) -> tuple[float, float, str]:
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, __file__, "once", str(folder), name], stdout=subprocess.PIPE, text=True, check=True
    )
    seconds = time.monotonic() - started
    *said, memory = done.stdout.strip().split("; ")
    return seconds, float(memory), "; ".join(said)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("generate", "measure", "once"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(MEASURES)}; all of them by default")
    parser.add_argument("--trials", type=int, default=100_000)
    arguments = parser.parse_args()
    if arguments.what == "generate":
        generate(arguments.folder, arguments.trials)
    elif arguments.what == "measure":
        if not arguments.folder.exists():
            generate(arguments.folder, arguments.trials)
        measure(arguments.folder, arguments.names or list(MEASURES))
    else:
        MEASURES[arguments.names[0]](arguments.folder)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


if __name__ == "__main__":
    main()
