"""OSF against its own loop written out: fixed leading directions, projected gradients, a new split for each task."""

from __future__ import annotations

import copy

import pytest
import torch
from drive import TASKS, TRAIN, assert_close, clip, distance, resumed, task_of, tuned, weights
from pydantic import ValidationError
from test_lora import ALL
from torch import Tensor
from torch.nn import functional as F

from cl_forget.ground.errors import UserError
from cl_forget.mitigations import Chain
from cl_forget.mitigations.l2_sp import L2SP
from cl_forget.mitigations.lora import LoRA
from cl_forget.mitigations.osf import OSF
from cl_forget.mitigations.shared import adapters as _lora
from cl_forget.mitigations.shared.orthogonal import ReadsSplit


def split(model, seed=None):
    """A task whose model is split; its lesser factors moved, so that each of them matters."""
    task = task_of(model, TASKS[:1])
    for name in model.tunable(TASKS[0]):
        model.get_parameter(name).requires_grad_(True)
    OSF(keep=0.25).shape_parameters(task, {})
    if seed is not None:
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if "osf_svd_params" in name:
                    parameter.add_(0.01 * torch.randn(parameter.shape, generator=generator).double())
    return task


def layers(model) -> dict[str, torch.nn.Module]:
    """The layer of each split weight."""
    return {
        f"{path}.{name}": layer
        for path, module in model.named_modules()
        if isinstance(module, ReadsSplit)
        for name, layer in zip(module.names, module.split_weights, strict=True)
    }


def by_the_book(task, keep: float) -> dict[str, Tensor]:
    """U_h S_h V_h + U S V put into the model by functional_call, AdamW on U, S, V and the head."""
    model, fixed, free = task.model, {}, {}
    for name in sorted(ALL):
        u, s, v = torch.linalg.svd(model.get_parameter(name).float(), full_matrices=False)
        u, s, v = u.double(), s.double(), v.double()
        k = round(keep * len(s))
        fixed[name] = u[:, :k], s[:k], v[:k]
        free[name] = [part.clone().requires_grad_(True) for part in (u[:, k:], s[k:], v[k:])]
    start = {n: (u * s) @ v for n, (u, s, v) in free.items()}
    zero = {n: model.get_parameter(n).detach().clone() for n in free}
    head = [model.get_parameter(n).requires_grad_(True) for n in model.head_parameters(task.stage[0])]
    optimizer = torch.optim.AdamW(
        [*(p for f in free.values() for p in f), *head], lr=TRAIN.lr, weight_decay=0
    )

    def merged() -> dict[str, Tensor]:
        return {n: zero[n] + (u * s) @ v - start[n].detach() for n, (u, s, v) in free.items()}

    for epoch in range(TRAIN.epochs):
        order = torch.randperm(len(task.sources[0]), generator=task.generator("order", epoch))
        for indices in order.split(TRAIN.batch_size):
            batch = task.sources[0].batch(indices)
            optimizer.zero_grad()
            F.cross_entropy(
                torch.func.functional_call(model, merged(), (batch,)).logits, batch.targets
            ).backward()
            for name, (u, _, v) in free.items():
                high_u, _, high_v = fixed[name]
                u.grad -= high_u @ high_u.T @ u.grad
                v.grad -= v.grad @ high_v.T @ high_v
            optimizer.step()
    return {**weights(model), **{n: w.detach() for n, w in merged().items()}}


def test_two_tasks_agree_with_the_formula_and_each_has_a_split_of_its_own() -> None:
    ours, book = clip(), clip()
    for number in (0, 1):
        stage, past = TASKS[number : number + 1], TASKS[:number]
        tuned(task_of(ours, stage, past), OSF(keep=0.25))
        book.load_state_dict(by_the_book(task_of(book, stage, past), 0.25))
        book.requires_grad_(False)
    # AdamW divides what single precision leaves of a gradient that should be zero.
    assert_close(weights(ours), weights(book), atol=2e-4)
    assert distance(weights(ours), weights(clip())) > 5e-3


def test_at_the_start_the_model_is_itself_and_gradients_leave_the_fixed_directions_out() -> None:
    model = clip()
    before = weights(model)
    task = split(model)
    batch = task.sources[0].batch(torch.arange(10))
    forward = model(batch)
    whole = clip().requires_grad_(True)  # without gradients torch may take a path that rounds otherwise
    assert torch.equal(forward.logits, whole(batch).logits)
    F.cross_entropy(forward.logits, batch.targets).backward()
    found = layers(model)
    assert set(found) == ALL
    for name, layer in found.items():
        u, s, v = torch.linalg.svd(before[name], full_matrices=False)
        k = round(0.25 * len(s))
        factors = layer.osf_svd_params["default"]
        assert factors["S_low"].shape == (len(s) - k,)
        assert float((u[:, :k].T @ factors["U_low"].grad).abs().max()) < 1e-6
        assert float((factors["V_low"].grad @ v[:k].T).abs().max()) < 1e-6
        assert all(factors[part].grad.abs().max() > 0 for part in ("U_low", "S_low", "V_low"))


def test_what_is_trained_is_the_factors_and_the_head() -> None:
    model = split(clip()).model
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    factors = {n for n in trained if "osf_svd_params" in n}
    assert trained - factors == set(model.head_parameters(TASKS[0])) and len(factors) == 3 * len(ALL)


def test_merging_keeps_the_function_and_the_names() -> None:
    task = split(clip(), seed=0)
    batch = task.sources[0].batch(torch.arange(4))
    before, twin = task.model(batch).logits.detach(), copy.deepcopy(task.model)
    OSF().restore_parameters(task, {})
    torch.testing.assert_close(task.model(batch).logits.detach(), before, atol=1e-12, rtol=0)
    assert list(task.model.state_dict()) == list(clip().state_dict())
    assert torch.equal(twin(batch).logits.detach(), before)


def test_resumes_to_the_same_bits() -> None:
    resumed(lambda: task_of(clip().float(), TASKS[:1]), OSF())


@pytest.mark.parametrize(("keep", "shape", "fixed"), [(0.01, (8, 4), 1), (0.99, (8, 4), 3), (0.5, (5, 9), 2)])
def test_at_least_one_direction_is_fixed_and_one_is_free(keep, shape, fixed) -> None:
    base = torch.nn.Linear(*reversed(shape))
    layer = ReadsSplit(base, ["weight"], keep).split_weights[0]
    assert layer.osf_svd_params["default"]["S_low"].shape == (min(shape) - fixed,)


def test_what_it_does_not_go_with() -> None:
    for other, reason in [(L2SP(), "adapters have no earlier values"), (LoRA(), "both decide the adapter")]:
        with pytest.raises(UserError, match=reason):
            Chain([OSF(), other])
    with pytest.raises(ValidationError):
        OSF(keep=1.0)


def test_a_network_without_linear_maps_is_refused() -> None:
    task = task_of(clip(), TASKS[:1])
    with pytest.raises(UserError, match="no trainable linear maps for OSF at 'all'"):
        OSF().shape_parameters(task, {})
    assert not _lora.adapters(task.model)


def test_half_precision_leaves_the_change_of_the_weights_whole() -> None:
    model = split(clip().float(), seed=0).model
    readers = [module for module in model.modules() if isinstance(module, ReadsSplit)]
    exact = [reader.adapted() for reader in readers]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = [reader.adapted() for reader in readers]
    assert readers and all(
        torch.equal(tensor, two[name])
        for one, two in zip(exact, found, strict=True)
        for name, tensor in one.items()
    )
