"""What a sweep may spend in all, what it has spent, and what is missing when it has to stop. No Ray in here.

Spending is measured by the driver, once a second, and kept in `spending.json`, so that a driver that is killed has
counted all but the last seconds, and a resumed sweep counts on.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from cl_forget.comparison.trials import Trial
from cl_forget.config.run import Run
from cl_forget.config.sweep import ANY_NODE, LIMITS, Budget
from cl_forget.ground.errors import UserError
from cl_forget.ground.files import write_text
from cl_forget.run.shared import Setup
from cl_forget.sweeps.planning import Planned
from cl_forget.sweeps.spending import SPENDING, Spending, load_spending

NAMES = {"hours": "hours", "usd": "USD", "gpu_hours": "device hours", "passes": "passes"}

CLOSING = 15.0
"""Seconds that it takes to end the trials under way; they are kept free, a quarter of the budget at most."""

SAVED = 5.0
"""Seconds between two writings of the file."""


class Meter:
    """Counts what a sweep spends.

    Args:
        budget: the limits and the prices.
        folder: where it is kept.
        trials: the records so far.
        fresh: whether the folder holds another sweep, which is to be replaced.
        clock: seconds; any that never goes back.
        worked: seconds that the sweep was worked on before, also those that no budget counted.
    """

    def __init__(
        self,
        budget: Budget,
        folder: Path,
        trials: Iterable[Trial] = (),
        fresh: bool = False,
        clock: float | None = None,
        worked: float = 0.0,
    ) -> None:
        self.budget, self.folder = budget, folder
        self.spent = Spending() if fresh else load_spending(folder)
        self.spent.hours = max(self.spent.hours, worked / 3600)
        self._passes = {trial.id: trial.own_passes for trial in trials}
        self._last = self._saved = time.monotonic() if clock is None else clock
        self._rate = 0.0  # USD per second at the last look
        self.spent.passes = sum(self._passes.values())

    def advance(self, nodes: Sequence[str], devices: float = 0.0, clock: float | None = None) -> None:
        """Count the time since the last call.

        Args:
            nodes: the type of each node that is there.
            devices: held by trials.
            clock: what it shows.
        """
        now = time.monotonic() if clock is None else clock
        seconds = max(0.0, now - self._last)
        self._last = now
        self._rate = rate(nodes, self.budget.prices) / 3600
        self.spent.hours += seconds / 3600
        self.spent.usd += seconds * self._rate
        self.spent.gpu_hours += seconds * devices / 3600
        if now - self._saved >= SAVED:
            self.save()
            self._saved = now

    def count(self, trial: str, passes: int) -> None:
        """Note how many own passes a trial has made so far."""
        before = self._passes.get(trial, 0)
        self._passes[trial] = max(passes, before)
        self.spent.passes += self._passes[trial] - before

    def counted(self, trial: str) -> int:
        """Own passes that are counted of a trial."""
        return self._passes.get(trial, 0)

    def forget(self, trial: str) -> None:
        """What was counted under this name is counted under another one."""
        self.spent.passes -= self._passes.pop(trial, 0)

    def save(self) -> None:
        """Write the file."""
        write_text(self.folder / SPENDING, self.spent.model_dump_json(indent=1))

    def left(self, name: str) -> float:
        """What is left of one limit; infinite where there is none, never below 0."""
        limit = getattr(self.budget, name)
        return float("inf") if limit is None else max(0.0, float(limit) - float(getattr(self.spent, name)))

    def used_up(self) -> str | None:
        """The limit that is reached; None while there is something left of each."""
        return next((name for name in LIMITS if self.left(name) <= 0), None)

    def closing(self, devices: float = 0.0, passes: float = 0.0) -> str | None:
        """The limit that is reached once the trials under way have been ended; None while there is time.

        Args:
            devices: held by trials.
            passes: that may be made before it is known.
        """
        per_second = {"hours": 1 / 3600, "usd": self._rate, "gpu_hours": devices / 3600}
        for name in LIMITS:
            limit = getattr(self.budget, name)
            free = passes if name == "passes" else CLOSING * per_second[name]
            if limit is not None and self.left(name) <= min(free, limit / 4):
                return name
        return None

    def seconds_left(self, node: str = ANY_NODE) -> float:
        """How long one machine of a type may go on without devices, until it has to end what is under way."""
        left = 3600 * min(self._hours_left(node).values())
        return max(0.0, left - min(CLOSING, left / 4))

    def first_by_clock(self, node: str = ANY_NODE) -> str:
        """Which limit one machine of a type reaches first by going on: "hours" or "usd"."""
        hours = self._hours_left(node)
        return min(hours, key=lambda name: hours[name])

    def _hours_left(self, node: str) -> dict[str, float]:
        per_hour = rate([node], self.budget.prices)
        return {
            "hours": self.left("hours"),
            "usd": self.left("usd") / per_hour if per_hour else float("inf"),
        }


def price(node: str, prices: Mapping[str, float]) -> float | None:
    """USD per hour of a node; None for a type that has no price."""
    return prices.get(node, prices.get(ANY_NODE))


def rate(nodes: Iterable[str], prices: Mapping[str, float]) -> float:
    """USD per hour of all these nodes.

    One that has no price counts as the dearest that has one: it may have joined since `check_prices` looked, and is
    not free.
    """
    dearest = max(prices.values(), default=0.0)
    known = [price(node, prices) for node in nodes]
    return sum(dearest if one is None else one for one in known)


def check_prices(nodes: Iterable[str], budget: Budget) -> None:
    """Refuse a budget of money on nodes that have no price.

    Raises:
        UserError: names the type.
    """
    if budget.usd is None:
        return
    for node in nodes:
        if price(node, budget.prices) is None:
            raise UserError(
                f"`budget.usd` needs the price of every node, and there is one of type '{node}'; add it to "
                f"`budget.prices`, or `{ANY_NODE}` for all others (USD per hour)."
            )


def check_left(meter: Meter) -> None:
    """Refuse to begin where nothing is left.

    Raises:
        UserError: names the limit.
    """
    name = meter.used_up()
    if name is not None:
        raise UserError(f"{used(name, meter)}; raise `budget.{name}` to go on with --resume.")


def used(name: str, meter: Meter) -> str:
    """How much of a limit is spent, as a sentence without its end."""
    limit, spent = getattr(meter.budget, name), getattr(meter.spent, name)
    if name == "passes":
        return f"the budget is used up: {spent:,} of {limit:,} passes"
    return f"the budget is used up: {spent:.3g} of {limit:.3g} {NAMES[name]}"


class OutOfBudget(Exception):
    """A limit of the budget is reached, or what is left has no room for another trial.

    Attributes:
        limit: its name.
        need: what the smallest trial that is left would take of it; None where the limit is reached.
    """

    def __init__(self, limit: str, need: float | None = None) -> None:
        super().__init__(limit)
        self.limit, self.need = limit, need

    def said(self, meter: Meter) -> str:
        """Why the sweep ends here, as a sentence without its end."""
        if self.need is None:
            return used(self.limit, meter)
        left, limit = meter.left(self.limit), getattr(meter.budget, self.limit)
        return (
            f"what is left ({left:,.0f} of {limit:,} {NAMES[self.limit]}) has no room for another trial, which takes "
            f"about {self.need:,.0f}"
        )


def missing(planned: Sequence[Trial], trials: Iterable[Trial]) -> list[str]:
    """What a sweep that stopped has not done, one line per method.

    Args:
        planned: every trial that is known to be wanted.
        trials: the records.
    """
    over = {trial.id for trial in trials if trial.over}
    begun = {trial.id for trial in trials if trial.status == "running"}
    asked = Counter(trial.method for trial in planned)
    lines = []
    for method, count in asked.items():
        left = [trial for trial in planned if trial.method == method and trial.id not in over]
        if left:
            half = sum(trial.id in begun for trial in left)
            kept = f", {half} of them begun and kept" if half else ""
            lines.append(f"missing of {method}: {len(left)} of {count} trials{kept}")
    return lines


def affordable(costs: Sequence[float], left: float) -> list[int]:
    """Positions of what fits into what is left, taken in order; what does not fit is passed over."""
    found = []
    for position, cost in enumerate(costs):
        if cost <= left:
            found.append(position)
            left -= cost
    return found


class Forecast:
    """Passes that trials will make, in samples: from above at first, then as trials of the same method made them.

    Args:
        measured: key of a setup (`Setup.key`) -> "samples" of one pass over its stream, in so many "tasks".
    """

    def __init__(self, measured: Mapping[str, Mapping[str, float]]) -> None:
        self._measured = measured
        self._ratio: dict[str, float] = {}

    def passes(self, one: Planned) -> float:
        """Of one trial, without what it takes over."""
        return self._from_above(one) * self._ratio.get(one.trial.method, 1.0)

    def learn(self, planned: Iterable[Planned], trials: Iterable[Trial]) -> None:
        """Read what finished trials have made; of several of a method the largest share counts."""
        of = {one.trial.id: one for one in planned}
        found: dict[str, float] = {}
        for trial in trials:
            one = of.get(trial.id)
            above = self._from_above(one) if one is not None and trial.status == "finished" else 0.0
            if above > 0:
                found[trial.method] = max(found.get(trial.method, 0.0), trial.own_passes / above)
        self._ratio.update(found)

    def _from_above(self, one: Planned) -> float:
        chain, stages = one.facts.chain, one.trial.stages
        own = (stages - one.trial.shared_stages) / stages
        frozen = 1 if chain.using("request_outputs") else 0
        known = self._measured[Setup.key(one.run)]
        times = passes_over(one.run, known)
        passes = chain.passes(one.run.train.batch_size, times, steps_over(one, known))
        return own * known["samples"] * (passes + frozen)


def passes_over(run: Run, known: Mapping[str, float]) -> float:
    """How often a run goes through the training data of its stream, "samples" of them in so many "tasks"."""
    return run.train.passes(known["samples"], known.get("tasks", 1))


def steps_over(one: Planned, known: Mapping[str, float]) -> int:
    """The steps that a trial takes on one task of its stream, as if all had as many samples."""
    train = one.run.train
    each = math.ceil(known["samples"] / known.get("tasks", 1) / train.batch_size)
    return one.facts.chain.steps(train.steps or train.epochs * each)


def redone(trials: Sequence[Trial]) -> str | None:
    """What interruptions have cost, as a sentence; None where nothing was done twice."""
    again = [trial.redone_steps for trial in trials if trial.redone_steps]
    if not again:
        return None
    own = sum(round(t.cost.steps * (1 - t.share_taken)) for t in trials if t.cost is not None)
    share = f" ({100 * sum(again) / own:.1f} % of {own:,})" if own else ""
    return f"{sum(again):,} training steps were done again{share}: {len(again)} trials were interrupted"
