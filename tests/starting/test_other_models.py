"""The files that `cl-forget init` writes run, from row 0 to the page, on a model of one's own put into them."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_lm
import torch
from torch import nn

from cl_forget import cli, load_model
from cl_forget.cli.starting import write_experiment
from cl_forget.comparison.records import Result
from cl_forget.config.experiment import folder_name, load_experiment
from cl_forget.models.lm_sources import PICO_LM

pytestmark = pytest.mark.slow


def classifier(folder: Path) -> str:
    """A convolutional network with BatchNorm, by name alone."""
    return "timm:resnet18/none"


def clip_with_a_timm_tower(folder: Path) -> str:
    """A folder in open_clip's format whose image tower is timm's, BatchNorm and all; random weights."""
    import open_clip
    from safetensors.torch import save_file

    model = {
        "embed_dim": 32,
        "vision_cfg": {
            "timm_model_name": "resnet18",
            "timm_pool": "avg",
            "timm_proj": "linear",
            "image_size": 32,
        },
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
    }
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": model, "preprocess_cfg": {}}))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        clip = open_clip.CLIP(**model)
    save_file(clip.state_dict(), folder / "open_clip_model.safetensors")
    return f"open_clip:local-dir:{folder}"


def mixture_of_experts(folder: Path) -> str:
    """A folder of transformers with a small Mixtral, random weights, and the tokenizer of pico-lm."""
    net = tiny_lm.mixture("mixtral", vocab_size=604, max_position_embeddings=256)
    net.save_pretrained(folder)
    for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(PICO_LM / file, folder)
    return f"hf:{folder}"


KINDS: dict[str, tuple[Callable[[Path], str], str, list[str]]] = {
    # kind -> the model, how it is called after a run, and what makes the file small
    "classifier": (
        classifier,
        "timm:local-dir:{}/model",
        ["stream=[digits: {limit: 20}]", "probes=[dice: {limit: 24}]", "train.epochs=1"],
    ),
    "clip": (
        clip_with_a_timm_tower,
        "open_clip:local-dir:{}",
        ["stream=[digits: {limit: 60}]", "train.epochs=1"],
    ),
    "lm": (mixture_of_experts, "hf:{}/model", ["stream=[pig-latin: {train: 64}]", "train.epochs=1"]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_another_model_in_the_file(kind: str, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make, spec, smaller = KINDS[kind]
    settings = [f"model={make(workspace / 'mine')}", *smaller, "evaluate.limit=10", "evaluate.curves=false"]
    file = write_experiment(kind)
    monkeypatch.setattr(sys, "argv", ["cl-forget", "run", str(file), *settings, "--output", "out"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert not stop.value.code
    arms = list(load_experiment(file).arms())
    folders = {arm: Path("out") / f"{folder_name(arm)}-seed0" for arm in arms}
    page = Path("out/report.html").read_text()
    assert all(arm in page for arm in arms)

    results = {arm: Result.load(folder) for arm, folder in folders.items()}
    assert len({result.rows[0].model_dump_json(exclude={"cost"}) for result in results.values()}) == 1
    for arm, result in results.items():
        for measured in (*result.rows[-1].tasks.values(), *result.rows[-1].suites.values()):
            assert measured.test.accuracy is not None and measured.test.samples > 0, arm
        moved = result.metrics["test"]["kl_to_base"]
        assert isinstance(moved, float) and moved > 0, arm

    # What the arms leave is loaded by its own name, and is what the file asked for.
    base, tuned, mean = (
        load_model(where)
        for where in (
            settings[0].removeprefix("model="),
            spec.format(folders["full fine-tuning"]),
            spec.format(folders["WiSE-FT"]),
        )
    )
    before, after, between = (model.state_dict() for model in (base, tuned, mean))
    changed = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    assert changed
    for name, tensor in before.items():
        torch.testing.assert_close(
            between[name], torch.lerp(tensor.double(), after[name].double(), 0.5).to(tensor)
        )
    statistics = {
        f"{path}.{name}"
        for path, module in base.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
        for name, _ in module.named_buffers()
    }
    assert bool(statistics) == (kind != "lm") and not statistics & changed
