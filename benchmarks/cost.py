"""What each method costs per training step, as a ratio to plain fine-tuning measured in the same run.

    python benchmarks/cost.py                                          emoji-clip, batch 64
    python benchmarks/cost.py --model open_clip:ViT-B-32/none --batch-size 8

Every method is set up first; then all of them take turns, a few steps each, round after round, so that
whatever else the machine does falls on all alike. The ratio is the median over rounds of a method's time to
the plain loop's time in the same round. `bare loop` is the same training written out in plain PyTorch.
One-time costs (teacher pass, Fisher, FLOW weights) are in the column `set-up`, in plain steps.
"""

from __future__ import annotations

import argparse
import copy
import json
import multiprocessing
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from naive import NAIVE

from cl_forget.config import Run, parse_mitigation
from cl_forget.environment import peak_memory_mb
from cl_forget.mitigations import Chain
from cl_forget.models import load_model
from cl_forget.models.base import FoundationModel
from cl_forget.result import Cost
from cl_forget.streams.base import Experience, ImageData, LabelSpace
from cl_forget.training.context import Task
from cl_forget.training.frozen import FrozenCache, FrozenModel, FrozenOutputs
from cl_forget.training.loop import FineTune

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
    "FLOW": ["flow"],
    "SAM": ["sam"],
    "LookSAM, k = 5": [{"looksam": {"every": 5}}],
    "LoRA, rank 8": [{"lora": {"rank": 8}}],
    "MoFO": ["mofo"],
}


@dataclass
class Arm:
    """One method, set up and ready to take steps."""

    name: str
    step: Callable[[int], None]
    set_up: float = 0.0
    ratios: list[float] = field(default_factory=list)


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
    """One model and one task, shared by all arms."""

    def __init__(self, spec: str, batch_size: int, batches: int) -> None:
        self.model = load_model(spec)
        side = self.model._preprocess.size[0]  # type: ignore[operator,union-attr]
        self.task = task_of(self.model, batch_size * batches, side)
        self.model.add_task(self.task)
        self.train = Run.parse(
            {"model": spec, "stream": "digits", "train": {"epochs": 1000, "batch_size": batch_size}}
        ).train
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

    def arm(self, name: str, chain: Chain, prepare: Callable[[Task, Chain], None] | None = None) -> Arm:
        """A method through our loop."""
        task = self.context()
        if prepare:
            prepare(task, chain)
        started = time.perf_counter()
        loop = FineTune(task, chain, self.train, Cost(), lambda record: None)
        loop.set_up()
        set_up = time.perf_counter() - started
        batches = torch.arange(len(task.sources[0])).split(self.train.batch_size)
        task.model.train()
        return Arm(name, lambda n: loop.step(n, (task.sources[0], batches[n % len(batches)])), set_up)

    def method(self, name: str) -> Arm:
        """One of `METHODS`, or plain fine-tuning."""
        prepare = ten_past_tasks if name.startswith(("EWC", "MAS", "SI")) else None
        return self.arm(name, Chain([parse_mitigation(item) for item in METHODS.get(name, [])]), prepare)

    def bare(self) -> Arm:
        """Plain PyTorch, nothing of ours but the model."""
        task = self.context()
        samples, model = task.sources[0], task.model
        names = set(model.tunable(self.task))
        tuned = [p.requires_grad_(n in names) for n, p in model.named_parameters() if n in names]
        optimizer = torch.optim.AdamW(tuned, lr=self.train.lr, weight_decay=0.0, fused=True)
        batches = torch.arange(len(samples)).split(self.train.batch_size)
        model.train()

        def step(number: int) -> None:
            batch = samples.batch(batches[number % len(batches)])
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(batch).logits, batch.targets)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(tuned, 1.0)
            optimizer.step()
            loss.item()

        return Arm("bare PyTorch loop", step)


def ten_past_tasks(task: Task, chain: Chain) -> None:
    """EWC's merged state as ten tasks leave it: its size, and so its cost, does not depend on their number."""
    for m in chain:
        m.end_task(task, chain.state[m.name])


def measure(arms: list[Arm], rounds: int, steps: int) -> None:
    """Let the arms take turns; the first is what the others are compared with."""
    for arm in arms:
        for number in range(steps):
            arm.step(number)  # warm-up
    for turn in range(rounds):
        seconds = []
        for arm in arms:
            started = time.perf_counter()
            for number in range(steps):
                arm.step((turn + 1) * steps + number)
            seconds.append((time.perf_counter() - started) / steps)
        for arm, taken in zip(arms, seconds, strict=True):
            arm.ratios.append(taken / seconds[0])
        arms[0].set_up = statistics.median(seconds[:1])


def memory_table(arguments: argparse.Namespace) -> None:
    """Resident memory at its peak, one process per method so that none hides behind another."""
    names = ["plain fine-tuning", "bare PyTorch loop", *METHODS, *NAIVE]
    context = multiprocessing.get_context("spawn")
    print(
        f"{arguments.model}, batch {arguments.batch_size}\n\n"
        "| method | peak memory, MiB | beyond plain |\n|---|---:|---:|"
    )
    figures: dict[str, float] = {}
    for name in names:
        if arguments.only and name not in arguments.only and name != names[0]:
            continue
        with context.Pool(1) as pool:
            figures[name] = pool.apply(peak_of, (name, arguments.model, arguments.batch_size))
        print(f"| {name} | {figures[name]:.0f} | {figures[name] - figures[names[0]]:+.0f} |", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1))


def peak_of(name: str, model: str, batch_size: int) -> float:
    """Peak resident memory, MiB, of a process that takes three steps of one method."""
    bench = Bench(model, batch_size, batches=2)
    if name == "bare PyTorch loop":
        arm = bench.bare()
    elif name in NAIVE:
        arm = Arm(name, NAIVE[name](bench))
    else:
        arm = bench.method(name)
    for number in range(3):
        arm.step(number)
    return peak_memory_mb(torch.device("cpu"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="emoji-clip")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--only", nargs="*", help="names of methods")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    parser.add_argument("--memory", action="store_true", help="peak memory of each method, a process each")
    arguments = parser.parse_args()
    if arguments.memory:
        memory_table(arguments)
        return
    bench = Bench(arguments.model, arguments.batch_size, batches=4)
    plain = bench.method("plain fine-tuning")
    arms = [plain, bench.bare()]
    for name in METHODS:
        if not arguments.only or name in arguments.only:
            arms.append(bench.method(name))
    for name, make in NAIVE.items():
        if not arguments.only or name in arguments.only:
            arms.append(Arm(name, make(bench)))
    measure(arms, arguments.rounds, arguments.steps)
    step = plain.set_up
    print(f"{arguments.model}, batch {arguments.batch_size}, {torch.get_num_threads()} threads; ")
    print(f"a plain step took {1000 * step:.1f} ms (median)\n")
    print("| method | step, ratio to plain | set-up, in plain steps |\n|---|---:|---:|")
    figures = {}
    for arm in arms:
        ratio = statistics.median(arm.ratios)
        set_up = 0.0 if arm is plain else arm.set_up / step
        figures[arm.name] = {"ratio": ratio, "set_up_steps": set_up}
        print(f"| {arm.name} | {ratio:.2f} | {set_up:.0f} |")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1))


if __name__ == "__main__":
    main()
