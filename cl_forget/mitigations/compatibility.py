"""Which mitigations do not go together, and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cl_forget.ground.errors import UserError
from cl_forget.mitigations.claim import Claim
from cl_forget.mitigations.protocol import Mitigation


@dataclass(frozen=True)
class Consequence:
    """What a claim means for methods that do not make it.

    Attributes:
        excludes: whether a method has no place beside the one that makes the claim.
        reason: why, with `{owner}` and `{other}` for the two names.
        excluded: those methods in words, for the documentation of the owner.
        owners: those that make the claim in words, for the documentation of the others.
    """

    excludes: Callable[[Mitigation | type[Mitigation]], bool]
    reason: str
    excluded: str
    owners: str


CONSEQUENCES = {
    Claim.FROZEN_TRUNK: Consequence(
        lambda m: m.needs_trunk,
        "{owner} never trains the trunk, so {other} has nothing to act on",
        excluded="whatever acts on the trunk or its training",
        owners="methods that never train the trunk",
    ),
    Claim.TRAINING_LOOP: Consequence(
        lambda m: bool(m.acts_in_training),
        "that runs a training loop of its own, in which {other} has no place",
        excluded="whatever acts in training",
        owners="",
    ),
    Claim.ADAPTER: Consequence(
        lambda m: m.needs_full_weights,
        "{other} compares full weights with earlier ones, and adapters have no earlier values",
        excluded="methods that compare full weights",
        owners="adapters (it compares full weights)",
    ),
}
"""Claims that say something about every other method of the chain."""


def check(mitigations: Sequence[Mitigation]) -> None:
    """Refuse a combination that makes no sense.

    Raises:
        UserError: with the reason.
    """
    names = [m.name for m in mitigations]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"'{name}' is listed {names.count(name)} times; list each method once.")
    for m in mitigations:
        for other, reason in m.conflicts.items():
            if other in names:
                raise UserError(f"'{m.name}' cannot be combined with '{other}': {reason}.")
    owners = _owners(mitigations)
    for claim, consequence in CONSEQUENCES.items():
        if claim not in owners:
            continue
        owner = owners[claim].name
        for m in mitigations:
            if claim not in m.claims and consequence.excludes(m):
                reason = consequence.reason.format(owner=owner, other=m.name)
                raise UserError(f"'{m.name}' cannot be combined with '{owner}': {reason}.")


def _owners(mitigations: Sequence[Mitigation]) -> dict[Claim, Mitigation]:
    """Who makes each claim."""
    owners: dict[Claim, Mitigation] = {}
    for m in mitigations:
        for claim in sorted(m.claims, key=lambda claim: claim.value):
            if claim in owners:
                raise UserError(
                    f"'{m.name}' cannot be combined with '{owners[claim].name}': both decide the "
                    f"{claim.value}; keep one."
                )
            owners[claim] = m
    return owners
