"""One setting per method, chosen on validation data only, from an equal share of trials or of compute.

Everything here is a pure function of trial records. Nothing reads a trial's `test` metrics.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from statistics import harmonic_mean
from typing import TypeVar

from pydantic import BaseModel

from cl_forget.comparison.settings import Setting, complete
from cl_forget.comparison.trials import Trial
from cl_forget.config.protocol import Equal, Protocol
from cl_forget.evaluation.metrics import mean
from cl_forget.ground.errors import UserError

Item = TypeVar("Item")

LEARNT = 0.01
"""Accuracy above that before any tuning (probed heads included) which counts as having learnt something."""


class Choice(BaseModel):
    """What selection decided for one method.

    Attributes:
        method: the arm.
        key, label, value: of the chosen setting.
        score: what it was chosen by, on validation data.
        speciality, retention: validation means over seeds.
        meets: whether the rule's condition holds (always, for a rule without one).
        learns: whether its speciality is above what it was before any tuning, by `LEARNT` or more.
        candidates: settings that the budget allowed to choose from.
        left_out: settings beyond the budget, or not finished on every seed.
    """

    method: str
    key: str
    label: str
    value: float | None
    score: float
    speciality: float | None
    retention: float | None
    meets: bool
    learns: bool = True
    candidates: int
    left_out: int


class Spent(BaseModel):
    """What a method's trials have cost; a fine-tune that several of them share counts once.

    Attributes:
        settings, trials: how many; trials are settings times seeds.
        finished: how many of the trials ran to their end.
        fine_tunes: trainings that the trials need between them.
        samples: training samples seen.
        passes: forward and backward passes of the tuned model and passes of frozen ones, counted in samples.
        seconds: wall-clock time of the trials as they were run, sharing included.
        redone_steps: training steps that were done again, as processes or machines had died; part of no other number.
    """

    settings: int
    trials: int
    finished: int
    fine_tunes: int
    samples: int
    passes: int
    seconds: float | None
    redone_steps: int = 0


def default_protocol(trials: Sequence[Trial]) -> Protocol:
    """The protocol of a sweep that names none: without suites there is no retention to select by."""
    measured = any(trial.validation.get("retention") is not None for trial in trials)
    return Protocol(select="balanced" if measured else "speciality")


def spent(settings: Sequence[Setting]) -> Spent:
    """What these settings of one method have cost."""
    trials = [trial for setting in settings for trial in setting.trials.values()]
    tunes = _fine_tunes(trials)
    seconds = [trial.seconds for trial in trials if trial.seconds is not None]
    return Spent(
        settings=len(settings),
        trials=len(trials),
        finished=sum(trial.status == "finished" for trial in trials),
        fine_tunes=len(tunes),
        samples=sum(trial.cost.samples_seen for trial in tunes if trial.cost),
        passes=sum(trial.passes for trial in tunes),
        seconds=sum(seconds) if seconds else None,
        redone_steps=sum(trial.redone_steps for trial in trials),
    )


def _fine_tunes(trials: Sequence[Trial]) -> list[Trial]:
    """One trial for each training that the trials need between them, as if no other method were there."""
    distinct: dict[str, Trial] = {}
    for trial in trials:
        if not trial.passes:
            continue
        whole = trial.shared_with is not None and trial.shared_stages >= _stages(trial)
        distinct.setdefault(str(trial.shared_with) if whole else trial.id, trial)
    return list(distinct.values())


def _stages(trial: Trial) -> int:
    """Entries of its stream; records that do not say have one for each task."""
    return trial.stages or len(trial.test.get("speciality_by_task") or ()) or 1


def within_budget(settings: Mapping[str, list[Setting]], equal: Equal) -> dict[str, list[Setting]]:
    """The settings each method may choose from.

    With equal trials every method has as many settings as the method with the fewest has, spread evenly over
    its own (`evenly`); with equal compute as many, spread like this, as fit into the passes of the cheapest method.
    Methods with a single setting have no choice to make and set no limit.

    Args:
        settings: method -> settings, as `settings_of` gives them.
        equal: "trials" or "compute".
    """
    choosing = {method: found for method, found in settings.items() if len(found) > 1}
    if not choosing:
        return dict(settings)
    if equal == "trials":
        fewest = min(len(found) for found in choosing.values())
        return {method: evenly(found, fewest) for method, found in settings.items()}
    limit = min(spent(found).passes for found in choosing.values())
    return {
        method: _affordable(found, limit) if method in choosing else list(found)
        for method, found in settings.items()
    }


def spread(items: Sequence[Item], count: int) -> list[Item]:
    """`count` of the items, the ends among them, evenly spaced; all of them if there are not more."""
    if len(items) <= count:
        return list(items)
    if count == 1:
        return [items[(len(items) - 1) // 2]]
    return [items[round(i * (len(items) - 1) / (count - 1))] for i in range(count)]


def evenly(settings: Sequence[Setting], count: int) -> list[Setting]:
    """`count` of a method's settings, in their order: an even spread over its grid, the learning rates outermost.

    Half of a grid of two fields so has each value of both about as often as any other, whatever order its trials
    were recorded in.
    """
    chosen = {setting.key for setting in spread(sorted(settings, key=_place), count)}
    return [setting for setting in settings if setting.key in chosen]


def _place(setting: Setting) -> list[tuple[bool, str, float, str]]:
    return place(next(iter(setting.trials.values())).config)


def place(config: Mapping[str, object]) -> list[tuple[bool, str, float, str]]:
    """Where a setting stands in its method's grid: training first, then the fields by name, values in their order."""
    return sorted((not name.startswith("train."), name, *_value(value)) for name, value in config.items())


def _value(value: object) -> tuple[float, str]:
    return (float(value), "") if isinstance(value, int | float) else (0.0, json.dumps(value, sort_keys=True))


def _affordable(settings: Sequence[Setting], limit: int) -> list[Setting]:
    """The largest even spread whose fine-tunes cost no more passes than `limit`; at least one setting."""
    for count in range(len(settings), 1, -1):
        chosen = evenly(settings, count)
        if spent(chosen).passes <= limit:
            return chosen
    return evenly(settings, 1)


def select(settings: Mapping[str, list[Setting]], protocol: Protocol) -> dict[str, Choice]:
    """The chosen setting of each method; a method without a finished one is left out.

    Only settings that ran to their end on every seed of their method can be chosen (`complete`). Ties go to the
    setting that retains more, then to the first of the grid: the lowest learning rate, then the lowest strength.

    Args:
        settings: the tuning trials by method.
        protocol: rule and budget.

    Raises:
        UserError: the rule needs retention, and nothing measured any.
    """
    candidates = within_budget(settings, protocol.equal)
    finished = [s for found in settings.values() for s in found if s.finished]
    needs_retention = protocol.select != "speciality"
    if finished and needs_retention and all(s.mean("retention") is None for s in finished):
        raise UserError(
            "no trial has a retention to select by; name `suites`, or set `protocol.select: speciality`."
        )
    choices = {}
    for method, found in candidates.items():
        whole = {s.key for s in complete(settings[method])}
        scored = [(*_score(s, protocol), s) for s in found if s.key in whole]
        known = [(meets, score, s) for meets, score, s in scored if score is not None]
        known.sort(key=lambda entry: _place(entry[2]))  # of equals, `max` takes the first
        if not known:
            continue
        meets, score, best = max(
            known, key=lambda entry: (entry[0], entry[1], entry[2].mean("retention") or 0)
        )
        choices[method] = Choice(
            method=method,
            key=best.key,
            label=best.label,
            value=best.value,
            score=score,
            speciality=best.mean("speciality"),
            retention=best.mean("retention"),
            meets=meets,
            learns=_learns(best),
            candidates=len(known),
            left_out=len(settings[method]) - len(known),
        )
    return choices


def _learns(setting: Setting) -> bool:
    reached, start = setting.mean("speciality"), setting.mean("speciality_pretrained")
    return reached is None or start is None or reached >= start + LEARNT


def _score(setting: Setting, protocol: Protocol) -> tuple[bool, float | None]:
    """(whether the rule's condition holds, the number that is maximised)."""
    speciality, retention = setting.mean("speciality"), setting.mean("retention")
    if protocol.select == "speciality":
        return True, speciality
    if protocol.select == "balanced":
        return True, mean([speciality, retention])
    if speciality is None or retention is None:
        return False, None
    if protocol.select == "harmonic":
        return True, harmonic_mean([speciality, retention])
    meets = retention >= protocol.retention
    return meets, speciality if meets else retention
