"""Optuna through Tune, one study per method, so that each method gets the same budget and its own space."""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from typing import Any

from ray import tune
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from cl_forget.config.sweep import DEFAULT_TRIALS, Range, Sweep
from cl_forget.sweeps.pieces import Piece, Waiting


def domain(values: Range) -> Any:
    """A range as Tune's own search space."""
    if values.uniform is not None:
        return tune.uniform(*values.uniform)
    if values.log_uniform is not None:
        return tune.loguniform(*values.log_uniform)
    return tune.choice(values.values or [])


class Balanced(Searcher):
    """Suggests settings of each method in turn, each from an `OptunaSearch` of its own.

    Trials run side by side end in any order; to a study they end in the order it suggested them, and the n-th
    suggestion waits for all results up to the (n - `ahead`)-th. So a search gives the same trials whatever the
    machine's mood, and a resumed one repeats its suggestions to the bit.

    Args:
        sweep: methods, spaces, objectives, budget and the search's seed.
        ahead: how many trials may be under way.
        random: sample at random instead of learning from results (`asha`).
        passes: of all trials together; a setting is suggested while there is room for it and those under way, each
            as large as the largest so far.

    Attributes:
        out_of_passes: whether it has ended for want of passes.
    """

    def __init__(self, sweep: Sweep, ahead: int, random: bool = False, passes: float = math.inf) -> None:
        objectives = ["score"] if random else sweep.objectives
        # Tune's annotations know one objective; its OptunaSearch takes lists.
        metric: Any = objectives if len(objectives) > 1 else objectives[0]
        mode: Any = ["max"] * len(objectives) if len(objectives) > 1 else "max"
        super().__init__(metric=metric, mode=mode)
        self._arms = list(sweep.arms)
        self._studies = {
            arm: OptunaSearch(
                {field: domain(values) for field, values in sweep.ranges(arm).items()},
                metric=metric,
                mode=mode,
                sampler=_sampler(sweep.search_seed, arm, random),
            )
            for arm in self._arms
            if sweep.ranges(arm)
        }
        self._budget = sweep.budget
        self._ahead = ahead
        self._order: list[tuple[str, str]] = []  # (trial, method) as suggested
        self._ended: dict[str, dict[str, Any] | None] = {}
        self._told = 0
        self._spent = dict.fromkeys(self._arms, 0)
        self._passes, self._largest, self.out_of_passes = passes, 0, False

    def suggest(self, trial_id: str) -> Any:
        """The next setting; None until enough results are in."""
        if len(self._order) - self._told >= self._ahead:
            return None
        arm = self._next_arm()
        if arm is None:
            return Searcher.FINISHED
        under_way = len(self._order) - self._told
        if sum(self._spent.values()) + (under_way + 1) * self._largest > self._passes:
            if under_way:
                return None  # smaller ones may end
            self.out_of_passes = True
            return Searcher.FINISHED
        self._order.append((trial_id, arm))
        fields = self._studies[arm].suggest(trial_id) if arm in self._studies else {}
        return {"method": arm, **_dotted(fields or {})}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Keep a result, and tell the studies of all whose turn has come."""
        self._ended[trial_id] = result
        while self._told < len(self._order) and self._order[self._told][0] in self._ended:
            trial, arm = self._order[self._told]
            found = self._ended[trial]
            passes = int((found or {}).get("passes", 0))
            self._spent[arm] += passes
            self._largest = max(self._largest, passes)
            if arm in self._studies:
                names = [self.metric] if isinstance(self.metric, str) else self.metric
                whole = found is not None and all(math.isfinite(found.get(name, math.nan)) for name in names)
                self._studies[arm].on_trial_complete(trial, found if whole else None, error=not whole)
            self._told += 1

    def _next_arm(self) -> str | None:
        """The method with the fewest settings so far, among those with budget left."""
        count = {arm: sum(a == arm for _, a in self._order) for arm in self._arms}
        open_ = [arm for arm in self._arms if self._has_budget(arm, count[arm])]
        return min(open_, key=lambda arm: count[arm], default=None)

    def _has_budget(self, arm: str, count: int) -> bool:
        if arm not in self._studies:
            return count == 0  # nothing to vary
        if self._budget.compute is not None:
            return self._spent[arm] < self._budget.compute
        return count < (self._budget.trials or DEFAULT_TRIALS)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the sweep's folder is the truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to read."""


def _sampler(seed: int, arm: str, random: bool) -> Any:
    import optuna

    own = (seed + zlib.crc32(arm.encode())) % 2**31  # each method's own stream of numbers
    return optuna.samplers.RandomSampler(seed=own) if random else optuna.samplers.TPESampler(seed=own)


def _dotted(fields: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in fields.items():
        if isinstance(value, dict):
            flat |= _dotted(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


class InTurn(Searcher):
    """Hands out the pieces of a plan as they become ready: a piece whose giver is under way waits for it.

    Args:
        pieces: `cl_forget.sweeps.pieces.cut`.
    """

    def __init__(self, pieces: Sequence[Piece]) -> None:
        super().__init__(metric="score", mode="max")
        self._waiting = Waiting(pieces)
        self._of: dict[str, int] = {}

    def suggest(self, trial_id: str) -> Any:
        """The number of the next piece; None until a giver is over."""
        number = self._waiting.next()
        if number is None:
            return Searcher.FINISHED if self._waiting.handed_out else None
        self._of[trial_id] = number
        return {"group": number}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Whatever became of a piece, who waits for it begins."""
        self._waiting.over(self._of[trial_id])

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the sweep's folder is the truth."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing to read."""
