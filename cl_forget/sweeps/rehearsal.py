"""Before the first trial: load everything a sweep names, so that a mistake is one line now and not many later."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

from cl_forget.config.run import Run
from cl_forget.config.sweep import COMPOSE, JUDGED, Range, Sweep
from cl_forget.ground.environment import forget_peak_memory
from cl_forget.ground.errors import UserError
from cl_forget.ground.progress import track
from cl_forget.run.dry_run import evaluated, measure
from cl_forget.run.shared import Setup
from cl_forget.streams.understood import announce
from cl_forget.sweeps.rungs import first_judgement, latest, milestones, units

Measured = dict[str, dict[str, float]]
"""Key of a setup -> what was measured of it, by name."""


def rehearsed(sweep: Sweep) -> list[Run]:
    """The runs that are tried before any trial: each method at both ends of everything, on each stream."""
    streams: list[Any] = [None]
    if sweep.report_stream is not None and sweep.report_stream != (sweep.tune_on.stream or sweep.stream):
        streams.append(sweep.report_stream)
    return [run for stream in streams for run in _at_both_ends(sweep, stream)]


def _at_both_ends(sweep: Sweep, stream: Any = None) -> list[Run]:
    """Each method at both ends of everything; on the stream that is tuned on, where none is given."""
    ends = [
        (arm, {**fixed, **{field: values.ends()[end] for field, values in ranges.items()}})
        for arm in sweep.arms
        for fixed, ranges in _compositions(sweep, arm)
        for end in (0, -1)
    ]
    return [sweep.run(arm, config, sweep.tuning_seeds[0], stream) for arm, config in ends]


def fitting(sweep: Sweep, tell: Callable[[str], object] = lambda line: None) -> Sweep:
    """The sweep with every `of: all` written out, without what the model or the data refuse, which are loaded.

    Args:
        sweep: the sweep; one without `all` comes back as it is, and nothing is loaded.
        tell: told which methods are left out, and why.
    """
    plain: dict[str, Any] = {}
    for arm in sweep.arms:
        own = sweep.own(arm).compose
        if own is None or own.of != "all":
            continue
        setup: Setup | None = None
        fit = []
        for fixed, ranges in _compositions(sweep, arm):
            try:
                for end in (0, -1):
                    ends = {field: values.ends()[end] for field, values in ranges.items()}
                    run = sweep.run(arm, {**fixed, **ends}, sweep.tuning_seeds[0])
                    setup = setup or Setup(run, "cpu")
                    setup.check(run)
                fit.append(fixed[COMPOSE])
            except UserError as error:
                if setup is None:
                    raise
                tell(f"{arm}: {fixed[COMPOSE]} is left out: {error}")
        plain = plain or sweep.model_dump(mode="json")
        plain["methods"][arm][COMPOSE]["of"] = fit
    return Sweep(**plain) if plain else sweep


def _compositions(sweep: Sweep, arm: str) -> list[tuple[dict[str, Any], dict[str, Range]]]:
    """What says which mitigations act, and what varies then: of a composition that is searched, each one alone."""
    if sweep.own(arm).compose is None:
        return [({}, sweep.ranges(arm))]
    return [({COMPOSE: m.name}, sweep.ranges(arm, [m])) for m in sweep.arms[arm]]


def check_judged(sweep: Sweep, measured: Measured) -> None:
    """Refuse to stop trials early where the first judgement comes when most of a training is paid for.

    In `mo-asha` also where it comes after the last rung and need not: then one judgement stands for all of them.
    Whoever regroups the tasks of its stream, as joint training does, is not looked at.

    Args:
        sweep: the sweep; a mode that stops nobody passes.
        measured: of its rehearsal.

    Raises:
        UserError: names the method, where it would be judged, and how often to measure instead.
    """
    if sweep.mode not in JUDGED:
        return
    every, reduction = sweep.score.every, sweep.asha.reduction
    grace = 100.0 / units(reduction) if sweep.mode == "hyperband" else sweep.asha.grace
    end = latest(grace, reduction)
    last = milestones(grace, reduction)[-1] if sweep.mode == "mo-asha" else end
    late = []
    for run in _at_both_ends(sweep):
        chain, known = run.chain(), measured[Setup.key(run)]
        epochs = run.train.epochs * math.ceil(known["first"] / run.train.batch_size)
        steps, tasks = chain.steps(run.train.steps or epochs), int(known["tasks"])
        better = math.ceil(grace / 100 * steps * tasks)  # the first report is then at the grace
        at, best = (first_judgement(one, steps, tasks, grace) for one in (every, better))
        if (at > end or (every > better and best <= last < at)) and not chain.using("arrange"):
            late.append((steps, better, at, best, run.method))
    if not late:
        return
    steps, better, at, best, method = min(late)
    cure = (
        f"set it to {better}"
        if best <= end
        else "so short a training cannot be stopped early: set `mode: curve`"
    )
    raise UserError(
        f"`score.every: {every}`, and a task of '{method}' has {steps} steps: it would first be judged at "
        f"{min(99.0, at):.0f} % of its training instead of {grace:.0f} %; {cure}."
    )


def peak(measured: Measured) -> float:
    """The largest peak memory that was measured, MiB."""
    return max((found["memory"] for found in measured.values()), default=0.0)


def measurements(
    runs: Iterable[Run], device: str = "cpu", say: Callable[[str], object] | None = None
) -> Measured:
    """Load models and data, check what each method needs of them, take two training steps.

    What was understood of the data is told to `say`, or printed as the first lines of a sweep.

    Returns:
        Key of a setup -> what `dry_run.measure` gives, its memory that of this process or of the device,
        "samples" that one pass over the stream trains on, its "tasks", those of the "first" one, and samples that a
        "row" reads.

    Raises:
        UserError: whatever would stop every trial.
    """
    forget_peak_memory()
    found: Measured = {}
    setups: dict[str, Setup] = {}
    runs = list(runs)
    for run in track(runs, "rehearsing", len(runs)):
        key = Setup.key(run)
        if key not in setups:
            setup = setups[key] = Setup(run, device)
            if say is None:
                announce(setup.understood)
            else:
                say("\n".join(line for record in setup.understood for line in record.lines()))
            tasks = setup.experiences
            found[key] = {
                **measure(setup.model(), run, tasks),
                "samples": sum(len(task.train) for task in tasks if task.train is not None),
                "tasks": len(tasks),
                "first": len(tasks[0].train or ()),
                "row": sum(evaluated(e, run.evaluate.limit) for e in [*tasks, *setup.suites, *setup.probes]),
            }
        setups[key].check(run)
    return found
