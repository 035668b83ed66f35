"""Every method on an image classifier, convolutional with BatchNorm and transformer: it works, or says why not."""

from __future__ import annotations

from typing import Any

import classifiers
import pytest
import torch
from small import FIELDS

from cl_forget.comparison.records import Result
from cl_forget.config.run import Run
from cl_forget.ground.errors import UserError
from cl_forget.mitigations import MITIGATIONS, Mitigation
from cl_forget.run.simulate import simulate
from cl_forget.training.loop import training_mode

TEXTLESS = dict.fromkeys(("flyp", "flyp_ce", "zscl"), "no text tower")
ADAPTERS = dict.fromkeys(("lora", "lora_null", "o_lora", "clora", "osf"), "no trainable linear maps")
OWN_ANSWERS = dict.fromkeys(("sdft", "self_sft"), "gives no answers of its own in words")
REFUSED = {"resnet": TEXTLESS | OWN_ANSWERS | ADAPTERS, "vit": TEXTLESS | OWN_ANSWERS}
"""Methods without a meaning for a network, and what they say."""
EDITING = [
    name
    for name, method in ((name, MITIGATIONS.get(name)) for name in MITIGATIONS.names())
    if method.averages is not Mitigation.averages or method.edit_weights is not Mitigation.edit_weights
]


def run(kind: str, *mitigations: Any, **fields: Any) -> Run:
    base: dict[str, Any] = {
        "model": f"net:{kind}",
        "stream": {"squares": {"tasks": 2, "per_class": 4}},
        "suites": ["colours"],
        "train": {"epochs": 1, "batch_size": 6, "lr": 1e-3},
        "evaluate": {"curves": False},
    }
    return Run.parse({**base, **fields, "mitigations": list(mitigations)})


def finite(result: Result) -> None:
    metrics = result.metrics["test"]
    for name in (
        "speciality",
        "speciality_pretrained",
        "generality",
        "kl_to_base",
        "hardest_decile_accuracy",
    ):
        assert metrics[name] is not None, name  # type: ignore[literal-required]


@pytest.mark.parametrize("name", [name for name in MITIGATIONS.names() if name not in REFUSED["resnet"]])
def test_every_method_on_a_network_with_batch_norm(name: str) -> None:
    finite(simulate(run("resnet", MITIGATIONS.get(name)(**FIELDS.get(name, {})))))


@pytest.mark.parametrize("name", [name for name in EDITING if name not in REFUSED["resnet"]])
def test_what_is_averaged_over_statistics_that_moved_is_said(name: str) -> None:
    method = MITIGATIONS.get(name)(**FIELDS.get(name, {}))
    train = {"epochs": 1, "batch_size": 6, "lr": 1e-3, "batch_norm": "update"}
    result = simulate(run("resnet", method, train=train))
    finite(result)
    mixes = method.averages or bool(run("resnet", method).chain().using("edit_weights"))
    assert any("BatchNorm" in note for note in result.notes) == (mixes and not method.renews_statistics)


@pytest.mark.parametrize(
    "name",
    ["freeze", "hma", "layer_decay", "ldifs", "lines", "lora", "lora_null", "o_lora", "clora", "osf"],
)
def test_methods_that_look_for_blocks_or_linear_maps_on_a_transformer(name: str) -> None:
    finite(simulate(run("vit", MITIGATIONS.get(name)(**FIELDS.get(name, {})))))


@pytest.mark.parametrize("kind, name", [(kind, name) for kind, names in REFUSED.items() for name in names])
def test_a_method_without_a_meaning_says_why(kind: str, name: str) -> None:
    with pytest.raises(UserError) as caught:
        simulate(run(kind, MITIGATIONS.get(name)(**FIELDS.get(name, {}))))
    assert REFUSED[kind][name] in str(caught.value) and "\n" not in str(caught.value)


def test_heads_cannot_start_from_class_names() -> None:
    with pytest.raises(UserError, match="reads no class names to make a head from; set train"):
        simulate(run("resnet", train={"head": "zero-shot"}))


def test_statistics_stay_where_they_are_frozen() -> None:
    model = classifiers.net("resnet")
    model.requires_grad_(True)
    training_mode(model, "frozen")
    layers = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert len(layers) > 5 and not any(layer.training for layer in layers)
    training_mode(model, "update")
    assert all(layer.training for layer in layers)
