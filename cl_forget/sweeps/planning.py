"""From a sweep to its trials, and from trials to the least training that gives all of them.

Trials whose fine-tuning is the same to the bit (`Run.training_key`) share one; trials whose streams begin with
the same tasks share the checkpoints of these. Trials that share anything form a *group*: a Ray Tune trial that
one process works through in order, so that whoever gives comes before whoever takes.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from pydantic import BaseModel

from cl_forget.comparison.selection import Choice, default_protocol, select, spread
from cl_forget.comparison.settings import settings_of
from cl_forget.comparison.trials import Role, Trial
from cl_forget.config.run import Run, Unseeded
from cl_forget.config.sweep import COMPOSE, Sweep
from cl_forget.ground.collection import uncollected
from cl_forget.mitigations.chain import Chain
from cl_forget.mitigations.protocol import PLACES


class Facts:
    """What follows from a run whatever its seed; the trials of one setting work it out once."""

    def __init__(self, run: Run) -> None:
        self._run = run

    @cached_property
    def chain(self) -> Chain:
        """The mitigations composed."""
        return self._run.chain()

    @cached_property
    def training_keys(self) -> list[Unseeded]:
        """After each entry of the stream (`Run.training_keys`)."""
        return self._run.unseeded_training_keys()

    def __reduce__(self) -> tuple[type[Facts], tuple[Run]]:
        return Facts, (self._run,)


@dataclass
class Planned:
    """A trial and the run that makes it.

    Attributes:
        trial: its record so far.
        run: what it does.
        facts: of the run; shared by the trials of one setting.
    """

    trial: Trial
    run: Run
    facts: Facts = field(default=None, repr=False, compare=False)  # type: ignore[assignment]

    def __post_init__(self) -> None:
        self.facts = self.facts or Facts(self.run)

    @property
    def plain_steps(self) -> float:
        """What one of its steps takes, in steps of plain fine-tuning, about: nothing is known of its data."""
        train = self.run.train
        return self.facts.chain.passes(train.batch_size, train.epochs) / (2 * train.epochs)

    @property
    def training_keys(self) -> list[str]:
        """As `Run.training_keys`."""
        return [key.at(self.run.seed) for key in self.facts.training_keys]


class Saved(BaseModel):
    """What sharing saves.

    Attributes:
        trials: in all.
        fine_tunes: done; without sharing there would be one per trial.
        stages: trained; `stages_asked` without sharing. A stage is an entry of the stream.
    """

    trials: int
    fine_tunes: int
    stages: int
    stages_asked: int

    def __str__(self) -> str:
        return (
            f"{self.trials} trials from {self.fine_tunes} fine-tunes ({self.trials - self.fine_tunes} saved), "
            f"{self.stages} of {self.stages_asked} stream entries trained"
        )


Group = list[Planned]


@uncollected()
def plan_grid(sweep: Sweep) -> list[Planned]:
    """Every method at every value of its grid on every tuning seed, all methods of a seed together."""
    seeds = sweep.tuning_seeds
    settings = [
        _on_seeds(sweep, arm, run, config, seeds)
        for arm in sweep.arms
        for config, run in _settings(sweep, arm, seeds[0])
    ]
    return by_seed(settings)


def by_seed(settings: Sequence[Sequence[Planned]]) -> list[Planned]:
    """The trials of several settings on the same seeds, those of a seed together."""
    return [one for of_seed in zip(*settings, strict=True) for one in of_seed]


Chosen = dict[str, tuple[Choice, dict[str, Any]]]
"""Method -> why a setting of it was chosen, and the fields in which that differs from the sweep's own."""


def chosen(sweep: Sweep, tuned: Sequence[Trial]) -> Chosen:
    """One setting of each method that has a finished one, by the sweep's protocol.

    Args:
        sweep: the sweep.
        tuned: the records that selection reads.

    Raises:
        UserError: the protocol cannot select from them.
    """
    settings = settings_of(tuned)
    choices = select(settings, sweep.protocol or default_protocol(tuned))
    found: Chosen = {}
    for method, choice in choices.items():
        setting = next(s for s in settings[method] if s.key == choice.key)
        found[method] = choice, next(iter(setting.trials.values())).config
    return found


def plan_report(sweep: Sweep, choices: Chosen) -> list[Planned]:
    """The chosen settings on the stream and seeds of the report, all methods of a seed together."""
    report = sweep.report_on
    assert report is not None
    seeds = report.seeds or sweep.seeds
    return by_seed([planned_on(sweep, arm, config, seeds, "report") for arm, (_, config) in choices.items()])


def _settings(sweep: Sweep, arm: str, seed: int) -> list[tuple[dict[str, Any], Run]]:
    """The settings of a method's grid, each once (1 and 1.0 are one value), with their run on a seed."""
    ranges = {field: values.values or [] for field, values in sweep.ranges(arm).items()}
    found: dict[str, tuple[dict[str, Any], Run]] = {}
    for values in itertools.product(*ranges.values()):
        config = dict(zip(ranges, values, strict=True))
        run = sweep.run(arm, config, seed)
        found.setdefault(run.key(), (config, run))
    grid = list(found.values())
    return spread(grid, sweep.budget.trials) if sweep.budget.trials else grid


def planned(sweep: Sweep, arm: str, config: dict[str, Any], seed: int, role: Role = "tune") -> Planned:
    """The trial of one method at one setting on one seed.

    Raises:
        UserError: a value is out of range.
    """
    return planned_on(sweep, arm, config, [seed], role)[0]


def planned_on(
    sweep: Sweep, arm: str, config: dict[str, Any], seeds: Sequence[int], role: Role = "tune"
) -> list[Planned]:
    """The trials of one method at one setting, one for each seed; errors as `planned`."""
    if not seeds:
        return []
    stream = sweep.report_stream if role == "report" else None
    run = sweep.run(arm, {**sweep.own(arm).own(), **config}, seeds[0], stream)
    return _on_seeds(sweep, arm, run, config, seeds, role)


def _on_seeds(
    sweep: Sweep, arm: str, run: Run, config: dict[str, Any], seeds: Sequence[int], role: Role = "tune"
) -> list[Planned]:
    """The same, where the run on one of the seeds is known."""
    config = {**sweep.own(arm).own(), **config}
    track = run.track.resolved(group=sweep.name, job_type=f"{role} trial")
    run = run.model_copy(update={"track": track})
    composed = config.get(COMPOSE)
    knob = None if composed else _knob(run, config)  # a curve follows the strength of one composition
    value = None if knob is None else config.get(knob, _value(run, knob))
    name = _name(f"{arm} {composed}" if composed else arm, knob, value, role)
    key, facts = run.unseeded_key(), Facts(run)
    trial = Trial(
        sweep=sweep.name,
        id="of-a-seed",
        method=arm,
        mitigations=run.model_dump(mode="json")["mitigations"],
        knob=knob,
        value=value,
        role=role,
        config=config,
        stages=len(run.specs()),
    )
    return [
        Planned(
            trial.model_copy(update={"id": f"{name}{seed}-{key.at(seed)[:8]}", "seed": seed}),
            run.model_copy(update={"seed": seed}),
            facts,
        )
        for seed in seeds
    ]


def _knob(run: Run, config: dict[str, Any]) -> str | None:
    """The strength a curve follows: the last one, in order of action, that varies; else the last there is."""
    acting = sorted(run.mitigations, key=lambda m: (PLACES.index(m.place), m.order, m.name))
    knobs = [f"{m.name}.{m.knob}" for m in acting if m.knob is not None]
    varied = [knob for knob in knobs if knob in config]
    found = varied or knobs
    return found[-1] if found else None


def _value(run: Run, knob: str) -> float | None:
    name, _, field = knob.partition(".")
    value = next(getattr(m, field) for m in run.mitigations if m.name == name)
    return float(value) if isinstance(value, int | float) else None


def _name(what: str, knob: str | None, value: Any, role: Role) -> str:
    """What the ids of a setting's trials begin with, before the seed."""
    strength = "" if knob is None or value is None else f"-{knob.partition('.')[2]}{value}"
    return re.sub(r"[^A-Za-z0-9.]+", "-", f"{what}{strength}-{role}-seed").lstrip("-").lower()


# -- sharing ---------------------------------------------------------------------------------------------
@uncollected()
def share(all_planned: Sequence[Planned], before: Sequence[Planned] = ()) -> list[Group]:
    """Groups of trials that share training; who takes over what is noted in their records.

    Args:
        all_planned: the trials of this round.
        before: trials of earlier rounds, which may give, too.
    """
    groups: dict[str, list[tuple[Planned, list[str]]]] = {}
    givers: dict[str, Planned] = {}  # training key -> the first that has it
    for one in before:
        for key in one.training_keys:
            givers.setdefault(key, one)
    for one in all_planned:
        keys = one.training_keys
        groups.setdefault(keys[0], []).append((one, keys))
    for group in groups.values():
        # The longest streams first; what trains the same stands together.
        order = {key: i for i, key in enumerate(dict.fromkeys(keys[-1] for _, keys in group))}
        group.sort(key=lambda member: (-member[0].trial.stages, order[member[1][-1]]))
        for one, keys in group:
            _take_over(one, keys, givers)
    return [[one for one, _ in group] for group in groups.values()]


def _take_over(taker: Planned, keys: Sequence[str], givers: dict[str, Planned]) -> None:
    """Note which of the givers saves most training, the first of those that save the same; then it is one itself."""
    taker.trial.shared_with, taker.trial.shared_stages = None, 0
    for stages, key in zip(range(taker.trial.stages, 0, -1), reversed(keys), strict=False):
        if key in givers:
            taker.trial.shared_with, taker.trial.shared_stages = givers[key].trial.id, stages
            break
    for key in keys:
        givers.setdefault(key, taker)


def saved(all_planned: Sequence[Planned]) -> Saved:
    """What sharing saves in a plan."""
    asked = [one.trial.stages for one in all_planned]
    taken = [one.trial.shared_stages for one in all_planned]
    return Saved(
        trials=len(asked),
        fine_tunes=sum(own > 0 for own in map(int.__sub__, asked, taken)),
        stages=sum(asked) - sum(taken),
        stages_asked=sum(asked),
    )
