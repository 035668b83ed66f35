"""Which mitigations do not go together, and why."""

from __future__ import annotations

from collections.abc import Sequence

from cl_forget.ground.errors import UserError
from cl_forget.mitigations.protocol import Mitigation


def _check(mitigations: Sequence[Mitigation]) -> None:
    names = [m.name for m in mitigations]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"'{name}' is listed {names.count(name)} times; list each method once.")
    for m in mitigations:
        for other, reason in m.conflicts.items():
            if other in names:
                raise UserError(f"'{m.name}' cannot be combined with '{other}': {reason}.")
    owners: dict[str, str] = {}
    for m in mitigations:
        for claim in sorted(m.claims):
            if claim in owners:
                raise UserError(
                    f"'{m.name}' cannot be combined with '{owners[claim]}': both decide the {claim}; keep one."
                )
            owners[claim] = m.name
    if "freezing of the trunk" in owners:
        frozen_by = owners["freezing of the trunk"]
        for m in mitigations:
            if m.needs_trunk and m.name != frozen_by:
                raise UserError(
                    f"'{m.name}' cannot be combined with '{frozen_by}': {frozen_by} never trains the trunk, "
                    f"so {m.name} has nothing to act on."
                )
    if "training loop" in owners:
        for m in mitigations:
            if m.name != owners["training loop"] and _acts_in_training(m):
                raise UserError(
                    f"'{m.name}' cannot be combined with '{owners['training loop']}': that runs a training loop "
                    f"of its own, in which {m.name} has no place."
                )
    if "adapter" in owners:
        for m in mitigations:
            if m.needs_full_weights:
                raise UserError(
                    f"'{m.name}' cannot be combined with '{owners['adapter']}': {m.name} compares full weights "
                    "with earlier ones, and adapters have no earlier values."
                )


def _acts_in_training(mitigation: Mitigation) -> bool:
    """Whether it does more than arrange the stages or edit weights that nothing is trained on."""
    after_training = mitigation.post_hoc and not getattr(mitigation, "feed_back", False)
    return not after_training and mitigation.place != "stages"
