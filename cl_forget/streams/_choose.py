"""Arbitrary but fixed choices, made by hashing names.

A hash depends on nothing but its text: the same split and the same jitter come out on every machine and with
every version of every library, which random generators do not promise.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeVar

from cl_forget.ground.errors import UserError

if TYPE_CHECKING:
    import numpy as np

Key = TypeVar("Key", bound=Hashable)

_NEWER = re.compile(
    "[\U0001f6dc\U0001fa75-\U0001fa77\U0001fa87-\U0001fa89\U0001fa8f\U0001faad-\U0001faaf\U0001fabb-\U0001fabf"
    "\U0001fac6\U0001face-\U0001facf\U0001fada-\U0001fadf\U0001fae8-\U0001faea\U0001faf7-\U0001faf8]"
)
"""Emoji of Unicode 15 and later, which Python shows inside a tuple as they are or as an escape, by its version."""


def chance(*key: object) -> float:
    """A number in [0, 1) that depends on `key` only."""
    # File names need not be UTF-8; Python then holds their bytes as lone surrogates.
    digest = hashlib.sha256("/".join(map(_text, key)).encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:7], "big") / 2**56  # 56 bits: more would round up to 1.0


def _text(part: object) -> str:
    """As `str`, but newer emoji inside tuples are escapes, as in Python 3.11, with which pico-lm was trained."""
    if isinstance(part, str):
        return part
    return _NEWER.sub(lambda sign: f"\\U{ord(sign[0]):08x}", str(part))


def between(low: float, high: float, *key: object) -> float:
    """A number in [low, high) that depends on `key` only."""
    return low + (high - low) * chance(*key)


def shuffled(items: Iterable[Key], *key: object) -> list[Key]:
    """The items in an order that depends on the items and on `key` only, not on their present order."""
    return sorted(items, key=lambda item: chance(*key, item))


def by_class(labels: Sequence[int] | np.ndarray) -> dict[int, list[int]]:
    """The positions of each label, labels ascending."""
    positions: dict[int, list[int]] = {}
    for position, label in enumerate(labels):
        positions.setdefault(int(label), []).append(position)
    return dict(sorted(positions.items()))


def check_limit(limit: int | None, what: str = "") -> None:
    """Refuse a limit of no samples; `what` names the data in front of the message."""
    if limit is not None:
        check_count("limit", limit, what)


def check_count(option: str, count: int, what: str = "") -> None:
    """Refuse an option that asks for no samples; `what` names the data in front of the message."""
    if count < 1:
        raise UserError(f"{what}{option} is a number of samples, at least 1, not {count}.")


def check_shares(what: str, shares: Mapping[str, float]) -> None:
    """Refuse fractions to set aside for splits that are none, or that leave nothing."""
    for split, share in shares.items():
        if not 0 < share < 1:
            raise UserError(f"{what}: {split} is the fraction to set aside, between 0 and 1, not {share}.")
    if sum(shares.values()) >= 1:
        raise UserError(f"{what}: {' + '.join(shares)} leave nothing to train on; make them smaller.")


def balanced(labels: Sequence[int] | np.ndarray, limit: int | None, *key: object) -> list[int]:
    """Positions of at most `limit` samples, ascending, as evenly spread over the classes as can be."""
    check_limit(limit)
    if limit is None or limit >= len(labels):
        return list(range(len(labels)))
    members = by_class(labels)
    orders = [shuffled(members[label], *key) for label in shuffled(members, *key)]
    rounds = max(map(len, orders))
    chosen = [order[turn] for turn in range(rounds) for order in orders if turn < len(order)]
    return sorted(chosen[:limit])


def capped(labels: Sequence[int] | np.ndarray, per_class: int, *key: object) -> list[int]:
    """Positions of at most `per_class` samples of each class, ascending."""
    orders = [shuffled(positions, *key) for positions in by_class(labels).values()]
    return sorted(position for order in orders for position in order[:per_class])


def counted(count: int, what: str, unlike: int, alike: str = "that are alike") -> str:
    """How many samples a share was to be taken of, with its verb, where those that are alike stay together.

    Args:
        count: of samples.
        what: a sample is.
        unlike: how many of them differ from each other.
        alike: which stay together.
    """
    plural = "s are" if count != 1 else " is"
    if unlike == count:
        return f"{count:,} {what}{plural}"
    return f"{count:,} {what}s, {unlike:,} of them different ({what}s {alike} stay in one split), are"
