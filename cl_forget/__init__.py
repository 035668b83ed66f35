"""cl_forget: what did the model forget, and which mitigation keeps the most generality?

    import cl_forget

    run = cl_forget.Run(model="emoji-clip", stream=["digits"], suites=["emoji"], mitigations=["ldifs"])
    result = cl_forget.simulate(run)
    result.metrics["test"]["generality"]

Everything public is imported on first use, so importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cl_forget.auditing import audit as audit
    from cl_forget.auditing import repair as repair
    from cl_forget.comparison.records import Result as Result
    from cl_forget.config.experiment import Experiment as Experiment
    from cl_forget.config.experiment import load_experiment as load_experiment
    from cl_forget.config.recorded import allow_code as allow_code
    from cl_forget.config.run import Run as Run
    from cl_forget.config.sweep import Sweep as Sweep
    from cl_forget.config.sweep import load_sweep as load_sweep
    from cl_forget.evaluation.options import Evaluation as Evaluation
    from cl_forget.ground.errors import TrainingDiverged as TrainingDiverged
    from cl_forget.ground.errors import UserError as UserError
    from cl_forget.mitigations.chain import Chain as Chain
    from cl_forget.mitigations.protocol import Mitigation as Mitigation
    from cl_forget.models import load_model as load_model
    from cl_forget.reporting import report as report
    from cl_forget.run.experiment import run_experiment as run_experiment
    from cl_forget.run.simulate import simulate as simulate
    from cl_forget.streams import load_stream as load_stream
    from cl_forget.streams import load_suite as load_suite
    from cl_forget.sweeps.runner import sweep as sweep
    from cl_forget.training.options import Training as Training

_HOMES = {
    "audit": "auditing",
    "repair": "auditing",
    "Evaluation": "evaluation.options",
    "Experiment": "config.experiment",
    "Run": "config.run",
    "Training": "training.options",
    "load_experiment": "config.experiment",
    "TrainingDiverged": "ground.errors",
    "UserError": "ground.errors",
    "run_experiment": "run.experiment",
    "Chain": "mitigations.chain",
    "Mitigation": "mitigations.protocol",
    "load_model": "models",
    "allow_code": "config.recorded",
    "report": "reporting",
    "Result": "comparison.records",
    "simulate": "run.simulate",
    "Sweep": "config.sweep",
    "load_sweep": "config.sweep",
    "sweep": "sweeps.runner",
    "load_stream": "streams",
    "load_suite": "streams",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return version("cl-forget")
    if name not in _HOMES:
        raise AttributeError(f"module 'cl_forget' has no attribute '{name}'")
    # A submodule of the same name is set on the package by its import; the public object replaces it.
    value = getattr(importlib.import_module(f"cl_forget.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
