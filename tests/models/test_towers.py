"""Every image tower that open_clip's configurations name: depths, blocks, and one step of every kind of method."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tiny import experience
from towers import BLOCKS, FAMILIES, TIMM, tower

from cl_forget.config.run import Run
from cl_forget.run.simulate import simulate
from cl_forget.weights.layout import Layout

KNOWN = re.compile(
    r"eva|convnext|fastvit|vitamin|swin|vit_(base|large|so400m|giantopt|medium|pe_core)_|vit_relpos|vit_base_mci"
)


def test_every_tower_that_open_clip_names_has_a_family_here() -> None:
    import open_clip

    folder = Path(open_clip.__file__).parent / "model_configs"
    named = {
        json.loads(file.read_text())["vision_cfg"].get("timm_model_name", "vit_base_")
        for file in folder.glob("*.json")
    }
    assert len(named) > 50 and all(KNOWN.match(name) for name in named)
    assert all(KNOWN.match(name) for name, *_ in TIMM.values())


@pytest.mark.parametrize("family", FAMILIES)
def test_depths_and_blocks(family: str) -> None:
    model = tower(family)
    task = experience("colours", seed=1)
    model.add_task(task)
    batch = model.prepare(task.test, task, "test").batch(torch.arange(3))
    count = BLOCKS.get(family, 2)
    assert model.blocks == count and len(model.depths) >= count and model.default_depths
    with torch.no_grad():
        plain, deep = model(batch), model(batch, model.depths)
    torch.testing.assert_close(deep.embedding, plain.embedding, rtol=1e-4, atol=1e-5)
    assert plain.embedding.shape == (3, 16) and plain.logits.shape == (3, 3)
    assert list(deep.features) == list(model.depths)
    for depth, features in deep.features.items():
        assert features.ndim == 3 and len(features) == 3 and features.isfinite().all(), depth
    # Features are those of the depth: changing a block changes what comes after it and nothing before.
    last = [p for n, p in model.named_parameters() if model.block_of(n) == count - 1]
    with torch.no_grad():
        for parameter in last:
            parameter.add_(0.1)
        changed = model(batch, model.depths).features
    same = [torch.equal(changed[depth], deep.features[depth]) for depth in model.depths]
    assert same == [True] * (len(same) - 1) + [False]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_tensor_has_a_place_that_its_name_tells(family: str) -> None:
    model = tower(family)
    layers = {name: model.layer_of(name) for name, _ in model.clip.visual.named_parameters("clip.visual")}
    assert set(layers.values()) == set(range(BLOCKS.get(family, 2) + 2)) - (
        {0} if 0 not in layers.values() else set()
    )
    layout = Layout([name.removeprefix("clip.") for name in model.state_dict()])
    assert layout.blocks == model.blocks
    for name in model.state_dict():
        assert layout.block_of(name.removeprefix("clip.")) == model.block_of(name), name
    first, after = (
        layout.part_of,
        {n.removeprefix("clip.") for n, layer in layers.items() if layer > model.blocks},
    )
    assert all(first(name) == "after the blocks" for name in after)
    assert 0 in layers.values()


@pytest.fixture(autouse=True)
def _without_onednn(request: pytest.FixtureRequest) -> Iterator[None]:
    """oneDNN corrupts memory in the backward pass of depthwise convolutions as small as this FastViT's."""
    torch._C._set_mkldnn_enabled("MobileCLIP-S" not in request.node.name)
    yield
    torch._C._set_mkldnn_enabled(True)


METHODS = {
    "features and depth": ["ldifs", {"lines": {"a": 0.5}}],
    "adapters and groups": [{"lora": {"rank": 2}}, {"hma": {"alpha": 0.5, "samples": 4}}],
}


@pytest.mark.parametrize("methods", METHODS)
@pytest.mark.parametrize("family", FAMILIES)
def test_one_step(family: str, methods: str, tmp_path: Path) -> None:
    run = Run.parse(
        {
            "model": f"tower:{family}",
            "stream": [{"squares": {"tasks": 1, "per_class": 2}}],
            "suites": ["colours"],
            "mitigations": METHODS[methods],
            "train": {"epochs": 1, "batch_size": 6, "lr": 1e-2},
            "evaluate": {"limit": 6, "curves": False},
        }
    )
    row = simulate(run, tmp_path).rows[-1]
    assert row.tasks["squares-1"].test.loss is not None
    drift = row.drift
    assert drift is not None


@pytest.mark.parametrize("family", ["CoCa", "SigLIP", "ConvNeXt"])
def test_contrastive_fine_tuning(family: str, tmp_path: Path) -> None:
    """FLYP trains the text tower too."""
    run = Run.parse(
        {
            "model": f"tower:{family}",
            "stream": [{"squares": {"tasks": 1, "per_class": 2}}],
            "mitigations": ["flyp", "l2_sp"],
            "train": {"epochs": 1, "batch_size": 6, "lr": 1e-3},
            "evaluate": {"limit": 6, "curves": False},
        }
    )
    assert simulate(run, tmp_path).rows[-1].tasks["squares-1"].test.loss is not None
