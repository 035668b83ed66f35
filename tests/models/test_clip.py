"""CLIP models: what is remembered of the text tower is never older than its weights."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tiny import experience, squares, tiny_clip

from cl_forget.config.run import Run
from cl_forget.run.simulate import simulate
from cl_forget.streams import STREAMS
from cl_forget.streams.base import Experience, LabelSpace


@pytest.mark.parametrize("fused", [True, False])
def test_zero_shot_heads_follow_the_text_tower(fused: bool) -> None:
    model, labels = tiny_clip().eval(), squares()[0].labels
    head = model.zero_shot_head(labels)
    assert model.zero_shot_head(labels) is head  # nothing changed: the same object

    model.load_state_dict({name: tensor * 1.1 for name, tensor in model.state_dict().items()})
    loaded = model.zero_shot_head(labels)
    assert not torch.equal(loaded.weight, head.weight)

    scale = model.clip.logit_scale.requires_grad_()
    model.train()
    scale.grad = torch.ones_like(scale)
    torch.optim.AdamW([scale], lr=0.5, fused=fused).step()
    assert not torch.equal(model.zero_shot_head(labels).weight, loaded.weight)
    trained = model.zero_shot_head(labels)
    model.eval()
    torch.testing.assert_close(model.zero_shot_head(labels).weight, trained.weight)


def test_copies_know_the_heads_of_one_text_tower_and_keep_their_own() -> None:
    model, (first, *_) = tiny_clip().eval(), squares()
    twin = copy.deepcopy(model)
    head = twin.zero_shot_head(first.labels)
    assert model.zero_shot_head(first.labels) is head
    assert (
        model.zero_shot_head(replace(first.labels, head="another")) is head
    )  # a name makes no other classifier
    for factor in (1.1, 1.2):
        twin.load_state_dict({name: tensor * factor for name, tensor in twin.state_dict().items()})
        assert not torch.equal(twin.zero_shot_head(first.labels).weight, head.weight)
        assert model.zero_shot_head(first.labels) is head


def named(head: str) -> Experience:
    return replace(squares()[0], name=f"task of {head!a}", labels=LabelSpace(head, ("red", "green", "blue")))


ODD = [
    *("train", "items", "keys", "type", "update", "forward", "values", "training", "parameters", "half"),
    *("T_destination", "_modules", "__class__", "a.b", "a_b", "a%2Eb", "a b", "a-b", "A.b", "%74rain"),
    *("", "%", ".", "naïve/тест", "~", "\udcff", "x" * 2000),
]


def test_heads_of_any_name_have_parameters_of_their_own() -> None:
    model = tiny_clip().eval()
    tasks = [named(head) for head in ODD]
    for task in tasks:
        model.add_task(task)
    names = [name for task in tasks for name in model.head_parameters(task)]
    assert len(set(names)) == 2 * len(ODD)
    for number, task in enumerate(tasks):
        with torch.no_grad():
            for name in model.head_parameters(task):
                model.get_parameter(name).fill_(number)
    for number, task in enumerate(tasks):  # a normalised embedding of ones times the weights, and the bias
        assert model.head_logits(task, torch.ones(1, 16))[0, 0] == pytest.approx(number * 4 + number)
    twin = tiny_clip()
    for task in reversed(tasks):
        twin.add_task(task)
    twin.load_state_dict(model.state_dict())
    assert {
        "heads.a_b.weight",
        "heads.a-b.weight",
    } <= model.state_dict().keys()  # plain names stay as they are


def odd_squares() -> list[Experience]:
    return [experience(name, seed=7) for name in ("train", "keys")]


STREAMS.add("odd-squares", "test_clip:odd_squares")


def test_a_task_called_train_is_tuned_checkpointed_and_exported(tmp_path: Path) -> None:
    run = Run(
        model="tiny-clip",
        stream=["odd-squares"],
        train={"epochs": 1},  # type: ignore[arg-type]
        evaluate={"export": True},  # type: ignore[arg-type]
    )
    result = simulate(run, tmp_path)
    assert result.tasks == ["train", "keys"]
    assert len(load_file(tmp_path / "heads.safetensors")) == 4
