"""An 11-point WiSE-FT curve costs 11 evaluations: what it takes beyond them, measured in one run.

    python benchmarks/curve.py

The run is fine-tuned once; then the curve is taken several times, in turns with 11 bare evaluations of the
same model. Printed: the median time of a curve over that of 11 evaluations.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

from cl_forget.config.run import Run
from cl_forget.run.simulation import Simulation
from cl_forget.training.checkpoints import RunFolder

RUN = {
    "model": "emoji-clip",
    "stream": [{"digits": {"limit": 256}}],
    "suites": ["emoji"],
    "mitigations": [{"wise_ft": 0.5}],
    "train": {"epochs": 1},
}


def main(rounds: int = 3) -> None:
    with (
        tempfile.TemporaryDirectory() as folder,
        Simulation.open(Run.parse(RUN), RunFolder(Path(folder))) as simulation,
    ):
        simulation.evaluate(after=None)
        (stage,) = simulation.stages
        simulation.fine_tune(stage)
        simulation.evaluate(after=stage)
        points = len(simulation.run.mitigations[0].grid)
        ratios = []
        for _ in range(rounds):
            started = time.perf_counter()
            simulation.curves()
            curve = time.perf_counter() - started
            started = time.perf_counter()
            for _ in range(points):
                simulation.evaluator.row("digits", [], simulation.cost.model_copy(), probing=False)
            ratios.append(curve / (time.perf_counter() - started))
    print(
        f"{points}-point curve / {points} evaluations: {statistics.median(ratios):.3f} (median of {rounds})"
    )


if __name__ == "__main__":
    main()
