"""Trials of a search whose outcome is known by hand."""

from __future__ import annotations

from typing import Any

from cl_forget.comparison.trials import Attempt, Trial
from cl_forget.ground.records import Cost

RATES, STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1), (0.1, 1.0, 10.0)
WHOLE = Cost(steps=10, samples_seen=100, forward_samples=100, backward_samples=100, train_seconds=4.0)


def made(method: str, name: str, seed: int, number: int, **fields: Any) -> list[Trial]:
    """A method over rate and strength: speciality rises with the rate, generality with the strength."""
    found = []
    for i, rate in enumerate(RATES):
        for j, strength in enumerate(STRENGTHS):
            speciality, generality = 0.4 + 0.1 * i, 0.2 + 0.1 * j
            numbers = {
                "speciality": speciality,
                "generality": generality,
                "retention": generality / 0.5,
                "speciality_pretrained": 0.2,
                "generality_pretrained": 0.5,
                "speciality_by_task": {"a": speciality, "b": speciality},
                "generality_by_suite": {"suite": generality},
                "kl_to_base": 1.0 - 0.2 * j + (0.1 if name == "kd" else 0.0),
            }
            began = 1000 + 6 * len(found)
            found.append(
                Trial(
                    sweep="grid", id=f"{name}-{i}-{j}-{seed}", method=method,
                    mitigations=[{name: {"strength": strength}}],
                    knob=f"{name}.strength", value=strength, seed=seed, status="finished", validation=numbers,
                    test=numbers, config={"train.lr": rate}, cost=WHOLE, seconds=5.0,
                    attempts=[Attempt(worker=f"w{number}", started=began, ended=began + 5)],
                    **fields,
                )
            )  # fmt: skip
    return found
