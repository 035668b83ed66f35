"""A dry run: check everything an experiment needs and estimate what it will cost, training nothing."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from cl_forget.config.experiment import Experiment
from cl_forget.config.run import Run
from cl_forget.ground.environment import peak_memory_mb, use_threads
from cl_forget.ground.progress import duration
from cl_forget.mitigations.chain import Chain
from cl_forget.models import load_model
from cl_forget.run.needs import needs
from cl_forget.run.sharded import refuse
from cl_forget.run.shared import check_kinds, check_model, check_names, check_suites, understood
from cl_forget.streams import load_probes, load_stream, load_suites
from cl_forget.streams.base import Experience

if TYPE_CHECKING:
    from rich.table import Table

    from cl_forget.models.base import FoundationModel, Prepared


def plan(
    experiment: Experiment, output: Path = Path("runs"), say: Callable[[str], object] = lambda line: None
) -> Table:
    """What every run of the experiment will do, as a table.

    Args:
        experiment: the validated experiment.
        output: the folder its results would go to.
        say: told, line by line, what was understood of the data.

    Loads the model and all data, times two training steps and one evaluation batch on this machine, and
    multiplies. Whatever makes further passes takes as much longer; what else methods cost is left out.

    Raises:
        UserError: whatever would stop the experiment.
    """
    runs = experiment.runs()
    first = runs[0]
    tasks = load_stream(first.stream)
    suites = load_suites(first.suites)
    probes = load_probes(first.probes)
    check_names(tasks, suites, probes)
    model = load_model(first.model, first.text)
    for task in tasks:
        model.add_task(task)
    for run in runs:
        refuse(run, run.chain())
        check_model(run, model, tasks)
    check_kinds(model, tasks, suites, probes)
    check_suites(model, suites)
    for record in understood(model, tasks, suites, probes):
        say("\n".join(record.lines()))
    say(needs(model, tasks, [*suites, *probes], output).line())
    with use_threads(first.train.threads):
        measured = measure(model, first, tasks)
    limit = first.evaluate.limit
    per_row = sum(evaluated(experience, limit) for experience in [*tasks, *suites, *probes])
    return _table(experiment, runs, tasks, per_row, measured)


def evaluated(experience: Experience, limit: int | None) -> int:
    """Samples one row reads of an experience."""
    sizes = [len(data) for split, data in experience.splits().items() if split != "train"]
    return sum(size if limit is None else min(size, limit) for size in sizes)


def measure(model: FoundationModel, run: Run, tasks: list[Experience]) -> dict[str, float]:
    """Seconds per training sample and per evaluated sample, parameters, peak memory."""
    task = tasks[0]
    assert task.train is not None
    samples = model.prepare(task.train, task, "train")
    names = set(model.tunable(task))
    tuned = [p.requires_grad_(True) for n, p in model.named_parameters() if n in names]
    size = run.train.micro_batch_size or run.train.batch_size
    train = _time(lambda: _step(model, samples, size, tuned))
    with torch.no_grad():
        evaluate = _time(lambda: _forward(model, samples, run.evaluate.batch_size))
    return {
        "train": train / min(size, len(samples)),
        "evaluate": evaluate / min(run.evaluate.batch_size, len(samples)),
        "parameters": sum(p.numel() for p in tuned),
        # AdamW keeps two moments more than the step measured here.
        "memory": peak_memory_mb(model.device) + 2 * 4 * sum(p.numel() for p in tuned) / 2**20,
    }


def _forward(model: FoundationModel, samples: Prepared, size: int) -> Any:
    return model(samples.batch(torch.arange(min(size, len(samples)))))


def _step(model: FoundationModel, samples: Prepared, size: int, tuned: list[torch.Tensor]) -> None:
    torch.autograd.grad(_forward(model, samples, size).unit_losses().mean(), tuned)


def _time(once: Any) -> float:
    once()  # the first call also warms up
    started = time.perf_counter()
    once()
    return time.perf_counter() - started


def _table(
    experiment: Experiment, runs: list[Run], tasks: list[Experience], per_row: int, measured: dict[str, float]
) -> Table:
    from rich import box
    from rich.table import Table

    samples = sum(len(task.train) for task in tasks if task.train is not None)
    table = Table(
        title=f"{experiment.name}: {len(runs)} runs (dry run)", box=box.SIMPLE_HEAD, title_style="bold"
    )
    for column in ("method", "runs", "steps", "samples seen", "evaluations", "about"):
        table.add_column(column, justify="left" if column == "method" else "right")
    total, trained = 0.0, set()
    for method in dict.fromkeys(run.method for run in runs):
        mine = [run for run in runs if run.method == method]
        chain = mine[0].chain()
        shares = mine[0].training_key() in trained or any(m.trains_nothing for m in chain)
        trained.add(mine[0].training_key())
        planned = _steps(mine[0], tasks)
        steps = 0 if shares else chain.steps(planned)
        times = mine[0].train.passes(samples, len(tasks))
        seen = 0 if shares else round(samples * times * steps / planned)
        rows = 1 + len(chain.arrange(tasks)) + _curve_points(chain, mine[0])
        passes = chain.passes(mine[0].train.batch_size, times, chain.steps(planned) / len(tasks))
        each = measured["train"] * passes / (2 * times)  # what was measured is one pass forward and backward
        seconds = len(mine) * (seen * each + rows * per_row * measured["evaluate"])
        total += seconds
        cells = (str(len(mine)), str(steps) if steps else "shared" if shares else "0", str(seen), str(rows))
        table.add_row(method, *cells, duration(seconds))
    table.caption = (
        f"about {duration(total)} in all on this machine · {measured['parameters']:,.0f} trainable parameters · "
        f"about {measured['memory']:,.0f} MiB · nothing was trained or written"
    )
    return table


def _steps(run: Run, tasks: list[Experience]) -> int:
    if run.train.steps is not None:
        return run.train.steps * len(tasks)
    per_epoch = sum(-(-len(task.train) // run.train.batch_size) for task in tasks if task.train is not None)
    return run.train.epochs * per_epoch


def _curve_points(chain: Chain, run: Run) -> int:
    return sum(len(m.grid) for m in chain.post_hoc) if run.evaluate.curves else 0
