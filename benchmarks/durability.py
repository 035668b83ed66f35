"""Kill a run with SIGKILL at random instants, resume it each time, and compare with an uninterrupted one.

    python benchmarks/durability.py --kills 20

Each run is killed up to four times and then ends; runs follow until all kills have hit one. Prints a line per kill
and ends with whether every number of each run's `result.json` has the same bits.
"""

from __future__ import annotations

import argparse
import importlib
import multiprocessing
import random
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

RUN: dict[str, Any] = {
    "model": "emoji-clip",
    "stream": ["digits", "clocks"],
    "suites": ["emoji"],
    "mitigations": [{"ldifs": {"strength": 10, "anchor": "previous"}}, {"l2_sp": 0.01}, {"wise_ft": 0.5}],
    "train": {"epochs": 1, "batch_size": 64, "checkpoint_seconds": 0.2},
    "evaluate": {"curves": False, "limit": 100},
}


def simulate_in_child(fields: dict[str, Any], folder: Path, modules: list[str]) -> None:
    """What the killed process does: go on from whatever the folder holds."""
    import torch

    from cl_forget.config.run import Run
    from cl_forget.run.simulate import simulate

    for module in modules:  # they may register the models and streams that the run names
        importlib.import_module(module)
    torch.set_num_threads(1)
    simulate(Run.parse(fields), folder, resume=True)


def numbers(folder: Path) -> dict[str, Any]:
    """Everything a finished run's result says, except time, memory and place.

    A run killed inside a task asks the frozen models again for what the dead process had in memory only, so
    their pass count is left out too.
    """
    from cl_forget.comparison.records import Result

    plain = Result.load(folder).model_dump(mode="json", exclude={"environment"})
    for row in [*plain["rows"], *(p["row"] for c in plain["curves"] for p in c["points"])]:
        for key in ("train_seconds", "evaluation_seconds", "peak_memory_mb", "frozen_samples"):
            row["cost"].pop(key)
    return plain


def kill_and_resume(
    fields: dict[str, Any], folder: Path, instants: list[float], preload: list[str], say: Any = print
) -> int:
    """Start the run, kill it after each of `instants` seconds, let it end; returns how many kills hit it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(preload)
    hits = 0
    for seconds in [*instants, None]:
        process = context.Process(target=simulate_in_child, args=(fields, folder, preload))
        process.start()
        process.join(seconds)
        if process.is_alive():
            assert process.pid is not None
            process.kill()
            process.join()
            hits += process.exitcode == -signal.SIGKILL
            steps = (
                sum(1 for _ in (folder / "events.jsonl").open()) if (folder / "events.jsonl").exists() else 0
            )
            say(f"  killed after {seconds:.2f} s, {steps} events on disk")
        elif process.exitcode != 0:
            raise SystemExit(f"the resumed run failed with exit code {process.exitcode}")
        process.close()
    return hits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    preload = ["cl_forget.run.simulation", "open_clip", "cl_forget.models.clip"]
    with tempfile.TemporaryDirectory() as temporary:
        whole = Path(temporary) / "whole"
        kill_and_resume(RUN, whole, [], preload)  # warms the fork server and the frozen-model cache
        started = time.monotonic()
        kill_and_resume(RUN, Path(temporary) / "timed", [], preload)
        length = time.monotonic() - started
        chance = random.Random(arguments.seed)
        hits, runs, same = 0, 0, True
        while hits < arguments.kills:
            lives = [chance.uniform(0.1, 0.9) * length for _ in range(min(4, arguments.kills - hits))]
            killed = Path(temporary) / f"killed-{runs}"
            hits += kill_and_resume(RUN, killed, lives, preload)
            same = same and numbers(killed) == numbers(whole)
            runs += 1
    print(f"{hits} kills hit {runs} runs; same bits in all of them: {'yes' if same else 'NO'}")
    raise SystemExit(0 if same else 1)


if __name__ == "__main__":
    main()
