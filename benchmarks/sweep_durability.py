"""Kill a sweep with SIGKILL at random instants, resume it each time, and compare with an uninterrupted one.

    python benchmarks/sweep_durability.py --kills 12

Takes turns in killing the driver, a worker, and the whole Ray runtime with everything below it. Prints a line
per kill; ends with whether the final table has the same bits and whether any finished trial was done again.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import yaml

TESTS = Path(__file__).parents[1] / "tests"

SWEEP: dict[str, Any] = {
    "name": "durability",
    "model": "tiny-clip",
    "stream": ["squares", "colour-probe"],
    "suites": ["colours"],
    "methods": {"WiSE-FT": ["wise_ft"], "L2-SP": ["l2_sp"], "LDIFS": [{"ldifs": {"anchor": "previous"}}]},
    "space": {"wise_ft.alpha": [0.25, 0.5, 0.75], "l2_sp.strength": [0.01, 0.1], "ldifs.strength": [1, 10]},
    "train": {"epochs": 3, "batch_size": 8, "lr": 1e-3, "checkpoint_seconds": 0.2},
    "report_on": {"stream": ["squares", "other-colours"], "seeds": [0, 5]},
    "seeds": [0, 1],
}


def drive(file: str, folder: str) -> None:
    """What the killed process does."""
    import tiny  # noqa: F401  registers the tiny model and streams

    from cl_forget.sweeps.cluster import Resources
    from cl_forget.sweeps.runner import sweep

    resume = (Path(folder) / "sweep.yaml").exists()
    sweep(Path(file), folder, resume=resume, resources=Resources(max_concurrent=1, memory_per_trial=1000))


def start(file: Path, folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, __file__, "--drive", str(file), str(folder)]
    path = os.pathsep.join([str(TESTS), str(TESTS.parent), os.environ.get("PYTHONPATH", "")])
    env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    # Ray says on standard output that a worker died; the figures of this script go there.
    return subprocess.Popen(
        command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )


def kill(driver: subprocess.Popen[bytes], what: str) -> bool:
    """SIGKILL the driver, one of its workers, or everything it started; whether anything was hit."""
    try:
        below = psutil.Process(driver.pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return False
    if what == "worker":
        victims = [process for process in below if "Trainable" in " ".join(_command(process))]
    else:
        victims = [psutil.Process(driver.pid), *(below if what == "runtime" else [])]
    for process in victims:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    if what == "driver":
        psutil.wait_procs(below, timeout=20)  # Ray's processes notice that their driver is gone
        for process in below:
            if process.is_running():
                process.kill()
    return bool(victims)


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def results(folder: Path) -> dict[str, int]:
    """Finished trial -> when its result was written."""
    return {file.parent.name: file.stat().st_mtime_ns for file in folder.glob("trials/*/result.json")}


def table(folder: Path) -> list[dict[str, Any]]:
    """The final table, without what a clock or a killed process changes."""
    from cl_forget.comparison.trials import columns, load_trials

    left_out = (
        "seconds",
        "cost.train_seconds",
        "cost.evaluation_seconds",
        "cost.peak_memory_mb",
        "cost.frozen_samples",
    )
    return [{k: v for k, v in row.items() if k not in left_out} for row in columns(load_trials(folder))]


def finish(file: Path, folder: Path) -> float:
    """Run or resume to the end; seconds it took."""
    started = time.monotonic()
    driver = start(file, folder)
    _, said = driver.communicate()
    if driver.returncode:
        raise SystemExit(f"the sweep failed:\n{said.decode()[-3000:]}")
    return time.monotonic() - started


def killed_at_random(
    file: Path, folder: Path, kills: int, seed: int, length: float, say: Any = print
) -> tuple[int, int]:
    """Kill and resume; (kills that hit, finished trials that were written again)."""
    chance, hits, repeated = random.Random(seed), 0, 0
    known: dict[str, int] = {}
    driver = None
    for number in range(kills):
        if driver is None or driver.poll() is not None:
            driver, since = start(file, folder), time.time()
            while driver.poll() is None and not any(
                record.stat().st_mtime > since for record in folder.glob("trials/*/trial.json")
            ):
                time.sleep(0.1)  # a kill while Ray starts would hit no trial
        what = ("driver", "worker", "runtime")[number % 3]
        time.sleep(chance.uniform(0.05, 0.5) * length)
        hit = driver.poll() is None and kill(driver, what)
        hits += hit
        if what != "worker":
            driver.wait()
        now = results(folder)
        repeated += sum(now[trial] != stamp for trial, stamp in known.items())
        known = now
        say(
            f"  {what} {'killed' if hit else 'was not there to kill'}, {len(now)} trials finished", flush=True
        )
    if driver is not None and driver.poll() is None:
        driver.communicate()
    finish(file, folder)
    repeated += sum(results(folder)[trial] != stamp for trial, stamp in known.items())
    return hits, repeated


def main() -> None:
    if sys.argv[1:2] == ["--drive"]:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        drive(*sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--length", type=float, default=20, help="seconds that the trials take, about")
    arguments = parser.parse_args()
    sys.path.insert(0, str(TESTS))
    with tempfile.TemporaryDirectory() as temporary:
        file, whole, killed = (Path(temporary) / name for name in ("sweep.yaml", "whole", "killed"))
        file.write_text(yaml.safe_dump(SWEEP, sort_keys=False))
        finish(file, whole)
        hits, repeated = killed_at_random(file, killed, arguments.kills, arguments.seed, arguments.length)
        same = table(whole) == table(killed)
        count = len(table(killed))
    print(
        f"{hits} of {arguments.kills} kills hit a running sweep of {count} trials; finished trials done again: "
        f"{repeated}; same table: {'yes' if same else 'NO'}"
    )
    raise SystemExit(0 if same and not repeated else 1)


if __name__ == "__main__":
    main()
