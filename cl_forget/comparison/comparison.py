"""The results side by side: ordered, checked against each other, with their scalars."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cl_forget.comparison.arms import control_of
from cl_forget.comparison.measures import PRETRAINED, Frame, Measure
from cl_forget.comparison.observations import Values, collect, pretrained_values, run_values
from cl_forget.comparison.records import Result


@dataclass(frozen=True)
class Comparison:
    """The results and what every figure needs of them.

    Attributes:
        results: the runs, by method in the order shown, then by seed.
        control: the arm of plain fine-tuning.
        values: the scalars of each run, aligned with `results`.
        pretrained: seed -> the scalars of the pre-trained model; the seed is None if all seeds agree.
    """

    results: list[Result]
    control: str | None
    values: list[Values]
    pretrained: dict[int | None, Values]

    @property
    def tasks(self) -> list[str]:
        """The stream's tasks, in order."""
        return self.results[0].tasks

    @property
    def suites(self) -> list[str]:
        """The generality suites, in order."""
        return self.results[0].suites

    @property
    def names(self) -> list[str]:
        """The methods, in the order shown."""
        return list(dict.fromkeys(result.method for result in self.results))

    @property
    def several_seeds(self) -> bool:
        """Whether any method has more than one seed, and so intervals."""
        return len(self.names) < len(self.results)

    @property
    def spread(self) -> str:
        """What is drawn around a mean over seeds: no interval is worth showing of two."""
        most = max(len(self.seeds(name)) for name in self.names)
        return "95 % interval" if most > 2 else "range of two seeds"

    @property
    def unchanged(self) -> set[str]:
        """The methods that left every weight of the pre-trained model as it was, such as a linear probe."""
        moved = {r.method for r in self.results if any(r.rows[-1].drift.weight_distance.values())}
        measured = {r.method for r in self.results if r.rows[-1].drift.weight_distance}
        return measured - moved

    def seeds(self, method: str) -> tuple[int, ...]:
        """The seeds there is a result of `method` for."""
        return tuple(result.seed for result in self.results if result.method == method)

    def observations(self, measures: Iterable[Measure], pretrained: bool = False) -> Frame:
        """The scalars of every run as a frame, the pre-trained model first if asked for."""
        names = [measure.name for measure in measures]
        reference = (
            [(PRETRAINED, seed, values) for seed, values in self.pretrained.items()] if pretrained else []
        )
        runs = [(result.method, result.seed, v) for result, v in zip(self.results, self.values, strict=True)]
        return collect(
            ({"method": method, "seed": seed, "measure": name}, values.get(name))
            for method, seed, values in (*reference, *runs)
            for name in names
        )


def compare(results: Sequence[Result]) -> Comparison:
    """Order the results, control first, and compute their scalars."""
    control = control_of({r.method: r.run.get("mitigations") for r in reversed(results)})
    seconds = {r.seed: r.rows[-1].cost.train_seconds for r in results if r.method == control}
    values = {(r.method, r.seed): run_values(r, seconds) for r in results}
    ordered = sorted(
        results, key=lambda r: (r.method != control, -_merit(r.method, values), r.method, r.seed)
    )
    by_seed = {r.seed: pretrained_values(r) for r in reversed(ordered)}
    first, *others = by_seed.values()
    agree = all(other == first for other in others)
    return Comparison(
        results=ordered,
        control=control,
        values=[values[r.method, r.seed] for r in ordered],
        pretrained={None: first} if agree else {seed: by_seed[seed] for seed in sorted(by_seed)},
    )


def _merit(method: str, values: dict[tuple[str, int], Values]) -> float:
    """Speciality plus generality, averaged over seeds: only the order in which methods are listed."""
    known = [
        value
        for (name, _), of_run in values.items()
        for key in ("speciality", "generality")
        if name == method and (value := of_run[key]) is not None
    ]
    return sum(known) / len(known) if known else 0.0
