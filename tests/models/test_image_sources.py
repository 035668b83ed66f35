"""Where image classifiers come from, and what is said when they cannot be had."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm
import torch
from classifiers import hf_folder, timm_net
from safetensors.torch import load_file, save_file

from cl_forget.ground.errors import UserError
from cl_forget.models import load_model, modules_of, weights_of


def said(spec: str) -> str:
    with pytest.raises(UserError) as caught:
        load_model(spec)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_random_weights_are_one_model_and_are_asked_for_by_name() -> None:
    one, two = load_model("timm:test_resnet/none"), load_model("timm:test_resnet/none")
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert one.spec == "timm:test_resnet/none"
    assert modules_of("timm:resnet18") == ("timm", "cl_forget.models.classifier")


def test_timm_weights_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for spec in ("timm:test_resnet", "timm:test_resnet/r160_in1k", "timm:hf-hub:nobody/nothing-of-the-kind"):
        assert "could not be downloaded" in said(spec) and "/none for random weights" in said(spec)


@pytest.mark.parametrize("spec, cure", [
    ("timm:", "write timm:<architecture>"),
    ("timm:resnet19", "Did you mean 'resnet18'?"),
    ("timm:test_resnet/a1_in2k", "Known tags: r160_in1k"),
    ("timm:test_resnet/no/such.pth", "no checkpoint file at 'no/such.pth'"),
    ("timm:test_resnet.r160_in1k/none", "names weights twice"),
    ("timm:local-dir:/not/there", "no timm model in /not/there"),
    ("timm:vit_giant_patch14_224", "timm has no weights for 'vit_giant_patch14_224'"),
    ("timm:deit_tiny_distilled_patch16_224/none", "more than one linear map"),
    ("hf-image:", "write hf-image:<name on the hub, or folder>"),
    ("hf-image:/not/there", "no folder at '/not/there'"),
])  # fmt: skip
def test_wrong_names_are_said_in_one_line(spec: str, cure: str) -> None:
    assert cure in said(spec)


def test_a_checkpoint_file_with_its_own_number_of_classes(tmp_path: Path) -> None:
    ours = timm_net("resnet", 7)
    state = {f"module.{name}": tensor for name, tensor in ours.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "seven.pth")
    model = load_model(f"timm:test_resnet/{tmp_path / 'seven.pth'}")
    assert weights_of(model.spec) == tmp_path / "seven.pth"
    assert model.own_logits(torch.zeros(1, model.width)).shape == (1, 7)  # type: ignore[attr-defined, union-attr]
    assert torch.equal(model.get_parameter("net.conv1.0.weight"), ours.conv1[0].weight)
    bare = {n: t for n, t in ours.state_dict().items() if not n.startswith("fc.")}
    save_file(bare, tmp_path / "bare.safetensors")
    model = load_model(f"timm:test_resnet/{tmp_path / 'bare.safetensors'}")
    assert model.own_logits(torch.zeros(1, model.width)) is None  # type: ignore[attr-defined]


def test_a_checkpoint_that_is_not_the_model(tmp_path: Path) -> None:
    file = tmp_path / "other.safetensors"
    state = timm.create_model("test_resnet").state_dict()
    save_file({n: t for n, t in state.items() if n != "layer2.0.conv1.weight"}, file)
    assert "missing: 1 (layer2.0.conv1.weight)" in said(f"timm:test_resnet/{file}")
    save_file(timm.create_model("test_vit").state_dict(), file)
    assert "foreign" in said(f"timm:test_resnet/{file}")
    save_file(
        state | {"layer1.0.bn1.running_var": torch.full_like(state["layer1.0.bn1.running_var"], torch.nan)},
        file,
    )
    assert "not finite" in said(f"timm:test_resnet/{file}")
    file.write_bytes(file.read_bytes()[:-1000])
    assert "cut short" in said(f"timm:test_resnet/{file}")


def test_a_folder_of_timm_that_is_not_whole(tmp_path: Path) -> None:
    model = load_model("timm:test_resnet/none")
    model.export(tmp_path)
    folder = tmp_path / "model"
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_classes": 10**9}))
    assert "num_classes 1000000000" in said(f"timm:local-dir:{folder}")
    twelve = {"num_classes": 12, "model_args": config.get("model_args", {}) | {"num_classes": 12}}
    (folder / "config.json").write_text(json.dumps(config | twelve))
    assert "of another shape: 2 (fc.bias, fc.weight)" in said(f"timm:local-dir:{folder}")
    (folder / "config.json").write_text(json.dumps(config | {"architecture": "resnet19"}))
    assert "which this version of timm does not have" in said(f"timm:local-dir:{folder}")
    (folder / "config.json").write_text(json.dumps({"model_type": "vit"}))
    assert "write hf-image:<folder>" in said(f"timm:local-dir:{folder}")
    (folder / "model.safetensors").unlink()
    (folder / "config.json").write_text(json.dumps(config))
    assert "holds no weights" in said(f"timm:local-dir:{folder}")


def test_a_folder_of_transformers_that_is_not_whole(tmp_path: Path) -> None:
    folder = hf_folder(tmp_path / "vit", "vit")
    spec = f"hf-image:{folder}"
    tensors = load_file(folder / "model.safetensors")
    fewer = {name: t for name, t in tensors.items() if not name.startswith("classifier")}
    save_file(fewer, folder / "model.safetensors", metadata={"format": "pt"})
    assert "missing: 2 (classifier.bias, classifier.weight)" in said(spec)
    narrow = {n: t[:3] if n.startswith("classifier") else t for n, t in tensors.items()}
    save_file(narrow, folder / "model.safetensors", metadata={"format": "pt"})
    assert "of another shape: 2" in said(spec)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "preprocessor_config.json").unlink()
    assert "has no image processor" in said(spec)


def test_a_folder_that_is_no_image_model(tmp_path: Path) -> None:
    import tiny_lm

    folder = tiny_lm.folder(tmp_path)
    assert f"is no image model (llama); give one that reads images, or write hf:{folder}" in said(
        f"hf-image:{folder}"
    )


def test_an_image_processor_that_gives_images_of_several_sizes(tmp_path: Path) -> None:
    folder = hf_folder(tmp_path, "resnet")
    file = folder / "preprocessor_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"do_resize": False}))
    assert "of several sizes" in said(f"hf-image:{folder}")


def test_pixels_are_those_of_the_image_processor(tmp_path: Path) -> None:
    from transformers import AutoImageProcessor

    folder = hf_folder(tmp_path, "resnet", image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.3, 0.1])
    model = load_model(f"hf-image:{folder}")
    from tiny import experience

    task = experience("squares", seed=1)
    ours = model.prepare(task.test, task, "test").batch(torch.arange(2)).inputs
    theirs = AutoImageProcessor.from_pretrained(folder)(
        images=[task.test.image(0), task.test.image(1)], return_tensors="pt"
    )["pixel_values"]
    torch.testing.assert_close(ours, theirs, atol=0.02, rtol=0)
