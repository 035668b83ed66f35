"""Which claims come first where the hours do not suffice for all: those that the least work brings a verdict."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from cl_forget.claims.planning import Asked, Needed, Plan, distinct
from cl_forget.comparison.trials import Trial
from cl_forget.sweeps.planning import Group, Planned, share

EVALUATION = 0.4
"""Of the time of a plain fine-tune of an embedded world with its evaluations."""

AGAIN = ("failed", "out_of_memory")
"""Statuses of trials that are tried again."""


@dataclass(frozen=True)
class Slice:
    """One claim in one world, after those that come before it.

    Attributes:
        asked: the claim.
        needed: what it alone needs.
        trials: how many of its trials no claim before it runs.
        price: what these cost, in plain fine-tunes with their evaluation.
    """

    asked: Asked
    needed: Needed
    trials: int
    price: float


def slices(plan: Plan, known: Mapping[str, Trial], elsewhere: Collection[str] = ()) -> list[Slice]:
    """The claims in the order in which they are run: most verdicts for the work come first.

    What one claim needs may settle others, too. The next bundle is always the one with most verdicts for its
    price, and in it the claim that needs least comes first. An arm that has no setting selected yet is priced as
    if its first one were.

    Args:
        plan: all of them; ties go to the one that stands first.
        known: records by id; what is over costs nothing.
        elsewhere: ids of trials that somebody else makes.
    """
    over = {name for name, trial in known.items() if trial.over and trial.status not in AGAIN} | set(
        elsewhere
    )
    runs: dict[str, Planned] = {}
    wants: list[frozenset[str]] = []
    needs = [alone(plan, one) for one in plan.asked]
    for needed in needs:
        wanted = {p.trial.id: p for p in _wanted(needed, known) if p.trial.id not in over}
        runs |= wanted
        wants.append(frozenset(wanted))
    prices: dict[frozenset[str], float] = {}

    def of(names: frozenset[str]) -> float:
        if names not in prices:
            # The plan's order, so that whoever gives a fine-tune and whoever takes it are the same each time.
            prices[names] = sum(price(group) for group in share([p for n, p in runs.items() if n in names]))
        return prices[names]

    left = list(range(len(needs)))
    done: frozenset[str] = frozenset()
    found: list[Slice] = []
    while left:
        # Verdicts for the price of what a claim needs; what is free comes first.
        worth = {
            index: sum(wants[other] <= done | wants[index] for other in left)
            / max(of(wants[index] - done), 1e-9)
            for index in left
        }
        best = max(left, key=worth.__getitem__)
        bundle = [index for index in left if wants[index] <= done | wants[best]]
        while bundle:
            rests = {index: of(wants[index] - done) for index in bundle}
            index = min(bundle, key=rests.__getitem__)
            rest = wants[index] - done
            found.append(Slice(plan.asked[index], needs[index], len(rest), of(rest)))
            done |= rest
            bundle.remove(index)
            left.remove(index)
    return found


def price(group: Group) -> float:
    """Of the trials of a group, in plain fine-tunes with their evaluations."""
    tunes = {one.training_keys[-1]: one for one in group}.values()
    return (1 - EVALUATION) * sum(one.plain_steps for one in tunes) + EVALUATION * len(group)


def alone(plan: Plan, one: Asked) -> Needed:
    """What one claim needs of its world."""
    needed = plan.needed[one.key]
    curves = {arm for arm in one.arms if arm not in one.claim.controls} if one.claim.over_curves else set()
    return Needed(needed.sweep, needed.grid, one.arms, curves)


def _wanted(needed: Needed, known: Mapping[str, Trial]) -> list[Planned]:
    """Its tuning, and its report as far as settings are selected; for the other arms that of their first setting."""
    selected = needed.selected(known.values())
    open_ = [arm for arm in needed.arms if arm not in selected]
    supposed = Needed(needed.sweep, needed.grid, open_, needed.curves).supposed() if open_ else []
    return distinct([*needed.tuning(), *needed.reporting(known.values()), *supposed])
