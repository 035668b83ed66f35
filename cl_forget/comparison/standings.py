"""Each arm against the control, by the paired differences of their seeds: a pure function of their numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from cl_forget.comparison.verdicts import Judged, Verdict, judge

MARGIN = 0.01
"""A difference of accuracy that does not matter: one percentage point."""

Word = Literal["better", "equivalent", "worse", "undecided"]

_WORDS: dict[Verdict, Word] = {
    "supported": "better",
    "equivalent": "equivalent",
    "contradicted": "worse",
    "undecided": "undecided",
}


@dataclass(frozen=True)
class AgainstControl:
    """One arm against the control.

    Attributes:
        method: the arm.
        seeds: how many seeds it shares with the control.
        speciality, generality: the verdict on its value minus the control's, a fraction; None where neither was
            measured.
    """

    method: str
    seeds: int
    speciality: Judged | None
    generality: Judged | None

    @property
    def words(self) -> tuple[Word | None, Word | None]:
        """Speciality and generality in a word."""
        return word(self.speciality), word(self.generality)


def word(judged: Judged | None) -> Word | None:
    """A verdict on a difference from the control in a word."""
    return None if judged is None else _WORDS[judged.verdict]


def standings(
    values: Mapping[str, Mapping[int, Mapping[str, float | None]]],
    control: str | None,
    margin: float = MARGIN,
) -> tuple[AgainstControl, ...]:
    """Every arm but the control, in the order given.

    Args:
        values: method -> seed -> `speciality` and `generality`, fractions.
        control: the arm that all are compared with; without one, nothing is.
        margin: the smallest difference that matters, a fraction.
    """
    if control is None or control not in values:
        return ()
    found = []
    for method, by_seed in values.items():
        shared = sorted(by_seed.keys() & values[control].keys())
        if method != control:
            verdicts = [
                _judged(by_seed, values[control], shared, name, margin)
                for name in ("speciality", "generality")
            ]
            found.append(AgainstControl(method, len(shared), *verdicts))
    return tuple(found)


def _judged(
    own: Mapping[int, Mapping[str, float | None]],
    control: Mapping[int, Mapping[str, float | None]],
    seeds: list[int],
    name: str,
    margin: float,
) -> Judged | None:
    pairs = {seed: (own[seed].get(name), control[seed].get(name)) for seed in seeds}
    if all(one is None and other is None for one, other in pairs.values()):
        return None
    return judge(
        {seed: None if one is None or other is None else one - other for seed, (one, other) in pairs.items()},
        margin,
    )
