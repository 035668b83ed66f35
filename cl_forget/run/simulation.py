"""The main job: fine-tune a foundation model on a stream of tasks and see what it forgets."""

from __future__ import annotations

import contextlib
import itertools
import logging
import secrets
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cl_forget.comparison.records import Curve, CurvePoint, Result
from cl_forget.config.run import Run, differences
from cl_forget.evaluation.evaluate import Evaluator
from cl_forget.evaluation.metrics import summary
from cl_forget.ground.environment import conditions, describe, peak_memory_mb, use_threads
from cl_forget.ground.errors import UserError
from cl_forget.ground.records import Cost, Fingerprints, Row
from cl_forget.ground.redact import redact
from cl_forget.mitigations.chain import Chain
from cl_forget.mitigations.protocol import Mitigation
from cl_forget.run.donor import Donor
from cl_forget.run.exporting import adapter_rank, export
from cl_forget.run.notes import notes_on, say_once
from cl_forget.run.shared import Setup
from cl_forget.streams.base import Experience
from cl_forget.streams.understood import announce, write_understood
from cl_forget.tracking import NullTracker, Tracker, mode_of, start_tracker
from cl_forget.tracking.files import EventLog, write_result
from cl_forget.training.checkpoints import FollowedFolder, RunFolder
from cl_forget.training.context import Edit, Task, Weights
from cl_forget.training.frozen import FrozenModel, FrozenOutputs
from cl_forget.training.head import resume_from_probe
from cl_forget.training.loop import fine_tune, restore_state, steps_of
from cl_forget.training.workers import Workers

logger = logging.getLogger("cl_forget")


def simulate_with(
    run: Run,
    folder: RunFolder,
    resume: bool = False,
    donor: Path | None = None,
    setup: Setup | None = None,
    watch: Watch | None = None,
    workers: Workers | None = None,
    overwrite: bool = False,
    alike: Fingerprints | None = None,
) -> Result:
    """`simulate` in this process; as one of several `workers`, in each of theirs."""
    with (
        use_threads(run.train.threads),
        Simulation(run, folder, resume, donor, setup, watch, workers, overwrite, alike) as simulation,
    ):
        if simulation.finished is not None:
            return simulation.finished
        simulation.evaluate(after=None)
        for stage in simulation.stages:
            simulation.fine_tune(stage)
            simulation.evaluate(after=stage)
        return simulation.finish()


class Watch:
    """Follows a run under way; the base class looks away."""

    def step(self, simulation: Simulation, record: dict[str, Any]) -> None:
        """After an optimiser step, adapters in place; `record` is what the event log holds of it."""

    def row(self, simulation: Simulation, row: Row) -> None:
        """After an evaluation; row 0 is the pre-trained model."""


class Simulation:
    """One run under way: the model, its chain of mitigations, and the rows measured so far.

    `simulate` is the way to use it; the pieces are public for those who write their own sequence.

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
        resume: bool = False,
        donor: Path | None = None,
        setup: Setup | None = None,
        watch: Watch | None = None,
        workers: Workers | None = None,
        overwrite: bool = False,
        alike: Fingerprints | None = None,
    ) -> None:
        self.run, self.workers = run, workers or Workers()
        self.folder = folder if self.workers.rank == 0 else FollowedFolder(folder.path)
        self.chain = run.chain()
        self.state, replaces = self.workers.once(lambda: saved_state(run, folder, resume, overwrite))
        self.finished = Result.load(folder.path) if self.state["finished"] else None
        if self.finished is not None:
            return
        self.donor = None if donor is None else Donor(donor, run)
        self.watch = watch or Watch()
        self.setup = setup or Setup(run)
        self._check_world(alike)
        torch.manual_seed(run.seed)
        self.experiences = self.setup.experiences
        self.stages = self.chain.arrange(self.experiences)
        if self.workers.rank == 0 and not self.state["rows"]:
            for line in self.chain.idle(self.stages):
                logger.warning(line)
        self.setup.check(run)  # before anything is trained
        self.model = self.setup.model()
        self.cache, self.pretrained, self.base = self.setup.cache, self.setup.weights, self.setup.base
        self.evaluator = Evaluator(
            self.model,
            self.base,
            self.cache,
            self.experiences,
            self.setup.suites,
            self.setup.probes,
            run.evaluate.batch_size,
            run.evaluate.limit,
            self.setup.prepared,
        )
        self.cost = Cost(**self.state["cost"])
        self.rows = [Row(**row) for row in self.state["rows"]]
        if replaces:
            self.folder.clear()
        events = folder.path / "events.jsonl" if self.workers.rank == 0 else None
        self.log = EventLog(events, self.state["events"])
        self.past: list[tuple[Experience, ...]] = []
        self.probed: Weights = {}
        self._show_understood()
        self.tracker = self._follow()
        self._catch_up()

    def __enter__(self) -> Simulation:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if self.finished is None:
            if error is not None:
                self.tracker.failed(error)
            self.log.close()
        # The edits' histories refer back to this object. A process that runs many simulations must let go of
        # each one's models at once, not when the garbage collector next looks at old objects.
        vars(self).clear()

    # -- one stage -------------------------------------------------------------------------------------
    def fine_tune(self, stage: tuple[Experience, ...]) -> None:
        """Train on one stage, or take it over from what is on disk."""
        index = len(self.past)
        task = self._task(index, stage)
        self.steps = task.steps
        if index < len(self.state["stages"]):
            self._take_over(self._load(self.state["stages"][index]), task)
        elif self.donor is not None and index < self.donor.stages:
            self._adopt(self.donor, task)
        else:
            self._train(task)
            self._commit_stage(task)
        self.probed = task.probed
        self.past.append(stage)
        self._edit = Edit(self.model, self.pretrained, task.start, self._history(), self._starts(), task)

    def _train(self, task: Task) -> None:
        step = self.state.get("step")
        task.frozen.remember(step.get("asked", {}) if step else {})
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

    def _log_step(self, stage: str | None, record: dict[str, Any]) -> None:
        if (
            self.tracker.samples_kl
            and self.workers.count == 1
            and self.cost.steps % self.run.track.kl_every == 0
        ):
            started = time.perf_counter()
            record["kl_to_base"] = self.evaluator.sampled_kl()
            spent = time.perf_counter() - started
            self.cost.train_seconds -= spent  # the training loop's clock is running
            self.cost.evaluation_seconds += spent
        self.log.write({"stage": stage, "run_step": self.cost.steps, **record})
        self.tracker.step(self.log.written, self.cost.steps, record)
        self.watch.step(self, record)

    def _adopt(self, donor: Donor, task: Task) -> None:
        """Take over a stage of another run."""
        entry = donor.entry(task.index)
        groups = self._load(entry, donor.folder)
        if groups["model"].keys() == self.pretrained.keys():
            self.folder.adopt(donor.folder, entry)
        else:  # the streams go on differently: their models have heads of other tasks
            for name in {"model", "start"} & groups.keys():
                groups[name] = {key: groups[name].get(key, base) for key, base in self.pretrained.items()}
            entry = {**entry, **self.folder.save(f"stage-{task.index + 1}", groups)}
        self._take_over(groups, task)
        self.cost = Cost(**{**entry["cost"], "evaluation_seconds": self.cost.evaluation_seconds})
        self._commit(stages=[*self.state["stages"], entry], step=None, cost=self.cost.model_dump())

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

    def _take_over(self, groups: dict[str, dict[str, Tensor]], task: Task) -> None:
        self.model.load_state_dict(groups["model"])
        resume_from_probe(task, groups.get("heads", {}), groups.get("probed", {}))
        restore_state(self.chain, groups)

    def _load(self, entry: dict[str, Any], folder: RunFolder | None = None) -> dict[str, dict[str, Tensor]]:
        """A checkpoint, on the model's device."""
        groups = (folder or self.folder).load(entry)
        return {name: {key: t.to(self.model.device) for key, t in g.items()} for name, g in groups.items()}

    # -- weights ---------------------------------------------------------------------------------------
    def _weights(self) -> Weights:
        return {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}

    def _history(self) -> list[Callable[[], Weights]]:
        """The tuned weights of each stage so far, read from disk when called."""
        stages = self.state["stages"][: len(self.past)]  # a resumed run finds later ones on disk, too
        return [partial(lambda entry: self._load(entry)["model"], e) for e in stages]

    def _starts(self) -> list[Callable[[], Weights]]:
        """The weights each stage so far started from, read from disk when called."""

        def start(before: dict[str, str] | None, entry: dict[str, str]) -> Weights:
            groups = self._load(entry)
            earlier = (
                self.pretrained if before is None else groups.get("start") or self._load(before)["model"]
            )
            return {**earlier, **groups.get("heads", {})}

        stages = self.state["stages"][: len(self.past)]
        return [partial(start, before, entry) for before, entry in itertools.pairwise([None, *stages])]

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
            weights = chain.edit_weights(self._edit, tuned)
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
        # Logged first: the state says how many lines of the log count.
        self.log.write({"row": number, "after": _stage_name(after)})
        self._commit(rows=[row.model_dump(mode="json") for row in self.rows], cost=self.cost.model_dump())
        self.tracker.row(self.log.written, self.rows)
        self.watch.row(self, self.rows[-1])
        if after is None and self.workers.rank == 0:
            for line in self._notes():
                say_once(line)
        self._feed_back(after)

    def _row(self, after: tuple[Experience, ...] | None) -> Row:
        with contextlib.nullcontext() if after is None else self._edited():
            return self.evaluator.row(_stage_name(after), self._untuned(), self.cost)

    def _feed_back(self, after: tuple[Experience, ...] | None) -> None:
        """Go on from other weights than the tuned ones where a method asks for it."""
        if after is not None and len(self.past) < len(self.stages) and self.chain.feeds_back:
            with torch.no_grad():
                self.model.load_state_dict(self.chain.next_start(self._edit, self._weights()))

    def _untuned(self) -> list[str]:
        tuned = {experience.name for stage in self.past for experience in stage}
        return [experience.name for experience in self.experiences if experience.name not in tuned]

    def curves(self) -> list[Curve]:
        """Each post-hoc method at every value of its knob: one evaluation per value, no training."""
        curves = []
        for m in self.run.mitigations:
            if not m.post_hoc or m.knob is None or getattr(m, "feed_back", False):
                continue
            points = []
            for value in m.grid:
                with self._edited(m.with_knob(value)):
                    cost = self.cost.model_copy()
                    row = self.evaluator.row(
                        _stage_name(self.past[-1]), [], cost, probing=False, restoring=False
                    )
                points.append(CurvePoint(value=value, row=row))
            curves.append(Curve(mitigation=m.name, knob=m.knob, formula=m.formula, points=points))
        return curves

    # -- what is on disk -------------------------------------------------------------------------------
    def _commit(self, **changes: Any) -> None:
        self.state.update(changes, events=self.log.written)
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
        entry = {**self.folder.save(f"stage-{task.index + 1}", groups), "cost": self.cost.model_dump()}
        self._commit(stages=[*self.state["stages"], entry], step=None, cost=self.cost.model_dump())

    def _commit_step(self, task: Task, done: int, groups: dict[str, dict[str, Tensor]]) -> None:
        self._count_frozen(task)
        entry = self.folder.save(f"stage-{task.index + 1}-step-{done}", groups)
        self._commit(step={**entry, "asked": task.frozen.asked}, cost=self.cost.model_dump())

    def finish(self) -> Result:
        """The result, written to the run's folder."""
        result = self.workers.once(self._result)
        self._commit(finished=True)
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
            rank, started = adapter_rank(self.chain, len(self.stages)), time.time()
            with self._edited():
                export(self.model, self.folder.path, self.run.evaluate.export, self.pretrained, rank)
            self._commit(exported=self.folder.written_since(started))
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

    def _check_world(self, alike: Fingerprints | None) -> None:
        """Go on only with the base model and the data that the run began with.

        Raises:
            UserError: they are others now, or the donor or the runs it is compared with had others.
        """
        now = self.setup.fingerprints
        if alike is not None:
            alike.check(now, "the experiment's other runs")
        if (before := self.state.get("fingerprints")) is not None:
            Fingerprints(**before).check(now, f"the run in {self.folder.path}")
        if self.donor is not None and (given := self.donor.fingerprints) is not None:
            given.check(now, f"the run in {self.donor.folder.path}, whose training is taken over")
        self.state["fingerprints"] = now.model_dump()
        self.state.setdefault("conditions", conditions())

    def _environment(self) -> dict[str, Any]:
        """Where the run took place, and what changed there while it was resumed."""
        changed = self.state.get("changed")
        return {**describe(), **({"changed_while_resumed": changed} if changed else {})}

    def _catch_up(self) -> None:
        """Tell the tracker of the run's earlier part: it died with the process before it had written all of it."""
        changed = list(differences(self.state["conditions"], conditions()))
        if changed and self.workers.rank == 0:
            logger.warning("resumed where %s: the last bits of the numbers can differ", "; ".join(changed))
            self.state["changed"] = list(dict.fromkeys([*self.state.get("changed", []), *changed]))
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
        if self.state.get("tracked_as") is None:
            self._commit(tracked_as=secrets.token_hex(4))
        if self.workers.rank > 0:
            return NullTracker()
        place = self.folder.path if self.folder.lasting else Path.cwd()
        return start_tracker(self.run, place, self.state["tracked_as"], *self._names(), draw=_tradeoff)


def saved_state(
    run: Run, folder: RunFolder, resume: bool, overwrite: bool = False
) -> tuple[dict[str, Any], bool]:
    """What the folder holds of this run, or a fresh start, and whether that replaces a run. Changes nothing.

    Raises:
        UserError: it holds a run that is not to be gone on with or overwritten, or not this one.
    """
    fresh: dict[str, Any] = {
        "key": run.key(), "run": redact(run.model_dump(mode="json")), "training_keys": run.training_keys(),
        "stages": [], "step": None, "rows": [], "cost": Cost().model_dump(), "events": 0, "finished": False,
    }  # fmt: skip
    if not folder.used or (overwrite and not resume):
        return fresh, folder.used
    if not resume:
        raise UserError(
            f"{folder.path} holds a run already: go on with --resume, replace it with --overwrite, or choose "
            "another --output."
        )
    try:
        saved = folder.state
    except UserError:
        if not overwrite:
            raise
        saved = {}
    if overwrite and saved.get("key") != run.key():
        return fresh, True
    if not saved:
        raise UserError(
            f"{folder.path} holds a run without the state.json to go on from: choose another --output, or replace "
            "it with --overwrite."
        )
    if saved["key"] != run.key():
        changed = "; ".join(differences(saved.get("run"), fresh["run"])) or "by an earlier version"
        raise UserError(
            f"{folder.path} holds a run with other settings ({changed}): choose another --output, or replace it "
            "with --overwrite."
        )
    return {**fresh, **saved, "finished": saved.get("finished", False) and folder.holds_result(saved)}, False


def _stage_name(stage: tuple[Experience, ...] | None) -> str | None:
    return None if stage is None else " + ".join(experience.name for experience in stage)


def _tradeoff(result: Result) -> bytes | None:
    """The trade-off of one finished run as a PNG."""
    from cl_forget.reporting import specify
    from cl_forget.reporting.print.pictures import tradeoff_png

    return tradeoff_png(specify([result]))
