"""Does a search over compositions find more than drawing at random, and with which sampler? In made-up worlds.

    python benchmarks/composition_search.py [--worlds 20]

In a world each method of `experiments/recipes.yaml` adds to speciality and to generality (normal with deviations of 6
and 10 points), each of its values less the further it lies from the best one; a higher learning rate buys speciality
with generality; a measurement has a deviation of one point. Shown is the share of the ideal trade-off that the
trials of that file dominate, two trials under way at a time, and how much more it is than that of settings drawn at
random in the same world: means over worlds with their 95 % intervals.
"""

from __future__ import annotations

import argparse
import itertools
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna

from cl_forget.comparison.statistics import estimate
from cl_forget.config.sweep import Sweep, load_sweep
from cl_forget.evaluation.metrics import hypervolume
from cl_forget.sweeps import searching

FILE = Path(__file__).parents[1] / "experiments" / "recipes.yaml"
START = (0.06, 0.67)
"""(speciality, generality) of the pre-trained model."""
SAMPLERS: dict[str, Callable[[int], Any]] = {
    "at random": lambda seed: optuna.samplers.RandomSampler(seed=seed),
    "NSGA-II, 16 at a time": lambda seed: optuna.samplers.NSGAIISampler(seed=seed, population_size=16),
    "TPE (what a search takes)": lambda seed: optuna.samplers.TPESampler(seed=seed),
}

Outcome = tuple[float, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--worlds", type=int, default=20)
    given = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sweep = load_sweep(FILE)
    print(
        f"| {sweep.budget.trials} trials, {given.worlds} worlds | of the ideal % | beyond drawing at random |"
    )
    print("|---|--:|--:|")
    drawn: list[float] = []
    for name, sampler in SAMPLERS.items():
        found = [dominated(sweep, seed, sampler) for seed in range(given.worlds)]
        drawn = drawn or found
        beyond = [mine - theirs for mine, theirs in zip(found, drawn, strict=True)]
        print(f"| {name} | {shown(found)} | {shown(beyond) if found is not drawn else '–'} |")


def shown(shares: list[float]) -> str:
    """A mean of shares in percent, with half its interval."""
    mean = estimate(dict(enumerate(shares)))
    assert mean.mean is not None and mean.high is not None
    return f"{100 * mean.mean:.1f} ± {100 * (mean.high - mean.mean):.1f}"


def dominated(sweep: Sweep, seed: int, sampler: Callable[[int], Any]) -> float:
    """The share of the ideal that one search dominates."""
    searching._sampler = lambda own, arm, at_random: sampler(own + seed)  # type: ignore[assignment]
    search, measure = searching.Balanced(sweep, ahead=2), world(sweep, seed)
    outcomes: list[Outcome] = []
    under_way: list[tuple[str, Outcome]] = []
    for number in itertools.count():
        config = search.suggest(str(number))
        if config == "FINISHED":
            break
        if config is None:
            name, (speciality, generality) = under_way.pop(0)
            search.on_trial_complete(name, {"speciality": speciality, "generality": generality})
        else:
            outcomes.append(measure(config))
            under_way.append((str(number), outcomes[-1]))
    return (hypervolume(outcomes, (START[0], 0.0)) or 0.0) / ((1 - START[0]) * START[1])


def world(sweep: Sweep, seed: int) -> Callable[[dict[str, Any]], Outcome]:
    """(speciality, generality) of a setting."""
    dice = random.Random(seed)
    values = {field: list(given.values or []) for field, given in sweep.ranges("recipe").items()}
    adds = {m.name: (dice.gauss(0, 0.06), dice.gauss(0, 0.10)) for m in sweep.arms["recipe"]}
    best = {field: dice.randrange(len(given)) for field, given in values.items()}

    def measure(config: dict[str, Any]) -> Outcome:
        rate = values["train.lr"].index(config["train.lr"])
        speciality, generality = 0.55 + 0.06 * rate, 0.45 - 0.05 * rate
        for field, value in config.items():
            if (name := field.partition(".")[0]) in adds:
                share = max(0.0, 1 - 0.35 * abs(values[field].index(value) - best[field]))
                speciality += adds[name][0] * share
                generality += adds[name][1] * share
        return (
            min(0.95, max(0.1, speciality + dice.gauss(0, 0.01))),
            min(START[1], max(0.0, generality + dice.gauss(0, 0.01))),
        )

    return measure


if __name__ == "__main__":
    main()
