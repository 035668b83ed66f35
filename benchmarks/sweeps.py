"""What a sweep costs beyond its trainings, and what sharing and running side by side save.

    python benchmarks/sweeps.py overhead     seconds per trial beyond the trial itself
    python benchmarks/sweeps.py sharing      60 trials of a quickstart-like sweep against the same written plainly
    python benchmarks/sweeps.py parallel     two trials on two cores against one at a time with two threads
    python benchmarks/sweeps.py ray-table    Ray's bookkeeping row with its own trivial trainable and with ours
    python benchmarks/sweeps.py breakdown    processor time of a process's first trial and of later ones, by part
    python benchmarks/sweeps.py start        how long a worker takes until its first trial trains, by part

Each compares within one run on one machine; `--model tiny` takes a random model of a few thousand weights instead
of emoji-clip.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[1] / "tests"

WORLDS: dict[str, dict[str, Any]] = {
    "emoji": {
        "model": "emoji-clip",
        "stream": ["clocks"],
        "suites": ["emoji"],
        "train": {"epochs": 1, "batch_size": 64, "lr": 1e-3},
        "evaluate": {"limit": 100},
    },
    "tiny": {
        "model": "tiny-clip",
        "stream": ["squares"],
        "suites": ["colours"],
        "train": {"epochs": 1, "batch_size": 8, "lr": 1e-3},
    },
}

SIX_METHODS: dict[str, Any] = {
    "methods": {
        "WiSE-FT": ["wise_ft"],
        "LiNeS": ["lines"],
        "L2-SP": ["l2_sp"],
        "LDIFS": ["ldifs"],
        "LDIFS + WiSE-FT": [{"ldifs": {"strength": 10}}, "wise_ft"],
        "LDIFS + LiNeS": [{"ldifs": {"strength": 10}}, "lines"],
    },
    "space": {
        "wise_ft.alpha": [0.1, 0.3, 0.5, 0.7, 0.9],
        "lines.a": [0.1, 0.3, 0.5, 0.7, 0.9],
        "l2_sp.strength": [1e-4, 1e-3, 1e-2, 1e-1, 1.0],
    },  # LDIFS alone takes its own grid of five
    "seeds": [0, 1],
    "control": False,
}


def overhead(world: dict[str, Any], folder: Path) -> None:
    """Trials of one group each; what passes between a trial's end and the next one's, over what it took itself."""
    strengths = [10.0**-n for n in range(12)]
    fields = {"methods": {"L2-SP": ["l2_sp"]}, "space": {"l2_sp.strength": strengths}, "control": False}
    trials, _ = _shared({**world, **fields}, folder, side_by_side=1)
    ends = sorted((folder / "trials" / t.id / "trial.json").stat().st_mtime for t in trials)
    own = {(folder / "trials" / t.id / "trial.json").stat().st_mtime: t.seconds or 0.0 for t in trials}
    wall = ends[-1] - ends[0]
    inside = sum(own[end] for end in ends[1:])
    print(
        f"{len(trials)} trials, one after the other: {wall / (len(ends) - 1):.2f} s each, of which "
        f"{inside / (len(ends) - 1):.2f} s are the simulation; overhead {(wall - inside) / (len(ends) - 1):.2f} s"
    )


def sharing(world: dict[str, Any], folder: Path) -> None:
    """The same 60 settings shared and plain, two at a time; the results must be the same numbers."""
    fields = {**world, **SIX_METHODS}
    trials, shared = _shared(fields, folder / "shared", side_by_side=2)
    plain_results, plain = _plain(fields, side_by_side=2)
    same = all(t.test == plain_results[t.id] for t in trials)
    print(
        f"{len(trials)} trials: {shared:.0f} s as a sweep, {plain:.0f} s plainly, {plain / shared:.1f} × less; same "
        f"results: {'yes' if same else 'NO'}"
    )


def parallel(world: dict[str, Any], folder: Path) -> None:
    """Twelve trials: two at a time with a thread each, and one at a time with two threads."""
    strengths = [10.0**-n for n in range(12)]
    fields = {
        **world,
        "methods": {"L2-SP": ["l2_sp"]},
        "space": {"l2_sp.strength": strengths},
        "control": False,
    }
    _, two = _shared(fields, folder / "two", side_by_side=2)
    _, one = _shared(fields, folder / "one", side_by_side=1, threads=2)
    print(
        f"{len(strengths)} trials: {two:.0f} s two at a time, {one:.0f} s one at a time with two threads: "
        f"{one / two:.2f} ×"
    )


def ray_table(world: dict[str, Any], folder: Path) -> None:
    """Ray's bookkeeping row (many short trials): its own trivial trainable and ours, in turn, in one runtime.

    Ray publishes 10,000 trials of a second on 16 processors: 715 s where 625 are possible. Here trials are shorter,
    so that what they cost beside their own time shows with fewer. A line through the smallest and the largest size
    gives 10,000; the size between them tests it.
    """
    small, middle, large = SIZES
    found: dict[str, dict[int, float]] = {"ray": {}, "ours": {}}
    driver: dict[str, float] = {}
    _bookkeeping("ray", 20, folder / "warm-ray")
    _bookkeeping("ours", 20, folder / "warm-ours")
    for count in SIZES:
        for kind in found:
            before = time.process_time()
            found[kind][count] = _bookkeeping(kind, count, folder / f"{kind}-{count}")
            driver[kind] = (time.process_time() - before) / count
    print(f"| trials of {SLEEP} s | possible | Ray's own | ours | ours / Ray's |\n|--:|--:|--:|--:|--:|")
    for count in SIZES:
        _row(f"{count:,}", count, found["ray"][count], found["ours"][count])
    lines = {kind: _line(times[small], times[large], small, large) for kind, times in found.items()}
    ray, ours = (lines[kind](10_000) for kind in found)
    _row("10,000 (a line through the first and the last)", 10_000, ray, ours)
    errors = ", ".join(f"{lines[k](middle) / found[k][middle] - 1:+.1%} ({k})" for k in found)
    print(
        f"\nThe line's error at {middle:,}: {errors}. Processor time of the driver per trial: "
        f"{1e3 * driver['ray']:.1f} ms with Ray's, {1e3 * driver['ours']:.1f} ms with ours."
    )


SIZES = (100, 300, 1000)
SLEEP = 0.05


def _row(name: str, count: int, ray: float, ours: float) -> None:
    possible = count * SLEEP / (os.cpu_count() or 1)
    print(f"| {name} | {possible:.1f} s | {ray:.1f} s | {ours:.1f} s | {ours / ray:.2f} |", flush=True)


def _line(first: float, last: float, small: int, large: int) -> Any:
    each = (last - first) / (large - small)
    return lambda count: first + each * (count - small)


def _bookkeeping(kind: str, count: int, folder: Path) -> float:
    """Seconds that `count` trials take that only sleep."""
    from ray import tune
    from sleeping import sleep_through

    started = time.monotonic()
    if kind == "ray":

        def trial(config: dict[str, Any]) -> None:  # as in Ray's own release test
            time.sleep(SLEEP)
            tune.report({"score": 0.0, "done": True})

        tune.Tuner(
            tune.with_resources(trial, {"CPU": 1}),
            param_space={"group": tune.grid_search(list(range(count)))},
            tune_config=tune.TuneConfig(reuse_actors=True),
            run_config=tune.RunConfig(storage_path=str(folder), verbose=0),
        ).fit()
        return time.monotonic() - started
    sleep_through([[SLEEP]] * count, folder)
    return time.monotonic() - started


def breakdown(world: dict[str, Any], folder: Path) -> None:
    """Three trials of distillation in one process, as an actor has them one after the other; then what Ray adds."""
    os.environ["CL_FORGET_CACHE"] = str(folder / "cache")
    from parts import measured, places

    from cl_forget.config.sweep import Sweep
    from cl_forget.run.shared import Setups
    from cl_forget.sweeps.planning import plan_grid, share
    from cl_forget.sweeps.work import work

    own = {"methods": {"KD": ["kd"]}, "space": {"kd.strength": [0.01, 0.1, 1.0]}, "control": False}
    setups, taken = Setups(), []
    with measured() as parts:
        for group in share(plan_grid(Sweep(**{**world, **own}))):
            (trial,) = work(group, folder / "one", setups, lambda trial: None)
            if trial.status != "finished":
                raise SystemExit(f"a trial failed: {trial.reason}")
            taken.append(parts.take())
    print("| processor seconds | first trial | second | third | calls in the third | of these done again |")
    print("|---|--:|--:|--:|--:|--:|")
    for part in dict.fromkeys(part for part, *_ in places()):
        seconds = " | ".join(f"{spent[part]:.3f}" for spent, _, _ in taken)
        print(f"| {part} | {seconds} | {taken[2][1][part]} | {taken[2][2][part]} |")
    totals = " | ".join(f"{sum(spent.values()):.3f}" for spent, _, _ in taken)
    print(f"| together | {totals} | | |\n", flush=True)
    overhead(world, folder / "ray")


BEGINNING = """
import json, sys, time
from pathlib import Path

spent = {}
def done(part, since):
    spent[part] = [time.perf_counter() - since[0], time.process_time() - since[1]]
    return time.perf_counter(), time.process_time()

now = time.time() - float(sys.argv[1]), 0.0  # of the interpreter's own start the clock tells
spent["interpreter"] = [now[0], time.process_time()]
now = time.perf_counter(), time.process_time()
import ray
from ray import tune
now = done("import ray", now)
import torch
now = done("import torch", now)
torch.set_num_threads(1)
import cl_forget.sweeps.sources
now = done("import the rest of this package", now)
if Path(sys.argv[3]).exists():
    import tiny
from cl_forget.config.run import Run
from cl_forget.run.shared import Setup
from cl_forget.streams import load_stream, load_suite
run = Run.parse(json.loads(sys.argv[2]))
now = done("the run", now)
from cl_forget.models import load_model
model = load_model(run.model, run.text)
now = done("model, and the libraries that it needs", now)
experiences = [*load_stream(run.stream), *map(load_suite, run.suites)]
now = done("data", now)
setup = Setup(run)
now = done("setup once model and data have been loaded: heads", now)
setup.fingerprints
now = done("hashes of model and data", now)
print(json.dumps(spent))
"""
"""What a worker does before its first trial, one after the other."""


def start(world: dict[str, Any], folder: Path) -> None:
    """A worker's beginning step by step in processes of their own, and in a sweep by Ray."""
    from cl_forget.config.sweep import Sweep
    from cl_forget.sweeps.planning import plan_grid

    asked = Sweep(**{**world, "methods": {"L2-SP": [{"l2_sp": 0.01}]}, "control": False})
    run = json.dumps(plan_grid(asked)[0].run.model_dump(mode="json"))
    os.environ["CL_FORGET_CACHE"] = str(folder / "cache")
    times = []
    for _ in range(2):  # the first one reads everything from the disk
        given = [sys.executable, "-c", BEGINNING, str(time.time()), run, str(TESTS / "tiny.py")]
        done = subprocess.run(given, stdout=subprocess.PIPE, text=True, check=True)
        times.append(json.loads(done.stdout.splitlines()[-1]))
    print("| part | first process, s | second, s | of these processor |\n|---|--:|--:|--:|")
    for part in times[0]:
        print(f"| {part} | {times[0][part][0]:.2f} | {times[1][part][0]:.2f} | {times[1][part][1]:.2f} |")
    first, second, processor = (
        sum(of[part][k] for part in of) for of, k in ((times[0], 0), (times[1], 0), (times[1], 1))
    )
    print(f"| together | {first:.2f} | {second:.2f} | {processor:.2f} |\n")
    began = time.time()
    (trial,), seconds = _shared(
        {**world, "methods": {"L2-SP": [{"l2_sp": 0.01}]}, "control": False}, folder / "ray", 1
    )
    print(
        f"A sweep of one trial: {trial.attempts[0].started - began:.1f} s until its worker takes it up, with the "
        f"rehearsal, {trial.seconds:.1f} s for the trial itself, {seconds:.1f} s in all; load of the machine "
        f"{os.getloadavg()[0]:.1f} on {os.cpu_count()} cores."
    )


def _shared(
    fields: dict[str, Any], folder: Path, side_by_side: int, threads: int = 1
) -> tuple[list[Any], float]:
    from cl_forget.config.sweep import Sweep
    from cl_forget.sweeps.cluster import Resources
    from cl_forget.sweeps.runner import sweep

    resources = Resources(cpus_per_trial=threads, max_concurrent=side_by_side, memory_per_trial=1500)
    started = time.monotonic()
    trials = sweep(Sweep(**fields), folder, resources=resources)
    failed = [trial.reason for trial in trials if trial.status != "finished"]
    if failed:
        raise SystemExit(f"a trial failed: {failed[0]}")
    return trials, time.monotonic() - started


def _plain(fields: dict[str, Any], side_by_side: int) -> tuple[dict[str, Any], float]:
    """As one would write it first: a function, a Ray trial per setting, everything loaded and computed in each."""
    from ray import tune

    from cl_forget.config.sweep import Sweep
    from cl_forget.sweeps.planning import plan_grid

    runs = {one.trial.id: one.run for one in plan_grid(Sweep(**fields))}

    def trial(config: dict[str, Any]) -> None:
        import tiny  # noqa: F401
        import torch

        import cl_forget

        torch.set_num_threads(1)
        with tempfile.TemporaryDirectory() as cache:
            os.environ["CL_FORGET_CACHE"] = cache
            tune.report({"id": config["id"], "test": cl_forget.simulate(config["run"]).metrics["test"]})

    started = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        grid = tune.grid_search([{"id": name, "run": run} for name, run in runs.items()])
        tuner = tune.Tuner(
            tune.with_resources(lambda config: trial(config["setting"]), {"CPU": 1}),
            param_space={"setting": grid},
            tune_config=tune.TuneConfig(max_concurrent_trials=side_by_side, reuse_actors=False),
            run_config=tune.RunConfig(storage_path=temporary, verbose=0),
        )
        found = [result.metrics or {} for result in tuner.fit()]
    return {result["id"]: result["test"] for result in found}, time.monotonic() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "what", choices=["overhead", "sharing", "parallel", "ray-table", "breakdown", "start"]
    )
    parser.add_argument("--model", choices=list(WORLDS), default="emoji")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "2" if arguments.what == "parallel" else "1")
    from sleeping import runtime

    with tempfile.TemporaryDirectory() as temporary, runtime():
        globals()[arguments.what.replace("-", "_")](WORLDS[arguments.model], Path(temporary) / "sweep")


if __name__ == "__main__":
    main()
