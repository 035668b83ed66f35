"""Where edited models are measured: the pair's model, the tasks and suites, and one evaluation path."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from cl_forget.auditing.pair import Pair, Rounded
from cl_forget.auditing.records import Point
from cl_forget.evaluation.evaluate import Evaluator
from cl_forget.evaluation.items import LEVEL, Interval, Items, difference, interval, of_mean, rise
from cl_forget.evaluation.metrics import mean
from cl_forget.ground.environment import cache_folder
from cl_forget.ground.errors import UserError
from cl_forget.ground.records import Cost, Row, Scores
from cl_forget.run.shared import check_names
from cl_forget.streams import load_stream, load_suites
from cl_forget.training.frozen import FrozenCache, FrozenModel

if TYPE_CHECKING:
    from cl_forget.config.run import Run
    from cl_forget.streams.base import Experience
    from cl_forget.weights.interpolation import Share


def quality(scores: Scores) -> float | None:
    """Accuracy, or 1/perplexity where a suite has none: both in [0, 1], larger is better."""
    if scores.accuracy is not None:
        return scores.accuracy
    return None if scores.perplexity is None else 1 / scores.perplexity


class Measured(NamedTuple):
    """An edited model: its numbers, what it did with each sample, and what each mean is over."""

    point: Point
    items: dict[str, Items]
    groups: dict[str, list[str]]

    @property
    def kept(self) -> list[str]:
        """The suites that stand for what should have stayed."""
        return self.groups["generality"] or self.groups["fluency"]


class Tested(NamedTuple):
    """A model on test data: its numbers and its samples, by task and suite; and how it was rounded, if it was."""

    scores: dict[str, Scores]
    items: dict[str, Items]
    rounding: Rounded | None = None

    @classmethod
    def of(cls, row: Row, items: dict[str, Items]) -> Tested:
        """From a row of an evaluation."""
        return cls({name: found.test for name, found in (row.tasks | row.suites).items()}, items)


def range_of(items: Mapping[str, Items], names: Sequence[str], level: float = LEVEL) -> Interval | None:
    """The interval of a mean over data sets; None where one is not seen sample by sample."""
    found = [items[name] for name in names if name in items]
    if not names or len(found) < len(names):
        return None
    return of_mean([one.value for one in found], [interval(one, level) for one in found])


def range_of_difference(
    one: Mapping[str, Items], other: Mapping[str, Items], names: Sequence[str], level: float = LEVEL
) -> Interval | None:
    """The same of the difference of two models' means."""
    if not names or any(name not in one or name not in other for name in names):
        return None
    differences = [one[name].value - other[name].value for name in names]
    return of_mean(differences, [difference(one[name], other[name], level) for name in names])


def by_perplexity(items: Mapping[str, Items], names: Sequence[str]) -> bool:
    """Whether all of these data sets are seen sample by sample, and measured by perplexity."""
    return bool(names) and all(name in items and items[name].right is None for name in names)


def range_of_rise(
    before: Mapping[str, Items], after: Mapping[str, Items], names: Sequence[str], level: float = LEVEL
) -> Interval | None:
    """The interval of the mean rise of the logarithm of the perplexity; None where samples are not seen."""
    if not by_perplexity(before, names) or not by_perplexity(after, names):
        return None
    rises = [log_ratio(before[name].value, after[name].value) or 0.0 for name in names]
    return of_mean(rises, [rise(before[name], after[name], level) for name in names])


def log_ratio(one: float | None, other: float | None) -> float | None:
    """ln(one/other), None where either is unknown or zero: how far the perplexity rises from 1/`one` to 1/`other`."""
    return math.log(one / other) if one and other else None


def inverse(interval: Interval | None) -> Interval | None:
    """Of a perplexity, from that of its inverse."""
    if interval is None or interval.low <= 0:
        return None
    return Interval(low=1 / interval.high, high=1 / interval.low)


def choose_data(
    of: Pair | Run | Sequence[Run | None] | None, stream: Sequence[Any], suites: Sequence[Any]
) -> tuple[list[Experience], list[Experience]]:
    """The tasks and suites asked for; those of the tuned model's run where none are named.

    Args:
        of: the run, or the pair that knows it; None where the tuned model comes from no run. Of several runs the
            tasks are all of theirs, and the suites those of the last.
        stream, suites: as an experiment file names them; empty for those of the run.

    Raises:
        UserError: as `load_stream` and `load_suite`, or a name that is used twice.
    """
    several = of if isinstance(of, Sequence) else [of.run if isinstance(of, Pair) else of]
    runs = [run for run in several if run is not None]
    if runs:
        asked: list[Any] = []
        for run in runs:
            named = run.stream if isinstance(run.stream, list) else [run.stream]
            asked += [task for task in named if task not in asked]
        stream, suites = list(stream) or asked, list(suites) or runs[-1].suites
    tasks = load_stream(list(stream)) if stream else []
    chosen = load_suites(suites)
    check_names(tasks, chosen)
    return tasks, chosen


class Bench:
    """Measures the pair's model as it is edited.

    Args:
        pair: the two models.
        tasks: what was tuned on, or for.
        suites: what should have stayed.
        batch_size: samples per forward pass; None for that of the tuned model's run, or 64.
        limit: samples per data set at most; None for all.
    """

    def __init__(
        self,
        pair: Pair,
        tasks: list[Experience],
        suites: list[Experience],
        batch_size: int | None = None,
        limit: int | None = None,
    ) -> None:
        self.pair, self.tasks, self.suites = pair, tasks, suites
        for suite in suites:
            pair.model.check_suite(suite)
        self._frozen = FrozenModel(pair.base_model, tasks, copy=False)
        self._cache = FrozenCache(cache_folder())
        self._batch_size = batch_size or (pair.run.evaluate.batch_size if pair.run is not None else 64)
        self._evaluator = self._with_limit(limit)

    def _with_limit(self, limit: int | None) -> Evaluator:
        return Evaluator(
            self.pair.model, self._frozen, self._cache, self.tasks, self.suites, [], self._batch_size, limit
        )

    def limited(self, limit: int | None) -> Bench:
        """The same bench on fewer samples."""
        twin = object.__new__(Bench)
        twin.__dict__.update(self.__dict__)
        twin._evaluator = self._with_limit(limit)
        return twin

    def renew_statistics(self) -> bool | None:
        """Give every edit BatchNorm statistics of its own, from the tasks' training data.

        Returns:
            Whether it has them; None where there is nothing to do, both models having the same statistics.
        """
        if not self.pair.moved_statistics():
            return None
        sources = [self._evaluator.prepared(task, "train") for task in self.tasks if task.train is not None]
        self.pair.sources = sources
        return bool(sources)

    def row(self, name: str | None, share: Callable[[str], Share]) -> Row:
        """Every number of an edited model; None names the base."""
        self.pair.place(share)
        return self._evaluator.row(name, [], Cost(), probing=False, restoring=False)

    def base(self) -> Tested:
        """The base on test data, from the cache of the frozen model."""
        row = self.row(None, lambda _: 0.0)
        return Tested.of(row, self.items("test"))

    def tested(self, share: Callable[[str], Share], bits: int | None = None) -> Tested:
        """An edited model on test data.

        Args:
            share: as for `Pair.place`.
            bits: what its matrices are rounded to; None leaves them as they are.
        """
        self.pair.place(share)
        rounding = None if bits is None else self.pair.round_weights(bits)
        scores = {e.name: self._evaluator.scores(e, "test") for e in (*self.tasks, *self.suites)}
        return Tested(scores, self.items("test"), rounding)

    def items(self, split: str) -> dict[str, Items]:
        """What the model did with each sample of a split when it was last measured, by task and suite."""
        return {name: items for (name, of), items in self._evaluator.items.items() if of == split}

    def measure(self, share: Callable[[str], Share]) -> Measured:
        """An edited model on the validation data."""
        self.pair.place(share)
        scores = {e.name: self._evaluator.scores(e, "validation") for e in (*self.tasks, *self.suites)}
        items = self.items("validation")
        groups = self.groups(scores)
        return Measured(
            Point(
                speciality=mean([quality(scores[name]) for name in groups["speciality"]]),
                generality=mean([scores[name].accuracy for name in groups["generality"]]),
                fluency=mean([quality(scores[name]) for name in groups["fluency"]]),
                qualities={name: quality(one) for name, one in scores.items()},
                ranges={key: found for key, names in groups.items() if (found := range_of(items, names))},
            ),
            items,
            groups,
        )

    def groups(self, scores: Mapping[str, Scores]) -> dict[str, list[str]]:
        """Which data sets speciality, generality and fluency are means over."""
        suites = [suite.name for suite in self.suites]
        return {
            "speciality": [task.name for task in self.tasks],
            "generality": [name for name in suites if scores[name].accuracy is not None],
            "fluency": [name for name in suites if scores[name].accuracy is None],
        }

    def point(self, share: Callable[[str], Share]) -> Point:
        """An edited model on the validation data, its numbers alone."""
        return self.measure(share).point

    def loss(self, share: Callable[[str], Share]) -> float:
        """Mean validation loss of an edited model over the tasks; nothing is answered or decoded."""
        self.pair.place(share)
        self.pair.model.eval()
        return sum(map(self._task_loss, self.tasks)) / len(self.tasks)

    def _task_loss(self, task: Experience) -> float:
        samples = self._evaluator.prepared(task, "validation")
        with torch.no_grad():
            forwards = [self.pair.model(batch) for batch in samples.batches(self._batch_size)]
        loss = float(torch.cat([f.per_sample(f.unit_losses()) for f in forwards]).double().mean())
        return loss if math.isfinite(loss) else math.inf


def require_data(experiences: Sequence[Experience], what: str, option: str) -> None:
    """Refuse a search without data.

    Raises:
        UserError: there are none.
    """
    if not experiences:
        raise UserError(f"name {what} with {option}: without it there is nothing to choose by.")
