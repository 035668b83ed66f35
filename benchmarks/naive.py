"""The same methods the way they are usually written, to show what the design buys.

Penalties as autograd loops over the parameters, one penalty per past task, and the teacher run on every
batch. Each maker takes the bench of `cost.py` and gives a function that takes one step.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor


def _parts(bench: Any) -> tuple[Any, Any, list[tuple[str, Tensor]], torch.optim.Optimizer]:
    task = bench.context()
    samples, model = task.sources[0], task.model
    names = set(model.tunable(bench.task))
    tuned = [(n, p.requires_grad_(True)) for n, p in model.named_parameters() if n in names]
    model.train()
    optimizer = torch.optim.AdamW([p for _, p in tuned], lr=bench.train.lr, weight_decay=0.0, fused=True)
    return samples, model, tuned, optimizer


def _stepper(
    bench: Any, parts: Any, penalty: Callable[[Any, Any], Any], depths: tuple[str, ...] = ()
) -> Callable[[int], None]:
    samples, model, tuned, optimizer = parts
    batches = torch.arange(len(samples)).split(bench.train.batch_size)

    def step(number: int) -> None:
        batch = samples.batch(batches[number % len(batches)])
        optimizer.zero_grad()
        out = model(batch, depths)
        loss = torch.nn.functional.cross_entropy(out.logits, batch.targets) + penalty(batch, out)
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for _, p in tuned], 1.0)
        optimizer.step()
        loss.item()

    return step


def l2_sp(bench: Any) -> Callable[[int], None]:
    """`λ·Σ(θ-θ0)²` as an autograd expression."""
    parts = _parts(bench)
    start = {n: p.detach().clone() for n, p in parts[2]}
    return _stepper(bench, parts, lambda *_: sum(1e-2 * (p - start[n]).square().sum() for n, p in parts[2]))


def ewc(bench: Any, tasks: int = 10) -> Callable[[int], None]:
    """One autograd penalty per past task, as Avalanche's EWC plugin keeps them."""
    parts = _parts(bench)
    past = [{n: (torch.rand_like(p), p.detach().clone()) for n, p in parts[2]} for _ in range(tasks)]

    def penalty(*_: Any) -> Any:
        return sum((fisher[n][0] * (p - fisher[n][1]).square()).sum() for fisher in past for n, p in parts[2])

    return _stepper(bench, parts, penalty)


def avalanche_ewc(bench: Any, tasks: int = 10) -> Callable[[int], None]:
    """Avalanche's own EWC plugin, holding what ten tasks leave in it."""
    from avalanche.training.plugins import EWCPlugin
    from avalanche.training.utils import ParamData

    parts = _parts(bench)
    plugin = EWCPlugin(ewc_lambda=1.0)
    for past in range(tasks):
        for name, p in parts[2]:
            plugin.saved_params[past][name] = ParamData(name, init_tensor=p.detach().clone())
            plugin.importances[past][name] = ParamData(name, init_tensor=torch.rand_like(p))
    strategy = SimpleNamespace(
        clock=SimpleNamespace(train_exp_counter=tasks), device=bench.model.device, model=parts[1], loss=0
    )

    def penalty(*_: Any) -> Any:
        strategy.loss = 0
        plugin.before_backward(strategy)
        return strategy.loss

    return _stepper(bench, parts, penalty)


def ldifs(bench: Any) -> Callable[[int], None]:
    """The teacher runs on every batch."""
    parts = _parts(bench)
    teacher = copy.deepcopy(parts[1]).eval().requires_grad_(False)
    depths = teacher.default_depths

    def penalty(batch: Any, out: Any) -> Tensor:
        with torch.no_grad():
            frozen = teacher(batch, depths).features
        scaled = torch.nn.functional.normalize
        return (
            10
            * torch.stack(
                [(scaled(out.features[d], dim=1) - scaled(frozen[d], dim=1)).square().mean() for d in depths]
            ).mean()
        )

    return _stepper(bench, parts, penalty, depths)


def kd(bench: Any) -> Callable[[int], None]:
    """The teacher runs on every batch."""
    parts = _parts(bench)
    teacher = copy.deepcopy(parts[1]).eval().requires_grad_(False)

    def penalty(batch: Any, out: Any) -> Tensor:
        with torch.no_grad():
            frozen = teacher(batch).logits
        return 0.01 * (out.logits - frozen).square().mean()

    return _stepper(bench, parts, penalty)


NAIVE = {
    "L2-SP, autograd loop": l2_sp,
    "EWC, 10 past tasks, autograd loop": ewc,
    "EWC, 10 past tasks, Avalanche's plugin": avalanche_ewc,
    "LDIFS, teacher online": ldifs,
    "KD, teacher online": kd,
}
