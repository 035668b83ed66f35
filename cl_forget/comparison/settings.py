"""What a setting is, when two are the same, and the one way in which it is written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from cl_forget.comparison.trials import Trial
from cl_forget.config.arms import COMPOSE
from cl_forget.config.run import BOOKKEEPING
from cl_forget.evaluation.metrics import mean
from cl_forget.evaluation.options import Evaluation
from cl_forget.models.options import TextOptions
from cl_forget.training.options import Training

# What says where and with which seed a trial ran, not with which setting.
NOT_OF_A_TRIAL = ("stream", "seed", "seeds", "suites", "probes")
NOT_OF_A_RUN = (
    "seed", "method", "mitigations", *BOOKKEEPING,
    "train.threads",  # a condition, which `conditions` says
    "evaluate.curves", "evaluate.export", "evaluate.keep_stages",  # what is kept, not what is measured
)  # fmt: skip
DEFAULTS: dict[str, BaseModel] = {"train": Training(), "evaluate": Evaluation(), "text": TextOptions()}


class Setting(BaseModel):
    """One method with all its fields set, and its trials over the seeds.

    Attributes:
        method: the arm.
        label: what the setting is, for people: "strength = 0.1", or "" for a method without a choice.
        knob, value: as in `Trial`.
        key: equal for two trials of the same setting, on whatever stream.
        trials: seed -> its trial.
    """

    method: str
    label: str
    knob: str | None
    value: float | None
    key: str
    trials: dict[int, Trial]

    @property
    def finished(self) -> bool:
        """Whether every seed that it has was run to its end."""
        return all(trial.status == "finished" for trial in self.trials.values())

    def mean(self, metric: str) -> float | None:
        """Mean over seeds of a validation metric; None if a seed lacks it."""
        return mean(trial.validation.get(metric) for trial in self.trials.values())


def complete(settings: Sequence[Setting]) -> list[Setting]:
    """Those of one method that ran to their end on every seed that any of them has.

    A mean over fewer seeds would be another comparison. Seeds are lacking where a search is under way, records were
    removed, or sweeps with different seeds are read together.
    """
    seeds = {seed for setting in settings for seed in setting.trials}
    return [setting for setting in settings if setting.finished and setting.trials.keys() == seeds]


_IN_ORDER = json.JSONEncoder(sort_keys=True)


def setting_key(trial: Trial) -> str:
    """Equal for two trials with the same method and fields, whatever their seed and stream."""
    return _IN_ORDER.encode([trial.method, trial.mitigations, dict(varied(trial))])


def settings_of(trials: Sequence[Trial]) -> dict[str, list[Setting]]:
    """The settings of each method: methods in order of appearance, settings by knob value, then as they came."""
    found: dict[str, dict[str, Setting]] = {}
    for trial in trials:
        key = setting_key(trial)
        of_method = found.setdefault(trial.method, {})
        if key not in of_method:
            of_method[key] = Setting(
                method=trial.method,
                label=setting_label(trial),
                knob=trial.knob,
                value=trial.value,
                key=key,
                trials={},
            )
        of_method[key].trials[trial.seed] = trial
    return {
        method: sorted(settings.values(), key=lambda s: (s.value is None, s.value or 0.0))
        for method, settings in found.items()
    }


def setting_label(trial: Trial) -> str:
    """The setting of a trial for people: "strength = 0.1, train.lr = 0.0005"; "" for a method without a choice.

    The knob comes first, by the name of its field; nothing is said twice. A method without a knob and without
    varied fields is described by the numbers of its mitigations.
    """
    said = {} if trial.knob is None or trial.value is None else {trial.knob.split(".")[-1]: trial.value}
    said |= {name: value for name, value in varied(trial) if name != trial.knob or not said}
    if trial.knob is None and not said:
        said = dict(mitigation_numbers(trial.mitigations))
    return written_setting(said)


def written_setting(fields: Mapping[str, Any]) -> str:
    """Fields and their values as they stand in every medium: "strength = 0.1, train.lr = 0.0005".

    Which methods a composition has is said without a name: "l2_sp + wise_ft, l2_sp.strength = 0.1".
    """
    return ", ".join(
        written(value) if name == COMPOSE else f"{name} = {written(value)}" for name, value in fields.items()
    )


def written(value: Any) -> str:
    """One value of a field; two that differ are never written alike."""
    if isinstance(value, float):
        short = f"{value:g}"
        return short if float(short) == value else repr(value)
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def mitigation_numbers(mitigations: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, float]]:
    """The numbers among the fields of mitigations, as ("<mitigation>.<field>", value)."""
    for item in mitigations:
        for name, fields in item.items():
            for field, value in fields.items() if isinstance(fields, Mapping) else ():
                if isinstance(value, int | float) and not isinstance(value, bool):
                    yield f"{name}.{field}", value


def varied(trial: Trial) -> Iterator[tuple[str, Any]]:
    """The fields that a sweep has set for the trial, as (dotted name, value), without those that are no setting."""
    return (
        (name, value) for name, value in trial.config.items() if name.partition(".")[0] not in NOT_OF_A_TRIAL
    )


def recorded_settings(run: Mapping[str, Any]) -> dict[str, Any]:
    """Every setting of a recorded run: dotted name -> value; what an earlier version did not know is its default."""
    filled = {
        name: {**default.model_dump(mode="json"), **(run.get(name) or {})}
        for name, default in DEFAULTS.items()
    }
    return dict(_flatten({**run, **filled}))


def _flatten(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, item in value.items():
        name = f"{prefix}{key}"
        if name in NOT_OF_A_RUN:
            continue
        if isinstance(item, Mapping):
            yield from _flatten(item, f"{name}.")
        else:
            yield name, item


def what_differs(settings: Sequence[Mapping[str, Any]]) -> list[str]:
    """For each, the settings in which not all agree: "train.epochs=4, train.lr=0.001"; "" for all if all agree.

    It becomes part of a name, so there are no spaces around the signs.
    """
    names = list(dict.fromkeys(name for one in settings for name in one))
    odd = [name for name in names if len({written(one.get(name)) for one in settings}) > 1]
    return [", ".join(f"{name}={written(one.get(name))}" for name in odd) for one in settings]
