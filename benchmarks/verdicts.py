"""How often is a verdict wrong? Simulated differences over five seeds where the truth is known.

    python benchmarks/verdicts.py [--count 1000]

A verdict is wrong where it is "supported" and the truth is not above 0, "contradicted" and it is not below 0, or
"equivalent" and it is not within the margin. Noise is normal, heavy-tailed (t with 3 degrees of freedom), skewed (a
centred exponential) or that of accuracies on 200 test items. The margin is 1, the standard deviation of a difference
is 1 unless the row says otherwise. The last rows are of claims that have to hold against each of several comparators,
with normal noise; their truth is the smallest difference, and "sd" the largest.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from cl_forget.comparison.verdicts import Verdict, together, verdict

NOISES = ("normal", "heavy tails", "skewed", "200 items")
TRUTHS = (-1.0, -0.5, 0.0, 0.5, 1.0, 2.0)
MARGIN = 1.0
SEVERAL = {
    "one close, one noisy": ((1.5, 0.2), (0.0, 3.0)),
    "one within, one noisy": ((0.0, 0.2), (-1.0, 3.0)),
    "8 equals": ((0.0, 1.0),) * 8,
    "8 at the margin": ((1.0, 0.3),) * 8,
    "8 at the other": ((-1.0, 0.3),) * 8,
}
"""Comparators: the mean and the standard deviation of the difference from each."""


@dataclass(frozen=True)
class Found:
    """What came of one truth: shares of the data sets."""

    noise: str
    spread: float
    truth: float
    supported: float
    contradicted: float
    equivalent: float
    undecided: float
    wrong: float


def table(
    count: int = 1000, noises: Sequence[str] = NOISES, seeds: int = 5, spreads: Sequence[float] = (0.3, 1.0)
) -> Iterator[Found]:
    """One line per noise, spread and truth."""
    for noise in noises:
        for spread in spreads:
            for truth in TRUTHS:
                generator = np.random.default_rng(0)
                sets = truth + spread * _noise(noise, generator, (count, seeds))
                given = [verdict(values, MARGIN) for values in sets]
                yield _found(noise, spread, truth, given)


def several(count: int = 1000, seeds: int = 5) -> Iterator[Found]:
    """One line per set of comparators."""
    for name, comparators in SEVERAL.items():
        generator = np.random.default_rng(0)
        sets = [[generator.normal(mean, spread, seeds) for mean, spread in comparators] for _ in range(count)]
        given = [together(differences, MARGIN) for differences in sets]
        means, spreads = zip(*comparators, strict=True)
        yield _found(name, max(spreads), min(means), given)


def _found(noise: str, spread: float, truth: float, given: Sequence[Verdict]) -> Found:
    shares = {name: given.count(name) / len(given) for name in sorted(set(given))}
    return Found(
        noise,
        spread,
        truth,
        shares.get("supported", 0.0),
        shares.get("contradicted", 0.0),
        shares.get("equivalent", 0.0),
        shares.get("undecided", 0.0),
        sum(share for name, share in shares.items() if is_wrong(name, truth)),
    )


def is_wrong(name: str, truth: float) -> bool:
    """Whether a verdict says what is not so."""
    if name == "supported":
        return truth <= 0
    if name == "contradicted":
        return truth >= 0
    return name == "equivalent" and abs(truth) >= MARGIN


def _noise(kind: str, generator: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Mean 0, standard deviation 1."""
    if kind == "heavy tails":
        return generator.standard_t(3, shape) / np.sqrt(3)
    if kind == "skewed":
        return generator.exponential(1.0, shape) - 1.0
    if kind == "200 items":  # two accuracies around 70 %
        one, other = (generator.binomial(200, 0.7, shape) / 200 for _ in range(2))
        return (one - other) / np.sqrt(2 * 0.7 * 0.3 / 200)
    return generator.normal(size=shape)


def main() -> None:
    """Print the table and the largest share of wrong verdicts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    count = parser.parse_args().count
    print(f"margin {MARGIN:g}, 5 seeds, {count} data sets per line; shares in %")
    print(
        f"{'noise':21} {'sd':>4} {'truth':>6} {'supp.':>6} {'contr.':>6} {'equiv.':>6} {'undec.':>6} {'wrong':>6}"
    )
    worst: dict[str, float] = {}
    for f in chain(table(count), several(count)):
        shares = (f.supported, f.contradicted, f.equivalent, f.undecided, f.wrong)
        print(f"{f.noise:21} {f.spread:4.1f} {f.truth:6.1f} " + " ".join(f"{100 * s:6.1f}" for s in shares))
        worst[f.noise] = max(worst.get(f.noise, 0.0), f.wrong)
    print("wrong at most: " + "; ".join(f"{noise} {100 * share:.1f} %" for noise, share in worst.items()))


if __name__ == "__main__":
    main()
