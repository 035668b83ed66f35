"""Optuna through Tune, one study per method, so that each method gets the same budget and its own space."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ray import tune
from ray.tune.search import Searcher
from ray.tune.search.optuna import OptunaSearch

from cl_forget.config.arms import COMPOSE
from cl_forget.config.sweep import DEFAULT_TRIALS, Range, Sweep
from cl_forget.sweeps.drawing import drawing
from cl_forget.sweeps.pieces import Piece, Waiting
from cl_forget.sweeps.sources import GIVER

TRIES = 50
"""How often a study is asked for a setting that was not there before."""


def space_of(sweep: Sweep, arm: str) -> Any:
    """What `OptunaSearch` draws a method's settings from."""
    if sweep.own(arm).compose is not None:
        return drawing(sweep, arm)
    return {field: domain(values) for field, values in sweep.ranges(arm).items()}


def domain(values: Range) -> Any:
    """A range as Tune's own search space."""
    if values.uniform is not None:
        return tune.uniform(*values.uniform)
    if values.log_uniform is not None:
        return tune.loguniform(*values.log_uniform)
    return tune.choice(values.values or [])


@dataclass(frozen=True)
class Asked:
    """One suggestion: the name that its study knows it by, its method and its setting."""

    name: str
    arm: str
    config: dict[str, Any]


class Balanced(Searcher):
    """Suggests settings of each method in turn, each from an `OptunaSearch` of its own.

    Trials run side by side end in any order; a study is told of them in the order it suggested them, and when the
    n-th is suggested it knows exactly those up to the (n - `ahead`)-th. So a search gives the same trials whatever
    the machine's mood, and a resumed one repeats its suggestions to the bit. No setting is suggested twice: what a
    study repeats it is told again and asked for another, and a method that gives nothing new is over. What differs
    from an earlier suggestion after training only (WiSE-FT's α) takes its fine-tuning over.

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
        self._sweep = sweep
        self._arms = list(sweep.arms)
        self._studies = {
            arm: OptunaSearch(
                space_of(sweep, arm),
                metric=metric,
                mode=mode,
                sampler=_sampler(sweep.search_seed, arm, random),
            )
            for arm in self._arms
            if sweep.varies(arm)
        }
        self._budget = sweep.budget
        self._ahead = ahead
        self._order: list[Asked] = []
        self._numbers: dict[str, int] = {}  # Tune's name of a trial -> which suggestion it is
        self._known: dict[str, int] = {}  # setting -> the suggestion that had it
        self._trained: dict[str, int] = {}  # fine-tuning -> the first suggestion that had it
        self._exhausted: set[str] = set()
        self._ended: dict[int, dict[str, Any] | None] = {}
        self._told = 0
        self._spent = dict.fromkeys(self._arms, 0)
        self._passes, self.out_of_passes = passes, False

    @property
    def suggested(self) -> int:
        """How many settings so far."""
        return len(self._order)

    @property
    def largest(self) -> int:
        """Passes that the largest setting so far has made."""
        return max(self._made(), default=0)

    def _made(self) -> list[int]:
        """Passes that every setting which is over has made itself: a budget is not spent by what is taken over."""
        return [int((found or {}).get("passes_made", 0)) for found in self._ended.values()]

    def suggest(self, trial_id: str) -> Any:
        """The next setting; None until enough results are in."""
        number = len(self._order)
        if not self._tell(number - self._ahead + 1):
            return None
        if self._next_arm() is None:
            return Searcher.FINISHED
        under_way = number - len(self._ended)
        if sum(self._made()) + (under_way + 1) * self.largest > self._passes:
            if under_way:
                return None  # smaller ones may end
            self.out_of_passes = True
            return Searcher.FINISHED
        asked = self._ask(number)
        if asked is None:
            return Searcher.FINISHED
        self._order.append(asked)
        self._numbers[trial_id] = self._known[_written(asked)] = number
        config = {"method": asked.arm, **asked.config}
        giver = self._trained.setdefault(self._training(asked), number)
        if giver < self._told and self._ended[giver]:
            config[GIVER] = {"method": self._order[giver].arm, **self._order[giver].config}
        return config

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Keep a result, for when its turn has come."""
        self._ended[self._numbers[trial_id]] = result

    def _tell(self, count: int) -> bool:
        """Tell the studies of the first so many suggestions; whether all of these are over."""
        while self._told < count:
            if self._told not in self._ended:
                return False
            asked, found = self._order[self._told], self._ended[self._told]
            self._spent[asked.arm] += int((found or {}).get("passes", 0))
            self._answer(asked, found)
            self._told += 1
        return True

    def _answer(self, asked: Asked, found: dict[str, Any] | None) -> None:
        if asked.arm in self._studies:
            names = [self.metric] if isinstance(self.metric, str) else self.metric
            whole = found is not None and all(math.isfinite(found.get(name, math.nan)) for name in names)
            self._studies[asked.arm].on_trial_complete(asked.name, found if whole else None, error=not whole)

    def _ask(self, number: int) -> Asked | None:
        """A new setting of the method whose turn it is; None where none has any left."""
        while (arm := self._next_arm()) is not None:
            if arm not in self._studies:
                return Asked(str(number), arm, {})
            kept = (COMPOSE, *self._sweep.ranges(arm))  # not the numbers that decided who acts
            for attempt in range(TRIES):
                name = f"{number}.{attempt}"
                fields = _dotted(self._studies[arm].suggest(name) or {})
                asked = Asked(name, arm, {field: fields[field] for field in kept if field in fields})
                before = self._known.get(_written(asked))
                if before is None:
                    return asked
                self._answer(asked, self._ended[before] if before < self._told else None)
            self._exhausted.add(arm)
        return None

    def _training(self, asked: Asked) -> str:
        """Equal for two suggestions with the same fine-tuning."""
        return self._sweep.run(asked.arm, asked.config, seed=0).training_key()

    def _next_arm(self) -> str | None:
        """The method with the fewest settings so far, among those with budget left."""
        count = {arm: sum(asked.arm == arm for asked in self._order) for arm in self._arms}
        open_ = [arm for arm in self._arms if self._has_budget(arm, count[arm])]
        return min(open_, key=lambda arm: count[arm], default=None)

    def _has_budget(self, arm: str, count: int) -> bool:
        if arm not in self._studies:
            return count == 0  # nothing to vary
        if arm in self._exhausted:
            return False
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


def _written(asked: Asked) -> str:
    return json.dumps([asked.arm, asked.config], sort_keys=True)


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
