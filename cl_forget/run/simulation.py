"""The main job: fine-tune a foundation model on a stream of tasks and see what it forgets."""

from __future__ import annotations

import contextlib
import itertools
import logging
import secrets
import time
from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from cl_forget.comparison.records import Curve, CurvePoint, Result
from cl_forget.config.run import Run, differences
from cl_forget.evaluation.evaluate import Evaluator
from cl_forget.evaluation.item_samples import write_samples
from cl_forget.evaluation.item_table import gather_parts, write_part
from cl_forget.evaluation.metrics import mean, summary
from cl_forget.ground import clock
from cl_forget.ground.environment import conditions, describe, peak_memory_mb, use_threads
from cl_forget.ground.errors import UserError
from cl_forget.ground.progress import row as tell_row
from cl_forget.ground.progress import stretch
from cl_forget.ground.records import Fingerprints, Row
from cl_forget.ground.redact import redact
from cl_forget.ground.tensors import digest
from cl_forget.mitigations.chain import Chain
from cl_forget.mitigations.protocol import Mitigation
from cl_forget.run.donor import Donor
from cl_forget.run.exporting import adapter_rank, export
from cl_forget.run.notes import notes_on, say_once
from cl_forget.run.saved import check_world, saved_state
from cl_forget.run.shared import Setup, Setups
from cl_forget.streams.base import Experience
from cl_forget.streams.understood import announce, write_understood
from cl_forget.tracking import NullTracker, Tracker, mode_of, start_tracker
from cl_forget.tracking.files import EventLog, write_result
from cl_forget.training.checkpoints import (
    Checkpoint,
    FollowedFolder,
    Groups,
    InStage,
    RunFolder,
    Stage,
    State,
)
from cl_forget.training.context import Edit, Task, Weights
from cl_forget.training.frozen import FrozenModel, FrozenOutputs
from cl_forget.training.head import resume_from_probe
from cl_forget.training.loop import fine_tune, restore_state, steps_of
from cl_forget.training.workers import Workers

logger = logging.getLogger("cl_forget")


def simulate_with(run: Run, folder: RunFolder, beginning: Beginning | None = None) -> Result:
    """`simulate` in this process; as one of several `workers`, in each of theirs."""
    with (
        use_threads(run.train.threads),
        stretch(0, "loading model and data", arm=run.method, seed=run.seed),
        Simulation.open(run, folder, beginning) as simulation,
    ):
        if isinstance(simulation, Result):
            return simulation
        with stretch(2 + 2 * len(simulation.stages), "under way") as advance:
            simulation.evaluate(after=None)
            advance(1)
            for stage in simulation.stages:
                simulation.fine_tune(stage)
                advance(1)
                simulation.evaluate(after=stage)
                advance(1)
            return simulation.finish()


class Watch:
    """Follows a run under way; the base class looks away."""

    def step(self, simulation: Simulation, record: dict[str, Any]) -> bool | None:
        """After an optimiser step, adapters in place; `record` is what the event log holds of it.

        A true answer asks for a checkpoint at once.
        """
        return None

    def row(self, simulation: Simulation, row: Row) -> None:
        """After an evaluation; row 0 is the pre-trained model."""


@dataclass(frozen=True)
class Beginning:
    """How a run is begun; nothing here is part of what the run is.

    Attributes:
        resume, overwrite: what to do with a run that the folder holds, as in `simulate`.
        donor: the folder of a run whose fine-tuning is taken over.
        alike: what the base model and the data must be.
        setup: the model and data of the run where they are loaded already, or those that the process keeps.
        watch: told of every training step and every row.
        workers: those that train together, this process among them; None for this one alone.
    """

    resume: bool = False
    overwrite: bool = False
    donor: Path | None = None
    alike: Fingerprints | None = None
    setup: Setup | Setups | None = None
    watch: Watch | None = None
    workers: Workers | None = None


class Simulation:
    """One run under way: the model, its chain of mitigations, and the rows measured so far.

    `simulate` is the way to use it; the pieces are public for those who write their own sequence, which begins
    with `Simulation.open`.

    Attributes:
        stages: the experiences trained together, in order; `past` those done.
        steps: optimiser steps of the stage under way.
        rows: what was measured so far.
        probed: θ0's heads as probes set them, of the tasks so far.
    """

    def __init__(
        self,
        run: Run,
        folder: RunFolder,
        state: State,
        setup: Setup,
        evaluator: Evaluator,
        log: EventLog,
        *,
        donor: Donor | None,
        watch: Watch,
        workers: Workers,
    ) -> None:
        self.run, self.folder, self.state, self.setup = run, folder, state, setup
        self.evaluator, self.log = evaluator, log
        self.donor, self.watch, self.workers = donor, watch, workers
        self.model = evaluator.model
        self.chain = run.chain()
        self.experiences = setup.experiences
        self.stages = self.chain.arrange(self.experiences)
        self.cache, self.pretrained, self.base = setup.cache, setup.weights, setup.base
        self.cost = state.cost.model_copy()
        self.rows = list(state.rows)
        self.past: list[tuple[Experience, ...]] = []
        self.probed: Weights = {}
        self.steps = 0
        self.tracker: Tracker = NullTracker()
        self._edit: Edit | None = None

    @classmethod
    @contextlib.contextmanager
    def open(
        cls, run: Run, folder: RunFolder, beginning: Beginning | None = None
    ) -> Iterator[Simulation | Result]:
        """A run that is ready to go on, followed by its tracker; its files are closed at the end.

        Torch's global random generator is the run's own meanwhile, and as it was afterwards.

        Args:
            run: what is done.
            folder: where; nothing that it holds is changed before the run can begin.
            beginning: how.

        Yields:
            The run under way, or the result of one that has finished and was to be resumed.

        Raises:
            UserError: as `simulate`.
        """
        how = beginning or Beginning()
        workers = how.workers or Workers()
        state, replaces = workers.once(lambda: saved_state(run, folder, how.resume, how.overwrite))
        if state.finished:
            yield Result.load(folder.path)
            return
        donor = None if how.donor is None else Donor(how.donor, run)
        setup = how.setup.get(run) if isinstance(how.setup, Setups) else how.setup or Setup(run)
        check_world(state, setup.fingerprints, folder.path, how.alike, donor)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(run.seed)
            if workers.rank == 0 and not state.rows:
                for line in run.chain().idle(run.chain().arrange(setup.experiences)):
                    logger.warning(line)
            setup.check(run)  # before anything is trained
            evaluator = _evaluator(run, setup)
            own = folder if workers.rank == 0 else FollowedFolder(folder.path)
            if replaces:
                own.clear()
            events = folder.path / "events.jsonl" if workers.rank == 0 else None
            with contextlib.closing(EventLog(events, state.events)) as log:
                simulation = cls(
                    run, own, state, setup, evaluator, log, donor=donor, watch=how.watch or Watch(), workers=workers
                )  # fmt: skip
                simulation._show_understood()
                simulation.tracker = simulation._follow()
                try:
                    simulation._catch_up()
                    yield simulation
                except BaseException as error:
                    simulation.tracker.failed(error)
                    raise

    # -- one stage -------------------------------------------------------------------------------------
    def fine_tune(self, stage: tuple[Experience, ...]) -> None:
        """Train on one stage, or take it over from what is on disk."""
        index = len(self.past)
        task = self._task(index, stage)
        self.steps = task.steps
        if index < len(self.state.stages):
            self._take_over(self._load(self.state.stages[index]), task)
        elif self.donor is not None and index < self.donor.stages:
            self._adopt(self.donor, task)
        else:
            self._train(task)
            self._commit_stage(task)
        self.probed = task.probed
        self.past.append(stage)
        self._edit = Edit(self.model, self.pretrained, task.start, self._history(), self._starts(), task)

    def _train(self, task: Task) -> None:
        step = self.state.step
        task.frozen.remember(step.asked if step else {})
        groups = self._load(step) if step else None
        if groups:
            restore_state(self.chain, groups)
        fine_tune(
            task,
            self.chain,
            self.run.train,
            self.cost,
            resume=groups,
            save=partial(self._commit_step, task),
            log=partial(self._log_step, _stage_name(task.stage)),
            workers=self.workers,
        )
        self._count_frozen(task)
        self.cost.peak_memory_mb = peak_memory_mb(self.model.device)

    def _count_frozen(self, task: Task) -> None:
        """What the frozen models were asked since the last time is part of the cost."""
        self.cost.frozen_samples += task.frozen.samples_asked
        task.frozen.samples_asked = 0

    def _log_step(self, stage: str | None, record: dict[str, Any]) -> bool | None:
        if self.workers.count == 1 and self.cost.steps % self.run.track.kl_every == 0:
            with self._no_training():
                record["kl_to_base"] = self.evaluator.sampled_kl()
        self.log.write({"stage": stage, "run_step": self.cost.steps, **record})
        self.tracker.step(self.log.written, self.cost.steps, record)
        with self._no_training():
            return self.watch.step(self, record)

    @contextlib.contextmanager
    def _no_training(self) -> Iterator[None]:
        """What is measured between two steps is evaluation, although the training loop's clock is running."""
        started = time.perf_counter()
        yield
        spent = time.perf_counter() - started
        self.cost.train_seconds -= spent
        self.cost.evaluation_seconds += spent

    def _adopt(self, donor: Donor, task: Task) -> None:
        """Take over a stage of another run."""
        entry = donor.entry(task.index)
        groups = _read(donor.folder, self.model.device, entry)
        if groups["model"].keys() == self.pretrained.keys():
            self.folder.adopt(donor.folder, entry)
        else:  # the streams go on differently: their models have heads of other tasks
            for name in {"model", "start"} & groups.keys():
                groups[name] = {key: groups[name].get(key, base) for key, base in self.pretrained.items()}
            saved = self.folder.save(f"stage-{task.index + 1}", groups)
            entry = entry.model_copy(update={"file": saved.file, "sha256": saved.sha256})
        self._take_over(groups, task)
        self.cost = entry.cost.model_copy(update={"evaluation_seconds": self.cost.evaluation_seconds})
        self._commit_trained(entry)

    def _task(self, index: int, stage: tuple[Experience, ...]) -> Task:
        augment = self.run.train.augment
        sources = [self._training_data(experience, augment) for experience in stage]
        previous = self.base if index == 0 else FrozenModel(self.model, self.experiences)
        return Task(
            model=self.model,
            stage=stage,
            index=index,
            sources=sources,
            validation=[self.evaluator.prepared(experience, "validation") for experience in stage],
            past=[self._training_data(e, augment) for earlier in self.past for e in earlier],
            pretrained=self.pretrained,
            start=self._weights(),
            probed=dict(self.probed),
            frozen=FrozenOutputs(self.cache, {"pretrained": self.base, "previous": previous}),
            seed=self.run.seed,
            steps=self.chain.steps(steps_of(sources, self.run.train)),
            batch_size=self.run.train.batch_size,
            label_smoothing=self.run.train.label_smoothing,
            micro_batch_size=self.run.train.micro_batch_size,
        )

    def _training_data(self, experience: Experience, augment: str) -> Any:
        if experience.train is None:
            raise UserError(f"'{experience.name}' has no training data: use it as a suite, not in a stream.")
        if augment == "none":
            return self.evaluator.prepared(experience, "train")
        return self.model.prepare(experience.train, experience, "train", augment)

    def _take_over(self, groups: Groups, task: Task) -> None:
        self.model.load_state_dict(groups["model"])
        resume_from_probe(task, groups.get("heads", {}), groups.get("probed", {}))
        restore_state(self.chain, groups)

    def _load(self, entry: Checkpoint) -> Groups:
        """A checkpoint of this run, on the model's device."""
        return _read(self.folder, self.model.device, entry)

    # -- weights ---------------------------------------------------------------------------------------
    def _weights(self) -> Weights:
        return {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}

    def _history(self) -> list[Callable[[], Mapping[str, Tensor]]]:
        """The tuned weights of each stage so far, looked up on disk when called.

        What reads them knows the folder and not this object, which keeps them: a process that runs many
        simulations lets go of each one's models at once, not when the garbage collector next looks.
        """
        stages = self.state.stages[: len(self.past)]  # a resumed run finds later ones on disk, too
        return [partial(_tuned, self.folder, self.model.device, entry) for entry in stages]

    def _starts(self) -> list[Callable[[], Mapping[str, Tensor]]]:
        """The weights each stage so far started from, looked up on disk when called."""
        stages = self.state.stages[: len(self.past)]
        first = partial(_started, self.folder, self.model.device, self.pretrained)
        return [partial(first, before, entry) for before, entry in itertools.pairwise([None, *stages])]

    @property
    def _last_edit(self) -> Edit:
        """What an edit after the stage trained last may use."""
        assert self._edit is not None, "a stage has been trained"
        return self._edit

    @contextlib.contextmanager
    def _edited(self, replacement: Mitigation | None = None) -> Iterator[None]:
        """The model with every edit of the chain applied; the tuned weights are put back afterwards."""
        chain = Chain(
            replacement if replacement and m.name == replacement.name else m for m in self.run.mitigations
        )
        if not chain.using("edit_weights"):
            yield
            return
        tuned = self._weights()
        with torch.no_grad():
            weights = chain.edit_weights(self._last_edit, tuned)
        self.model.load_state_dict(weights)
        try:
            yield
        finally:
            self.model.load_state_dict(tuned)

    # -- evaluation ------------------------------------------------------------------------------------
    def evaluate(self, after: tuple[Experience, ...] | None) -> None:
        """Measure everything; a row that is on disk already is not measured again."""
        number = 0 if after is None else len(self.past)
        if number < len(self.rows):
            self._feed_back(after)
            return
        self.rows.append(self.workers.once(partial(self._row, after)))
        self._keep_items(number)
        # Logged first: the state says how many lines of the log count.
        self.log.write({"row": number, "after": _stage_name(after)})
        self.state.rows = list(self.rows)
        self._commit(cost=True)
        self.tracker.row(self.log.written, self.rows)
        self.watch.row(self, self.rows[-1])
        self._tell_row(number, after)
        if after is None and self.workers.rank == 0:
            for line in self._notes():
                say_once(line)
        self._feed_back(after)

    def _tell_row(self, number: int, after: tuple[Experience, ...] | None) -> None:
        """A line in the log where nobody watches a bar."""
        latest, task = self.rows[-1], _stage_name(after)
        means = {
            name: mean([of.test.accuracy for of in scores.values() if of.test.accuracy is not None])
            for name, scores in (("tasks", latest.tasks), ("suites", latest.suites))
        }
        said = ", ".join(f"{name} {100 * value:.1f} %" for name, value in means.items() if value is not None)
        place = "pre-trained" if task is None else f"after {task}, {number} of {len(self.stages)}"
        tell_row(doing=place, scores=said, task=task, row=number, rows=len(self.stages), **means)

    def _row(self, after: tuple[Experience, ...] | None) -> Row:
        with contextlib.nullcontext() if after is None else self._edited():
            row = self.evaluator.row(_stage_name(after), self._untuned(), self.cost)
            if self.run.evaluate.curves and len(self.past) == len(self.stages):
                self.setup.measured[self._measure()] = row
            return row

    def _measure(self) -> str:
        """What decides the scores of a row, beside the data: the weights as they are and how they are evaluated."""
        return (
            f"{digest(self.model.state_dict())} {self.run.evaluate.batch_size} {self.run.evaluate.probe_grid}"
        )

    def _keep_items(self, number: int) -> None:
        """Beside the state, before it says that the row is there: what is measured again is written again."""
        if self.run.evaluate.items and self.workers.rank == 0 and self.folder.lasting:
            write_part(self.folder.path, number, self.evaluator)
            if number == 0:
                write_samples(self.folder.path, self.evaluator)

    def _feed_back(self, after: tuple[Experience, ...] | None) -> None:
        """Go on from other weights than the tuned ones where a method asks for it."""
        if after is not None and len(self.past) < len(self.stages) and self.chain.feeds_back:
            with torch.no_grad():
                self.model.load_state_dict(self.chain.next_start(self._last_edit, self._weights()))

    def _untuned(self) -> list[str]:
        tuned = {experience.name for stage in self.past for experience in stage}
        return [experience.name for experience in self.experiences if experience.name not in tuned]

    def curves(self) -> list[Curve]:
        """Each post-hoc method at every value of its knob: one evaluation per value, no training.

        A point whose weights have been measured, as those of the run itself and of the run that gave it its
        fine-tuning, is that measurement.
        """
        curves = []
        for m in self.run.mitigations:
            if not m.only_edits or m.knob is None:
                continue
            points = []
            for value in m.grid:
                with self._edited(m.with_knob(value)):
                    points.append(CurvePoint(value=value, row=self._point()))
            curves.append(Curve(mitigation=m.name, knob=m.knob, formula=m.formula, points=points))
        return curves

    def _point(self) -> Row:
        """The scores of the model as it is, after the last stage."""
        after, cost = _stage_name(self.past[-1]), self.cost.model_copy()
        known = self.setup.measured.get(self._measure())
        if known is None:
            return self.evaluator.row(after, [], cost, probing=False, restoring=False)
        return known.model_copy(update={"after": after, "probes": {}, "restored": None, "cost": cost})

    # -- what is on disk -------------------------------------------------------------------------------
    def _commit(self, cost: bool = False) -> None:
        """Make the state the one on disk, with what the run has cost so far if that is asked for."""
        if cost:
            self.state.cost = self.cost.model_copy()
        self.state.events = self.log.written
        self.log.sync()
        self.folder.commit(self.state)
        self.state = self.workers.once(lambda: self.state)

    def _commit_stage(self, task: Task) -> None:
        groups = {
            "model": self._weights(),
            **({"start": task.start} if task.index and self.chain.feeds_back else {}),
            **task.probes(),
            **{f"state/{name}": state for name, state in self.chain.state.items()},
        }
        saved = self.folder.save(f"stage-{task.index + 1}", groups)
        self._commit_trained(Stage(file=saved.file, sha256=saved.sha256, cost=self.cost.model_copy()))

    def _commit_trained(self, stage: Stage) -> None:
        self.state.stages = [*self.state.stages, stage]
        self.state.step = None
        self._commit(cost=True)

    def _commit_step(self, task: Task, done: int, groups: Groups) -> None:
        self._count_frozen(task)
        saved = self.folder.save(f"stage-{task.index + 1}-step-{done}", groups)
        self.state.step = InStage(file=saved.file, sha256=saved.sha256, asked=task.frozen.asked)
        self._commit(cost=True)

    def finish(self) -> Result:
        """The result, written to the run's folder."""
        result = self.workers.once(self._result)
        self.state.finished = True
        self._commit()
        return result

    def _result(self) -> Result:
        tasks, suites, probes = self._names()
        curves = self.curves() if self.run.evaluate.curves else []
        result = Result(
            method=redact(self.run.method),
            seed=self.run.seed,
            model=redact(self.run.model),
            run=redact(self.run.model_dump(mode="json")),
            tasks=tasks,
            suites=suites,
            probes=probes,
            rows=self.rows,
            curves=curves,
            metrics={
                split: summary(self.rows, tasks, suites, [*probes, *tasks], split)
                for split in ("test", "validation")
            },
            environment=self._environment(),
            fingerprints=self.setup.fingerprints,
            notes=self._notes(),
        )
        if self.run.evaluate.export:
            rank, started = adapter_rank(self.chain, len(self.stages)), clock.now()
            with self._edited():
                export(self.model, self.folder.path, self.run.evaluate.export, self.pretrained, rank)
            self.state.exported = self.folder.written_since(started)
            self._commit()
        gather_parts(self.folder.path)
        write_result(self.folder.path, result)
        self.tracker.finish(self.log.written, result, self.folder.path)
        return result

    def _notes(self) -> list[str]:
        return notes_on(self.run, self.chain, self.setup.base.model, self.experiences, self.rows[0])

    def _names(self) -> tuple[list[str], list[str], list[str]]:
        """Of tasks, suites and probes, in order."""
        groups = (self.experiences, self.evaluator.suites, self.evaluator.probes)
        tasks, suites, probes = ([experience.name for experience in group] for group in groups)
        return tasks, suites, probes

    def _show_understood(self) -> None:
        """Say what the data were taken for before anything is trained on them, and keep it with the run."""
        if self.workers.rank > 0 or self.rows:
            return
        place = self.folder.path if self.folder.lasting else Path.cwd()
        announce(self.setup.understood, self.setup.needs(place).line())
        write_understood(self.folder.path, self.setup.understood)

    def _environment(self) -> dict[str, Any]:
        """Where the run took place, and what changed there while it was resumed."""
        changed = self.state.changed
        return {**describe(), **({"changed_while_resumed": changed} if changed else {})}

    def _catch_up(self) -> None:
        """Tell the tracker of the run's earlier part: it died with the process before it had written all of it."""
        changed = list(differences(self.state.conditions, conditions()))
        if changed and self.workers.rank == 0:
            logger.warning("resumed where %s: the last bits of the numbers can differ", "; ".join(changed))
            self.state.changed = list(dict.fromkeys([*self.state.changed, *changed]))
        for at, record in enumerate(self.log.kept, start=1):
            match record:
                case {"row": int(number)}:
                    self.tracker.row(at, self.rows[: number + 1])
                case {"run_step": int(number), "loss": _}:
                    self.tracker.step(at, number, record)

    def _follow(self) -> Tracker:
        """The tracker, continued if the folder knows of one; its identity is on disk before it starts."""
        if mode_of(self.run.track) == "off":
            return NullTracker()
        if self.state.tracked_as is None:
            self.state.tracked_as = secrets.token_hex(4)
            self._commit()
        assert self.state.tracked_as is not None  # the first worker's, by now
        if self.workers.rank > 0:
            return NullTracker()
        place = self.folder.path if self.folder.lasting else Path.cwd()
        return start_tracker(self.run, place, self.state.tracked_as, *self._names(), draw=_tradeoff)


def _evaluator(run: Run, setup: Setup) -> Evaluator:
    """Of a fresh copy of the pre-trained model, which is the one that is tuned."""
    return Evaluator(
        setup.model(),
        setup.base,
        setup.cache,
        setup.experiences,
        setup.suites,
        setup.probes,
        run.evaluate.batch_size,
        run.evaluate.limit,
        setup.prepared,
        run.evaluate.probe_grid,
    )


def _read(folder: RunFolder, device: torch.device, entry: Checkpoint) -> Groups:
    groups = folder.load(entry)
    return {name: {key: t.to(device) for key, t in group.items()} for name, group in groups.items()}


def _tuned(folder: RunFolder, device: torch.device, entry: Checkpoint) -> Mapping[str, Tensor]:
    return folder.open(entry, device)["model"]


def _started(
    folder: RunFolder, device: torch.device, pretrained: Weights, before: Checkpoint | None, entry: Checkpoint
) -> Mapping[str, Tensor]:
    groups = folder.open(entry, device)
    earlier = pretrained if before is None else groups.get("start") or _tuned(folder, device, before)
    return ChainMap(dict(groups.get("heads", {})), cast("Weights", earlier))  # only looked into


def _stage_name(stage: tuple[Experience, ...] | None) -> str | None:
    return None if stage is None else " + ".join(experience.name for experience in stage)


def _tradeoff(result: Result) -> bytes | None:
    """The trade-off of one finished run as a PNG."""
    from cl_forget.reporting import specify
    from cl_forget.reporting.print.pictures import tradeoff_png

    return tradeoff_png(specify([result]))
