"""How a sweep scales: a discrete-event simulation of its scheduler, checked against real sweeps.

    python benchmarks/cluster_simulation.py measure     real sweeps with 1 and 2 workers here (or --workers 1 2 4),
                                                        and one of many short trials, for what the driver costs
    python benchmarks/cluster_simulation.py validate    real sweeps of 1, 2 and 4 workers whose trials only sleep, in
                                                        one go or, with `--minutes 4`, in calls that go on
    python benchmarks/cluster_simulation.py simulate    up to 1,000 workers, picture and table (seconds)

What is simulated. A worker is a process with room for one trial. One driver hands out trials and takes their
results; it does one thing at a time, `driver` seconds per trial. A worker then takes `worker` seconds per
trial besides the run itself, and `start` seconds once, before its first trial. A ready trial is handed to a
free worker in the order of the plan, trials that others wait for first. Post-hoc trials wait for the
fine-tune they edit and then only evaluate; a trial that forks waits for the first stages it takes over.

Assumptions. (1) Durations are those of the quickstart's runs in `experiments/results`, drawn with replacement, on one
core; a worker of the simulated cluster is as fast and no machine is slower than another. (2) Checkpoints and
caches lie on shared storage that does not slow down as workers are added: nothing here models its bandwidth.
(3) No worker fails. (4) `driver`, `worker` and `start` are measured on this machine and do not grow with the
cluster; Ray's own limits (heartbeats, object store) are not modelled. `driver` is that of a sweep of short trials:
in one of long trials most of the driver's time goes by with the clock, and not with the trials.
"""

from __future__ import annotations

import argparse
import contextlib
import heapq
import json
import math
import os
import shutil
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cl_forget.sweeps.pieces import Member, Piece, cut

HERE = Path(__file__).parent
RESULTS = HERE.parent / "experiments" / "results"
MEASURED = HERE / "cluster.json"
PICTURE = HERE.parent / "docs" / "images" / "cluster-scaling.png"
WORKERS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


@dataclass(frozen=True)
class Job:
    """One Tune trial.

    Attributes:
        seconds: of its own run.
        needs: positions of the jobs that must have ended before.
        trials: how many trials of the sweep it works through.
    """

    seconds: float
    needs: tuple[int, ...] = ()
    trials: int = 1


@dataclass(frozen=True)
class Costs:
    """Seconds beside the runs themselves: per trial on the driver and on a worker, once per worker."""

    driver: float = 0.0
    worker: float = 0.0
    start: float = 0.0


@dataclass(frozen=True)
class Schedule:
    """What came of it.

    Attributes:
        seconds: from the start of the sweep to the end of its last trial.
        busy: share of the workers' time spent in runs.
        driver_busy: share of the time the driver was at work.
    """

    seconds: float
    busy: float
    driver_busy: float


def schedule(jobs: Sequence[Job], workers: int, costs: Costs = Costs()) -> Schedule:
    """Run the jobs on `workers` workers behind one driver.

    Raises:
        ValueError: jobs that wait for each other.
    """
    waiting = [len(job.needs) for job in jobs]
    dependents: list[list[int]] = [[] for _ in jobs]
    for number, job in enumerate(jobs):
        for need in job.needs:
            dependents[need].append(number)
    # As a sweep hands out its pieces: what others wait for goes first, then the longest path, then the plan's order.
    path = [job.seconds for job in jobs]
    for number in range(len(jobs) - 1, -1, -1):
        path[number] += max((path[dependent] for dependent in dependents[number]), default=0.0)

    def turn(number: int) -> tuple[bool, float, int]:
        return not dependents[number], -path[number], number

    ready = [turn(i) for i, count in enumerate(waiting) if count == 0]
    heapq.heapify(ready)
    free = [(0.0, True)] * min(workers, len(jobs))  # (when, whether it still has to start up)
    ends: list[tuple[float, int]] = []
    driver = now = 0.0
    done = 0
    while done < len(jobs):
        while ready and free and free[0][0] <= now:
            number = heapq.heappop(ready)[-1]
            _, fresh = heapq.heappop(free)
            driver = max(driver, now) + costs.driver
            heapq.heappush(ends, (driver + costs.start * fresh + costs.worker + jobs[number].seconds, number))
        if not ends:
            raise ValueError("some jobs wait for each other")
        now, number = heapq.heappop(ends)
        done += 1
        heapq.heappush(free, (now, False))
        for dependent in dependents[number]:
            waiting[dependent] -= 1
            if waiting[dependent] == 0:
                heapq.heappush(ready, turn(dependent))
    work = sum(job.seconds for job in jobs)
    return Schedule(now, work / (now * workers), len(jobs) * costs.driver / now)


# Trials of a real sweep


@dataclass(frozen=True)
class Times:
    """Seconds of one real run: training by stage, and one evaluation."""

    stages: tuple[float, ...]
    evaluation: float


def real_times(folder: Path = RESULTS) -> dict[str, list[Times]]:
    """Method -> the times of its runs, from the results of the quickstart in `folder`, on both towers."""
    found: dict[str, list[Times]] = {}
    for file in sorted(folder.glob("quickstart*/*/result.json")):
        result = json.loads(file.read_text())
        costs = [row["cost"] for row in result["rows"]]
        train = np.diff([cost["train_seconds"] for cost in costs])
        # Row 0 is read from the cache of the frozen model; the later rows are evaluations of a tuned one.
        evaluations = np.diff([cost["evaluation_seconds"] for cost in costs])
        if len(train):
            times = Times(tuple(train.tolist()), float(evaluations.mean()))
            found.setdefault(result["method"], []).append(times)
    return found


def sweep_jobs(
    times: dict[str, list[Times]], settings: int, seeds: int, grouping: str = "groups", workers: int = 1
) -> list[Job]:
    """A sweep like the quickstart, twice as long: two streams that begin with the same two tasks.

    Per seed and stream: plain fine-tuning, L2-SP and LDIFS over `settings` strengths, and WiSE-FT over `settings`
    values on plain fine-tuning and on every LDIFS. On the second stream a run forks from the first one's second
    checkpoint and trains one more task; WiSE-FT only evaluates.

    Args:
        times: method -> times of real runs, drawn with replacement.
        settings, seeds: how many of each.
        grouping: "groups": trials that share a fine-tune run one after the other in one Tune trial, which is
            what a sweep does. "trials": each is a Tune trial of its own that waits for what it takes over.
            "nothing shared": every trial trains everything.
            "pieces": groups, the long ones cut as a sweep cuts them for that many workers.
        workers: for "pieces".
    """
    random = np.random.default_rng(0)
    jobs: list[Job] = []
    groups: list[list[Member]] = []

    def add(method: str, averages: int) -> None:
        drawn = times[method][random.integers(len(times[method]))]
        whole = sum(drawn.stages) + len(drawn.stages) * drawn.evaluation
        last = drawn.stages[-1] + drawn.evaluation
        if grouping == "groups":
            jobs.append(Job(whole + last + 2 * averages * drawn.evaluation, trials=2 + 2 * averages))
        elif grouping == "pieces":
            averaged = [Member(drawn.evaluation, i % 2) for i in range(2 * averages)]
            groups.append([Member(whole), Member(last, 0), *averaged])
        elif grouping == "trials":
            first = len(jobs)
            jobs.extend([Job(whole), Job(last, (first,))])
            jobs.extend(Job(drawn.evaluation, (first + i % 2,)) for i in range(2 * averages))
        else:
            jobs.extend([Job(whole)] * (2 + 2 * averages))

    for _ in range(seeds):
        add("full fine-tuning", settings)
        for _ in range(settings):
            add("L2-SP", 0)
            add("LDIFS", settings)
    if grouping == "pieces":
        for piece in cut(groups, workers):
            needs = () if piece.needs is None else (piece.needs,)
            jobs.append(Job(piece.weight, needs, len(piece.members)))
    if grouping == "groups":
        jobs.sort(key=lambda job: -job.seconds)  # as a sweep does: nobody waits long for the last one
    return jobs


# Simulated curves and their check


def curve(jobs: Sequence[Job], costs: Costs, workers: Iterable[int] = WORKERS) -> list[dict[str, float]]:
    """Per number of workers: hours, trials per hour, and how busy workers and driver are."""
    trials = sum(job.trials for job in jobs)
    rows = []
    for count in workers:
        made = schedule(jobs, count, costs)
        rows.append(
            {
                "workers": count,
                "hours": made.seconds / 3600,
                "trials_per_hour": trials * 3600 / made.seconds,
                "busy": made.busy,
                "driver_busy": made.driver_busy,
            }
        )
    return rows


def check(measured: Sequence[dict[str, Any]]) -> list[dict[str, float]]:
    """What the simulation says of each measured sweep: from the durations of its own trials, and of those of another.

    `from_one_seconds` takes them from the sweep with one worker, so it tests what it was not fitted to.

    The overheads per trial come from the sweep with one worker and are used, unchanged, for the others. The time
    up to the first trial (Ray, the rehearsal, imports) is each sweep's own: it hangs on what else the machine does.
    """
    costs = measured_costs(measured)
    alone = next(sweep for sweep in measured if sweep["workers"] == 1)
    rows = []
    for sweep in measured:
        jobs = [Job(seconds) for seconds in sweep["groups"]]
        jobs.sort(key=lambda job: -job.seconds)
        own = replace(costs, start=sweep["start"])
        simulated = schedule(jobs, sweep["workers"], own).seconds
        others = sorted(map(Job, alone["groups"]), key=lambda job: -job.seconds)
        from_one = schedule(others, sweep["workers"], own).seconds
        rows.append(
            {
                "workers": sweep["workers"],
                "trials": sweep["trials"],
                "measured_seconds": sweep["seconds"],
                "simulated_seconds": simulated,
                "error": simulated / sweep["seconds"] - 1,
                "from_one_seconds": from_one,
                "from_one_error": from_one / sweep["seconds"] - 1,
            }
        )
    return rows


def measured_costs(measured: Sequence[dict[str, Any]]) -> Costs:
    """Overheads of the sweep with one worker, per Tune trial.

    `start` is the time up to the first trial, `driver` the processor time the driver's process used from the
    first result on, `worker` whatever else the wall clock holds beside the trials themselves.
    """
    alone = next(sweep for sweep in measured if sweep["workers"] == 1)
    count = len(alone["groups"])
    beside = max(0.0, alone["seconds"] - alone["start"] - sum(alone["groups"]))
    driver = min(alone["driver_seconds"], beside)
    return Costs(driver / count, (beside - driver) / count, alone["start"])


# Real sweeps


def measure(workers: Sequence[int], folder: Path, overrides: Sequence[str]) -> list[dict[str, Any]]:
    """Run the quickstart's sweep with each number of workers, one processor each, and time it."""
    from ray import tune

    from cl_forget.config.sweep import load_sweep
    from cl_forget.sweeps.cluster import Resources
    from cl_forget.sweeps.runner import sweep

    class Clock(tune.Callback):
        """When each trial was reported."""

        def __init__(self) -> None:
            self.reported: dict[str, float] = {}
            self.processor = 0.0

        def on_trial_result(
            self, iteration: int, trials: list[Any], trial: Any, result: Any, **info: Any
        ) -> None:
            self.processor = self.processor or time.process_time()
            self.reported.setdefault(str(result.get("trial")), time.time())

    asked = load_sweep(HERE.parent / "experiments" / "quickstart-sweep.yaml", list(overrides))
    rows = []
    for count in workers:
        clock, started = Clock(), time.time()
        trials = sweep(
            asked,
            folder / f"workers-{count}",
            resources=Resources(max_concurrent=count, memory_per_trial=None),
            tell=lambda line: print(line, flush=True),
            callbacks=[clock],
        )
        seconds, processor = time.time() - started, time.process_time() - clock.processor
        taken = {trial.id: trial.seconds or 0.0 for trial in trials}
        groups: dict[str, float] = {}
        for trial in trials:
            root = trial.shared_with or trial.id
            groups[root] = groups.get(root, 0.0) + taken[trial.id]
        begun = min(when - taken[name] for name, when in clock.reported.items() if name in taken)
        rows.append(
            {
                "workers": count,
                "trials": len(trials),
                "finished": sum(trial.status == "finished" for trial in trials),
                "seconds": seconds,
                "start": begun - started,
                "driver_seconds": processor,
                "groups": sorted(groups.values(), reverse=True),
                "load": os.getloadavg()[0],
                "processors": os.cpu_count(),
            }
        )
    return rows


SHORT = 300
"""Trials of the sweep that tells what one costs the driver; each sleeps for 0.05 s."""


def measure_driver(folder: Path) -> dict[str, Any]:
    """A sweep of one worker over short trials."""
    import sleeping

    with sleeping.runtime():
        slept(Asleep("first", "one trial", 1, ((0.01,),)), folder / "first")
        return slept(Asleep("short", "short trials", 1, ((0.05,),) * SHORT), folder / "short")


# Trials whose lengths are known beforehand


@dataclass(frozen=True)
class Asleep:
    """A sweep whose trials sleep.

    Attributes:
        name: of what is kept of it.
        what: its trials, for the table.
        workers: side by side.
        groups: of each piece the seconds of its trials.
        pieces: what hands the groups out, where some wait for others.
    """

    name: str
    what: str
    workers: int
    groups: tuple[tuple[float, ...], ...]
    pieces: tuple[Piece, ...] = ()

    @property
    def jobs(self) -> list[Job]:
        """What the simulation knows of it."""
        needs = [() if piece.needs is None else (piece.needs,) for piece in self.pieces]
        return [Job(sum(g), n) for g, n in zip(self.groups, needs or [()] * len(self.groups), strict=True)]

    @property
    def about(self) -> float:
        """Seconds that it will take, about, on a quiet machine."""
        return schedule(self.jobs, self.workers, Costs(driver=0.1, worker=0.3, start=15)).seconds


def asleep(workers: Sequence[int], mean: float) -> list[Asleep]:
    """First the sweep that the overheads are taken from: one worker, trials of one length. Then those to simulate.

    Each has lengths of its own, drawn beforehand: of trials that share nothing, and of groups of a long trial and
    three that take over from it, cut into pieces as a sweep cuts them.

    Args:
        workers: how many, side by side; more than there are processors, as sleeping takes none.
        mean: seconds of a trial, the median of a log-normal distribution.
    """
    found = [Asleep(f"fit-{mean:g}s", "trials of one length", 1, ((mean / 4,),) * 24)]
    for count in workers:
        random = np.random.default_rng(count)
        alone = sorted(random.lognormal(math.log(mean), 0.8, 12 * count).tolist(), reverse=True)
        each = tuple((seconds,) for seconds in alone)
        found.append(Asleep(f"alone-{count}-{mean:g}s", "trials that share nothing", count, each))
        groups = [
            [Member(giver), *(Member(seconds, 0) for seconds in takers)]
            for giver, *takers in random.lognormal(math.log(mean), 0.8, (3 * count, 4)).tolist()
        ]
        pieces = tuple(cut(groups, count))
        lengths = tuple(tuple(groups[p.group][at].weight for at in p.members) for p in pieces)
        found.append(Asleep(f"pieces-{count}-{mean:g}s", "pieces of groups", count, lengths, pieces))
    return found


def validate(workers: Sequence[int], folder: Path, mean: float = 2.0, minutes: float = math.inf) -> str:
    """Sweeps through Ray whose trials sleep, against the simulation; nothing of a sweep is read to simulate it.

    What has been measured is kept, and the next call goes on from it.

    Args:
        workers, mean: as for `asleep`.
        folder: where the figures are kept, in `validation.json`, and where a sweep lies while it runs.
        minutes: a sweep that would not end within them is left to the next call.

    Returns:
        A Markdown table of what has been measured, and what is left.
    """
    import sleeping

    end, file, sweeps = time.monotonic() + 60 * minutes, folder / "validation.json", asleep(workers, mean)
    known: dict[str, dict[str, Any]] = json.loads(file.read_text()) if file.exists() else {}
    left = [one for one in sweeps if one.name not in known]
    with contextlib.ExitStack() as runtime:
        if left and time.monotonic() + left[0].about < end:
            runtime.enter_context(sleeping.runtime())
            # The first sweep of a process imports what the others find, which is no start of theirs.
            slept(Asleep("first", "one trial", 1, ((0.01,),)), folder / "first")
        while left and time.monotonic() + left[0].about < end:
            one = left.pop(0)
            print(f"{one.name}: about {one.about:.0f} s", file=sys.stderr, flush=True)
            known[one.name] = slept(one, folder / one.name)
            file.write_text(json.dumps(known, indent=1) + "\n")
    return validation(sweeps, known)


def slept(one: Asleep, folder: Path) -> dict[str, Any]:
    """What a real sweep took, as `measured_costs` reads it; nothing of it is left in its folder."""
    from sleeping import sleep_through

    from cl_forget.sweeps.searching import InTurn

    shutil.rmtree(folder, ignore_errors=True)  # of a call that was killed
    started, processor = time.time(), time.process_time()
    trials = sleep_through(one.groups, folder, one.workers, InTurn(list(one.pieces)) if one.pieces else None)
    shutil.rmtree(folder)
    return {
        "workers": one.workers,
        "seconds": max(trial.attempts[0].ended or 0.0 for trial in trials) - started,
        "start": min(trial.attempts[0].started for trial in trials) - started,
        "driver_seconds": time.process_time() - processor,
        "groups": [sum(group) for group in one.groups],
        "load": os.getloadavg()[0],
        "processors": os.cpu_count(),
    }


def validation(sweeps: Sequence[Asleep], known: Mapping[str, dict[str, Any]]) -> str:
    """What the simulation says of each sweep that has been measured, as Markdown.

    Args:
        sweeps: the first is the one that the overheads are taken from.
        known: name -> what it took.
    """
    fit, *others = sweeps
    left = [one for one in sweeps if one.name not in known]
    said = [
        f"{len(left)} of {len(sweeps)} sweeps are left, about {sum(one.about for one in left) / 60:.0f} minutes; "
        "the same command goes on."
    ]
    if fit.name not in known:
        return said[0]
    costs = measured_costs([known[fit.name]])
    rows = []
    for one in others:
        if one.name in known:
            real, simulated = known[one.name], schedule(one.jobs, one.workers, costs)
            rows.append(
                {
                    "what": one.what,
                    "workers": one.workers,
                    "tasks": len(one.groups),
                    "measured": real["seconds"],
                    "simulated": simulated.seconds,
                    "error": simulated.seconds / real["seconds"] - 1,
                    "busy": sum(real["groups"]) / (one.workers * real["seconds"]),
                    "simulated_busy": simulated.busy,
                    "load": real["load"],
                }
            )
    shown = {"what": "", "workers": "d", "tasks": "d", "measured": ".1f", "simulated": ".1f", "error": "+.1%",
             "busy": ".0%", "simulated_busy": ".0%", "load": ".1f"}  # fmt: skip
    processors = known[fit.name]["processors"]
    parts = [
        f"Overheads, of one worker over trials of {fit.groups[0][0]:g} s: {costs.driver:.3f} s per trial on the "
        f"driver, {costs.worker:.3f} s on the worker, {costs.start:.1f} s once; {processors} cores.",
        *([table(rows, shown)] if rows else []),
    ]
    if max(one.workers for one in sweeps) > processors:
        parts.append(f"More than {processors} workers share the cores for what they do beside sleeping.")
    return "\n\n".join(parts + (said if left else []))


# Output


def table(rows: Sequence[dict[str, Any]], formats: dict[str, str]) -> str:
    """A Markdown table of the columns named."""
    heads = [name.replace("_", " ") for name in formats]
    lines = [heads, ["--:"] * len(heads)]
    lines += [[format(row[name], spec) for name, spec in formats.items()] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def draw(curves: dict[str, list[dict[str, float]]], path: Path) -> None:
    """What each worker gets done in an hour against how many there are, for each way to share."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for (name, rows), style in zip(curves.items(), ("-o", "-s", "-^", "-d"), strict=True):
        each = [row["trials_per_hour"] / row["workers"] for row in rows]
        axes.semilogx([row["workers"] for row in rows], each, style, label=name)
    axes.set(xlabel="workers", ylabel="trials per hour and worker (simulated)", ylim=(0, None))
    axes.set_xticks(WORKERS, [f"{count:,}" for count in WORKERS])
    axes.minorticks_off()
    axes.grid(True, which="major", alpha=0.3)
    axes.legend(frameon=False, loc="center left")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=160)


def report(
    measured: Sequence[dict[str, Any]],
    short: dict[str, Any],
    settings: int,
    seeds: int,
    assumed: dict[str, float | None] | None = None,
) -> str:
    """The check and the simulated curves as Markdown; draws the picture.

    Args:
        measured: the real sweeps.
        short: the sweep of short trials.
        settings, seeds: of the simulated sweep.
        assumed: overheads to take instead of those measured.
    """
    driver = measured_costs([short]).driver
    given = {name: value for name, value in (assumed or {}).items() if value is not None}
    costs = replace(measured_costs(measured), **{"driver": driver, **given})
    checked = check(measured)
    jobs = {
        grouping: sweep_jobs(real_times(), settings, seeds, grouping)
        for grouping in ("groups", "trials", "nothing shared")
    }
    curves = {grouping: curve(of, costs) for grouping, of in jobs.items()}
    curves["pieces"] = [
        curve(sweep_jobs(real_times(), settings, seeds, "pieces", count), costs, [count])[0]
        for count in WORKERS
    ]
    draw(curves, PICTURE)
    trials = sum(job.trials for job in jobs["groups"])
    loads = ", ".join(f"{sweep['load']:.0f}" for sweep in measured)
    parts = [
        "Measured, a sweep of emoji-clip, and simulated from the durations of its own trials "
        f"(load average while measuring: {loads}, on {measured[0]['processors']} cores):",
        table(
            [{**row, "trials_per_hour": row["trials"] * 3600 / row["measured_seconds"]} for row in checked],
            {
                "workers": "d",
                "trials": "d",
                "measured_seconds": ".0f",
                "simulated_seconds": ".0f",
                "error": "+.0%",
                "from_one_seconds": ".0f",
                "from_one_error": "+.0%",
                "trials_per_hour": ".0f",
            },
        ),
        f"Overheads used: {costs.driver:.3f} s per Tune trial on the driver (of {SHORT} short trials), "
        f"{costs.worker:.2f} s on its worker, {costs.start:.0f} s once per worker.",
        f"Simulated, {trials} trials ({settings} settings, {seeds} seeds, 2 streams) in "
        f"{len(jobs['groups'])} groups:",
    ]
    for grouping, rows in curves.items():
        shown = {
            "workers": "d",
            "hours": ".2f",
            "trials_per_hour": ".0f",
            "busy": ".0%",
            "driver_busy": ".0%",
        }
        parts += [f"*{grouping}*", table(rows, shown)]
    return "\n\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("measure", "validate", "simulate"))
    parser.add_argument("overrides", nargs="*", help="fields of the measured sweep, as field=value")
    parser.add_argument("--workers", type=int, nargs="+", help="by default 1 and 2, and 4 to validate")
    parser.add_argument(
        "--output", type=Path, default=Path("runs/cluster"), help="where sweeps and figures go"
    )
    parser.add_argument(
        "--minutes", type=float, default=math.inf, help="of one call to validate [until done]"
    )
    parser.add_argument(
        "--mean", type=float, default=2.0, help="seconds of a trial that sleeps, in the middle"
    )
    parser.add_argument("--settings", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=50)
    for cost in ("driver", "worker", "start"):
        parser.add_argument(f"--{cost}", type=float, help="seconds assumed instead of those measured")
    arguments = parser.parse_args()
    if arguments.what == "validate":
        arguments.output.mkdir(parents=True, exist_ok=True)
        print(validate(arguments.workers or [1, 2, 4], arguments.output, arguments.mean, arguments.minutes))
        return
    if arguments.what == "measure":
        rows = measure(arguments.workers or [1, 2], arguments.output, arguments.overrides)
        found = {"sweeps": rows, "short": measure_driver(arguments.output)}
        MEASURED.write_text(json.dumps(found, indent=1) + "\n")
    assumed = {cost: getattr(arguments, cost) for cost in ("driver", "worker", "start")}
    known = json.loads(MEASURED.read_text())
    print(report(known["sweeps"], known["short"], arguments.settings, arguments.seeds, assumed))


if __name__ == "__main__":
    main()
