"""How long the report of a big sweep takes: to build, and to open in headless Chromium.

    python benchmarks/dashboard.py             2,000 made-up trials, five openings

The page counts as open when everything in sight is drawn. Chromium is started beforehand, reads the page from a
file and renders in software. Wall-clock time depends on what else the machine does, so the processor time of the
page's main thread and the load of the machine are printed beside it.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import typer

from cl_forget.comparison.trials import Attempt, Trial
from cl_forget.config.run import PLAIN
from cl_forget.ground.records import Cost

# method: (mitigation, knob, weakest, strongest, curvature of its trade-off, relative cost)
ARMS = {
    "WiSE-FT": ("wise_ft", "alpha", 1.0, 0.02, 2.6, 0.0),
    "L2-SP": ("l2_sp", "strength", 1e-4, 10.0, 1.5, 1.03),
    "EWC": ("ewc", "strength", 1e-1, 1e5, 1.3, 1.05),
    "LDIFS": ("ldifs", "strength", 1e-2, 1e3, 3.2, 1.1),
    "KD": ("kd", "strength", 1e-2, 1e2, 2.4, 1.1),
    "SAM": ("sam", "rho", 1e-3, 0.5, 1.1, 2.0),
    "LoRA": ("lora", "rank", 64.0, 1.0, 1.4, 0.9),
}
TASKS, SUITES = ("digits", "clocks", "letters"), ("emoji", "emoji-unseen-styles")
BEFORE = {"digits": 0.35, "clocks": 0.05, "letters": 0.06, "emoji": 0.62, "emoji-unseen-styles": 0.58}


def make_trials(count: int = 2000, seeds: int = 5) -> list[Trial]:
    """Plausible trials of eight methods: smooth trade-offs, seeds that scatter, one in fifty that fails."""
    rng = np.random.default_rng(0)
    trials = [_trial(rng, PLAIN, None, 0.0, 1.0, seed) for seed in range(seeds)]
    settings = -(-(count - seeds) // (seeds * len(ARMS)))
    for method in ARMS:
        for position in np.linspace(0, 1, settings):
            trials += [
                _trial(rng, method, position, position, ARMS[method][4], seed) for seed in range(seeds)
            ]
    return _scheduled(trials[:count])


def _scheduled(trials: list[Trial], workers: int = 8) -> list[Trial]:
    """The trials as workers took them, each the next one when it was free."""
    free, found = [0.0] * workers, []
    for trial in trials:
        worker = free.index(min(free))
        ended = free[worker] + (trial.seconds or 0.0)
        attempt = Attempt(worker=f"worker {worker}", started=free[worker], ended=ended)
        found.append(trial.model_copy(update={"attempts": [attempt]}))
        free[worker] = ended + 0.5
    return found


def _trial(
    rng: np.random.Generator, method: str, position: float | None, pull: float, bend: float, seed: int
) -> Trial:
    """`pull` from 0 (plain fine-tuning) to 1 (the pre-trained model), along a curve that bows out with `bend`."""
    name, knob, weak, strong, _, relative = ARMS.get(method, ("", "", 0.0, 0.0, 1.0, 1.0))
    value = None if position is None else float(f"{_between(weak, strong, position):.3g}")
    learned, kept = 1 - pull**bend, 0.25 + 0.75 * (1 - (1 - pull) ** bend)
    metrics = _metrics(rng, learned, kept)
    failed = rng.random() < 0.02
    seconds = float(rng.normal(30, 2)) * (relative or 0.1)
    identity = f"{method}-{'plain' if value is None else f'{value:g}'}-seed{seed}".lower().replace(" ", "-")
    return Trial(
        sweep="made up",
        id=identity,
        method=method,
        mitigations=[] if value is None else [{name: {knob: value}}],
        knob=None if value is None else f"{name}.{knob}",
        value=value,
        seed=seed,
        status="diverged" if failed else "finished",
        reason=f"the loss was not finite at step {rng.integers(10, 90)}" if failed else None,
        config={"seed": seed},
        validation={} if failed else metrics,
        test={} if failed else metrics,
        cost=Cost(steps=300, samples_seen=19_200, forward_samples=19_200, train_seconds=seconds),
        seconds=seconds,
    )


def _between(weak: float, strong: float, position: float) -> float:
    return float(weak * (strong / weak) ** position)


def _metrics(rng: np.random.Generator, learned: float, kept: float) -> dict[str, object]:
    noise = lambda: float(rng.normal(0, 0.008))  # noqa: E731
    tasks = {name: BEFORE[name] + learned * (0.93 - BEFORE[name]) + noise() for name in TASKS}
    suites = {name: BEFORE[name] * kept + noise() for name in SUITES}
    before = float(np.mean([BEFORE[name] for name in SUITES]))
    generality = float(np.mean(list(suites.values())))
    return {
        "speciality": float(np.mean(list(tasks.values()))),
        "speciality_by_task": tasks,
        "speciality_pretrained": float(np.mean([BEFORE[name] for name in TASKS])),
        "generality": generality,
        "generality_by_suite": suites,
        "generality_pretrained": before,
        "retention": generality / before,
        "generality_drop": before - generality,
        "bwt": -0.3 * (1 - kept) + noise(),
        "fwt": 0.02 * learned + noise(),
        "delta_lp": -0.1 * (1 - kept) + noise(),
        "kl_to_base": 1.5 * learned * (1 - kept) + abs(noise()),
    }


def write_page(trials: list[Trial], folder: Path) -> Path:
    """The sweep's report in `folder`."""
    from cl_forget.reporting import report_sweep

    return report_sweep(trials, folder).page


def main(
    count: int = typer.Option(2000, help="Trials."),
    openings: int = typer.Option(5, help="Times it is opened."),
) -> None:
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "reporting"))
    from browser import Browser

    trials = make_trials(count)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        page = write_page(trials, Path(folder))
        built, size = time.perf_counter() - started, page.stat().st_size / 2**20
        browser = Browser()
        try:
            seconds = [browser.open(page) for _ in range(openings)]
            processor = [browser.processor_seconds(page) for _ in range(openings)]
            assert not browser.errors, browser.errors
        finally:
            browser.close()
    print(f"{len(trials):,} trials: built in {built:.1f} s, {size:.1f} MiB")
    each = ", ".join(f"{s:.2f}" for s in seconds)
    print(f"opened in {statistics.median(seconds):.2f} s (median of {openings}: {each})")
    print(
        f"processor time of its main thread {statistics.median(processor):.2f} s; load of the machine "
        f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )


if __name__ == "__main__":
    typer.run(main)
