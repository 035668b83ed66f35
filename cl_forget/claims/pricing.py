"""What claims cost before they are run: core-hours here, device-hours of worlds whose data are elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

from cl_forget.claims.planning import Asked, Plan, distinct
from cl_forget.sweeps.planning import Planned, share
from cl_forget.sweeps.preview import seconds
from cl_forget.sweeps.rehearsal import measurements


@dataclass(frozen=True)
class Bill:
    """What one world costs.

    Attributes:
        world, model: which one.
        arms: how many arms it runs.
        trials, fine_tunes: in all; fine-tunes that trials share count once.
        hours: of one core, or of the device.
        device: "core", or the device of a priced world.
    """

    world: str
    model: str
    arms: int
    trials: int
    fine_tunes: int
    hours: float
    device: str


def bills(plan: Plan) -> list[Bill]:
    """One bill per world, as if nothing had been run yet and the first setting of each arm were selected.

    Loads the models and data of worlds that run here and times two steps of each.

    Raises:
        UserError: whatever would stop a trial.
    """
    found = []
    for key, needed in plan.needed.items():
        asked = next(one for one in plan.asked if one.key == key)
        trials = distinct([*needed.tuning(), *needed.supposed()])
        share(trials)
        trained = [one for one in trials if one.trial.shared_stages < one.trial.stages]
        hours, device = _elsewhere(asked, trained) if asked.priced else (_here(trials), "core")
        found.append(
            Bill(asked.world, needed.sweep.model, len(needed.arms), len(trials), len(trained), hours, device)
        )
    return found


def _here(trials: list[Planned]) -> float:
    measured = measurements((one.run for one in trials), say=lambda line: None)
    return sum(seconds(one, measured) for one in trials) / 3600


def _elsewhere(asked: Asked, trained: list[Planned]) -> tuple[float, str]:
    price = asked.claims.worlds[asked.world].price
    assert price is not None
    each = price.samples / price.samples_per_second / 3600
    return sum(one.plain_steps for one in trained) * each, price.device
