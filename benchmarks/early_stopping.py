"""What early stopping by two objectives saves and loses, on real trade-offs of both embedded worlds.

    python benchmarks/early_stopping.py record emoji     every setting of a grid to its end, judged but never stopped
    python benchmarks/early_stopping.py record pico
    python benchmarks/early_stopping.py replay           MO-ASHA over the recorded trials, in random orders
    python benchmarks/early_stopping.py replay --grace 10 --reduction 2
    python benchmarks/early_stopping.py bound            the best that one rung, waited for by all, finds for a third

The recording, which goes on where it was ended, is what a tournament would see: the reports of each trial
(`score.every`) and its end. The replay hands the trials out in random order to some workers, who overtake each other
at random, asks `Rungs` as the scheduler does, and compares the front of what finished with that of the whole grid:
hypervolume above (pre-trained speciality, 0) on validation data, against the share of the training that was done.
Intervals are 95 % over the orders.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cl_forget.config.sweep import MO_ASHA_GRACE
from cl_forget.evaluation.metrics import hypervolume
from cl_forget.ground.files import write_text
from cl_forget.sweeps.rungs import Point, Rungs, milestones, ordered

if TYPE_CHECKING:
    from cl_forget.config.sweep import Sweep

RECORDED = Path(__file__).parent / "early_stopping.json"
ORDERS = 50
STUDENT_95 = 2.0096  # 49 degrees of freedom

WORLDS: dict[str, dict[str, Any]] = {
    "emoji": {
        "model": "emoji-clip",
        "stream": ["braille", "colours"],
        "suites": ["emoji"],
        "train": {"epochs": 3, "batch_size": 32},
        "evaluate": {"limit": 200},
        "score": {"every": 5},
        "methods": {"L2-SP": ["l2_sp"], "LDIFS": ["ldifs"]},
        "space": {
            "train.lr": [1e-4, 3e-4, 1e-3, 3e-3],
            "l2_sp.strength": [1e-3, 1e-2, 1e-1, 1.0],
            "ldifs.strength": [1, 10, 100, 1000],
        },
    },
    # stream and schedule of experiments/pico-sweep.yaml, and two of its arms with the grids that they had first
    "pico": {
        "model": "pico-lm",
        "stream": [{"cipher": {"train": 960}}, {"vowel-free": {"train": 960}}],
        "suites": ["numbers", "spelling"],
        "train": {"epochs": 4, "batch_size": 16},
        "evaluate": {"limit": 100},
        "score": {"every": 20},
        "methods": {"L2-SP": ["l2_sp"], "KL to base": ["kl_to_base"]},
        "space": {
            "train.lr": [3e-4, 1e-3, 2e-3, 5e-3],
            "l2_sp.strength": [1e-3, 1e-2, 1e-1, 1.0],
            "kl_to_base.strength": [0.1, 0.3, 1.0, 10.0],
        },
    },
    # skills that no setting learns well: of the 24 the best has 20 % right, twelve none
    "pico-unlearnt": {
        "model": "pico-lm",
        "stream": [{"pig-latin": {"train": 960}}, {"operator": {"train": 960}}],
        "suites": ["numbers", "spelling"],
        "train": {"epochs": 2, "batch_size": 8},
        "evaluate": {"limit": 40},
        "score": {"every": 3},
        "methods": {"L2-SP": ["l2_sp"], "KD": ["kd"]},
        "space": {
            "train.lr": [3e-4, 1e-3, 3e-3],
            "l2_sp.strength": [1e-3, 1e-2, 1e-1, 1.0],
            "kd.strength": [1e-2, 1e-1, 1.0, 10.0],
        },
    },
}


@dataclass(frozen=True)
class Curve:
    """One trial that ran to its end.

    Attributes:
        reports: (progress in percent, (speciality, generality)), rising.
        end: (speciality, generality) at the end.
    """

    reports: Sequence[tuple[float, Point]]
    end: Point


def replay(
    curves: Sequence[Curve], seed: int, workers: int, grace: float = MO_ASHA_GRACE, reduction: float = 3
) -> tuple[list[int], float]:
    """A tournament over recorded trials.

    Args:
        curves: the trials.
        seed: of the order in which they come, and of who is ahead of whom.
        workers: trials side by side.
        grace, reduction: as in a sweep's `asha`.

    Returns:
        Which trials finished, and the share of all training that was done.
    """
    random = np.random.default_rng(seed)
    rungs = Rungs(milestones(grace, reduction), reduction)
    waiting, running = list(random.permutation(len(curves))), dict[int, int]()
    finished: list[int] = []
    done = 0.0
    while waiting or running:
        while waiting and len(running) < workers:
            running[int(waiting.pop(0))] = 0
        trial = int(random.choice(list(running)))
        reports = curves[trial].reports
        if running[trial] == len(reports):
            finished.append(trial)
            done += 100.0
            del running[trial]
            continue
        progress, point = reports[running[trial]]
        running[trial] += 1
        if not rungs.arrive(str(trial), progress, point):
            done += progress
            del running[trial]
    return finished, done / (100.0 * len(curves))


def shares(
    curves: Sequence[Curve], reference: tuple[float, float], seed: int, workers: int, **asha: float
) -> tuple[float, float]:
    """(hypervolume, training) of one tournament as shares of the whole grid's."""
    finished, done = replay(curves, seed, workers, **asha)
    whole = hypervolume([curve.end for curve in curves], reference)
    found = hypervolume([curves[trial].end for trial in finished], reference)
    return (found or 0.0) / (whole or math.nan), done


def tournament(world: str, seed: int = 0) -> Sweep:
    """The sweep whose trials are recorded."""
    from cl_forget.config.sweep import Sweep

    return Sweep(**{**WORLDS[world], "mode": "mo-asha", "control": False, "seeds": [seed]})


def record(world: str, known: dict[str, Any], keep: Callable[[dict[str, Any]], None], seed: int = 0) -> None:
    """Every setting of a world's grid to its end, in this process.

    Args:
        world: which one.
        known: what was recorded before; these settings are not run again.
        keep: given all that is recorded, after each setting.
        seed: of the trials.
    """
    from cl_forget.run.shared import Setups
    from cl_forget.sweeps.planning import plan_grid, share
    from cl_forget.sweeps.signal import SignalWatch
    from cl_forget.sweeps.work import work

    asked = tournament(world, seed)
    trials, setups = list(known.get("trials", ())), Setups(room=2)
    done = {trial["id"] for trial in trials}
    left = [group for group in share(plan_grid(asked)) if group[0].trial.id not in done]
    with tempfile.TemporaryDirectory() as folder:
        for group in left:
            began = time.process_time()
            reports: list[dict[str, float]] = []

            def note(report: dict[str, Any], into: list[dict[str, float]] = reports) -> bool:
                into.append(report)
                return False

            trial = work(group[:1], Path(folder), setups, lambda trial: None, SignalWatch(asked.score, note))[
                0
            ]
            if trial.status != "finished":
                raise SystemExit(f"{trial.id}: {trial.reason}")
            seen = [[r["progress"], r["speciality"], r["generality"]] for r in reports]
            end = [trial.validation["speciality"], trial.validation["generality"]]
            trials.append({"id": trial.id, "reports": seen, "end": end, "passes": trial.passes})
            base = trial.validation["speciality_pretrained"]
            keep({"world": world, "pretrained": base, "trials": trials})
            took = time.process_time() - began
            print(
                f"{len(done) + 1 + left.index(group)}  {trial.id}  {end}  {took:.1f} s of processor time",
                flush=True,
            )


def row(recorded: dict[str, Any], workers: int, **asha: float) -> str:
    """A line of the table: what MO-ASHA finds in one world."""
    curves = [
        Curve([(at, (s, g)) for at, s, g in trial["reports"]], tuple(trial["end"]))
        for trial in recorded["trials"]
    ]
    reference = (recorded["pretrained"], 0.0)
    found = np.array([shares(curves, reference, seed, workers, **asha) for seed in range(ORDERS)])
    half = STUDENT_95 * found.std(axis=0, ddof=1) / math.sqrt(ORDERS)
    cells = [f"{100 * mean:.1f} ± {100 * h:.1f} %" for mean, h in zip(found.mean(axis=0), half, strict=True)]
    return f"| {recorded['world']} | {len(curves)} | {workers} | {cells[0]} | {cells[1]} |"


def bound(recorded: dict[str, Any], most: float = 1 / 3) -> str:
    """A line of the table: what the early reports allow at best for a share of the training.

    All settings go to one rung and wait there for each other; so many of the order go on to their end. Rung and
    number are those that find most, which only hindsight knows: no tournament of one rung does better.
    """
    curves = [(trial["reports"], tuple(trial["end"])) for trial in recorded["trials"]]
    reference = (recorded["pretrained"], 0.0)
    whole = hypervolume([end for _, end in curves], reference) or math.nan
    found = (0.0, 0.0, 0.0, 0)
    for rung in sorted({round(at) for reports, _ in curves for at, *_ in reports}):
        here = [next((r for r in reports if r[0] >= rung), [100.0, *end]) for reports, end in curves]
        order = ordered([(s, g) for _, s, g in here])
        for kept in range(1, len(curves) + 1):
            rest = sum(100.0 - here[i][0] for i in order[:kept])
            spent = (sum(at for at, *_ in here) + rest) / (100.0 * len(curves))
            if spent <= most:
                share = (hypervolume([curves[i][1] for i in order[:kept]], reference) or 0.0) / whole
                found = max(found, (share, -spent, rung, kept))
    share, spent, rung, kept = found
    return (
        f"| {recorded['world']} | {len(curves)} | {rung:.0f} % | {kept} | {100 * share:.1f} % | "
        f"{-100 * spent:.1f} % |"
    )


def recordings() -> dict[str, Any]:
    """What has been recorded, by world."""
    return json.loads(RECORDED.read_text()) if RECORDED.exists() else {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["record", "replay", "bound"])
    parser.add_argument("world", nargs="?", choices=list(WORLDS))
    parser.add_argument("--grace", type=float, default=MO_ASHA_GRACE, help="as in a sweep's `asha`")
    parser.add_argument("--reduction", type=float, default=3, help="as in a sweep's `asha`")
    arguments = parser.parse_args()
    if arguments.what == "record":

        def keep(recorded: dict[str, Any]) -> None:
            # read anew: the other world may be recorded at the same time
            write_text(RECORDED, json.dumps(recordings() | {arguments.world: recorded}) + "\n")

        record(arguments.world, recordings().get(arguments.world, {}), keep)
    if arguments.what == "bound":
        print("| world | settings | rung | go on | hypervolume of the grid's | training of the grid's |")
        print("|---|--:|--:|--:|--:|--:|")
        print("\n".join(bound(recorded) for recorded in recordings().values()))
        return
    from cl_forget.sweeps.planning import plan_grid

    print(
        "| world | settings | workers | hypervolume of the grid's | training of the grid's |\n|---|--:|--:|--:|--:|"
    )
    left = []
    for world, recorded in recordings().items():
        done, whole = len(recorded["trials"]), len(plan_grid(tournament(world)))
        if done < whole:
            left.append(f"\n{world}: {done} of {whole} settings are recorded; `record {world}` goes on.")
            continue
        for workers in (1, 4, 16):
            print(row(recorded, workers, grace=arguments.grace, reduction=arguments.reduction))
    print("".join(left), end="")


if __name__ == "__main__":
    main()
