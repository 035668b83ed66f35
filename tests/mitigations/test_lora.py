"""LoRA on open_clip and on a language model: what is adapted, that nothing is dead, that merging is exact."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from drive import TASKS, TRAIN, assert_close, clip, distance, resumed, task_of, tuned, weights
from pydantic import ValidationError
from test_sam import resnet
from torch import nn
from torch.nn import functional as F

from cl_forget.ground.errors import UserError
from cl_forget.mitigations import Chain
from cl_forget.mitigations.freeze import Freeze
from cl_forget.mitigations.l2_sp import L2SP
from cl_forget.mitigations.linear_probe import LinearProbe
from cl_forget.mitigations.lora import LoRA
from cl_forget.mitigations.lora_null import LoRANull
from cl_forget.mitigations.o_lora import OLoRA
from cl_forget.mitigations.shared import adapters as _lora
from cl_forget.mitigations.wise_ft import WiseFT
from cl_forget.training.context import Edit

MAPS = ("attn.in_proj_weight", "attn.out_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")
ALL = {f"clip.visual.transformer.resblocks.{i}.{name}" for i in (0, 1) for name in MAPS}


@pytest.fixture(params=[0, 768], ids=["low-rank", "read"])
def _both_ways(request, monkeypatch) -> None:
    """Narrow linear layers through peft, and as they go by default."""
    monkeypatch.setattr(_lora, "WIDE", request.param)


def adapted(method=None, model=None, random_up=True):
    """A task whose model carries adapters; B random, so that every factor matters."""
    task = task_of(model or clip(), TASKS[:1])
    for name in task.model.tunable(task.stage[0]):
        task.model.get_parameter(name).requires_grad_(True)
    method = method or LoRA(rank=4)
    method.shape_parameters(task, method.keeps())
    if random_up:
        generator = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for adapter in _lora.adapters(task.model).values():
                adapter.up.copy_(0.1 * torch.randn(adapter.up.shape, generator=generator))
    return task


def dead(model, batch):
    """Names of trainable parameters that get no gradient."""
    F.cross_entropy(model(batch).logits, batch.targets).backward()
    return [
        n
        for n, p in model.named_parameters()
        if p.requires_grad and (p.grad is None or not p.grad.abs().max() > 0)
    ]


def by_the_book(task, rank, alpha, names):
    """W0 + (a/r)BA put into the model by functional_call, AdamW on A, B and the head."""
    model = task.model
    zero = {n: model.get_parameter(n).detach().clone() for n in names}
    a, b = {}, {}
    for name in names:
        bound = 1 / zero[name].shape[1] ** 0.5
        generator = task.generator(f"lora {name}")
        a[name] = torch.rand(rank, zero[name].shape[1], generator=generator, dtype=torch.float64)
        a[name] = ((2 * a[name] - 1) * bound).requires_grad_(True)
        b[name] = zero[name].new_zeros(zero[name].shape[0], rank).requires_grad_(True)
    head = [model.get_parameter(n).requires_grad_(True) for n in model.head_parameters(task.stage[0])]
    optimizer = torch.optim.AdamW([*a.values(), *b.values(), *head], lr=TRAIN.lr, weight_decay=0)

    def merged():
        return {n: zero[n] + alpha / rank * b[n] @ a[n] for n in names}

    for epoch in range(TRAIN.epochs):
        order = torch.randperm(len(task.sources[0]), generator=task.generator("order", epoch))
        for indices in order.split(TRAIN.batch_size):
            batch = task.sources[0].batch(indices)
            optimizer.zero_grad()
            forward = torch.func.functional_call(model, merged(), (batch,))
            F.cross_entropy(forward.logits, batch.targets).backward()
            optimizer.step()
    return {**weights(model), **{n: w.detach() for n, w in merged().items()}}


@pytest.mark.usefixtures("_both_ways")
def test_agrees_with_the_formula() -> None:
    book = by_the_book(task_of(clip(), TASKS[:1]), 4, 6.0, sorted(ALL))
    ours = tuned(task_of(clip(), TASKS[:1]), LoRA(rank=4, alpha=6.0))
    assert_close(ours, book)
    assert distance(ours, weights(clip())) > 1e-3
    full = tuned(task_of(clip(), TASKS[:1]))
    assert distance(ours, full) > 1e-3


@pytest.mark.parametrize(("placement", "maps"), [("all", MAPS), ("attention", MAPS[:2]), ("mlp", MAPS[2:])])
def test_placement(placement, maps) -> None:
    task = adapted(LoRA(rank=4, placement=placement))
    found = set(_lora.adapters(task.model))
    assert found == {n for n in ALL if n.endswith(tuple(maps))}
    trainable = {n for n, p in task.model.named_parameters() if p.requires_grad}
    heads = set(task.model.head_parameters(TASKS[0]))
    assert heads < trainable and len(trainable) == 2 * len(found) + 2


@pytest.mark.usefixtures("_both_ways")
def test_every_trainable_weight_gets_a_gradient_and_pefts_all_linear_has_dead_ones() -> None:
    task = adapted()
    batch = task.sources[0].batch(torch.arange(10))
    assert dead(task.model, batch) == []

    from peft import LoraConfig, inject_adapter_in_model

    naive = clip()
    named = naive.clip.visual.named_modules(prefix="clip.visual")
    linears = [name for name, module in named if isinstance(module, nn.Linear)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        inject_adapter_in_model(LoraConfig(r=4, target_modules=linears, init_lora_weights=False), naive)
    unused = dead(naive, batch)
    assert unused and all("out_proj" in name for name in unused)
    assert not any("in_proj" in n for n, p in naive.named_parameters() if p.requires_grad)


@pytest.mark.usefixtures("_both_ways")
def test_the_merged_model_is_the_adapted_one() -> None:
    task = adapted()
    batch = task.sources[0].batch(torch.arange(10))
    task.model.eval()
    own = clip()
    with torch.no_grad():
        before = task.model(batch).logits
        LoRA(rank=4).restore_parameters(task, {})
        after = task.model(batch).logits
        untouched = own(batch).logits
    torch.testing.assert_close(after, before, atol=1e-12, rtol=0)
    assert (after - untouched).abs().max() > 1e-3

    # Names, order, modules and everything that was not adapted are the model's own again.
    assert list(task.model.state_dict()) == list(own.state_dict())
    assert [n for n, _ in task.model.named_parameters()] == [n for n, _ in own.named_parameters()]
    assert repr(task.model) == repr(own)
    assert vars(task.model).keys() == vars(own).keys()
    for name, tensor in own.state_dict().items():
        assert torch.equal(tensor, task.model.state_dict()[name]) == (name not in ALL), name


@pytest.mark.usefixtures("_both_ways")
def test_merged_in_single_precision_to_1e_6() -> None:
    task = adapted(model=clip().float())
    batch = task.sources[0].batch(torch.arange(10))
    with torch.no_grad():
        before = task.model.eval()(batch).embedding
        LoRA(rank=4).restore_parameters(task, {})
        torch.testing.assert_close(task.model(batch).embedding, before, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("alpha", [0.25, 0.5])
def test_wise_ft_on_top_only_scales_the_update(alpha) -> None:
    """Once merged, B·A is the whole change of a map, so averaging with W0 is LoRA with another a."""
    task = task_of(clip(), TASKS[:1])
    before = {name: tensor.clone() for name, tensor in task.pretrained.items()}
    tuned(task, LoRA(rank=4))
    after = weights(task.model)
    edited = Chain([WiseFT(alpha=alpha)]).edit_weights(Edit(task.model, before, task.start, task=task), after)
    changed = [n for n in after if not n.startswith("heads.") and not torch.equal(before[n], after[n])]
    assert set(changed) == ALL
    for name in changed:
        torch.testing.assert_close(
            edited[name], before[name] + alpha * (after[name] - before[name]), atol=1e-12, rtol=0
        )
        assert torch.linalg.matrix_rank(edited[name] - before[name], rtol=1e-9) <= 4


def test_frozen_weights_stay_to_the_bit_where_pefts_attention_rounds_them() -> None:
    task = adapted(model=clip().float())
    batch = task.sources[0].batch(torch.arange(10))
    name = "clip.visual.transformer.resblocks.0.attn.in_proj_weight"
    before = _lora.adapters(task.model)[name].weight.clone()
    for _ in range(3):
        task.model(batch)
    assert torch.equal(_lora.adapters(task.model)[name].weight, before)

    from peft import LoraConfig, inject_adapter_in_model

    theirs = clip().float()
    attention = [n for n, m in theirs.clip.visual.named_modules() if isinstance(m, nn.MultiheadAttention)]
    inject_adapter_in_model(LoraConfig(r=4, target_modules=attention, init_lora_weights=False), theirs)
    for _ in range(3):
        theirs(batch)
    now = theirs.clip.visual.transformer.resblocks[0].attn.get_base_layer().in_proj_weight
    assert not torch.equal(now, before)


def test_attention_pooling_of_a_resnet_reads_its_weights_too() -> None:
    task = adapted(model=resnet())
    assert set(_lora.adapters(task.model)) == {f"clip.visual.attnpool.{part}_proj.weight" for part in "qkvc"}
    batch = task.sources[0].batch(torch.arange(10))
    assert dead(task.model, batch) == []
    with torch.no_grad():
        before = task.model.eval()(batch).logits
        LoRA(rank=4).restore_parameters(task, {})
        torch.testing.assert_close(task.model(batch).logits, before, atol=1e-12, rtol=0)
    assert list(task.model.state_dict()) == list(resnet().state_dict())


@pytest.mark.usefixtures("_both_ways")
@pytest.mark.parametrize("architecture", ["llama", "gpt2"])
def test_language_models(architecture) -> None:
    import transformers

    small = {"vocab_size": 32, "tie_word_embeddings": False}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if architecture == "llama":
            config = transformers.LlamaConfig(
                hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=2, **small
            )
        else:
            config = transformers.GPT2Config(
                n_embd=16, n_layer=2, n_head=2, n_positions=16, bos_token_id=0, eos_token_id=0, **small
            )
        network = transformers.AutoModelForCausalLM.from_config(config).double().eval()
    task = language_task(network)
    for method in (LoRA(rank=3), LoRANull(rank=3)):
        state = method.keeps()
        method.start_task(task, state)
        task.model.requires_grad_(True).eval()
        batch = task.sources[0].batch(torch.arange(6))
        start = task.model(batch).logits.detach()
        method.shape_parameters(task, state)
        per_block = 7 if architecture == "llama" else 4
        found = _lora.adapters(task.model)
        assert len(found) == 2 * per_block and not any("head" in n or "embed" in n for n in found)
        torch.testing.assert_close(task.model(batch).logits.detach(), start, atol=1e-10, rtol=0)
        with torch.no_grad():
            for adapter in found.values():
                adapter.up.add_(0.05)
        assert dead(task.model, batch) == []
        with torch.no_grad():
            before = task.model(batch).logits
            method.restore_parameters(task, state)
            torch.testing.assert_close(task.model(batch).logits, before, atol=1e-12, rtol=0)


def language_task(network):
    """Texts through a transformers model, as a foundation model."""
    from drive import Bigrams, Texts, sentences

    from cl_forget.models.base import Forward

    class Language(Bigrams):
        blocks = 2

        def __init__(self):
            super().__init__()
            del self.table
            self.network = network

        def forward(self, batch, depths=(), embedding=None):
            # Two tokens: with one, attention has no choice, and what scores it gets no gradient.
            pair = torch.stack([(batch.inputs + 1) % 32, batch.inputs], dim=1)
            logits = self.network(pair).logits[:, 1]
            width = logits.new_zeros(len(batch), 1)
            return Forward(logits, batch.targets, width, {}, batch.sample_of_unit)

        def tunable(self, experience):
            return [name for name, _ in self.named_parameters()]

        def block_of(self, parameter):
            parts = parameter.split(".")
            numbers = [int(part) for part in parts if part.isdigit()]
            return numbers[0] if numbers else None

    return task_of(Language(), [sentences()], sources=[Texts(sentences())])


def test_frozen_blocks_get_no_adapters_and_nothing_left_is_an_error() -> None:
    task = task_of(clip(), TASKS[:1])
    for name in task.model.tunable(TASKS[0]):
        task.model.get_parameter(name).requires_grad_(True)
    Freeze(blocks=1).shape_parameters(task, {})
    LoRA().shape_parameters(task, {})
    assert set(_lora.adapters(task.model)) == {n for n in ALL if "resblocks.1" in n}
    with pytest.raises(UserError, match="freeze less"):
        tuned(task_of(clip(), TASKS[:1]), Freeze(blocks=2), LoRA())


@pytest.mark.usefixtures("_both_ways")
def test_deep_copies_carry_their_own_adapters() -> None:
    task = adapted()
    twin = copy.deepcopy(task.model)
    batch = task.sources[0].batch(torch.arange(4))
    before = twin(batch).logits.detach()
    with torch.no_grad():
        for adapter in _lora.adapters(task.model).values():
            adapter.up.zero_()
    assert torch.equal(twin(batch).logits.detach(), before)


@pytest.mark.usefixtures("_both_ways")
def test_resumes_to_the_same_bits() -> None:
    resumed(lambda: task_of(clip(), TASKS[:1]), LoRA())
    resumed(lambda: task_of(clip().float(), TASKS[:1]), LoRA())


def test_what_it_does_not_go_with() -> None:
    for other, reason in [
        (L2SP(), "adapters have no earlier values"),
        (OLoRA(), "both decide the adapter"),
        (LoRANull(), "both decide the adapter"),
        (LinearProbe(), "never trains the trunk"),
    ]:
        with pytest.raises(UserError, match=reason):
            Chain([LoRA(), other])


@pytest.mark.parametrize("fields", [{"rank": 0}, {"alpha": 0}, {"placement": "heads"}])
def test_bad_values_are_refused(fields) -> None:
    with pytest.raises(ValidationError):
        LoRA(**fields)
