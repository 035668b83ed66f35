"""Trials that only sleep: what a sweep costs beside them. Used by `sweeps.py` and `cluster_simulation.py`.

A module of its own, as the user's trainable is: Tune's driver unpickles what a script defines twice for each trial.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))

import tiny  # noqa: E402, F401  registers the tiny model and streams, here and in each worker

import cl_forget.sweeps.trainable as ours  # noqa: E402
from cl_forget.comparison.trial_files import Records  # noqa: E402
from cl_forget.comparison.trials import Attempt  # noqa: E402
from cl_forget.config.sweep import Sweep  # noqa: E402
from cl_forget.sweeps.cluster import Resources, ray_runtime  # noqa: E402
from cl_forget.sweeps.planning import Planned, plan_grid  # noqa: E402
from cl_forget.sweeps.sources import Grid  # noqa: E402
from cl_forget.sweeps.tuning import Round, fit  # noqa: E402
from cl_forget.sweeps.work import worker  # noqa: E402

if TYPE_CHECKING:
    from cl_forget.comparison.trials import Trial


class Sleeping(ours.GroupTrainable):
    """Our trainable, whose trials sleep; its thread, reports and records are as ever."""

    def _work(self, config: dict[str, Any], report: ours.Report) -> None:
        group = self.source.group(config)
        for number, one in enumerate(group, start=1):
            began, last = time.time(), number == len(group)
            time.sleep(one.trial.value or 0.0)
            attempt = Attempt(worker=worker(), started=began, ended=time.time())
            one.trial.model_copy(update={"status": "finished", "attempts": [attempt]}).save(self.folder)
            said = {"score": 0.0, "trial": one.trial.id, "status": "finished", "done": last}
            report({**said, "progress": 100.0} if last else said)


def sleep_through(
    groups: Sequence[Sequence[float]], folder: Path, workers: int | None = None, search: Any = None
) -> list[Trial]:
    """A round of our own whose trials sleep.

    Args:
        groups: of each the seconds of its trials.
        folder: of the sweep.
        workers: side by side, as sleeping takes no processor; None for as many as there are processors.
        search: what hands the groups out; None for Tune's own order.
    """
    asked = Sweep(model="tiny-clip", stream=["squares"], methods={"L2-SP": ["l2_sp"]}, control=False)
    first = plan_grid(asked)[0]

    def asleep(group: int, number: int, seconds: float) -> Planned:
        own = {"id": f"sleeping-{group}-{number}", "value": seconds}
        return Planned(first.trial.model_copy(update=own), first.run, first.facts)

    planned = [[asleep(g, n, seconds) for n, seconds in enumerate(group)] for g, group in enumerate(groups)]
    share_of_one = (
        Resources()
        if workers is None
        else Resources(cpus_per_trial=min(1.0, (os.cpu_count() or 1) / workers), max_concurrent=workers)
    )
    with mock.patch.object(ours, "GroupTrainable", Sleeping):
        fit(Round(Grid(planned), asked, folder, share_of_one, len(planned), search))
    return Records(folder).load()


@contextlib.contextmanager
def runtime() -> Iterator[None]:
    """A runtime whose workers find this module and the tiny model."""
    places = [str(HERE), str(HERE.parent / "tests"), str(HERE.parent), os.environ.get("PYTHONPATH", "")]
    os.environ["PYTHONPATH"] = os.pathsep.join(places)
    with ray_runtime(Resources()):
        yield
