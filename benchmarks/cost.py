"""What each method costs per training step, as a ratio to plain fine-tuning measured in the same run.

    python benchmarks/cost.py                                          emoji-clip, batch 64
    python benchmarks/cost.py --model open_clip:ViT-B-32/none --batch-size 8
    python benchmarks/cost.py --edits                                  what edits after three tasks cost

Each method takes turns with the plain loop, step by step, so that whatever else the machine does falls on both
alike; then it is dropped and the next one is set up, so that memory holds two models and no more. The ratio is that
of the steps' processor time in one thread (of wall-clock time on a GPU). The bare loop is the same training written
out in plain PyTorch. One-time costs (teacher pass, Fisher, FLOW weights) are in the column `set-up`, in plain steps.
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
import multiprocessing
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from naive import NAIVE

from cl_forget.config.run import parse_mitigation
from cl_forget.ground.environment import peak_memory_mb
from cl_forget.ground.records import Cost
from cl_forget.mitigations import Chain
from cl_forget.models import load_model
from cl_forget.models.base import FoundationModel
from cl_forget.streams.base import Experience, ImageData, LabelSpace
from cl_forget.training.context import Edit, Task
from cl_forget.training.frozen import FrozenCache, FrozenModel, FrozenOutputs
from cl_forget.training.loop import FineTune
from cl_forget.training.options import Training

METHODS: dict[str, Any] = {
    "L1-SP": ["l1_sp"],
    "L2-SP": ["l2_sp"],
    "EWC, 10 past tasks": ["ewc"],
    "MAS": ["mas"],
    "SI": ["si"],
    "LDIFS, cached": ["ldifs"],
    "KD, cached": ["kd"],
    "LwF, cached": ["lwf"],
    "KL to base, cached": ["kl_to_base"],
    "FDA, cached": ["fda"],
    "FLOW": ["flow"],
    "STM, cached": ["stm"],
    "TALR": ["talr"],
    "DFT": ["dft"],
    "ASFT, cached": ["asft"],
    "SAM": ["sam"],
    "LookSAM, k = 5": [{"looksam": {"every": 5}}],
    "LoRA, rank 8": [{"lora": {"rank": 8}}],
    "LoRA, rank 8 + weight decay": [{"lora": {"rank": 8}}, "weight_decay"],
    "CLoRA, rank 8": [{"clora": {"rank": 8}}],
    "OSF": ["osf"],
    "MoFO": ["mofo"],
    "EMA": ["ema"],
}
EDITS: dict[str, Any] = {
    "WiSE-FT": "wise_ft",
    "task arithmetic": "task_arithmetic",
    "MagMax": "magmax",
    "TIES": "ties",
    "DARE": "dare",
    "Model Stock": "model_stock",
    "OPCM": "opcm",
    "intruder reduction": "intruder_reduction",
}
"""Methods that edit weights after the task and take no step."""
now = time.perf_counter if torch.cuda.is_available() else time.process_time

PLAIN, BARE = "plain fine-tuning", "bare PyTorch loop"


@dataclass
class Arm:
    """One method, set up and ready to take steps.

    Attributes:
        step: takes the step of that number; gives the loss.
        set_up: seconds that setting up took.
    """

    step: Callable[[int], float | None]
    set_up: float = 0.0


def task_of(model: FoundationModel, samples: int, side: int, seed: int = 0) -> Experience:
    """A ten-class task of random images: a step costs the same whatever they show."""
    random = torch.Generator().manual_seed(seed)
    labels = LabelSpace(f"random-{seed}", tuple(f"class {i}" for i in range(10)))
    data = ImageData(
        torch.randint(10, (samples,), generator=random).numpy(),
        array=torch.randint(256, (samples, 3, side, side), generator=random, dtype=torch.uint8).numpy(),
    )
    return Experience(f"random-{seed}", labels, data, data, data)


class Bench:
    """One model and one task, shared by all arms.

    Args:
        spec: of the model.
        batch_size: samples of a step.
        batches: that the task has.
        train: settings of `train` beside these.
    """

    def __init__(self, spec: str, batch_size: int, batches: int, **train: Any) -> None:
        model: Any = load_model(spec)
        side = model._preprocess.size[0]
        self.share(model, task_of(model, batch_size * batches, side), batch_size, **train)

    def share(self, model: FoundationModel, task: Experience, batch_size: int, **train: Any) -> None:
        """Set what the arms share."""
        self.model, self.task = model, task
        self.model.add_task(self.task)
        self.train = Training(epochs=1000, batch_size=batch_size, **train)
        self.cache = FrozenCache(None)
        self.base = FrozenModel(self.model, [self.task])

    def context(self) -> Task:
        """A fresh copy of the model, ready to be tuned on the task."""
        model = copy.deepcopy(self.model)
        samples = model.prepare(self.task.train, self.task, "train")  # type: ignore[arg-type]
        weights = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        frozen = FrozenOutputs(self.cache, {"pretrained": self.base, "previous": self.base})
        return Task(
            model, (self.task,), 0, [samples], [samples], [], weights, weights, frozen, 0, 100_000,
            self.train.batch_size,
        )  # fmt: skip

    def arm(self, chain: Chain, prepare: Callable[[Task, Chain], None] | None = None) -> Arm:
        """A method through our loop."""
        task = self.context()
        if prepare:
            prepare(task, chain)
        started = now()
        loop = FineTune(task, chain, self.train, Cost(), lambda record: None)
        loop.set_up()
        set_up = now() - started
        batches = torch.arange(len(task.sources[0])).split(self.train.batch_size)
        task.model.train()
        return Arm(lambda n: loop.step(n, (task.sources[0], batches[n % len(batches)])), set_up)

    def method(self, name: str) -> Arm:
        """By name: plain fine-tuning, the bare loop, one of `METHODS`, or one of `NAIVE`."""
        if name == BARE:
            return self.bare()
        if name in NAIVE:
            return Arm(NAIVE[name](self))
        prepare = ten_past_tasks if name.startswith(("EWC", "MAS", "SI")) else None
        return self.arm(Chain([parse_mitigation(item) for item in METHODS.get(name, [])]), prepare)

    def bare(self) -> Arm:
        """Plain PyTorch, nothing of ours but the model."""
        task = self.context()
        samples, model = task.sources[0], task.model
        names = set(model.tunable(self.task))
        tuned = [p.requires_grad_(n in names) for n, p in model.named_parameters() if n in names]
        optimizer = torch.optim.AdamW(tuned, lr=self.train.lr, weight_decay=0.0, fused=True)
        batches = torch.arange(len(samples)).split(self.train.batch_size)
        model.train()
        bf16 = self.train.precision == "bf16"

        def step(number: int) -> float:
            batch = samples.batch(batches[number % len(batches)])
            optimizer.zero_grad()
            with torch.autocast(model.device.type, dtype=torch.bfloat16, enabled=bf16):
                loss = torch.nn.functional.cross_entropy(model(batch).logits, batch.targets)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(tuned, 1.0)
            optimizer.step()
            return loss.item()

        return Arm(step)


def ten_past_tasks(task: Task, chain: Chain) -> None:
    """EWC's merged state as ten tasks leave it: its size, and so its cost, does not depend on their number."""
    for m in chain:
        m.end_task(task, chain.state[m.name])


def measure(plain: Arm, arm: Arm, steps: int) -> tuple[float, float]:
    """Seconds of the plain loop and of a method for as many steps, by turns, after one that does not count."""
    taken = [0.0, 0.0]
    for number in range(steps + 1):
        for place, one in enumerate((plain, arm)):
            started = now()
            one.step(number)
            taken[place] += (now() - started) * (number > 0)
    return taken[0], taken[1]


def edit_table(arguments: argparse.Namespace) -> None:
    """One edit after three tasks whose weights are in memory, in plain steps."""
    torch.set_num_threads(1)
    bench = Bench(arguments.model, arguments.batch_size, batches=4)
    task, plain = bench.context(), bench.method(PLAIN)
    start, random = task.pretrained, torch.Generator().manual_seed(0)
    ends = [
        {
            n: t + 0.01 * torch.randn(t.shape, generator=random) if t.is_floating_point() else t
            for n, t in start.items()
        }
        for _ in range(3)
    ]
    steps = []
    for number in range(arguments.steps + 1):
        started = now()
        plain.step(number)
        steps.append(now() - started)
    step = statistics.median(steps[1:])
    figures = {}
    print(
        f"{arguments.model}; a plain step of batch {arguments.batch_size} took {1000 * step:.0f} ms (median)\n"
    )
    print("| edit after three tasks | in plain steps |\n|---|---:|")
    for name, method in EDITS.items():
        if not _wanted(name, arguments):
            continue
        edit = Edit(task.model, start, start, [lambda e=e: e for e in ends], [lambda: start] * 3, task)  # type: ignore[misc]
        started = now()
        with torch.no_grad():
            parse_mitigation(method).edit_weights(edit, ends[-1])
        figures[name] = (now() - started) / step
        print(f"| {name} | {figures[name]:.1f} |", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1))


def memory_table(arguments: argparse.Namespace) -> None:
    """Resident memory at its peak, one process per method so that none hides behind another."""
    names = [PLAIN, BARE, *METHODS, *NAIVE]
    context = multiprocessing.get_context("spawn")
    print(
        f"{arguments.model}, batch {arguments.batch_size}\n\n"
        "| method | peak memory, MiB | beyond plain |\n|---|---:|---:|"
    )
    figures: dict[str, float] = {}
    for name in names:
        if name != PLAIN and not _wanted(name, arguments):
            continue
        with context.Pool(1) as pool:
            figures[name] = pool.apply(peak_of, (name, arguments.model, arguments.batch_size))
        print(f"| {name} | {figures[name]:.0f} | {figures[name] - figures[names[0]]:+.0f} |", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1))


def peak_of(name: str, model: str, batch_size: int) -> float:
    """Peak resident memory, MiB, of a process that takes three steps of one method."""
    bench = Bench(model, batch_size, batches=2)
    arm = bench.method(name)
    for number in range(3):
        arm.step(number)
    return peak_memory_mb(torch.device("cpu"))


def _wanted(name: str, arguments: argparse.Namespace) -> bool:
    return name not in arguments.without and (not arguments.only or name in arguments.only)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="emoji-clip")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument(
        "--steps", type=int, default=20, help="of each method; a multiple of 5 for LookSAM's cycle"
    )
    parser.add_argument("--only", nargs="*", help="names of methods")
    parser.add_argument("--without", nargs="*", default=[], help="names of methods to leave out")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    parser.add_argument("--memory", action="store_true", help="peak memory of each method, a process each")
    parser.add_argument(
        "--edits", action="store_true", help="what edits of the weights cost, after the tasks"
    )
    arguments = parser.parse_args()
    if arguments.edits:
        edit_table(arguments)
        return
    if arguments.memory:
        memory_table(arguments)
        return
    torch.set_num_threads(1)
    bench = Bench(arguments.model, arguments.batch_size, batches=4)
    plain = bench.method(PLAIN)
    plain_steps: list[float] = []
    figures = {PLAIN: {"ratio": 1.0, "set_up_seconds": 0.0}}
    for name in [BARE, *METHODS, *NAIVE]:
        if not _wanted(name, arguments):
            continue
        arm = bench.method(name)
        ours, own = measure(plain, arm, arguments.steps)
        plain_steps.append(ours / arguments.steps)
        figures[name] = {"ratio": own / ours, "set_up_seconds": arm.set_up}
        print(name, figures[name], file=sys.stderr, flush=True)
        del arm
        gc.collect()
    step = statistics.median(plain_steps)
    print(
        f"{arguments.model}, batch {arguments.batch_size}; a plain step took {1000 * step:.0f} ms (median)\n"
    )
    print("| method | step, ratio to plain | set-up, in plain steps |\n|---|---:|---:|")
    for name, figure in figures.items():
        print(f"| {name} | {figure['ratio']:.2f} | {figure['set_up_seconds'] / step:.0f} |")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
