"""Two models on the same samples: McNemar's test on those that only one of them has right."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

EXACT_UP_TO = 1000
"""Samples in which two models differ, up to which the test is exact (binomial); else chi-squared, corrected."""


class Mcnemar(BaseModel):
    """Of two models on the same samples.

    Attributes:
        samples: how many.
        first_only, second_only: those that only the one has right.
        difference: accuracy of the first minus that of the second.
        p: two-sided, of both being right equally often.
    """

    model_config = ConfigDict(frozen=True)

    samples: int
    first_only: int
    second_only: int
    difference: float
    p: float


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> Mcnemar:
    """McNemar's test (1947) as statsmodels has it.

    Args:
        first, second: (samples,) whether each is right.

    Raises:
        ValueError: they are not of the same samples.
    """
    if first.shape != second.shape or not len(first):
        raise ValueError(f"{len(first)} and {len(second)} samples: McNemar's test compares the same ones")
    from statsmodels.stats.contingency_tables import mcnemar as test

    a, b = int((first & ~second).sum()), int((~first & second).sum())
    both, neither = int((first & second).sum()), int((~first & ~second).sum())
    found = test([[both, a], [b, neither]], exact=a + b <= EXACT_UP_TO)
    return Mcnemar(
        samples=len(first),
        first_only=a,
        second_only=b,
        difference=(a - b) / len(first),
        p=float(found.pvalue),
    )
