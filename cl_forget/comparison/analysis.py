"""What a sweep found out: pure functions from trial records to the comparison that is reported.

    trials ─► settings per method ─► selection (validation) ─► reported numbers (test, over seeds)
                       ├─► hypervolume
                       └─► the curve of the chosen setting ─► target at equal retention, retention at equal target

Missing is None, and nothing is extrapolated. A number of the table is the mean over the seeds that have it, and says
how many these are; a number of a whole curve is missing unless every seed has it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, Field

from cl_forget.comparison.arms import control_of
from cl_forget.comparison.observations import Values, trial_values
from cl_forget.comparison.selection import Choice, Spent, default_protocol, select, spent, within_budget
from cl_forget.comparison.settings import (
    Setting,
    complete,
    setting_key,
    setting_label,
    settings_of,
    varied,
    written_setting,
)
from cl_forget.comparison.statistics import Estimate, differences, estimate, estimates
from cl_forget.comparison.trials import Trial
from cl_forget.config.protocol import Protocol
from cl_forget.evaluation import metrics

COMPARED = ("speciality", "generality", "retention", "bwt", "kl_to_base", "delta_lp")
"""The test metrics that are known of every method, if only as missing, and compared with plain fine-tuning."""


class Position(BaseModel):
    """Where one setting of a method lies, over seeds.

    Attributes:
        label, value: the setting.
        key: of the setting, as in `Choice`.
        speciality, generality, retention: test data.
        on_front: whether no setting of any method is at least as good on both axes and better on one.
        at_absent: whether the point is plain fine-tuning's, which the method equals at this value of its knob.
    """

    label: str
    value: float | None
    key: str
    speciality: Estimate
    generality: Estimate
    retention: Estimate
    on_front: bool = False
    at_absent: bool = False


class MethodSummary(BaseModel):
    """One line of the final table.

    Attributes:
        method: the arm.
        role: "control" is plain fine-tuning.
        knob: "<mitigation>.<field>" that the curve follows, if it has one.
        choice: the setting selected on validation data; None if no setting was finished on every seed.
        spent: what its tuning trials cost.
        runs: seed -> id of the trial whose test numbers count.
        values: quantity -> estimate at the selected setting: test metrics and cost, as `trial_values` names them.
        errors: of a single seed, the standard errors over test items of its numbers; else empty.
        against_plain: test metric -> difference from plain fine-tuning, paired by seed.
        on_front: whether the selected setting is on the Pareto front of the methods' selected settings.
        hypervolume: area its settings dominate, as a share of the ideal (`SweepSummary.reference`).
        target_at_retention: speciality where the curve through the chosen setting crosses the stated retention.
        retention_at_target: retention where that curve crosses the stated speciality.
        curve: all settings that were finished, in the order of the knob.
    """

    method: str
    role: Literal["control", "method"]
    knob: str | None = None
    choice: Choice | None = None
    spent: Spent
    runs: dict[int, str] = Field(default_factory=dict)
    values: dict[str, Estimate] = Field(default_factory=dict)
    errors: dict[str, float] = Field(default_factory=dict)
    against_plain: dict[str, Estimate] = Field(default_factory=dict)
    on_front: bool = False
    hypervolume: Estimate = Estimate()
    target_at_retention: Estimate = Estimate()
    retention_at_target: Estimate = Estimate()
    curve: list[Position] = Field(default_factory=list)


class Failure(BaseModel):
    """A trial that did not finish."""

    id: str
    method: str
    setting: str
    seed: int
    status: str
    reason: str | None


class SweepSummary(BaseModel):
    """Everything a report of a sweep shows; plain JSON.

    Attributes:
        sweep: its name.
        protocol: rule, levels, budget.
        statements: the protocol as sentences, with the numbers that were used.
        tasks, suites: the names that were measured, in order.
        seeds: the seeds of the reported numbers.
        control: the arm of plain fine-tuning; None without one, and then nothing is paired with it.
        retention_level, target_level: where the curves are compared.
        reference: (speciality, generality) that the hypervolume is measured from: the pre-trained model's
            speciality and 0.
        ideal: the corner of the ideal trade-off: speciality 1 at the pre-trained generality.
        pretrained: (speciality, generality) of the pre-trained model, on the stream of the reported numbers; the
            reference and the ideal are on that of the curves.
        methods: the control first, then by the selection score.
        status: how many trials stand how.
        failures: the trials that did not finish, each with its reason.
        seconds: wall-clock time of all trials together.
    """

    sweep: str
    protocol: Protocol
    statements: list[str]
    tasks: list[str] = Field(default_factory=list)
    suites: list[str] = Field(default_factory=list)
    seeds: list[int]
    control: str | None
    retention_level: float
    target_level: float | None
    reference: tuple[float, float] | None
    ideal: tuple[float, float] | None
    pretrained: tuple[float, float] | None
    methods: list[MethodSummary]
    status: dict[str, int]
    failures: list[Failure]
    seconds: float | None


def sweep_summary(trials: Sequence[Trial], protocol: Protocol | None = None) -> SweepSummary:
    """Select, report and compare.

    Args:
        trials: the records of a sweep, finished or not.
        protocol: selection rule, levels, budget; by default `default_protocol`.

    Raises:
        UserError: the rule needs what the trials did not measure.
        ValueError: there are no trials.
    """
    if not trials:
        raise ValueError("a sweep without trials has no summary")
    protocol = protocol or default_protocol(trials)
    tuned = settings_of([trial for trial in trials if trial.role == "tune"])
    chosen = select(tuned, protocol)
    reported = {method: _reported(trials, tuned[method], choice) for method, choice in chosen.items()}
    control = control_of({trial.method: trial.mitigations for trial in trials})
    corners = _corners([trial for found in tuned.values() for s in found for trial in s.trials.values()])
    plain = tuned.get(control or "", [])
    target = _target_level(protocol, plain, chosen.get(control or ""), corners)
    whole = {method: complete(found) for method, found in tuned.items()}
    curves = {method: _line(found, chosen.get(method), plain) for method, found in whole.items()}
    values = _reported_values(reported, control)
    methods = [
        MethodSummary(
            method=method,
            role="control" if method == control else "method",
            knob=found[0].knob,
            choice=chosen.get(method),
            spent=spent(found),
            runs={seed: trial.id for seed, trial in sorted(reported.get(method, {}).items())},
            values={name: Estimate() for name in COMPARED} | estimates(values.get(method, {})),
            errors=_errors(reported.get(method, {})),
            against_plain=_differences(values, method, control),
            hypervolume=_over_seeds(whole[method], hypervolume_share),
            target_at_retention=_crossing(
                curves[method], protocol.retention, metrics.target_at_equal_retention
            ),
            retention_at_target=_crossing(curves[method], target, metrics.retention_at_equal_target),
            curve=_points(_with_absent_ends(whole[method], plain), method),
        )
        for method, found in tuned.items()
    ]
    _mark_fronts(methods)
    methods.sort(key=lambda m: (m.role != "control", -(m.choice.score if m.choice else -1.0), m.method))
    seeds = sorted({seed for by_seed in reported.values() for seed in by_seed})
    return SweepSummary(
        sweep=trials[0].sweep,
        protocol=protocol,
        tasks=_named(reported, "speciality_by_task"),
        suites=list(
            dict.fromkeys(_named(reported, "generality_by_suite") + _named(reported, "perplexity_by_suite"))
        ),
        statements=_statements(protocol, trials, tuned, seeds, target, control),
        seeds=seeds,
        control=control,
        retention_level=protocol.retention,
        target_level=target,
        reference=None if corners is None else (corners[0], 0.0),
        ideal=None if corners is None else (1.0, corners[1]),
        pretrained=_corners([t for by_seed in reported.values() for t in by_seed.values()]) or corners,
        methods=methods,
        status=_counted(trial.status for trial in trials),
        failures=[
            _failure(t) for t in trials if t.status in ("pruned", "diverged", "out_of_memory", "failed")
        ],
        seconds=_total(trial.seconds for trial in trials),
    )


# What is reported


def _errors(reported: Mapping[int, Trial]) -> dict[str, float]:
    """The errors over items of a single seed; over several seeds there are intervals."""
    return next(iter(reported.values())).errors if len(reported) == 1 else {}


def _reported(trials: Sequence[Trial], tuned: Sequence[Setting], choice: Choice) -> dict[int, Trial]:
    """Seed -> the trial whose test metrics count for the chosen setting: those run to report, if any were.

    Once one arm has such trials, an arm whose own are still to come has no number: it may be tuned on another stream.
    """
    reports = [t for t in trials if t.role == "report"]
    if reports:
        own = [t for t in reports if t.method == choice.method and setting_key(t) == choice.key]
        return {t.seed: t for t in own if t.status == "finished"}
    return dict(next(setting for setting in tuned if setting.key == choice.key).trials)


def _values(by_seed: Mapping[int, Trial], metric: str) -> dict[int, float | None]:
    return {seed: trial.test.get(metric) for seed, trial in by_seed.items()}


def _reported_values(
    reported: Mapping[str, dict[int, Trial]], control: str | None
) -> dict[str, dict[int, Values]]:
    """Method -> seed -> the scalars of its trial, with its time relative to plain fine-tuning's."""
    plain = reported.get(control or "", {})
    seconds = {seed: trial.cost.train_seconds for seed, trial in plain.items() if trial.cost is not None}
    return {
        method: {seed: trial_values(trial, seconds.get(seed)) for seed, trial in by_seed.items()}
        for method, by_seed in reported.items()
    }


def _differences(
    values: Mapping[str, dict[int, Values]], method: str, control: str | None
) -> dict[str, Estimate]:
    if control is None or method == control or method not in values or control not in values:
        return {}
    return differences(values[method], values[control], COMPARED)


def _named(reported: Mapping[str, dict[int, Trial]], metric: str) -> list[str]:
    """The names that a metric was measured by, in order."""
    found = (trial.test.get(metric) or {} for by_seed in reported.values() for trial in by_seed.values())
    return list(dict.fromkeys(name for of_trial in found for name in of_trial))


# Curves


def _line(settings: Sequence[Setting], choice: Choice | None, plain: Sequence[Setting]) -> list[Setting]:
    """The settings that differ from the chosen one by the knob alone, with their absent end; none without a choice.

    Settings that differ in more lie on no line: between two learning rates nothing says what is.
    """
    if choice is None:
        return []
    others = next(_others(setting) for setting in settings if setting.key == choice.key)
    return _with_absent_ends([s for s in settings if _others(s) == others], plain)


def _others(setting: Setting) -> dict[str, Any]:
    """The fields of a setting without its knob."""
    first = next(iter(setting.trials.values()))
    return {name: value for name, value in varied(first) if name != setting.knob}


def _with_absent_ends(settings: Sequence[Setting], plain: Sequence[Setting]) -> list[Setting]:
    """Finished settings and, where a method alone equals plain fine-tuning at some knob, those points too.

    It does so where everything else is the same: at another learning rate plain fine-tuning is the end of nothing.
    """
    absent = _absent_value(settings[0]) if settings else None
    if absent is None or any(s.value == absent for s in settings):
        return list(settings)
    knob, wanted = str(settings[0].knob), [_others(setting) for setting in settings]
    seeds = list(settings[0].trials)
    ends = []
    for point in plain:
        fields = dict(varied(next(iter(point.trials.values()))))
        if point.finished and fields in wanted and all(set(point.trials) >= set(s.trials) for s in settings):
            label = f"{written_setting({knob: absent, **fields})} (absent)"
            trials = {seed: point.trials[seed] for seed in seeds}
            end = {"knob": knob, "value": absent, "label": label, "trials": trials}
            ends.append(point.model_copy(update=end))
    return sorted([*settings, *ends], key=lambda s: s.value or 0.0)


def _absent_value(setting: Setting) -> float | None:
    """The knob value at which the method is plain fine-tuning; None for combinations and other knobs."""
    from cl_forget.mitigations import MITIGATIONS

    first = next(iter(setting.trials.values()))
    if len(first.mitigations) != 1 or setting.knob is None:
        return None
    name, _, field = setting.knob.rpartition(".")
    cls: Any = MITIGATIONS.get(next(iter(first.mitigations[0])))
    return cls.absent if (name, field) == (cls.name, cls.knob) else None


def _points(settings: Sequence[Setting], method: str) -> list[Position]:
    return [
        Position(
            label=setting.label,
            value=setting.value,
            key=setting.key,
            at_absent=next(iter(setting.trials.values())).method != method,
            **{
                name: estimate(_values(setting.trials, name))
                for name in ("speciality", "generality", "retention")
            },
        )
        for setting in settings
    ]


def _over_seeds(settings: Sequence[Setting], number: Callable[[Sequence[Trial]], float | None]) -> Estimate:
    """A number of the whole curve, computed seed by seed; only seeds that every setting has."""
    if not settings:
        return Estimate()
    seeds = set.intersection(*(set(setting.trials) for setting in settings))
    return estimate({seed: number([s.trials[seed] for s in settings]) for seed in sorted(seeds)})


def _crossing(
    settings: Sequence[Setting], level: float | None, crossing: Callable[[Any, float], float | None]
) -> Estimate:
    """Where each seed's curve crosses a level; nothing for methods without a knob."""
    if level is None or any(setting.value is None for setting in settings):
        return Estimate()

    def of_seed(trials: Sequence[Trial]) -> float | None:
        return crossing([_floats(trial, "speciality", "retention") for trial in trials], level)

    return _over_seeds(settings, of_seed)


def hypervolume_share(trials: Sequence[Trial]) -> float | None:
    """Share of the ideal: area above (pre-trained speciality, 0) over that up to (1, pre-trained generality)."""
    corners = _corners(trials)
    if corners is None or corners[0] >= 1 or corners[1] <= 0:
        return None
    points = [_floats(trial, "speciality", "generality") for trial in trials]
    area = metrics.hypervolume(points, (corners[0], 0.0))
    return None if area is None else area / ((1 - corners[0]) * corners[1])


def _floats(trial: Trial, *names: str) -> tuple[float, ...]:
    values = [trial.test.get(name) for name in names]
    return tuple(float("nan") if value is None else float(value) for value in values)


def _corners(trials: Sequence[Trial]) -> tuple[float, float] | None:
    """(speciality, generality) of the pre-trained model, which every seed of a stream shares."""
    for trial in trials:
        known = (trial.test.get("speciality_pretrained"), trial.test.get("generality_pretrained"))
        if known[0] is not None and known[1] is not None:
            return float(known[0]), float(known[1])
    return None


def _target_level(
    protocol: Protocol,
    plain: Sequence[Setting],
    choice: Choice | None,
    corners: tuple[float, float] | None,
) -> float | None:
    """The protocol's own level, or what nine tenths of the gain of plain fine-tuning, as it was chosen, reach."""
    if protocol.target is not None or corners is None or choice is None:
        return protocol.target
    best = next(setting for setting in plain if setting.key == choice.key)
    reached = estimate(_values(best.trials, "speciality")).mean
    return None if reached is None else corners[0] + 0.9 * (reached - corners[0])


def _mark_fronts(methods: Sequence[MethodSummary]) -> None:
    """Set `on_front` of the selected settings among each other, and of all settings among all."""

    def coordinates(speciality: Estimate, generality: Estimate) -> tuple[float, ...]:
        values = (speciality.mean, generality.mean)
        return tuple(float("nan") if value is None else value for value in values)

    selected = [coordinates(m.values["speciality"], m.values["generality"]) for m in methods]
    for position in metrics.pareto_front(selected):
        methods[position].on_front = True
    points = [point for m in methods for point in m.curve]
    for position in metrics.pareto_front([coordinates(p.speciality, p.generality) for p in points]):
        points[position].on_front = True


# Words and totals


def _statements(
    protocol: Protocol,
    trials: Sequence[Trial],
    tuned: Mapping[str, list[Setting]],
    seeds: Sequence[int],
    target: float | None,
    control: str | None,
) -> list[str]:
    reports = [trial for trial in trials if trial.role == "report"]
    allowed = {len(found) for m, found in within_budget(tuned, protocol.equal).items() if len(tuned[m]) > 1}
    share = " or ".join(str(count) for count in sorted(allowed)) or "1"
    tune_seeds = sorted({seed for found in tuned.values() for s in found for seed in s.trials})
    lines = [
        f"Selection: per method {protocol.rule()}, on validation data, mean over seeds {_list(tune_seeds)}; "
        "test data play no part in it.",
        f"Budget: equal {protocol.equal} per method: each chooses among {share} settings"
        + (" that fit into the passes of the cheapest method." if protocol.equal == "compute" else "."),
        f"Reported: test data, seeds {_list(seeds)}, "
        + (
            f"of {len(reports)} runs made after the selection; curves are test data of the tuning runs."
            if reports
            else "of the runs that were selected; curves are test data of all runs."
        ),
        "Intervals: 95 %, Student's t over seeds. "
        + (
            f"Differences: from '{control}', paired by seed."
            if control
            else "There is no plain fine-tuning to compare with."
        ),
        f"Curves are compared at {protocol.retention:.0%} retention"
        + (f" and at speciality {target:.1%}" if target is not None else "")
        + ": along the knob, all else as it was chosen, linear between their points and never beyond them.",
        "Hypervolume: area above (pre-trained speciality, 0), as a share of that up to "
        "(1, pre-trained generality); it grows with the number of settings.",
    ]
    return lines


def _list(values: Iterable[int]) -> str:
    return ", ".join(str(value) for value in values) or "none"


def _counted(names: Iterable[str]) -> dict[str, int]:
    listed = list(names)
    return {name: listed.count(name) for name in dict.fromkeys(listed)}


def _total(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None


def _failure(trial: Trial) -> Failure:
    return Failure(
        id=trial.id,
        method=trial.method,
        setting=setting_label(trial),
        seed=trial.seed,
        status=trial.status,
        reason=trial.reason,
    )
