"""Runs a sweep: rounds of Ray Tune trials over one folder.

curve     every group of the grid
search    settings that Optuna suggests, on every seed
asha, …   the first seed of every setting, the weakest stopped early; then the other seeds of the rest
then      the selected setting of each method on `report_on`, where there is one
"""

from __future__ import annotations

import contextlib
import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cl_forget.comparison.trial_files import Records
from cl_forget.comparison.trials import Trial, write_table
from cl_forget.config.sweep import ANY_NODE, DEFAULT_TRIALS, JUDGED, Sweep, load_sweep
from cl_forget.ground import clock
from cl_forget.ground.errors import UserError
from cl_forget.ground.files import below, remove_leftovers
from cl_forget.ground.progress import begin, say
from cl_forget.sweeps.budget import (
    Forecast,
    Meter,
    OutOfBudget,
    affordable,
    check_prices,
    missing,
    redone,
)
from cl_forget.sweeps.cluster import (
    Resources,
    check_fits,
    idle_devices,
    node_types,
    nodes_there,
    ray_runtime,
    with_memory,
)
from cl_forget.sweeps.devices import device_memory, packed
from cl_forget.sweeps.folder import SweepState, clear, new_folder, note_budget, only_driver
from cl_forget.sweeps.planning import (
    Group,
    Planned,
    by_seed,
    chosen,
    plan_grid,
    plan_report,
    planned_on,
    saved,
    share,
)
from cl_forget.sweeps.pool import Queue, ended_well, is_over, work_through
from cl_forget.sweeps.rehearsal import Measured, check_judged, measurements, peak, rehearsed
from cl_forget.sweeps.rungs import units
from cl_forget.sweeps.starting import checked
from cl_forget.sweeps.storage import Mirror, is_remote

if TYPE_CHECKING:
    from cl_forget.sweeps.trainable import Source

Tell = Callable[[str], None]


def sweep(
    what: Sweep | Path | str,
    output: Path | str | None = None,
    resume: bool = False,
    resources: Resources | None = None,
    tell: Tell = lambda line: None,
    live: bool = False,
    overwrite: bool = False,
    jobs: int | None = None,
    **tuner: Any,
) -> list[Trial]:
    """Run a sweep as Ray Tune trials, or in processes of this machine alone.

    Args:
        what: the sweep, or its file.
        output: its folder, or an address that fsspec takes; `runs/<name>` by default.
        resume: go on from what the folder holds; nothing that is over is done again.
        resources: cluster, processors, devices and memory per trial.
        tell: given a line now and then.
        live: whether to show the sweep on the terminal while it runs.
        overwrite: replace the sweep that the folder holds, once this one can begin.
        jobs: processes of this machine that work side by side without Ray, which then need not be installed;
            for `mode: curve`.
        tuner: further arguments of `ray.tune.TuneConfig` (search_alg, scheduler, time_budget_s, ...) and
            `callbacks` for Tune's own `RunConfig`.

    Returns:
        The records of all trials, in the order they were planned; also in the folder, with the tables.

    Raises:
        UserError: whatever can be known to go wrong, before any trial starts.
    """
    asked = what if isinstance(what, Sweep) else load_sweep(Path(what))
    address = str(output or below(Path("runs"), asked.name, "the sweep"))
    start = checked(asked, address, resume, resources or Resources(), tell, overwrite, jobs, tuner)
    asked, resources, folder = start.asked, start.resources, start.folder
    mirror, state, meter = start.mirror, start.state, start.meter
    rehearsing = state is None or not state.finished
    with contextlib.ExitStack() as stack:
        here = resources.address is None and not resources.gpus_per_trial
        measured: Measured = {}
        if here and rehearsing:
            with begin("rehearsing one trial of each method"):
                measured = measurements(rehearsed(asked))
        if jobs is None:
            say("starting Ray …" if resources.address is None else f"joining Ray at {resources.address} …")
        runtime = resources if jobs is not None else stack.enter_context(ray_runtime(resources))
        if jobs is None and (line := idle_devices(runtime, nodes_there())):
            tell(line)
        if rehearsing and not here:
            with begin("rehearsing one trial of each method, where trials will run"):
                measured = _rehearse_there(asked, runtime)
        if measured and state is None and "scheduler" not in tuner:
            check_judged(asked, measured)
        to_fit = jobs is None and runtime.memory_per_trial is None and not runtime.gpus_per_trial
        if measured and to_fit:
            runtime = with_memory(runtime, peak(measured))
            check_fits(runtime, nodes_there())
        if measured and runtime.share_gpus:
            runtime = packed(runtime, peak(measured), device_memory())
        if meter:
            check_prices([ANY_NODE] if jobs is not None else node_types(), asked.budget)
        stack.enter_context(only_driver(folder))  # nothing was written so far
        remove_leftovers(folder)
        if state is None and overwrite:
            clear(folder)
        if state is None:
            state = new_folder(folder, asked)
        else:
            note_budget(folder, asked)
            state.save(folder)  # which may have been lost
        if mirror:
            mirror.follow_clock()
            stack.enter_context(mirror.following())
        driver = Driver(asked, folder, state, runtime, tell, tuner, address, mirror, jobs=jobs)
        driver.meter, driver.forecast = meter, Forecast(measured) if meter else None
        stack.enter_context(driver.view(live))
        driver.run()
    return driver.trials()


def _rehearse_there(asked: Sweep, runtime: Resources) -> Measured:
    """The rehearsal on a machine where trials will run."""
    import ray

    from cl_forget.run.additions import register, registered

    def elsewhere(added: Any, runs: Any, device: str) -> Measured:
        register(added)
        return measurements(runs, device)

    task: Any = ray.remote(elsewhere).options(
        num_cpus=runtime.cpus_per_trial, num_gpus=runtime.gpus_per_trial, resources=dict(runtime.custom)
    )
    try:
        found: Measured = ray.get(task.remote(registered(), rehearsed(asked), runtime.device))
    except ray.exceptions.RayTaskError as error:
        raise error.cause if isinstance(error.cause, UserError) else error from None
    return found


@dataclass
class Driver:
    """A sweep under way, seen from the process that started it.

    Attributes:
        jobs: processes of this machine that work side by side; None leaves the work to Ray.
        meter, forecast: of a sweep that has a budget.
    """

    asked: Sweep
    folder: Path
    state: SweepState
    runtime: Resources
    tell: Tell
    tuner: dict[str, Any] = field(default_factory=dict)
    address: str = ""
    mirror: Mirror | None = None
    known: list[Planned] = field(default_factory=list)
    jobs: int | None = None
    meter: Meter | None = None
    forecast: Forecast | None = None

    def __post_init__(self) -> None:
        self._records = Records(self.folder)

    def run(self) -> None:
        """All rounds, then the tables; where the budget ends, what there is by then, and what is missing.

        Raises:
            UserError: the budget has no room for any trial.
        """
        end: OutOfBudget | None = None
        self.state.stopped = None
        self.state.resumed = clock.now()
        self.state.started = self.state.started or self.state.resumed
        self.state.finished = False
        self.state.save(self.folder)
        try:
            self._rounds()
            self.state.finished = True
        except OutOfBudget as error:
            end, self.state.stopped = error, error.limit
        finally:
            if self.meter:
                self.meter.save()
            self.state.seconds += clock.now() - self.state.resumed
            self.state.save(self.folder)
            self.write()
        if end is not None:
            self._tell_missing(end)
        line = redone(self.trials())
        if line:
            self.tell(line)

    def _rounds(self) -> None:
        if self.asked.mode == "search":
            self._search()
        elif self.asked.mode in JUDGED:
            self._tournament()
        else:
            self._grid(plan_grid(self.asked))
        if self.asked.report_on is not None:
            self._grid(self._selected())

    # -- rounds ----------------------------------------------------------------------------------------
    def work_through(self, trials: Sequence[Planned]) -> None:
        """Run these trials; what is over is not repeated."""
        self._grid(trials)

    def _grid(self, trials: Sequence[Planned], judged: bool = False) -> None:
        left = self.left_of(trials)
        self.state.planned = len(self.known)
        self.state.saved = saved(self.known)
        self.state.save(self.folder)
        self.tell(str(self.state.saved))
        while left:
            room = left if judged else self._with_room(left)
            self._work(room, judged)
            done = {id(group) for group in room}
            left = [group for group in left if id(group) not in done]

    def left_of(self, trials: Sequence[Planned]) -> list[Group]:
        """The groups that these trials form with what is known so far, without those that are over, in their turn."""
        groups = share(trials, before=self.known)
        self.known.extend(trials)
        done = ended_well(self._records)
        left = [group for group in groups if not is_over(group, done)]
        return sorted(left, key=self._urgency(), reverse=True)

    def _urgency(self) -> Callable[[Group], tuple[int, float]]:
        """The longest first, so that nobody waits long for the last one.

        Where the budget may end the sweep, one seed after the other, so that what there is then compares.
        """
        seeds = dict.fromkeys(one.trial.seed for one in self.known) if self.meter else ()
        turns = {seed: -turn for turn, seed in enumerate(seeds)}

        def urgency(group: Group) -> tuple[int, float]:
            turn = max((turns[one.trial.seed] for one in group), default=0) if turns else 0
            return turn, sum(one.trial.stages - one.trial.shared_stages for one in group)

        return urgency

    def _with_room(self, groups: list[Group]) -> list[Group]:
        """Those whose passes fit into what is left of the budget, at least one; raises `OutOfBudget`."""
        if self.meter is None or self.forecast is None or self.asked.budget.passes is None:
            return groups
        self.forecast.learn(self.known, self.trials())
        costs = [sum(self.forecast.passes(one) for one in group) for group in groups]
        fit = affordable(costs, self.meter.left("passes"))
        if not fit:
            raise OutOfBudget("passes", need=min(costs))
        return [groups[position] for position in fit]

    def _work(self, groups: list[Group], judged: bool) -> None:
        """These groups, in this order, by the processes of this machine or by Ray's."""
        if self.jobs is None:
            from cl_forget.sweeps.sources import Grid

            groups, search = (groups, None) if judged else self._cut(groups)
            source = Grid(groups, self.asked.score, judged, self._units() if judged else 0)
            self._tune(source, count=len(groups), search=search, judged=judged)
            return
        queue = Queue(self.folder, [lambda: groups], order=self._urgency())
        if self.meter is None:
            work_through([queue], self.jobs, tell=self.tell)
            return
        end = time.time() + self.meter.seconds_left()
        work_through([queue], self.jobs, tell=self._count, end=end)
        self._count()
        if time.time() >= end:
            raise OutOfBudget(self.meter.first_by_clock())

    def _cut(self, groups: list[Group]) -> tuple[list[Group], Any]:
        """Long groups in pieces, and what hands these out; as they are, where nothing is gained.

        Under a budget they stay whole: then one seed is to be over before the next is begun.
        """
        if self.meter is not None or self.asked.train.strategy == "fsdp":
            return groups, None
        from cl_forget.sweeps.pieces import cut, members, trials_of
        from cl_forget.sweeps.searching import InTurn

        pieces = cut([members(group) for group in groups], self.runtime.side_by_side)
        if len(pieces) == len(groups):
            return groups, None
        return [trials_of(piece, groups) for piece in pieces], InTurn(pieces)

    def _count(self, line: str = "") -> None:
        """A group is over: what it took is counted."""
        assert self.meter is not None
        self.meter.advance([ANY_NODE])
        for trial in self.trials():
            self.meter.count(trial.id, trial.own_passes)
        if line:
            self.tell(line)

    def _tell_missing(self, end: OutOfBudget) -> None:
        """Why the sweep ends before its end, what is missing, and how to go on.

        Raises:
            UserError: says all that, where no trial is over.
        """
        assert self.meter is not None
        why, trials = end.said(self.meter), self.trials()
        if not any(trial.over for trial in trials):
            raise UserError(
                f"{why}: no trial is over yet; what is begun is kept: raise `budget.{end.limit}` and add --resume."
            )
        self.tell(f"stopped: {why}")
        for line in missing([one.trial for one in self.known], trials):
            self.tell(line)
        over = sum(trial.over for trial in trials)
        if not self.known and self.state.planned > over:
            self.tell(f"missing: {self.state.planned - over} of {self.state.planned} trials")
        if self.asked.report_on is not None and not any(trial.role == "report" for trial in trials):
            self.tell("missing: the selected settings on `report_on`")
        self.tell(f"what is done is kept; to go on, raise `budget.{end.limit}` and add --resume")

    def _search(self) -> None:
        from cl_forget.sweeps.searching import Balanced
        from cl_forget.sweeps.sources import Space

        if self.asked.budget.compute is None:
            each = self.asked.budget.trials or DEFAULT_TRIALS
            settings = sum(each if self.asked.varies(arm) else 1 for arm in self.asked.arms)
            self.state.planned = settings * len(self.asked.tuning_seeds)
            self.state.save(self.folder)
        passes = math.inf if self.meter is None else self.asked.budget.passes or math.inf
        search = Balanced(self.asked, ahead=self.runtime.side_by_side, passes=passes)
        self._tune(Space(self.asked), search=search)
        if search.out_of_passes:
            raise OutOfBudget("passes", need=search.largest)
        self.state.planned = search.suggested * len(
            self.asked.tuning_seeds
        )  # fewer where nothing new was left

    def _tournament(self) -> None:
        from cl_forget.sweeps.searching import Balanced
        from cl_forget.sweeps.sources import Space

        first, *others = self.asked.tuning_seeds
        if any(
            values.values is None for arm in self.asked.arms for values in self.asked.ranges(arm).values()
        ):
            search = Balanced(self.asked, ahead=10**9, random=True)
            source = Space(self.asked, judged=True, seeds=[first], units=self._units())
            self._tune(source, search=search, judged=True)
        else:
            self._grid([one for one in plan_grid(self.asked) if one.trial.seed == first], judged=True)
        survivors = [
            t for t in self.trials() if t.status == "finished" and t.role == "tune" and t.seed == first
        ]
        self._grid(by_seed([planned_on(self.asked, t.method, t.config, others) for t in survivors]))

    def _units(self) -> int:
        """Parts of a training that the scheduler counts in; 0 where it reads the percentage."""
        return units(self.asked.asha.reduction) if self.asked.mode == "hyperband" else 0

    def _selected(self) -> list[Planned]:
        """The chosen setting of each method, on the stream and seeds of the report."""
        choices = chosen(self.asked, [t for t in self.trials() if t.role == "tune"])
        for method, (choice, _) in choices.items():
            self.tell(f"{method}: {choice.label or 'its only setting'} is run for the report")
        return plan_report(self.asked, choices)

    # -- Ray Tune --------------------------------------------------------------------------------------
    def _tune(self, source: Source, count: int = 1, search: Any = None, judged: bool = False) -> None:
        from cl_forget.sweeps.tuning import Round, fit

        # What lies in this process's memory no worker can reach; then they share the folder on this machine.
        where = self.address if is_remote(self.address) else None
        this = Round(
            source,
            self.asked,
            self.folder,
            self.runtime,
            count,
            search,
            judged,
            before=[t for t in self.trials() if t.history] if judged else (),
            own=self.tuner,
            address=where,
            meter=self.meter,
            tell=self.tell,
        )
        try:
            end = fit(this)
        finally:
            if self.mirror:
                self.mirror.pull()
            # Tune's own books: the records are the truth.
            shutil.rmtree(self.folder / ".ray", ignore_errors=True)
        if end is not None:
            raise OutOfBudget(end)
        mine = {one.trial.id for group in getattr(source, "groups", ()) for one in group}
        left = [one for one in self._records.standings() if not one.over and (one.id in mine or not mine)]
        if left:  # an interrupt, or the user's own limit on time
            raise UserError(
                f"{len(left)} trials are not over; the same command with --resume goes on from here."
            )

    # -- results ---------------------------------------------------------------------------------------
    def trials(self) -> list[Trial]:
        """All records, those planned first in their order."""
        found = {trial.id: trial for trial in self._records.load()}
        ordered = [found.pop(one.trial.id, one.trial) for one in self.known]
        return [*ordered, *found.values()]

    def write(self) -> None:
        """The tables, from the records."""
        from cl_forget.comparison.analysis import sweep_summary
        from cl_forget.sweeps.tables import write_summary

        trials = self.trials()
        if trials:
            write_table(trials, self.folder)
            write_summary(sweep_summary(trials, self.asked.protocol), self.folder)

    def view(self, live: bool) -> Any:
        """What shows the sweep while it runs: on the terminal, or in the log."""
        from cl_forget.sweeps.live import LiveView, LogView

        return LiveView(self.folder) if live else LogView(self.folder)
