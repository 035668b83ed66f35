"""What a run leaves of its model is loaded by the libraries themselves: open_clip, transformers, peft."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import open_clip
import pytest
import tiny_lm
import torch
from safetensors.torch import load_file

from cl_forget import Run, audit, load_model, simulate
from cl_forget.config.experiment import load_experiment
from cl_forget.models.adapters import NotAnAdapter, export_adapter
from cl_forget.run.experiment import run_experiment
from cl_forget.run.flatness import landscape
from cl_forget.training.checkpoints import RunFolder

pytestmark = [  # of peft
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*fan_in_fan_out:UserWarning"),
]

EMOJI: dict[str, Any] = {
    "model": "emoji-clip", "stream": ["digits"], "suites": ["emoji"],
    "train": {"epochs": 1, "batch_size": 250}, "evaluate": {"limit": 5, "curves": False},
}  # fmt: skip


def with_adapter(base: torch.nn.Module, folder: Path) -> dict[str, torch.Tensor]:
    """The weights after peft has loaded an adapter and merged it."""
    from peft import PeftModel

    merged = PeftModel.from_pretrained(copy.deepcopy(base), str(folder)).merge_and_unload()
    return dict(merged.state_dict())


def test_an_exported_clip_model_is_a_folder_that_open_clip_loads(tmp_path: Path) -> None:
    simulate(Run(**EMOJI), tmp_path / "run")
    clip, _, transform = open_clip.create_model_and_transforms(f"local-dir:{tmp_path / 'run'}")
    words = open_clip.get_tokenizer(f"local-dir:{tmp_path / 'run'}")
    base = load_model("emoji-clip")
    saved = load_file(tmp_path / "run" / "open_clip_model.safetensors")
    assert all(torch.equal(tensor, saved[name]) for name, tensor in clip.state_dict().items())
    assert not torch.equal(saved["visual.proj"], base.state_dict()["clip.visual.proj"])
    assert torch.equal(words(["a cat"]), base._tokenizer(["a cat"]))  # type: ignore[operator]
    assert str(transform) == str(open_clip.create_model_and_transforms(f"local-dir:{tmp_path / 'run'}")[2])
    again = load_model(f"open_clip:local-dir:{tmp_path / 'run'}")
    assert torch.equal(again.state_dict()["clip.visual.proj"], saved["visual.proj"])


@pytest.mark.parametrize("architecture", ["ViT-B-32", "ViT-B-32-quickgelu", "RN50"])
def test_the_configuration_of_a_model_known_by_name(architecture: str, tmp_path: Path) -> None:
    from cl_forget.models.clip_folder import origin_of, write_origin

    with torch.device("meta"):
        own = open_clip.get_model_config(architecture)
        clip = open_clip.model.CLIP(**own)
    clip.visual.preprocess_cfg = {
        "mean": (0.5, 0.4, 0.3),
        "std": (0.2, 0.2, 0.2),
        "size": (224, 224),
        "mode": "RGB",
    }
    (file,) = write_origin(origin_of(architecture, clip), tmp_path)
    assert file.name == "open_clip_config.json"
    with torch.device("meta"):
        again = open_clip.model.CLIP(**load_json(file)["model_cfg"])
    assert str(again) == str(clip)
    assert load_json(file)["preprocess_cfg"] == {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.2]}


def load_json(file: Path) -> Any:
    import json

    return json.loads(file.read_text())


@pytest.mark.parametrize("placement", ["all", "mlp", "attention"])
def test_a_lora_run_on_clip_saves_what_peft_merges(
    tmp_path: Path, tiny_run: Callable[..., Run], placement: str
) -> None:
    run = tiny_run(
        stream={"squares": {"tasks": 2}},
        mitigations=[{"lora": {"rank": 2, "placement": placement}}, {"wise_ft": {"alpha": 0.7}}],
        train={"epochs": 2, "batch_size": 8, "lr": 1e-2},
    )  # fmt: skip
    simulate(run, tmp_path)
    tuned = load_file(tmp_path / "open_clip_model.safetensors")
    base = load_model("tiny-clip").clip
    merged = with_adapter(base, tmp_path / "adapter")
    assert any(not torch.equal(tensor, base.state_dict()[name]) for name, tensor in tuned.items())
    for name, tensor in tuned.items():
        torch.testing.assert_close(merged[name], tensor, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["llama", "gpt2"])
def test_a_lora_run_on_a_language_model_saves_what_peft_merges(tmp_path: Path, kind: str) -> None:
    model = tiny_lm.other("gpt2") if kind == "gpt2" else tiny_lm.tiny_lm()
    model.lm.save_pretrained(tmp_path / "base")
    tiny_lm.tokenizer().save_pretrained(tmp_path / "base")
    run = Run(
        model=f"hf:{tmp_path / 'base'}", stream=["sums"], suites=["letters-copied"],
        mitigations=[{"lora": {"rank": 2}}],
        train={"epochs": 2, "batch_size": 6, "lr": 1e-2},
    )  # type: ignore[arg-type]  # fmt: skip
    simulate(run, tmp_path / "run")
    tuned = load_model(f"hf:{tmp_path / 'run' / 'model'}").state_dict()
    merged = with_adapter(load_model(run.model).lm, tmp_path / "run" / "adapter")
    moved = 0
    for name, tensor in tuned.items():
        torch.testing.assert_close(merged[name.removeprefix("lm.")], tensor, rtol=0, atol=1e-6)
        moved += not torch.equal(tensor, load_model(run.model).state_dict()[name])
    assert moved > 5
    config = load_json(tmp_path / "run" / "adapter" / "adapter_config.json")
    assert (config["r"], config["task_type"]) == (4, "CAUSAL_LM")  # two tasks of rank 2 each
    assert config["base_model_name_or_path"] == str(tmp_path / "base")


def test_adapters_alone_merged_alone_or_both(
    tmp_path: Path, tiny_run: Callable[..., Run], caplog: pytest.LogCaptureFixture
) -> None:
    def left(name: str, *mitigations: Any, **evaluate: Any) -> set[str]:
        run = tiny_run(stream={"squares": {"tasks": 1}}, mitigations=list(mitigations), evaluate=evaluate)
        simulate(run, tmp_path / name)
        names = {path.name for path in (tmp_path / name).iterdir()}
        return names & {"adapter", "open_clip_model.safetensors", "heads.safetensors"}

    lora = {"lora": {"rank": 2}}
    everything = {"adapter", "open_clip_model.safetensors", "heads.safetensors"}
    assert left("both", lora) == left("named", lora, export="both") == everything
    assert left("adapter", lora, export="adapter") == {"adapter", "heads.safetensors"}
    assert left("merged", lora, export="merged") == everything - {"adapter"}
    assert left("plain", export="adapter") == everything - {"adapter"}
    assert left("none", lora, export=False) == set()
    assert not caplog.records
    lost = audit("tiny-clip", str(tmp_path / "adapter"))
    same = audit("tiny-clip", str(tmp_path / "merged"))
    assert lost.format == "adapter"
    assert lost.parts[0].distance == pytest.approx(same.parts[0].distance, rel=1e-4)


def test_what_is_no_adapter_is_said_in_one_line(tmp_path: Path) -> None:
    model = tiny_lm.tiny_lm().lm
    base = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight.add_(torch.randn(48, 32))
    with pytest.raises(NotAnAdapter, match="not of rank 3"):
        export_adapter(tmp_path, model, base, 3, "x", True)
    assert list(tmp_path.iterdir()) == []
    with torch.no_grad():
        model.model.norm.weight.add_(1)
    with pytest.raises(NotAnAdapter, match=r"'model\.norm\.weight' was tuned, too"):
        export_adapter(tmp_path, model, base, 32, "x", True)


def test_an_experiment_keeps_no_checkpoints_that_nobody_needs(
    workspace: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Path("x.yaml").write_text(
        "model: tiny-clip\nstream: {squares: {tasks: 2}}\nsuites: [colours]\n"
        "methods: {plain: [], averaged: [wise_ft], tied: [l2_sp]}\ntrain: {epochs: 1, batch_size: 8}\n"
    )
    caplog.set_level(logging.INFO, "cl_forget")
    first = run_experiment(load_experiment("x.yaml"), "runs")

    def left(arm: str) -> list[str]:
        return sorted(path.name for path in Path(f"runs/{arm}-seed0/checkpoints").iterdir())

    assert left("plain") == left("tied") == []
    assert left("averaged") == ["stage-2.safetensors"]  # the exported model is the averaged one
    # Everything that is done with a finished experiment is still possible.
    assert run_experiment(load_experiment("x.yaml"), "runs", resume=True) == first
    found = landscape(["runs/plain-seed0", "runs/averaged-seed0", "runs/tied-seed0"], points=3, samples=4)
    assert found["plain"]["loss"] == found["averaged"]["loss"] != found["tied"]["loss"]
    assert audit("tiny-clip", "runs/plain-seed0").parts[0].distance > 0
    more = load_experiment("x.yaml", ["methods.halved=[{wise_ft: {alpha: 0.5}}]"])
    assert len(run_experiment(more, "runs", resume=True)) == 4
    kept = load_experiment("x.yaml", ["evaluate.keep_stages=true"])
    run_experiment(kept, "kept")
    assert len(list(Path("kept/plain-seed0/checkpoints").iterdir())) == 2
    assert RunFolder(Path("kept/plain-seed0")).state.finished
