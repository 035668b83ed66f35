"""From a sweep to its trials, and from trials to the least training that gives all of them.

Trials whose fine-tuning is the same to the bit (`Run.training_key`) share one; trials whose streams begin with
the same tasks share the checkpoints of these. Trials that share anything form a *group*: a Ray Tune trial that
one process works through in order, so that whoever gives comes before whoever takes.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict

from cl_forget.comparison.selection import Choice, default_protocol, select, spread
from cl_forget.comparison.settings import settings_of
from cl_forget.comparison.trials import Role, Trial
from cl_forget.config.run import Run
from cl_forget.config.sweep import Sweep
from cl_forget.mitigations.protocol import PLACES


class Planned(BaseModel):
    """A trial and the run that makes it."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    trial: Trial
    run: Run


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


def plan_grid(sweep: Sweep) -> list[Planned]:
    """Every method at every value of its grid on every tuning seed, all methods of a seed together."""
    settings = {arm: list(_settings(sweep, arm)) for arm in sweep.arms}
    return [
        planned(sweep, arm, config, seed)
        for seed in sweep.tuning_seeds
        for arm, configs in settings.items()
        for config in configs
    ]


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
    return [
        planned(sweep, arm, config, seed, "report") for seed in seeds for arm, (_, config) in choices.items()
    ]


def _settings(sweep: Sweep, arm: str) -> Iterable[dict[str, Any]]:
    ranges = {field: values.values or [] for field, values in sweep.ranges(arm).items()}
    grid = _distinct(
        sweep, arm, [dict(zip(ranges, values, strict=True)) for values in itertools.product(*ranges.values())]
    )
    return spread(grid, sweep.budget.trials) if sweep.budget.trials else grid


def _distinct(sweep: Sweep, arm: str, grid: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The settings without those that ask for the same as an earlier one: 1 and 1.0 are one value."""
    found: dict[str, dict[str, Any]] = {}
    for config in grid:
        found.setdefault(sweep.run(arm, config, seed=0).key(), config)
    return list(found.values())


def planned(sweep: Sweep, arm: str, config: dict[str, Any], seed: int, role: Role = "tune") -> Planned:
    """The trial of one method at one setting on one seed.

    Raises:
        UserError: a value is out of range.
    """
    config = {**sweep.own(arm).own(), **config}
    stream = sweep.report_on.stream if role == "report" and sweep.report_on else None
    run = sweep.run(arm, config, seed, stream)
    track = run.track.resolved(group=sweep.name, job_type=f"{role} trial")
    run = run.model_copy(update={"track": track})
    knob = _knob(run, config)
    value = None if knob is None else config.get(knob, _value(run, knob))
    trial = Trial(
        sweep=sweep.name,
        id=_identity(arm, knob, value, role, seed, run.key()),
        method=arm,
        mitigations=run.model_dump(mode="json")["mitigations"],
        knob=knob,
        value=value,
        role=role,
        seed=seed,
        config=config,
        stages=len(run.specs()),
    )
    return Planned(trial=trial, run=run)


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


def _identity(arm: str, knob: str | None, value: Any, role: Role, seed: int, key: str) -> str:
    strength = "" if knob is None or value is None else f"-{knob.partition('.')[2]}{value}"
    slug = re.sub(r"[^A-Za-z0-9.]+", "-", f"{arm}{strength}-{role}-seed{seed}").strip("-").lower()
    return f"{slug}-{key[:8]}"


# -- sharing ---------------------------------------------------------------------------------------------
def share(all_planned: Sequence[Planned], before: Sequence[Planned] = ()) -> list[Group]:
    """Groups of trials that share training; who takes over what is noted in their records.

    Args:
        all_planned: the trials of this round.
        before: trials of earlier rounds, which may give, too.
    """
    groups: dict[str, Group] = {}
    for one in all_planned:
        groups.setdefault(one.run.training_keys()[0], []).append(one)
    for group in groups.values():
        # The longest streams first; what trains the same stands together.
        order = {key: i for i, key in enumerate(dict.fromkeys(one.run.training_key() for one in group))}
        group.sort(key=lambda one: (-len(one.run.specs()), order[one.run.training_key()]))
        for index, one in enumerate(group):
            _take_over(one, [*before, *group[:index]])
    return list(groups.values())


def _take_over(taker: Planned, givers: Sequence[Planned]) -> None:
    """Note which of the givers saves most training; the first of those that save the same."""
    best, most = None, 0
    for giver in givers:
        stages = taker.run.shared_specs(giver.run.training_keys())
        if stages > most:
            best, most = giver, stages
    taker.trial.shared_with = None if best is None else best.trial.id
    taker.trial.shared_stages = most


def saved(all_planned: Sequence[Planned]) -> Saved:
    """What sharing saves in a plan."""
    asked = [len(one.run.specs()) for one in all_planned]
    taken = [one.trial.shared_stages for one in all_planned]
    return Saved(
        trials=len(asked),
        fine_tunes=sum(own > 0 for own in map(int.__sub__, asked, taken)),
        stages=sum(asked) - sum(taken),
        stages_asked=sum(asked),
    )
