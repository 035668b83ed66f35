"""Every method on a language model: it works, or refuses with the reason."""

from __future__ import annotations

import math
from typing import Any

import pytest
import tiny_lm
import torch
from drive import resumed, task_of
from tiny_lm import ARCHITECTURES, other, sum_task
from torch import Tensor

from cl_forget.config.run import Run
from cl_forget.ground.errors import UserError
from cl_forget.ground.records import Cost
from cl_forget.mitigations import MITIGATIONS, Chain
from cl_forget.mitigations.shared import adapters as _lora
from cl_forget.models.causal_lm import CausalLM
from cl_forget.run.simulate import simulate
from cl_forget.training.loop import FineTune
from cl_forget.training.options import Training

TASK = sum_task()

FIELDS: dict[str, dict[str, Any]] = {
    "lora": {"rank": 2},
    "clora": {"rank": 2},
    "o_lora": {"rank": 2},
    "lora_null": {"rank": 2, "reference": "letters-copied"},
    "freeze": {"blocks": 1},
    "hma": {"groups": 2},
    "er": {"memory": 6},
    "derpp": {"memory": 6},
    "sdft": {"template": "{response}={prompt}"},
    "zscl": {"reference": "letters-copied"},
}
"""What a method needs beyond its defaults on a tiny model."""

REFUSED = {
    "flyp": "no text tower",
    "flyp_ce": "no text tower",
    "zscl": "no text tower",
    "class_means": "no classification head",
    "linear_probe": "no classification head",
    "ridge_head": "no classification head",
    "lp_ft": "no classification head",
    "frozen_trunk": "no head beside its trunk",
    "lwf": "needs tasks with classes",
    "avalanche": "Avalanche's strategies are for classifiers",
}
"""Methods without a meaning for texts, and what they say."""


def run(*mitigations: Any, **fields: Any) -> Run:
    base = {
        "model": "tiny-lm",
        "stream": {"sums": {"tasks": 2, "count": 8}},
        "suites": ["letters-copied"],
        "train": {"epochs": 1, "batch_size": 4, "lr": 1e-3},
        "text": {"top_logits": 8},
        "evaluate": {"curves": False},
    }
    return Run.parse({**base, **fields, "mitigations": list(mitigations)})


@pytest.mark.parametrize("name", REFUSED)
def test_a_method_without_a_meaning_for_texts_says_why(name: str) -> None:
    method = MITIGATIONS.get(name)(**FIELDS.get(name, {}))
    with pytest.raises(UserError) as caught:
        simulate(run(method))
    assert REFUSED[name] in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["llama", *ARCHITECTURES])
def test_lora_adapts_every_linear_map_of_a_block_and_each_gets_a_gradient(kind: str) -> None:
    model = tiny_lm.tiny_lm() if kind == "llama" else other(kind)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    maps = {n for n, p in model.named_parameters() if p.ndim == 2 and model.block_of(n) is not None}
    train = Training(epochs=1, batch_size=4, lr=1e-2)
    task = task_of(model, [TASK], train=train)
    loop = FineTune(task, Chain([MITIGATIONS.get("lora")(rank=2)]), train, Cost(), lambda record: None)
    loop.set_up()
    assert set(_lora.adapters(model)) == maps
    loop.step(0, (task.sources[0], torch.arange(4)))
    ups = {name: adapter.up.detach() for name, adapter in _lora.adapters(model).items()}
    assert all(float(up.abs().max()) > 0 for up in ups.values())
    _lora.merge(model)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == maps


# -- training options ----------------------------------------------------------------------------------


def step_gradient(model: CausalLM, **options: Any) -> dict[str, Tensor]:
    train = Training(epochs=1, batch_size=12, lr=1e-3, clip=None, **options)
    task = task_of(model, [TASK], train=train)
    loop = FineTune(task, Chain(), train, Cost(), lambda record: None)
    loop.set_up()
    loop.step(0, (task.sources[0], torch.arange(12)))
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters()}


def test_uneven_micro_batches_give_the_gradient_of_the_large_batch() -> None:
    large = step_gradient(tiny_lm.tiny_lm())
    for options in ({"micro_batch_size": 3}, {"micro_batch_size": 1}, {"gradient_checkpointing": True}):
        small = step_gradient(tiny_lm.tiny_lm(), **options)
        for name in large:
            torch.testing.assert_close(small[name], large[name], atol=1e-6, rtol=0)


def test_bf16_keeps_float32_weights_and_nearly_the_gradient() -> None:
    model = tiny_lm.tiny_lm()
    near, exact = step_gradient(model, precision="bf16"), step_gradient(tiny_lm.tiny_lm())
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32}
    assert any(not torch.equal(near[name], exact[name]) for name in exact)
    one, two = (torch.cat([value.flatten() for value in g.values()]) for g in (near, exact))
    assert torch.nn.functional.cosine_similarity(one, two, dim=0) > 0.99


# -- the forms that differ from a classifier's -----------------------------------------------------------


def units(model: CausalLM, index: int) -> tuple[Tensor, Tensor]:
    """Logits and targets of one training sample, straight from transformers."""
    samples = model.prepare(TASK.train, TASK, "train")
    ids, start = samples.table.sample(index), int(samples.table.response[index])
    return model.lm(input_ids=ids[None]).logits[0, start - 1 : -1], ids[start:]


def gradient_of(model: CausalLM, *mitigations: Any) -> dict[str, Tensor]:
    """The loop's gradient in the first step of a task, all twelve samples in one batch."""
    train = Training(epochs=1, batch_size=12, lr=1e-3, clip=None)
    task = task_of(model, [TASK], train=train)
    loop = FineTune(task, Chain(mitigations), train, Cost(), lambda record: None)
    loop.set_up()
    with torch.no_grad():  # away from the teacher, or there is nothing to distil
        for parameter in model.parameters():
            parameter.mul_(1.05)
    loop.step(0, (task.sources[0], torch.arange(12)))
    return {name: p.grad for name, p in model.named_parameters()}


def assert_gradient(found: dict[str, Tensor], model: CausalLM, loss: Tensor) -> None:
    names = [name for name, _ in model.named_parameters()]
    for name, expected in zip(names, torch.autograd.grad(loss, list(model.parameters())), strict=True):
        torch.testing.assert_close(
            found[name], expected, atol=1e-8, rtol=1e-6, msg=lambda m, n=name: f"{n}: {m}"
        )


def pair(top: int = 64) -> tuple[CausalLM, CausalLM, CausalLM]:
    """A model to train, θ0, and the weights the gradient is taken at, written out."""
    from cl_forget.models.options import TextOptions

    models = [tiny_lm.tiny_lm(TextOptions(top_logits=top)).double() for _ in range(3)]
    with torch.no_grad():
        for parameter in models[2].parameters():
            parameter.mul_(1.05)
    models[2].requires_grad_(True)
    return models[0], models[1], models[2]


@pytest.mark.parametrize("level", ["sample", "unit"])
def test_flow_weighs_sequences_or_tokens_by_the_frozen_loss(level: str) -> None:
    model, base, now = pair()
    found = gradient_of(model, MITIGATIONS.get("flow")(level=level, temperature=0.5))
    with torch.no_grad():
        frozen = [torch.nn.functional.cross_entropy(*units(base, i), reduction="none") for i in range(12)]
    means = [own.mean() for own in frozen]
    every = torch.stack(means) if level == "sample" else torch.cat(frozen)
    tau = 0.5 * float(every.quantile(0.5))
    total = 0.0
    for i in range(12):
        losses = torch.nn.functional.cross_entropy(*units(now, i), reduction="none")
        weights = (-(means[i] if level == "sample" else frozen[i]) / tau).exp()
        total = total + (weights * losses).mean() / 12
    assert_gradient(found, now, total)


def test_flow_costs_one_pass_of_the_frozen_model() -> None:
    result = simulate(run("flow", stream={"sums": {"tasks": 1, "count": 8}}, seed=5, train={"lr": 2e-3}))
    assert 0 < result.rows[-1].cost.frozen_samples <= 8
    again = simulate(run("flow", stream={"sums": {"tasks": 1, "count": 8}}, seed=6, train={"lr": 2e-3}))
    # The outputs are in the cache by now: a method costs the same whoever ran before it.
    assert again.rows[-1].cost.frozen_samples == result.rows[-1].cost.frozen_samples


def test_eaft_gates_each_token_by_the_entropy_of_the_likeliest() -> None:
    model, _, now = pair()
    found = gradient_of(model, MITIGATIONS.get("eaft")(top=5))
    total = 0.0
    for i in range(12):
        logits, targets = units(now, i)
        p = logits.detach().topk(5).values.softmax(-1)
        gate = -(p * p.log()).sum(-1) / math.log(5)
        total = (
            total + (gate * torch.nn.functional.cross_entropy(logits, targets, reduction="none")).mean() / 12
        )
    assert_gradient(found, now, total)


@pytest.mark.parametrize("threshold", [30.0, 60.0])
def test_stm_learns_the_tokens_that_the_frozen_model_expects(threshold: float) -> None:
    model, base, now = pair()
    found = gradient_of(model, MITIGATIONS.get("stm")(threshold=threshold))
    total, kept = 0.0, 0
    for i in range(12):
        frozen = [row.softmax(-1)[target] for row, target in zip(*units(base, i), strict=True)]
        logits, targets = units(now, i)
        mask = [1 / float(p) <= threshold for p in frozen]
        losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
        kept += sum(mask)
        if any(mask):
            total = total + losses[torch.tensor(mask)].mean() / 12
    assert 0 < kept < sum(len(units(base, i)[1]) for i in range(12))
    assert_gradient(found, now, total)


def test_talr_and_dft_weigh_tokens_by_what_the_model_says_of_them_now() -> None:
    for name in ("talr", "dft"):
        model, _, now = pair()
        found = gradient_of(model, MITIGATIONS.get(name)())
        every = [torch.nn.functional.cross_entropy(*units(now, i), reduction="none") for i in range(12)]
        tau = float(torch.cat(every).detach().quantile(0.5))
        total = 0.0
        for losses in every:
            weights = (-losses.detach() / (tau if name == "talr" else 1.0)).exp()
            total = total + (weights.clamp(min=0.01 if name == "talr" else 0.0) * losses).mean() / 12
        assert_gradient(found, now, total)


@pytest.mark.parametrize("top", [64, 6])
def test_asft_is_dft_with_the_divergence(top: int) -> None:
    model, other, (_, base, now) = pair(top)[0], pair(top)[0], pair(top)
    found = gradient_of(model, MITIGATIONS.get("asft")(strength=0.3))
    both = gradient_of(other, MITIGATIONS.get("dft")(), MITIGATIONS.get("kl_to_base")(strength=0.3))
    assert all(torch.equal(found[name], gradient) for name, gradient in both.items())
    if top < 54:
        return
    total = 0.0
    for i in range(12):
        (logits, targets), (teacher, _) = units(now, i), units(base, i)
        p, log_q = teacher.detach().softmax(-1), logits.log_softmax(-1)
        likely = logits.softmax(-1)[
            torch.arange(len(targets)), targets
        ]  # -p has the gradient of p times the loss
        total = total + (-likely + 0.3 * (p * (p.log() - log_q)).sum(-1)).mean() / 12
    assert_gradient(found, now, total)


@pytest.mark.parametrize("top", [64, 6])
def test_kd_is_the_distance_of_the_logits_kept(top: int) -> None:
    model, base, now = pair(top)
    found = gradient_of(model, MITIGATIONS.get("kd")(strength=0.1))
    total = 0.0
    for i in range(12):
        (logits, targets), (teacher, _) = units(now, i), units(base, i)
        kept = teacher.detach().topk(min(top, 54)).indices
        distance = (logits - teacher.detach()).gather(1, kept).square().sum(-1)
        total = total + (torch.nn.functional.cross_entropy(logits, targets) + 0.1 * distance.mean()) / 12
    assert_gradient(found, now, total)


@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize("top", [64, 6])
def test_kl_to_base_counts_the_rest_as_one_outcome(top: int, direction: str) -> None:
    model, base, now = pair(top)
    found = gradient_of(model, MITIGATIONS.get("kl_to_base")(strength=2.0, direction=direction))
    total = 0.0
    for i in range(12):
        (logits, targets), (teacher, _) = units(now, i), units(base, i)
        teacher = teacher.detach()
        p, q = teacher.softmax(-1), logits.softmax(-1)
        if top < 54:
            kept = teacher.topk(top).indices
            p, q = (
                torch.cat([x.gather(1, kept), 1 - x.gather(1, kept).sum(1, keepdim=True)], 1) for x in (p, q)
            )
        p, q = (p, q) if direction == "forward" else (q, p)
        divergence = (p * (p / q).log()).sum(-1).mean()
        total = total + (torch.nn.functional.cross_entropy(logits, targets) + 2.0 * divergence) / 12
    assert_gradient(found, now, total)


def test_lines_and_hma_scale_a_language_model_by_its_blocks() -> None:
    from cl_forget.training.context import Edit

    model = tiny_lm.tiny_lm()
    start = {name: value.clone() for name, value in model.state_dict().items()}
    tuned = {name: value + 1 for name, value in start.items()}
    edited = MITIGATIONS.get("lines")(a=0.25).edit_weights(Edit(model, start, start), tuned)
    for name, value in edited.items():
        share = {None: 0.25, 0: 0.25, 1: 1.0}[model.block_of(name)]
        torch.testing.assert_close(value, start[name] + share, atol=1e-6, rtol=0)
    mixed = MITIGATIONS.get("hma")(alpha=0.5, groups=2).mix(Edit(model, start, start), tuned, (0.25, 0.75))
    for name, value in mixed.items():
        share = {None: 0.5, 0: 0.25, 1: 0.75}[model.block_of(name)]
        torch.testing.assert_close(value, start[name] + share, atol=1e-6, rtol=0)


@pytest.mark.parametrize("methods", [[], ["flow", "l2_sp", "sam"], ["lora", "eaft"]], ids=str)
def test_a_task_continued_from_a_checkpoint_ends_with_the_same_bits(methods: list[str]) -> None:
    train = Training(epochs=2, batch_size=5, micro_batch_size=None, lr=1e-3)
    chosen = [MITIGATIONS.get(name)(**FIELDS.get(name, {})) for name in methods]
    resumed(lambda: task_of(tiny_lm.tiny_lm(), [TASK], train=train), *chosen, train=train)
