"""What a method's author imports: everything that a mitigation needs, from one place.

    from cl_forget.method import Field, Mitigation, State, Tensors, Update, register


    @register
    class Anchored(Mitigation):
        ...

A file with this class is found by its path: `cl-forget run experiment.yaml --import anchored.py`, or
`imports: [anchored.py]` in the experiment. In a package it is an entry point `cl_forget.mitigations` instead of
`register`. `cl_forget.testing.check_method` holds it to what all methods promise.

The class and what it says of itself: `Mitigation`, `Claim`, `State`, `Tensors`, `Field`, `register`, `BadMethod`,
`UserError`. What hooks are given: `Task`, `Step`, `Extra`, `Update`, `Trainable`, `Edit`, `Prepared`, `Batch`,
`Forward`, `FoundationModel`, `Experience`, `Training`, `Weights`, `Teacher`. Modules that methods share: `memory`
(past samples), `adapters` (LoRA), `quadratic` (penalties of many tasks in one), `sharpness` (gradients at moved
weights), `inputs` (what linear maps see), `interpolation` (averages of weights), `per_sample` (Fisher information and
its kin), `heads` (linear probes). Everything is imported on first use, so that a method can be listed without torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import Field as Field

    from cl_forget.ground.errors import UserError as UserError
    from cl_forget.mitigations import register as register
    from cl_forget.mitigations.claim import Claim as Claim
    from cl_forget.mitigations.definition import BadMethod as BadMethod
    from cl_forget.mitigations.protocol import Mitigation as Mitigation
    from cl_forget.mitigations.shared import adapters as adapters
    from cl_forget.mitigations.shared import inputs as inputs
    from cl_forget.mitigations.shared import memory as memory
    from cl_forget.mitigations.shared import quadratic as quadratic
    from cl_forget.mitigations.shared import sharpness as sharpness
    from cl_forget.models.base import Batch as Batch
    from cl_forget.models.base import Forward as Forward
    from cl_forget.models.base import FoundationModel as FoundationModel
    from cl_forget.models.base import Prepared as Prepared
    from cl_forget.streams.base import Experience as Experience
    from cl_forget.training import head
    from cl_forget.training import per_sample as per_sample
    from cl_forget.training.context import Edit as Edit
    from cl_forget.training.context import Extra as Extra
    from cl_forget.training.context import Step as Step
    from cl_forget.training.context import Task as Task
    from cl_forget.training.context import Trainable as Trainable
    from cl_forget.training.context import Update as Update
    from cl_forget.training.context import Weights as Weights
    from cl_forget.training.frozen import Teacher as Teacher
    from cl_forget.training.options import Training as Training
    from cl_forget.training.state import State as State
    from cl_forget.training.state import Tensors as Tensors
    from cl_forget.weights import interpolation as interpolation

    heads = head

_HOMES = {
    "BadMethod": "cl_forget.mitigations.definition",
    "Batch": "cl_forget.models.base",
    "Claim": "cl_forget.mitigations.claim",
    "Edit": "cl_forget.training.context",
    "Experience": "cl_forget.streams.base",
    "Extra": "cl_forget.training.context",
    "Field": "pydantic",
    "Forward": "cl_forget.models.base",
    "FoundationModel": "cl_forget.models.base",
    "Mitigation": "cl_forget.mitigations.protocol",
    "Prepared": "cl_forget.models.base",
    "State": "cl_forget.training.state",
    "Step": "cl_forget.training.context",
    "Task": "cl_forget.training.context",
    "Teacher": "cl_forget.training.frozen",
    "Tensors": "cl_forget.training.state",
    "Trainable": "cl_forget.training.context",
    "Training": "cl_forget.training.options",
    "Update": "cl_forget.training.context",
    "UserError": "cl_forget.ground.errors",
    "Weights": "cl_forget.training.context",
    "register": "cl_forget.mitigations",
}
_MODULES = {
    "adapters": "cl_forget.mitigations.shared.adapters",
    "heads": "cl_forget.training.head",
    "inputs": "cl_forget.mitigations.shared.inputs",
    "interpolation": "cl_forget.weights.interpolation",
    "memory": "cl_forget.mitigations.shared.memory",
    "per_sample": "cl_forget.training.per_sample",
    "quadratic": "cl_forget.mitigations.shared.quadratic",
    "sharpness": "cl_forget.mitigations.shared.sharpness",
}

__all__ = sorted({**_HOMES, **_MODULES})


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        value = importlib.import_module(_MODULES[name])
    elif name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module 'cl_forget.method' has no attribute '{name}'")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
