"""Trial records made by hand."""

from __future__ import annotations

from typing import Any

from cl_forget.comparison.trials import Trial
from cl_forget.ground.records import Cost

PRETRAINED = (0.2, 0.5)  # speciality, generality

KNOBS = {"L2-SP": ("l2_sp", "strength"), "WiSE-FT": ("wise_ft", "alpha")}


def metrics(speciality: float, generality: float) -> dict[str, Any]:
    """What a result says, as far as selection and tables read it."""
    return {
        "speciality": speciality,
        "generality": generality,
        "retention": generality / PRETRAINED[1],
        "speciality_pretrained": PRETRAINED[0],
        "generality_pretrained": PRETRAINED[1],
        "speciality_by_task": {"a": speciality, "b": speciality},
    }


def trial(
    method: str,
    value: float | None,
    seed: int,
    validation: tuple[float, float],
    test: tuple[float, float] | None = None,
    **fields: Any,
) -> Trial:
    """A finished trial with (speciality, generality) on validation and test data."""
    name, field = KNOBS.get(method, ("", ""))
    return Trial(
        **{
            "sweep": "made up",
            "id": f"{method}-{value}-{seed}-{fields.get('role', 'tune')}",
            "method": method,
            "mitigations": [{name: {field: value}}] if name else [],
            "knob": f"{name}.{field}" if name else None,
            "value": value,
            "seed": seed,
            "status": "finished",
            "validation": metrics(*validation),
            "test": metrics(*(test or validation)),
            "cost": Cost(steps=10, samples_seen=100, forward_samples=100, backward_samples=100),
            "seconds": 2.0,
            **fields,
        }
    )
